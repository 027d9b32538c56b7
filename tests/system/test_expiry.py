# SPDX-License-Identifier: MIT
"""How long a token is handed out: never past its end, counted from when it was asked for.

Real seconds have to pass here. Lifetimes are short, answers are polled rather than slept for, and
the longest wait is spent by all tests together: the tokens of `aged` are fetched before the first.
"""

import time

import pytest

import expect
from harness import Daemon, Issuer, ask_bytes, payload, question
from wire import eventually, form_request

AGED_LIFETIME = 20
MARGIN = AGED_LIFETIME / 10  # spent then; the last second of it is not live any more


class Aged:
    """A daemon with tokens in it that nobody uses and that grow old while the other tests run."""

    def __init__(self, daemon, issuer):
        self.daemon = daemon
        self.issuer = issuer
        self.serials = {}
        self.born = {}
        for name in ("min-ttl", "spent", "hung", "failing"):
            self.born[name] = time.monotonic()
            self.serials[name] = expect.miss(daemon.ask(name), name)["serial"]

    def age(self, name):
        return time.monotonic() - self.born[name]

    def wait_until(self, name, condition, what):
        """Looks at the entry, which leaves no trace, until it is as it should be."""

        def reached():
            entry = self.daemon.explain(name)["entry"]
            assert entry["state"] != "absent", "the machine is too slow for this test"
            return condition(entry)

        eventually(reached, what)


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
        *answers, last = until_replaced(daemon, subject, timeout=lifetime + 10)
        _, replaced_at, replaced = last
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
        # Half of its life long it is fresh; then its use has it replaced, or its end does.
        assert lifetime / 2 - 0.1 < replaced_at - first_asked < lifetime + 1
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
        """It is of no use to anybody; the second try brings a better one."""
        issuer.behave(lifetime=1, delay_ms=1500, count=1)
        expect.miss(daemon.ask(subject), subject)
        assert issuer.requests() == 2

    def test_the_token_lives_as_long_as_its_text_says(self, daemon, issuer, subject):
        """What is left by expires_in is left by the token's own `exp`, too."""
        issuer.behave(lifetime=100)
        for _ in range(3):
            answer = daemon.ask(subject).json()
            left = payload(answer["access_token"])["exp"] - time.time()
            assert left - 3 < answer["expires_in"] < left + 2


class TestSpent:
    """In the order of the ages at which these things happen."""

    def test_min_ttl_not_met(self, aged):
        """Younger than 10 s, a token has to do; after that, min_ttl counts."""
        daemon = aged.daemon
        aged.wait_until("min-ttl", lambda entry: entry["age"] >= 10, "ten seconds to pass")
        response = daemon.ask("min-ttl", min_ttl="19")
        said = expect.token(response, "min-ttl")
        assert expect.cache_status(response)["fwd"] == "request"
        assert said["serial"] != aged.serials["min-ttl"]
        # Nobody can ask for more than the issuer gives; and it costs one fetch, not one each.
        for _ in range(5):
            again = expect.hit(daemon.ask("min-ttl", min_ttl="3600"), "min-ttl")
            assert again["serial"] == said["serial"]

    def test_below_the_margin(self, aged):
        """A well issuer is waited for; one that fails or hangs is not, as long as the token lives.

        The margin is at most a tenth of the lifetime.
        """
        daemon, issuer = aged.daemon, aged.issuer
        issuer.behave(subject="username:failing", status=500, body="oops")
        issuer.behave(subject="username:hung", stall=True)
        for name in ("spent", "hung", "failing"):
            aged.wait_until(name, lambda entry: entry["state"] == "spent", "the margin")
            assert aged.age(name) > AGED_LIFETIME - MARGIN - 0.5

        with daemon.connect() as hung, daemon.connect() as failing:
            hung.send(ask_bytes("hung"))
            failing.send(ask_bytes("failing"))
            new = daemon.ask("spent")
            old = {"failing": failing.receive(), "hung": hung.receive()}
            assert aged.age("hung") < AGED_LIFETIME
        said = expect.token(new, "spent")
        assert said["serial"] != aged.serials["spent"]
        assert expect.cache_status(new)["fwd"] == "stale"
        assert new.json()["expires_in"] > AGED_LIFETIME - 3

        details = {"failing": ("issuer_error", "request_timeout"), "hung": ("request_timeout",)}
        for name, response in old.items():
            detail = expect.cache_status(response)["detail"]
            assert detail in details[name]
            said = expect.old(response, detail, "stale", name)
            assert said["serial"] == aged.serials[name]
            assert response.json()["expires_in"] == 1

        # Past its end there is nothing to hand out.
        eventually(
            lambda: daemon.explain("failing")["entry"]["state"] == "absent", "the token's end"
        )
        response = daemon.ask("failing")
        assert response.status == 503, response
        expect.unavailable(response)
        issuer.reset()
