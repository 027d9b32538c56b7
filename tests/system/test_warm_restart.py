# SPDX-License-Identifier: MIT
"""A restart with the service manager between the two: this file plays systemd.

A socket takes what the daemon tells its manager, descriptors included, and acknowledges barriers;
the next daemon is started with what was stored, as LISTEN_FDS. The real systemd is for
tests/systemd.
"""

import contextlib
import fcntl
import hashlib
import os
import random
import socket
import struct
import sys
import threading
import time

import pytest

import expect
from harness import Daemon, ask_bytes
from wire import TIMEOUT, eventually

NAME = "egain-tokend-snapshot"

F_ADD_SEALS = 1033
F_GET_SEALS = 1034
SEAL, SHRINK, GROW, WRITE = 1, 2, 4, 8
ALL_SEALS = SEAL | SHRINK | GROW | WRITE

# Of the head of a snapshot, see lib/snapshot.c.
VERSION_AT, SIZE_AT, BOOT_AT, SEQUENCE_AT, SAVED_AT = 8, 16, 24, 40, 48

# Puts the descriptors that it was given where systemd puts them, and becomes the daemon.
LAUNCHER = """
import os, sys
count, names, pid, *command = sys.argv[1:]
fds = [int(fd) for fd in command[:int(count)]]
command = command[int(count):]
high = [os.dup2(fd, 1000 + i, inheritable=False) for i, fd in enumerate(fds)]
for fd in set(fds):
    os.close(fd)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
os.environ["LISTEN_PID"] = pid or str(os.getpid())
os.environ["LISTEN_FDS"] = count
os.environ["LISTEN_FDNAMES"] = names
os.execv(command[0], command)
"""


class Manager:
    """The end of NOTIFY_SOCKET that systemd has."""

    def __init__(self, path):
        self.path = str(path)
        self.messages = []
        self.store = []  # of the descriptors, in the order they came
        self.answers_barriers = True
        self._barriers = []
        self._news = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self):
        while True:
            data, fds, _, _ = socket.recv_fds(self._socket, 65536, 16)
            if data == b"STOP":
                return
            message = data.decode()
            lines = message.splitlines()
            with self._news:
                if "BARRIER=1" in lines:
                    assert len(fds) == 1
                    if self.answers_barriers:
                        os.close(fds[0])
                    else:
                        self._barriers += fds
                elif "FDSTORE=1" in lines:
                    assert f"FDNAME={NAME}" in lines and "FDPOLL=0" in lines, lines
                    assert len(fds) == 1
                    self.store += fds
                elif "FDSTOREREMOVE=1" in lines:
                    assert f"FDNAME={NAME}" in lines and not fds, lines
                    self.drop()
                else:
                    assert not fds, lines
                self.messages.append(message)
                self._news.notify_all()

    def drop(self):
        for fd in self.store:
            os.close(fd)
        self.store = []

    def kinds(self):
        """What came, by its first word."""
        with self._news:
            return [message.split("=")[0] for message in self.messages]

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"STOP", self.path)
        self._thread.join(TIMEOUT)
        self._socket.close()
        os.unlink(self.path)
        self.drop()
        for fd in self._barriers:
            os.close(fd)


