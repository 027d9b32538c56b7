# SPDX-License-Identifier: MIT
"""A daemon with no descriptor left, with one, with two, …: whoever asks is answered, with his token
or a documented refusal, or waits in the socket's queue until there is one again. What is not to be
had is held against nobody: neither the issuer nor the caller is judged by it."""

import contextlib
import json
import os
import resource

import pytest

from harness import PORTAL, ask_bytes, payload, rule
from scrape import Metrics
from test_credentials import UNIT, in_unit
from wire import Connection, eventually

# More than any request opens.
ENOUGH = 12

REFUSED = (503, "temporarily_unavailable")


def descriptors_of(pid):
    """Those that it has, once those are gone whose connections have been closed."""
    seen = []

    def stayed():
        seen.append({int(name) for name in os.listdir(f"/proc/{pid}/fd")})
        return len(seen) >= 8 and all(used == seen[-1] for used in seen[-8:])

    eventually(stayed, "descriptors to be at rest", interval=0.01)
    return seen[-1]


@contextlib.contextmanager
def left(daemon, count):
    """The daemon can open so many descriptors more, and no other."""
    pid = daemon.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = descriptors_of(pid)
    free = [number for number in range(len(used) + count + 1) if number not in used]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[count], limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def is_token_of(subject, response):
    if response.status != 200:
        refusal = (response.status, response.json()["error"])
        assert refusal == REFUSED, response
        assert response.header("Retry-After")
        return False
    assert payload(response.json()["access_token"])["sub"] == subject
    return True


@pytest.fixture
def paused(start_daemon):
    """One that says in JSON when it stops accepting."""
    return start_daemon(log_format="json")


def breaker_of(daemon, subject):
    return daemon.explain(subject)["issuer"]


@pytest.mark.parametrize("to", ["unix", "tcp4"])
def test_a_miss(start_daemon, issuer, to):
    """Descriptors go to the connection, and to the socket of the fetch."""
    daemon = start_daemon()
    issuer.behave(headers={"Connection": "close"})
    right = []
    for count in range(1, ENOUGH):
        with left(daemon, count), Connection(getattr(daemon, to)) as connection:
            subject = f"{to}-{count}"
            answer = connection.send(ask_bytes(subject)).receive()
            right.append(is_token_of(subject, answer))
        # No failure of the issuer: nothing is remembered, nobody is kept away.
        assert is_token_of(subject, daemon.ask(subject, address=getattr(daemon, to)))
        assert breaker_of(daemon, subject)["failures_in_a_row"] == 0
        assert breaker_of(daemon, subject)["last_failure"] is None
    assert not right[0] and right[-1], right
    assert right == sorted(right)


def test_who_connects_meanwhile_waits_in_the_queue(paused):
    """Nobody is turned away, and nobody is forgotten."""
    with contextlib.ExitStack() as stack:
        with left(paused, 0):
            waiting = [stack.enter_context(Connection(paused.unix)) for _ in range(20)]
            for connection in waiting:
                connection.send(ask_bytes("queued"))
            paused.wait_for_event("accept_paused")
        for connection in waiting:
            assert is_token_of("queued", connection.receive())
    assert is_token_of("queued", paused.ask("queued"))


def test_connections_that_are_there_are_served(paused, issuer):
    """What is in memory needs no descriptor."""
    issuer.behave(headers={"Connection": "close"})
    paused.ask("hit")
    with Connection(paused.unix) as connection:
        assert is_token_of("hit", connection.send(ask_bytes("hit")).receive())
        with left(paused, 0):
            for _ in range(10):
                assert is_token_of("hit", connection.send(ask_bytes("hit")).receive())
            for path in ("/metrics", "/v1/status", "/v1/tokens", "/healthz"):
                assert connection.request("GET", path).status in (200, 503), path
            refused = connection.send(ask_bytes("missing")).receive()
            assert not is_token_of("missing", refused)
        assert is_token_of("missing", connection.send(ask_bytes("missing")).receive())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to enter a cgroup")
def test_a_unit_that_cannot_be_found_out_is_not_taken_for_none(start_daemon, tmp_path):
    """Its rule gives less than the one behind it, which is for everybody else of the user."""
    mine = rule("unit", user="root", unit=UNIT, subjects=["username:own"])
    others = rule("others", user="root")
    socket = str(tmp_path / "s")
    daemon = start_daemon(callers=[mine, others], listen=[{"unix": socket}])
    daemon.unix = socket
    assert is_token_of("theirs", daemon.ask("theirs"))
    outcomes = set()
    with in_unit(UNIT):
        assert daemon.ask("theirs").status == 403
        for count in range(1, ENOUGH):
            with left(daemon, count), Connection(daemon.unix) as connection:
                answer = connection.send(ask_bytes("theirs")).receive()
                assert answer.status in (403, 503), f"{count} left: {answer}"
                outcomes.add(answer.status)
                if answer.status == 503:
                    assert answer.json()["error"] == "temporarily_unavailable"
            assert is_token_of("own", daemon.ask("own"))
    assert outcomes == {403, 503}


def test_a_secret_that_cannot_be_read_is_kept(start_daemon, issuer):
    daemon = start_daemon(log_format="json")
    daemon.ask("before")
    with left(daemon, 0):
        daemon.put_secret(PORTAL, PORTAL.secret)
        daemon.wait_for_event("secret_kept")
    # No word of the issuer's: the secret that was read before still holds.
    assert is_token_of("after", daemon.ask("after"))


def test_a_reload(start_daemon):
    """One that there are no descriptors for changes nothing, says so, and can be tried again."""
    daemon = start_daemon()
    daemon.ask("hit")
    outcomes = []
    for count in range(ENOUGH):
        with Connection(daemon.unix) as connection:
            assert connection.request("GET", "/healthz").status == 200
            with left(daemon, count):
                answer = connection.request("POST", "/v1/reload")
            assert answer.status in (200, 409), answer
            outcomes.append(answer.json()["reloaded"])
            assert outcomes[-1] or answer.json()["messages"]
            assert is_token_of("hit", connection.send(ask_bytes("hit")).receive())
    assert not outcomes[0] and outcomes[-1], outcomes


@pytest.mark.parametrize("required", [False, True])
def test_an_audit_file_that_was_renamed_and_cannot_be_opened(start_daemon, tmp_path, required):
    """The records go to the old one until the new one can be opened."""
    path = tmp_path / "audit"
    daemon = start_daemon(audit={"to": str(path), "required": required, "fold": "0s"})
    daemon.ask("hit")
    with Connection(daemon.unix) as connection:
        assert is_token_of("hit", connection.send(ask_bytes("hit")).receive())
        with left(daemon, 0):
            path.rename(tmp_path / "old")
            assert is_token_of("hit", connection.send(ask_bytes("hit")).receive())
            eventually(lambda: not scrape_of(connection).sum("egain_tokend_audit_queued"), "room")
        assert is_token_of("hit", connection.send(ask_bytes("hit")).receive())
    daemon.stop()
    records = [
        json.loads(line)
        for name in ("old", "audit")
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert sum(record["outcome"] == "granted" for record in records) == 4


def scrape_of(connection):
    return Metrics(connection.request("GET", "/metrics").body.decode())
