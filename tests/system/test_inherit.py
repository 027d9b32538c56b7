# SPDX-License-Identifier: MIT
"""Sockets that a service manager hands over, and the wait for a configuration that fits them."""

import contextlib
import grp
import os
import signal
import socket
import sys
import tempfile
import time

import pytest

import expect
from harness import PORTAL, TOKEND, Daemon, Program, libconfig
from wire import Connection, eventually

# Puts descriptors where sd_listen_fds(3) has them, and becomes the program.
LAUNCHER = """
import fcntl, os, sys
fds = [int(fd) for fd in sys.argv[1].split(",") if fd]
high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 1000) for fd in fds]
os.closerange(3, 1000)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.environ.setdefault("LISTEN_FDS", str(len(fds)))
os.execv(sys.argv[2], sys.argv[2:])
"""

UNIT = "egain-tokend.socket"
TCP_UNIT = "egain-tokend-tcp.socket"


class Managed(Daemon):
    """A daemon that inherits sockets: `sockets` are pairs of a socket (or descriptor) and a name."""

    def __init__(self, issuer, sockets=None, **settings):
        env = settings.pop("env", {})
        super().__init__(issuer, **settings)
        self.inherited = self.usual_sockets() if sockets is None else sockets(self)
        numbers = [s if isinstance(s, int) else s.fileno() for s, _ in self.inherited]
        names = ":".join(name for _, name in self.inherited)
        self._numbers = numbers
        self._prefix = [sys.executable, "-c", LAUNCHER, ",".join(map(str, numbers))]
        self._env |= {"LISTEN_FDNAMES": names} | env
        self._env = {name: value for name, value in self._env.items() if value is not None}

    def spawn(self, command, **options):
        super().spawn(command, pass_fds=self._numbers, **options)

    def usual_sockets(self):
        return [(listening_unix(self.unix), UNIT), *tcp_sockets(self)]

    def begin(self):
        self.spawn_daemon()
        return self

    def complains(self, *words):
        """Waits for a line that names the configuration and has these words in it."""
        pattern = f"error: {self.path}" + "".join(f".*{word}" for word in words)
        return self.output.wait_for(pattern)

    def end_while_waiting(self):
        """SIGTERM ends at once what waits for its configuration."""
        started = time.monotonic()
        self.terminate()
        assert self.wait() == 0
        assert time.monotonic() - started < 5
        text = self.output.text()
        self.process = None
        assert "Sanitizer" not in text and "ready" not in text, text
        self.check_secrets(text)
        return text

    def close(self):
        super().close()
        for inherited, _ in self.inherited:
            with contextlib.suppress(OSError):
                os.close(inherited) if isinstance(inherited, int) else inherited.close()


def listening_unix(path, mode=0o666, kind=socket.SOCK_STREAM, backlog=128):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    bound = socket.socket(socket.AF_UNIX, kind)
    bound.bind(path)
    os.chmod(path, mode)
    if backlog:
        bound.listen(backlog)
    return bound


def listening(address, kind=socket.SOCK_STREAM, backlog=128):
    bound = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    bound.bind(address)
    if backlog:
        bound.listen(backlog)
    return bound


@pytest.fixture
def manage(issuer):
    """Starts daemons with inherited sockets, without waiting for them."""
    started = []

    def start(sockets=None, **settings):
        daemon = Managed(issuer, sockets, **settings)
        started.append(daemon)
        return daemon.begin()

    yield start
    for daemon in started:
        daemon.close()


