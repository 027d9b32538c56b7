# SPDX-License-Identifier: MIT
"""The installed tree as an operator has it: units, sockets, users, and what he does with them."""

import contextlib
import re
import time

import pytest

import expect
from harness import PORTAL, ask_bytes, payload
from service import (
    BROKEN,
    CONFIG,
    CONFIG_PATH,
    SANITIZER,
    SECRET_PATH,
    SERVICE,
    SOCKETS,
    UNIX,
)
from wire import Closed, eventually, form_request


def test_units_are_in_order(service):
    units = [f"/usr/local/lib/systemd/system/{unit}" for unit in (SERVICE, *SOCKETS)]
    units.append("/usr/local/lib/systemd/system/egain-tokend-credentials.socket")
    done = service.machine.run("systemd-analyze", "verify", "--man=no", *units)
    assert done.stdout == "" and done.stderr == ""


def test_exposure(service):
    path = f"/usr/local/lib/systemd/system/{SERVICE}"
    done = service.machine.run(
        "systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=18", path
    )
    score = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)[1])
    assert score <= 1.8, done.stdout
    # What is left open has a comment that says why.
    relaxed = set(re.findall(r"^\S*\u2717 (\w+=)", done.stdout, re.MULTILINE))
    assert {"PrivateNetwork=", "PrivateUsers="} <= relaxed, done.stdout
    comments = "\n".join(
        line for line in service.machine.path(path).read_text().splitlines() if line[:1] == "#"
    )
    assert not {name for name in relaxed if name not in comments}


def test_what_the_unit_says(service):
    """As systemd has understood it."""
    service.start()
    text = service.systemctl("show", SERVICE).stdout
    shown = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    for name, value in {
        "Type": "notify",
        "NotifyAccess": "main",
        "WatchdogUSec": "15s",
        "Restart": "on-failure",
        "RestartUSec": "1s",
        "StartLimitIntervalUSec": "0",
        "LimitNOFILE": "131072",
        "LimitCORE": "0",
        "LimitMEMLOCK": "infinity",
        "MemorySwapMax": "0",
        "FileDescriptorStoreMax": "16",
        "RuntimeDirectory": "",
        "User": "egain-tokend",
    }.items():
        assert shown.get(name, "") == value, name
    assert SOCKETS[0] in shown["Requires"].split()
    after = shown["After"].split()
    assert {*SOCKETS, "egain-tokend-credentials.socket", "nss-user-lookup.target"} <= set(after)
    assert "nss-user-lookup.target" in shown["Wants"].split()


def test_users_and_folders(service):
    machine = service.machine
    assert machine.run("id", "-gn", "egain-tokend").stdout.strip() == "egain-tokend"
    assert machine.run("getent", "group", "egain-token").returncode == 0
    stat = machine.run("stat", "--format=%a %U %G", "/etc/egain-tokend", "/run/egain-tokend")
    assert stat.stdout.splitlines() == ["750 root egain-tokend", "755 root root"]


def test_the_first_request_starts_it(service):
    service.systemctl("start", *SOCKETS)
    assert service.show("ActiveState") == "inactive"
    service.granted("first")
    assert service.show("ActiveState") == "active"


def test_the_first_request_over_tcp_starts_it(service):
    service.systemctl("start", *SOCKETS)
    request = form_request(
        {"grant_type": "password", "subject_username": "tcp"}, [("Connection", "close")]
    )
    for address in ("127.0.0.1:8471", "[::1]:8471"):
        answer = service.machine.ask("over-tcp.service", address, request, User="svc")
        assert answer.startswith(b"HTTP/1.1 200 "), answer


def test_start_returns_when_it_is_ready(service):
    service.start()
    assert service.show("SubState") == "running"
    assert service.show("StatusText").startswith("serving; 0 tokens, 0 in flight; portal: issuer")
    service.granted()
    service.wait_for_status("serving; 1 token, 0 in flight; portal: issuer well")


def test_its_user_sees_who_asks(service):
    """The sandbox leaves to see what identity is made of."""
    service.start()
    request = form_request(
        {"grant_type": "password", "subject_username": "pa"}, [("Connection", "close")]
    )
    granted = service.machine.ask("crm.service", UNIX, request, User="svc")
    assert granted.startswith(b"HTTP/1.1 200 "), granted
    refused = service.machine.ask("other.service", UNIX, request, User="svc")
    assert refused.startswith(b"HTTP/1.1 403 "), refused
    # Group and mode keep others from connecting.
    service.machine.add_user("outsider")
    with pytest.raises(AssertionError):
        service.machine.ask("outsider.service", UNIX, request, User="outsider")
    service.systemctl("reset-failed", check=False)
    pid = service.show("MainPID")
    owner = service.machine.run("stat", "--format=%U", f"/proc/{pid}").stdout.strip()
    assert owner == "egain-tokend"


