# SPDX-License-Identifier: MIT
"""HTTP/1 by hand, over Unix and TCP sockets.

The tests need what HTTP libraries hide: the exact bytes sent, headers as they came, half requests,
and a thousand callers in one thread. A Connection is one kept-alive connection; a Fleet is many of
them turned by one selector; drive() keeps a few of them busy until a number of requests is done.
"""

import contextlib
import fcntl
import json
import selectors
import socket
import struct
import termios
import time
from dataclasses import dataclass
from urllib.parse import quote_plus, urlencode

TIMEOUT = 30.0  # of anything that is expected to happen at once; only a hang reaches it

FORM = "application/x-www-form-urlencoded"


class Closed(Exception):
    """The peer closed the connection before an answer was complete."""


@dataclass
class Response:
    """One answer, headers in the order and spelling they came in."""

    version: str
    status: int
    reason: str
    headers: list
    body: bytes

    def values(self, name):
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        """The value of a header that may occur once, or None."""
        values = self.values(name)
        assert len(values) <= 1, f"{name} repeated: {values}"
        return values[0] if values else None

    def json(self):
        """The body as JSON; duplicate names are an error."""

        def unique(pairs):
            assert len({name for name, _ in pairs}) == len(pairs), f"duplicate names: {pairs}"
            return dict(pairs)

        return json.loads(self.body.decode("utf-8"), object_pairs_hook=unique)


def parse_response(buffer, ended=False, bodiless=False):
    """Takes one whole answer off the front of a bytearray; None if there is none yet."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    lines = buffer[:head_end].decode("latin-1").split("\r\n")
    version, status, reason = (lines[0] + " ").split(" ", 2)
    headers = [
        (name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])
    ]
    start = head_end + 4
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), None)
    assert not any(name.lower() == "transfer-encoding" for name, _ in headers), headers
    if bodiless or int(status) < 200 or int(status) in (204, 304):
        length = 0
    elif length is None:
        if not ended:
            return None
        length = len(buffer) - start
    if len(buffer) < start + length:
        return None
    body = bytes(buffer[start : start + length])
    del buffer[: start + length]
    return Response(version, int(status), reason.strip(), headers, body)


def connect(address, timeout=TIMEOUT):
    """A connected stream socket; a Unix socket's path, a (host, port), or what connects itself."""
    if hasattr(address, "connect"):
        return address.connect(timeout)
    if isinstance(address, tuple):
        connection = socket.create_connection(address, timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    # Non-blocking, a connect to a Unix socket with a full backlog fails at once instead of waiting.
    connection = socket.socket(socket.AF_UNIX)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(timeout), 0))
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    connection.settimeout(timeout)
    return connection


class Connection:
    """One client connection. Use as a context manager, or close()."""

    def __init__(self, address, timeout=TIMEOUT):
        self.socket = connect(address, timeout)
        self.buffer = bytearray()
        self.ended = False
        self.tag = None  # for drive(): what is being waited for

    @classmethod
    def of(cls, connected):
        """The same of a socket that is connected already."""
        self = cls.__new__(cls)
        self.socket, self.buffer, self.ended, self.tag = connected, bytearray(), False, None
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        return self.socket.fileno()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes with a RST where there is such a thing (TCP)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)
        return self

    def send_unless_cut(self, data):
        """Sends what the peer may not want to read to its end."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)
        return self

    def _read(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        self.ended = not data
        self.buffer += data

    def step(self, bodiless=False):
        """Reads once; an answer if one is complete. Raises Closed at the end of the stream."""
        response = parse_response(self.buffer, self.ended, bodiless)
        if response is not None:
            return response
        if self.ended:
            raise Closed(bytes(self.buffer))
        self._read()
        return parse_response(self.buffer, self.ended, bodiless)

    def receive(self, bodiless=False):
        """The next answer. Raises Closed when there will be none."""
        while True:
            response = self.step(bodiless)
            if response is not None:
                return response

    def request(self, method, target, headers=(), body=None, **options):
        """Sends a request and returns its answer."""
        self.send(http_request(method, target, headers, body, **options))
        return self.receive(bodiless=method == "HEAD")

    def until_closed(self):
        """Waits for the peer to close; what it sent before that is returned."""
        while not self.ended:
            self._read()
        return bytes(self.buffer)

    def wait_until_read(self):
        """Waits until the peer of a Unix socket has taken everything sent to it."""
        assert self.socket.family == socket.AF_UNIX
        eventually(lambda: outgoing(self.socket) == 0, "the peer to read what was sent")
        return self


def outgoing(connection):
    """Bytes sent but not yet read (Unix) or acknowledged (TCP) by the peer: SIOCOUTQ."""
    return struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0\0\0\0"))[0]


def eventually(condition, what, timeout=TIMEOUT, interval=0.005):
    """Polls until the condition holds and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what}"
        time.sleep(interval)