class TestTaken:
    def test_they_are_served_from_and_their_files_stay(self, manage):
        daemon = manage()
        daemon.output.wait_for(r"\bready\b")
        for address in (daemon.unix, daemon.tcp4, daemon.tcp6):
            expect.token(daemon.ask("inherited", address=address), "inherited")
        text = daemon.stop()
        assert f"listening on {daemon.unix}, inherited from '{UNIT}'" in text
        assert os.path.exists(daemon.unix)
        # The service manager still listens: whoever connects now waits for the next daemon.
        Connection(daemon.unix).close()

    def test_they_may_block(self, manage):
        daemon = manage()
        daemon.output.wait_for(r"\bready\b")
        for inherited, _ in daemon.inherited:
            assert not os.get_blocking(inherited.fileno())
        daemon.stop()

    def test_callers_who_came_before_are_served(self, issuer):
        daemon = Managed(issuer)
        try:
            with contextlib.ExitStack() as stack:
                early = [stack.enter_context(daemon.connect()) for _ in range(20)]
                daemon.begin()
                for connection in early:
                    assert connection.request("GET", "/healthz").status == 200
            daemon.stop()
        finally:
            daemon.close()

    def test_names_are_not_needed(self, manage):
        daemon = manage(env={"LISTEN_FDNAMES": None})
        daemon.output.wait_for(r"\bready\b")
        daemon.stop()

    def test_what_is_of_another_process_is_left_alone(self, manage):
        def strangers(daemon):
            return [(listening_unix(str(daemon.directory / "other")), UNIT)]

        daemon = manage(strangers, env={"LISTEN_PID": "1"})
        daemon.output.wait_for(r"\bready\b")
        expect.token(daemon.ask("own"), "own")
        text = daemon.stop()
        assert "inherited" not in text
        assert not os.path.exists(daemon.unix)

    def test_what_nobody_knows_is_closed(self, manage):
        reading, writing = os.pipe()
        daemon = manage(lambda daemon: [(reading, "stored-by-somebody")])
        os.close(writing)
        daemon.output.wait_for(r"'stored-by-somebody', was inherited and is of no use here")
        daemon.output.wait_for(r"\bready\b")
        expect.token(daemon.ask("own"), "own")
        daemon.stop()


def tcp_sockets(daemon):
    return [(listening(daemon.tcp4), TCP_UNIT), (listening(daemon.tcp6), TCP_UNIT)]


def without_ipv6(daemon):
    return daemon.usual_sockets()[:2]


def with_another(daemon):
    return [*daemon.usual_sockets(), (listening(("127.0.0.1", 0)), "stray.socket")]


def on_any_address(daemon):
    return [*daemon.usual_sockets(), (listening(("0.0.0.0", 0)), "open.socket")]


def on_any_address6(daemon):
    return [*daemon.usual_sockets(), (listening(("::", 0)), "open.socket")]


def with_a_datagram_socket(daemon):
    unix = listening_unix(daemon.unix, kind=socket.SOCK_DGRAM, backlog=0)
    return [(unix, UNIT), *tcp_sockets(daemon)]


def with_udp(daemon):
    udp = listening(("127.0.0.1", 0), socket.SOCK_DGRAM, 0)
    return [*daemon.usual_sockets(), (udp, "udp.socket")]


def with_netlink(daemon):
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    return [*daemon.usual_sockets(), (netlink, "netlink.socket")]


def with_one_that_does_not_listen(daemon):
    return [(listening_unix(daemon.unix, backlog=0), UNIT), *tcp_sockets(daemon)]


def without_a_file(daemon):
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{daemon.directory}")
    abstract.listen()
    return [*daemon.usual_sockets(), (abstract, "abstract.socket")]


def with_a_lost_file(daemon):
    sockets = daemon.usual_sockets()
    os.unlink(daemon.unix)
    return sockets


def with_the_wrong_mode(daemon):
    return [(listening_unix(daemon.unix, 0o600), UNIT), *tcp_sockets(daemon)]


def with_one_twice(daemon):
    sockets = daemon.usual_sockets()
    return [*sockets, (os.dup(sockets[0][0].fileno()), "copy.socket")]