def test_stop_and_start_by_the_next_request(service):
    service.start()
    service.granted()
    service.systemctl("stop", SERVICE)
    assert service.machine.path(UNIX).is_socket()
    service.granted()
    service.stop()
    # Stopped for good, since the sockets are.
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        service.connect().close()


def test_a_configuration_broken_and_repaired(service):
    service.start()
    service.granted()
    socket_id = service.show("InvocationID", SOCKETS[0])
    service.configure(BROKEN)
    since = service.cursor()
    service.systemctl("restart", "--no-block", SERVICE)
    service.wait_for_status("waiting for a configuration.*defualt_scope")
    pid = service.show("MainPID")
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(service.connect()) for _ in range(50)]
        for number, connection in enumerate(waiting):
            connection.send(ask_bytes(f"waits-{number}"))
        time.sleep(2.5)  # through some tries
        assert service.show("ActiveState") == "activating"
        service.configure()
        for number, connection in enumerate(waiting):
            expect.token(connection.receive(), f"waits-{number}")
    assert service.show("MainPID") == pid
    assert service.show("NRestarts") == "0"
    assert service.show("InvocationID", SOCKETS[0]) == socket_id
    text = service.journal(since)
    assert text.count("defualt_scope") == 1, text


def test_what_waits_for_its_configuration_stops_at_once(service):
    service.configure(BROKEN)
    service.systemctl("start", "--no-block", *SOCKETS, SERVICE)
    service.wait_for_status("waiting for a configuration")
    started = time.monotonic()
    service.systemctl("stop", SERVICE)
    assert time.monotonic() - started < 5
    assert service.show("Result") == "success"


def test_it_is_not_given_up_while_it_waits(service):
    service.drop_in(f"[Service]\n{SANITIZER}TimeoutStartSec=2s\n")
    service.configure(BROKEN)
    service.systemctl("start", "--no-block", *SOCKETS, SERVICE)
    service.wait_for_status("waiting for a configuration")
    pid = service.show("MainPID")
    time.sleep(4)
    assert service.show("MainPID") == pid
    assert service.show("ActiveState") == "activating"
    service.configure()
    service.granted()


def test_killed(service):
    service.start()
    service.granted()
    pid = service.show("MainPID")
    before, since = service.issuer_requests(), service.cursor()
    service.systemctl("kill", "--kill-who=main", "--signal=KILL", SERVICE)
    expect.miss(service.ask("pa"), "pa")  # what was in memory is gone
    assert service.show("MainPID") not in (pid, "0")
    assert service.show("NRestarts") == "1"
    assert service.issuer_requests() == before + 1
    assert "restored nothing" in service.journal(since)


def test_a_stuck_loop(service):
    service.drop_in(f"[Service]\n{SANITIZER}WatchdogSec=1s\n")
    service.start()
    service.granted()
    time.sleep(2.5)  # it lives as long as it turns
    assert service.show("NRestarts") == "0"
    since = service.cursor()
    service.systemctl("kill", "--kill-who=main", "--signal=STOP", SERVICE)
    with service.connect() as caller:
        caller.send(ask_bytes("stuck"))
        eventually(lambda: service.show("NRestarts") == "1", "the watchdog")
        assert "Watchdog timeout" in service.journal(since)
        # Whoever had connected before is answered by the next process, or none.
        with contextlib.suppress(Closed):
            expect.token(caller.receive(), "stuck")
    service.granted("after")


def test_systemd_is_exchanged(service):
    """Its successor goes on with the sockets, the watchdog and the status."""
    service.drop_in(f"[Service]\n{SANITIZER}WatchdogSec=2s\n")
    service.start()
    pid = service.show("MainPID")
    service.systemctl("daemon-reexec")
    service.granted("exchanged")
    service.wait_for_status("1 token,")
    time.sleep(3)
    assert service.show("MainPID") == pid


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_secret_from_systemd(service, encrypted):
    service.configure(
        CONFIG.replace(
            f'client_secret_file = "{SECRET_PATH}"', 'client_secret_credential = "portal"'
        )
    )
    machine = service.machine
    if encrypted:
        cred = "/etc/egain-tokend/portal.cred"
        machine.run(
            *("systemd-creds", "encrypt", "--with-key=host", "--name=portal", SECRET_PATH, cred)
        )
        assert PORTAL.secret.encode() not in machine.path(cred).read_bytes()
        machine.run("chmod", "600", cred)
        load = f"LoadCredentialEncrypted=portal:{cred}"
    else:
        load = f"LoadCredential=portal:{SECRET_PATH}"
    service.drop_in(f"[Service]\n{SANITIZER}{load}\n")
    service.start()
    service.granted()
    # Nobody but the daemon's own process can read it: a reload leaves that to it.
    service.systemctl("reload", SERVICE)
    expect.hit(service.ask(), "pa")


