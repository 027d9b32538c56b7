# SPDX-License-Identifier: MIT
"""Instructions of a hit and of a miss inside the access handler."""

from parts.instructions import measure, toolchain

HIT_MAX = 6000


def run(report):
    counts = measure()
    report.say(
        f"Instructions in the access handler ({toolchain()}): {counts['hit']:.0f} a hit,"
        f" {counts['miss']:.0f} a miss (fetching apart)."
    )
    report.target("instructions per hit", counts["hit"], HIT_MAX)
