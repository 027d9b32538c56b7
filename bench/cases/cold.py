# SPDX-License-Identifier: MIT
"""A cold start: so many distinct subjects, and what a miss costs beside a bare loop of libcurl."""

import json
import os
import statistics
import subprocess
from contextlib import ExitStack

from parts.measure import ROUNDS, pour
from parts.servers import BUILD, CLIENT, FORM, SECRET, Broker, Issuer

SUBJECTS = int(os.environ.get("BENCH_SUBJECTS", "10000"))
CALLERS = 64
IN_FLIGHT = 32  # the default of upstream.max_in_flight
ISSUER_MS = 20


def bare_command(issuer, requests):
    """The loop of bench/fetches.c."""
    tenant = CLIENT.partition(":")[0]
    url = f"http://127.0.0.1:{issuer.port}/system/auth/{tenant}-U/oauth2/token"
    form = f"client_secret={SECRET}&{FORM}bare-"
    return [str(word) for word in (BUILD / "bench" / "fetches", url, requests, IN_FLIGHT, form)]


def bare(issuer, requests):
    """What it tells."""
    command = bare_command(issuer, requests)
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def run(report):
    with ExitStack() as stack:
        issuer = stack.enter_context(Issuer())
        issuer.behave(delay_ms=ISSUER_MS)
        broker = stack.enter_context(Broker(issuer))
        told = pour(broker, SUBJECTS, CALLERS, SUBJECTS)
        ideal_s = SUBJECTS / IN_FLIGHT * ISSUER_MS / 1000
        report.say(
            f"{SUBJECTS:,} distinct subjects asked for by {CALLERS} callers, an issuer that takes"
            f" {ISSUER_MS} ms, {IN_FLIGHT} requests in flight: {told['seconds']:.2f} s; ideal"
            f" {ideal_s:.2f} s. The bare loop: {bare(issuer, SUBJECTS)['seconds']:.2f} s."
        )
        report.target("cold start: × the ideal time", told["seconds"] / ideal_s, 1.10)

    with ExitStack() as stack:
        issuer = stack.enter_context(Issuer())
        broker = stack.enter_context(Broker(issuer))
        ours, theirs = [], []
        share = max(SUBJECTS // 5, 1)
        for number in range(ROUNDS):
            ours.append(pour(broker, share, CALLERS, 1 << 40, "sequence", number * share)["cpu_us"])
            theirs.append(bare(issuer, share)["cpu_us"])
    table = report.table("A miss: CPU µs", broker.name, "bare libcurl")
    table.row(f"{statistics.median(ours):.1f}", f"{statistics.median(theirs):.1f}")
    report.target(
        "miss: × the bare loop",
        statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        1.3,
    )
