# SPDX-License-Identifier: MIT
"""One question again and again to a daemon whose n-th allocation fails, for one n after the other:
see shortage.py. Where a path has too many allocations for that, SWEEP_SAMPLE of them, drawn from
SWEEP_SEED; SWEEP_SAMPLE=0 takes them all."""

import itertools
import os
import random
import time
from collections import Counter

from harness import Daemon, payload
from scrape import scrape
from shortage import Shortage
from wire import Closed, eventually

# At the n-th allocation, and how many fail from there on.
LENGTHS = (1, 12)
# No path has as many allocations; a sweep that does not end is one that measures something else.
SWEEP_MAX = 3000
ENDLESS = 1 << 40  # a shortage that never comes

SAMPLE = int(os.environ.get("SWEEP_SAMPLE", "60"))
SEED = int(os.environ.get("SWEEP_SEED", random.SystemRandom().randrange(1 << 32)))

REFUSALS = {
    (503, "temporarily_unavailable"),  # out_of_memory, audit_full
}
PATIENCE = 10.0  # an answer that takes longer was waited for in vain

# Ends of fetches for which an issuer is not to blame.
BLAMELESS = {"token", "out_of_memory"}

_numbers = itertools.count(1)


def subject_of_its_own():
    return f"starved-{next(_numbers)}"


class StarvingDaemon(Daemon):
    """One that runs out of memory when it is told to."""

    def __init__(self, issuer, **settings):
        super().__init__(issuer, request_timeout="30s", **settings)
        self.shortage = Shortage(self.directory)
        self._env |= self.shortage.environment()
        self._env["ASAN_OPTIONS"] += ":verify_asan_link_order=0"


class Sweep:
    """`blame`: what fetches may end with besides, since the issuer is not well."""

    def __init__(self, daemon, blame=()):
        self.daemon = daemon
        self.shortage = daemon.shortage
        self.blameless = BLAMELESS | set(blame)

    def where(self, n, length):
        return f"allocation {n}, {length} from there on:\n{self.shortage.trace()}"

    def try_one(self, ask, n, length):
        """The answer to a request that meets a shortage, or None; and whether it met it."""
        began = time.monotonic()
        self.shortage.begin(n, length)
        try:
            response = ask()
        except (Closed, ConnectionError):
            response = None
        finally:
            failed = self.shortage.end()
        assert self.daemon.running(), self.where(n, length) + self.daemon.output.text()[-8000:]
        assert time.monotonic() - began < PATIENCE, self.where(n, length)
        return response, failed > 0

    def run(self, prepare, ask, right):
        """`prepare` gives what `ask` is asked with; `right` asserts that an answer is the one asked
        for, or says that it is a refusal by returning False."""
        outcomes = Counter()
        for length in LENGTHS:
            for n in range(SWEEP_MAX):
                outcome = self.step(prepare, ask, right, n, length)
                if not outcome:
                    break
                outcomes[outcome] += 1
            else:
                raise AssertionError(f"no end after {SWEEP_MAX} allocations")
        self.at_rest(outcomes)

    def run_sample(self, prepare, ask, right):
        """The same at some of the allocations alone, the last ones included."""
        outcomes = Counter()
        given = prepare()
        self.daemon.settle()
        self.shortage.begin(ENDLESS, 1)
        assert right(given, ask(given))
        n_all = self.shortage.seen()
        self.shortage.end()
        assert n_all > SAMPLE, n_all
        drawn = random.Random(SEED)
        print(f"SWEEP_SEED={SEED}, {n_all} allocations")  # shown where the test fails
        for length in LENGTHS:
            for n in sorted(drawn.sample(range(n_all), SAMPLE or n_all)):
                outcomes[self.step(prepare, ask, right, n, length)] += 1
        self.at_rest(outcomes)

    def step(self, prepare, ask, right, n, length):
        """What became of one question; None: it met no allocation that failed."""
        given = prepare()
        self.daemon.settle()
        response, failed = self.try_one(lambda: ask(given), n, length)
        if not failed:
            assert response is not None and right(given, response), response
            return None
        outcome = self.judge(given, response, right, n, length)
        again = prepare()
        response = ask(again)
        assert right(again, response), f"afterwards: {response}\n{self.where(n, length)}"
        return outcome

    def judge(self, given, response, right, n, length):
        if response is None:
            return "closed"
        if right(given, response):
            return "right"
        assert response.header("Content-Type") == "application/json", self.where(n, length)
        refusal = (response.status, response.json()["error"])
        assert refusal in REFUSALS, f"{response}\n{self.where(n, length)}"
        assert response.header("Retry-After"), response
        self.daemon.check_answer(response.body.decode())
        return "refused"

    def at_rest(self, outcomes):
        """Nobody waits who is not there, nothing is fetched that nobody asked for, and no issuer had
        the blame."""

        def resting():
            metrics = scrape(self.daemon)
            gauges = ("egain_tokend_waiters", "egain_tokend_fetches_in_flight")
            assert all(metrics.types.get(name) == "gauge" for name in gauges), metrics.types
            # The one connection is this one's.
            return not any(metrics.sum(name) for name in gauges) and (
                metrics.sum("egain_tokend_connections") == 1
            )

        eventually(resting, "everything to be at rest")
        fetches = scrape(self.daemon).all("egain_tokend_fetches_total")
        blamed = {dict(labels)["result"]: n for labels, n in fetches.items() if n}
        assert blamed.keys() <= self.blameless, blamed
        assert outcomes["refused"] + outcomes["closed"] > 4, outcomes


def is_token_of():
    def right(subject, response):
        if response.status != 200:
            return False
        assert payload(response.json()["access_token"])["sub"] == subject, response
        return True

    return right


def is_status(status):
    return lambda _, response: response.status == status
