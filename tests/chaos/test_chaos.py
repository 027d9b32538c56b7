# SPDX-License-Identifier: MIT
"""The campaign in its short form, and whether it would find what it is there to find.

A checker that nothing escapes must fail when something is wrong. The daemon cannot be made to lie,
so the issuer is, in ways that the daemon cannot see; or the services are told something else than
what has happened.
"""

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from campaign import Broken, Campaign, Count, by_reason, make_world  # noqa: E402
from world import now_ms  # noqa: E402

from harness import PORTAL, environment  # noqa: E402
from scrape import Metrics  # noqa: E402
from wire import eventually  # noqa: E402

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be several users")

RUN = Path(__file__).with_name("run")
SHORT_S = 45
RATE = 400


@pytest.fixture(scope="module")
def world():
    with make_world(seed=7) as world:
        yield world


@pytest.fixture
def campaign(world):
    """Services of a daemon that has just begun, and of an issuer that is well."""
    world.stop(warm=False)
    world.revive()
    with_services = Campaign(world, seed=7, services=60, rate=RATE, keep_going=True)
    with_services.town.set_rate(RATE)
    yield with_services
    world.calm()
    with_services.town.tell("pause")
    with_services.town.close()
    world.tell = world.before_stop = lambda *_: None
    world.before_start = world.after_start = lambda: None


def first_failure(campaign):
    return eventually(lambda: campaign.town.failures() and campaign.town.failures()[0]["failure"],
                      "a failure")


def enough(campaign, n=500):
    return eventually(lambda: campaign.town.stats()["answers"]["none"] > n, f"{n} tokens")


class TestCampaign:
    def test_short(self, tmp_path):
        """All upheavals in turn, every answer checked, every counter compared."""
        seed = random.SystemRandom().randrange(1 << 31)
        report_file = tmp_path / "report.json"
        command = [RUN, "--minutes", SHORT_S / 60, "--seed", seed, "--rate", RATE]
        run = subprocess.run(
            [str(word) for word in (*command, "--json", report_file)],
            capture_output=True,
            text=True,
            env=environment(**{"BUILD_DIR": os.environ.get("BUILD_DIR", "build")}),
            timeout=8 * SHORT_S,
        )
        assert run.returncode == 0, run.stdout[-20000:] + run.stderr[-8000:]
        report = json.loads(report_file.read_text())
        assert report["seed"] == seed
        assert report["failures"] == [] and report["mismatches"] == []
        assert report["checked"] > SHORT_S * RATE / 10
        assert report["counts"] >= 3 and sum(report["upheavals"].values()) > 5


class TestChecker:
    def test_all_is_well(self, campaign):
        campaign.town.tell("go")
        enough(campaign)
        campaign.town.quiet()
        assert campaign.town.failures() == []

    def test_token_of_somebody_else(self, campaign, world):
        """What the issuer mints for another subject, the daemon cannot tell from a good one."""
        world.issuer.behave(mint_subject="mallory", every=3)
        campaign.town.tell("go")
        assert first_failure(campaign) == "a token of another subject"

    def test_token_that_was_taken_away(self, campaign):
        """Services are told of a purge that never was."""
        campaign.town.tell("go")
        enough(campaign)
        campaign.town.tell(f"taken * * * * {now_ms()}")
        assert first_failure(campaign) == "a token that was taken away"

    def test_only_what_was_taken(self, campaign):
        campaign.town.tell("go")
        enough(campaign)
        campaign.town.tell(f"taken * username nobody%20there * {now_ms()}")
        enough(campaign, 1500)
        assert campaign.town.failures() == []

    def test_error_that_nothing_has_caused(self, campaign, world):
        world.issuer.behave(status=500, body="", every=2)
        campaign.town.tell("go")
        assert first_failure(campaign) == "an error that nothing has caused"

    def test_error_with_the_wrong_excuse(self, campaign, world):
        world.issuer.behave(error="invalid_grant", every=2)
        campaign.town.tell("excuse fail throttle secret", "go")
        assert first_failure(campaign) == "an error that nothing has caused"

    def test_token_that_outlives_its_issuer(self, campaign, world):
        """The issuer gives a token again, and all of its lifetime, without anybody being told."""
        world.issuer.behave(lifetime=5, repeat_token=True)
        campaign.town.tell("go")
        failure = first_failure(campaign)
        assert re.search("is said to be new|expires_in is (much )?(more|less)", failure), failure

    def test_connection_that_ends(self, campaign, world):
        """A daemon that dies while nobody has said that it would."""
        world.before_stop = lambda orderly: None
        world.tell = lambda lines: None
        campaign.town.tell("go")
        enough(campaign)
        world.kill()
        world.revive()
        assert re.search("connection (ended|broke)", first_failure(campaign))


