# SPDX-License-Identifier: MIT
"""How long a token is handed out: never past its end, counted from when it was asked for.

Real seconds have to pass here. Lifetimes are short, answers are polled rather than slept for, and
the longest wait is spent by all tests together: the tokens of `aged` are fetched before the first.
"""

import time

import pytest

import expect
from harness import Daemon, Issuer, payload, question
from wire import form_request

AGED_LIFETIME = 14


class Aged:
    """A daemon with two tokens in it that grow old while the other tests run."""

    def __init__(self, daemon, issuer):
        self.daemon = daemon
        self.issuer = issuer
        self.serials = {}
        self.born = {}
        for name in ("spent", "min-ttl"):
            self.born[name] = time.monotonic()
            self.serials[name] = expect.miss(daemon.ask(name), name)["serial"]

    def wait_for_age(self, name, age):
        """Asks again and again, as busy callers do, until the token is so old."""
        with self.daemon.connect() as connection:
            while time.monotonic() - self.born[name] < age:
                response = connection.send(form_request(question(name))).receive()
                assert expect.hit(response, name)["serial"] == self.serials[name]
                time.sleep(0.05)


@pytest.fixture(scope="module")
def aged():
    with Issuer(options=["--lifetime", str(AGED_LIFETIME)]) as issuer, Daemon(issuer) as daemon:
        yield Aged(daemon, issuer)


def until_replaced(daemon, subject, timeout):
    """Asks until another token comes. All answers, each with the time it was asked for and came."""
    answers = []
    deadline = time.monotonic() + timeout
    with daemon.connect() as connection:
        while not answers or token_of(answers[-1][2]) == token_of(answers[0][2]):
            assert time.monotonic() < deadline, "the token was never replaced"
            asked = time.monotonic()
            response = connection.send(form_request(question(subject))).receive()
            answers.append((asked, time.monotonic(), response))
            time.sleep(0.02)
    return answers


def token_of(response):
    return response.json()["access_token"]


@pytest.mark.usefixtures("aged")
class TestEnd:
    @pytest.mark.parametrize("lifetime", [2, 3])
    def test_never_past_its_end(self, daemon, issuer, subject, lifetime):
        issuer.behave(lifetime=lifetime)
        *answers, (_, _, replaced) = until_replaced(daemon, subject, timeout=lifetime + 10)
        first_asked, first_came, first = answers[0]
        expect.miss(first, subject)
        for asked, came, response in answers:
            expect.token(response, subject)
            left_at_most = lifetime - (asked - first_came)
            assert 1 <= response.json()["expires_in"] <= left_at_most + 1
            assert came - first_asked < lifetime + 1
        for _, _, response in answers[1:]:
            expect.hit(response, subject)
        said = expect.token(replaced, subject)
        assert said["serial"] > payload(token_of(first))["serial"]
        assert expect.cache_status(replaced)["fwd"] in ("stale", "miss")
        # It is replaced when it has less than a second left, or a tenth of its life.
        assert answers[-1][0] - first_came < lifetime
        assert issuer.requests() == 2

    def test_a_lifetime_of_one_second(self, daemon, issuer, subject):
        """Too short to be of use: no answer may ever say that nothing is left."""
        issuer.behave(lifetime=1)
        for _ in range(5):
            response = daemon.ask(subject)
            if response.status == 200:
                expect.token(response, subject)
            else:
                expect.error(response, response.status, ("server_error", "temporarily_unavailable"))

    def test_the_lifetime_starts_when_the_request_is_sent(self, daemon, issuer, subject):
        """Not when the answer has come: the issuer counts from before that."""
        issuer.behave(lifetime=60, delay_ms=2100)
        response = daemon.ask(subject)
        expect.miss(response, subject)
        assert response.json()["expires_in"] <= 58

    def test_an_answer_later_than_its_token_lives(self, daemon, issuer, subject):
        issuer.behave(lifetime=1, delay_ms=1500, count=1)
        response = daemon.ask(subject)
        expect.error(response, response.status, ("server_error", "temporarily_unavailable"))
        assert response.status in (502, 503)
        expect.miss(daemon.ask(subject), subject)

    def test_the_token_lives_as_long_as_its_text_says(self, daemon, issuer, subject):
        """What is left by expires_in is left by the token's own `exp`, too."""
        issuer.behave(lifetime=100)
        for _ in range(3):
            answer = daemon.ask(subject).json()
            left = payload(answer["access_token"])["exp"] - time.time()
            assert left - 3 < answer["expires_in"] < left + 2


class TestSpent:
    def test_min_ttl_not_met(self, aged):
        """Younger than 10 s, a token has to do; after that, min_ttl counts."""
        daemon = aged.daemon
        aged.wait_for_age("min-ttl", 10.2)
        age = time.monotonic() - aged.born["min-ttl"]
        assert age < 11.5, "the machine is too slow for this test"
        expect.hit(daemon.ask("min-ttl", min_ttl="1"), "min-ttl")
        response = daemon.ask("min-ttl", min_ttl="13")
        said = expect.token(response, "min-ttl")
        assert expect.cache_status(response)["fwd"] == "request"
        assert said["serial"] != aged.serials["min-ttl"]
        # Nobody can ask for more than the issuer gives; and it costs one fetch, not one each.
        for _ in range(5):
            again = expect.hit(daemon.ask("min-ttl", min_ttl="3600"), "min-ttl")
            assert again["serial"] == said["serial"]

    def test_below_the_margin_a_caller_waits_for_a_new_one(self, aged):
        """The margin is at most a tenth of the lifetime: here 1.4 s, of which 0.4 are live."""
        spent_at, end_of_live = AGED_LIFETIME * 0.9, AGED_LIFETIME - 1
        aged.wait_for_age("spent", spent_at - 0.3)
        answers = until_replaced(aged.daemon, "spent", timeout=20)
        replaced = answers[-1][2]
        said = expect.token(replaced, "spent")
        assert said["serial"] != aged.serials["spent"]
        assert replaced.json()["expires_in"] > AGED_LIFETIME - 3
        age = answers[-1][0] - aged.born["spent"]
        assert age > spent_at - 0.2
        fwd = expect.cache_status(replaced)["fwd"]
        assert fwd == "stale" if age < end_of_live - 0.1 else fwd in ("stale", "miss")
        expect.hit(aged.daemon.ask("spent"), "spent")
