# SPDX-License-Identifier: MIT
"""Ten thousand callers at one moment, on a key that nobody has asked for."""

import os
from contextlib import ExitStack

from parts.measure import pour
from parts.servers import Broker, Issuer

CALLERS = int(os.environ.get("BENCH_CALLERS", "10000"))
ISSUER_MS = 5000
EXTRA = """limits = { max_connections = 60000; max_waiters = 60000; max_waiters_per_flight = 60000; };
request_timeout = "1m";"""


def run(report):
    with ExitStack() as stack:
        issuer = stack.enter_context(Issuer())
        broker = stack.enter_context(Broker(issuer, EXTRA))
        issuer.behave(delay_ms=ISSUER_MS)
        told = pour(broker, CALLERS, CALLERS, 1, "burst")
        fetches = issuer.stats()["requests"]
    late_ms = told["last_us"] / 1000 - ISSUER_MS
    report.say(
        f"{CALLERS:,} callers on one cold key: {fetches} fetch; the first was answered"
        f" {told['first_us'] / 1000 - ISSUER_MS:.0f} ms, the last {late_ms:.0f} ms after the issuer"
        f" could have answered."
    )
    report.target(f"{CALLERS:,} callers on one key: fetches", fetches, 1)
    report.target(f"{CALLERS:,} callers on one key: the last answer", late_ms / 1000, 1.0, " s")
