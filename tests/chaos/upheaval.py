# SPDX-License-Identifier: MIT
"""Upheavals: what happens to a daemon in the course of its life, at random from a seed.

ACTIONS are drawn by weight. An action changes the World at once, and often for a while: what it did
is undone when its time is over, see World. The record that it returns says

- name, before_ms, after_ms, ends_ms  on the monotonic clock: begun, done, and what lasts is over
- lingers_ms    so much longer the daemon may rightly refuse: it remembers failures and refusals,
                and keeps its distance from an issuer
- tell_before, tell_after   what was told to who watches the services, before and after the act
- detail        what was drawn

What is told: "taken CLIENT KIND SUBJECT SCOPE AT_MS": no answer to a request from now on holds such
a token that was minted before AT_MS ("*": whatever it is; the subject is percent-encoded; SCOPE is
one value); "down" and "up"; "gone CLIENT" and "back CLIENT"; "repeats on" and "repeats off": the
issuer may give a token that it has given before.
"""

import hashlib
from dataclasses import dataclass
from typing import Callable
from urllib.parse import quote, urlencode

from world import ADDRESSES, NOBODY, now_ms

from harness import MANAGE, READ, SCOPES, ask_bytes
from wire import Fleet

# What the daemon may remember (lib/backoff.h, lib/memory.h, lib/credentials.h): of a failure, of an
# open breaker or a refusal, and of credentials that were refused.
FAILURE_MS = 30000
BREAKER_MS = 61000
CREDENTIALS_MS = 300000

POPULAR = 200  # subjects that are asked for all the time: user-0, user-1, …


@dataclass(frozen=True)
class Action:
    """One of ACTIONS. `needs` a world with that attribute."""

    name: str
    function: Callable
    weight: int
    lasts_s: float
    lingers_ms: int
    needs: str
    configures: bool

    def run(self, world, rng):
        """Does it; the record."""
        world.expire()
        if self.configures:
            world.end_configuration()
        told = len(world.told)
        before_ms = now_ms()
        detail = self.function(world, rng, self.lasts_s) or {}
        after_ms = now_ms()
        lines = world.told[told:]
        first = detail.pop("told_before", 0)
        return {
            "name": self.name,
            "before_ms": before_ms,
            "after_ms": after_ms,
            "ends_ms": after_ms + int(1000 * self.lasts_s),
            "lingers_ms": self.lingers_ms,
            "tell_before": lines[:first],
            "tell_after": lines[first:],
            "detail": detail,
        }


ACTIONS = {}


def action(weight, lasts_s=0.0, lingers_ms=0, needs="", configures=False):
    def register(function):
        name = function.__name__
        ACTIONS[name] = Action(
            name, function, weight, lasts_s, lingers_ms, needs, configures
        )
        return function

    return register


def possible(world):
    """The actions that there are in this world."""
    return [one for one in ACTIONS.values() if not one.needs or getattr(world, one.needs)]


def pick(world, rng):
    actions = possible(world)
    return rng.choices(actions, [one.weight for one in actions])[0]


def where(world, rng):
    """Which requests a rule of the issuer is for: those of one tenant or all; each or some."""
    filters = {"every": rng.choice((1, 1, 2, 5))}
    if rng.random() < 0.5:
        filters["tenant"] = rng.choice(list(world.clients.values())).tenant
    return filters


def misbehave(world, rng, lasts_s, rule):
    rule = {**where(world, rng), **rule}
    world.behave(lasts_s, **rule)
    return {"rule": rule}


# What the issuer says.


@action(weight=6, lasts_s=4, lingers_ms=BREAKER_MS)
def issuer_fails(world, rng, lasts_s):
    status = rng.choice((500, 500, 502, 503, 504, 408, 301, 307, 418))
    body = rng.choice(("", "<html>no</html>", '{"error":"server_error"}'))
    rule = {"status": status, "body": body}
    if status in (301, 307):
        rule["headers"] = {"Location": "http://127.0.0.1:1/"}
    return misbehave(world, rng, lasts_s, rule)


