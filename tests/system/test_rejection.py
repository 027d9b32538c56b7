# SPDX-License-Identifier: MIT
"""Callers who report that an API refused their token: one new one for all of them, and no more.

rejected_token_sha256 says which token is meant, so that reports of an older one change nothing.
"""

import hashlib
import time

import pytest

import expect
from harness import ask_bytes, question
from wire import Fleet, eventually, form_request

# Until a token that was fetched for a report may be reported again.
STEP_S = 5

# Callers who could have the old token wait for this long; the bound leaves room for a busy machine.
PATIENCE_S = 2
SOON_S = PATIENCE_S + 3


def token_of(response):
    return response.json()["access_token"]


def digest(response):
    """What a caller whose token was refused reports."""
    return hashlib.sha256(token_of(response).encode()).hexdigest()


def report(daemon, subject, response, **more):
    return daemon.ask(subject, rejected_token_sha256=digest(response), **more)


class TestBurst:
    def test_500_reports_are_one_fetch(self, daemon, issuer, subject):
        """And those who report nothing get the old token meanwhile."""
        first = daemon.ask(subject)
        expect.miss(first, subject)
        issuer.reset()
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 500) as reporters, Fleet(daemon.unix, 20) as others:
            reporters.send(ask_bytes(subject, rejected_token_sha256=digest(first)))
            issuer.wait_for("held", 1)
            reporters.wait_until_read()
            daemon.settle()
            entry = daemon.explain(subject)["entry"]
            assert entry["rejected"] is True

            asked = time.monotonic()
            for response in others.send(ask_bytes(subject)).collect():
                expect.old(response, "request_timeout", "stale", subject)
                assert token_of(response) == token_of(first)
            assert time.monotonic() - asked < SOON_S

            assert issuer.stats()["held"] == issuer.requests() == 1
            issuer.release()
            responses = reporters.collect()
        said = {expect.token(response, subject)["serial"] for response in responses}
        assert len(said) == 1
        assert digest(first) not in {digest(response) for response in responses}
        statuses = [expect.cache_status(response) for response in responses]
        assert {status["fwd"] for status in statuses} == {"request"}
        assert sum("collapsed" in status for status in statuses) == 499
        assert issuer.requests() == 1
        assert expect.hit(daemon.ask(subject), subject)["serial"] in said

    @pytest.mark.parametrize("where", ["unix", "tcp4", "tcp6"])
    def test_reports_and_requests_as_they_come(self, daemon, issuer, subject, where):
        """Without a barrier: reports that come after the new token are of an older one by then."""
        first = daemon.ask(subject)
        issuer.reset()
        issuer.behave(delay_ms=50)
        requests = [ask_bytes(subject, rejected_token_sha256=digest(first)), ask_bytes(subject)]
        with Fleet(getattr(daemon, where), 500) as fleet:
            responses = fleet.send(lambda index: requests[index % 2]).collect()
        for response in responses:
            expect.token(response, subject)
        assert digest(first) not in {digest(response) for response in responses[::2]}
        assert issuer.requests() == 1

    def test_a_loop_of_reports_costs_the_issuer_nothing(self, daemon, issuer, subject):
        """A caller who rejects whatever it gets."""
        last = daemon.ask(subject)
        issuer.reset()
        started = time.monotonic()
        with daemon.connect() as connection:
            for _ in range(300):
                form = question(subject, rejected_token_sha256=digest(last))
                response = connection.send(form_request(form)).receive()
                assert response.status in (200, 503)
                last = response if response.status == 200 else last
        assert issuer.requests() <= 1 + (time.monotonic() - started) / STEP_S
        # Nobody else notices.
        expect.token(daemon.ask(subject), subject)


