# SPDX-License-Identifier: MIT
"""Callers × client applications × subjects × scopes × listeners under random rules, cell by cell.

What each cell must answer is told by an oracle that shares nothing with the daemon: it reads the
rules as the manual describes them. MATRIX_SEED repeats a run.
"""

import os
import random
import re
import time
from dataclasses import dataclass

import pytest

import expect
from harness import CRM, LOBBY, MANAGE, PORTAL, READ, STAFF, Daemon, Issuer, ask_bytes
from people import needs_users
from test_grants import application, exchange, subject_token
from wire import Connection, form_request

pytestmark = needs_users

RULE_SETS = 6
PIPELINED = 24
LISTENERS = ("unix", "tcp4", "tcp6")
TOKEN = subject_token(life=86400)
KEYS = {"one": "key-one-0123456789abcdef", "two": "key-two-0123456789abcdef"}

BRACKETS = "odd[a-z]?.*"
SCOPES = (READ, MANAGE, BRACKETS, "odd")
SCOPE_SETS = (
    None,
    READ,
    MANAGE,
    f"{READ} {MANAGE}",
    f"{MANAGE} {BRACKETS} {READ}",
    BRACKETS,
    "odd",
    f"odd {BRACKETS}",
)
SCOPE_PATTERNS = (
    "*",
    READ,
    "knowledge.*",
    "*.read",
    "knowledge.*.*.manage",
    BRACKETS,
    "odd",
    "odd*",
    "o?d",
    "knowledge.portalmgr.onbehalfof.[rm]*",
    "Knowledge.*",
)
SUBJECTS = (
    ("username", "pa"),
    ("username", "pat"),
    ("username", "p"),
    ("username", "PA"),
    ("username", "p?"),
    ("username", "p[a]"),
    ("username", "zaza-pa"),
    ("username", "p\\a"),
    ("username", "päß"),
    ("userid", "pa"),
    ("userid", "4711"),
    ("email", "pa@example.com"),
    ("email", "pa@example.com.evil"),
    ("email", "@example.com"),
    # of which the client application makes an anonymous customer where it is an anonymous one
    ("application", ""),
    ("exchange", "okta-1"),
    ("exchange", "entra"),
)
SUBJECT_PATTERNS = (
    "username:*",
    "username:pa",
    "username:pa*",
    "username:*pa",
    "username:p?",
    "username:p[a]",
    "username:p\\a",
    "username:p*a*",
    "username:*za*za*",
    "username:p**",
    "username:pä*",
    "userid:*",
    "userid:47*",
    "userid:4711",
    "email:*",
    "email:*@example.com",
    "email:pa@*",
    "email:*.evil",
    "application:*",
    "anonymous:*",
    "exchange:*",
    "exchange:okta*",
    "exchange:*-1",
)
FOUR = (PORTAL, CRM, STAFF, LOBBY)


@dataclass
class Caller:
    """Somebody who asks, and the key he sends."""

    person: object  # None: root
    key: str = None

    def __str__(self):
        return f"{self.person.name if self.person else 'root'} with key {self.key}"


def matches(pattern, text):
    """A pattern knows one special character."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def selects(rule, caller, listener):
    """Whether user, group and unit of a rule are the caller's."""
    uid = caller.person.uid if caller.person else 0
    groups = caller.person.groups if caller.person else [0]
    if "uid" in rule and rule["uid"] != uid:
        return False
    if "gid" in rule and (listener != "unix" or rule["gid"] not in groups):
        return False
    return "unit" not in rule  # nobody here is in one


def verdict(rules, caller, client, subject, scope, listener):
    """What must be answered: status, error, and a word of its description."""
    selected, lacking = None, False
    for rule in rules:
        if not selects(rule, caller, listener):
            continue
        if "key" in rule and rule["key"] != caller.key:
            lacking = True
            continue
        selected = rule
        break
    if not selected:
        return (401, "invalid_client", "key_file") if lacking else (403, "access_denied", "No rule")
    kind, value = subject
    if kind == "application" and client == LOBBY:
        kind = "anonymous"
    name = f"The rule {selected['name']} does not give"
    if client.name not in selected["clients"]:
        return 403, "access_denied", f"{name} this caller the client application {client.name}"
    patterns = [entry.split(":", 1) for entry in selected["subjects"]]
    if not any(of == kind and matches(pattern, value) for of, pattern in patterns):
        what = "tokens of the kind" if value == "" else "the subject"
        return 403, "access_denied", f"{name} this caller {what} {kind}"
    if client == LOBBY and kind != "anonymous":
        return 400, "unauthorized_client", "anonymous customers"
    if kind == "email" and "customer" not in client.kinds:
        return 400, "unauthorized_client", "token URL"
    if not scope and not client.default_scope:
        return 400, "invalid_scope", "default_scope"
    for wanted in (scope or client.default_scope).split(" "):
        if not any(matches(pattern, wanted) for pattern in selected["scopes"]):
            return 403, "access_denied", f"{name} this caller the scope"
    return 200, None, None


