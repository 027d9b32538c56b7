# SPDX-License-Identifier: MIT
"""GET /v1/explain: every part of it in every state, and that looking on changes nothing.

That there is never a token or a secret in it is checked for every answer (see harness).
"""

import json
import os

import pytest

import expect
from harness import CRM, MANAGE, PORTAL, READ, Client, ask_bytes, question, rule
from test_policy import NOBODY, curl
from test_rejection import digest
from wire import eventually, form

LIFETIME_S = 4

ISSUER = {"token_url", "breaker", "open_for", "failures_in_a_row", "last_failure"}
MEMORY = {
    "reason",
    "refusal_for",
    "failure_for",
    "no_refresh_for",
    "no_fetch_for_rejection_for",
}
NOTHING_REMEMBERED = dict.fromkeys(MEMORY, 0) | {"reason": None}
ENTRY = {"state", "age", "expires_in", "refresh_in", "used", "rejected"}


def outcome(explanation):
    """Status, reason and sentence of what a request would meet."""
    part = explanation["outcome"]
    assert set(part) == {"status", "text", "blocked", "blocked_for"}
    assert part["text"].endswith(".")
    return part["status"], part["blocked"], part["text"]


WAITS = (200, None, "It waits for a fetch.")
JOINS = (200, None, "It waits for the fetch that is under way.")
HIT = "It is answered from memory."
OLD = "It is answered with the old token, because no new one can be fetched now."