@action(weight=4, lasts_s=2, lingers_ms=BREAKER_MS)
def issuer_refuses(world, rng, lasts_s):
    rule = rng.choice(
        (
            {"error": "invalid_grant", "error_description": "who is that?"},
            {"error": "invalid_scope"},
            {"status": 403, "body": '{"code":"403-197","developerMessage":"no"}'},
            {"status": 404, "body": "<html>nothing here</html>", "content_type": "text/html"},
            {"status": 422, "body": ""},
        )
    )
    return misbehave(world, rng, lasts_s, {**rule, "count": rng.randrange(1, 20)})


@action(weight=4, lasts_s=3, lingers_ms=BREAKER_MS)
def issuer_throttles(world, rng, lasts_s):
    wait = rng.choice(("0", "1", "2", "Thu, 01 Jan 1970 00:00:00 GMT", "soon", "-5", None))
    headers = {} if wait is None else {"Retry-After": wait}
    if rng.random() < 0.3:
        headers["X-RateLimit-Reset"] = rng.choice(("2001-02-03T04:05:06Z", "tomorrow"))
    rule = {"status": rng.choice((429, 429, 503)), "headers": headers, "body": ""}
    return misbehave(world, rng, lasts_s, rule)


@action(weight=1, lasts_s=1, lingers_ms=CREDENTIALS_MS)
def issuer_forgets_clients(world, rng, lasts_s):
    """One client application at most: it is held for long."""
    rule = rng.choice(
        (
            {"status": 401, "body": ""},
            {"error": "invalid_client"},
            {"error": "unauthorized_client"},
            {"error": "unsupported_grant_type"},
        )
    )
    tenant = rng.choice(list(world.clients.values())).tenant
    return misbehave(world, rng, lasts_s, {**rule, "tenant": tenant, "every": 1, "count": 2})


NONSENSE = (
    "",
    "{",
    "[]",
    "null",
    "x" * 100,
    "<html>welcome</html>",
    "{}",
    '{"access_token":""}',
    '{"access_token":123,"expires_in":60}',
    '{"access_token":null,"expires_in":60}',
    '{"access_token":["a"],"expires_in":60}',
    '{"access_token":"a b","expires_in":60}',
    '{"access_token":"a\\nb","expires_in":60}',
    '{"access_token":"a\\u0000b","expires_in":60}',
    '{"access_token":"a","access_token":"b","expires_in":60}',
    '{"access_token":"a","expires_in":60} trailing',
    '{"access_token":"a","expires_in":NaN}',
    '{"access_token":"a","expires_in":60',
    '{"a":' * 100 + "1" + "}" * 100,
    '{"error":"invalid_grant"}',
)


@action(weight=4, lasts_s=3, lingers_ms=BREAKER_MS)
def issuer_talks_nonsense(world, rng, lasts_s):
    drawn = rng.random()
    if drawn < 0.6:
        rule = {"body": rng.choice(NONSENSE)}
    elif drawn < 0.7:
        rule = {"body_base64": "eyJhY2Nlc3NfdG9rZW4iOiL//iIsImV4cGlyZXNfaW4iOjYwfQ=="}
    elif drawn < 0.8:
        kind = rng.choice(("text/html", "image/png"))
        rule = {"body": rng.choice(NONSENSE), "content_type": kind}
    else:
        rule = {"body_size": rng.choice((70000, 1 << 20, 3 << 20, 64 << 20)), "count": 5}
    return misbehave(world, rng, lasts_s, rule)


@action(weight=3, lasts_s=3, lingers_ms=BREAKER_MS)
def issuer_gives_unusable_tokens(world, rng, lasts_s):
    rule = rng.choice(
        (
            {"token_type": "mac"},
            {"token_type": "Bear"},
            {"omit": ["access_token"]},
            {"omit": ["access_token", "expires_in", "scope", "token_type"]},
            *({"expires_in_json": text} for text in ("0", "-1", '"60abc"', "true", "[60]", "1.5")),
            {"expires_in_json": "99999999999999999999"},
            {"lifetime": 0},
        )
    )
    return misbehave(world, rng, lasts_s, rule)


@action(weight=4, lasts_s=6, lingers_ms=FAILURE_MS)
def issuer_has_odd_manners(world, rng, lasts_s):
    """Answers that can be used, or nearly."""
    rule = rng.choice(
        (
            {"omit": ["expires_in"]},
            {"omit": ["token_type"]},
            {"omit": ["scope", "expires_in", "token_type"]},
            {"token_type": "bEARER"},
            {"expires_in_json": f'"{world.lifetime_s}"'},
            {"expires_in_json": "null"},
            {"content_type": "text/plain"},
        )
    )
    return misbehave(world, rng, lasts_s, rule)


