# SPDX-License-Identifier: MIT
"""Hits while the issuer says nothing, and while it is asked for new tokens all the time.

Time-outs are as long as can be, so that misses hang for as long as is measured; all else is the
default. Two daemons of one kind take turns: one with hits alone, one with what may disturb them.
"""

import asyncio
import threading
import time
from contextlib import ExitStack, contextmanager

from parts.measure import ROUNDS, alternate, median, ratio, wrk
from parts.servers import FORM, Broker, Issuer

CONNECTIONS = 32
HANGING = 1000
REFRESHED = 500  # subjects whose tokens live for ten seconds: due after five
EXTRA = 'upstream = { timeout = "5m"; }; request_timeout = "10m";'


@contextmanager
def hanging(broker, n):
    """So many requests that wait for an issuer that says nothing."""
    broker.issuer.behave(stall=True)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def ask(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        form = f"{FORM}hanging-{number}".encode()
        writer.write(
            b"POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(form), form)
        )
        await writer.drain()
        return reader, writer

    async def ask_all():
        return [await ask(number) for number in range(n)]

    kept = asyncio.run_coroutine_threadsafe(ask_all(), loop).result()
    while broker.metrics()["egain_tokend_waiters"] < n:
        time.sleep(0.05)
    yield
    for _, writer in kept:
        loop.call_soon_threadsafe(writer.transport.abort)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def compare(report, table, what, calm, disturbed, subjects):
    results = alternate(
        ROUNDS,
        calm=lambda: wrk(calm, CONNECTIONS, subjects),
        disturbed=lambda: wrk(disturbed, CONNECTIONS, subjects),
    )
    table.row(
        what,
        *(f"{median(r, 'p50_us'):.0f} / {median(r, 'p99_us'):.0f}" for r in results.values()),
        *(f"{median(r):.2f}" for r in results.values()),
    )
    report.target(f"p99 of hits, {what}: × without", ratio(results, "disturbed", "calm", "p99_us"), 1.5)


def run(report):
    table = report.table(
        f"Hits on {CONNECTIONS} connections beside an issuer in trouble",
        "while", "p50 / p99 µs without", "p50 / p99 µs with", "CPU µs without", "CPU µs with",
    )  # fmt: skip
    with ExitStack() as stack:
        calm = stack.enter_context(Broker(stack.enter_context(Issuer()), EXTRA))
        disturbed = stack.enter_context(Broker(stack.enter_context(Issuer()), EXTRA))
        calm.ask("user-1")
        disturbed.ask("user-1")
        stack.enter_context(hanging(disturbed, HANGING))
        compare(report, table, f"{HANGING:,} misses hang", calm, disturbed, 1)
    with ExitStack() as stack:
        issuer = stack.enter_context(Issuer("--lifetime", "10"))
        calm = stack.enter_context(Broker(stack.enter_context(Issuer()), EXTRA))
        disturbed = stack.enter_context(Broker(issuer, EXTRA))
        wrk(calm, CONNECTIONS, REFRESHED, seconds=5)
        wrk(disturbed, CONNECTIONS, REFRESHED, seconds=5)
        stop = threading.Event()
        touching = threading.Thread(target=touch, args=(disturbed, stop), daemon=True)
        touching.start()
        before, began = issuer.stats()["requests"], time.monotonic()
        compare(report, table, "about 100 refreshes a second run", calm, disturbed, REFRESHED)
        rate = (issuer.stats()["requests"] - before) / (time.monotonic() - began)
        stop.set()
        touching.join()
    report.say(f"There were {rate:.0f} refreshes a second.")


def touch(broker, stop):
    """Uses every subject now and then, lest its token run out while the other daemon has its turn."""
    while not stop.is_set():
        for number in range(1, REFRESHED + 1):
            broker.ask(f"user-{number}")
        stop.wait(1)
