# SPDX-License-Identifier: MIT
"""The parser, the annotated sample and the manual know the same options, group by group."""

import re

import pytest

from harness import ROOT

# Table of the parser → what holds its options in the sample, heading of the manual.
GROUPS = {
    "config.c: options": (None, "TOP LEVEL"),
    "config-listen.c: entry_options": ("listen", "LISTEN"),
    "config-clients.c: entry_options": ("clients", "CLIENTS"),
    "config-callers.c: entry_options": ("callers", "CALLERS"),
    "config-credentials.c: entry_options": ("credentials", "CREDENTIALS"),
    "config-audit.c: config_audit_options": ("audit", "AUDIT"),
    "config.c: cache_options": ("cache", "CACHE"),
    "config.c: upstream_options": ("upstream", "UPSTREAM"),
    "config.c: limits_options": ("limits", "LIMITS"),
}
# Which stand in the manual as a heading of their own.
HEADED = {"audit", "cache", "upstream", "limits"}


def tables():
    """The options of each table of the parser."""
    found = {}
    for path in sorted((ROOT / "daemon").glob("config*.c")):
        for name, body in re.findall(
            r"const struct config_option (\w+)\[\] = \{\n(.*?)\n\};", path.read_text(), re.DOTALL
        ):
            options = re.findall(r'^ {8}\{"(\w+)", CONFIG_KIND_', body, re.MULTILINE)
            assert len(options) == len(re.findall(r"^ {8}\{", body, re.MULTILINE)) - 1, name
            found[f"{path.name}: {name}"] = set(options)
    return found


TABLES = tables()


def sample(group):
    """The options that the sample shows in a group, as comments or not."""
    text = (ROOT / "conf" / "egain-tokend.conf").read_text()
    blocks = re.compile(
        r"^(?:#|//)?(\w+) = (?:\((.*?)\n(?://)?\)|\{(.*?)\n\});", re.DOTALL | re.MULTILINE
    )
    inside = {name: braced or listed for name, listed, braced in blocks.findall(text)}
    if group:
        return set(re.findall(r"^(?:[#/]|[, {]|\s)*(\w+) +=(?= )", inside[group], re.MULTILINE)) | set(
            re.findall(r"[{;] (\w+) = ", inside[group])
        )
    return set(inside) | set(re.findall(r"^#?(\w+) = ", blocks.sub("", text), re.MULTILINE))


def manual(heading):
    """The options that the manual tells of under a heading."""
    text = (ROOT / "man" / "egain-tokend.conf.5.scd").read_text()
    body = re.search(rf"^# {heading}\n(.*?)(?=^# )", text, re.DOTALL | re.MULTILINE)[1]
    return set(re.findall(r"^\*(\w+)\* \(", body, re.MULTILINE))


def test_every_table_is_looked_at():
    assert set(TABLES) == set(GROUPS)
    assert sum(map(len, TABLES.values())) > 60


@pytest.mark.parametrize("table", GROUPS)
def test_the_sample(table):
    assert sample(GROUPS[table][0]) == TABLES[table]


@pytest.mark.parametrize("table", GROUPS)
def test_the_manual(table):
    assert manual(GROUPS[table][1]) | (TABLES[table] & HEADED) == TABLES[table]
