# SPDX-License-Identifier: MIT
"""How often the cache has what is asked for, beside LRU on the same trace (bench/zipf.c)."""

import json
import subprocess

from parts.servers import BUILD


def run(report):
    told = json.loads(subprocess.check_output([str(BUILD / "bench" / "zipf")]))
    report.say(
        f"2,000,000 requests, 10,000 entries, 100,000 subjects by Zipf(0.9), one request in ten for"
        f" a subject that comes once: {told['cache']:.3f} were hits, {told['lru']:.3f} with LRU."
    )
    report.target(
        "hit ratio under Zipf(0.9) with scans: more than LRU's by",
        told["cache"] - told["lru"],
        0.05,
        at_least=True,
    )
