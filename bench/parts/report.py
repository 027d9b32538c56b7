# SPDX-License-Identifier: MIT
"""What was found: printed as it comes, and kept for bench/RESULTS.md, which is Markdown."""

import sys


class Table:
    def __init__(self, report, title, *columns):
        self._report = report
        report.line("")
        report.line(f"**{title}**")
        report.line("")
        report.line("| " + " | ".join(map(str, columns)) + " |")
        report.line("|" + " --- |" * len(columns))

    def row(self, *cells):
        self._report.line("| " + " | ".join(map(str, cells)) + " |")


class Report:
    def __init__(self):
        self.lines = []
        self.targets = []  # what, reached, limit, is it good

    def line(self, text):
        self.lines.append(text)
        print(text, flush=True)

    def say(self, text):
        self.line("")
        self.line(text)

    def progress(self, text):
        """For whoever waits; not kept."""
        print(f"… {text}", file=sys.stderr, flush=True)

    def table(self, title, *columns):
        return Table(self, title, *columns)

    def target(self, what, reached, limit, unit="", at_least=False):
        """A figure that was to be reached: at most `limit`, or at least."""
        good = reached >= limit if at_least else reached <= limit
        self.targets.append((what, reached, limit, unit, at_least, good))
        print(f"… {what}: {number(reached)}{unit} ({'reached' if good else 'MISSED'})", flush=True)

    def summary(self):
        """The table of all targets."""
        lines = ["| what | target | reached | |", "| --- | --- | --- | --- |"]
        for what, reached, limit, unit, at_least, good in self.targets:
            bound = f"{'≥' if at_least else '≤'} {number(limit)}{unit}"
            lines.append(
                f"| {what} | {bound} | {number(reached)}{unit} | {'yes' if good else '**no**'} |"
            )
        return lines


def number(value):
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 0.1 else f"{value:.2f}"