@action(weight=4, lasts_s=8, lingers_ms=FAILURE_MS)
def lifetimes_vary(world, rng, lasts_s):
    lifetime = rng.choice((1, 2, 3, 5, 8, 13, 86400))
    return misbehave(world, rng, lasts_s, {"lifetime": lifetime})


@action(weight=3, lasts_s=3, lingers_ms=FAILURE_MS)
def issuer_grants_another_scope(world, rng, lasts_s):
    """For tokens that live a few seconds: as long as they do, answers name that scope."""
    scope = rng.choice((READ, MANAGE, f"{READ} {MANAGE} admin", "admin", " ", "\x7f", "a" * 5000))
    return misbehave(world, rng, lasts_s, {"granted_scope": scope, "lifetime": 10})


@action(weight=3, lasts_s=8, lingers_ms=FAILURE_MS)
def issuer_repeats_tokens(world, rng, lasts_s):
    """The same token for the same question, until it has run out."""
    rule = where(world, rng)
    world.repeat(lasts_s, **rule)
    return {"rule": rule, "told_before": 1}


@action(weight=3, lasts_s=5, lingers_ms=BREAKER_MS)
def issuer_hangs(world, rng, lasts_s):
    return misbehave(world, rng, lasts_s, rng.choice(({"stall": True}, {"hold": True})))


@action(weight=5, lasts_s=5, lingers_ms=FAILURE_MS)
def issuer_is_slow(world, rng, lasts_s):
    delay = {"delay_ms": rng.randrange(10, 3000)}
    trickle = {"trickle_ms": rng.choice((1, 2, 50))}
    return misbehave(world, rng, lasts_s, rng.choice((delay, trickle)))


@action(weight=3, lasts_s=2, lingers_ms=BREAKER_MS)
def issuer_hangs_up(world, rng, lasts_s):
    return misbehave(
        world, rng, lasts_s, rng.choice(({"close": True}, {"close_after_headers": True}))
    )


@action(weight=2, lasts_s=10)
def issuer_clock_steps(world, rng, lasts_s):
    """Its clock, not ours: the date of its answers, and what its tokens say of their times."""
    offset_s = rng.choice((-86400, -3600, -61, 61, 3600, 86400, 400 * 86400))
    world.issuer.control("PUT", "clock", {"offset_s": offset_s})
    world.last(lasts_s, lambda: world.issuer.control("PUT", "clock", {"offset_s": 0}))
    return {"offset_s": offset_s}


# What the network does.


@action(weight=8, lasts_s=6, lingers_ms=BREAKER_MS)
def network_breaks(world, rng, lasts_s):
    faults = ("delay", "stall", "bytewise", "cut_request", "cut_answer", "reset", "half_close")
    faults += ("corrupt", "refuse")
    mix = {fault: rng.randrange(1, 10) for fault in rng.sample(faults, rng.randrange(1, 5))}
    mix["pass"] = rng.choice((0, 5, 20, 100))
    world.proxy.set_mix(mix)
    world.last(lasts_s, lambda: world.proxy.set_mix({"pass": 1}))
    return {"mix": mix}


@action(weight=2, lingers_ms=FAILURE_MS)
def network_resets(world, _rng, _lasts_s):
    return {"connections": world.proxy.break_all()}


@action(weight=2, lasts_s=2, lingers_ms=BREAKER_MS)
def network_refuses(world, rng, lasts_s):
    seconds = rng.uniform(0.1, lasts_s)
    world.proxy.refuse(seconds)
    return {"seconds": seconds, "broken": world.proxy.break_all()}


@action(weight=5, lasts_s=5, lingers_ms=BREAKER_MS, needs="names")
def name_moves(world, rng, lasts_s):
    """What was connected is reset, or nobody would notice."""
    places = (ADDRESSES[1], NOBODY, (), (NOBODY, ADDRESSES[0]), ADDRESSES)
    addresses = rng.choice(places)
    world.names.point_at(addresses)
    world.last(lasts_s, lambda: world.names.point_at(ADDRESSES[0]))
    return {"addresses": addresses, "broken": world.proxy.break_all()}


