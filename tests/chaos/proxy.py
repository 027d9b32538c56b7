# SPDX-License-Identifier: MIT
"""A TCP proxy on the way to the issuer that does to connections what networks do.

It is a process of its own, told what to do by lines of JSON; class Proxy starts one and speaks with
it. Bytes pass as they are, so that TLS goes through it from end to end. A connection is a row of
turns: a turn begins with bytes of the caller, which the answer to the turn before has preceded. For
each turn one fault is drawn from the mix, by a random source that follows from the seed and from
the number of the connection:

- pass        nothing happens
- delay       the request arrives a moment later
- stall       the request or the answer arrives after seconds, or at a release
- bytewise    the answer comes byte by byte
- cut_request the connection ends within the request
- cut_answer  the connection ends within the answer
- reset       the same, by RST
- half_close  the way back ends within the answer, the way there stays open
- corrupt     a byte of the answer is another one: within a record of TLS, or in the word HTTP of a
              plain answer, so that nobody can take it for a good one
- refuse      the connection is reset, and nobody listens for a moment

A fault is counted when it happens. Cuts, resets, half-closes and corruptions always hit before the
first piece of what they hit has passed as a whole: a turn with one of them has no good answer.
"""

import asyncio
import contextlib
import errno
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading

FAULTS = (
    "pass",
    "delay",
    "stall",
    "bytewise",
    "cut_request",
    "cut_answer",
    "reset",
    "half_close",
    "corrupt",
    "refuse",
)
# After these there was no good answer.
BREAKING = ("cut_request", "cut_answer", "reset", "half_close", "corrupt", "refuse")

DELAY_S = (0.005, 0.25)
STALL_S = (0.5, 4.0)
REFUSAL_S = (0.02, 0.3)
BYTEWISE_MAX = 4096  # single bytes of one answer; the rest comes as it is
TLS_HEAD_BYTES = 5  # of a record, before what is authenticated
BACKLOG = 512


class Flow:
    """Bytes on their way to one end, and what holds them up. They never overtake each other."""

    def __init__(self, loop):
        self._loop = loop
        self._to = None
        self._held = bytearray()
        self._barred = False
        self._ended = None
        self._singles = 0

    def lead_to(self, transport):
        self._to = transport
        self._flush()

    def bar(self):
        self._barred = True

    def unbar(self):
        self._barred = False
        self._flush()

    def dribble(self):
        """What comes from now on goes byte by byte."""
        self._singles = BYTEWISE_MAX

    def give(self, data):
        if self._ended:
            return
        if self._to and not (self._held or self._barred or self._singles):
            if not self._to.is_closing():
                self._to.write(data)
            return
        idle = not self._held
        self._held += data
        if idle:
            self._flush()

    def end(self, how="close"):
        """Nothing comes any more: the connection is closed, or its way there ("write_eof")."""
        if not self._ended:
            self._ended = how
            if not self._held:
                self._flush()

    def _flush(self):
        if not self._to or self._barred or self._to.is_closing():
            return
        if self._held and self._singles:
            self._to.write(bytes(self._held[:1]))
            del self._held[:1]
            self._singles -= 1
            self._loop.call_soon(self._flush)
            return
        if self._held:
            self._to.write(bytes(self._held))
            self._held.clear()
        if self._ended == "close":
            self._to.close()
        elif self._ended:
            with contextlib.suppress(OSError):  # it has been reset meanwhile
                self._to.write_eof()


class End(asyncio.Protocol):
    """What asyncio tells of one end of a link."""

    def __init__(self, link, near):
        self._link = link
        self._near = near

    def connection_made(self, transport):
        self._link.made(transport, self._near)

    def data_received(self, data):
        if self._near:
            self._link.ask(data)
        else:
            self._link.answer(data)

    def eof_received(self):
        self._link.ended(self._near)
        return True

    def connection_lost(self, _):
        self._link.lost(self._near)

    def pause_writing(self):
        self._link.reading(not self._near, False)

    def resume_writing(self):
        self._link.reading(not self._near, True)


def reset(transport):
    """Ends a connection with a RST."""
    if transport and not transport.is_closing():
        connection = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


