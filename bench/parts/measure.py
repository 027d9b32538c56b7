# SPDX-License-Identifier: MIT
"""Load, and what it costs the server.

Time by the clock says little on a machine that does other things, too; processor time says what a
request costs, and the ratio of two servers' in the same round is what survives best. So candidates
take turns, round after round, and a score is the median of the rounds' ratios.
"""

import json
import os
import statistics
import subprocess
from dataclasses import dataclass

from .servers import BENCH, BUILD

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
ROUND_S = int(os.environ.get("BENCH_ROUND_S", "1"))


@dataclass
class Round:
    """One server under one load for a moment."""

    requests: int
    cpu_us: float  # a request
    p50_us: float
    p99_us: float


def processors():
    """The processor of the server, and that of the load; the same where there is only one."""
    all_of_them = sorted(os.sched_getaffinity(0))
    return all_of_them[0], all_of_them[-1]


def wrk(server, connections, subjects=1, close=False, seconds=None, path="/oauth2/token"):
    """A round of wrk. With one connection, server and load share a processor, or what is measured
    is how long the kernel takes to wake one for the other."""
    mine, other = processors()
    server.pin(mine)
    command = [
        "taskset", "--cpu-list", str(mine if connections == 1 else other),
        "wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds or ROUND_S}s",
        "--timeout=30s", f"--script={BENCH / 'load' / 'post.lua'}",
        f"http://127.0.0.1:{server.port}{path}",
        "--", "close" if close else "keep", str(subjects),
    ]  # fmt: skip
    before_s = server.cpu_s()
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu_s = server.cpu_s() - before_s
    told = json.loads(out.splitlines()[-1])
    if told["errors"] or not told["requests"]:
        raise RuntimeError(f"{server.name} under wrk: {told}\n{out}")
    return Round(
        told["requests"], cpu_s * 1e6 / told["requests"], told["p50_us"], told["p99_us"]
    )


def alternate(rounds, **candidates):
    """Runs each candidate (name: function that returns a Round) once a round, in an order that
    turns round. Lists of Rounds by name."""
    names = list(candidates)
    results = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            results[name].append(candidates[name]())
    return results


def ratio(results, name, base, what="cpu_us"):
    """The median of the rounds' ratios."""
    pairs = zip(results[name], results[base], strict=True)
    return statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs)


def median(rounds, what="cpu_us"):
    return statistics.median(getattr(each, what) for each in rounds)


def pour(server, requests, connections, subjects, order="sequence", first=0):
    """Exactly so many requests, see bench/pour.c; what it tells, and `cpu_us` a request."""
    words = [BUILD / "bench" / "pour", server.port, requests, connections, subjects, order, first]
    before_s = server.cpu_s()
    out = subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE).stdout
    told = json.loads(out)
    told["cpu_us"] = (server.cpu_s() - before_s) * 1e6 / requests
    if told["good"] != requests:
        raise RuntimeError(f"{server.name}: {told['good']} of {requests} requests were answered 200")
    return told