class TestGenerations:
    def test_a_report_of_an_older_token(self, daemon, issuer, subject):
        first = daemon.ask(subject)
        second = report(daemon, subject, first)
        expect.token(second, subject)
        assert token_of(second) != token_of(first)
        issuer.reset()
        for _ in range(3):
            response = report(daemon, subject, first)
            expect.hit(response, subject)
            assert token_of(response) == token_of(second)
        assert issuer.requests() == 0

    def test_a_report_of_what_was_never_ours(self, daemon, issuer, subject):
        expect.miss(daemon.ask(subject), subject)
        other = daemon.ask(f"other-{subject}")
        issuer.reset()
        expect.hit(report(daemon, subject, other), subject)
        expect.hit(daemon.ask(subject, rejected_token_sha256="0" * 64), subject)
        assert issuer.requests() == 0

    def test_a_report_where_there_is_no_token(self, daemon, issuer, subject):
        expect.miss(daemon.ask(subject, rejected_token_sha256="0" * 64), subject)

    def test_upper_case_and_get(self, daemon, issuer, subject):
        first = daemon.ask(subject)
        second = daemon.get(subject, rejected_token_sha256=digest(first).upper())
        expect.token(second, subject)
        assert expect.cache_status(second)["fwd"] == "request"
        assert token_of(second) != token_of(first)

    def test_a_report_inside_the_step(self, daemon, issuer, subject):
        """503 for who reports it, the token for everybody else, and one fetch after the step."""
        first = daemon.ask(subject)
        second = report(daemon, subject, first)
        fetched = time.monotonic()
        issuer.reset()
        response = report(daemon, subject, second)
        assert 1 <= expect.retry_after(response) <= STEP_S
        memory = daemon.explain(subject)["memory"]
        assert 1 <= memory["no_fetch_for_rejection_for"] <= STEP_S
        response = daemon.ask(subject)
        expect.old(response, "rejected_again", "stale", subject)
        assert token_of(response) == token_of(second)
        assert issuer.requests() == 0

        def answered():
            response = report(daemon, subject, second)
            if response.status == 200:
                return response
            expect.unavailable(response)
            return None

        third = eventually(answered, "the end of the step", interval=0.05)
        # The step began when the fetch did, before its answer came.
        assert time.monotonic() - fetched > STEP_S - 1
        expect.token(third, subject)
        assert token_of(third) != token_of(second)
        assert issuer.requests() == 1
        # The next step is longer.
        assert STEP_S < expect.retry_after(report(daemon, subject, third)) <= 2 * STEP_S


class TestIssuer:
    def test_it_repeats_the_token(self, daemon, issuer, subject):
        """Its reporters get it, told why; the next report waits for the step."""
        issuer.behave(repeat_token=True)
        first = daemon.ask(subject)
        expect.miss(first, subject)
        again = report(daemon, subject, first)
        assert expect.old(again, "issuer_repeats_token", "request", subject)
        assert token_of(again) == token_of(first)
        assert issuer.requests() == 2
        assert 1 <= expect.retry_after(report(daemon, subject, first)) <= STEP_S
        expect.token(daemon.ask(subject), subject)
        assert issuer.requests() == 2

    def test_it_refuses_the_subject(self, daemon, issuer, subject):
        """A refusal is not invisible: the old token is nobody's any more."""
        first = daemon.ask(subject)
        issuer.behave(error="invalid_grant")
        expect.error(report(daemon, subject, first), 400, "invalid_grant")
        expect.error(daemon.ask(subject), 400, "invalid_grant")
        assert daemon.explain(subject)["entry"] == {"state": "absent"}

    def test_it_fails(self, daemon, issuer, subject):
        """An outage is: others keep the old token."""
        first = daemon.ask(subject)
        issuer.behave(subject=f"username:{subject}", status=500, body="oops")
        expect.unavailable(report(daemon, subject, first))
        response = daemon.ask(subject)
        assert expect.token(response, subject)
        assert token_of(response) == token_of(first)
        expect.unavailable(report(daemon, subject, first))


class TestMalformed:
    @pytest.mark.parametrize(
        "value",
        [
            "0",
            "0" * 63,
            "0" * 65,
            "0" * 128,
            "0" * 4096,
            "g" * 64,
            "0" * 63 + "g",
            "0x" + "0" * 62,
            " " + "0" * 63,
            " " + "0" * 64,
            "0" * 64 + "\n",
            "0" * 63 + "\0",
            "0" * 32 + "-" + "0" * 31,
            "A" * 43 + "=",
            "é" * 32,
            "sha256:" + "0" * 57,
        ],
        ids=lambda value: repr(value[:8]) + f"-{len(value)}",
    )
    def test_length_and_alphabet(self, daemon, issuer, subject, value):
        expect.miss(daemon.ask(subject), subject)
        issuer.reset()
        for ask in (daemon.ask, daemon.get):
            response = ask(subject, rejected_token_sha256=value)
            description = expect.error(response, 400, "invalid_request")
            assert "rejected_token_sha256" in description
        assert issuer.requests() == 0
        expect.hit(daemon.ask(subject), subject)

    def test_repeated(self, daemon, subject):
        pairs = list(question(subject).items()) + [("rejected_token_sha256", "0" * 64)] * 2
        expect.error(daemon.post(pairs), 400, "invalid_request")

    def test_empty_is_absent(self, daemon, subject):
        expect.miss(daemon.ask(subject), subject)
        expect.hit(daemon.ask(subject, rejected_token_sha256=""), subject)

    @pytest.mark.parametrize("value", ["999999999", "4000000", "0", "000000060"])
    def test_min_ttl_beyond_any_lifetime(self, daemon, issuer, subject, value):
        """A young token satisfies any: nobody can ask for more than there is."""
        expect.miss(daemon.ask(subject, min_ttl=value), subject)
        expect.hit(daemon.ask(subject, min_ttl=value), subject)
        assert issuer.requests() == 1