class Fleet:
    """Many connections at once, from one thread."""

    def __init__(self, address, count):
        self.connections = []
        try:
            for _ in range(count):
                self.connections.append(Connection(address))
        except OSError:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for connection in self.connections:
            connection.close()

    def send(self, request):
        """Sends the same bytes on all, or what a function of the index gives."""
        for index, connection in enumerate(self.connections):
            connection.send(request(index) if callable(request) else request)
        return self

    def wait_until_read(self):
        """Waits until the daemon has taken every byte sent (Unix sockets only)."""
        for connection in self.connections:
            connection.wait_until_read()
        return self

    def collect(self, timeout=TIMEOUT):
        """One answer from each, in the order of the connections; None where it was closed."""
        answers = [None] * len(self.connections)
        with selectors.DefaultSelector() as selector:
            for index, connection in enumerate(self.connections):
                # What was pipelined may have come with the answer before.
                answers[index] = parse_response(connection.buffer)
                if answers[index] is None:
                    selector.register(connection, selectors.EVENT_READ, index)
            waiting = len(selector.get_map())
            deadline = time.monotonic() + timeout
            while waiting:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                assert (
                    ready
                ), f"{waiting} of {len(answers)} connections got no answer in {timeout} s"
                for key, _ in ready:
                    try:
                        answers[key.data] = key.fileobj.step()
                    except Closed:
                        pass
                    if answers[key.data] is not None or key.fileobj.ended:
                        selector.unregister(key.fileobj)
                        waiting -= 1
        return answers


def drive(address, connections, requests, on_response, timeout):
    """Keeps `connections` connections busy until `requests` is used up.

    `requests` yields (tag, bytes); on_response(tag, response) is called for each answer. With a tag
    of None the caller hangs up as soon as it has asked. A connection that has ended is replaced.
    """
    deadline = time.monotonic() + timeout
    requests = iter(requests)

    def employ(connection=None):
        """Sends the next request, on a new connection if need be; None when there is none left."""
        for tag, data in requests:
            connection = connection or Connection(address)
            connection.send(data)
            if tag is not None:
                connection.tag = tag
                return connection
            connection.close()
            connection = None
        if connection:
            connection.close()
        return None

    with selectors.DefaultSelector() as selector:
        try:
            for _ in range(connections):
                connection = employ()
                if connection:
                    selector.register(connection, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                assert ready, f"no answer on {len(selector.get_map())} connections in {timeout} s"
                for key, _ in ready:
                    connection = key.fileobj
                    response = connection.step()
                    if response is None:
                        continue
                    on_response(connection.tag, response)
                    closing = (response.header("Connection") or "").lower() == "close"
                    successor = employ(None if closing else connection)
                    if successor is connection:
                        continue
                    selector.unregister(connection)
                    connection.close()
                    if successor:
                        selector.register(successor, selectors.EVENT_READ)
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()


def form(parameters):
    """A form body: of a dict, of pairs, or of bytes that are taken as they are."""
    if isinstance(parameters, bytes):
        return parameters
    return urlencode(parameters, quote_via=quote_plus).encode()


def http_request(method, target, headers=(), body=None, host="localhost", version="HTTP/1.1"):
    """The bytes of a request; Content-Length is added where there is a body."""
    headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
    if host is not None:
        headers.insert(0, ("Host", host))
    if body is not None and not any(name.lower() == "transfer-encoding" for name, _ in headers):
        headers.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} {version}"] + [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def form_request(parameters, headers=(), **options):
    """The bytes of a POST to the token endpoint."""
    headers = list(headers.items()) if isinstance(headers, dict) else list(headers)
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", FORM))
    return http_request("POST", "/oauth2/token", headers, form(parameters), **options)
