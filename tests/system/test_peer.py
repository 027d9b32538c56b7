# SPDX-License-Identifier: MIT
"""Who is at the other end of a connection, and the ways in which the kernel's answer can mislead.

There are no rules here: the daemon's own user gets tokens on every listener, root on the Unix
socket, and nobody else. So the daemon runs as a user made for these tests, and who was taken for
whom shows in what he gets. Needs root.
"""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import expect
from harness import PORTAL, Daemon, ask_bytes, question
from people import acting_as, needs_users
from wire import TIMEOUT, Connection, eventually, form_request, parse_response

pytestmark = needs_users

LISTENERS = ("unix", "tcp4", "tcp6")


@pytest.fixture(scope="module")
def owner(people):
    """The user the daemon runs as."""
    return people.a.user


@pytest.fixture(scope="module")
def other(people):
    """Somebody else."""
    return people.d.user


@pytest.fixture(scope="module")
def owners_daemon(issuer_process, owner):
    with Daemon(issuer_process, clients=[PORTAL], user=owner) as daemon:
        yield daemon


def connect_as(user, daemon, listener):
    with acting_as(user):
        return Connection(getattr(daemon, listener))


@contextlib.contextmanager
def stopped(daemon):
    """The daemon does not run meanwhile; what comes waits to be accepted."""
    pid = daemon.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        stat = Path(f"/proc/{pid}/stat")
        eventually(
            lambda: stat.read_text().rpartition(")")[2].split()[0] in "Tt", "the daemon to stop"
        )
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def refused(response):
    assert response.status == 403, response
    answer = response.json()
    assert answer["error"] == "access_denied"
    assert "access_token" not in answer


def served(response, subject, allowed):
    """A token for those who may have one, and else a refusal."""
    if allowed:
        expect.token(response, subject)
    else:
        refused(response)


@pytest.mark.parametrize("listener", LISTENERS)
class TestWhoIsWho:
    def test_users(self, owners_daemon, issuer, listener, subject, owner, other):
        root = pwd.getpwuid(0)
        for user, allowed in ((other, False), (owner, True), (root, listener == "unix")):
            with connect_as(user, owners_daemon, listener) as connection:
                served(connection.send(ask_bytes(subject)).receive(), subject, allowed)

    @pytest.mark.parametrize("when", ["after it was accepted", "before"])
    def test_a_half_closed_client(
        self, owners_daemon, issuer, listener, subject, owner, other, when
    ):
        """It has said all that it will say, and still is who it is."""
        expect.token(owners_daemon.ask(subject), subject)
        for user, allowed in ((owner, True), (other, False)):
            pause = stopped(owners_daemon) if when == "before" else contextlib.nullcontext()
            with contextlib.ExitStack() as stack:
                with pause:
                    connection = connect_as(user, owners_daemon, listener)
                    stack.enter_context(connection)
                    if when != "before":
                        owners_daemon.settle()
                    connection.send(ask_bytes(subject))
                    connection.socket.shutdown(socket.SHUT_WR)
                served(connection.receive(), subject, allowed)

    def test_a_socket_passed_to_another_user(
        self, owners_daemon, issuer, listener, subject, owner, other
    ):
        """It stays that of who connected it: he has given it away, and what it may do with it."""
        for user, heir, allowed in ((owner, other, True), (other, owner, False)):
            with connect_as(user, owners_daemon, listener) as connection:
                response = run_as(heir, connection, subject)
                served(response, subject, allowed)

    @pytest.mark.parametrize("when", ["after it was accepted", "before"])
    def test_a_process_that_exits_before_it_asks(
        self, owners_daemon, issuer, listener, subject, owner, other, when
    ):
        """Its child asks, on the connection it has inherited."""
        for user, allowed in ((owner, True), (other, False)):
            family = {"unix": socket.AF_UNIX, "tcp4": socket.AF_INET, "tcp6": socket.AF_INET6}
            address = getattr(owners_daemon, listener)
            arguments = [int(family[listener]), repr(address)]
            with contextlib.ExitStack() as stack:
                if when == "before":
                    stack.enter_context(stopped(owners_daemon))
                process = start_as(user, CONNECT_AND_LEAVE, arguments, subject)
                # The parent has exited when this is there; the child then waits for more input.
                assert process.stdout.read(5) == b"gone\n"
            if when != "before":
                owners_daemon.settle()
            answer, errors = process.communicate(b"go\n", TIMEOUT)
            assert not errors, errors
            served(parse_response(bytearray(answer)), subject, allowed)


