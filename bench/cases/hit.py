# SPDX-License-Identifier: MIT
"""A hit on a kept connection, against the floor and both kinds of nginx."""

from contextlib import ExitStack

from parts.measure import ROUNDS, alternate, median, ratio, wrk
from parts.servers import Broker, Floor, Issuer, NginxCache, NginxReturn, answer_of

CONNECTIONS = (1, 32, 256)


def run(report):
    with ExitStack() as stack:
        issuer = stack.enter_context(Issuer("--token-bytes", "1500"))
        broker = stack.enter_context(Broker(issuer))
        answer = answer_of(broker)
        floor = stack.enter_context(Floor(answer))
        constant = stack.enter_context(NginxReturn(answer))
        cache = stack.enter_context(NginxCache(issuer))
        cache.ask("user-1")

        report.say(f"The answer is {len(answer[1])} bytes.")
        table = report.table(
            "A hit on a kept connection: CPU µs a request (p99 µs)",
            "connections", broker.name, floor.name, constant.name, cache.name,
        )  # fmt: skip
        for connections in CONNECTIONS:
            results = alternate(
                ROUNDS,
                **{
                    server.name: lambda server=server: wrk(server, connections)
                    for server in (broker, floor, constant, cache)
                },
            )
            table.row(
                connections,
                *(f"{median(r):.2f} ({median(r, 'p99_us'):.0f})" for r in results.values()),
            )
            for base, limit in ((floor, 1.10), (constant, 1.00), (cache, 0.55)):
                report.target(
                    f"hit, {connections} connections: × {base.name}",
                    ratio(results, broker.name, base.name),
                    limit,
                )