class Managed(Daemon):
    """A daemon with a manager, started with whatever is in `inherited` (pairs of name and fd)."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.inherited = []
        self.listen_pid = ""
        self.since = 0

    def spawn(self, command, **options):
        fds = [fd for _, fd in self.inherited]
        names = ":".join(name for name, _ in self.inherited)
        if fds:
            words = [str(len(fds)), names, self.listen_pid, *map(str, fds)]
            command = [sys.executable, "-c", LAUNCHER, *words, *command]
        super().spawn(command, pass_fds=fds, **options)

    def restored(self):
        """How many tokens it says that it has restored."""
        return int(self.output.wait_for(r"restored (\d+) tokens")[1])


@pytest.fixture
def managed(issuer):
    """A daemon that is not started yet, and its manager."""
    daemon = Managed(issuer, drain_timeout="20s")
    with contextlib.closing(daemon):
        manager = Manager(daemon.directory / "notify")
        daemon._env["NOTIFY_SOCKET"] = manager.path
        with contextlib.closing(manager):
            yield daemon, manager
            if daemon.process is not None:
                issuer.reset()
                daemon.stop()


def restart(daemon, manager):
    """As `systemctl restart`: what is stored is handed to the next process, and stays stored."""
    daemon.stop()
    daemon.inherited = [(NAME, fd) for fd in manager.store]
    daemon.start()


def memfd(content, seals=ALL_SEALS):
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content)
    if seals:
        fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd


def content_of(fd):
    return os.pread(fd, os.fstat(fd).st_size, 0)


def patched(content, at, value):
    """With other bytes there, and the checksum put right."""
    body = content[:at] + value + content[at + len(value) : -32]
    return body + hashlib.sha256(body).digest()


def u64(content, at):
    return struct.unpack_from("<Q", content, at)[0]


@pytest.fixture
def snapshot(managed):
    """The bytes that a daemon has left that held the tokens of "a", "b" and "c"."""
    daemon, manager = managed
    daemon.start()
    for subject in "abc":
        expect.miss(daemon.ask(subject), subject)
    daemon.stop()
    return content_of(manager.store[0])


def start_with(daemon, *contents, name=NAME, seals=ALL_SEALS):
    """Starts it with these in memfds; its output is all of this start."""
    fds = [memfd(content, seals) for content in contents]
    daemon.inherited = [(name, fd) for fd in fds]
    daemon.start()
    for fd in fds:
        os.close(fd)
    daemon.inherited = []


class TestRestart:
    def test_is_warm(self, managed, issuer):
        daemon, manager = managed
        daemon.start()
        bodies = {subject: daemon.ask(subject).json() for subject in ("a", "b", "ü@x")}
        email = daemon.ask("a@b.example", "email").json()
        crm = daemon.ask("a", client_id="crm").json()
        assert issuer.requests() == 5
        restart(daemon, manager)
        assert daemon.restored() == 5
        for subject, body in bodies.items():
            response = daemon.ask(subject)
            expect.hit(response, subject)
            assert response.json()["access_token"] == body["access_token"]
        response = daemon.ask("a@b.example", "email")
        assert response.json()["access_token"] == email["access_token"]
        response = daemon.ask("a", client_id="crm")
        assert response.json()["access_token"] == crm["access_token"]
        assert issuer.requests() == 5

    def test_many_times(self, managed, issuer):
        daemon, manager = managed
        daemon.start()
        for subject in range(50):
            expect.miss(daemon.ask(f"many-{subject}"), f"many-{subject}")
        for sequence in range(1, 5):
            restart(daemon, manager)
            assert daemon.restored() == 50
            assert manager.kinds().count("FDSTORE") == sequence
            expect.hit(daemon.ask("many-7"), "many-7")
        daemon.stop()
        assert u64(content_of(manager.store[0]), SEQUENCE_AT) == 5
        assert issuer.requests() == 50

    def test_waits_for_what_is_in_the_air(self, managed, issuer):
        daemon, manager = managed
        daemon.start()
        issuer.behave(hold=True)
        with daemon.connect() as caller:
            caller.send(ask_bytes("air"))
            issuer.wait_for("held", 1)
            daemon.terminate()
            time.sleep(0.1)
            issuer.release()
            expect.token(caller.receive(), "air")
            daemon.ended()
        daemon.inherited = [(NAME, fd) for fd in manager.store]
        issuer.reset()
        daemon.start()
        expect.hit(daemon.ask("air"), "air")
        assert issuer.requests() == 0

    def test_remembers_refusals_and_holds(self, managed, issuer):
        daemon, manager = managed
        daemon.start()
        expect.miss(daemon.ask("known"), "known")
        issuer.behave(error="invalid_grant", count=1)
        assert daemon.ask("refused").status == 400
        issuer.behave(status=429, body="", headers={"Retry-After": "60"}, count=1)
        expect.unavailable(daemon.ask("throttled"))
        requests = issuer.requests()
        restart(daemon, manager)
        daemon.output.wait_for(r"restored 1 tokens, 1 refusals and 1 holds")
        assert daemon.ask("refused").status == 400
        expect.unavailable(daemon.ask("throttled"))
        expect.hit(daemon.ask("known"), "known")
        assert issuer.requests() == requests

    def test_is_cold_for_another_client(self, managed, issuer, snapshot):
        daemon, _ = managed
        daemon.settings["clients"][0]["client_id"] = "another"
        start_with(daemon, snapshot)
        daemon.output.wait_for(r"restored 0 tokens.* 3 of client applications that are gone")

    def test_is_cold_after_a_crash(self, managed, issuer):
        daemon, manager = managed
        daemon.start()
        expect.miss(daemon.ask("crash"), "crash")
        restart(daemon, manager)
        expect.hit(daemon.ask("crash"), "crash")
        daemon.kill()
        assert manager.store == []
        daemon.inherited = []
        daemon.start()
        daemon.output.wait_for("restored nothing")
        expect.miss(daemon.ask("crash"), "crash")

    def test_is_cold_after_a_stop(self, managed, issuer):
        """systemd empties the store of a service that is stopped."""
        daemon, manager = managed
        daemon.start()
        expect.miss(daemon.ask("cold"), "cold")
        daemon.stop()
        manager.drop()
        daemon.start()
        expect.miss(daemon.ask("cold"), "cold")


class TestMessages:
    def test_only_what_was_restored_is_an_event(self, managed):
        daemon, manager = managed
        daemon.settings["log_format"] = "json"
        daemon.start()
        daemon.output.wait_for("restored nothing")
        assert daemon.events("snapshot_restored") == []
        expect.miss(daemon.ask("event"), "event")
        restart(daemon, manager)
        assert [event["count"] for event in daemon.events("snapshot_restored")] == [1]

    def test_the_store_is_emptied_before_it_is_ready(self, managed, snapshot):
        daemon, manager = managed
        before = len(manager.messages)
        start_with(daemon, snapshot)
        eventually(lambda: "FDSTOREREMOVE" in manager.kinds()[before:], "the store to be emptied")
        lines = daemon.output.lines
        ready = next(i for i, line in enumerate(lines) if "ready:" in line)
        restored = next(i for i, line in enumerate(lines) if "restored" in line)
        assert restored < ready
        kinds = manager.kinds()[before:]
        if "READY" in kinds:
            assert kinds.index("FDSTOREREMOVE") < kinds.index("READY")

    def test_a_start_that_fails_leaves_the_store_alone(self, managed, snapshot):
        daemon, manager = managed
        before = len(manager.messages)
        fd = memfd(snapshot)
        daemon.inherited = [(NAME, fd)]
        good = daemon.settings["clients"]
        daemon.settings["clients"] = []
        daemon.spawn_daemon()
        daemon.output.wait_for("read again every second")
        daemon.terminate()
        assert daemon.wait() == 0
        daemon.settings["clients"] = good
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(daemon.unix)
            other.listen()
            daemon.spawn_daemon()
            daemon.output.wait_for("another process does already")
            daemon.terminate()
            assert daemon.wait() == 0
        os.unlink(daemon.unix)
        assert "FDSTOREREMOVE" not in manager.kinds()[before:]
        daemon.start()
        assert daemon.restored() == 3
        os.close(fd)

    def test_what_is_stored_is_sealed_and_closes_on_exec(self, managed, snapshot):
        _, manager = managed
        fd = manager.store[0]
        assert fcntl.fcntl(fd, F_GET_SEALS) & ALL_SEALS == ALL_SEALS
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        assert manager.kinds().count("BARRIER") == 1
        assert u64(snapshot, SIZE_AT) == len(snapshot)

    def test_nothing_to_save_is_not_saved(self, managed):
        daemon, manager = managed
        daemon.start()
        daemon.stop()
        assert "FDSTORE" not in manager.kinds()

    def test_a_manager_that_does_not_answer_costs_a_second(self, managed, issuer):
        daemon, manager = managed
        manager.answers_barriers = False
        daemon.start()
        expect.miss(daemon.ask("slow"), "slow")
        started = time.monotonic()
        text = daemon.stop()
        assert 0.9 < time.monotonic() - started < 5
        assert "cannot leave the cache" in text

    def test_a_manager_that_is_gone(self, managed, issuer):
        daemon, _ = managed
        daemon._env["NOTIFY_SOCKET"] = str(daemon.directory / "nowhere")
        daemon.start()
        expect.miss(daemon.ask("gone"), "gone")
        text = daemon.stop()
        assert "no service manager will be told anything" in text
        assert " to the process to come" not in text

    def test_without_a_manager(self, managed, issuer):
        daemon, manager = managed
        del daemon._env["NOTIFY_SOCKET"]
        daemon.start()
        expect.miss(daemon.ask("alone"), "alone")
        text = daemon.stop()
        assert "snapshot" not in text and "restored" not in text and "left" not in text
        assert manager.messages == []


class TestOddSnapshots:
    """Each is one line in the log, and a daemon that serves."""

    def cold(self, daemon, why, *contents, **options):
        start_with(daemon, *contents, **options)
        daemon.output.wait_for(r"\bready\b")
        text = "\n".join(daemon.output.lines)
        assert text.count("discarding") == len(contents), text
        assert why in text, text
        expect.miss(daemon.ask("a"), "a")

    def test_noise(self, managed, snapshot):
        self.cold(managed[0], "it is something else", os.urandom(5000))

    def test_empty(self, managed, snapshot):
        self.cold(managed[0], "it is empty", b"")

    def test_truncated(self, managed, snapshot):
        self.cold(managed[0], "its size is not what it says", snapshot[:-100])

    def test_a_bit_that_fell_over(self, managed, snapshot):
        middle = len(snapshot) // 2
        bad = snapshot[:middle] + bytes([snapshot[middle] ^ 4]) + snapshot[middle + 1 :]
        self.cold(managed[0], "its checksum is wrong", bad)

    def test_another_format(self, managed, snapshot):
        bad = patched(snapshot, VERSION_AT, struct.pack("<I", 99))
        self.cold(managed[0], "it is of another format", bad)

    def test_another_boot(self, managed, snapshot):
        bad = patched(snapshot, BOOT_AT, os.urandom(16))
        self.cold(managed[0], "it is of another boot", bad)

    def test_from_the_future(self, managed, snapshot):
        later = u64(snapshot, SAVED_AT) + 3600000
        bad = patched(snapshot, SAVED_AT, struct.pack("<Q", later))
        self.cold(managed[0], "a time in it cannot be", bad)

    @pytest.mark.parametrize("seals", [0, SHRINK | GROW, WRITE, SHRINK | GROW | WRITE])
    def test_not_sealed(self, managed, snapshot, seals):
        self.cold(managed[0], "it is not sealed", snapshot, seals=seals)

    def test_another_kind_of_descriptor(self, managed, snapshot):
        daemon, _ = managed
        reader, writer = os.pipe()
        with open("/dev/null", "rb") as null, open(__file__, "rb") as file:
            fds = (reader, null.fileno(), file.fileno())
            daemon.inherited = [(NAME, fd) for fd in fds]
            daemon.start()
        os.close(reader)
        os.close(writer)
        text = "\n".join(daemon.output.lines)
        assert text.count("discarding") == 3, text
        expect.miss(daemon.ask("a"), "a")

    def test_of_another_name(self, managed, snapshot):
        daemon, manager = managed
        start_with(daemon, snapshot, name="something-else")
        expect.miss(daemon.ask("a"), "a")

    def test_for_another_process(self, managed, snapshot):
        daemon, _ = managed
        daemon.listen_pid = "1"
        start_with(daemon, snapshot)
        daemon.output.wait_for("restored nothing")
        expect.miss(daemon.ask("a"), "a")

    def test_several_at_once(self, managed, issuer, snapshot):
        """The newest wins, wherever it is; the next one is newer still."""
        daemon, manager = managed
        old, older = (patched(snapshot, SEQUENCE_AT, struct.pack("<Q", n)) for n in (41, 40))
        # The newest has one more token.
        start_with(daemon, patched(snapshot, SEQUENCE_AT, struct.pack("<Q", 41)))
        expect.miss(daemon.ask("d"), "d")
        daemon.stop()
        newest = content_of(manager.store[-1])
        assert u64(newest, SEQUENCE_AT) == 42
        noise = os.urandom(100)
        requests = issuer.requests()
        for contents in ((newest, old, older), (older, newest, noise, old), (old, older, newest)):
            start_with(daemon, *contents)
            assert daemon.restored() == 4
            assert "\n".join(daemon.output.lines).count("discarding") == len(contents) - 1
            expect.hit(daemon.ask("d"), "d")
            daemon.stop()
            assert u64(content_of(manager.store[-1]), SEQUENCE_AT) == 43
        assert issuer.requests() == requests

    def test_fuzzed(self, managed, issuer, snapshot):
        """Bytes changed anywhere, the checksum right: it serves, whatever was made of them."""
        daemon, _ = managed
        random_ = random.Random(4711)
        for _ in range(3):
            contents = []
            for _ in range(100):
                content = snapshot
                for _ in range(random_.choice((1, 1, 2, 8, 64))):
                    value = random_.choice((b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 8))
                    at = random_.randrange(SEQUENCE_AT, len(snapshot) - 32 - len(value))
                    content = patched(content, at, value)
                contents.append(content)
            start_with(daemon, *contents)
            daemon.output.wait_for(r"\bready\b")
            expect.miss(daemon.ask("not-there-before"), "not-there-before")
            for subject in "abc":
                assert daemon.ask(subject).status in (200, 400, 503)
            daemon.stop()

    def test_a_great_many(self, managed, snapshot):
        daemon, _ = managed
        contents = [patched(snapshot, SEQUENCE_AT, struct.pack("<Q", n)) for n in range(1, 60)]
        start_with(daemon, *contents)
        assert daemon.restored() == 3
        expect.hit(daemon.ask("a"), "a")