# Secrets.

ROTATIONS = ("both", "issuer_first", "file_first", "next")


def with_secrets(world):
    """Client applications that have a secret of their own."""
    return [name for name in world.clients if "client_secret_file" in world.section(name)]


@action(weight=3, lingers_ms=CREDENTIALS_MS, configures=True)
def secret_is_rotated(world, rng, _lasts_s):
    name = rng.choice(with_secrets(world))
    client = world.clients[name]
    old = world.secrets[name][-1]
    new = f"{name}-{rng.getrandbits(64):016x}~/+x"
    how = rng.choice(ROTATIONS)
    world.daemon.forbidden.add(new)
    if how == "both":
        world.accept(name, old, new)
        world.daemon.put_secret(client, new)
        world.accept(name, new)
    elif how == "issuer_first":
        world.accept(name, new)
        world.daemon.put_secret(client, new)
    elif how == "file_first":
        world.daemon.put_secret(client, new)
        # Should it be held by now, what ends that is another secret in the file.
        last = new + "2"
        world.accept(name, new, last)
        world.daemon.put_secret(client, last)
    else:
        path = world.daemon.directory / f"{name}.next"
        world.daemon.put_secret(client, new, path)
        world.section(name)["next_client_secret_file"] = path
        world.configure()
        world.accept(name, new)
        world.daemon.put_secret(client, new)
        del world.section(name)["next_client_secret_file"]
        world.configure()
    return {"client": name, "how": how}


# Tokens that must go.


def subject_of(rng):
    number = rng.randrange(POPULAR)
    return rng.choice(
        (
            ("username", f"user-{number}"),
            ("userid", f"user-{number}"),
            ("email", f"user-{number}@example.com"),
        )
    )


@action(weight=6)
def tokens_are_purged(world, rng, _lasts_s):
    filters, taken = {}, {"client": "*", "kind": "*", "subject": "*", "scope": "*"}
    for part in rng.choice((["subject"],) * 4 + (["client"], ["scope"], ["subject", "client"])):
        if part == "subject":
            kind, subject = subject_of(rng)
            filters[f"subject_{kind}"] = subject
            taken |= {"kind": kind, "subject": quote(subject, safe="")}
        elif part == "client":
            there = [one["name"] for one in world.daemon.settings["clients"]]
            taken["client"] = filters["client_id"] = rng.choice(there)
        else:
            taken["scope"] = filters["scope"] = rng.choice(SCOPES)
    at_ms = now_ms()
    response = world.daemon.request("DELETE", "/v1/tokens?" + urlencode(filters))
    assert response.status == 200, response
    world.say(f"taken {' '.join(taken.values())} {at_ms}")
    return {"filters": filters, "purged": response.json()["purged"]}


@action(weight=5)
def token_is_rejected(world, rng, _lasts_s):
    """A burst of callers to whom an API has refused a token: none of them gets that one again,
    unless the issuer gives it again."""
    subject = f"user-{rng.randrange(POPULAR)}"
    count = rng.randrange(1, 9)
    world.own_requests += 1
    token = world.daemon.ask(subject)
    if token.status != 200:
        return {"subject": subject, "status": token.status}
    rejected = hashlib.sha256(token.json()["access_token"].encode()).hexdigest()
    world.own_requests += count
    with Fleet(world.daemon.unix, count) as fleet:
        fleet.send(ask_bytes(subject, rejected_token_sha256=rejected))
        answers = fleet.collect()
    statuses = [answer and answer.status for answer in answers]
    assert None not in statuses, "a caller who reports a token got no answer"
    given = [answer.json()["access_token"] for answer in answers if answer.status == 200]
    again = given.count(token.json()["access_token"])
    if not world.repeats():
        assert not again, f"{again} of {count} callers got the token that they had reported"
    return {"subject": subject, "statuses": statuses}


# Configurations.


CHANGES = (
    {"cache": {"max_entries": 50}},
    {"cache": {"max_entries": 5000}},
    {"cache": {"max_memory": "1M"}},
    {"cache": {"expiry_margin": "1s"}},
    {"cache": {"expiry_margin": "30s"}},
    {"request_timeout": "2s"},
    {"request_timeout": "10s"},
    {"limits": {"max_memories": 20}},
    {"limits": {"max_token_size": "2K"}},
    {"upstream": {"max_in_flight": 1}},
    {"upstream": {"max_in_flight_total": 40}},
    {"upstream": {"timeout": "1s", "connect_timeout": "1s"}},
    {"upstream": {"timeout": "9s"}},
)


