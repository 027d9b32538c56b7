# SPDX-License-Identifier: MIT
"""Secrets on a file system that does not answer: nobody else has to wait for it."""

import contextlib
import os
import re
import signal
from pathlib import Path

import pytest

import expect
from hang import Gates
from harness import CLIENTS, CRM, PORTAL, Daemon, ask_bytes
from test_notify import Manager
from wire import Connection

NEW = "answers~at-last/0815+x"


@pytest.fixture
def gates(tmp_path):
    directory = tmp_path / "gates"
    directory.mkdir()
    gates = Gates(directory)
    yield gates
    gates.open_all()


@pytest.fixture
def daemon(start_daemon, issuer, gates):
    for client in CLIENTS:
        issuer.accept(client, client.secret)
    yield start_daemon(env=gates.environment())
    issuer.accept(PORTAL, PORTAL.secret)


@pytest.fixture
def hanging(issuer, gates):
    """A daemon that hangs in its start; `env` may have more."""
    with contextlib.ExitStack() as stack:

        def start(**env):
            daemon = Daemon(issuer, env={**gates.environment(), **env})
            stack.callback(daemon.close)
            gates.close(daemon.secret_file(PORTAL))
            daemon.spawn_daemon()
            gates.wait_for(daemon.secret_file(PORTAL))
            return daemon

        yield start


@pytest.fixture(params=["file", "folder"])
def place(request, daemon):
    """What hangs: opening the secret, or watching its folder."""
    path = daemon.secret_file(PORTAL)
    return path if request.param == "file" else path.parent


class TestStart:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_at_once(self, hanging, number):
        daemon = hanging()
        daemon.terminate(number)
        assert daemon.wait() == -number

    def test_the_same_under_a_manager(self, hanging, tmp_path):
        with contextlib.closing(Manager(tmp_path)) as manager:
            daemon = hanging(NOTIFY_SOCKET=manager.path)
            daemon.terminate()
            assert daemon.wait() == 0

    def test_it_goes_on_when_there_is_an_answer(self, hanging, gates, subject):
        daemon = hanging()
        gates.open(daemon.secret_file(PORTAL))
        daemon.output.wait_for(r"\bready\b")
        expect.miss(daemon.ask(subject), subject)
        daemon.stop()


class TestServing:
    def test_callers_are_served_meanwhile(self, daemon, issuer, gates, subject, place):
        expect.miss(daemon.ask(f"live-{subject}"), f"live-{subject}")
        issuer.accept(PORTAL, PORTAL.secret, NEW)
        gates.close(place)
        daemon.put_secret(PORTAL, NEW)
        gates.wait_for(place)
        assert daemon.request("GET", "/healthz").status == 200
        expect.hit(daemon.ask(f"live-{subject}"), f"live-{subject}")
        expect.miss(daemon.ask(subject), subject)

        gates.open(place)
        daemon.output.wait_for("the client secret has changed")
        issuer.accept(PORTAL, NEW)
        expect.miss(daemon.ask(f"new-{subject}"), f"new-{subject}")

    def test_a_refused_one_waits_for_the_files(self, daemon, issuer, gates, subject, place):
        """The reading that hangs had begun before, and may have seen the old one: it is no answer."""
        gates.close(place)
        daemon.secret_file(PORTAL).touch()
        gates.wait_for(place)
        issuer.accept(PORTAL, NEW)
        issuer.accept(CRM, CRM.secret)
        with Connection(daemon.unix) as connection:
            connection.send(ask_bytes(subject))
            daemon.output.wait_for("the issuer refuses the client secret; reading it again")
            expect.miss(daemon.ask(f"crm-{subject}", client_id="crm"), f"crm-{subject}", client=CRM)
            daemon.put_secret(PORTAL, NEW)
            gates.open(place)
            expect.miss(connection.receive(), subject)
        assert issuer.stats()["by_status"] == {"200": 2, "401": 1}

    def test_but_not_for_ever(self, daemon, issuer, gates, subject):
        path = daemon.secret_file(PORTAL)
        gates.close(path)
        daemon.put_secret(PORTAL, NEW)
        gates.wait_for(path)
        issuer.accept(PORTAL, NEW)
        expect.error(daemon.ask(subject), 502, "server_error")
        line = daemon.output.wait_for("could not be read within 5 s .* is kept$").string
        assert line.startswith("egain-tokend: warning: client 'portal': ") and str(path) in line
        # Whoever is refused now does not wait at all.
        issuer.accept(CRM, "another")
        expect.error(daemon.ask(subject, client_id="crm"), 502, "server_error")

        since = len(daemon.output.lines)
        gates.open(path)
        daemon.output.wait_for("every client secret can be read again", since)
        daemon.output.wait_for("'portal': the client secret has changed")
        expect.miss(daemon.ask(subject), subject)
        issuer.accept(CRM, CRM.secret)

    def test_the_end(self, daemon, issuer, gates):
        gates.close(daemon.secret_file(PORTAL))
        daemon.secret_file(PORTAL).touch()
        gates.wait_for(daemon.secret_file(PORTAL))
        daemon.stop()


