# SPDX-License-Identifier: MIT
"""Tokens in use are renewed behind their callers' backs, and only those.

A life of a few seconds is fresh for about its first half; what the clock does in hours is for the
scenario tests.
"""

import time

import expect
from harness import ask_bytes
from test_rejection import digest, token_of
from wire import Fleet, eventually

LIFETIME_S = 4
LIVES = 2


def wait_for_state(daemon, subject, state):
    eventually(lambda: daemon.explain(subject)["entry"]["state"] == state, f"it to be {state}")


class TestBusy:
    def test_it_never_waits_again(self, daemon, issuer, subject):
        """Over several lives, every answer after the first is a hit; who is idle is left alone.

        A token that was used once since it was fetched is renewed once, and then no more.
        """
        issuer.behave(lifetime=LIFETIME_S)
        idle, once = f"idle-{subject}", f"once-{subject}"
        expect.miss(daemon.ask(idle), idle)
        expect.miss(daemon.ask(once), once)
        expect.hit(daemon.ask(once), once)
        assert daemon.explain(once)["entry"]["used"] is True
        expect.miss(daemon.ask(subject), subject)
        began = time.monotonic()
        serials = set()
        with daemon.connect() as connection:
            while time.monotonic() < began + LIVES * LIFETIME_S:
                response = connection.send(ask_bytes(subject)).receive()
                serials.add(expect.hit(response, subject)["serial"])
                time.sleep(0.02)
        # Renewed at half of each life, or up to a second later.
        assert 3 <= len(serials) <= 6
        assert len(serials) <= issuer.asked_for(subject) <= len(serials) + 1
        assert issuer.asked_for(idle) == 1
        assert issuer.asked_for(once) == 2
        for name in (idle, once):
            assert daemon.explain(name)["entry"] == {"state": "absent"}


class TestBehindTheirBacks:
    def test_the_old_token_stays_until_the_new_one_is_there(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        issuer.behave(lifetime=LIFETIME_S, count=1)
        first = daemon.ask(subject)
        issuer.behave(hold=True)
        wait_for_state(daemon, subject, "due")
        response = daemon.ask(subject)
        expect.hit(response, subject)
        issuer.wait_for("held", 1)
        explanation = daemon.explain(subject)
        assert explanation["in_flight"] is True and explanation["waiters"] == 0
        for _ in range(5):
            response = daemon.ask(subject)
            expect.hit(response, subject)
            assert token_of(response) == token_of(first)
        issuer.release()
        eventually(lambda: token_of(daemon.ask(subject)) != token_of(first), "the new token")
        assert issuer.asked_for(subject) == 2

    def test_one_that_fails_is_not_noticed(self, daemon, issuer, subject):
        """Nor tried again at once: the next try is five seconds later at the earliest."""
        issuer.behave(lifetime=LIFETIME_S, count=1)
        expect.miss(daemon.ask(subject), subject)
        issuer.behave(status=500, body="oops")
        wait_for_state(daemon, subject, "due")
        ended = False
        with daemon.connect() as connection:
            while not ended:
                left = daemon.explain(subject)["entry"].get("expires_in", 0)
                response = connection.send(ask_bytes(subject)).receive()
                ended = left <= 1 and response.status != 200
                if not ended:
                    expect.token(response, subject)
        # The refresh, and then what a caller without any token costs.
        assert issuer.asked_for(subject) <= 1 + 1 + 3
        assert daemon.explain(subject)["memory"]["no_refresh_for"] > 0

    def test_one_that_is_refused_ends_the_token(self, daemon, issuer, subject):
        issuer.behave(lifetime=LIFETIME_S, count=1)
        expect.miss(daemon.ask(subject), subject)
        issuer.behave(error="invalid_grant")
        wait_for_state(daemon, subject, "due")
        expect.hit(daemon.ask(subject), subject)
        eventually(lambda: daemon.ask(subject).status == 400, "the refusal")
        expect.error(daemon.ask(subject), 400, "invalid_grant")
        assert issuer.asked_for(subject) == 2


class TestGivingWay:
    def test_to_callers(self, start_daemon, issuer, subject):
        """Whoever waits goes before what is only to be renewed."""
        daemon = start_daemon(upstream={"max_in_flight": 1})
        names = [f"due-{number}-{subject}" for number in range(5)]
        issuer.behave(lifetime=LIFETIME_S + 2, count=len(names))
        for name in names:
            expect.miss(daemon.ask(name), name)
        issuer.behave(hold=True)
        for name in names:
            wait_for_state(daemon, name, "due")
        for name in names:
            expect.hit(daemon.ask(name), name)
        issuer.wait_for("held", 1)
        callers = [f"caller-{number}-{subject}" for number in range(3)]
        with Fleet(daemon.unix, len(callers)) as fleet:
            fleet.send(lambda index: ask_bytes(callers[index])).wait_until_read()
            daemon.settle()
            asked = []
            for done in range(1, 1 + len(callers)):
                issuer.release(1)
                issuer.wait_for("requests", len(names) + 1 + done)
                asked.append(issuer.last()["parameters"]["subject_username"])
            issuer.reset()
            for name, response in zip(callers, fleet.collect(), strict=True):
                expect.miss(response, name)
        assert asked == callers

    def test_they_never_take_all_places(self, start_daemon, issuer, subject):
        """However slow they are, half of the places are there for callers."""
        daemon = start_daemon(upstream={"max_in_flight": 4})
        names = [f"due-{number}-{subject}" for number in range(6)]
        issuer.behave(lifetime=LIFETIME_S + 2, count=len(names))
        for name in names:
            expect.miss(daemon.ask(name), name)
        issuer.behave(hold=True)
        for name in names:
            wait_for_state(daemon, name, "due")
        for name in names:
            expect.hit(daemon.ask(name), name)
        issuer.wait_for("held", 2)
        daemon.settle()
        assert issuer.stats()["held"] == 2
        with Fleet(daemon.unix, 2) as fleet:
            fleet.send(lambda index: ask_bytes(f"caller-{index}-{subject}"))
            issuer.wait_for("held", 4)
            issuer.reset()
            for index, response in enumerate(fleet.collect()):
                expect.miss(response, f"caller-{index}-{subject}")

    def test_one_that_a_caller_needs_is_joined(self, start_daemon, issuer, subject):
        """Its token was refused by an API: the fetch under way serves this caller, too."""
        daemon = start_daemon()
        issuer.behave(lifetime=LIFETIME_S, count=1)
        first = daemon.ask(subject)
        issuer.behave(hold=True)
        wait_for_state(daemon, subject, "due")
        expect.hit(daemon.ask(subject), subject)
        issuer.wait_for("held", 1)
        with daemon.connect() as caller:
            caller.send(ask_bytes(subject, rejected_token_sha256=digest(first))).wait_until_read()
            daemon.settle()
            assert daemon.explain(subject)["waiters"] == 1
            issuer.release()
            response = caller.receive()
        expect.token(response, subject)
        assert token_of(response) != token_of(first)
        status = expect.cache_status(response)
        assert (status["fwd"], status.get("collapsed")) == ("request", True)
        assert issuer.requests() == 2