class Link:
    """One connection of the caller and the one to the issuer that belongs to it."""

    def __init__(self, relay, number):
        self._relay = relay
        self._random = random.Random(f"{relay.seed}:{number}")
        self._near = None
        self._far = None
        self._up = Flow(relay.loop)
        self._down = Flow(relay.loop)
        self._fault = "pass"
        self._turn_over = True
        self._fresh = False  # nothing of this turn's answer has come

    def made(self, transport, near):
        if near:
            self._near = transport
            self._down.lead_to(transport)
            address = transport.get_extra_info("sockname")[0]
            self._relay.by_address[address] = self._relay.by_address.get(address, 0) + 1
            self._relay.connect(self)
        else:
            self._far = transport
            self._up.lead_to(transport)
            if self._near.is_closing():
                transport.close()

    def reading(self, near, on):
        transport = self._near if near else self._far
        if transport and not transport.is_closing():
            (transport.resume_reading if on else transport.pause_reading)()

    def ended(self, near):
        """One end sends nothing any more. That of the caller means that he has left; the issuer's
        is passed on, and he will: were the connection closed on what he is just sending, he would
        lose what he has not read yet."""
        if near:
            self.break_off(end=True)
        else:
            self._down.end("write_eof")

    def lost(self, near):
        if near:
            self._relay.links.discard(self)
            if self._far:
                self._far.close()
        else:
            self._down.end()

    def break_off(self, end=False):
        """Ends both connections: the caller's with a RST, or with its end."""
        for transport in (self._near, self._far):
            if transport and end:
                transport.close()
            else:
                reset(transport)

    def let_go(self):
        self._relay.stalled.discard(self)
        self._up.unbar()
        self._down.unbar()

    def _hold(self, flow, bounds):
        flow.bar()
        self._relay.loop.call_later(self._random.uniform(*bounds), self.let_go)

    def ask(self, data):
        """Bytes of the caller."""
        if self._turn_over:
            self._turn_over = False
            self._fresh = True
            self._fault = self._relay.draw(self._random)
            if not self._begin(data):
                return
        self._up.give(data)

    def _begin(self, data):
        """Does what a fault does to a request; False: that is the end of it."""
        count = self._relay.count
        if self._fault == "pass":
            count("pass")
        elif self._fault == "delay":
            count("delay")
            self._hold(self._up, DELAY_S)
        elif self._fault == "stall" and self._random.random() < 0.5:
            count("stall")
            self._fault = "pass"
            self._relay.stalled.add(self)
            self._hold(self._up, STALL_S)
        elif self._fault == "cut_request":
            count("cut_request")
            self._up.give(data[: self._random.randrange(len(data))])
            self.break_off(end=True)
            return False
        elif self._fault == "refuse":
            count("refuse")
            self._relay.refuse(self._random.uniform(*REFUSAL_S))
            self.break_off()
            return False
        return True

    def answer(self, data):
        """Bytes of the issuer."""
        self._turn_over = True
        if self._fresh:
            self._fresh = False
            data = self._spoil(data)
        if data:
            self._down.give(data)

    def _spoil(self, data):
        """Does what a fault does to the first piece of an answer; what is left to pass on."""
        count = self._relay.count
        if self._fault in ("cut_answer", "reset", "half_close"):
            count(self._fault)
            # At least the last byte is missing.
            self._down.give(data[: self._random.randrange(len(data))])
            if self._fault == "half_close":
                self._down.end("write_eof")
                self._far.pause_reading()
            else:
                self.break_off(end=self._fault == "cut_answer")
            return b""
        if self._fault == "corrupt":
            count("corrupt")
            spoilt = bytearray(data)
            if self._relay.tls:
                at = self._random.randrange(min(TLS_HEAD_BYTES, len(data) - 1), len(data))
                spoilt[at] ^= 1 << self._random.randrange(8)
            else:
                spoilt[self._random.randrange(4)] = ord("~")
            return bytes(spoilt)
        if self._fault == "stall":
            count("stall")
            self._relay.stalled.add(self)
            self._hold(self._down, STALL_S)
        elif self._fault == "bytewise":
            count("bytewise")
            self._down.dribble()
        return data


