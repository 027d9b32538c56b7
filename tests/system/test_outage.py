# SPDX-License-Identifier: MIT
"""An issuer that hangs, fails or is gone: who can be served is, and it is left alone."""

import time

import pytest

import expect
from harness import Daemon, Issuer, ask_bytes, totals
from test_rejection import PATIENCE_S, SOON_S, digest, token_of
from wire import Fleet, drive, eventually


def closed(daemon, subject):
    return daemon.explain(subject)["issuer"]["breaker"] == "closed"


def open_breaker(daemon, subject):
    """Has callers fail until the issuer is left alone."""

    def opened():
        expect.unavailable(daemon.ask(f"{subject}-{opened.n}"))
        opened.n += 1
        return daemon.explain(subject)["issuer"]["breaker"] == "open"

    opened.n = 0
    eventually(opened, "the breaker to open")
    return [f"{subject}-{number}" for number in range(opened.n)]


class TestHung:
    def test_callers_of_a_live_token_wait_two_seconds_at_most(self, daemon, issuer, subject):
        """One that others rejected is spent; one in its last seconds is in test_expiry.py."""
        first = daemon.ask(subject)
        issuer.behave(stall=True)
        with daemon.connect() as reporter, Fleet(daemon.unix, 100) as fleet:
            reporter.send(ask_bytes(subject, rejected_token_sha256=digest(first)))
            issuer.wait_for("requests", 2)
            asked = time.monotonic()
            for response in fleet.send(ask_bytes(subject)).collect():
                expect.old(response, "request_timeout", "stale", subject)
                assert token_of(response) == token_of(first)
            assert PATIENCE_S - 0.1 < time.monotonic() - asked < SOON_S
            assert issuer.requests() == 2

    def test_a_token_that_will_do_is_answered_at_once(self, daemon, issuer, subject):
        expect.miss(daemon.ask(subject), subject)
        issuer.behave(stall=True)
        with daemon.connect() as waiting:
            waiting.send(ask_bytes(f"other-{subject}"))
            issuer.wait_for("requests", 2)
            for _ in range(20):
                expect.hit(daemon.ask(subject), subject)

    def test_three_tries_within_the_callers_time(self, start_daemon, issuer, subject):
        """And no fourth one, however much time is left."""
        daemon = start_daemon(upstream={"timeout": "300ms"})
        issuer.behave(stall=True)
        expect.unavailable(daemon.ask(subject))
        assert issuer.requests() == 3

    def test_a_try_that_would_come_too_late_is_not_made(self, start_daemon, issuer, subject):
        daemon = start_daemon(request_timeout="600ms", upstream={"timeout": "560ms"})
        issuer.behave(stall=True)
        response = daemon.ask(subject)
        assert response.status in (503, 504)
        daemon.settle()
        assert issuer.requests() == 1

    def test_what_fails_once_is_not_noticed(self, daemon, issuer, subject):
        for number, behaviour in enumerate(
            [{"status": 500}, {"close": True}, {"close_after_headers": True}, {"body": "{}"}]
        ):
            issuer.reset()
            issuer.behave(**behaviour, count=2)
            expect.miss(daemon.ask(f"{subject}-{number}"), f"{subject}-{number}")


LIFETIME_S = 6
KEYS = 200


