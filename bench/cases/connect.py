# SPDX-License-Identifier: MIT
"""A hit on a new connection each time: accept, identity and close included."""

from contextlib import ExitStack

from parts.measure import ROUNDS, alternate, median, ratio, wrk
from parts.servers import Broker, Floor, Issuer, answer_of

CONNECTIONS = (1, 32)


def run(report):
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(stack.enter_context(Issuer("--token-bytes", "1500"))))
        floor = stack.enter_context(Floor(answer_of(broker)))
        table = report.table(
            "A hit on a new connection each time: CPU µs a request (p99 µs)",
            "connections", broker.name, floor.name,
        )  # fmt: skip
        for connections in CONNECTIONS:
            results = alternate(
                ROUNDS,
                **{
                    server.name: lambda server=server: wrk(server, connections, close=True)
                    for server in (broker, floor)
                },
            )
            table.row(
                connections,
                *(f"{median(r):.2f} ({median(r, 'p99_us'):.0f})" for r in results.values()),
            )
            report.target(
                f"hit on a new connection, {connections} at a time: × floor",
                ratio(results, broker.name, floor.name),
                1.25,
            )