class Rules:
    """Random ones; `configured` is what the daemon gets, `judged` what the oracle does."""

    def __init__(self, chance, people, key_files):
        self.configured, self.judged = [], []
        conditions = set()
        keys = list(KEYS)
        persons = (people.a, people.b, people.c)
        for number in range(chance.randint(3, 9)):
            person = chance.choice((*persons, *persons, None))
            group = chance.random() < (0.25 if person else 0.9)
            unit = chance.random() < 0.1
            key = keys.pop() if keys and chance.random() < 0.4 else None
            chosen = (person and person.uid, group, unit, key)
            if not (person or group or unit) or chosen in conditions:
                keys += [key] if key else []
                continue
            conditions.add(chosen)
            judged = {"name": f"rule-{number}"}
            judged["clients"] = self.some(chance, [client.name for client in FOUR])
            judged["subjects"] = self.some(chance, SUBJECT_PATTERNS)
            judged["scopes"] = self.some(chance, SCOPE_PATTERNS)
            configured = {**judged, "fetches": "1000000/1s"}
            if person:
                configured["user"] = chance.choice((person.name, str(person.uid)))
                judged["uid"] = person.uid
            if group:
                configured["group"] = chance.choice((people.team.gr_name, str(people.team.gr_gid)))
                judged["gid"] = people.team.gr_gid
            if unit:
                configured["unit"] = "crm-sync.service"
                judged["unit"] = "crm-sync.service"
            if key:
                configured["key_file"] = key_files[key]
                judged["key"] = key
            self.configured.append(configured)
            self.judged.append(judged)

    @staticmethod
    def some(chance, values):
        return chance.sample(values, chance.randint(1, min(5, len(values))))


@pytest.fixture(scope="module")
def issuer_process():
    with Issuer(scopes=SCOPES) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def daemon(issuer_process):
    with Daemon(issuer_process, clients=FOUR) as daemon:
        yield daemon


def check(response, wanted, cell):
    status, error, words = wanted
    _, client, (kind, value), scope, _ = cell
    assert response.status == status, response
    if status == 200 and kind == "application":
        kind, value = ("application", client.client_id)
        if client == LOBBY:
            kind, value = ("anonymous", client.tenant)
    if status == 200:
        expect.token(response, value, kind, scope or client.default_scope, client)
    else:
        assert words in expect.error(response, status, error)


def bytes_of(client, subject, scope, key):
    """The request of one cell."""
    kind, value = subject
    more = {"client_id": client.name, "scope": scope, "client_secret": key}
    if kind == "application":
        asked = application(client, **more)
    elif kind == "exchange":
        asked = exchange(TOKEN, value, **more)
    else:
        return ask_bytes(value, kind, **more)
    return form_request({name: value for name, value in asked.items() if value is not None})


def ask_all(daemon, caller, listener, cells, judge):
    """Every cell of one caller on one listener over one connection, some at a time."""
    address = getattr(daemon, listener)
    with Connection(caller.person.at(address) if caller.person else address) as connection:
        for at in range(0, len(cells), PIPELINED):
            some = cells[at : at + PIPELINED]
            connection.send(b"".join(data for _, data in some))
            for cell, _ in some:
                judge(cell, connection.receive())


def test_every_cell(daemon, people, capsys):
    seed = int(os.environ.get("MATRIX_SEED", time.time_ns() % 2**32))
    with capsys.disabled():
        print(f"\n  matrix of callers: MATRIX_SEED={seed}")
    chance = random.Random(seed)
    key_files = {name: daemon.put_key(name, key) for name, key in KEYS.items()}
    callers = [Caller(None)] + [
        Caller(person, key)
        for person in (people.a, people.b, people.c)
        for key in (None, "one", "two")
    ]
    statuses = set()
    for _ in range(RULE_SETS):
        rules = Rules(chance, people, key_files)
        if not rules.configured:
            continue
        daemon.reload(callers=rules.configured)

        def judge(cell, response):
            wanted = verdict(rules.judged, *cell)
            statuses.add(wanted[0])
            try:
                check(response, wanted, cell)
            except AssertionError as failure:
                said = "\n".join(map(str, rules.configured))
                raise AssertionError(
                    f"seed {seed}: {cell[0]}, {cell[1:]}, wanted {wanted}\n{said}\n{failure}"
                ) from None

        for caller in callers:
            for listener in LISTENERS:
                cells = [
                    (
                        (caller, client, subject, scope, listener),
                        bytes_of(client, subject, scope, caller.key and KEYS[caller.key]),
                    )
                    for client in FOUR
                    for subject in SUBJECTS
                    for scope in SCOPE_SETS
                ]
                chance.shuffle(cells)
                ask_all(daemon, caller, listener, cells, judge)
    assert {200, 403} <= statuses


class TestOracle:
    """The oracle itself, in words of the manual."""

    @pytest.mark.parametrize(
        "pattern, text, matching",
        [
            ("*", "", True),
            ("a*", "a", True),
            ("a*", "ba", False),
            ("[a]", "a", False),
            ("[a]", "[a]", True),
            ("a?", "ab", False),
            ("A", "a", False),
            ("*a*a", "aa", True),
            ("*a*a", "a", False),
            ("a\\*", "a\\x", True),
        ],
    )
    def test_patterns(self, pattern, text, matching):
        assert matches(pattern, text) == matching
