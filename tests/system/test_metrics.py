# SPDX-License-Identifier: MIT
"""GET /metrics: its form, that it agrees with what happened, who may see it, and that a real
Prometheus takes it and raises the alerts of conf/."""

import base64
import contextlib
import json
import os
import pwd
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from urllib.request import urlopen

import pytest

import expect
from harness import (
    CRM,
    MANAGE,
    PORTAL,
    READ,
    ROOT,
    Client,
    Program,
    ask_bytes,
    become,
    environment,
    free_port,
    rule,
    scratch_directory,
)
from people import acting_as
from scrape import Metrics, growth, scrape
from test_rejection import digest
from wire import TIMEOUT, Connection, Fleet, connect, eventually

RULES = ROOT / "conf" / "prometheus-rules.yml"
RULES_TEST = ROOT / "conf" / "prometheus-rules-test.yml"
DASHBOARD = ROOT / "conf" / "grafana-dashboard.json"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus") or not shutil.which("promtool"), reason="needs prometheus"
)

# Users who are neither root nor the daemon's.
SCRAPER = pwd.getpwnam("daemon")
OTHER = pwd.getpwnam("bin")


@dataclass
class As:
    """Where somebody else connects; takes the place of an address."""

    user: object
    address: object

    def connect(self, timeout=TIMEOUT):
        with acting_as(self.user):
            return connect(self.address, timeout)


def promtool(*words, text=None):
    return subprocess.run(
        ["promtool", *map(str, words)], input=text, capture_output=True, text=True, timeout=TIMEOUT
    )


class TestForm:
    @needs_prometheus
    def test_promtool_is_silent(self, start_daemon, issuer, subject):
        """With everything in it that may be there: all families, failures, dates."""
        daemon = start_daemon()
        issuer.behave(status=500, count=3)
        daemon.ask(subject)
        daemon.ask(f"other-{subject}")
        daemon.ask("", client_id="nobody")
        run = promtool("check", "metrics", text=scrape(daemon).text)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")

    def test_labels_are_bounded_by_the_configuration(self, start_daemon, issuer, subject):
        """Whatever callers ask for makes no new series."""
        daemon = start_daemon()
        daemon.ask(subject)
        daemon.ask(subject, scope="who knows", client_id="x")
        before = scrape(daemon)
        for number in range(20):
            daemon.ask(f"{subject}-{number}", scope=MANAGE)
            daemon.ask(f"{subject}-{number}", client_id=f"unknown-{number}")
            daemon.request("GET", f"/nothing-{number}")
        after = scrape(daemon)
        assert {key for key in after.samples if key not in before.samples} == {
            ("egain_tokend_other_requests_total", frozenset(labels.items()))
            for labels in [{"outcome": "refused", "reason": "not_found"}]
        }
        assert subject not in after.text and READ not in after.text

    def test_method_and_guards(self, daemon):
        response = daemon.request("POST", "/metrics", body=b"")
        expect.error(response, 405, "invalid_request")
        assert response.header("Allow") == "GET"
        headers = [("Origin", "http://localhost:9090")]
        expect.error(daemon.request("GET", "/metrics", headers), 403, "access_denied")

    def test_parameters_do_not_matter(self, daemon):
        assert daemon.request("GET", "/metrics?name[]=up").status == 200


# What operators rely on, and the labels that each has.
FAMILIES = {
    "egain_tokend_requests_total": {"outcome", "reason"},
    "egain_tokend_credential_requests_total": {"outcome", "reason"},
    "egain_tokend_tokens_served_total": {"cache", "collapsed"},
    "egain_tokend_cache_hits_total": set(),
    "egain_tokend_cache_misses_total": set(),
    "egain_tokend_coalesced_total": set(),
    "egain_tokend_refreshes_total": set(),
    "egain_tokend_fetches_total": {"client", "result"},
    "egain_tokend_fetch_duration_seconds_bucket": {"le"},
    "egain_tokend_fetch_duration_seconds_sum": set(),
    "egain_tokend_fetch_duration_seconds_count": set(),
    "egain_tokend_cache_entries": set(),
    "egain_tokend_cache_bytes": set(),
    "egain_tokend_cache_evictions_total": {"cause"},
    "egain_tokend_flights": set(),
    "egain_tokend_waiters": set(),
    "egain_tokend_breaker_state": {"url", "state"},
    "egain_tokend_client_secret_left_seconds": {"client", "secret"},
    "egain_tokend_audit_records_dropped_total": {"queue"},
    "egain_tokend_connections": set(),
    "egain_tokend_connections_accepted_total": set(),
    "egain_tokend_connections_refused_total": {"cause"},
    "egain_tokend_build_info": {"version"},
    "egain_tokend_memory_locked": set(),
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_virtual_memory_bytes": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
    "process_start_time_seconds": set(),
}


