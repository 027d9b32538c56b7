# SPDX-License-Identifier: MIT
"""A million entries: what a hit costs, what an entry costs, and how long a turn of the loop takes."""

import os
import pathlib
import struct
from contextlib import ExitStack

from parts.measure import ROUNDS, alternate, median, pour, ratio, wrk
from parts.servers import BUILD, Broker, Floor, Issuer, answer_of

FEW = 1000
MANY = int(os.environ.get("BENCH_ENTRIES", "1000000"))
TOKEN_BYTES = 1500
CONNECTIONS = 32
EVICTED = MANY // 10
LIFETIME = ("--lifetime", "86400", "--token-bytes", str(TOKEN_BYTES))


class Turns:
    """What libturns.so writes, see bench/turns.c."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / "turns"

    def begin(self):
        with self.path.open("r+b") as file:
            file.write(bytes(32))

    def read(self):
        n, longest_ns, total_ns, over = struct.unpack("QQQQ", self.path.read_bytes()[:32])
        return n, longest_ns / 1e6, total_ns / max(n, 1) / 1e3, over


def watched_broker(issuer, entries):
    """One whose turns are timed; it needs room for what it holds, and for nothing else."""
    broker = Broker(issuer, f'cache = {{ max_entries = {entries}; max_memory = "16G"; }};')
    return broker, watch(broker)


def watch(server):
    """Has the turns of a server timed, which is not started yet."""
    server.environment["LD_PRELOAD"] = str(BUILD / "bench" / "libturns.so")
    server.environment["TURNS_FILE"] = str(server.folder / "turns")
    return Turns(server.folder)


def ask_for(table, server, turns, what, requests, first):
    """The longest turn while so many subjects are asked for, each once."""
    server.ask("warm")  # what happens once a process does not count
    turns.begin()
    told = pour(server, requests, 1, 1 << 40, "sequence", first)
    n, longest_ms, mean_us, over = turns.read()
    table.row(
        what, f"{requests:,}", f"{told['cpu_us']:.1f}", f"{n:,}", f"{mean_us:.1f}",
        f"{longest_ms:.3f}", over,
    )  # fmt: skip
    return longest_ms


def run(report):
    with ExitStack() as stack:
        issuer = stack.enter_context(Issuer(*LIFETIME))
        few, _ = watched_broker(issuer, FEW)
        many, turns = watched_broker(issuer, MANY)
        stack.enter_context(few)
        stack.enter_context(many)
        token_bytes = len(few.ask("user-1")[2].split(b'"')[3])
        pour(few, FEW, 8, FEW)
        empty_bytes = many.resident_bytes()
        report.progress(f"filling a cache with {MANY:,} tokens")
        table = report.table(
            "Turns of the loop, one request at a time",
            "while", "requests", "CPU µs a request", "turns", "mean µs", "longest ms", "over 1 ms",
        )  # fmt: skip
        growing, evicting = f"growing to {MANY:,} entries", "evicting on every insert"
        grown_ms = ask_for(table, many, turns, growing, MANY, 0)
        entry_bytes = (many.resident_bytes() - empty_bytes) / MANY - token_bytes
        evicted_ms = ask_for(table, many, turns, evicting, EVICTED, MANY)
        floor = Floor(answer_of(few))
        floor_turns = watch(floor)
        with floor:
            ask_for(table, floor, floor_turns, "the floor, whose turns are all alike", MANY, 0)
        report.say("What the floor shows is the machine's: time stolen from it, and interrupts.")
        report.target(f"longest turn, {growing}", grown_ms, 1.0, " ms of CPU")
        report.target(f"longest turn, {evicting}", evicted_ms, 1.0, " ms of CPU")
        report.say(f"An entry takes {entry_bytes:.0f} bytes beside its token of {token_bytes}.")
        report.target(f"memory per entry beyond the token, {MANY:,} entries", entry_bytes, 256, " bytes")

        pour(many, EVICTED, CONNECTIONS, 1 << 40, "sequence", 0)  # those that were evicted, again
        results = alternate(
            ROUNDS,
            few=lambda: wrk(few, CONNECTIONS, FEW),
            many=lambda: wrk(many, CONNECTIONS, MANY),
        )
    table = report.table(
        f"A hit on {CONNECTIONS} connections, subjects evenly at random",
        "entries", "CPU µs", "p99 µs",
    )  # fmt: skip
    for entries, name in ((FEW, "few"), (MANY, "many")):
        rounds = results[name]
        table.row(f"{entries:,}", f"{median(rounds):.2f}", f"{median(rounds, 'p99_us'):.0f}")
    report.target(
        f"hit with {MANY:,} entries, uniform: × with {FEW:,}", ratio(results, "many", "few"), 1.30
    )