def test_a_secret_that_systemd_was_not_asked_for(service):
    """No LoadCredential=, no credentials directory: it is waited out like a mistake in the file."""
    service.configure(
        CONFIG.replace(
            f'client_secret_file = "{SECRET_PATH}"', 'client_secret_credential = "portal"'
        )
    )
    service.systemctl("start", "--no-block", *SOCKETS, SERVICE)
    service.wait_for_status("waiting for a configuration.*LoadCredential=portal")
    service.drop_in(f"[Service]\n{SANITIZER}LoadCredential=other:{SECRET_PATH}\n")
    service.systemctl("restart", "--no-block", SERVICE)
    service.wait_for_status("waiting for a configuration.*/portal cannot be opened")
    with service.connect() as waiting:
        waiting.send(ask_bytes("pa"))
        service.drop_in(f"[Service]\n{SANITIZER}LoadCredential=portal:{SECRET_PATH}\n")
        service.systemctl("restart", SERVICE)
        expect.token(waiting.receive(), "pa")


def test_a_socket_with_another_mode(service):
    """It names both files, and heals when the configuration is changed to agree."""
    service.drop_in("[Socket]\nSocketMode=0666\nSocketGroup=root\n", SOCKETS[0])
    since = service.cursor()
    service.systemctl("start", "--no-block", *SOCKETS, SERVICE)
    service.wait_for_status("mode 0666")
    text = service.journal(since)
    assert f"{CONFIG_PATH}:3: {UNIX} has mode 0666 by '{SOCKETS[0]}'" in text, text
    assert f"{CONFIG_PATH}:3: {UNIX} belongs to group 0 by '{SOCKETS[0]}'" in text, text
    service.configure(CONFIG.replace('"0660"', '"0666"').replace('"egain-token"', '"root"'))
    service.granted()


def test_a_socket_that_is_not_enabled(service):
    since = service.cursor()
    service.systemctl("start", "--no-block", SOCKETS[0], SERVICE)
    service.wait_for_status("127.0.0.1:8471 was not inherited")
    assert "enable the socket unit" in service.journal(since)


@pytest.fixture
def enabled_service(service):
    """Running, with a token in memory, and its sockets as operators have them: it needs them."""
    service.systemctl("enable", *SOCKETS, SERVICE)
    service.start()
    service.granted()
    yield service
    service.systemctl("disable", *SOCKETS, SERVICE)


def test_another_port(enabled_service):
    """The socket unit restarted takes the service with it, and what is in memory stays."""
    service = enabled_service
    service.drop_in(
        "[Socket]\nListenStream=\nListenStream=127.0.0.1:9471\nListenStream=[::1]:9471\n", SOCKETS[1]
    )
    service.configure(CONFIG.replace("localhost:8471", "localhost:9471"))
    service.systemctl("restart", SOCKETS[1])
    service.wait_for_status("serving; 1 token,")
    expect.hit(service.ask(), "pa")
    assert "127.0.0.1:9471" in service.show("Listen", SOCKETS[1])


def test_no_tcp_any_more(enabled_service):
    service = enabled_service
    service.systemctl("disable", "--now", SOCKETS[1])
    service.configure(CONFIG.replace(',\n  { tcp = "localhost:8471"; }', ""))
    service.systemctl("restart", SERVICE)
    service.wait_for_status("serving; 1 token,")
    expect.hit(service.ask(), "pa")


def test_enabled_for_the_next_boot(service):
    """The service requires the sockets that are enabled, and no others."""
    service.systemctl("enable", SERVICE, SOCKETS[1])
    try:
        assert service.systemctl("is-enabled", *SOCKETS, SERVICE).stdout.split() == ["enabled"] * 3
        service.systemctl("start", SERVICE)
        for unit in SOCKETS:
            assert service.show("ActiveState", unit) == "active"
        assert service.show("ActiveState", "egain-tokend-credentials.socket") == "inactive"
        token = service.ask().json()["access_token"]
        assert payload(token)["sub"] == "pa"
    finally:
        service.systemctl("disable", SERVICE, *SOCKETS)
