# SPDX-License-Identifier: MIT
"""The socket for credentials, with this process in the place of systemd's.

It binds the address that systemd would, and is in a cgroup that is named like the unit's where this
host lets it. What a real systemd makes of the answers is in tests/systemd. Needs root.
"""

import contextlib
import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from credd import (
    ENTRIES,
    ID,
    LIMIT,
    UNIT,
    address,
    ask,
    connect,
    granted,
    in_unit,
    read,
    refused,
    settings_of,
    socket_of,
)
from harness import MANAGE, READ, become, free_port, libconfig, scratch_directory, totals
from scrape import growth, scrape
from test_policy import NOBODY
from wire import TIMEOUT, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be taken for systemd")

CAP = 64  # CREDENTIAL_CONNECTIONS_MAX


@pytest.fixture
def folder():
    """Where anybody can get at a socket."""
    path = scratch_directory()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def credd(folder, start_daemon):
    """Starts a daemon with a socket for credentials; `credentials` is its path."""

    def start(entries=ENTRIES, mode="0600", **settings):
        daemon = start_daemon(**settings_of(folder, entries, mode), **settings)
        daemon.credentials = socket_of(daemon)
        return daemon

    return start


def test_a_token(credd, issuer, tmp_path):
    daemon = credd(audit={"to": f"{tmp_path}/audit"})
    token = granted(ask(daemon), "pa")
    assert issuer.requests() == 1
    assert granted(ask(daemon), "pa") == token
    assert issuer.requests() == 1  # from memory
    granted(ask(daemon, id="other"), "a@b.example")
    granted(ask(daemon, id="crm"), "4711")
    assert issuer.last()["parameters"]["scope"] == MANAGE
    granted(ask(daemon, "batch@7.service"), "batch")
    refused(ask(daemon, "stranger.service"), "no_credential")
    daemon.stop()
    records = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    first = next(record for record in records if record["outcome"] == "granted")
    denied = next(record for record in records if record["outcome"] == "refused")
    assert (first["rule"], first["unit"], first["client"]) == (f"credential:{ID}", UNIT, "portal")
    assert (first["subject"], first["outcome"], first["uid"]) == ("pa", "granted", 0)
    assert (denied["reason"], denied["unit"]) == ("no_credential", "stranger.service")
    assert token not in (tmp_path / "audit").read_text()


def test_a_caller_and_a_unit_share_a_token(credd, issuer):
    daemon = credd()
    token = granted(ask(daemon), "pa")
    daemon.unix = daemon.settings["listen"][0]["unix"]
    assert daemon.ask("pa").json()["access_token"] == token
    assert issuer.requests() == 1


def test_metrics(credd, issuer):
    """Counted by themselves, beside what callers ask for, and in what tokens came from."""
    daemon = credd()
    socket_of_callers = daemon.settings["listen"][0]["unix"]
    before = scrape(daemon, socket_of_callers)
    name = "egain_tokend_credential_requests_total"
    assert before.value(name) == 0  # there from the start
    for _ in range(3):
        granted(ask(daemon), "pa")
    refused(ask(daemon, "stranger.service"), "no_credential")
    refused(read(connect(daemon, address(UNIT, ID))), "other_unit")
    issuer.behave(error="invalid_grant", count=1)
    refused(ask(daemon, id="other"), "subject_refused")
    issuer.behave(status=500)
    refused(ask(daemon, id="crm"), "issuer_error")
    after = scrape(daemon, socket_of_callers)
    for amount, labels in [
        (3, {"outcome": "granted", "reason": "none"}),
        (1, {"outcome": "refused", "reason": "no_credential"}),
        (1, {"outcome": "refused", "reason": "other_unit"}),
        (1, {"outcome": "refused", "reason": "subject_refused"}),
        (1, {"outcome": "failed", "reason": "issuer_error"}),
        (7, {}),
    ]:
        assert growth(before, after, name, **labels) == amount, labels
    assert growth(before, after, "egain_tokend_requests_total") == 0
    served = "egain_tokend_tokens_served_total"
    assert growth(before, after, served, cache="hit") == 2
    assert growth(before, after, served, cache="miss", collapsed="false") == 1


def test_the_right_address_from_elsewhere(credd, issuer):
    """Any root process can bind it; what counts is the unit that the kernel says it is in."""
    daemon = credd()
    refused(read(connect(daemon, address(UNIT, ID))), "other_unit")
    with in_unit("stranger.service"):
        refused(read(connect(daemon, address(UNIT, ID))), "other_unit")
        refused(read(connect(daemon, address("batch@7.service", ID))), "other_unit")
    assert issuer.requests() == 0


def test_nothing_is_given_beyond_the_entries(credd, issuer):
    daemon = credd()
    refused(ask(daemon, "stranger.service"), "no_credential")
    refused(ask(daemon, id="unknown"), "no_credential")
    refused(ask(daemon, "batch@7.service", "other"), "no_credential")
    refused(ask(daemon, "xbatch@7.service"), "no_credential")
    assert issuer.requests() == 0
    log = daemon.output.wait_for(r"no token for the credential \"unknown\" of nightly.service.*")
    assert "no_credential" in log[0]