class TestStates:
    def test_absent(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        for _ in range(2):
            explanation = daemon.explain(subject)
            assert set(explanation) == {
                "outcome",
                "permitted",
                "rule",
                "subject",
                "scope",
                "entry",
                "in_flight",
                "waiters",
                "memory",
                "issuer",
                "client",
            }
            assert outcome(explanation) == WAITS
            assert (explanation["permitted"], explanation["rule"]) == (True, "built-in")
            assert explanation["subject"] == {"kind": "username", "value": subject}
            assert explanation["scope"] == READ
            assert explanation["entry"] == {"state": "absent"}
            assert (explanation["in_flight"], explanation["waiters"]) == (False, 0)
            assert explanation["memory"] == NOTHING_REMEMBERED
            assert explanation["issuer"] == {
                "token_url": issuer.url(PORTAL),
                "breaker": "closed",
                "open_for": 0,
                "failures_in_a_row": 0,
                "last_failure": None,
            }
            assert explanation["client"] == {"name": "portal", "held_for": 0}
        # A dry run.
        assert issuer.requests() == 0

    def test_fresh(self, daemon, issuer, subject):
        expect.miss(daemon.ask(subject), subject)
        explanation = daemon.explain(subject)
        assert outcome(explanation) == (200, None, HIT)
        entry = explanation["entry"]
        assert set(entry) == ENTRY
        assert entry["state"] == "fresh"
        assert 0 <= entry["age"] <= 5
        assert 3590 <= entry["expires_in"] <= 3600
        # An hour less a fifth of it, give or take a tenth of that.
        assert 3600 - 792 - 10 <= entry["refresh_in"] <= 3600 - 648 + 1
        assert (entry["used"], entry["rejected"]) == (False, False)
        assert explanation["issuer"]["last_success_ago"] <= 5
        # Asking for it is a use; looking at it is none.
        assert daemon.explain(subject)["entry"]["used"] is False
        expect.hit(daemon.ask(subject), subject)
        assert daemon.explain(subject)["entry"]["used"] is True
        assert issuer.requests() == 1

    def test_due_and_gone(self, daemon, issuer, subject):
        """Looking on begins no refresh, and the entry runs out unused."""
        issuer.behave(lifetime=LIFETIME_S)
        expect.miss(daemon.ask(subject), subject)

        def state(wanted):
            explanation = daemon.explain(subject)
            return explanation["entry"]["state"] == wanted and explanation

        explanation = eventually(lambda: state("due"), "the refresh point")
        assert explanation["entry"]["refresh_in"] == 0
        assert outcome(explanation) == (200, None, HIT)
        explanation = eventually(lambda: state("absent"), "its end")
        assert outcome(explanation) == WAITS
        assert issuer.requests() == 1

    def test_in_flight(self, daemon, issuer, subject):
        issuer.behave(hold=True)
        with daemon.connect() as first, daemon.connect() as second:
            first.send(ask_bytes(subject))
            issuer.wait_for("held", 1)
            second.send(ask_bytes(subject)).wait_until_read()
            daemon.settle()
            explanation = daemon.explain(subject)
            assert outcome(explanation) == JOINS
            assert (explanation["in_flight"], explanation["waiters"]) == (True, 2)
            assert explanation["entry"] == {"state": "absent"}
            issuer.release()
            expect.token(first.receive(), subject)
            expect.token(second.receive(), subject)
        assert daemon.explain(subject)["in_flight"] is False

    def test_rejected(self, daemon, issuer, subject):
        """Spent for everybody but its reporters, to whom it is nothing."""
        first = daemon.ask(subject)
        report = {"rejected_token_sha256": digest(first)}
        issuer.behave(hold=True)
        with daemon.connect() as reporter:
            reporter.send(ask_bytes(subject, **report))
            issuer.wait_for("held", 1)
            explanation = daemon.explain(subject)
            assert explanation["entry"]["rejected"] is True
            assert outcome(explanation) == JOINS
            issuer.release()
            second = reporter.receive()
        expect.token(second, subject)
        report = {"rejected_token_sha256": digest(second)}
        # Looking on with a report is no report.
        explanation = daemon.explain(subject, **report)
        assert explanation["entry"]["rejected"] is False
        assert outcome(daemon.explain(subject)) == (200, None, HIT)
        assert 1 <= explanation["memory"]["no_fetch_for_rejection_for"] <= 5

        expect.unavailable(daemon.ask(subject, **report))
        explanation = daemon.explain(subject, **report)
        assert outcome(explanation)[:2] == (503, "rejected_again")
        assert 1 <= explanation["outcome"]["blocked_for"] <= 5
        assert outcome(daemon.explain(subject)) == (200, "rejected_again", OLD)

    def test_min_ttl(self, daemon, issuer, subject):
        expect.miss(daemon.ask(subject), subject)
        explanation = daemon.explain(subject, min_ttl="3600")
        assert outcome(explanation) == (200, None, HIT), "a young token satisfies any"

    def test_refusal_remembered(self, daemon, issuer, subject):
        issuer.behave(error="invalid_grant")
        expect.error(daemon.ask(subject), 400, "invalid_grant")
        explanation = daemon.explain(subject)
        assert outcome(explanation)[:2] == (400, "subject_refused")
        assert 1 <= explanation["outcome"]["blocked_for"] <= 10
        memory = explanation["memory"]
        assert set(memory) == MEMORY
        assert memory["reason"] == "subject_refused"
        assert 1 <= memory["refusal_for"] <= 10
        assert (memory["failure_for"], memory["no_refresh_for"]) == (0, 0)
        assert explanation["issuer"]["breaker"] == "closed"
        # It is this grant's, not another's.
        assert daemon.explain(f"other-{subject}")["memory"] == NOTHING_REMEMBERED
        assert daemon.explain(subject, scope=MANAGE)["memory"] == NOTHING_REMEMBERED

    def test_failure_remembered(self, daemon, issuer, subject):
        issuer.behave(subject=f"username:{subject}", status=500, body="oops")
        expect.unavailable(daemon.ask(subject))
        explanation = daemon.explain(subject)
        memory = explanation["memory"]
        assert memory["reason"] == "issuer_error"
        assert memory["failure_for"] <= 1
        assert 1 <= memory["no_refresh_for"] <= 5
        assert memory["refusal_for"] == 0
        health = explanation["issuer"]
        assert set(health) >= ISSUER | {"last_failure_text", "last_failure_ago"}
        assert health["last_failure"] == "issuer_error"
        assert "error of its own" in health["last_failure_text"]
        assert health["last_failure_ago"] <= 5
        assert health["failures_in_a_row"] == 3
        assert health["breaker"] == "closed"

    def test_breaker(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        expect.miss(daemon.ask(f"live-{subject}"), f"live-{subject}")
        issuer.behave(status=500, body="oops")

        def health():
            return daemon.explain(subject)["issuer"]

        for number in range(2):
            expect.unavailable(daemon.ask(f"{number}-{subject}"))
        expect.unavailable(daemon.ask(f"2-{subject}"))
        explanation = daemon.explain(subject)
        assert explanation["issuer"]["breaker"] == "open"
        assert 1 <= explanation["issuer"]["open_for"] <= 2
        assert explanation["issuer"]["failures_in_a_row"] >= 5
        assert outcome(explanation)[:2] == (503, "breaker_open")
        # It never hides what is there.
        assert outcome(daemon.explain(f"live-{subject}")) == (200, "breaker_open", HIT)
        eventually(lambda: health()["breaker"] == "half-open", "the breaker to be half-open")
        assert outcome(daemon.explain(subject)) == WAITS
        issuer.reset()
        expect.miss(daemon.ask(subject), subject)
        assert health()["breaker"] == "closed"
        assert health()["failures_in_a_row"] == 0
        # What was last wrong can still be read.
        assert health()["last_failure"] == "issuer_error"

    def test_held(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        issuer.behave(status=429, body="", headers={"Retry-After": "60"})
        expect.unavailable(daemon.ask(subject))
        explanation = daemon.explain(f"other-{subject}")
        assert outcome(explanation)[:2] == (503, "issuer_throttles")
        assert 50 <= explanation["outcome"]["blocked_for"] <= 60
        assert explanation["issuer"]["breaker"] == "held"
        assert 50 <= explanation["issuer"]["open_for"] <= 60
        # Another URL is not.
        assert daemon.explain(subject, "email")["issuer"]["breaker"] == "closed"

    def test_client_held(self, start_daemon, issuer, subject):
        client = Client("held", "held", "held-secret", "HELD", READ)
        issuer.accept(client, "another")
        daemon = start_daemon(clients=[client, CRM])
        expect.error(daemon.ask(subject, client_id="held"), 502, "server_error")
        explanation = daemon.explain(f"other-{subject}", client_id="held")
        assert outcome(explanation)[:2] == (502, "credentials_refused")
        assert 1 <= explanation["client"]["held_for"] <= 30
        assert explanation["issuer"]["breaker"] == "closed"
        assert daemon.explain(subject, client_id="crm")["client"]["held_for"] == 0

    def test_client_unauthorized(self, start_daemon, issuer, subject):
        """Remembered for client application and scope, whoever the subject is."""
        daemon = start_daemon()
        issuer.behave(error="unauthorized_client")
        expect.error(daemon.ask(subject), 502, "server_error")
        explanation = daemon.explain(f"other-{subject}")
        assert outcome(explanation)[:2] == (502, "client_unauthorized")
        assert outcome(daemon.explain(subject, scope=MANAGE)) == WAITS


class TestRequest:
    def test_the_key_is_canonical(self, daemon, subject):
        explanation = daemon.explain(subject, scope=f"{READ} {MANAGE} {READ}")
        assert explanation["scope"] == f"{MANAGE} {READ}"
        assert daemon.explain(subject, "email")["subject"] == {"kind": "email", "value": subject}
        assert daemon.explain(subject, scope=None)["scope"] == READ

    def test_subjects_of_any_letters(self, daemon):
        for name in ('quote"back\\slash', "ünïcödé 日本", "a/b?c=d&e#f", "</script>"):
            assert daemon.explain(name)["subject"]["value"] == name

    def test_client_by_name_and_client_id(self, daemon, issuer, subject):
        for name in ("crm", CRM.client_id):
            explanation = daemon.explain(subject, client_id=name)
            assert explanation["client"]["name"] == "crm"
            assert explanation["issuer"]["token_url"] == issuer.url(CRM)

    @pytest.mark.parametrize("address", ["unix", "tcp4", "tcp6"])
    def test_on_every_listener(self, daemon, subject, address):
        daemon.explain(subject, address=getattr(daemon, address))

    def test_head(self, daemon, subject):
        target = "/v1/explain?" + form(question(subject)).decode()
        response = daemon.request("GET", target)
        assert response.header("Content-Type") == "application/json"
        expect.not_stored(response)
        assert daemon.request("HEAD", target).status == 405
        assert daemon.request("POST", target, body=b"").status == 405

    BAD = {
        "no subject": {"subject_username": None},
        "two subjects": {"subject_userid": "x"},
        "empty subject": {"subject_username": ""},
        "long subject": {"subject_username": "x" * 257},
        "control character": {"subject_username": "a\nb"},
        "min_ttl": {"min_ttl": "soon"},
        "rejected_token_sha256": {"rejected_token_sha256": "abc"},
        "grant_type": {"grant_type": "client_credentials"},
        "scope": {"scope": 'a"b'},
    }

    @pytest.mark.parametrize("name", BAD)
    def test_bad_input_as_for_tokens(self, daemon, issuer, name):
        parameters = {
            key: value
            for key, value in (question("a") | self.BAD[name]).items()
            if value is not None
        }
        response = daemon.request("GET", "/v1/explain?" + form(parameters).decode())
        as_token = daemon.post(parameters)
        assert (response.status, response.json()) == (as_token.status, as_token.json())
        expect.error(response, 400, response.json()["error"])
        assert issuer.requests() == 0

    def test_a_scope_that_the_rule_does_not_give(self, start_daemon, issuer):
        me = str(os.geteuid())
        daemon = start_daemon(callers=[rule("reader", user=me, scopes=[READ])])
        parameters = question("pa", scope=f"{READ} {MANAGE}")
        response = daemon.request("GET", "/v1/explain?" + form(parameters).decode())
        assert f"scope {MANAGE};" in expect.error(response, 403, "access_denied")
        as_token = daemon.post(parameters)
        assert (response.status, response.json()) == (as_token.status, as_token.json())
        assert issuer.requests() == 0

    def test_unknown_client(self, daemon):
        target = "/v1/explain?" + form(question("a", client_id="nobody")).decode()
        expect.error(daemon.request("GET", target), 401, "invalid_client")

    def test_no_url_for_this_kind(self, daemon):
        target = "/v1/explain?" + form(question("a", "email", client_id="staff")).decode()
        expect.error(daemon.request("GET", target), 400, "unauthorized_client")


class TestStrangers:
    @pytest.mark.parametrize("listener", ["unix", "tcp4", "tcp6"])
    def test_they_learn_nothing(self, daemon, issuer, subject, listener):
        """Neither of what is there nor of what is not: one answer to all."""
        expect.miss(daemon.ask(subject), subject)
        answers = set()
        for name in (subject, f"absent-{subject}"):
            target = "/v1/explain?" + form(question(name)).decode()
            status, body = curl(daemon, listener, target, NOBODY)
            assert (status, json.loads(body)["error"]) == (403, "access_denied")
            answers.add(body)
        assert len(answers) == 1

    @pytest.mark.parametrize(
        "header",
        [("Origin", "http://localhost"), ("X-Forwarded-For", "10.0.0.1"), ("Host", "evil.example")],
        ids=lambda header: header[0],
    )
    def test_browsers_and_proxies(self, daemon, subject, header):
        target = "/v1/explain?" + form(question(subject)).decode()
        host = {"host": None} if header[0] == "Host" else {}
        response = daemon.request("GET", target, [header], address=daemon.tcp4, **host)
        expect.error(response, 403, "access_denied")