@action(weight=5, lasts_s=8, lingers_ms=FAILURE_MS, configures=True)
def limits_are_changed(world, rng, lasts_s):
    """Limits, time-outs and what becomes of tokens that grow old."""
    changes = rng.choice(CHANGES)
    merged = {
        name: {**world.daemon.settings.get(name, {}), **value} if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    world.configure_for(lasts_s, **merged)
    return {"changes": changes}


def without(rule, name):
    """A rule for callers that gives no tokens of this client application."""
    left = [one for one in rule.get("clients", ()) if one != name]
    kept = {key: value for key, value in rule.items() if key != "clients"}
    return {**kept, "clients": left} if left else kept


@action(weight=2, lasts_s=3, lingers_ms=FAILURE_MS, configures=True)
def client_is_removed(world, rng, lasts_s):
    """And comes back, with none of the tokens that it had."""
    name = rng.choice([one for one in world.clients if one != "portal"])
    settings = world.daemon.settings
    left = {"clients": [one for one in settings["clients"] if one["name"] != name]}
    if settings.get("callers"):
        left["callers"] = [without(rule, name) for rule in settings["callers"]]

    def undo():
        at_ms = now_ms()
        world.restore()
        world.say(f"taken {name} * * * {at_ms}", f"back {name}")

    world.say(f"gone {name}")
    world.configure_for(lasts_s, undo, **left)
    return {"client": name, "told_before": 1}


@action(weight=2, lasts_s=8, lingers_ms=FAILURE_MS, configures=True)
def client_becomes_another(world, rng, lasts_s):
    """Its token URLs change and with them its identity; and back again."""
    name = rng.choice(list(world.clients))
    mark = f"{rng.getrandbits(32):08x}"
    section = world.section(name)
    # fake-egain looks at the query of one endpoint only, and does not take more there.
    urls = [key for key in section if key.endswith("_token_url") and "?" not in section[key]]
    if not urls:
        return {"client": name, "mark": None}

    def undo():
        at_ms = now_ms()
        world.restore()
        world.say(f"taken {name} * * * {at_ms}")

    at_ms = now_ms()
    for key in urls:
        section[key] += f"?{mark}"
    world.configure_for(lasts_s, undo)
    world.say(f"taken {name} * * * {at_ms}")
    return {"client": name, "mark": mark}


BAD_TEXTS = (
    "request_timeout = soon;",
    'request_timeout = "0s";',
    'nonsense = "1s";',
    'request_timeout = "1s"; request_timeout = "2s";',
    "clients = (",
    "\x00\xff",
    'clients = ( { name = "x"; } );',
    'callers = ( { name = "x"; user = "nobody-has-this-name"; } );',
)


@action(weight=4, configures=True)
def configuration_is_bad(world, rng, _lasts_s):
    """It is refused, and nothing changes."""
    before = world.daemon.request("GET", "/v1/status").json()["configuration"]
    text = rng.choice(BAD_TEXTS)
    world.daemon.path.write_text(world.daemon.configuration() + text)
    response = world.daemon.request("POST", "/v1/reload")
    assert response.status == 409, (text, response)
    after = world.daemon.request("GET", "/v1/status").json()["configuration"]
    assert after == before, (text, before, after)
    world.daemon.write_configuration()
    return {"text": text}


# Lives.


@action(weight=4)
def daemon_is_restarted(world, rng, _lasts_s):
    """Warm, or cold: then no token is left that was there before."""
    warm = rng.random() < 0.75
    world.stop(warm)
    return {"warm": warm, "restored": world.revive(), "told_before": 1}


@action(weight=4)
def daemon_is_killed(world, rng, _lasts_s):
    """kill -9, perhaps while it ends: then it may have left its tokens to the manager already."""
    ending_s = rng.choice((None, None, 0.0, rng.uniform(0, 0.1)))
    world.kill(ending_s)
    return {"ending_s": ending_s, "restored": world.revive(), "told_before": 1}
