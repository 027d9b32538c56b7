# SPDX-License-Identifier: MIT
"""Random requests against an issuer with random latency and random failures.

Whatever happens, every token handed out is the one of the subject, kind, scope and client
application asked for, and none is past its end. PROPERTY_REQUESTS sets the number of requests,
PROPERTY_SEED repeats a run as far as the timing of two processes allows.
"""

import os
import random
import time
from collections import Counter
from functools import lru_cache

import expect
from harness import CLIENTS, MANAGE, READ, URL_SCOPE, Daemon, Issuer, ask_bytes, payload, totals
from wire import drive

REQUESTS = int(os.environ.get("PROPERTY_REQUESTS", "100000"))
SUBJECTS = 2000
CONNECTIONS = 64
# Requests. A breaker that opens or an issuer that throttles costs everybody at a token URL a second
# or more, and so many requests are done in a fraction of one.
TROUBLE_EVERY = 1000

SCOPE_SETS = (
    READ,
    MANAGE,
    f"{READ} {MANAGE}",
    f"{MANAGE} {READ}",
    f"{READ} {URL_SCOPE}",
    f"{URL_SCOPE} {MANAGE} {READ}",
)
KINDS = ("username", "userid", "email")

# What the daemon may answer while the issuer misbehaves.
ERRORS = {
    400: ("invalid_grant", "invalid_scope"),
    502: ("server_error",),
    503: ("temporarily_unavailable",),
    504: ("temporarily_unavailable",),
}

decode = lru_cache(maxsize=50_000)(payload)


def troubles(chance):
    """An endless choice of ways to misbehave for a few requests."""
    few = lambda: chance.randrange(1, 12)  # noqa: E731
    while True:
        yield chance.choice(
            [
                {"count": few(), "delay_ms": chance.randrange(1, 40)},
                {"count": few(), "delay_ms": chance.randrange(1, 300)},
                {"count": few(), "lifetime": chance.randrange(1, 6)},
                {
                    "count": few(),
                    "lifetime": chance.randrange(2, 8),
                    "delay_ms": chance.randrange(1, 1500),
                },
                {"count": few(), "status": chance.choice([500, 502, 503, 429, 408])},
                {"count": few(), "status": 503, "delay_ms": chance.randrange(1, 100)},
                {
                    "count": few(),
                    "error": chance.choice(["invalid_grant", "invalid_scope", "server_error"]),
                },
                {"count": few(), "close": True},
                {"count": few(), "close_after_headers": True},
                {
                    "count": few(),
                    "body": chance.choice(["", "{}", "<html>", '{"access_token":"x"', "[]"]),
                },
                {
                    "count": few(),
                    "omit": [chance.choice(["scope", "expires_in", "token_type", "access_token"])],
                },
                {"count": few(), "expires_in_json": chance.choice(["0", '"60"', "-1", '"x"'])},
                {
                    "count": few(),
                    "subject": f"username:subject-{chance.randrange(20)}",
                    "error": "invalid_grant",
                },
            ]
        )


def draw(chance):
    """One request: mostly popular subjects, now and then any."""
    client = chance.choice(CLIENTS)
    kind = chance.choice(KINDS if "customer" in client.kinds else KINDS[:2])
    number = int(SUBJECTS * chance.random() ** 4)
    scope = chance.choice(SCOPE_SETS)
    return f"subject-{number}", kind, scope, client


def test_every_token_is_the_right_one(capsys):
    seed = int(os.environ.get("PROPERTY_SEED", time.time_ns() % 2**32))
    with capsys.disabled():
        print(f"\n  property test: PROPERTY_SEED={seed} PROPERTY_REQUESTS={REQUESTS}")
    chance = random.Random(seed)
    seen = Counter()

    with Issuer() as issuer, Daemon(issuer, log_level="info", request_timeout="5s") as daemon:
        trouble = troubles(chance)

        def requests():
            for number in range(REQUESTS):
                if number % TROUBLE_EVERY == 0:
                    issuer.behave(**next(trouble))
                asked = draw(chance)
                subject, kind, scope, client = asked
                named = chance.choice((client.name, client.client_id))
                # Now and then a caller hangs up before its answer.
                leaves = chance.random() < 0.01
                seen["left"] += leaves
                yield None if leaves else asked, ask_bytes(
                    subject, kind, scope=scope, client_id=named
                )

        def judge(asked, response):
            if response.status != 200:
                expect.error(response, response.status, ERRORS[response.status])
                seen[response.status] += 1
                return
            subject, kind, scope, client = asked
            answer = response.json()
            said = decode(answer["access_token"])
            assert (said["sub"], said["kind"], said["client_id"], said["tenant"]) == (
                subject,
                kind,
                client.client_id,
                client.tenant,
            ), (seed, asked, said)
            assert (
                set(said["scope"].split()) == set(answer["scope"].split()) == set(scope.split())
            ), (seed, asked, said)
            assert answer["expires_in"] >= 1
            # `exp` is in whole seconds, and the answer was on its way for a moment.
            assert time.time() < said["exp"] + 2, (seed, asked, said)
            seen["hit" if "; hit" in response.header("Cache-Status") else "fetched"] += 1

        drive(daemon.unix, CONNECTIONS, requests(), judge, timeout=60 + REQUESTS / 500)
        counters = totals(daemon.stop())

    with capsys.disabled():
        print(f"  {dict(seen)}")
    assert sum(seen.values()) == REQUESTS
    # In spite of the trouble, which lasts for longer than a fast machine takes for many requests, the
    # cache did its work.
    assert seen["hit"] > REQUESTS * 0.1 and seen["fetched"] > REQUESTS * 0.01
    assert counters["requests"] > REQUESTS * 0.9
    assert counters["fetches"] < REQUESTS