@pytest.mark.parametrize("listener", ["tcp4", "tcp6"])
class TestTheKernelsLies:
    def test_a_listener_of_root_on_the_peers_port(
        self, owners_daemon, issuer, listener, subject, owner, other
    ):
        """Whoever listens where a client's connection begins is not the client."""
        for user, allowed in ((other, False), (owner, True)):
            with contextlib.ExitStack() as stack:
                with stopped(owners_daemon):
                    connection = bound_connection(user, owners_daemon, listener)
                    stack.enter_context(connection)
                    stack.enter_context(root_listens_at(connection.socket.getsockname()))
                    connection.send(ask_bytes(subject))
                served(connection.receive(), subject, allowed)

    @pytest.mark.parametrize("how", ["close", "reset"])
    @pytest.mark.parametrize("root_listens", [False, True])
    def test_a_peer_that_was_gone_before_it_was_accepted(
        self, daemon, issuer, listener, subject, other, how, root_listens
    ):
        """This daemon is root's, and the socket of such a peer may read as root's."""
        with contextlib.ExitStack() as stack:
            with stopped(daemon):
                for _ in range(20):
                    connection = bound_connection(other, daemon, listener)
                    at = connection.socket.getsockname()
                    connection.send(ask_bytes(subject))
                    getattr(connection, how)()
                    if root_listens:
                        stack.enter_context(root_listens_at(at))
            daemon.settle()
        assert issuer.asked_for(subject) == 0

    def test_a_listener_of_root_in_the_place_of_a_peer_that_is_gone(
        self, daemon, issuer, listener, subject, other
    ):
        """With the peer's end forgotten, the kernel finds the listener when it is asked for it."""
        with contextlib.ExitStack() as stack:
            with stopped(daemon):
                connection = bound_connection(other, daemon, listener)
                at = connection.socket.getsockname()
                connection.send(ask_bytes(subject))
                # Its end does not wait long for ours to close, too, and goes without a word.
                connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
                connection.close()
                eventually(lambda: not is_known_to_kernel(at), "the peer's end to be forgotten")
                stack.enter_context(root_listens_at(at))
            daemon.settle()
        assert issuer.asked_for(subject) == 0

    def test_even_the_daemons_own_user_is_nobody_then(self, daemon, issuer, listener, subject):
        """It could not be told from the one above."""
        with stopped(daemon):
            with daemon.connect(getattr(daemon, listener)) as connection:
                connection.send(ask_bytes(subject))
        daemon.settle()
        assert issuer.asked_for(subject) == 0


def test_who_was_gone_from_a_unix_socket_before_it_was_accepted(daemon, issuer, subject, other):
    """The kernel has kept who it was, and it was not root."""
    with stopped(daemon):
        for _ in range(20):
            with connect_as(other, daemon, "unix") as connection:
                connection.send(ask_bytes(subject))
    daemon.settle()
    assert issuer.asked_for(subject) == 0
    expect.token(daemon.ask(subject), subject)


def test_a_v4_mapped_client(owners_daemon, issuer, subject, owner, other):
    """An IPv6 socket can be connected to 127.0.0.1; the kernel tells of it in its own way."""
    address = ("::ffff:127.0.0.1", owners_daemon.port)
    for user, allowed in ((other, False), (owner, True)):
        with acting_as(user):
            connection = Connection(address)
        with connection:
            assert connection.socket.family == socket.AF_INET6
            served(connection.send(ask_bytes(subject)).receive(), subject, allowed)


def test_a_peer_outside_of_our_pid_namespace(issuer, owner, other, subject):
    """It has no pid that we could see, but a uid."""
    prefix = ("unshare", "--pid", "--fork", "--mount-proc")
    daemon = Daemon(issuer, clients=[PORTAL], user=owner, prefix=prefix)
    with contextlib.closing(daemon):
        daemon.start()
        for listener in LISTENERS:
            for user, allowed in ((other, False), (owner, True)):
                with connect_as(user, daemon, listener) as connection:
                    served(connection.send(ask_bytes(subject)).receive(), subject, allowed)
        # What we have started is unshare, which waits for the daemon and does not heed SIGTERM.
        pid = daemon.process.pid
        child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        os.kill(child, signal.SIGTERM)
        daemon.ended()


def bound_connection(user, daemon, listener):
    """A connection from a port that may be listened on later."""
    family = {"tcp4": socket.AF_INET, "tcp6": socket.AF_INET6}[listener]
    host = getattr(daemon, listener)[0]
    with acting_as(user):
        opened = socket.socket(family)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, 0))
        opened.settimeout(TIMEOUT)
        opened.connect(getattr(daemon, listener))
    return Connection.of(opened)


@contextlib.contextmanager
def root_listens_at(address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address[:2])
        listener.listen()
        yield


def is_known_to_kernel(address):
    """Whether there is a TCP socket at our end of a connection."""
    port = f":{address[1]:04X} "
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line for table in tables for line in table.read_text().splitlines()]
    return any(port in " ".join(line.split()[1:2]) + " " for line in lines)


# Programs of other users, who may not be able to read our files.

# Asks on the connected socket that it was given.
ASK = """
import os, socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
connection.settimeout(30)
connection.sendall(bytes.fromhex(sys.argv[2]))
while data := connection.recv(65536):
    os.write(1, data)
"""

# Connects and leaves the rest to a child: it says that its parent has gone, waits, and asks.
CONNECT_AND_LEAVE = """
import ast, os, socket, sys
connection = socket.socket(int(sys.argv[1]))
connection.connect(ast.literal_eval(sys.argv[2]))
connection.settimeout(30)
alive, ended = os.pipe()
if os.fork():
    os._exit(0)
os.close(ended)
os.read(alive, 1)
os.write(1, b"gone\\n")
os.read(0, 1)
connection.sendall(bytes.fromhex(sys.argv[3]))
while data := connection.recv(65536):
    os.write(1, data)
"""


def start_as(user, program, arguments, subject, **options):
    """Starts one; the answer to its question is all that the daemon says on its connection."""
    request = form_request(question(subject), [("Connection", "close")])
    return subprocess.Popen(
        [sys.executable, "-I", "-c", program, *map(str, arguments), request.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
        **options,
    )


def run_as(user, connection, subject):
    """What another user gets who asks on a connection of ours."""
    fd = connection.fileno()
    process = start_as(user, ASK, [fd], subject, pass_fds=[fd])
    answer, errors = process.communicate(timeout=TIMEOUT)
    assert not errors, errors
    return parse_response(bytearray(answer))
