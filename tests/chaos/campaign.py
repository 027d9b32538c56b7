# SPDX-License-Identifier: MIT
"""A campaign: services that ask without end, upheavals at random, and counters that must agree.

Each Crowd is one process of tests/chaos/services, of a user of its own; a Town is all of them. A
Campaign lets upheavals happen one after the other, tells the services what these make possible,
and at quiet points, and before each end of the daemon, holds three counts against each other: what
the services were answered, what the daemon says it answered and asked for, and what the issuer was
asked. A daemon that begins anew begins counting anew, and so do the services.
"""

import collections
import json
import math
import queue
import random
import subprocess
import threading
import time

import upheaval
from world import World, now_ms

from harness import CRM, LOBBY, PORTAL, STAFF, environment, for_anybody
from scrape import Metrics

# The letters say for what a client application has a token URL, and whether it has a default scope.
LETTERS = ((PORTAL, "ucd"), (CRM, "uc"), (STAFF, "ud"), (LOBBY, "ad"))

ANSWER_MAX_S = 40  # a request without an answer for so long is lost
DRAIN_MAX_S = 60
CALM_RATE = 300  # questions a second that the proxy and the issuer can all serve
CALM_MAX_S = 60

# Who is turned away before he has asked is told why, and counted as a connection, by cause.
AT_THE_DOOR = {"connections_full": "limit", "uid_connections_full": "share"}

# A user that nobody has; numbers will do for rules.
UIDS = (0, 23451, 23452)
QUOTA_UID = 23452
QUOTA = "600/1m"

# What an upheaval makes possible, in the words of services; those that are not here excuse nothing.
EXCUSES = {
    "issuer_fails": "fail",
    "issuer_refuses": "refuse",
    "issuer_throttles": "throttle fail",
    "issuer_forgets_clients": "secret refuse",
    "issuer_talks_nonsense": "fail",
    "issuer_gives_unusable_tokens": "fail",
    "issuer_has_odd_manners": "fail",
    "lifetimes_vary": "fail",
    "issuer_grants_another_scope": "grant fail",
    "issuer_repeats_tokens": "fail",
    "issuer_hangs": "fail limit",
    "issuer_is_slow": "fail limit",
    "issuer_hangs_up": "fail",
    "network_breaks": "fail limit",
    "network_resets": "fail",
    "network_refuses": "fail",
    "name_moves": "fail",
    "secret_is_rotated": "secret fail",
    "limits_are_changed": "limit fail",
    "client_is_removed": "change rights",
    "client_becomes_another": "change",
}
# What waits at its end may be answered so much later.
WAITING_MS = 12000


class Broken(AssertionError):
    """Something was not as it must be; what, with all that is known of it."""


