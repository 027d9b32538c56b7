# SPDX-License-Identifier: MIT
"""What a service manager is told, the test being the manager."""

import contextlib
import os
import re
import signal
import socket
import time
from dataclasses import replace

import pytest

import expect
from harness import PORTAL, Daemon, libconfig
from wire import TIMEOUT, eventually


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, directory):
        self.path = str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)
        self.messages = []

    def read(self, timeout):
        """The next message as a dict; None if none comes."""
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(65536).decode()
        except (TimeoutError, BlockingIOError):
            return None
        lines = [line.split("=", 1) for line in data.splitlines()]
        message = dict(lines)
        assert len(message) == len(lines), data
        self.messages.append(message)
        return message

    def wait_for(self, name, pattern=""):
        """The first message from now on that has a variable with such a value."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            message = self.read(1)
            if message and name in message and re.search(pattern, message[name]):
                return message
        raise AssertionError(f"no {name}={pattern} in {self.messages}")

    def fill(self):
        """Lets its queue run full; how many messages that took."""
        n = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.sendto(b"FULL=1", self.path)
                    n += 1
        return n

    def close(self):
        self.socket.close()


@pytest.fixture
def manager(tmp_path_factory):
    manager = Manager(tmp_path_factory.mktemp("manager"))
    yield manager
    manager.close()


@pytest.fixture
def notify_daemon(manager, start_daemon):
    def start(**settings):
        env = {"NOTIFY_SOCKET": manager.path, **settings.pop("env", {})}
        return start_daemon(env=env, **settings)

    return start


class TestStates:
    def test_from_the_start_to_the_end(self, manager, notify_daemon):
        daemon = notify_daemon(drain_timeout="3s")
        ready = manager.wait_for("READY")
        # What it said before was only to ask for time.
        assert all(set(m) <= {"EXTEND_TIMEOUT_USEC"} for m in manager.messages[:-1])
        assert ready["READY"] == "1"
        assert re.fullmatch(
            r"serving; 0 tokens, 0 in flight; portal: issuer not asked yet; "
            r"crm: issuer not asked yet; staff: issuer not asked yet",
            ready["STATUS"],
        )
        expect.token(daemon.ask("pa"), "pa")
        manager.wait_for(
            "STATUS", "1 token, 0 in flight; portal: issuer well; crm: issuer not asked yet"
        )

        daemon.terminate(signal.SIGHUP)
        reloading = manager.wait_for("RELOADING")
        assert abs(int(reloading["MONOTONIC_USEC"]) / 1e6 - time.monotonic()) < 10
        manager.wait_for("READY")

        daemon.terminate()
        stopping = manager.wait_for("STOPPING")
        assert int(stopping["EXTEND_TIMEOUT_USEC"]) >= 3_000_000
        daemon.ended()
        assert not any("READY" in m or "RELOADING" in m for m in after(manager, stopping))

    def test_ready_means_that_it_listens(self, manager, issuer):
        with Daemon(issuer, env={"NOTIFY_SOCKET": manager.path}) as daemon:
            manager.wait_for("READY")
            for address in (daemon.unix, daemon.tcp4, daemon.tcp6):
                assert daemon.request("GET", "/readyz", address=address).status == 200

    def test_an_issuer_that_fails(self, manager, notify_daemon, issuer):
        daemon = notify_daemon(request_timeout="2s")
        manager.wait_for("READY")
        issuer.behave(status=500)
        for number in range(6):
            daemon.ask(f"failing-{number}")
        manager.wait_for("STATUS", "portal: issuer fails; crm: issuer not asked yet")
        issuer.reset()

    def test_an_issuer_of_which_one_failure_is_all_that_is_known(
        self, manager, notify_daemon, issuer
    ):
        daemon = notify_daemon(request_timeout="2s")
        manager.wait_for("READY")
        issuer.behave(status=500)
        daemon.ask("failing")
        manager.wait_for("STATUS", "portal: issuer fails")
        issuer.reset()
        expect.token(daemon.ask("well"), "well")
        manager.wait_for("STATUS", "portal: issuer well")

    def test_of_many_only_those_that_fare_badly_are_named(self, manager, notify_daemon, issuer):
        clients = [replace(PORTAL, name=f"portal-{i}", client_id=f"id-{i}") for i in range(5)]
        daemon = notify_daemon(clients=clients)
        status = manager.wait_for("READY")["STATUS"]
        assert status.endswith("0 in flight; 0 of 5 client applications well, 5 not asked yet")
        # The issuer answers, for the others as well; it does not know this client_id.
        daemon.ask("pa", client_id="portal-0")
        manager.wait_for(
            "STATUS", "; 4 of 5 client applications well; portal-0: client secret refused$"
        )

    def test_an_abstract_name(self, start_daemon):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
            name = f"egain-tokend-test-{os.getpid()}"
            bound.bind("\0" + name)
            bound.settimeout(TIMEOUT)
            start_daemon(env={"NOTIFY_SOCKET": "@" + name})
            eventually(lambda: b"READY=1" in bound.recv(65536), "READY=1")


def after(manager, message):
    while manager.read(0.2):
        pass
    return manager.messages[manager.messages.index(message) + 1 :]


class TestStatus:
    def test_at_most_once_a_second(self, manager, notify_daemon):
        daemon = notify_daemon()
        manager.wait_for("READY")
        started = time.monotonic()
        with daemon.connect() as connection:
            n = 0
            while time.monotonic() - started < 3.2:
                connection.request("GET", "/healthz")
                daemon.ask(f"status-{n}")
                n += 1
                manager.read(0.001)
        while manager.read(1.2):
            pass
        changes = [m for m in manager.messages if "STATUS" in m and "READY" not in m]
        assert 2 <= len(changes) <= 5, changes
        # The last one tells how it is in the end.
        assert f"{n} tokens" in changes[-1]["STATUS"]

    def test_silence_when_nothing_changes(self, manager, notify_daemon):
        notify_daemon()
        manager.wait_for("READY")
        manager.read(1.5)
        n = len(manager.messages)
        assert manager.read(2.5) is None and len(manager.messages) == n


class TestNobodyThere:
    @pytest.mark.parametrize(
        "name", ["/nowhere/notify", "relative", "@", "/", "/" + "x" * 200, "@nobody-has-this"]
    )
    def test_it_serves_all_the_same(self, start_daemon, name):
        daemon = start_daemon(env={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"})
        expect.token(daemon.ask("alone"), "alone")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.settle()
        daemon.output.wait_for("no service manager will be told")

    def test_one_that_goes_away(self, manager, notify_daemon):
        daemon = notify_daemon(env={"WATCHDOG_USEC": "100000"})
        manager.wait_for("READY")
        manager.close()
        os.unlink(manager.path)
        time.sleep(0.3)
        expect.token(daemon.ask("alone"), "alone")

    def test_one_that_does_not_read(self, manager, notify_daemon):
        assert manager.fill() > 0
        daemon = notify_daemon(env={"WATCHDOG_USEC": "100000"})
        for number in range(5):
            started = time.monotonic()
            expect.token(daemon.ask(f"unread-{number}"), f"unread-{number}")
            assert time.monotonic() - started < 5
        before = daemon.cpu_seconds()
        time.sleep(1)
        assert daemon.cpu_seconds() - before < 0.5
        # When it reads again it learns how things are.
        message = manager.wait_for("READY")
        assert message["READY"] == "1"
        manager.fill()
        daemon.stop()


class TestWatchdog:
    def test_it_is_fed_in_time(self, manager, notify_daemon):
        notify_daemon(env={"WATCHDOG_USEC": "1000000"})
        manager.wait_for("READY")
        times = []
        for _ in range(4):
            manager.wait_for("WATCHDOG", "1")
            times.append(time.monotonic())
        gaps = [b - a for a, b in zip(times, times[1:])]
        assert all(0.3 < gap < 0.9 for gap in gaps), gaps

    def test_not_when_it_is_another_process_s(self, manager, notify_daemon):
        notify_daemon(env={"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
        manager.wait_for("READY")
        manager.read(1.5)
        assert not any("WATCHDOG" in m for m in manager.messages)

    @pytest.mark.parametrize("value", ["soon", "0", "-5", ""])
    def test_nonsense_is_none(self, manager, notify_daemon, value):
        notify_daemon(env={"WATCHDOG_USEC": value})
        manager.wait_for("READY")
        manager.read(0.5)
        assert not any("WATCHDOG" in m for m in manager.messages)

    def test_a_stopped_process_does_not_feed_it(self, manager, notify_daemon):
        daemon = notify_daemon(env={"WATCHDOG_USEC": "200000"})
        manager.wait_for("WATCHDOG")
        daemon.process.send_signal(signal.SIGSTOP)
        while manager.read(0.4):
            pass
        daemon.process.send_signal(signal.SIGCONT)
        manager.wait_for("WATCHDOG")


class TestBadConfiguration:
    def test_it_says_so_and_heals(self, manager, issuer):
        daemon = Daemon(issuer, env={"NOTIFY_SOCKET": manager.path})
        good = dict(daemon.settings)
        daemon.settings["no_such_option"] = 1
        try:
            daemon.spawn_daemon()
            message = manager.wait_for("STATUS", "waiting for a configuration .*no_such_option")
            assert "READY" not in message and str(daemon.path) in message["STATUS"]
            # It is not given up for the time it takes.
            for _ in range(2):
                assert int(manager.wait_for("EXTEND_TIMEOUT_USEC")["EXTEND_TIMEOUT_USEC"]) > 3e7
            daemon.path.write_text("".join(f"{k} = {libconfig(v)};\n" for k, v in good.items()))
            ready = manager.wait_for("READY")
            assert ready["STATUS"].startswith("serving")
            daemon.stop()
        finally:
            daemon.close()
