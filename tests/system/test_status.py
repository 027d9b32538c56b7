# SPDX-License-Identifier: MIT
"""GET /v1/status: what it says in every state of an issuer and a client application.

Who may see it is in test_metrics.py.
"""

import time

import pytest

import expect
from harness import CLIENTS, CRM, PORTAL, READ, STAFF, Client, ask_bytes
from scrape import scrape
from test_outage import open_breaker
from test_rejection import digest
from wire import Fleet, eventually

URL = {
    "for",
    "token_url",
    "state",
    "health",
    "last_success_ago",
    "last_failure",
    "in_flight",
    "queued",
}
NUMBERS = {
    "tokens": {"entries", "max_entries", "bytes", "max_bytes", "evicted"},
    "requests": {"all", "hits", "misses", "coalesced", "waiting"},
    "fetches": {"all", "tokens", "in_flight"},
    "audit": {"grants", "refusals", "folded", "dropped", "withheld", "queued"},
    "connections": {"open", "max", "refused"},
}


def status(daemon, address=None):
    """What it says; never a token or a secret."""
    response = daemon.request("GET", "/v1/status", address=address)
    assert response.status == 200, response
    assert response.header("Content-Type") == "application/json"
    expect.not_stored(response)
    daemon.check_answer(response.body.decode())
    return response.json()


def url_of(said, client=PORTAL, audience="users"):
    (found,) = [one for one in said["clients"] if one["name"] == client.name]
    (url,) = [one for one in found["token_urls"] if one["for"] == audience]
    assert set(url) == URL
    return url


def test_everything_is_there(start_daemon, issuer):
    daemon = start_daemon()
    for address in (daemon.unix, daemon.tcp4, daemon.tcp6):
        said = status(daemon, address)
        assert set(said) == {
            *NUMBERS,
            "version",
            "uptime",
            "configuration",
            "draining",
            "rules",
            "clients",
        }
        assert said["version"] == "0.1.0"
        assert 0 <= said["uptime"] < 60
        assert (said["configuration"], said["draining"], said["rules"]) == (1, False, 0)
        for name, members in NUMBERS.items():
            assert set(said[name]) == members
            assert all(type(number) is int for number in said[name].values())
        assert [one["name"] for one in said["clients"]] == [one.name for one in CLIENTS]
        for client, one in zip(CLIENTS, said["clients"]):
            assert set(one) == {"name", "secret_expires_in", "token_urls"}
            assert one["secret_expires_in"] == {}
            kinds = {"user": "users", "customer": "customers"}
            assert [url["for"] for url in one["token_urls"]] == [
                kinds[kind] for kind in client.kinds
            ]
            for kind in client.kinds:
                assert url_of(said, client, kinds[kind]) == {
                    "for": kinds[kind],
                    "token_url": issuer.url(client, kind),
                    "state": "unknown",
                    "health": "Not asked yet.",
                    "last_success_ago": None,
                    "last_failure": None,
                    "in_flight": 0,
                    "queued": 0,
                }
    assert len(said["clients"]) == 3 and url_of(said, STAFF)


def test_agrees_with_the_metrics(daemon, subject):
    for _ in range(3):
        daemon.ask(subject)
    daemon.ask(subject, client_id="nobody")
    said, metrics = status(daemon), scrape(daemon)
    for name, (section, member) in {
        "egain_tokend_cache_entries": ("tokens", "entries"),
        "egain_tokend_cache_bytes": ("tokens", "bytes"),
        "egain_tokend_cache_max_bytes": ("tokens", "max_bytes"),
        "egain_tokend_cache_hits_total": ("requests", "hits"),
        "egain_tokend_cache_misses_total": ("requests", "misses"),
        "egain_tokend_requests_total": ("requests", "all"),
        "egain_tokend_fetches_begun_total": ("fetches", "all"),
        "egain_tokend_audit_folded_total": ("audit", "folded"),
        "egain_tokend_max_connections": ("connections", "max"),
    }.items():
        assert metrics.sum(name) == said[section][member], name


def test_no_subject(daemon, subject):
    daemon.ask(f"visible-{subject}")
    for path in ("/v1/status", "/metrics"):
        text = daemon.request("GET", path).body.decode()
        assert subject not in text and READ not in text