class TestCounts:
    """What the daemon counts, the test did, and the issuer saw."""

    def test_hits_and_misses(self, daemon, issuer, subject):
        before = scrape(daemon)
        for number in range(3):
            expect.miss(daemon.ask(f"{subject}-{number}"), f"{subject}-{number}")
        for _ in range(5):
            expect.hit(daemon.get(f"{subject}-0"), f"{subject}-0")
        after = scrape(daemon)
        assert issuer.requests() == 3
        for amount, name, labels in [
            (8, "egain_tokend_requests_total", {"outcome": "granted", "reason": "none"}),
            (8, "egain_tokend_requests_total", {}),
            (5, "egain_tokend_cache_hits_total", {}),
            (3, "egain_tokend_cache_misses_total", {}),
            (5, "egain_tokend_tokens_served_total", {"cache": "hit"}),
            (3, "egain_tokend_tokens_served_total", {"cache": "miss", "collapsed": "false"}),
            (3, "egain_tokend_fetches_total", {"client": "portal", "result": "token"}),
            (3, "egain_tokend_fetches_total", {}),
            (3, "egain_tokend_fetches_begun_total", {}),
            (3, "egain_tokend_fetch_duration_seconds_count", {}),
            (3, "egain_tokend_fetch_duration_seconds_bucket", {"le": "+Inf"}),
            (3, "egain_tokend_cache_stored_total", {}),
            (3, "egain_tokend_cache_entries", {}),
            (1, "egain_tokend_other_requests_total", {"outcome": "answered"}),
            (9, "egain_tokend_connections_accepted_total", {}),
        ]:
            assert growth(before, after, name, **labels) == amount, (name, labels)

    def test_coalesced(self, daemon, issuer, subject):
        before = scrape(daemon)
        issuer.behave(hold=True, count=1)
        with Fleet(daemon.unix, 10) as fleet:
            fleet.send(ask_bytes(subject))
            issuer.wait_for("requests", 1)

            def waiting():
                now = scrape(daemon)
                return now.value("egain_tokend_waiters") == 10 and now

            now = eventually(waiting, "all to wait")
            assert now.value("egain_tokend_flights") == 1
            assert now.value("egain_tokend_fetches_in_flight") == 1
            assert now.value("egain_tokend_issuer_in_flight", url=issuer.url(PORTAL)) == 1
            issuer.release()
            fleet.collect()
        after = scrape(daemon)
        assert growth(before, after, "egain_tokend_coalesced_total") == 9
        assert growth(before, after, "egain_tokend_tokens_served_total", collapsed="true") == 9
        assert after.value("egain_tokend_waiters") == after.value("egain_tokend_flights") == 0

    def test_durations(self, daemon, issuer, subject):
        before = scrape(daemon)
        issuer.behave(delay_ms=300, count=1)
        daemon.ask(subject)
        after = scrape(daemon)

        def buckets(le):
            return growth(before, after, "egain_tokend_fetch_duration_seconds_bucket", le=le)

        assert (buckets("0.25"), buckets("15"), buckets("+Inf")) == (0, 1, 1)
        took = growth(before, after, "egain_tokend_fetch_duration_seconds_sum")
        assert 0.29 <= took < 15  # the issuer counts in milliseconds

    def test_reasons(self, daemon, issuer, subject):
        before = scrape(daemon)
        daemon.ask("")
        daemon.ask(subject, client_id="nobody")
        daemon.request("GET", "/v1/token")
        daemon.request("PUT", "/oauth2/token", body=b"")
        daemon.request("GET", "/nowhere")
        daemon.request("GET", f"/v1/explain?client_id=nobody&subject_username={subject}")
        issuer.behave(status=400, body='{"error":"invalid_grant"}', count=1)
        assert daemon.ask(subject).status == 400
        after = scrape(daemon)
        for reason, amount in {
            "empty_subject": 1,
            "unknown_client": 1,
            "no_metadata_header": 1,
            "bad_method": 1,
            "subject_refused": 1,
        }.items():
            labels = {"outcome": "refused", "reason": reason}
            assert growth(before, after, "egain_tokend_requests_total", **labels) == amount, reason
        assert growth(before, after, "egain_tokend_requests_total", outcome="failed") == 0
        for reason in ("not_found", "unknown_client"):
            assert growth(before, after, "egain_tokend_other_requests_total", reason=reason) == 1
        labels = {"client": "portal", "result": "subject_refused"}
        assert growth(before, after, "egain_tokend_fetches_total", **labels) == 1

    def test_an_issuer_that_fails(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        first = daemon.ask(subject)
        issuer.reset()
        issuer.behave(status=500)
        assert daemon.ask(subject, rejected_token_sha256=digest(first)).status == 503
        url = issuer.url(PORTAL)

        def opened():
            daemon.ask(f"{subject}-{opened.n}")
            opened.n += 1
            now = scrape(daemon)
            return now.value("egain_tokend_breaker_state", url=url, state="open") == 1 and now

        opened.n = 0
        now = eventually(opened, "the breaker to open")
        states = now.all("egain_tokend_breaker_state", url=url)
        assert sorted(states.values()) == [0, 0, 0, 1]
        assert now.value("egain_tokend_breaker_openings_total", url=url) == 1
        assert now.value("egain_tokend_issuer_failures_in_a_row", url=url) >= 5
        failed = now.sum("egain_tokend_fetches_total", client="portal", result="issuer_error")
        assert failed == issuer.requests()
        assert now.sum("egain_tokend_requests_total", outcome="failed") > 0
        ago = time.time() - now.value(
            "egain_tokend_issuer_last_success_timestamp_seconds", url=url
        )
        assert -1 < ago < TIMEOUT
        issuer.reset()

    def test_an_issuer_that_throttles(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        issuer.behave(status=429, body="", headers={"Retry-After": "30"}, count=1)
        expect.unavailable(daemon.ask(subject))
        now = scrape(daemon)
        url = issuer.url(PORTAL)
        assert now.value("egain_tokend_breaker_state", url=url, state="held") == 1
        assert now.value("egain_tokend_issuer_holds_total", url=url) == 1
        labels = {"client": "portal", "result": "issuer_throttles"}
        assert now.value("egain_tokend_fetches_total", **labels) == 1

    def test_secrets(self, start_daemon, issuer, subject):
        client = Client("late", "late-id", PORTAL.secret, PORTAL.tenant, READ)
        issuer.accept(client, "another-s3cret-4711")
        daemon = start_daemon(clients=[client, CRM])
        end = int(time.time()) // 86400 * 86400 + 10 * 86400
        assert daemon.ask(subject, client_id="late").status == 502
        now = scrape(daemon)
        assert now.value("egain_tokend_client_held", client="late") == 1
        assert now.value("egain_tokend_client_held", client="crm") == 0
        assert "egain_tokend_client_secret_left_seconds" not in now.names()

        daemon.settings["clients"][0] |= {
            "client_secret_expires": time.strftime("%Y-%m-%d", time.gmtime(end))
        }
        daemon.stop()
        daemon.start()
        left = scrape(daemon).value(
            "egain_tokend_client_secret_left_seconds", client="late", secret="current"
        )
        assert abs(end - time.time() - left) < 5

    def test_cache(self, start_daemon, issuer, subject):
        daemon = start_daemon(cache={"max_entries": 2})
        for number in range(5):
            daemon.ask(f"{subject}-{number}")
        daemon.request("DELETE", "/v1/tokens?client_id=portal")
        now = scrape(daemon)
        assert now.value("egain_tokend_cache_max_entries") == 2
        assert now.value("egain_tokend_cache_entries") == 0
        evictions = {
            dict(labels)["cause"]: value
            for labels, value in now.all("egain_tokend_cache_evictions_total").items()
        }
        assert evictions == {
            "entries": 3,
            "purged": 2,
            "memory": 0,
            "expired": 0,
            "removed": 0,
            "refused_too_large": 0,
        }

    @needs_root
    def test_quota(self, start_daemon, issuer, subject):
        daemon = start_daemon(callers=[rule("few", user="root", fetches="2/1h", monitor=True)])
        statuses = [daemon.ask(f"{subject}-{number}").status for number in range(5)]
        assert statuses == [200, 200, 429, 429, 429]
        now = scrape(daemon)
        assert now.value("egain_tokend_quota_refusals_total") == 3
        labels = {"outcome": "refused", "reason": "fetches_spent"}
        assert now.value("egain_tokend_requests_total", **labels) == 3

    def test_audit_and_secrets_sent(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        daemon.ask(subject, client_secret="whatever")
        daemon.ask(subject)
        daemon.ask(subject, client_id="nobody")
        now = scrape(daemon)
        assert now.value("egain_tokend_client_secrets_sent_total") == 1
        assert now.value("egain_tokend_audit_records_total", queue="grants") == 1
        assert now.value("egain_tokend_audit_folded_total") == 0  # one hit: nothing to count it in
        assert now.value("egain_tokend_audit_records_total", queue="refusals") == 1
        assert now.sum("egain_tokend_audit_records_dropped_total") == 0

    def test_reloads(self, start_daemon, issuer):
        daemon = start_daemon()
        assert scrape(daemon).value("egain_tokend_config_generation") == 1
        daemon.reload(callers=[rule("all", user="root", monitor=True)])
        daemon.path.write_text("nonsense")
        daemon.terminate(1)
        daemon.output.wait_for("the old one stays")
        now = scrape(daemon)
        assert now.value("egain_tokend_config_generation") == 2
        assert now.value("egain_tokend_reloads_total", result="done") == 1
        assert now.value("egain_tokend_reloads_total", result="failed") == 1


class TestProcess:
    def test_agrees_with_proc(self, daemon):
        pid = daemon.process.pid
        with Connection(daemon.unix) as connection:
            response = connection.request("GET", "/metrics")
            now = Metrics(response.body.decode())
            n_fds = len(os.listdir(f"/proc/{pid}/fd"))
        assert now.value("process_open_fds") == n_fds
        assert now.value("process_max_fds") >= n_fds
        with open(f"/proc/{pid}/statm") as statm:
            pages = int(statm.read().split()[1])
        resident = now.value("process_resident_memory_bytes")
        assert abs(resident - pages * os.sysconf("SC_PAGESIZE")) < 16 << 20
        assert now.value("process_virtual_memory_bytes") > resident
        assert abs(daemon.cpu_seconds() - now.value("process_cpu_seconds_total")) < 0.5
        with open("/proc/uptime") as uptime, open(f"/proc/{pid}/stat") as stat:
            ticks = int(stat.read().rpartition(")")[2].split()[19])
            booted = time.time() - float(uptime.read().split()[0])
        started = booted + ticks / os.sysconf("SC_CLK_TCK")
        assert abs(now.value("process_start_time_seconds") - started) < 0.5
        assert 0 <= now.value("egain_tokend_uptime_seconds") < time.time() - started + 1
        assert now.value("egain_tokend_build_info", version="0.1.0") == 1


@needs_root
class TestRights:
    RULES = (
        {"name": "scraper", "user": SCRAPER.pw_name, "monitor": True},
        rule("app", user=OTHER.pw_name),
    )

    def test_without_rules(self, daemon):
        """Whoever may have tokens may look, on any listener."""
        for address in (daemon.unix, daemon.tcp4, daemon.tcp6):
            assert scrape(daemon, address).names()
            for path in ("/metrics", "/v1/status"):
                response = daemon.request("GET", path, address=As(SCRAPER, address))
                expect.error(response, 403, "access_denied")

    def test_rules(self, start_daemon, issuer):
        daemon = start_daemon(callers=self.RULES)
        for address in (daemon.unix, daemon.tcp4, daemon.tcp6):
            for path in ("/metrics", "/v1/status"):
                assert daemon.request("GET", path, address=As(SCRAPER, address)).status == 200
                response = daemon.request("GET", path, address=As(OTHER, address))
                assert "monitor = true" in expect.error(response, 403, "access_denied")
                root = daemon.request("GET", path, address=address)
                if address == daemon.unix:
                    assert root.status == 200
                else:
                    expect.error(root, 403, "access_denied")
            # To look is not to have.
            response = daemon.ask("pa", address=As(SCRAPER, address))
            expect.error(response, 403, "access_denied")

    def test_key(self, start_daemon, issuer):
        """Prometheus sends one as basic_auth, where a rule asks for it."""
        daemon = start_daemon()
        key = daemon.put_key("scraper", "key-of-the-scraper-0815")
        daemon.reload(
            callers=[{"name": "s", "user": SCRAPER.pw_name, "key_file": str(key), "monitor": True}]
        )
        address = As(SCRAPER, daemon.tcp4)
        expect.error(daemon.request("GET", "/metrics", address=address), 401, "invalid_client")
        basic = base64.b64encode(b"prometheus:key-of-the-scraper-0815").decode()
        headers = [("Authorization", f"Basic {basic}")]
        assert daemon.request("GET", "/metrics", headers, address=address).status == 200


def names_in(text):
    return set(re.findall(r"\b(?:egain_tokend|process)_\w+", text))


class TestShipped:
    """What conf/ names is there, and what else is relied on."""

    @pytest.fixture(scope="class")
    def known(self, issuer_process):
        from harness import Daemon

        issuer_process.reset()
        with Daemon(issuer_process, clients=[PORTAL]) as daemon:
            daemon.settings["clients"][0]["client_secret_expires"] = "2999-01-01"
            daemon.stop()
            daemon.start()
            daemon.ask("pa")
            yield scrape(daemon)

    def test_families(self, known):
        labels = {}
        for name, pairs in known.samples:
            labels.setdefault(name, set()).add(frozenset(label for label, _ in pairs))
        for name, expected in FAMILIES.items():
            assert labels.get(name) == {frozenset(expected)}, name

    @pytest.mark.parametrize("path", [RULES, RULES_TEST, DASHBOARD], ids=lambda path: path.name)
    def test_every_metric_exists(self, known, path):
        named = names_in(path.read_text())
        assert len(named) > 10
        assert named - known.names() == set()

    def test_every_label_exists(self, known):
        """What the expressions select and group by."""
        labels = {name for _, pairs in known.samples for name, _ in pairs} | {"job", "instance"}
        queries = RULES.read_text() + json.dumps(json.loads(DASHBOARD.read_text()))
        queries = queries.replace('\\"', '"')
        used = set(re.findall(r'[{,]\s*(\w+)=?[=~!]~?"', queries))
        for grouped in re.findall(r"\b(?:by|on) \(([\w, ]+)\)", queries):
            used |= {name.strip() for name in grouped.split(",")}
        assert {"url", "state", "outcome"} <= used
        assert used - labels == set()

    def test_dashboard(self):
        dashboard = json.loads(DASHBOARD.read_text())
        panels = dashboard["panels"]
        assert len(panels) >= 12
        assert len({panel["id"] for panel in panels}) == len(panels)
        places = set()
        for panel in panels:
            assert panel["title"] and panel["targets"]
            where = panel["gridPos"]
            assert where["x"] + where["w"] <= 24
            for x in range(where["x"], where["x"] + where["w"]):
                for y in range(where["y"], where["y"] + where["h"]):
                    assert (x, y) not in places, panel["title"]
                    places.add((x, y))

    @needs_prometheus
    def test_expressions_of_the_dashboard_are_well_formed(self, tmp_path):
        """promtool judges rules, so each is made one."""
        expressions = [
            target["expr"]
            for panel in json.loads(DASHBOARD.read_text())["panels"]
            for target in panel["targets"]
        ]
        rules = [
            {"record": f"r{number}", "expr": re.sub(r"\$__(rate_)?interval", "5m", expression)}
            for number, expression in enumerate(expressions)
        ]
        path = tmp_path / "rules.yml"
        path.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
        run = promtool("check", "rules", path)
        assert run.returncode == 0, run

    @needs_prometheus
    def test_rules(self):
        for words in (("check", "rules", RULES), ("test", "rules", RULES_TEST)):
            run = promtool(*words)
            assert run.returncode == 0, run

    def test_every_alert_is_tested(self):
        alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
        tested = set(re.findall(r"alertname: (\w+)", RULES_TEST.read_text()))
        assert set(alerts) == tested


class Prometheus(Program):
    """A real one, that scrapes a daemon over loopback and has the shipped rules."""

    def __init__(self, daemon, user):
        super().__init__()
        self.directory = scratch_directory()
        self.port = free_port()
        job = {
            "job_name": "egain-tokend",
            "static_configs": [{"targets": [f"127.0.0.1:{daemon.port}"]}],
        }
        configuration = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
            "rule_files": [str(self.directory / RULES.name)],
            "scrape_configs": [job],
        }
        path = self.directory / "prometheus.yml"
        path.write_text(json.dumps(configuration))
        shutil.copy(RULES, self.directory)
        (self.directory / "data").mkdir()
        if user:
            os.chown(self.directory / "data", user.pw_uid, user.pw_gid)
        command = [
            "prometheus",
            f"--config.file={path}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self.spawn([*(become(user) if user else ()), *command], env=environment(), cwd="/")
        self.output.wait_for("Server is ready to receive web requests")

    def close(self):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def get(self, path):
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=TIMEOUT) as answer:
            return json.load(answer)["data"]

    def target(self, health):
        """The daemon, as it sees it, once its health is this."""

        def known():
            targets = self.get("targets")["activeTargets"]
            return targets and targets[0]["health"] == health and targets[0]

        return eventually(known, f"the daemon to be {health}", interval=0.1)

    def query(self, expression):
        answer = self.get("query?query=" + expression)["result"]
        return {json.dumps(one["metric"], sort_keys=True): one["value"][1] for one in answer}

    def alerts(self):
        """The state of every rule."""
        (group,) = self.get("rules")["groups"]
        for one in group["rules"]:
            assert one["health"] != "err", one
        return {one["name"]: one["state"] for one in group["rules"]}

    def wait_for(self, alert, *states):
        return eventually(
            lambda: self.alerts()[alert] in states, f"{alert} to be {states}", interval=0.1
        )


@needs_root
@needs_prometheus
class TestPrometheus:
    @pytest.fixture
    def user(self):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam("prometheus")
        return SCRAPER

    @pytest.fixture
    def ruled(self, start_daemon, user):
        """As README says."""
        scraper = {"name": "prometheus", "user": user.pw_name, "monitor": True}
        return start_daemon(callers=[scraper, rule("app", user="root")])

    @pytest.fixture
    def prometheus(self, ruled, user):
        with contextlib.closing(Prometheus(ruled, user)) as prometheus:
            yield prometheus

    def test_scrapes_and_alerts(self, ruled, issuer, prometheus, subject):
        prometheus.target("up")
        daemon = ruled
        for _ in range(3):
            assert daemon.ask(subject).status == 200
        eventually(
            lambda: list(prometheus.query("egain_tokend_cache_hits_total").values()) == ["2"],
            "the hits to be seen",
            interval=0.1,
        )
        assert list(prometheus.query("up").values()) == ["1"]

        def evaluated():
            group = prometheus.get("rules")["groups"][0]
            return all(one["health"] == "ok" for one in group["rules"])

        eventually(evaluated, "the rules to be evaluated", interval=0.1)
        assert set(prometheus.alerts().values()) == {"inactive"}

        # It asks for fewer requests: at once.
        issuer.behave(status=429, body="", headers={"Retry-After": "1"}, count=1)
        expect.unavailable(daemon.ask(f"other-{subject}"))
        prometheus.wait_for("EgainTokendIssuerThrottles", "firing")
        assert prometheus.alerts()["EgainTokendClientRefused"] == "inactive"

        # It refuses our secret: if it stays so for a minute.
        issuer.accept(PORTAL, "another-s3cret-4711")
        eventually(
            lambda: daemon.ask(f"refused-{subject}").status == 502, "the secret to be refused"
        )
        prometheus.wait_for("EgainTokendClientRefused", "pending", "firing")
        issuer.accept(PORTAL, PORTAL.secret)

        # It is gone.
        assert prometheus.alerts()["EgainTokendDown"] == "inactive"
        daemon.stop()
        prometheus.wait_for("EgainTokendDown", "pending", "firing")

    def test_without_the_right(self, start_daemon, user, issuer):
        daemon = start_daemon(callers=[rule("app", user="root")])
        with contextlib.closing(Prometheus(daemon, user)) as prometheus:
            target = prometheus.target("down")
            assert "403" in target["lastError"]


def test_a_scrape_is_cheap(start_daemon, issuer):
    """With all the client applications and token URLs there may be, and labels at their longest."""
    clients = [
        Client(f"{'c' * 60}{number:04}", f"id-{number}", "secret-0815-xyz", f"T{number}", READ)
        for number in range(1000)
    ]
    daemon = start_daemon(clients=clients)
    began = daemon.cpu_seconds()
    now = scrape(daemon)
    took = daemon.cpu_seconds() - began
    assert len(now.all("egain_tokend_client_held")) == 1000
    assert len(now.all("egain_tokend_breaker_state")) == 8000
    print(f"{len(now.text)} bytes in {took:.3f} s")
    assert took < 2  # with the sanitizers
