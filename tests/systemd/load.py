# SPDX-License-Identifier: MIT
"""Callers who come at a fixed rate, however long each of them has to wait.

The schedule is open: the next one comes when it is time, not when the one before has been served,
so that a daemon that stands still meets all who come meanwhile at once. Each has a connection of
its own; one that is closed before the first byte of an answer is tried once more.
"""

import asyncio
import contextlib
import socket
import threading
import time

from harness import question
from wire import form_request, parse_response

DEADLINE = 30.0  # for one caller


class Refused(Exception):
    """What came back is not what was asked for."""


class Load:
    """Entered, it sends requests until it is left; then it has the figures."""

    def __init__(self, path, tokens, rate):
        """`tokens`: which token each subject is to get, and from memory."""
        self._path = path
        self._expected = list(tokens.values())
        self._requests = [
            form_request(question(subject, client_id=None, scope=None), [("Connection", "close")])
            for subject in tokens
        ]
        self._rate = rate
        self.sent = self.answered = self.retries = 0
        self.failures = []
        self.latest = 0.0  # behind the schedule, in seconds
        self.slowest = 0.0
        self.seconds = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()

    def achieved(self):
        """Requests a second that were begun."""
        return self.sent / self.seconds

    async def _run(self):
        began, callers = time.monotonic(), set()
        while not self._ending.is_set():
            due = began + self.sent / self._rate
            late = time.monotonic() - due
            if late < 0:
                await asyncio.sleep(-late)
                continue
            self.latest = max(self.latest, late)
            caller = asyncio.create_task(self._call(self.sent % len(self._requests)))
            callers.add(caller)
            caller.add_done_callback(callers.discard)
            self.sent += 1
            await asyncio.sleep(0)
        self.seconds = time.monotonic() - began
        await asyncio.gather(*callers)

    async def _call(self, index):
        began = time.monotonic()
        try:
            async with asyncio.timeout(DEADLINE):
                await self._ask_twice(index)
        except (Refused, OSError, TimeoutError, AssertionError) as failure:
            self.failures.append(repr(failure))
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answered += 1

    async def _ask_twice(self, index):
        answer = await self._ask(self._requests[index])
        if not answer:
            self.retries += 1
            answer = await self._ask(self._requests[index])
        response = parse_response(answer, ended=True)
        if response is None or response.status != 200:
            raise Refused(response or bytes(answer))
        if "; hit;" not in response.header("Cache-Status"):
            raise Refused(response)
        if response.json()["access_token"] != self._expected[index]:
            raise Refused("the token of somebody else")

    async def _ask(self, request):
        """All that comes back; nothing, if the connection is closed before."""
        loop = asyncio.get_running_loop()
        answer = bytearray()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.setblocking(False)
            connection.connect(self._path)  # at once, or there is no room
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(connection, request)
            with contextlib.suppress(ConnectionError):
                while data := await loop.sock_recv(connection, 65536):
                    answer += data
        return answer