class TestStates:
    def test_well(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        daemon.ask(subject)
        said = url_of(status(daemon))
        assert (said["state"], said["health"]) == ("well", "Well.")
        assert said["last_success_ago"] in (0, 1)
        assert said["last_failure"] is None
        # Each has its own.
        assert url_of(status(daemon), PORTAL, "customers")["state"] == "unknown"
        assert url_of(status(daemon), CRM)["state"] == "unknown"

    def test_failing(self, start_daemon, issuer, subject):
        """Not yet so often that it is left alone."""
        daemon = start_daemon()
        daemon.ask(subject)
        issuer.behave(status=500, count=3)
        expect.unavailable(daemon.ask(f"other-{subject}"))
        said = url_of(status(daemon))
        assert said["state"] == "failing"
        assert said["health"].startswith("Failing for ")
        assert said["health"].endswith(" s, 3 in a row; is still asked.")
        assert said["last_failure"]["reason"] == "issuer_error"
        assert set(said["last_failure"]) == {"reason", "text", "ago"}
        assert said["last_failure"]["text"].endswith(".")
        assert said["last_failure"]["ago"] in (0, 1)

    def test_open(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        issuer.behave(status=500)
        open_breaker(daemon, subject)

        def is_open():
            said = url_of(status(daemon))
            return said["state"] == "open" and said

        said = eventually(is_open, "the breaker to be open")
        assert "nothing is asked for" in said["health"] and said["health"].startswith("Failing for")
        assert said["last_failure"]["reason"] == "issuer_error"
        assert said["last_success_ago"] is None

        eventually(lambda: url_of(status(daemon))["state"] == "probing", "a probe to be due")
        issuer.reset()
        expect.miss(daemon.ask(f"well-{subject}"), f"well-{subject}")
        said = url_of(status(daemon))
        assert (said["state"], said["health"]) == ("well", "Well.")
        assert said["last_failure"]["reason"] == "issuer_error"  # it is still the last one

    def test_throttled(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        issuer.behave(status=429, body="", headers={"Retry-After": "30"}, count=1)
        daemon.ask(subject)
        said = url_of(status(daemon))
        assert said["state"] == "throttled"
        assert said["health"] in {
            f"The issuer asks for fewer requests; nothing is asked for {left} s."
            for left in (28, 29, 30)
        }
        assert said["last_failure"]["reason"] == "issuer_throttles"

    def test_held(self, start_daemon, issuer, subject):
        client = Client("late", "late-id", PORTAL.secret, "TMPRODB00000009", READ)
        issuer.accept(client, "another-s3cret-4711")
        daemon = start_daemon(clients=[client, PORTAL])
        assert daemon.ask(subject, client_id="late").status == 502
        said = url_of(status(daemon), client)
        assert said["state"] == "held"
        assert said["health"].startswith("The issuer refuses the client secret; nothing is asked")
        # The same holds at its other URL, and of nobody else.
        assert url_of(status(daemon), client, "customers")["state"] == "held"
        assert url_of(status(daemon), PORTAL)["state"] == "unknown"

    def test_in_flight_and_queued(self, start_daemon, issuer, subject):
        daemon = start_daemon(upstream={"max_in_flight": 2})
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 5) as fleet:
            for number, connection in enumerate(fleet.connections):
                connection.send(ask_bytes(f"{subject}-{number}"))
            issuer.wait_for("requests", 2)

            def queued():
                said = status(daemon)
                return said["requests"]["waiting"] == 5 and said

            said = eventually(queued, "all to wait")
            url = url_of(said)
            assert (url["in_flight"], url["queued"]) == (2, 3)
            assert said["fetches"]["in_flight"] == 2
            metrics = scrape(daemon)
            assert metrics.value("egain_tokend_issuer_queued", url=issuer.url(PORTAL)) == 3
            assert metrics.value("egain_tokend_issuer_in_flight", url=issuer.url(PORTAL)) == 2
        issuer.reset()

        def empty():
            url = url_of(status(daemon))
            return (url["in_flight"], url["queued"]) == (0, 0)

        eventually(empty, "all to land")


def test_expiry_of_secrets(start_daemon, issuer):
    daemon = start_daemon()
    today = int(time.time()) // 86400
    daemon.settings["clients"][0] |= {
        "client_secret_expires": time.strftime("%Y-%m-%d", time.gmtime((today - 2) * 86400)),
        "next_client_secret": "another-s3cret-0816",
        "next_client_secret_expires": time.strftime("%Y-%m-%d", time.gmtime((today + 9) * 86400)),
    }
    daemon.forbidden.add("another-s3cret-0816")
    daemon.stop()
    daemon.start()
    (portal, *others) = status(daemon)["clients"]
    left = portal["secret_expires_in"]
    assert set(left) == {"current", "next"}
    assert abs((today - 2) * 86400 - time.time() - left["current"]) < 5
    assert abs((today + 9) * 86400 - time.time() - left["next"]) < 5
    assert all(one["secret_expires_in"] == {} for one in others)


def test_draining(start_daemon, issuer, subject):
    """Connections that are open can still ask."""
    daemon = start_daemon()
    issuer.behave(hold=True)
    with daemon.connect() as waiting, daemon.connect() as asking:
        waiting.send(ask_bytes(subject))
        issuer.wait_for("requests", 1)
        daemon.terminate()
        daemon.output.wait_for("stopping")
        said = asking.request("GET", "/v1/status").json()
        assert said["draining"] is True
        assert said["requests"]["waiting"] == 1
        issuer.release()
        expect.miss(waiting.receive(), subject)


@pytest.mark.parametrize("rejected", [False, True])
def test_looking_changes_nothing(start_daemon, issuer, subject, rejected):
    daemon = start_daemon()
    first = daemon.ask(subject)
    if rejected:
        daemon.ask(subject, rejected_token_sha256=digest(first))
    requests = issuer.requests()
    before = daemon.explain(subject)
    for _ in range(20):
        status(daemon)
        scrape(daemon)
    after = daemon.explain(subject)
    for part in (before, after):
        for name in ("age", "expires_in", "refresh_in"):
            del part["entry"][name]
        part["issuer"].pop("last_success_ago")
    assert before == after
    assert issuer.requests() == requests