class TestReload:
    def test_callers_are_served_meanwhile(self, daemon, gates, subject, place):
        expect.miss(daemon.ask(subject), subject)
        gates.close(place)
        daemon.terminate(signal.SIGHUP)
        gates.wait_for(place)
        expect.hit(daemon.ask(subject), subject)
        gates.open(place)
        daemon.output.wait_for("again; changed: nothing")

    def test_another_file_is_the_way_out(self, daemon, issuer, gates, subject, tmp_path):
        """What hangs on the old one is left behind, and who waits for it waits for the new one."""
        path = daemon.secret_file(PORTAL)
        gates.close(path)
        path.touch()
        gates.wait_for(path)
        issuer.accept(PORTAL, NEW)
        daemon.forbidden.add(NEW)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.touch(0o600)
        elsewhere.write_text(NEW + "\n")
        with Connection(daemon.unix) as connection:
            connection.send(ask_bytes(subject))
            daemon.output.wait_for("the issuer refuses the client secret; reading it again")
            put_elsewhere(daemon, elsewhere)
            expect.miss(connection.receive(), subject)
        gates.open(path)
        expect.miss(daemon.ask(f"more-{subject}"), f"more-{subject}")
        assert issuer.stats()["by_status"] == {"200": 2, "401": 1}


def put_elsewhere(daemon, path):
    clients = [dict(client) for client in daemon.settings["clients"]]
    clients[0]["client_secret_file"] = path
    daemon.reload(clients=clients)


def watched(daemon):
    """The inodes of the folders that it watches."""
    infos = []
    for info in Path(f"/proc/{daemon.process.pid}/fdinfo").iterdir():
        infos += re.findall(r"^inotify wd:\S+ ino:(\w+)", info.read_text(), re.MULTILINE)
    return sorted(int(inode, 16) for inode in infos)


class TestWatching:
    def test_only_what_is_configured(self, start_daemon, issuer, tmp_path):
        daemon = start_daemon(clients=[PORTAL])
        before = daemon.secret_file(PORTAL)
        assert watched(daemon) == [os.stat(before.parent).st_ino]
        path = tmp_path / "secret"
        path.touch(0o600)
        path.write_text(PORTAL.secret + "\n")
        put_elsewhere(daemon, path)
        assert watched(daemon) == [os.stat(tmp_path).st_ino]

        # It still is, after a change.
        issuer.accept(PORTAL, PORTAL.secret, NEW)
        daemon.put_secret(PORTAL, NEW, path=path)
        daemon.output.wait_for("the client secret has changed")
        assert watched(daemon) == [os.stat(tmp_path).st_ino]
        issuer.accept(PORTAL, PORTAL.secret)
