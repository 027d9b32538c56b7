# SPDX-License-Identifier: MIT
"""Runs egain-token, and plays servers that are not the daemon.

Every run is a test in itself: no word from the sanitizers, and no token on standard error.
"""

import contextlib
import ctypes
import mmap
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import threading
from dataclasses import dataclass

from harness import SANITIZER, TOKEN, environment, for_anybody, scratch_directory
from wire import TIMEOUT

EGAIN_TOKEN = for_anybody("client/egain-token") / "client" / "egain-token"

# Where a user may have told where his daemon is.
VARIABLES = ("EGAIN_TOKEN_SOCKET", "EGAIN_TOKEN_URL")


@dataclass
class Result:
    """What a run has come to."""

    status: int
    out: str
    err: str

    def __post_init__(self):
        assert not SANITIZER.search(self.err), self.err
        assert not TOKEN.search(self.err), f"a token on standard error: {self.err}"


def command(*arguments, socket=None):
    """The words of a command line, the socket behind the verb."""
    verb, *rest = arguments
    words = [] if socket is None else ["--socket", socket]
    return [str(EGAIN_TOKEN), verb, *words, *rest]


def run(*arguments, socket=None, input="", env=None, person=None, **options):
    """Runs a verb; a person is somebody else who does it."""
    identity = {"env": environment(**(env or {}))}
    if person:
        identity = person.identity()
        identity["env"] |= env or {}
    process = subprocess.run(
        command(*arguments, socket=socket),
        input=input.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT,
        **identity,
        **options,
    )
    return Result(process.returncode, process.stdout.decode(), process.stderr.decode())


def good(*arguments, **options):
    """The output of a run that must succeed without a word."""
    result = run(*arguments, **options)
    assert (result.status, result.err) == (0, ""), result
    return result.out


def bad(status, *arguments, **options):
    """What a run that must fail, and print nothing, says."""
    result = run(*arguments, **options)
    assert (result.status, result.out) == (status, ""), result
    assert result.err.endswith("\n")
    for line in result.err.splitlines():
        assert line.startswith("egain-token") or line.startswith("Try 'egain-token"), result.err
    return result.err