class TestMismatch:
    @pytest.mark.parametrize(
        "sockets, words",
        [
            (without_ipv6, [r":1?\d: \[::1\]:\d+ was not inherited", "enable the socket unit"]),
            (with_another, ["'stray.socket'", r"127.0.0.1:\d+", "'listen' does not name"]),
            (on_any_address, ["'open.socket'", r"0.0.0.0:\d+", "loopback"]),
            (on_any_address6, ["'open.socket'", r"\[::\]:\d+", "loopback"]),
            (with_a_datagram_socket, [f"'{UNIT}'", "not a stream socket"]),
            (with_udp, ["'udp.socket'", "not a stream socket"]),
            (with_netlink, ["'netlink.socket'", "neither a Unix nor a TCP socket"]),
            (with_one_that_does_not_listen, [f"'{UNIT}'", "does not listen"]),
            (without_a_file, ["'abstract.socket'", "without a file", "'listen' does not name"]),
            (with_a_lost_file, [":1: ", f"'{UNIT}'", "lost its file"]),
            (with_the_wrong_mode, [":1: ", "mode 0600", f"'{UNIT}'", "'listen' says 0666"]),
            (with_one_twice, [":1: ", "twice", f"'{UNIT}' and 'copy.socket'"]),
        ],
    )
    def test_it_is_named_and_waited_out(self, manage, sockets, words):
        daemon = manage(sockets)
        daemon.complains(*words)
        assert daemon.running()
        daemon.end_while_waiting()
        if "lost" not in words[-1]:
            assert os.path.exists(daemon.unix)

    def test_a_group(self, manage):
        group = next(g for g in grp.getgrall() if g.gr_gid not in (0, os.getegid()))

        def settings(daemon):
            daemon.settings["listen"][0]["group"] = str(group.gr_gid)
            return daemon.usual_sockets()

        daemon = manage(settings)
        daemon.complains(":1: ", f"group {os.getegid()}", f"'{UNIT}'", f"says {group.gr_gid}")
        if os.geteuid() == 0:
            os.chown(daemon.unix, -1, group.gr_gid)
            daemon.output.wait_for(r"\bready\b")
            daemon.stop()
        else:
            daemon.end_while_waiting()

    def test_it_heals_when_one_of_them_is_changed(self, manage):
        daemon = manage(with_the_wrong_mode)
        with daemon.connect() as early:
            daemon.complains("mode 0600")
            os.chmod(daemon.unix, 0o666)
            assert early.request("GET", "/healthz").status == 200
        text = daemon.stop()
        assert text.count("mode 0600") == 1


class TestBadVariables:
    def exits(self, issuer, sockets, env):
        daemon = Managed(issuer, sockets, env=env)
        try:
            daemon.begin()
            status = daemon.wait()
            return status, daemon.output.text()
        finally:
            daemon.close()

    @pytest.mark.parametrize(
        "env, words",
        [
            ({"LISTEN_FDS": "many"}, "not a number"),
            ({"LISTEN_FDS": "-1"}, "not a number"),
            ({"LISTEN_FDS": "0"}, "not a number"),
            ({"LISTEN_FDS": "4000000000"}, "cannot be taken over"),
            ({"LISTEN_FDS": "9"}, "cannot be taken over"),
            ({"LISTEN_FDNAMES": "one"}, "bad names"),
            ({"LISTEN_PID": "me"}, "not a number"),
        ],
    )
    def test_they_end_it(self, issuer, env, words):
        status, text = self.exits(issuer, None, env)
        assert status == 78 and "LISTEN_FDS=" in text and words in text, text

    def test_too_many(self, issuer):
        with tempfile.TemporaryFile() as file:
            many = [(os.dup(file.fileno()), "file") for _ in range(161)]
            status, text = self.exits(issuer, lambda daemon: many, {})
        assert status == 78 and "too many" in text, text


