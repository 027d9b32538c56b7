# SPDX-License-Identifier: MIT
"""Memory under churn: millions of requests over ten times as many subjects as there is room for."""

import os
from contextlib import ExitStack

from parts.measure import pour
from parts.servers import Broker, Issuer

REQUESTS = int(os.environ.get("BENCH_REQUESTS", "10000000"))
SUBJECTS = 1000000
CONNECTIONS = 64
STEPS = 20
GROWTH_MAX = 1.05  # of the second half, which is full, over its beginning


def run(report):
    with ExitStack() as stack:
        issuer = stack.enter_context(Issuer())
        broker = stack.enter_context(Broker(issuer, "cache = { max_entries = 100000; };"))
        resident = []
        hits = 0
        for step in range(STEPS):
            told = pour(broker, REQUESTS // STEPS, CONNECTIONS, SUBJECTS, "random", step + 1)
            hits += told["hits"]
            resident.append(broker.resident_bytes())
            report.progress(f"{(step + 1) * REQUESTS // STEPS:,}: {resident[-1] >> 20} MiB")
        entries = broker.metrics()["egain_tokend_cache_entries"]
    table = report.table(
        f"Resident memory under {REQUESTS:,} requests over {SUBJECTS:,} random subjects",
        "requests", "MiB",
    )  # fmt: skip
    for step in range(STEPS // 4 - 1, STEPS, STEPS // 4):
        table.row(f"{(step + 1) * REQUESTS // STEPS:,}", resident[step] >> 20)
    report.say(f"Entries at the end: {entries:,.0f}; hits: {hits / REQUESTS:.1%}.")
    report.target(
        "resident memory at the end: × half-way",
        max(resident[STEPS // 2 :]) / resident[STEPS // 2 - 1],
        GROWTH_MAX,
    )