MALFORMED = {
    "unbound": None,
    "autobound": b"",
    "nothing behind the random": b"\0abc",
    "no id": b"\0abc/unit/nightly.service",
    "an empty id": b"\0abc/unit/nightly.service/",
    "an empty unit": b"\0abc/unit//egain-token",
    "no random": b"\0/unit/nightly.service/egain-token",
    "of a user": b"\0abc/user/nightly.service/egain-token",
    "one slash more": b"\0abc/unit/nightly.service/egain-token/x",
    "a NUL behind it": b"\0abc/unit/nightly.service/egain-token\0",
    "a NUL in it": b"\0abc/unit/nightly.service\0/egain-token",
    "a line end": b"\0abc/unit/nightly.service/egain\ntoken",
    "a star": b"\0abc/unit/*/egain-token",
    "no UTF-8": b"\0abc/unit/nightly.service/\xff\xfe",
    "as long as can be": b"\0" + b"/" * 107,
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_addresses(credd, issuer, case):
    daemon = credd()
    with in_unit(UNIT):
        refused(read(connect(daemon, MALFORMED[case])), "not_systemd")
    assert issuer.requests() == 0


def test_a_path_is_no_address(credd, folder):
    daemon = credd()
    (folder / "abc/unit/nightly.service").mkdir(parents=True)
    path = os.fsencode(folder / "abc/unit/nightly.service/x")
    refused(read(connect(daemon, path)), "not_systemd")


def test_somebody_who_is_not_root(credd, issuer):
    """As a rule he cannot connect at all; where the mode lets him, he gets nothing for it."""
    nobody = pwd.getpwnam("nobody")
    closed, open_to_all = credd(), credd(mode="0666")
    with in_unit(UNIT):
        os.seteuid(nobody.pw_uid)
        try:
            with pytest.raises(PermissionError):
                connect(closed, address(UNIT, ID))
            connection = connect(open_to_all, address(UNIT, ID))
        finally:
            os.seteuid(0)
        refused(read(connection), "not_systemd")
    assert issuer.requests() == 0


def test_http_is_not_spoken(credd):
    daemon = credd()
    with in_unit(UNIT):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT)
        connection.bind(address("stranger.service", ID))
        connection.connect(daemon.credentials)
        connection.send(b"GET /v1/token?subject_username=pa HTTP/1.1\r\n\r\n")
        data = b""
        with contextlib.suppress(ConnectionResetError), connection:
            while piece := connection.recv(65536):
                data += piece
    refused(data, "other_unit")


def test_an_issuer_that_is_gone(credd, issuer):
    """The same for fetches that end as soon as they begin."""
    urls = {"user_token_url": f"http://127.0.0.1:{free_port()}/token"}
    daemon = credd(request_timeout="10m", urls={"portal": urls})
    refused(ask(daemon), "issuer_unreachable")


def test_an_issuer_that_is_down(credd, issuer):
    """Nothing but the ends of its fetches wakes the daemon."""
    daemon = credd(request_timeout="10m")
    issuer.behave(status=500, body="oops")
    refused(ask(daemon), "issuer_error")
    issuer.reset()


def test_an_issuer_that_refuses(credd, issuer):
    daemon = credd()
    issuer.behave(error="invalid_grant")
    refused(ask(daemon), "subject_refused")


def test_an_issuer_that_hangs(credd, issuer):
    daemon = credd(request_timeout="300ms")
    issuer.behave(hold=True)
    refused(ask(daemon), "request_timeout")
    issuer.release()


def test_more_scope_than_was_asked_for(credd, issuer):
    daemon = credd()
    answer = {"access_token": "x", "token_type": "Bearer", "expires_in": 60}
    issuer.behave(status=200, body=json.dumps({**answer, "scope": f"{READ} {MANAGE}"}))
    refused(ask(daemon), "granted_too_much")


def test_units_wait_for_one_fetch(credd, issuer):
    daemon = credd()
    issuer.behave(hold=True)
    with in_unit(UNIT):
        waiting = [connect(daemon, address(UNIT, ID)) for _ in range(5)]
        issuer.wait_for("held", 1)
        issuer.release()
        assert len({granted(read(connection), "pa") for connection in waiting}) == 1
    assert issuer.requests() == 1


def test_one_that_hangs_up_while_it_waits(credd, issuer):
    daemon = credd()
    issuer.behave(hold=True)
    with in_unit(UNIT):
        connect(daemon, address(UNIT, ID)).close()
        issuer.wait_for("held", 1)
        issuer.release()
        granted(read(connect(daemon, address(UNIT, ID))), "pa")