class Crowd:
    """One process of services, all of one user."""

    def __init__(self, world, index, uid, services, seed, top, keep_going):
        self.uid = uid
        self.failures = []
        self._answers = queue.Queue()
        command = [top / "tests" / "chaos" / "services", "--unix", world.daemon.unix]
        command += ["--tcp", world.daemon.port, "--services", services, "--seed", seed]
        command += ["--process", index, "--answer-max-ms", ANSWER_MAX_S * 1000]
        command += ["--fetch-max-ms", 15000]
        for client, letters in LETTERS:
            names = f"{client.name}:{client.client_id}:{client.tenant}:{letters}"
            command += ["--client", names]
        command += ["--limited"] if uid else []
        command += ["--keep-going"] if keep_going else []
        prefix = ()
        if uid:
            prefix = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
        self.process = subprocess.Popen(
            [str(word) for word in (*prefix, *command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            cwd="/",
            text=True,
            bufsize=1,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            said = json.loads(line)
            if "failure" in said:
                self.failures.append({"uid": self.uid, **said})
            else:
                self._answers.put(said)
        self._answers.put(None)

    def command(self, line):
        """What it says to that; what it says is waited for, so that it has taken it in."""
        try:
            self.process.stdin.write(line + "\n")
            said = self._answers.get(timeout=DRAIN_MAX_S)
        except (BrokenPipeError, queue.Empty):
            said = None
        if said is None or "unknown" in said:
            raise Broken(f"services of uid {self.uid}: {line!r}: {said} {self.failures}")
        return said

    def close(self):
        """Its exit status."""
        try:
            self.process.stdin.close()
            return self.process.wait(DRAIN_MAX_S)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            return self.process.wait()


def add(stats):
    """The sum of what several processes say."""
    total = {"answers": collections.Counter(), "others": collections.Counter()}
    total["tokens"] = collections.Counter()
    for name in ("old", "unseen", "busy", "checked", "failures"):
        total[name] = sum(one[name] for one in stats)
    for one in stats:
        for name in ("answers", "others", "tokens"):
            total[name].update(one[name])
    return total


class Town:
    """All services."""

    def __init__(self, world, services, seed, keep_going=False, uids=UIDS):
        self.top = for_anybody("tests/chaos/services")
        each = max(1, services // len(uids))
        self.crowds = [
            Crowd(world, i, uid, each, seed, self.top, keep_going) for i, uid in enumerate(uids)
        ]

    def tell(self, *lines):
        for line in lines:
            for crowd in self.crowds:
                crowd.command(line)

    def set_rate(self, rate):
        self.tell(f"rate {rate / len(self.crowds)}")

    def stats(self):
        return add([crowd.command("stats") for crowd in self.crowds])

    def quiet(self):
        """Lets no question begin, and waits until there is none without its answer."""
        self.tell("pause")
        deadline = time.monotonic() + DRAIN_MAX_S
        while (stats := self.stats())["busy"]:
            if time.monotonic() > deadline:
                raise Broken(f"{stats['busy']} requests have no answer: {stats}")
            time.sleep(0.02)
        return stats

    def failures(self):
        return [failure for crowd in self.crowds for failure in crowd.failures]

    def close(self):
        return [crowd.close() for crowd in self.crowds]


def by_reason(metrics, name):
    """A family of requests, by reason."""
    samples = metrics.all(name)
    return collections.Counter(
        {dict(labels)["reason"]: int(value) for labels, value in samples.items() if value}
    )


def tokens_served(metrics):
    samples = metrics.all("egain_tokend_tokens_served_total")
    counts = collections.Counter()
    for labels, value in samples.items():
        labels = dict(labels)
        collapsed = "+collapsed" if labels["collapsed"] == "true" else ""
        counts[labels["cache"] + collapsed] += int(value)
    return +counts


class Count:
    """What three parties say of one life of the daemon. `unsure` is how many requests nobody has
    seen the answer of: services that hung up, and what upheavals asked themselves."""

    def __init__(self, stats, metrics, issuer, own):
        self.stats = stats
        self.metrics = metrics
        self.issuer = issuer
        self.own = own
        self.unsure = stats["unseen"] + own
        self.mismatches = []

    def total(self, name):
        return int(self.metrics.sum(f"egain_tokend_{name}"))

    def hold(self, what, low, value, high):
        if not low <= value <= high:
            self.mismatches.append(f"{what}: {value} is not within {low} and {high}")

    def compare(self, faults, removed=False):
        """Every counter, exactly where every answer was seen. `faults`: something has happened in
        this life; `removed`: a client application has left the configuration, and its series."""
        answers = self.stats["answers"].copy()
        for reason, cause in AT_THE_DOOR.items():
            turned_away = self.metrics.sum("egain_tokend_connections_refused_total", cause=cause)
            self.hold(f"turned away, {cause}", answers.pop(reason, 0), int(turned_away), math.inf)
        self._compare_families(
            "answers", answers, by_reason(self.metrics, "egain_tokend_requests_total")
        )
        self._compare_families("tokens", self.stats["tokens"], tokens_served(self.metrics))
        self.hold(
            "old tokens",
            self.stats["old"],
            self.total("tokens_served_old_total"),
            self.stats["old"] + self.unsure,
        )
        self._compare_broker()
        self._compare_fetches(faults, removed)
        return self.mismatches

    def _compare_families(self, what, seen, said):
        for name in seen.keys() | said.keys():
            self.hold(f"{what} {name}", seen[name], said[name], seen[name] + self.unsure)
        self.hold(what, seen.total(), said.total(), seen.total() + self.unsure)

    def _compare_broker(self):
        served = tokens_served(self.metrics)
        withheld = self.total("audit_withheld_total")
        hits, waited = self.total("cache_hits_total"), self.total("coalesced_total")
        misses = self.total("cache_misses_total")
        requests = self.total("requests_total")
        self.hold("hits", served["hit"], hits, served["hit"] + withheld)
        # Whoever waits for a fetch asked once, and began it or joined it.
        self.hold("waited", 0, misses + waited, requests - served["hit"] + self.unsure)
        collapsed = sum(n for name, n in served.items() if name.endswith("+collapsed"))
        self.hold("collapsed", collapsed, waited, requests)

    def _compare_fetches(self, faults, removed):
        """Nothing is asked of the issuer without a cause: a request that found no token it could
        have, a renewal, a failure that is tried again, or a secret that was refused, when each of
        the two that there may be is tried, before and after they were read again."""
        begun, refreshes = self.begun(), self.total("refreshes_total")
        causes = self.total("cache_misses_total") + refreshes + self.total("fetch_retries_total")
        refused = int(self.metrics.sum("egain_tokend_fetches_total", result="credentials_refused"))
        self.hold("fetches begun", 0, begun, causes + 4 * refused + self.in_flight())
        ended = self.total("fetches_total") + self.total("fetches_unconfigured_total")
        self.hold("fetches ended", 0 if removed else begun - self.in_flight(), ended, begun)
        got = int(self.metrics.sum("egain_tokend_fetches_total", result="token"))
        self.hold("tokens fetched", 0, got, self.issuer["tokens"])
        if not faults:
            self.hold("requests to the issuer", begun, self.issuer["requests"], begun)
            self.hold("tokens fetched", self.issuer["tokens"], got, self.issuer["tokens"])
            self.hold("two for one question at the issuer", 0, self.issuer["twins"], 0)

    def begun(self):
        return self.total("fetches_begun_total")

    def in_flight(self):
        return self.total("fetches_in_flight")


class Campaign:
    """See above. `rate` is of questions a second, of all services together."""

    def __init__(self, world, seed, services=240, rate=1000, keep_going=False, say=print):
        self.world = world
        self.seed = seed
        self.rate = rate
        self.say = say
        self.keep_going = keep_going
        self.rng = random.Random(f"upheavals {seed}")
        self.town = Town(world, services, seed, keep_going)
        self.began = time.monotonic()
        self.actions = collections.Counter()
        self.answers = collections.Counter()
        self.tokens = collections.Counter()
        self.unseen = 0
        self.records = collections.deque(maxlen=30)
        self.mismatches = []
        self.counts = 0
        self.exact = 0
        self.lives = 1
        self._excused = {}  # word → until when, on the monotonic clock
        self._told = None
        self._faults = False  # in this campaign
        self._removed = False  # a client application, in this life of the daemon
        self._base = self._issuer()
        self._own = 0
        world.tell = self._tell
        world.before_stop = self._before_stop
        world.before_start = self._before_start
        world.after_start = self._after_start

    def _issuer(self):
        counters = self.world.issuer.control("GET", "counters")
        return {name: counters[name] for name in ("requests", "tokens", "twins")}

    def _tell(self, lines):
        for line in lines:
            if line.split()[0] in ("gone", "back"):
                self._removed = True
                self._excuse("change rights", 30000)
            else:
                self.town.tell(line)

    def _excuse(self, words, for_ms):
        for word in words.split():
            self._excused[word] = max(self._excused.get(word, 0), now_ms() + for_ms)
        self._tell_excuses()

    def _tell_excuses(self):
        words = {word for word, until in self._excused.items() if until > now_ms()}
        if words == self._told:
            return
        self._told = words
        for crowd in self.town.crowds:
            more = {"limit"} if crowd.uid == QUOTA_UID else set()
            crowd.command(f"excuse {' '.join(sorted(words | more))}")

    def count(self, ending=False):
        """A quiet point: everything that was counted in this life of the daemon is compared."""
        stats = self.town.quiet()
        count = self._count(stats)
        if not self._faults:
            # Renewals go on when nobody asks.
            deadline = time.monotonic() + DRAIN_MAX_S
            while count.in_flight() or self._count(stats).begun() != count.begun():
                if time.monotonic() > deadline:
                    raise Broken(f"{count.in_flight()} fetches do not end")
                time.sleep(0.02)
                count = self._count(stats)
        mismatches = count.compare(self._faults, self._removed)
        self.counts += 1
        self.exact += count.unsure == 0
        if ending:
            self.answers += stats["answers"]
            self.tokens += stats["tokens"]
            self.unseen += stats["unseen"]
        if mismatches:
            self.mismatches.append(mismatches)
            if not self.keep_going:
                raise Broken("counters that do not agree:\n" + "\n".join(mismatches))
        return stats

    def _count(self, stats):
        metrics = Metrics(self.world.daemon.request("GET", "/metrics").body.decode())
        issuer = {name: n - self._base[name] for name, n in self._issuer().items()}
        return Count(stats, metrics, issuer, self.world.own_requests - self._own)

    def _before_stop(self, _orderly):
        """One that is killed may have been told to end before."""
        self.count(ending=True)
        self.town.tell("go")
        self._excuse("stop", WAITING_MS)
        time.sleep(self.rng.uniform(0, 0.2))

    def _before_start(self):
        """Services ask, and are given tokens, as soon as there is somebody to ask."""
        self._base = self._issuer()

    def _after_start(self):
        self.lives += 1
        self._removed = False
        self._own = self.world.own_requests

    def calm_phase(self, seconds, manners):
        """Nothing happens; without bad manners every count must be exact."""
        self.town.tell(f"manners {'on' if manners else 'off'}", "go")
        self._watch(seconds)
        self.count()

    def _watch(self, seconds):
        deadline = time.monotonic() + seconds
        while True:
            self._check()
            self._tell_excuses()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.2))

    def _check(self):
        failures = self.town.failures()
        if failures and not self.keep_going:
            raise Broken(json.dumps(failures[0], indent=2))
        dead = [crowd.uid for crowd in self.town.crowds if crowd.process.poll() is not None]
        if dead and not self.keep_going:
            time.sleep(0.5)
            raise Broken(f"services of {dead} have ended: {self.town.failures()}")
        if not self.world.daemon.running():
            raise Broken("the daemon has ended:\n" + self.world.daemon.output.text()[-8000:])

    def upheave(self, action=None):
        action = action or upheaval.pick(self.world, self.rng)
        lasting = int(1000 * action.lasts_s) + action.lingers_ms + WAITING_MS
        words = EXCUSES.get(action.name, "")
        self._faults = self._faults or action.name not in ("configuration_is_bad",)
        self._excuse(words, lasting + 5000)
        try:
            record = action.run(self.world, self.rng)
        except AssertionError as failure:
            raise Broken(f"{action.name}: {failure}") from failure
        self._excuse(words, lasting)
        self.actions[action.name] += 1
        self.records.append(record)
        return record

    def run(self, seconds, pause_s=1.0):
        """Calm for a tenth of the time, or two minutes, and then one upheaval after the other.
        While nothing is in memory yet nearly every question costs a fetch, and nothing excuses one
        that takes long."""
        end = time.monotonic() + seconds
        calm_s = min(seconds / 20, CALM_MAX_S)
        self.town.set_rate(min(self.rate, CALM_RATE))
        self._tell_excuses()
        self.calm_phase(calm_s, manners=False)
        self.calm_phase(calm_s, manners=True)
        self.town.set_rate(self.rate)
        self.town.tell("go")
        turns = 0
        while time.monotonic() < end:
            self.upheave()
            self._watch(min(self.rng.expovariate(1 / pause_s), 5 * pause_s))
            turns += 1
            if turns % 25 == 0:
                stats = self.count()
                self.town.tell("go")
                self.say(f"{int(time.monotonic() - self.began)} s: {stats['checked']} answers")

    def end(self):
        """Everything is undone, counted for the last time, and stopped; the report."""
        try:
            self.world.calm()
            stats = self.count(ending=True)
            self.world.tell = self.world.before_stop = lambda *_: None
        finally:
            statuses = self.town.close()
        return self.report(stats, statuses)

    def report(self, stats, statuses=()):
        took = time.monotonic() - self.began
        return {
            "seed": self.seed,
            "seconds": round(took, 1),
            "checked": stats["checked"],
            "per_second": round(stats["checked"] / took),
            "lives": self.lives,
            "counts": self.counts,
            "counts_without_doubt": self.exact,
            "upheavals": dict(sorted(self.actions.items())),
            "answers": dict(self.answers.most_common()),
            "tokens": dict(self.tokens.most_common()),
            "unseen": self.unseen,
            "proxy": self.world.proxy.counts(),
            "failures": self.town.failures(),
            "mismatches": self.mismatches,
            "statuses": list(statuses),
        }


def callers():
    """Rules that give every service what it asks for, and keep those of other users from subjects
    that begin otherwise."""
    clients = [client.name for client, _ in LETTERS]
    rules = []
    for uid in UIDS:
        subjects = [f"{kind}:user-*" for kind in ("username", "userid", "email")]
        subjects += ["application:*", "anonymous:*", "exchange:okta-1"]
        rule = {"name": f"uid-{uid}", "user": str(uid), "clients": clients, "scopes": ["*"]}
        rule["subjects"] = subjects if uid else [f"{one.partition(':')[0]}:*" for one in subjects]
        rule["fetches"] = QUOTA if uid == QUOTA_UID else "1000000/1m"
        rules.append(rule | ({"monitor": True, "admin": True} if uid == 0 else {}))
    return rules


def make_world(seed, tls=False, http2=False, **settings):
    return World(seed, tls=tls, http2=http2, callers=callers(), **settings)