class TestBadConfiguration:
    """Where sockets were inherited it is waited out."""

    def broken(self, daemon):
        daemon.path.write_text("listen = (;\n")

    def begin_broken(self, issuer, **settings):
        daemon = Managed(issuer, **settings)
        daemon.settings["no_such_option"] = 1
        daemon.begin()
        daemon.complains("no_such_option")
        return daemon

    def write(self, daemon):
        """Puts a good configuration in the place of the bad one."""
        daemon.settings.pop("no_such_option", None)
        lines = [f"{name} = {libconfig(value)};" for name, value in daemon.settings.items()]
        daemon.path.write_text("\n".join(lines) + "\n")

    def test_callers_wait_and_are_served(self, issuer):
        daemon = self.begin_broken(issuer)
        try:
            with contextlib.ExitStack() as stack:
                waiting = [stack.enter_context(daemon.connect()) for _ in range(20)]
                waiting += [stack.enter_context(daemon.connect(daemon.tcp6)) for _ in range(20)]
                for connection in waiting:
                    connection.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.broken(daemon)
                daemon.output.wait_for("error: .*:1: .*")
                self.write(daemon)
                for connection in waiting:
                    assert connection.receive().status == 200
            daemon.output.wait_for("can be used now")
            text = daemon.stop()
            assert text.count("error:") == 2, text
        finally:
            daemon.close()

    def test_one_line_for_each_error(self, issuer):
        daemon = self.begin_broken(issuer)
        try:
            time.sleep(2.5)  # some more tries, of which nothing is seen
            text = daemon.end_while_waiting()
            assert text.count("error:") == 1 and text.count("every second") == 1, text
        finally:
            daemon.close()

    def test_sighup_tries_at_once(self, issuer):
        daemon = self.begin_broken(issuer)
        try:
            self.write(daemon)
            started = time.monotonic()
            daemon.terminate(signal.SIGHUP)
            daemon.output.wait_for(r"\bready\b")
            assert time.monotonic() - started < 5
            daemon.stop()
        finally:
            daemon.close()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it(self, issuer, number):
        daemon = self.begin_broken(issuer)
        try:
            daemon.terminate(number)
            assert daemon.wait() == 0
        finally:
            daemon.close()

    def test_a_file_that_is_missing(self, issuer):
        daemon = Managed(issuer)
        try:
            daemon.spawn(
                [*daemon._prefix, TOKEND, "--config", daemon.path], env=daemon._env, cwd=daemon.directory
            )
            daemon.complains("No such file")
            self.write(daemon)
            daemon.path.chmod(0o600)
            daemon.output.wait_for(r"\bready\b")
            daemon.stop()
        finally:
            daemon.close()

    def test_a_secret_that_is_missing(self, issuer):
        daemon = Managed(issuer)
        try:
            secret = daemon.secret_file(PORTAL)
            aside = secret.with_suffix(".aside")
            secret.rename(aside)
            daemon.begin()
            daemon.complains("portal.secret")
            aside.rename(secret)
            daemon.output.wait_for(r"\bready\b")
            expect.token(daemon.ask("late"), "late")
            daemon.stop()
        finally:
            daemon.close()

    def test_an_audit_file_that_cannot_be_opened(self, issuer):
        """Not a mistake in the file, and waited out, too."""
        daemon = Managed(issuer)
        folder = daemon.directory / "audit"
        daemon.settings["audit"] = {"to": folder / "record"}
        try:
            daemon.begin()
            daemon.output.wait_for("tried again in 1 s")
            folder.mkdir()
            daemon.output.wait_for(r"\bready\b")
            expect.token(daemon.ask("recorded"), "recorded")
            daemon.stop()
        finally:
            daemon.close()


def test_without_a_manager_a_bad_configuration_ends_it(issuer):
    daemon = Daemon(issuer)
    daemon.settings["no_such_option"] = 1
    try:
        daemon.spawn_daemon()
        assert Program.wait(daemon) == 78
    finally:
        daemon.close()


def test_a_start_counts_descriptors_as_before(manage):
    """Nothing that was inherited stays open beside what is served from."""
    daemon = manage()
    daemon.output.wait_for(r"\bready\b")

    def sockets():
        folder = f"/proc/{daemon.process.pid}/fd"
        targets = []
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                targets.append(os.readlink(f"{folder}/{fd}"))
        return targets

    inodes = {f"socket:[{os.fstat(s.fileno()).st_ino}]" for s, _ in daemon.inherited}
    eventually(
        lambda: all(sockets().count(inode) == 1 for inode in inodes), "one descriptor for each"
    )
    daemon.stop()