def test_the_cap(credd, issuer):
    """Above it a connection waits until there is room: it is neither refused nor closed."""
    daemon = credd()
    issuer.behave(hold=True)
    with in_unit(UNIT):
        waiting = [connect(daemon, address(UNIT, ID)) for _ in range(CAP + 10)]
        daemon.output.wait_for(f"{CAP} units have their credentials fetched; others wait")
        # The loop is not kept awake by those who wait.
        before = daemon.cpu_seconds()
        late = waiting[-1]
        late.settimeout(0.5)
        with pytest.raises(TimeoutError):
            late.recv(1)
        assert daemon.cpu_seconds() - before < 0.25
        late.settimeout(TIMEOUT)
        issuer.release()
        for connection in waiting:
            granted(read(connection), "pa")
    text = daemon.stop()
    assert totals(text)["credentials"] == CAP + 10
    assert totals(text)["credentials_full"] >= 1
    assert totals(text)["misses"] == 1


def test_peers_that_do_not_read(credd):
    """They are cut after header_timeout, that of today, and others are served meanwhile."""
    daemon = credd(limits={"header_timeout": "1m"})
    daemon.reload(limits={"header_timeout": "500ms"})
    stuck = [connect(daemon, address("stranger.service", ID)) for _ in range(CAP)]
    granted(ask(daemon), "pa")
    for connection in stuck:
        eventually(lambda: hung_up(connection), "the connection to be cut")
        assert len(read(connection)) < LIMIT
    daemon.stop()


# Connects without end, but for a bound; says so when it has begun.
FLOOD = """
import socket, sys, time
end = time.monotonic() + float(sys.argv[2])
print("begun", flush=True)
while time.monotonic() < end:
    with socket.socket(socket.AF_UNIX) as one:
        one.setblocking(False)
        try:
            one.connect(sys.argv[1])
        except BlockingIOError:
            pass
"""


def test_a_flood_of_others(credd):
    """Where the socket is open to them they are closed as fast as they come, and the loop goes on."""
    daemon = credd(mode="0666")
    place = daemon.settings["listen"][0]["unix"]
    command = [*become(NOBODY), sys.executable, "-c", FLOOD, daemon.credentials, str(2 * TIMEOUT)]
    floods = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for flood in floods:
            assert flood.stdout.readline() == b"begun\n"
        for _ in range(20):
            assert daemon.request("GET", "/healthz", address=place).status == 200
        assert all(flood.poll() is None for flood in floods), "the flood was over before"
    finally:
        for flood in floods:
            flood.kill()
            flood.communicate()
    granted(ask(daemon), "pa")


def hung_up(connection):
    """Whether the other end has closed it, with all that was sent still to be read."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


def test_a_stop_refuses_those_who_wait(credd, issuer):
    daemon = credd(drain_timeout="0s")
    issuer.behave(hold=True)
    with in_unit(UNIT):
        connection = connect(daemon, address(UNIT, ID))
        issuer.wait_for("held", 1)
        daemon.terminate()
        refused(read(connection), "shutting_down")
    daemon.ended()
    issuer.release()


def test_entries_change_while_a_unit_waits(credd, issuer):
    """At SIGHUP those who wait are judged by the entries that hold now."""
    daemon = credd()
    issuer.behave(hold=True)
    with in_unit(UNIT):
        kept = connect(daemon, address(UNIT, ID))
        lost = connect(daemon, address(UNIT, "other"))
        changed = connect(daemon, address(UNIT, "crm"))
        issuer.wait_for("held", 3)
        entries = [ENTRIES[0], {**ENTRIES[2], "subject": "userid:815"}]
        daemon.settings["credentials"] = entries
        lines = [f"{name} = {libconfig(value)};" for name, value in daemon.settings.items()]
        daemon.path.write_text("\n".join(lines) + "\n")
        daemon.terminate(signal.SIGHUP)
        refused(read(lost), "client_not_permitted")
        refused(read(changed), "subject_not_permitted")
        issuer.release()
        granted(read(kept), "pa")
        issuer.reset()
        granted(read(connect(daemon, address(UNIT, "crm"))), "815")
    refused(ask(daemon, "batch@7.service"), "no_credential")


def test_the_socket_is_roots(credd):
    daemon = credd()
    assert os.stat(daemon.credentials).st_mode & 0o777 == 0o600
    daemon.stop()
    assert not os.path.exists(daemon.credentials)


def test_hundreds_one_after_the_other(credd, issuer):
    """No descriptor and no place is lost, whatever becomes of them."""
    daemon = credd()
    with in_unit(UNIT):
        for i in range(300):
            granted(read(connect(daemon, address(UNIT, ID))), "pa")
            connect(daemon, address(UNIT, ID if i % 2 else "unknown")).close()
    fds = Path(f"/proc/{daemon.process.pid}/fd")
    eventually(lambda: len(list(fds.iterdir())) < 40, "the descriptors to be closed")
    assert issuer.requests() == 1
    assert 300 <= totals(daemon.stop())["credentials"] <= 450
