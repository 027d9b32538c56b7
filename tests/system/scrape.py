# SPDX-License-Identifier: MIT
"""What GET /metrics says, read strictly: the exposition format 0.0.4 of Prometheus."""

import re

import expect

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
SAMPLE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?\d+(?:\.\d+)?)",
)


def labels_of(text):
    """The labels between the braces of a sample."""
    labels, at = {}, 0
    while text and at < len(text):
        match = LABEL.match(text, at)
        assert match, text
        name, value, _ = match.groups()
        assert name not in labels, text
        labels[name] = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), value)
        at = match.end()
    return labels


class Metrics:
    """Samples by name and labels."""

    def __init__(self, text):
        self.text = text
        self.types = {}
        self.samples = {}
        assert text.endswith("\n")
        for line in text.splitlines():
            if line.startswith("# HELP "):
                assert re.fullmatch(r"# HELP \w+ [A-Z0-9].*\.", line), line
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"two families {name}"
                self.types[name] = kind
            else:
                self._take(line)

    def _take(self, line):
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        family = name if name in self.types else re.sub("_(bucket|sum|count)$", "", name)
        assert family in self.types, f"no type for {line}"
        key = (name, frozenset(labels_of(labels).items()))
        assert key not in self.samples, f"twice: {line}"
        self.samples[key] = float(value)

    def names(self):
        return {name for name, _ in self.samples}

    def all(self, name, **labels):
        """The samples that have these labels, at least, each with all that it has."""
        return {
            key[1]: value
            for key, value in self.samples.items()
            if key[0] == name and labels.items() <= dict(key[1]).items()
        }

    def sum(self, name, **labels):
        """Of all samples that have these labels; 0 if there are none yet."""
        return sum(self.all(name, **labels).values())

    def value(self, name, **labels):
        """Of the one sample that has these labels."""
        found = self.all(name, **labels)
        assert len(found) == 1, (name, labels, found)
        return next(iter(found.values()))


def scrape(daemon, address=None):
    response = daemon.request("GET", "/metrics", address=address)
    assert response.status == 200, response
    assert response.header("Content-Type") == CONTENT_TYPE
    expect.not_stored(response)
    text = response.body.decode()
    daemon.check_answer(text)
    return Metrics(text)


def growth(before, after, name, **labels):
    return after.sum(name, **labels) - before.sum(name, **labels)
