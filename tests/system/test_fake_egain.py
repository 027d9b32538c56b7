# SPDX-License-Identifier: MIT
"""fake-egain, rule by rule: what it refuses, what it mints, and every misbehaviour it can be told.

One issuer serves the whole module and is reset before each test; at the end it must leave with
status 0 and a silent stderr, which is where the sanitizers would speak. Nothing here sleeps:
whoever has to wait does so on the issuer's own counters.
"""

import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build"))
BINARY = BUILD / "tests" / "fake-egain" / "fake-egain"

USERS = "/system/auth/T1-U/oauth2/token"
CUSTOMERS = "/system/auth/T1-C/oauth2/token"
READ = "knowledge.portalmgr.onbehalfof.read"
MANAGE = "knowledge.portalmgr.onbehalfof.manage"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TIMEOUT_S = 20

ARGUMENTS = [
    "--client", "T1:app:secret",
    "--client", "T2:two:old:new",
    "--unknown-subject", "ghost",
    "--registration", "okta-1",
]
ANONYMOUS = "/core/authmgr/v3/oauth2/v2.0/anonymous/token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"


class Issuer:
    def __init__(self, arguments, listen="127.0.0.1:0", tls=None):
        self.process = subprocess.Popen(
            [BINARY, "--listen", listen, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.greeting = self.process.stdout.readline().rstrip("\n")
        if not self.greeting:
            _, stderr = self.process.communicate(timeout=TIMEOUT_S)
            raise RuntimeError(f"exit {self.process.returncode}: {stderr}")
        url = urllib.parse.urlsplit(self.greeting.removeprefix("listening on "))
        self.host, self.port, self.tls = url.hostname, url.port, tls

    def connect(self):
        if self.tls:
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=TIMEOUT_S, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)

    def send(self, method, path, body=None, headers=None):
        """Sends a request and leaves its answer to be read."""
        connection = self.connect()
        connection.request(method, path, body, headers or {})
        return connection

    def call(self, method, path, body=None, headers=None):
        return receive(self.send(method, path, body, headers))

    def control(self, method, what, json_body=None, expect=200):
        body = None if json_body is None else json.dumps(json_body)
        answer = self.call(method, f"/_control/{what}", body)
        assert answer.status == expect, answer.body
        return answer.json()

    def behave(self, **rule):
        return self.control("POST", "behaviour", rule)["id"]

    def stats(self):
        return self.control("GET", "stats")

    def wait(self, field, at_least):
        query = f"wait?field={field}&at_least={at_least}&timeout_ms=15000"
        return self.control("GET", query)

    def ask(self, path=USERS, **changes):
        return self.call("POST", path, form(**changes), FORM)

    def ask_later(self, path=USERS, **changes):
        return self.send("POST", path, form(**changes), FORM)

    def waiting(self, subject, **changes):
        """A request for this subject, which leaves at the end of the block."""
        return contextlib.closing(self.ask_later(subject_username=subject, **changes))

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        _, stderr = self.process.communicate(timeout=TIMEOUT_S)
        assert (self.process.returncode, stderr) == (0, "")


class Answer:
    def __init__(self, response):
        self.body = response.read()
        self.status = response.status
        self.headers = response.headers

    def json(self):
        return json.loads(self.body)


def receive(connection):
    with contextlib.closing(connection):
        return Answer(connection.getresponse())


def form(**changes):
    """The form of a good request for username pa, but for the changes; None leaves one out."""
    fields = {
        "grant_type": "password", "client_id": "app", "client_secret": "secret",
        "scope": READ, "subject_username": "pa", **changes,
    }
    return urllib.parse.urlencode({k: v for k, v in fields.items() if v is not None})


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def jwt(**claims):
    parts = ({"alg": "none"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
    return ".".join(part.rstrip(b"=").decode() for part in encoded) + ".c2ln"


def exchange(**changes):
    """The changes that make a good form one of token exchange."""
    return {
        "grant_type": EXCHANGE, "subject_username": None, "registration_id": "okta-1",
        "subject_token": jwt(sub="anna", exp=time.time() + 300),
        "subject_token_type": TYPE + "access_token", **changes,
    }


def refused(answer, status, error):
    assert (answer.status, answer.json()["error"]) == (status, error), answer.body
    assert answer.headers["Content-Type"] == "application/json"
    return True


@pytest.fixture(scope="module")
def process():
    issuer = Issuer(ARGUMENTS)
    yield issuer
    issuer.stop()


@pytest.fixture
def issuer(process):
    process.control("POST", "reset")
    return process


# Tokens


def test_user_token(issuer):
    answer = issuer.ask()
    token = answer.json()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert list(token) == ["access_token", "token_type", "expires_in", "scope"]
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", 3600, READ)

    payload = claims(token["access_token"])
    pad = payload.pop("pad")
    iat, exp, serial = payload.pop("iat"), payload.pop("exp"), payload.pop("serial")
    minted_ms = payload.pop("minted_ms")
    assert payload == {"sub": "pa", "kind": "username", "scope": READ, "client_id": "app",
                       "tenant": "T1", "lifetime": 3600, "secret": 1}
    assert 0 <= time.monotonic() * 1000 - minted_ms < 60000
    assert set(pad) == {"."} and serial >= 1
    assert exp - iat == 3600 and abs(iat - time.time()) < 60
    assert 1380 <= len(token["access_token"]) <= 1400


def test_signature(issuer):
    signed, signature = issuer.ask().json()["access_token"].rsplit(".", 1)
    key = b"fake-egain signs with this; trust nothing that it signed"
    mac = hmac.new(key, signed.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64encode(mac).rstrip(b"=").decode() == signature


def test_userid_token(issuer):
    payload = claims(issuer.ask(subject_username=None, subject_userid="42").json()["access_token"])
    assert (payload["sub"], payload["kind"]) == ("42", "userid")


def test_customer_token(issuer):
    answer = issuer.ask(CUSTOMERS, subject_username=None, subject_email="a+b@example.org")
    payload = claims(answer.json()["access_token"])
    assert (payload["sub"], payload["kind"]) == ("a+b@example.org", "email")


def test_subject_verbatim(issuer):
    subject = 'Zoë "\\ \t \U0001f600&=%'
    assert claims(issuer.ask(subject_username=subject).json()["access_token"])["sub"] == subject
    assert issuer.stats()["by_subject"] == {"username:" + subject: 1}


def test_serial_counts(issuer):
    first, second = (claims(issuer.ask().json()["access_token"])["serial"] for _ in range(2))
    assert second == first + 1


def test_scope_verbatim(issuer):
    answer = issuer.ask(scope=f"{MANAGE} {READ}").json()
    assert answer["scope"] == f"{MANAGE} {READ}"
    assert claims(answer["access_token"])["scope"] == f"{MANAGE} {READ}"


def test_query_ignored(issuer):
    assert issuer.ask(USERS + "?p=%zz&&x").status == 200
    assert issuer.stats()["last_request"]["query"] == "p=%zz&&x"


def test_second_secret(issuer):
    path = USERS.replace("T1", "T2")
    for secret in ("old", "new"):
        assert issuer.ask(path, client_id="two", client_secret=secret).status == 200


def test_keep_alive(issuer):
    connection = issuer.connect()
    for _ in range(3):
        connection.request("POST", USERS, form(), FORM)
        assert Answer(connection.getresponse()).status == 200
    stats = issuer.stats()
    assert (stats["token_connections"], stats["token_connections_total"]) == (1, 1)
    connection.close()


def test_content_type_with_parameters(issuer):
    headers = {"Content-Type": "Application/X-WWW-form-urlencoded; charset=UTF-8"}
    assert issuer.call("POST", USERS, form(), headers).status == 200


def test_other_parameters_ignored(issuer):
    assert issuer.ask(resource="x", empty="").status == 200


# Refusals


@pytest.mark.parametrize("path", [
    USERS.replace("T1", "T9"), USERS.replace("T1", "t1"), USERS.replace("T1", "T%31"),
])
def test_unknown_tenant(issuer, path):
    assert refused(issuer.ask(path), 404, "invalid_request")


@pytest.mark.parametrize("path", [
    "/", "/system/auth/T1-X/oauth2/token", "/system/auth/T1/oauth2/token", USERS + "/",
    "/system/auth/-U/oauth2/token", "/x" + USERS,
])
def test_unknown_path(issuer, path):
    assert refused(issuer.ask(path), 404, "not_found")
    assert issuer.stats()["requests"] == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_method(issuer, method):
    answer = issuer.call(method, USERS, form() if method == "PUT" else None, FORM)
    assert refused(answer, 405, "invalid_request")
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize("content_type", [
    None, "application/json", "application/x-www-form-urlencodedx", "text/plain",
])
def test_content_type(issuer, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    assert refused(issuer.call("POST", USERS, form().encode(), headers), 400, "invalid_request")


def test_basic_authorization(issuer):
    headers = {**FORM, "Authorization": "Basic YXBwOnNlY3JldA=="}
    assert refused(issuer.call("POST", USERS, form(), headers), 400, "invalid_request")


def test_body_size(issuer):
    filler = 65536 - len(form(filler=""))
    assert issuer.ask(filler="x" * filler).status == 200
    assert refused(issuer.ask(filler="x" * (filler + 1)), 413, "invalid_request")


@pytest.mark.parametrize("tail", [
    "&x", "&", "&&x=1", "&=1", "&x=%", "&x=%4", "&x=%zz", "&x=%00", "&x=a b", "&x=a=b", "&x=%ff",
    "&x=%c0%80", "&x=%ed%a0%80", "&x=\xe9", "&scope=" + READ, "&x=1&x=1", "&%78=1&x=1",
    "".join(f"&x{i}=" for i in range(60)),
])
def test_malformed_form(issuer, tail):
    body = (form() + tail).encode("latin-1")
    assert refused(issuer.call("POST", USERS, body, FORM), 400, "invalid_request")


def test_empty_body(issuer):
    assert refused(issuer.call("POST", USERS, b"", FORM), 400, "invalid_request")


@pytest.mark.parametrize("grant_type, error", [
    (None, "invalid_request"), ("", "invalid_request"),
    ("implicit", "unsupported_grant_type"), ("Password", "unsupported_grant_type"),
])
def test_grant_type(issuer, grant_type, error):
    assert refused(issuer.ask(grant_type=grant_type), 400, error)


def test_client_credentials(issuer):
    answer = issuer.ask(grant_type="client_credentials", subject_username=None)
    assert answer.status == 200
    said = claims(answer.json()["access_token"])
    assert (said["kind"], said["sub"], said["client_id"]) == ("application", "app", "app")
    assert "issued_token_type" not in answer.json()
    assert issuer.stats()["by_subject"] == {"application:app": 1}
    assert issuer.stats()["by_grant"]["application"] == 1


@pytest.mark.parametrize("changes, error", [
    ({"subject_username": "pa"}, "invalid_request"), ({"subject_email": "a@b"}, "invalid_request"),
    ({"registration_id": "okta-1"}, "invalid_request"), ({"x": "y"}, "invalid_request"),
    ({"scope": None}, "invalid_scope"), ({"client_secret": "x"}, "invalid_client"),
])
def test_client_credentials_refused(issuer, changes, error):
    changes = {"grant_type": "client_credentials", "subject_username": None, **changes}
    assert refused(issuer.ask(**changes), 401 if error == "invalid_client" else 400, error)


def test_client_credentials_of_customers(issuer):
    answer = issuer.ask(CUSTOMERS, grant_type="client_credentials", subject_username=None)
    assert refused(answer, 400, "unauthorized_client")


ANONYMOUS_FORM = {
    "grant_type": "client_credentials", "client_id": "clientId", "client_secret": "clientSecret",
    "subject_username": None,
}


@pytest.mark.parametrize("client", [{}, {"client_id": "app", "client_secret": "secret"}])
def test_anonymous(issuer, client):
    path = f"{ANONYMOUS}?user_type=customer&domain_hint=T1"
    answer = issuer.ask(path, **ANONYMOUS_FORM | client)
    assert answer.status == 200
    said = claims(answer.json()["access_token"])
    assert (said["kind"], said["sub"], said["tenant"]) == ("anonymous", "T1", "T1")
    assert issuer.stats()["by_grant"]["anonymous"] == 1


@pytest.mark.parametrize("query", [
    "", "?", "?user_type=customer", "?domain_hint=T1", "?user_type=user&domain_hint=T1",
    "?user_type=customer&domain_hint=T1&x=y", "?user_type=customer&domain_hint=T1&domain_hint=T1",
    "?user_type=Customer&domain_hint=T1", "?user_type=customer&domain_hint=%zz",
])
def test_anonymous_query(issuer, query):
    assert refused(issuer.ask(ANONYMOUS + query, **ANONYMOUS_FORM), 400, "invalid_request")


def test_anonymous_query_in_another_order(issuer):
    answer = issuer.ask(f"{ANONYMOUS}?domain_hint=T1&user_type=customer", **ANONYMOUS_FORM)
    assert answer.status == 200


@pytest.mark.parametrize("changes, status, error", [
    ({"client_secret": "secret"}, 401, "invalid_client"),
    ({"client_id": "clientid"}, 401, "invalid_client"),
    ({"client_id": None}, 401, "invalid_client"),
    ({"scope": None}, 400, "invalid_scope"),
    ({"grant_type": "password", "subject_email": "a@b"}, 400, "unsupported_grant_type"),
    ({"grant_type": EXCHANGE}, 400, "unsupported_grant_type"),
    ({"subject_email": "a@b"}, 400, "invalid_request"),
])
def test_anonymous_refused(issuer, changes, status, error):
    path = f"{ANONYMOUS}?user_type=customer&domain_hint=T1"
    assert refused(issuer.ask(path, **ANONYMOUS_FORM | changes), status, error)


def test_anonymous_of_an_unknown_tenant(issuer):
    path = f"{ANONYMOUS}?user_type=customer&domain_hint=T9"
    assert refused(issuer.ask(path, **ANONYMOUS_FORM), 404, "invalid_request")


def test_placeholders_are_for_anonymous_customers(issuer):
    changes = {"client_id": "clientId", "client_secret": "clientSecret"}
    assert refused(issuer.ask(**changes), 401, "invalid_client")


@pytest.mark.parametrize("kind", ["access_token", "id_token", "jwt"])
def test_token_exchange(issuer, kind):
    form = exchange(subject_token_type=TYPE + kind)
    answer = issuer.ask(**form)
    assert answer.status == 200
    assert answer.json()["issued_token_type"] == TYPE + "access_token"
    said = claims(answer.json()["access_token"])
    digest = hashlib.sha256(form["subject_token"].encode()).hexdigest()
    assert (said["kind"], said["sub"], said["exchanged"]) == ("exchange", "okta-1", digest)
    assert issuer.stats()["by_grant"]["exchange"] == 1


def test_token_exchange_without_a_scope(issuer):
    answer = issuer.ask(**exchange(scope=None))
    assert (answer.status, answer.json()["scope"]) == (200, READ)


@pytest.mark.parametrize("changes", [
    {"registration_id": None}, {"registration_id": "okta-2"}, {"registration_id": ""},
    {"subject_token_type": None}, {"subject_token_type": TYPE + "saml2"},
    {"subject_token": None}, {"subject_token": "opaque"}, {"subject_token": "a.b.c"},
    {"subject_token": jwt(sub="anna")}, {"subject_token": jwt(exp="9999999999")},
    {"subject_token": jwt(exp=1)}, {"subject_token": jwt(exp=9999999999) + ".x"},
    {"audience": "x"}, {"actor_token": "x"}, {"requested_token_type": TYPE + "access_token"},
    {"subject_username": "pa"},
])
def test_token_exchange_refused(issuer, changes):
    assert refused(issuer.ask(**exchange(**changes)), 400, "invalid_request")


def test_token_exchange_of_customers(issuer):
    assert refused(issuer.ask(CUSTOMERS, **exchange()), 400, "unauthorized_client")


@pytest.mark.parametrize("changes", [
    {"client_id": None}, {"client_secret": None}, {"client_id": "two"}, {"client_secret": "Secret"},
    {"client_secret": ""}, {"client_id": "two", "client_secret": "old"},
])
def test_invalid_client(issuer, changes):
    assert refused(issuer.ask(**changes), 401, "invalid_client")


@pytest.mark.parametrize("scope", [
    None, "", "other", READ + " other", READ + "  " + MANAGE, " " + READ, READ + " ", READ.upper(),
])
def test_invalid_scope(issuer, scope):
    assert refused(issuer.ask(scope=scope), 400, "invalid_scope")


@pytest.mark.parametrize("path, subjects", [
    (USERS, {}),
    (USERS, {"subject_username": ""}),
    (USERS, {"subject_email": "a@b"}),
    (USERS, {"subject_username": "pa", "subject_email": "a@b"}),
    (USERS, {"subject_username": "pa", "subject_userid": "1"}),
    (USERS, {"subject_username": "pa", "subject_userid": ""}),
    (CUSTOMERS, {}),
    (CUSTOMERS, {"subject_username": "pa"}),
    (CUSTOMERS, {"subject_email": "a@b", "subject_userid": "1"}),
])
def test_subject_kind(issuer, path, subjects):
    answer = issuer.ask(path, **{"subject_username": None, **subjects})
    assert refused(answer, 400, "invalid_request")


@pytest.mark.parametrize("kind", ["subject_username", "subject_userid"])
def test_unknown_subject(issuer, kind):
    answer = issuer.ask(**{"subject_username": None, kind: "ghost"})
    assert refused(answer, 400, "invalid_grant")


# Behaviour


def test_rules_in_order(issuer):
    first = issuer.behave(count=1, status=500)
    second = issuer.behave(count=2, status=502)
    assert second == first + 1
    assert [issuer.ask().status for _ in range(4)] == [500, 502, 502, 200]


def test_subject_filter(issuer):
    issuer.behave(subject="username:pb", status=500)
    assert issuer.ask().status == 200
    assert issuer.ask(subject_username="pb").status == 500
    assert issuer.ask(subject_username=None, subject_userid="pb").status == 200


def test_tenant_filter(issuer):
    issuer.behave(tenant="T2", status=500)
    assert issuer.ask().status == 200
    assert issuer.ask(USERS.replace("T1", "T2")).status == 500


def test_delay(issuer):
    issuer.behave(delay_ms=150, count=1)
    begin = time.monotonic()
    assert issuer.ask().status == 200
    assert time.monotonic() - begin >= 0.15


def test_delays_end_in_order_of_time(issuer):
    issuer.behave(subject="username:slow", delay_ms=15000)
    issuer.behave(delay_ms=100)
    slow = issuer.ask_later(subject_username="slow")
    issuer.wait("in_flight", 1)
    assert issuer.ask().status == 200
    assert issuer.stats()["in_flight"] == 1
    slow.close()
    issuer.wait("abandoned", 1)


def test_hold_and_release(issuer):
    issuer.behave(hold=True)
    waiting = []
    for i in range(4):
        waiting.append(issuer.ask_later(subject_username=f"p{i}"))
        issuer.wait("held", i + 1)
    stats = issuer.stats()
    assert (stats["in_flight"], stats["tokens"], stats["by_status"]) == (4, 0, {})

    assert issuer.control("POST", "release", {"count": 2}) == {"released": 2}
    tokens = [receive(connection).json()["access_token"] for connection in waiting[:2]]
    assert [claims(token)["sub"] for token in tokens] == ["p0", "p1"]
    assert issuer.stats()["held"] == 2
    assert issuer.control("POST", "release") == {"released": 2}
    assert [receive(connection).status for connection in waiting[2:]] == [200, 200]
    assert issuer.control("POST", "release") == {"released": 0}
    stats = issuer.stats()
    assert (stats["in_flight"], stats["max_in_flight"], stats["tokens"]) == (0, 4, 4)


def test_hold_then_error(issuer):
    issuer.behave(hold=True, error="invalid_grant")
    connection = issuer.ask_later()
    issuer.wait("held", 1)
    issuer.control("POST", "release")
    assert refused(receive(connection), 400, "invalid_grant")


def test_held_client_leaves(issuer):
    issuer.behave(hold=True)
    connection = issuer.ask_later()
    issuer.wait("held", 1)
    connection.close()
    stats = issuer.wait("abandoned", 1)
    assert stats["held"] == 0
    issuer.control("GET", "wait?field=in_flight&at_most=0")


def test_many_held(issuer):
    issuer.behave(hold=True)
    waiting = [issuer.ask_later(subject_username=f"p{i}") for i in range(300)]
    assert issuer.wait("held", 300)["in_flight"] == 300
    assert issuer.control("POST", "release") == {"released": 300}
    assert {receive(connection).status for connection in waiting} == {200}


def test_stall_until_reset(issuer):
    issuer.behave(stall=True)
    connection = issuer.ask_later()
    issuer.wait("in_flight", 1)
    assert issuer.control("POST", "release") == {"released": 0}
    issuer.control("POST", "reset")
    assert receive(connection).status == 200
    stats = issuer.stats()
    assert (stats["requests"], stats["tokens"], stats["in_flight"]) == (0, 0, 0)


@pytest.mark.parametrize("rule", [
    {"hold": True}, {"stall": True, "status": 500}, {"delay_ms": 60000, "close": True},
])
def test_reset_answers_normally(issuer, rule):
    issuer.behave(**rule)
    connection = issuer.ask_later()
    issuer.wait("in_flight", 1)
    assert issuer.control("POST", "reset") == {}
    assert receive(connection).status == 200
    assert issuer.ask().status == 200


def test_throttle(issuer):
    issuer.behave(status=429, headers={"Retry-After": "7", "X-RateLimit-Remaining": "0"})
    answer = issuer.ask()
    assert (answer.status, answer.body) == (429, b"")
    assert answer.headers["Retry-After"] == "7"
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert "Content-Type" not in answer.headers
    assert issuer.stats()["by_status"] == {"429": 1}


def test_literal_body(issuer):
    issuer.behave(status=503, body="<html>Größe</html>", content_type="text/html")
    answer = issuer.ask()
    assert (answer.status, answer.body.decode()) == (503, "<html>Größe</html>")
    assert answer.headers.get_all("Content-Type") == ["text/html"]
    stats = issuer.stats()
    assert (stats["tokens"], stats["by_status"]) == (0, {"503": 1})


def test_literal_body_base64(issuer):
    body = b'{"access_token":"\xff\x00"}'
    issuer.behave(body_base64=base64.b64encode(body).decode())
    answer = issuer.ask()
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["Content-Type"] == "application/json"


def test_body_size_behaviour(issuer):
    issuer.behave(body_size=3000000)
    answer = issuer.ask()
    assert answer.status == 200
    assert (len(answer.body), set(answer.body)) == (3000000, set(b"x"))


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_body(issuer, status):
    issuer.behave(status=status)
    answer = issuer.ask()
    assert (answer.status, answer.body) == (status, b"")


def test_headers_prevail(issuer):
    issuer.behave(headers={"cache-control": "max-age=60", "Location": "/x"})
    answer = issuer.ask()
    assert answer.headers.get_all("Cache-Control") == ["max-age=60"]
    assert answer.headers["Location"] == "/x"
    assert "access_token" in answer.json()


def test_error(issuer):
    issuer.behave(error="invalid_grant", error_description='say "no"', count=1)
    issuer.behave(error="server_error", status=500)
    answer = issuer.ask()
    assert refused(answer, 400, "invalid_grant")
    assert answer.json()["error_description"] == 'say "no"'
    answer = issuer.ask()
    assert (answer.status, answer.json()) == (500, {"error": "server_error"})


def test_close(issuer):
    issuer.behave(close=True)
    with contextlib.closing(issuer.ask_later()) as connection:
        with pytest.raises(ConnectionResetError):
            connection.getresponse()
    stats = issuer.stats()
    assert (stats["cut"], stats["by_status"], stats["in_flight"]) == (1, {}, 0)


@pytest.mark.parametrize("rule, part", [
    ({"body": "0123456789"}, b"01234"),
    ({"body_size": 100000}, b"x" * 50000),
    ({"status": 500}, b""),
], ids=["body", "body_size", "status"])
def test_close_after_headers(issuer, rule, part):
    issuer.behave(close_after_headers=True, **rule)
    with contextlib.closing(issuer.ask_later()) as connection:
        response = connection.getresponse()
        with pytest.raises(http.client.IncompleteRead) as error:
            response.read()
    assert len(error.value.partial) == len(part) and error.value.partial == part


def test_trickle(issuer):
    issuer.behave(trickle_ms=10, body="0123456789")
    with contextlib.closing(issuer.ask_later()) as connection:
        response = connection.getresponse()
        begin = time.monotonic()
        assert response.read1() == b"0"
        assert response.read() == b"123456789"
        assert time.monotonic() - begin >= 0.08
    assert issuer.ask().body == b"0123456789"


def test_trickle_client_leaves(issuer):
    issuer.behave(trickle_ms=3600000, body="0123456789")
    connection = issuer.ask_later()
    response = connection.getresponse()
    assert response.read1() == b"0"
    response.close()
    connection.close()
    issuer.control("GET", "wait?field=in_flight&at_most=0")


@pytest.mark.parametrize("lifetime", [0, -5, 7, 2**63 - 1, -2**63])
def test_lifetime(issuer, lifetime):
    issuer.behave(lifetime=lifetime)
    token = issuer.ask().json()
    payload = claims(token["access_token"])
    assert token["expires_in"] == lifetime
    assert payload["exp"] == min(payload["iat"] + lifetime, 2**63 - 1)


def test_jwt_lifetime(issuer):
    issuer.behave(lifetime=100, jwt_lifetime=50)
    token = issuer.ask().json()
    payload = claims(token["access_token"])
    assert (token["expires_in"], payload["exp"] - payload["iat"]) == (100, 50)


@pytest.mark.parametrize("literal", ['"3600"', "1e3", "null", "NaN", "3600.5", '{"a":[]}'])
def test_expires_in_json(issuer, literal):
    issuer.behave(expires_in_json=literal)
    assert f'"expires_in":{literal},"scope"'.encode() in issuer.ask().body


def test_omit(issuer):
    members = ["access_token", "token_type", "expires_in", "scope"]
    for n in range(1, 5):
        issuer.behave(omit=members[:n], count=1)
        assert list(issuer.ask().json()) == members[n:]


def test_token_type_and_scope(issuer):
    issuer.behave(token_type="bearer", granted_scope="less")
    token = issuer.ask().json()
    assert (token["token_type"], token["scope"]) == ("bearer", "less")
    assert claims(token["access_token"])["scope"] == READ


def test_repeat_token(issuer):
    token = issuer.ask(subject_username="again").json()["access_token"]
    issuer.behave(repeat_token=True, count=3)
    assert issuer.ask(subject_username="again").json()["access_token"] == token
    other = issuer.ask(subject_username="again", scope=MANAGE).json()["access_token"]
    assert claims(other)["serial"] == claims(token)["serial"] + 1
    assert issuer.ask(subject_username="again").json()["access_token"] == token
    assert issuer.ask(subject_username="again").json()["access_token"] != token


def test_repeat_what_remains(issuer):
    """As an issuer that gives the same token until it has run out, and says what is left of it."""
    issuer.behave(lifetime=2, count=1)
    first = issuer.ask(subject_username="remains").json()
    end_ms = claims(first["access_token"])["minted_ms"] + 2000
    issuer.behave(lifetime=9, repeat_token=True, remaining=True)
    repeated = 0
    while True:
        before_ms = time.monotonic_ns() // 1000000
        token = issuer.ask(subject_username="remains").json()
        after_ms = time.monotonic_ns() // 1000000
        if token["access_token"] != first["access_token"]:
            break
        repeated += 1
        # Two, in the very millisecond of the first.
        assert token["expires_in"] in (1, 2) and before_ms <= end_ms - 1000
    assert repeated and after_ms >= end_ms - 1000
    assert (token["expires_in"], claims(token["access_token"])["lifetime"]) == (9, 9)


def test_mint_subject(issuer):
    """The lie of an issuer that nobody but a reader of its tokens can see."""
    issuer.behave(mint_subject="somebody", count=1)
    assert [claims(issuer.ask().json()["access_token"])["sub"] for _ in range(2)] == [
        "somebody", "pa"]


def test_every(issuer):
    issuer.behave(every=3, status=500, subject="username:some", count=2)
    statuses = []
    for _ in range(9):
        assert issuer.ask().status == 200
        statuses.append(issuer.ask(subject_username="some").status)
    assert statuses == [200, 200, 500, 200, 200, 500, 200, 200, 200]


def test_forget(issuer):
    """Rules go, and what waits for them; the counters stay."""
    first = issuer.behave(hold=True, subject="username:a", status=500)
    issuer.behave(hold=True, subject="username:b", status=501)
    with issuer.waiting("a") as a, issuer.waiting("b") as b:
        issuer.wait("held", 2)
        issuer.control("POST", "forget", {"id": first})
        assert receive(a).status == 200
        assert issuer.stats()["held"] == 1
        issuer.behave(status=502)
        issuer.control("POST", "forget")
        assert receive(b).status == 200
    assert issuer.ask(subject_username="a").status == 200
    stats = issuer.stats()
    assert (stats["requests"], stats["by_status"]) == (3, {"200": 3})


@pytest.mark.parametrize("body", [{"id": 0}, {"id": "1"}, {"ids": 1}, {"id": 1, "x": 1}, [1]])
def test_forget_refused(issuer, body):
    issuer.control("POST", "forget", body, expect=400)


@pytest.mark.parametrize("offset_s", [86400, -3600])
def test_clock(issuer, offset_s):
    """The wall clock steps: the date, and what tokens say; not what is left of them."""
    issuer.control("PUT", "clock", {"offset_s": offset_s})
    answer = issuer.ask()
    date = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp()
    payload = claims(answer.json()["access_token"])
    for moment in (date, payload["iat"], payload["exp"] - 3600):
        assert abs(moment - time.time() - offset_s) < 60
    assert (answer.json()["expires_in"], payload["lifetime"]) == (3600, 3600)
    assert len(answer.headers.get_all("Date")) == 1
    issuer.control("POST", "reset")
    assert abs(claims(issuer.ask().json()["access_token"])["iat"] - time.time()) < 60


def test_clock_of_subject_tokens(issuer):
    """What ends in an hour has ended for an issuer that is a day ahead."""
    fields = exchange()
    assert issuer.ask(**fields).status == 200
    issuer.control("PUT", "clock", {"offset_s": 86400})
    assert issuer.ask(**fields).status == 400


@pytest.mark.parametrize("body", [{}, {"offset_s": "1"}, {"offset_s": 10**12}, {"offset": 1}])
def test_clock_refused(issuer, body):
    issuer.control("PUT", "clock", body, expect=400)


def test_counters(issuer):
    issuer.ask()
    stats, counters = issuer.stats(), issuer.control("GET", "counters")
    assert counters["requests"] == 1 and counters["by_status"] == {"200": 1}
    assert set(stats) - set(counters) == {"by_subject", "last_request"}


def test_secrets_are_numbered(process):
    """In the order they came; one that stays keeps its number, one that comes back gets another."""
    seen = []
    for secrets in (["one"], ["one", "two"], ["two"], ["two", "one"]):
        process.control("PUT", "clients",
                        {"tenant": "T9", "client_id": "counted", "secrets": secrets})
        for secret in secrets:
            answer = process.ask("/system/auth/T9-U/oauth2/token", client_id="counted",
                                 client_secret=secret)
            seen.append((secret, claims(answer.json()["access_token"])["secret"]))
    assert seen == [("one", 1), ("one", 1), ("two", 2), ("two", 2), ("two", 2), ("one", 3)]


def test_twins(issuer):
    """Those who ask for the same while one still waits for it, and he has not left."""
    issuer.behave(hold=True)
    with issuer.waiting("a"), issuer.waiting("b"):
        issuer.wait("held", 2)
        assert issuer.stats()["twins"] == 0
        with issuer.waiting("a"):
            issuer.wait("held", 3)
            assert issuer.stats()["twins"] == 1
            with issuer.waiting("a", scope=MANAGE):
                issuer.wait("held", 4)
    issuer.wait("abandoned", 4)
    with issuer.waiting("a"):
        issuer.wait("held", 1)
        assert issuer.stats()["twins"] == 1


@pytest.mark.parametrize("rule, named", [
    ({"every": 0}, "every"),
    ({"remaining": True}, "remaining"),
    ({"staus": 500}, "staus"),
    ({"status": "500"}, "status"),
    ({"status": 199}, "status"),
    ({"count": 0}, "count"),
    ({"hold": 1}, "hold"),
    ({"hold": True, "delay_ms": 1}, "delay_ms"),
    ({"close": True, "trickle_ms": 1}, "trickle_ms"),
    ({"body": "x", "error": "y"}, "body"),
    ({"body": "x", "body_base64": "eA=="}, "body"),
    ({"body_base64": "eA="}, "body_base64"),
    ({"body_base64": "e A="}, "body_base64"),
    ({"body_base64": "===="}, "body_base64"),
    ({"error_description": "x"}, "error_description"),
    ({"headers": {"X": 1}}, "headers"),
    ({"headers": {"X": "a\r\nb"}}, "X"),
    ({"omit": ["exp"]}, "omit"),
    ({"omit": "scope"}, "omit"),
    ({"subject": "a\0b"}, "subject"),
    ([], "behaviour"),
])
def test_bad_rule(issuer, rule, named):
    assert named in issuer.control("POST", "behaviour", rule, expect=400)["error"]
    assert issuer.ask().status == 200


def test_rules_full(issuer):
    connection = issuer.connect()
    for _ in range(1024):
        connection.request("POST", "/_control/behaviour", '{"status":500}')
        assert Answer(connection.getresponse()).status == 200
    connection.close()
    issuer.control("POST", "behaviour", {"status": 500}, expect=507)


# The rest of the control path


def test_stats(issuer):
    headers = {**FORM, "User-Agent": "tester/1"}
    assert issuer.call("POST", USERS + "?a=b", form(), headers).status == 200
    assert issuer.ask(scope="nope").status == 400
    assert issuer.ask(CUSTOMERS, subject_username=None, subject_email="a@b").status == 200
    assert issuer.call("POST", USERS + "?a=b", form(), headers).status == 200
    stats = issuer.stats()
    assert (stats["requests"], stats["tokens"], stats["in_flight"]) == (4, 3, 0)
    assert stats["by_subject"] == {"username:pa": 3, "email:a@b": 1}
    assert stats["by_status"] == {"200": 3, "400": 1}
    assert stats["last_request"] == {
        "method": "POST", "path": USERS, "query": "a=b", "http_version": "HTTP/1.1",
        "content_type": FORM["Content-Type"], "user_agent": "tester/1",
        "parameters": {"grant_type": "password", "client_id": "app", "client_secret": "***",
                       "scope": READ, "subject_username": "pa"},
        "order": ["grant_type", "client_id", "client_secret", "scope", "subject_username"],
    }


def test_reset_zeroes(issuer):
    issuer.ask()
    issuer.behave(status=500)
    issuer.control("POST", "reset")
    stats = issuer.stats()
    assert stats.pop("connections") >= 1 and stats.pop("connections_total") == 1
    stats.pop("token_connections")
    assert {key for key, value in stats.items() if value} == set()
    assert issuer.ask().status == 200


def test_connections_are_counted(issuer):
    issuer.ask()
    stats = issuer.stats()
    assert stats["token_connections_total"] == 1
    # the token's, that of the question, and perhaps one left over
    assert stats["connections_total"] >= 2
    issuer.control("GET", "wait?field=token_connections&at_most=0")


def test_secrets_rotate(issuer):
    path = USERS.replace("T1", "T3")
    assert issuer.ask(path, client_id="x", client_secret="1").status == 404
    for secrets in (["1"], ["1", "2"], ["2"], []):
        client = {"tenant": "T3", "client_id": "x", "secrets": secrets}
        assert issuer.control("PUT", "clients", client) == {}
        for secret in ("1", "2"):
            expected = 200 if secret in secrets else 401
            assert issuer.ask(path, client_id="x", client_secret=secret).status == expected


@pytest.mark.parametrize("client", [
    {"tenant": "T3", "client_id": "x"},
    {"tenant": "", "client_id": "x", "secrets": []},
    {"tenant": "T3", "client_id": "x", "secrets": ["1", "2", "3"]},
    {"tenant": "T3", "client_id": "x", "secrets": [1]},
    {"tenant": "T3", "client_id": "x", "secrets": [], "more": 1},
    [],
])
def test_bad_client(issuer, client):
    issuer.control("PUT", "clients", client, expect=400)


def test_clients_full():
    issuer = Issuer([])
    connection = issuer.connect()
    for i in range(1024):
        client = {"tenant": "T", "client_id": str(i), "secrets": ["s"]}
        connection.request("PUT", "/_control/clients", json.dumps(client))
        assert Answer(connection.getresponse()).status == 200
    connection.close()
    client = {"tenant": "T", "client_id": "more", "secrets": ["s"]}
    issuer.control("PUT", "clients", client, expect=507)
    issuer.control("PUT", "clients", {**client, "client_id": "7"})
    issuer.stop()


def test_expect_continue(issuer):
    with socket.create_connection((issuer.host, issuer.port), TIMEOUT_S) as raw:
        body = form().encode()
        raw.sendall((f"POST {USERS} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                     f"Content-Type: {FORM['Content-Type']}\r\n"
                     f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n").encode())
        assert raw.recv(25).startswith(b"HTTP/1.1 100 ")
        raw.sendall(body)
        with raw.makefile("rb") as stream:
            assert b"HTTP/1.1 200 " in stream.read()


def test_wait_is_told_at_once(issuer):
    watcher = issuer.send("GET", "/_control/wait?field=tokens&at_least=2&timeout_ms=15000")
    issuer.ask()
    issuer.ask()
    answer = receive(watcher)
    assert (answer.status, answer.json()["tokens"]) == (200, 2)


def test_wait_sees_what_is_brief(issuer):
    watcher = issuer.send("GET", "/_control/wait?field=in_flight&at_least=1&timeout_ms=15000")
    issuer.stats()
    issuer.ask()
    assert receive(watcher).json()["in_flight"] == 1


def test_wait_times_out(issuer):
    answer = issuer.call("GET", "/_control/wait?field=tokens&at_least=1&timeout_ms=50")
    assert (answer.status, answer.json()["tokens"]) == (408, 0)


@pytest.mark.parametrize("query", [
    "", "?field=tokens", "?field=nope&at_least=1", "?at_least=1", "?field=tokens&at_least=-1",
    "?field=tokens&at_least=x", "?field=tokens&at_least=1&timeout_ms=600001",
    "?field=tokens&at_least=1&more=1", "?field=tokens&at_least=%zz",
])
def test_bad_wait(issuer, query):
    issuer.control("GET", "wait" + query, expect=400)


@pytest.mark.parametrize("body", ["{", "nope", "{} {}", '{"count":0}', '{"n":1}', '{"count":"1"}'])
def test_bad_release(issuer, body):
    assert issuer.call("POST", "/_control/release", body).status == 400


@pytest.mark.parametrize("method, what, status, allow", [
    ("POST", "stats", 405, "GET"), ("GET", "reset", 405, "POST"), ("GET", "clients", 405, "PUT"),
    ("GET", "nothing", 404, None), ("GET", "", 404, None),
])
def test_control_routes(issuer, method, what, status, allow):
    answer = issuer.call(method, "/_control/" + what)
    assert (answer.status, answer.headers["Allow"]) == (status, allow)


# The process


def run(*arguments):
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S)


def test_help_and_version():
    result = run("--help")
    assert result.returncode == 0 and result.stdout.startswith("usage: fake-egain")
    result = run("--version")
    assert result.returncode == 0 and result.stdout.startswith("fake-egain ")


@pytest.mark.parametrize("arguments", [
    [], ["--nope"], ["--listen", "127.0.0.1:0", "more"],
    ["--listen", "0.0.0.0:0"], ["--listen", "[::]:0"], ["--listen", "localhost:0"],
    ["--listen", "127.0.0.1"], ["--listen", "127.0.0.1:65536"], ["--listen", "127.0.0.1:"],
    ["--listen", "127.0.0.1:0", "--client", "T1:app"],
    ["--listen", "127.0.0.1:0", "--client", "T1::s"],
    ["--listen", "127.0.0.1:0", "--client", "a:b:c:d:e"],
    ["--listen", "127.0.0.1:0", "--lifetime", "1h"],
    ["--listen", "127.0.0.1:0", "--token-bytes", "-1"],
    ["--listen", "127.0.0.1:0", "--tls-cert", "x"],
])
def test_usage(arguments):
    result = run(*arguments)
    assert result.returncode == 2 and result.stderr != "" and result.stdout == ""


def test_port_in_use(process):
    result = run("--listen", f"127.0.0.1:{process.port}")
    assert result.returncode == 1 and "in use" in result.stderr


def test_port_file(tmp_path):
    path = tmp_path / "port"
    issuer = Issuer(["--port-file", path])
    assert path.read_text() == f"{issuer.port}\n"
    assert os.listdir(tmp_path) == ["port"]
    issuer.stop(signal.SIGINT)


def test_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no ::1")
    issuer = Issuer(ARGUMENTS, listen="[::1]:0")
    assert issuer.greeting == f"listening on http://[::1]:{issuer.port}"
    assert issuer.ask().status == 200
    issuer.stop()


def test_options_shape_tokens():
    issuer = Issuer(["--client", "T1:app:secret", "--scope", "https://x/y:z", "--scope", "b",
                     "--lifetime", "60", "--token-bytes", "4000"])
    assert issuer.ask().status == 400
    token = issuer.ask(scope="b https://x/y:z").json()
    assert token["expires_in"] == 60
    assert 3980 <= len(token["access_token"]) <= 4000
    issuer.stop()


@pytest.mark.parametrize("rule", [
    {"hold": True}, {"stall": True}, {"delay_ms": 60000}, {"trickle_ms": 60000},
])
def test_stops_while_requests_wait(rule):
    issuer = Issuer(ARGUMENTS)
    issuer.behave(**rule)
    waiting = [issuer.ask_later() for _ in range(3)]
    issuer.wait("in_flight", 3)
    waiting.append(issuer.send("GET", "/_control/wait?field=tokens&at_least=9"))
    half = socket.create_connection((issuer.host, issuer.port))
    half.sendall(b"POST " + USERS.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
    issuer.stats()
    issuer.stop()
    for connection in (*waiting, half):
        connection.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=fake-egain",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path / "key.pem",
         "-out", path / "cert.pem"],
        check=True, capture_output=True, timeout=TIMEOUT_S)
    return path


def test_tls(certificate):
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    issuer = Issuer([*ARGUMENTS, "--tls-cert", certificate / "cert.pem",
                     "--tls-key", certificate / "key.pem"], tls=context)
    assert issuer.greeting == f"listening on https://127.0.0.1:{issuer.port}"
    assert issuer.ask().status == 200

    issuer.behave(hold=True, count=2)
    waiting, leaving = issuer.ask_later(), issuer.ask_later()
    issuer.wait("held", 2)
    leaving.close()
    issuer.wait("abandoned", 1)
    issuer.control("POST", "release")
    assert receive(waiting).status == 200

    issuer.behave(trickle_ms=1, count=1, body="0123456789")
    assert issuer.ask().body == b"0123456789"
    issuer.behave(close=True, count=1)
    with contextlib.closing(issuer.ask_later()) as connection, pytest.raises(OSError):
        connection.getresponse()
    issuer.stop()


def test_tls_without_certificate(tmp_path):
    (tmp_path / "empty").write_text("")
    for name in ("empty", "missing"):
        result = run("--listen", "127.0.0.1:0", "--tls-cert", tmp_path / name,
                     "--tls-key", tmp_path / name)
        assert result.returncode == 1 and result.stderr != ""