# What must be exact when every answer was seen.
EXACT = (
    'requests_total{outcome="granted",reason="none"}',
    'tokens_served_total{cache="hit",collapsed="false"}',
    'tokens_served_total{cache="miss",collapsed="false"}',
    "tokens_served_old_total",
    "cache_hits_total",
    "fetches_begun_total",
    f'fetches_total{{client="{PORTAL.name}",result="token"}}',
)


class TestCounts:
    @pytest.fixture
    def counted(self, campaign, world):
        """Counts of a life of the daemon in which every answer was seen."""
        campaign.town.tell("manners off", "go")
        enough(campaign)
        stats = campaign.town.quiet()
        issuer = {name: n - campaign._base[name] for name, n in campaign._issuer().items()}
        return stats, world.daemon.request("GET", "/metrics").body.decode(), issuer

    def test_agree(self, counted):
        stats, metrics, issuer = counted
        assert stats["unseen"] == 0
        assert by_reason(Metrics(metrics), "egain_tokend_requests_total") == stats["answers"]
        assert Count(stats, Metrics(metrics), issuer, 0).compare(faults=False) == []

    def test_one_more_or_less_is_noticed(self, counted):
        stats, metrics, issuer = counted
        for name in EXACT:
            line = re.search(rf"^egain_tokend_{re.escape(name)} (\d+)$", metrics, re.M)
            for difference in (-1, 1):
                other = f"egain_tokend_{name} {int(line[1]) + difference}"
                changed = Metrics(metrics.replace(line[0], other))
                assert Count(stats, changed, issuer, 0).compare(faults=False), other

    def test_unseen_answers_make_room(self, counted):
        """A request that nobody saw the answer of may be counted, and one more may not."""
        stats, metrics, issuer = counted
        name = 'egain_tokend_requests_total{outcome="granted",reason="none"}'
        line = re.search(rf"^{re.escape(name)} (\d+)$", metrics, re.M)
        for more, fits in ((0, True), (1, True), (2, False)):
            changed = Metrics(metrics.replace(line[0], f"{name} {int(line[1]) + more}"))
            mismatches = Count(stats, changed, issuer, 1).compare(faults=True)
            assert (mismatches == []) == fits, (more, mismatches)

    def test_whoever_was_turned_away_is_not_among_the_requests(self, counted):
        """He has an answer, and the daemon has never seen his request."""
        stats, metrics, issuer = counted
        turned_away = {**stats, "answers": stats["answers"] + Counter(uid_connections_full=3)}
        line = 'egain_tokend_connections_refused_total{cause="share"} '
        assert f"{line}0\n" in metrics
        for n, fits in ((2, False), (3, True), (4, True)):  # a fourth did not read why
            changed = Metrics(metrics.replace(f"{line}0\n", f"{line}{n}\n"))
            mismatches = Count(turned_away, changed, issuer, 0).compare(faults=False)
            assert (mismatches == []) == fits, (n, mismatches)


def test_broken_says_what(campaign, world):
    """A campaign ends with the first answer that is wrong, and tells it."""
    campaign.keep_going = False
    world.issuer.behave(mint_subject="mallory", every=2)
    campaign.town.tell("go")
    with pytest.raises(Broken) as broken:
        campaign._watch(30)
    said = json.loads(str(broken.value))
    assert said["failure"] == "a token of another subject"
    assert said["request"] and "HTTP/1.1 200" in said["answer"] and said["sent_ms"]
