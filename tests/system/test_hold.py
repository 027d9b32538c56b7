# SPDX-License-Identifier: MIT
"""An issuer that asks for fewer requests: nothing is sent to its token URL until it says so."""

import itertools
import time
from email.utils import formatdate

import pytest

import expect
from harness import READ, Client, Daemon, Issuer, ask_bytes
from test_rejection import digest
from wire import Fleet, eventually

HOLD_MAX_S = 300

# Of the dates below. It leaves Retry-After something to show.
AHEAD_S = 100


# Dates, once they are called: hours may lie between the reading of this file and its tests.
def stamp(form, ahead_s):
    return lambda: time.strftime(form, time.gmtime(time.time() + ahead_s))


def imf(ahead_s):
    return lambda: formatdate(time.time() + ahead_s, usegmt=True)


def iso(ahead_s):
    return stamp("%Y-%m-%dT%H:%M:%SZ", ahead_s)


# Header fields, and for how long they hold: at least and at most, in seconds.
DEFAULT = (1, 1)
DATE = (AHEAD_S - 60, AHEAD_S)
HUGE = (HOLD_MAX_S - 60, HOLD_MAX_S)
FORMS = {
    "seconds": ({"Retry-After": "60"}, (1, 60)),
    "a date": ({"Retry-After": imf(AHEAD_S)}, DATE),
    "a date of RFC 850": (
        {"Retry-After": stamp("%A, %d-%b-%y %H:%M:%S GMT", AHEAD_S)},
        DATE,
    ),
    "a date of asctime": ({"Retry-After": stamp("%a %b %e %H:%M:%S %Y", AHEAD_S)}, DATE),
    "reset": ({"X-RateLimit-Reset": iso(AHEAD_S)}, DATE),
    "reset with milliseconds": (
        {"X-RateLimit-Reset": stamp("%Y-%m-%dT%H:%M:%S.123Z", AHEAD_S)},
        DATE,
    ),
    "reset without a zone": (
        {"X-RateLimit-Reset": stamp("%Y-%m-%dT%H:%M:%S", AHEAD_S)},
        DATE,
    ),
    "both": ({"Retry-After": "60", "X-RateLimit-Reset": iso(10000)}, (1, 60)),
    "garbage, and a reset": ({"Retry-After": "soon", "X-RateLimit-Reset": iso(AHEAD_S)}, DATE),
    "huge": ({"Retry-After": "86400"}, HUGE),
    "huge beyond 64 bits": ({"Retry-After": "9" * 30}, HUGE),
    "huge date": ({"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}, HUGE),
    "huge reset": ({"X-RateLimit-Reset": "2100-12-31T23:59:59Z"}, HUGE),
    "nothing": ({}, DEFAULT),
    "zero": ({"Retry-After": "0"}, DEFAULT),
    "negative": ({"Retry-After": "-5"}, DEFAULT),
    "signed": ({"Retry-After": "+60"}, DEFAULT),
    "fractional": ({"Retry-After": "1e9"}, DEFAULT),
    "with a unit": ({"Retry-After": "60s"}, DEFAULT),
    "garbage": ({"Retry-After": "soon"}, DEFAULT),
    "a date in the past": ({"Retry-After": imf(-60)}, DEFAULT),
    "a date that is none": ({"Retry-After": "Fri, 31 Feb 2100 25:61:61 GMT"}, DEFAULT),
    "over-long": ({"Retry-After": "x" * 4000}, DEFAULT),
    "reset in the past": ({"X-RateLimit-Reset": iso(-60)}, DEFAULT),
    "reset garbage": ({"X-RateLimit-Reset": "tomorrow"}, DEFAULT),
    "reset negative": ({"X-RateLimit-Reset": "-1"}, DEFAULT),
}


@pytest.fixture(scope="module")
def answers():
    """Each form is that of a client application with a token URL of its own; all ask at once."""
    clients = {
        name: Client(f"hold-{number}", f"hold-{number}", "hold-secret", f"hold-{number}", READ)
        for number, name in enumerate(FORMS)
    }
    with Issuer(clients=clients.values()) as issuer, Daemon(
        issuer, clients=clients.values()
    ) as daemon:
        for name, client in clients.items():
            headers = {
                field: value() if callable(value) else value
                for field, value in FORMS[name][0].items()
            }
            issuer.behave(tenant=client.tenant, status=429, body="", headers=headers)
        with Fleet(daemon.unix, len(clients)) as fleet:
            names = [client.name for client in clients.values()]
            fleet.send(lambda index: ask_bytes("pa", client_id=names[index]))
            responses = dict(zip(clients, fleet.collect(), strict=True))
        assert issuer.requests() == len(clients)
        yield responses, {
            name: daemon.explain("pa", client_id=client.name) for name, client in clients.items()
        }


class TestForms:
    @pytest.mark.parametrize("name", FORMS)
    def test_for_how_long(self, answers, name):
        responses, explanations = answers
        at_least, at_most = FORMS[name][1]
        assert at_least <= expect.retry_after(responses[name]) <= at_most
        issuer = explanations[name]["issuer"]
        if at_least > 1:
            assert issuer["breaker"] == "held"
            assert at_least <= issuer["open_for"] <= at_most
        assert issuer["last_failure"] == "issuer_throttles"


class TestThreeSeconds:
    @pytest.mark.parametrize("status", [429, 503])
    def test_nothing_then_one(self, start_daemon, issuer, subject, status):
        daemon = start_daemon()
        live = daemon.ask(f"live-{subject}")
        issuer.reset()
        issuer.behave(status=status, body="", headers={"Retry-After": "3"}, count=1)
        asked = time.monotonic()
        response = daemon.ask(subject)
        held = time.monotonic()
        assert expect.retry_after(response) == 3
        daemon.output.wait_for("asks for fewer requests")

        # What is in memory is handed out, and nobody is let through to the issuer.
        issuer.behave(hold=True)
        expect.hit(daemon.ask(f"live-{subject}"), f"live-{subject}")
        rejected = daemon.ask(f"live-{subject}", rejected_token_sha256=digest(live))
        assert 1 <= expect.retry_after(rejected) <= 3
        old = daemon.ask(f"live-{subject}")
        expect.old(old, "issuer_throttles", "stale", f"live-{subject}")
        assert 1 <= expect.retry_after(daemon.ask(f"other-{subject}")) <= 3
        assert daemon.explain(subject)["issuer"]["breaker"] == "held"

        numbers = itertools.count()
        with Fleet(daemon.unix, 10) as fleet:

            def reopened():
                """Whether the hold has ended; nobody but the fleet below is to be the first."""
                return daemon.explain(subject)["issuer"]["breaker"] != "held"

            while not reopened():
                # Who asks at the very end might be the first one after it.
                if time.monotonic() - held < 2:
                    expect.unavailable(daemon.ask(f"more-{next(numbers)}-{subject}"))
                assert issuer.requests() == 1
                time.sleep(0.02)
            assert time.monotonic() - asked >= 3
            assert time.monotonic() - held < 3 + 3
            fleet.send(lambda index: ask_bytes(f"after-{index}-{subject}"))
            issuer.wait_for("held", 1)
            fleet.wait_until_read()
            daemon.settle()
            # One of them is the probe, the others wait for what it brings.
            assert issuer.stats()["held"] == 1
            assert issuer.requests() == 2
            issuer.reset()
            for index, response in enumerate(fleet.collect()):
                expect.token(response, f"after-{index}-{subject}")
        daemon.output.wait_for("answers again")

    def test_again_and_again(self, start_daemon, issuer, subject):
        """An issuer that does not say for how long is left alone for longer each time."""
        daemon = start_daemon()
        issuer.behave(status=429, body="")
        waits = []

        def ask():
            response = daemon.ask(f"{subject}-{len(waits)}")
            if issuer.requests() == len(waits) + 1:
                waits.append(expect.retry_after(response))
            return len(waits) == 3

        eventually(ask, "the issuer to be asked three times", interval=0.02)
        assert waits == [1, 2, 4]

    def test_another_token_url_is_another_matter(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        issuer.behave(status=429, body="", headers={"Retry-After": "60"}, count=1)
        expect.unavailable(daemon.ask(subject))
        expect.miss(daemon.ask(subject, "email"), subject, "email")
        expect.unavailable(daemon.ask(subject, "userid"))