class TestDown:
    @pytest.mark.parametrize("gone", [True, False], ids=["gone", "failing"])
    def test_nobody_with_a_live_token_notices(self, gone):
        """200 live keys under load: no error until their end, then 503; and what it cost."""
        names = [f"down-{number}" for number in range(KEYS)]
        with Issuer(options=["--lifetime", str(LIFETIME_S)]) as issuer, Daemon(
            issuer, upstream={"max_in_flight": 8}, request_timeout="2s"
        ) as daemon:
            began = time.monotonic()
            with Fleet(daemon.unix, KEYS) as fleet:
                for response in fleet.send(lambda index: ask_bytes(names[index])).collect():
                    assert response.status == 200
            fetched = time.monotonic()
            if gone:
                issuer.close()
            else:
                issuer.reset()
                issuer.behave(status=500, body="oops")
            # From the middle of their lives on, the daemon tries to renew them.
            served, refused = [], []

            def requests():
                number = 0
                while time.monotonic() < fetched + LIFETIME_S + 0.5:
                    number += 1
                    yield (number % KEYS, time.monotonic()), ask_bytes(names[number % KEYS])

            def judge(tag, response):
                number, asked = tag
                if response.status == 200:
                    expect.token(response, names[number])
                    assert asked < fetched + LIFETIME_S
                    served.append(asked)
                    return
                # Live until a second before its end, counted from when it was asked for.
                assert time.monotonic() > began + LIFETIME_S - 1
                if response.status == 503:
                    assert 1 <= expect.retry_after(response) <= 60
                    refused.append(asked)
                else:
                    # It came between a probe's beginning and end, and queued to its deadline.
                    expect.error(response, 504, "temporarily_unavailable")

            drive(daemon.unix, 8, requests(), judge, timeout=60)
            assert len(served) > KEYS and refused
            assert daemon.request("GET", "/readyz").status == 200
            explanation = daemon.explain(names[0])
            assert explanation["issuer"]["last_failure"] == (
                "issuer_unreachable" if gone else "issuer_error"
            )

            # Five failures in a row open the breaker, when as many as may be were under way; then
            # it was one probe after 1, 2, 4 … seconds.
            if gone:
                assert totals(daemon.stop())["fetches"] - KEYS <= 8 + 5 + 8
            else:
                assert issuer.requests() <= 8 + 5 + 8

    def test_recovery(self, start_daemon, issuer, subject):
        """One probe tells; then everybody is served, and each key costs one request."""
        daemon = start_daemon()
        issuer.behave(status=500, body="oops")
        failed = open_breaker(daemon, subject)
        daemon.output.wait_for("too many failures")
        asked = issuer.requests()
        assert asked <= 3 * len(failed)
        # Nothing is sent, whoever asks.
        for number in range(20):
            response = daemon.ask(f"new-{number}-{subject}")
            expect.unavailable(response)
        assert issuer.requests() <= asked + 1
        assert daemon.request("GET", "/readyz").status == 200

        issuer.reset()
        issuer.behave(hold=True)
        eventually(
            lambda: daemon.explain(subject)["issuer"]["breaker"] != "open", "the breaker's end"
        )
        names = [f"after-{number}-{subject}" for number in range(20)]
        with Fleet(daemon.unix, len(names)) as fleet:
            fleet.send(lambda index: ask_bytes(names[index]))
            issuer.wait_for("held", 1)
            fleet.wait_until_read()
            daemon.settle()
            assert issuer.stats()["held"] == 1
            assert daemon.explain(subject)["issuer"]["breaker"] == "half-open"
            issuer.reset()
            for name, response in zip(names, fleet.collect(), strict=True):
                expect.miss(response, name)
        assert issuer.requests() <= len(names)
        daemon.output.wait_for("answers again")
        assert closed(daemon, subject)

    def test_a_refusal_is_good_news(self, start_daemon, issuer, subject):
        """The probe's subject may be unknown: the issuer is well."""
        daemon = start_daemon()
        issuer.behave(status=500, body="oops")
        open_breaker(daemon, subject)
        issuer.reset()
        issuer.behave(error="invalid_grant", count=1)

        def refused():
            return daemon.ask(f"unknown-{subject}").status == 400

        eventually(refused, "the probe", interval=0.02)
        assert closed(daemon, subject)
        expect.miss(daemon.ask(f"other-{subject}"), f"other-{subject}")

    def test_without_a_connection_one_key_is_enough(self, subject):
        with Issuer() as issuer, Daemon(issuer) as daemon:
            expect.miss(daemon.ask(subject), subject)
            issuer.close()
            eventually(
                lambda: daemon.ask(f"down-{subject}").status == 503
                and not closed(daemon, subject),
                "the breaker to open",
                interval=0.02,
            )
            response = daemon.ask(f"down-{subject}")
            assert 1 <= expect.retry_after(response) <= 4
            expect.hit(daemon.ask(subject), subject)


class TestOneSubject:
    def test_unknown_ones_never_open_the_breaker(self, daemon, issuer, subject):
        issuer.behave(error="invalid_grant")
        with daemon.connect() as connection:
            for number in range(200):
                response = connection.send(ask_bytes(f"unknown-{number}-{subject}")).receive()
                expect.error(response, 400, "invalid_grant")
        assert closed(daemon, subject)
        assert issuer.requests() == 200
        issuer.reset()
        expect.miss(daemon.ask(subject), subject)

    def test_an_unknown_one_is_asked_for_once(self, daemon, issuer, subject):
        issuer.behave(error="invalid_grant")
        with daemon.connect() as connection:
            for _ in range(200):
                response = connection.send(ask_bytes(subject)).receive()
                expect.error(response, 400, "invalid_grant")
        assert issuer.requests() == 1

    def test_one_that_makes_the_issuer_fail(self, daemon, issuer, subject):
        """Nobody else succeeds meanwhile, and yet it is one key."""
        bad = f"bad-{subject}"
        issuer.behave(subject=f"username:{bad}", status=500, body="oops")

        def failed():
            expect.unavailable(daemon.ask(bad))
            return issuer.asked_for(bad) >= 6

        eventually(failed, "six requests", interval=0.02)
        explanation = daemon.explain(bad)
        assert explanation["issuer"]["breaker"] == "closed"
        assert explanation["issuer"]["failures_in_a_row"] >= 6
        expect.miss(daemon.ask(subject), subject)