class Relay:
    """The proxy itself, in its own process."""

    def __init__(self, upstream, seed, tls, addresses, port):
        self.loop = asyncio.get_running_loop()
        self.upstream = tuple(upstream)
        self.seed = seed
        self.tls = tls
        self.links = set()
        self.stalled = set()
        self.counts = dict.fromkeys(("connections", "turns", "unreachable", *FAULTS), 0)
        self.by_address = {}
        self.set_mix({"pass": 1})
        self._connecting = set()
        self._refusal = None  # what ends it
        self._servers = []
        self.port = port
        self._keepers = []
        for address in addresses:
            # Bound for as long as we live, so that nobody else gets the port while we refuse.
            keeper = socket.socket()
            keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            keeper.bind((address, self.port))
            self.port = keeper.getsockname()[1]
            self._keepers.append(keeper)

    def set_mix(self, mix):
        """Weights of faults; what is not named does not happen."""
        assert set(mix) <= set(FAULTS) and sum(mix.values()) > 0, mix
        self._names, self._weights = tuple(mix), tuple(mix.values())

    def draw(self, source):
        self.counts["turns"] += 1
        return source.choices(self._names, self._weights)[0]

    def count(self, fault):
        self.counts[fault] += 1

    async def listen(self):
        for keeper in self._keepers:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(keeper.getsockname())
            server = await self.loop.create_server(self._accept, sock=listener, backlog=BACKLOG)
            if self._refusal:
                server.close()
                return
            self._servers.append(server)

    def refuse(self, seconds):
        """Nobody listens for so long. What is connected stays."""
        for server in self._servers:
            server.close()
        self._servers = []
        if self._refusal:
            self._refusal.cancel()
        self._refusal = self.loop.call_later(seconds, self.admit)

    def admit(self):
        """Listens again."""
        if self._refusal:
            self._refusal.cancel()
            self._refusal = None
            self._start(self.listen())

    def release(self):
        """Lets go what is stalled."""
        count = len(self.stalled)
        for link in list(self.stalled):
            link.let_go()
        return count

    def _start(self, job):
        task = self.loop.create_task(job)
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _accept(self):
        self.counts["connections"] += 1
        link = Link(self, self.counts["connections"])
        self.links.add(link)
        return End(link, near=True)

    def connect(self, link):
        self._start(self._connect(link))

    async def _connect(self, link):
        try:
            await self.loop.create_connection(lambda: End(link, near=False), *self.upstream)
        except OSError:
            self.counts["unreachable"] += 1
            link.break_off()

    def obey(self, command, argument):
        """One command of the other process; its answer."""
        if command == "mix":
            return self.set_mix(argument)
        if command == "refuse":
            return self.refuse(argument)
        if command == "release":
            return self.release()
        if command == "admit":
            return self.admit()
        if command == "break":
            links = list(self.links)
            for link in links:
                link.break_off()
            return len(links)
        assert command == "counts", command
        return {**self.counts, "open": len(self.links), "by_address": self.by_address}


def give_up(loop, context):
    """A mistake of ours ends us: whoever uses us must not take it for a fault."""
    if getattr(context.get("exception"), "errno", None) == errno.ENOTCONN:
        return  # an end was to be told to who has reset the connection just before
    loop.default_exception_handler(context)
    os._exit(70)


async def serve():
    settings = json.loads(sys.argv[1])
    asyncio.get_running_loop().set_exception_handler(give_up)
    relay = Relay(**settings)
    await relay.listen()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await relay.loop.connect_read_pipe(lambda: protocol, sys.stdin)
    print(json.dumps(relay.port), flush=True)
    while line := await reader.readline():
        print(json.dumps(relay.obey(*json.loads(line))), flush=True)


class Proxy:
    """A running proxy. Its methods may be called from any thread."""

    def __init__(self, upstream, seed, tls=False, addresses=("127.0.0.1",), port=0):
        settings = {
            "upstream": upstream,
            "seed": seed,
            "tls": tls,
            "addresses": addresses,
            "port": port,
        }
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = self._answer()
        self.address = (addresses[0], self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, f"the proxy has ended: {self._process.wait()}"
        return json.loads(line)

    def _tell(self, command, argument=None):
        with self._lock:
            self._process.stdin.write(json.dumps([command, argument]) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def set_mix(self, mix):
        """Weights by the name of a fault: {"pass": 98, "reset": 2}. For turns that begin later."""
        self._tell("mix", mix)

    def refuse(self, seconds):
        """Has nobody listen for so long."""
        self._tell("refuse", seconds)

    def admit(self):
        """Has somebody listen again, should nobody."""
        self._tell("admit")

    def release(self):
        """Lets go what is stalled; how many connections."""
        return self._tell("release")

    def break_all(self):
        """Resets every connection there is; how many."""
        return self._tell("break")

    def counts(self):
        """What has happened so far, by fault; `connections`, `turns` and those now `open`;
        `unreachable`: connections for which the issuer was not; and connections `by_address`."""
        return self._tell("counts")

    def close(self):
        with self._lock:
            if self._process.poll() is None:
                self._process.stdin.close()
                self._process.wait(30)
            self._process.stdout.close()


if __name__ == "__main__":
    asyncio.run(serve())
