# SPDX-License-Identifier: MIT
"""The grants beside on-behalf-of, as an application and the issuer see them: client credentials,
anonymous customers and token exchange, alone and all of them at once."""

import base64
import hashlib
import json
import os
import random
import time

import pytest

import expect
from harness import (
    CLIENTS,
    LOBBY,
    MANAGE,
    PORTAL,
    READ,
    REGISTRATIONS,
    STAFF,
    Daemon,
    Issuer,
    ask_bytes,
    rule,
)
from wire import drive, form, form_request

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"
ALL = (*CLIENTS, LOBBY)


def jwt(pad=0, **claims):
    """An external identity provider's token; `pad` more bytes in its signature."""
    parts = ({"alg": "RS256"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
    return ".".join(part.rstrip(b"=").decode() for part in encoded) + "." + "s" * (8 + pad)


def subject_token(who="anna", life=3600, **more):
    return jwt(sub=who, exp=int(time.time()) + life, **more)


def digest(token):
    return hashlib.sha256(token.encode()).hexdigest()


def application(client=PORTAL, scope=READ, **more):
    """The form that asks for the client application's own token."""
    asked = {"grant_type": "client_credentials", "client_id": client.name, "scope": scope, **more}
    return {name: value for name, value in asked.items() if value is not None}


def exchange(token, registration="okta-1", client=PORTAL, scope=READ, kind="access_token", **more):
    asked = {
        "grant_type": EXCHANGE,
        "client_id": client.name,
        "scope": scope,
        "registration_id": registration,
        "subject_token": token,
        "subject_token_type": kind and TYPE + kind,
        **more,
    }
    return {name: value for name, value in asked.items() if value is not None}


def exchanged(response, token, registration="okta-1", scope=READ, client=PORTAL):
    """The claims of a token that came of this subject token."""
    said = expect.token(response, registration, "exchange", scope, client)
    assert said["exchanged"] == digest(token)
    return said


@pytest.fixture(scope="module")
def issuer_process():
    with Issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def daemon_process(issuer_process):
    with Daemon(issuer_process, clients=ALL) as daemon:
        yield daemon


class TestClientCredentials:
    def test_a_token_of_its_own(self, daemon, issuer):
        response = daemon.post(application(client_secret="anything"))
        said = expect.miss(response, PORTAL.client_id, "application")
        sent = issuer.last()
        assert sent["path"] == f"/system/auth/{PORTAL.tenant}-U/oauth2/token"
        assert sent["parameters"] == {
            "grant_type": "client_credentials",
            "client_id": PORTAL.client_id,
            "client_secret": "***",
            "scope": READ,
        }
        assert expect.hit(daemon.post(application()), PORTAL.client_id, "application") == said
        assert issuer.stats()["by_grant"] == {"application": 1}

    def test_in_a_query(self, daemon):
        target = "/v1/token?" + form(application(STAFF)).decode()
        response = daemon.request("GET", target, [("Metadata", "true")])
        expect.token(response, STAFF.client_id, "application", client=STAFF)

    @pytest.mark.parametrize("name", ["username", "userid", "email", "token", "token_type", "xyz"])
    @pytest.mark.parametrize("value", ["pa", ""])
    def test_never_beside_a_subject(self, daemon, issuer, name, value):
        response = daemon.post(application(**{f"subject_{name}": value}))
        assert "subject_" in expect.error(response, 400, "invalid_request")
        assert issuer.requests() == 0

    @pytest.mark.parametrize("grant_type", ["password", None])
    def test_a_missing_subject_never_falls_through(self, daemon, issuer, grant_type):
        asked = {"client_id": "portal", "scope": READ}
        if grant_type:
            expect.error(
                daemon.post(asked | {"grant_type": grant_type}), 400, "invalid_request"
            )
        target = "/v1/token?" + form(asked).decode()
        response = daemon.request("GET", target, [("Metadata", "true")])
        assert "no subject" in expect.error(response, 400, "invalid_request")
        assert issuer.requests() == 0


class TestAnonymous:
    @pytest.mark.parametrize("named", ["lobby", "clientId"])
    def test_the_documented_request(self, daemon, issuer, named):
        scope = {"lobby": READ, "clientId": MANAGE}[named]
        response = daemon.post(application(LOBBY, scope=scope) | {"client_id": named})
        expect.miss(response, LOBBY.tenant, "anonymous", scope, LOBBY)
        sent = issuer.last()
        assert sent["path"] == "/core/authmgr/v3/oauth2/v2.0/anonymous/token"
        assert sent["query"] == f"user_type=customer&domain_hint={LOBBY.tenant}"
        assert sent["parameters"] == {
            "grant_type": "client_credentials",
            "client_id": "clientId",
            "client_secret": "***",
            "scope": scope,
        }
        assert issuer.stats()["by_status"] == {"200": 1}  # the placeholder of the secret is right

    @pytest.mark.parametrize("kind", ["username", "userid", "email"])
    def test_nobody_else_is_asked_for_there(self, daemon, issuer, kind):
        response = daemon.ask("pa", kind, client_id="lobby")
        assert "anonymous" in expect.error(response, 400, "unauthorized_client")
        response = daemon.post(exchange(subject_token(), client=LOBBY))
        assert "anonymous" in expect.error(response, 400, "unauthorized_client")
        assert issuer.requests() == 0


class TestExchange:
    @pytest.mark.parametrize("kind", ["access_token", "id_token", "jwt"])
    def test_the_documented_request(self, daemon, issuer, kind):
        token = subject_token(kind)
        said = exchanged(daemon.post(exchange(token, kind=kind)), token)
        sent = issuer.last()
        assert sent["path"] == f"/system/auth/{PORTAL.tenant}-U/oauth2/token"
        assert sent["parameters"] == {
            "grant_type": EXCHANGE,
            "client_id": PORTAL.client_id,
            "client_secret": "***",
            "scope": READ,
            "registration_id": "okta-1",
            "subject_token": token,
            "subject_token_type": TYPE + kind,
        }
        again = daemon.post(exchange(token, kind=kind))
        assert expect.cache_status(again).get("hit")
        assert exchanged(again, token) == said
        assert issuer.requests() == 1

    def test_the_token_ends_with_the_subject_token(self, daemon):
        token = subject_token("short", life=100)
        answer = daemon.post(exchange(token)).json()
        assert 95 <= answer["expires_in"] <= 100

    def test_the_default_scope_and_the_bare_type(self, daemon):
        token = subject_token("default")
        asked = exchange(token, scope=None, requested_token_type=TYPE + "access_token")
        exchanged(daemon.post(asked), token)
        response = daemon.post(exchange(token, client=CLIENTS[1], scope=None))
        expect.error(response, 400, "invalid_scope")

    REFUSED = {
        "no JWT": (dict(token="opaque"), "not a JWT"),
        "JWE": (dict(token="a.b.c.d.e"), "not a JWT"),
        "no exp": (dict(token=jwt(sub="a")), "without exp"),
        "exp text": (dict(token=jwt(exp="4102444800")), "no number"),
        "exp past": (dict(token=jwt(exp=1)), "has ended"),
        "exp negative": (dict(token=jwt(exp=-4102444800)), "has ended"),
        "exp now": (dict(token=jwt(exp=time.time() - 0.5)), "has ended"),
        "no token": (dict(token=None), "no subject_token"),
        "empty token": (dict(token=""), "no subject_token"),
        "no type": (dict(kind=None), "no subject_token_type"),
        "other type": (dict(kind="saml2"), "subject_token_type is not"),
        "no registration": (dict(registration=None), "no registration_id"),
        "long registration": (dict(registration="r" * 129), "registration_id is not"),
        "control registration": (dict(registration="r\n"), "registration_id is not"),
        "actor": (dict(actor_token="x"), "actor_token"),
        "actor type": (dict(actor_token_type="x"), "actor_token_type"),
        "resource": (dict(resource="https://x"), "resource"),
        "audience": (dict(audience="x"), "audience"),
        "requested": (dict(requested_token_type=TYPE + "jwt"), "requested_token_type"),
        "subject": (dict(subject_username="pa"), "more than one subject"),
        "too long": (dict(token=jwt(exp=4102444800, pad=16384)), "over 16 KiB"),
    }

    @pytest.mark.parametrize("changes, words", REFUSED.values(), ids=REFUSED)
    def test_refused(self, daemon, issuer, changes, words):
        response = daemon.post(exchange(**{"token": jwt(exp=4102444800)} | changes))
        assert words in expect.error(response, 400, "invalid_request")
        assert issuer.requests() == 0

    @pytest.mark.parametrize("exp", ["4102444800.5", "1e300", "99999999999999999999"])
    def test_any_number_is_an_end(self, daemon, exp):
        claims = base64.urlsafe_b64encode(f'{{"exp":{exp}}}'.encode()).rstrip(b"=").decode()
        token = f"eyJhbGciOiJub25lIn0.{claims}.{'s' * 9}"
        exchanged(daemon.post(exchange(token)), token)

    def test_16_kib_are_taken(self, daemon):
        token = jwt(exp=4102444800)
        token += "s" * (16384 - len(token))
        exchanged(daemon.post(exchange(token)), token)
        expect.error(daemon.post(exchange(token + "s")), 400, "invalid_request")
        expect.error(daemon.post(exchange(token * 4)), 413, "invalid_request")

    def test_twice(self, daemon, issuer):
        body = form(exchange(subject_token())) + b"&" + form({"subject_token": subject_token("b")})
        assert "twice" in expect.error(daemon.post(body), 400, "invalid_request")
        assert issuer.requests() == 0

    @pytest.mark.parametrize(
        "method, path",
        [("GET", "/v1/token"), ("GET", "/v1/explain"), ("GET", "/v1/tokens"),
         ("DELETE", "/v1/tokens"), ("POST", "/oauth2/token")],
    )
    def test_never_in_a_query(self, daemon, issuer, method, path):
        token = subject_token("query")
        target = f"{path}?client_id=portal&subject_username=pa&subject%5Ftoken={token}"
        headers = [("Metadata", "true"), ("Content-Type", "application/x-www-form-urlencoded")]
        body = form(exchange(token)) if method == "POST" else None
        response = daemon.request(method, target, headers, body)
        assert "in the query" in expect.error(response, 400, "invalid_request")
        assert issuer.requests() == 0

    def test_by_post_only(self, daemon):
        target = "/v1/token?" + form({"grant_type": EXCHANGE, "registration_id": "x"}).decode()
        response = daemon.request("GET", target, [("Metadata", "true")])
        assert "POST" in expect.error(response, 400, "invalid_request")

    def test_equal_ones_share_a_fetch_and_others_never(self, daemon, issuer):
        one, two = subject_token("one"), subject_token("two")
        issuer.behave(hold=True, count=2)
        with daemon.connect() as a, daemon.connect() as b, daemon.connect() as c:
            a.send(form_request(exchange(one)))
            issuer.wait_for("held", 1)
            b.send(form_request(exchange(one)))
            c.send(form_request(exchange(two)))
            issuer.wait_for("held", 2)
            daemon.settle()
            issuer.release()
            assert exchanged(a.receive(), one) == exchanged(b.receive(), one)
            exchanged(c.receive(), two)
        assert issuer.requests() == 2

    @pytest.mark.parametrize("type_, status", [("id_token", 502), ("access_token", 200)])
    def test_what_the_issuer_says_it_issued(self, daemon, issuer, type_, status):
        body = {"access_token": "literal", "token_type": "Bearer", "expires_in": 60}
        issuer.behave(body=json.dumps(body | {"issued_token_type": TYPE + type_}))
        response = daemon.post(exchange(subject_token(f"issued {type_}")))
        assert response.status == status, response
        issuer.reset()

    def test_a_registration_that_is_unknown(self, daemon, issuer):
        response = daemon.post(exchange(subject_token(), registration="nobody"))
        expect.error(response, 400, "invalid_grant")
        response = daemon.post(exchange(subject_token(), registration="nobody"))
        expect.error(response, 400, "invalid_grant")


class TestElsewhere:
    def test_metadata(self, daemon):
        answer = daemon.request("GET", "/.well-known/oauth-authorization-server").json()
        assert answer["grant_types_supported"] == ["password", "client_credentials", EXCHANGE]

    def test_explain(self, daemon):
        asked = form({"grant_type": "client_credentials", "client_id": "lobby"}).decode()
        said = daemon.request("GET", f"/v1/explain?{asked}").json()
        assert said["subject"] == {"kind": "anonymous", "value": None}
        asked = form(application()).decode()
        said = daemon.request("GET", f"/v1/explain?{asked}").json()
        assert said["subject"] == {"kind": "application", "value": None}

    def test_status(self, daemon):
        clients = daemon.request("GET", "/v1/status").json()["clients"]
        lobby = next(client for client in clients if client["name"] == "lobby")
        assert [url["for"] for url in lobby["token_urls"]] == ["anonymous customers"]

    def test_list_and_purge(self, start_daemon):
        daemon = start_daemon(clients=ALL, cache={"max_entries": 64})
        token = subject_token("listed")
        daemon.post(application())
        daemon.post(application(LOBBY))
        daemon.post(exchange(token))
        daemon.post(exchange(token, registration="okta-2"))
        listed = daemon.request("GET", "/v1/tokens")
        assert token not in listed.body.decode() and digest(token) not in listed.body.decode()
        kinds = sorted(
            (entry["subject"]["kind"], entry["subject"]["value"] or "")
            for entry in listed.json()["tokens"]
        )
        assert kinds == [
            ("anonymous", ""), ("application", ""), ("exchange", "okta-1"), ("exchange", "okta-2"),
        ]
        purged = daemon.request("DELETE", "/v1/tokens?registration_id=okta-1").json()
        assert purged == {"purged": 1}
        left = daemon.request("GET", "/v1/tokens?registration_id=okta-2").json()["tokens"]
        assert len(left) == 1

    def test_rules(self, start_daemon):
        daemon = start_daemon(clients=ALL)
        asked = {
            "application": application(),
            "anonymous": application(LOBBY),
            "exchange": exchange(subject_token()),
        }
        for given in asked:
            pattern = "exchange:okta-*" if given == "exchange" else f"{given}:*"
            rights = {"clients": ["portal", "lobby"], "subjects": [pattern], "scopes": ["*"]}
            daemon.reload(callers=[rule("root", user="root", **rights)])
            for kind, parameters in asked.items():
                response = daemon.post(parameters)
                if kind == given:
                    assert response.status == 200, response
                else:
                    words = expect.error(response, 403, "access_denied")
                    assert f"{kind}:" in words, words
            response = daemon.post(exchange(subject_token(), registration="entra"))
            expect.error(response, 403, "access_denied")

    def test_a_subject_token_is_nowhere_to_be_found(self, start_daemon, issuer, tmp_path):
        audit = tmp_path / "audit"
        daemon = start_daemon(clients=ALL, audit={"to": str(audit)}, log_level="debug")
        token = subject_token("needle-in-a-haystack")
        daemon.forbidden |= {token, token.split(".")[1], digest(token)}
        shown = []
        exchanged(daemon.post(exchange(token)), token)
        exchanged(daemon.post(exchange(token)), token)
        issuer.behave(status=500, count=4)
        shown.append(daemon.post(exchange(token, scope=MANAGE)))
        issuer.reset()
        shown.append(daemon.post(exchange(token, registration="nobody")))
        shown.append(daemon.post(exchange(token + "=")))
        shown.append(daemon.post(exchange(token, audience="x")))
        shown.append(daemon.request("GET", f"/v1/token?subject_token={token}", [("Metadata", "true")]))
        shown.append(daemon.request("GET", f"/healthz?subject_token={token}"))
        shown.append(daemon.request("GET", f"/v1/explain?subject_token={token}"))
        for path in ("/v1/tokens", "/metrics", "/v1/status"):
            shown.append(daemon.request("GET", path))
        for response in shown:
            daemon.check_answer(response.body.decode())
            assert token not in str(response.headers)
        daemon.stop()  # which looks through the log
        text = audit.read_text()
        assert token not in text and token.split(".")[1] not in text and digest(token) not in text
        records = [json.loads(line) for line in text.splitlines()]
        kinds = {(record.get("subject_kind"), record.get("subject")) for record in records}
        assert {("exchange", "okta-1"), ("exchange", "nobody")} <= kinds

    def test_audit_of_the_others(self, start_daemon, tmp_path):
        audit = tmp_path / "audit"
        daemon = start_daemon(clients=ALL, audit={"to": str(audit)})
        daemon.post(application())
        daemon.post(application(LOBBY))
        daemon.stop()
        records = [json.loads(line) for line in audit.read_text().splitlines()]
        assert [(record["subject_kind"], record["subject"]) for record in records] == [
            ("application", None), ("anonymous", None),
        ]


KINDS = ("username", "userid", "email", "application", "anonymous", "exchange")


class Draw:
    """Random requests of all grants, from few texts that are easily mistaken for one another."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        names = ("a", "b", "ab", "a b", "okta-1", "entra", PORTAL.client_id, LOBBY.tenant)
        self.names = names
        self.tokens = [subject_token(name, life=600 + number) for number, name in enumerate(names)]
        self.tokens.append(subject_token("a", life=700))

    def request(self):
        chance = self.chance
        kind = chance.choice(KINDS)
        scope = chance.choice((READ, MANAGE, f"{READ} {MANAGE}"))
        client = LOBBY if kind == "anonymous" else chance.choice((PORTAL, STAFF))
        if kind == "email":
            client = PORTAL
        if kind in ("application", "anonymous"):
            subject = client.client_id if kind == "application" else client.tenant
            return (kind, subject, scope, client, None), form_request(application(client, scope))
        if kind == "exchange":
            token, registration = chance.choice(self.tokens), chance.choice(REGISTRATIONS)
            asked = exchange(token, registration, client, scope, chance.choice(("jwt", "id_token")))
            return (kind, registration, scope, client, token), form_request(asked)
        name = chance.choice(self.names)
        return (kind, name, scope, client, None), ask_bytes(
            name, kind, scope=scope, client_id=client.name
        )


def test_every_grant_at_once(start_daemon, issuer, capsys):
    """Each token is for the grant, subject, subject token, scope and client that was asked for."""
    seed = int(os.environ.get("GRANTS_SEED", time.time_ns() % 2**32))
    with capsys.disabled():
        print(f"\n  all grants at once: GRANTS_SEED={seed}")
    daemon = start_daemon(clients=ALL, log_level="info")
    draw, seen = Draw(seed), dict.fromkeys(KINDS, 0)
    issuer.behave(lifetime=3, delay_ms=5, count=150)

    def judge(asked, response):
        kind, subject, scope, client, token = asked
        assert response.status == 200, (seed, asked, response)
        answer = response.json()
        said = expect.claims(answer["access_token"], subject, kind, scope, client)
        assert said.get("exchanged") == (token and digest(token)), (seed, asked)
        assert ("issued_token_type" in answer) == (kind == "exchange")
        assert sorted(answer["scope"].split()) == sorted(scope.split())
        seen[kind] += 1

    drive(daemon.unix, 32, (draw.request() for _ in range(6000)), judge, timeout=120)
    assert min(seen.values()) > 500, seen
    assert set(issuer.stats()["by_grant"]) == {"password", "application", "anonymous", "exchange"}
    # What differs in anything was asked for at least once, and no more than its life made needful.
    assert issuer.stats()["by_status"].keys() == {"200"}