def on_a_terminal(*arguments, env=None):
    """What a run shows on a terminal, line feeds as they were written."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as reader:
        process = subprocess.Popen(
            [str(EGAIN_TOKEN), *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env=environment(**(env or {})),
        )
        os.close(theirs)
        text = b""
        # The end of a terminal is an error.
        with contextlib.suppress(OSError):
            while piece := reader.read(65536):
                text += piece
        said = process.communicate(timeout=TIMEOUT)[1].decode()
    return Result(process.returncode, text.decode().replace("\r\n", "\n"), said)


class Impostor:
    """A server on a Unix socket that takes what is sent, and answers with the bytes it is given.

    `answer` is bytes, or a function of the request's that gives them; an empty answer, as any other,
    is followed by the end of the connection. `requests` holds what came.
    """

    def __init__(self, answer, user=None):
        self.directory = scratch_directory()
        self.path = str(self.directory / "s")
        self.requests = []
        self._answer = answer if callable(answer) else lambda request: answer
        self._listener = socket.socket(socket.AF_UNIX)
        if user:
            # The kernel names who has called listen(2).
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            os.setegid(user.pw_gid)
            os.seteuid(user.pw_uid)
        try:
            self._listener.bind(self.path)
            os.chmod(self.path, 0o666)
            self._listener.listen()
        finally:
            if user:
                os.seteuid(0)
                os.setegid(0)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(TIMEOUT)
                    with contextlib.suppress(OSError):
                        self._answer_on(connection)

    def _answer_on(self, connection):
        request = b""
        while not is_whole(request):
            piece = connection.recv(65536)
            if not piece:
                if request:
                    self.requests.append(request)
                return
            request += piece
        self.requests.append(request)
        connection.sendall(self._answer(request))
        connection.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(TIMEOUT)
        for path in self.directory.iterdir():
            path.unlink()
        self.directory.rmdir()


def is_whole(request):
    head, end, body = request.partition(b"\r\n\r\n")
    size = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(end) and len(body) >= (int(size[1]) if size else 0)


def http(status, body, kind="application/json", headers=""):
    """The bytes of an answer."""
    data = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
    return (head + headers + "\r\n").encode() + data


def options_of(text):
    """The options that a help names, long ones by their name, with their letters and arguments."""
    found = re.findall(r"^  (?:-(\w), |    )--([\w-]+)(?: ([A-Z]+))?", text, re.MULTILINE)
    return {name: (letter, argument) for letter, name, argument in found}


# Of ptrace(2).
TRACEME, CONT, SETOPTIONS = 0, 7, 0x4200
O_TRACEEXIT, EVENT_EXIT = 0x40, 6

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, pid, data):
    assert LIBC.ptrace(request, pid, None, data) == 0, os.strerror(ctypes.get_errno())


def memory_at_exit(words, input=b"", stdout=subprocess.PIPE, env=None):
    """Runs a program; what it has written, its exit status, and all of its memory as it was when it
    had done everything but go. Needs root, as such a program lets nobody else look."""
    # Leaks cannot be looked for while somebody traces.
    options = environment()["ASAN_OPTIONS"].replace("detect_leaks=1", "detect_leaks=0")
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(ASAN_OPTIONS=options, **(env or {})),
        preexec_fn=lambda: LIBC.ptrace(TRACEME, 0, None, None),
    )
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(input)
    process.stdin = None
    _, status = os.waitpid(process.pid, 0)
    assert os.WIFSTOPPED(status), status
    ptrace(SETOPTIONS, process.pid, O_TRACEEXIT)
    signal_number = 0
    while True:
        ptrace(CONT, process.pid, signal_number)
        _, status = os.waitpid(process.pid, 0)
        assert os.WIFSTOPPED(status), status
        if status >> 8 == signal.SIGTRAP | EVENT_EXIT << 8:
            break
        signal_number = os.WSTOPSIG(status)
    try:
        memory = read_memory(process.pid)
    finally:
        ptrace(CONT, process.pid, 0)
    out, err = process.communicate(timeout=TIMEOUT)
    return memory, Result(process.returncode, (out or b"").decode(), err.decode())


def read_memory(pid):
    """All of it that can be written to and is there: the shadow of a sanitizer has huge holes."""
    pieces = []
    with contextlib.ExitStack() as stack:
        memory = stack.enter_context(open(f"/proc/{pid}/mem", "rb", 0))
        pagemap = stack.enter_context(open(f"/proc/{pid}/pagemap", "rb", 0))
        for line in stack.enter_context(open(f"/proc/{pid}/maps")):
            bounds, rights = line.split()[:2]
            begin, end = (int(part, 16) // PAGE for part in bounds.split("-"))
            if "w" not in rights or "[v" in line or end - begin > SHADOW_PAGES:
                continue
            for first, after in present(pagemap, begin, end):
                memory.seek(first * PAGE)
                pieces.append(memory.read((after - first) * PAGE))
    return pieces


PAGE = mmap.PAGESIZE
SHADOW_PAGES = (1 << 31) // PAGE


def present(pagemap, begin, end):
    """Which pages of a range are in memory, or swapped out: runs of them, first and after the last."""
    pagemap.seek(begin * 8)
    entries = struct.unpack(f"{end - begin}Q", pagemap.read((end - begin) * 8))
    first = None
    for page, entry in enumerate((*entries, 0), begin):
        if entry >> 62 and first is None:
            first = page
        elif not entry >> 62 and first is not None:
            yield first, page
            first = None


def copies(memory, secret):
    """How often a piece of a secret is in memory; its beginning, shared by all tokens, is left out."""
    secret = secret.encode()
    # What is the same all over says nothing.
    windows = {secret[at : at + 24] for at in range(40, len(secret) - 24, 8)}
    windows = {window for window in windows if len(set(window)) > 8}
    assert len(windows) >= 4
    return sum(piece.count(window) for piece in memory for window in windows)
