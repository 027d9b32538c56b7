# SPDX-License-Identifier: MIT
"""OAuth libraries of others against the token endpoint, by nothing but its URL.

The functions are those of doc/python.md. requests-oauthlib needs the switch that it has for plain
http; both need to say which status an error had and when to come again.
"""

import hashlib
import os
from types import SimpleNamespace

import pytest

import expect
from harness import CRM, MANAGE, PORTAL, READ, STAFF, rule
from people import needs_users
from recipes import addressed, blocks

requests = pytest.importorskip("requests")
oauthlib = pytest.importorskip("oauthlib.oauth2")
pytest.importorskip("requests_oauthlib")
authlib = pytest.importorskip("authlib.integrations.requests_client")

SWITCH = "OAUTHLIB_INSECURE_TRANSPORT"
KEY = "key-of-the-rule-0123456789"


def recipe(daemon, heading, monkeypatch):
    monkeypatch.delenv(SWITCH, raising=False)  # and so put back after what the recipe sets
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    namespace = {"__name__": "recipe"}
    text = addressed(blocks("python.md", "python", heading)[0], daemon)
    exec(compile(text, heading, "exec"), namespace)
    return SimpleNamespace(**namespace)


class RequestsOauthlib:
    """A token by the recipe, and by the same library with other parameters."""

    heading = "requests-oauthlib"
    error = oauthlib.OAuth2Error
    classes = {
        "invalid_client": oauthlib.InvalidClientError,
        "invalid_grant": oauthlib.InvalidGrantError,
        "invalid_scope": oauthlib.InvalidScopeError,
        "unauthorized_client": oauthlib.UnauthorizedClientError,
        "unsupported_grant_type": oauthlib.UnsupportedGrantTypeError,
        "access_denied": oauthlib.AccessDeniedError,
        "invalid_request": oauthlib.OAuth2Error,
    }

    def __init__(self, recipe):
        self.recipe = recipe
        self.access_token = recipe.access_token
        self.application_token = recipe.application_token

    def fetch(self, client_id="portal", scope=READ, secret=None, url=None, **parameters):
        """By HTTP Basic, as the library does unless it is told otherwise."""
        client = oauthlib.LegacyApplicationClient(client_id=client_id)
        session = self.recipe.OAuth2Session(client=client)
        session.trust_env = False
        session.register_compliance_hook("access_token_response", self.recipe.unavailable)
        return session.fetch_token(
            url or self.recipe.TOKEN_URL,
            scope=scope,
            username="somebody",
            password="something",
            client_secret=secret,
            **parameters,
        )


class Authlib:
    heading = "Authlib"
    error = authlib.OAuthError
    classes = {}

    def __init__(self, recipe):
        self.recipe = recipe
        self.access_token = recipe.access_token

    def application_token(self):
        return self.access_token(grant_type="client_credentials")

    def fetch(self, client_id="portal", scope=READ, secret=None, url=None, **parameters):
        session = self.recipe.OAuth2Session(client_id, secret or "", scope=scope)
        session.trust_env = False
        session.register_compliance_hook("access_token_response", self.recipe.unavailable)
        parameters.setdefault("grant_type", "password")
        return session.fetch_token(url or self.recipe.TOKEN_URL, **parameters)


@pytest.fixture(params=[RequestsOauthlib, Authlib], ids=lambda library: library.heading)
def library(request, daemon, monkeypatch):
    return request.param(recipe(daemon, request.param.heading, monkeypatch))


class TestTokens:
    @pytest.mark.parametrize("kind", ["username", "userid", "email"])
    def test_on_behalf_of(self, library, issuer, subject, kind):
        """Users and customers."""
        token = library.access_token(**{f"subject_{kind}": subject})
        expect.claims(token, subject, kind)
        assert library.access_token(**{f"subject_{kind}": subject}) == token
        assert issuer.requests() == 1

    def test_of_the_application(self, library, issuer):
        token = library.application_token()
        expect.claims(token, PORTAL.client_id, "application")
        assert library.application_token() == token
        assert issuer.requests() <= 1  # one for both libraries

    def test_odd_names(self, library):
        for name in ("anna smith", "a&subject_userid=b", "50%41+x", "Zoë"):
            expect.claims(library.access_token(subject_username=name), name)

    @pytest.mark.parametrize("client", [PORTAL, CRM, STAFF], ids=lambda client: client.name)
    def test_by_basic(self, library, daemon, subject, client):
        """By client_id, form-encoded or not, and with a secret that is none."""
        daemon.forbidden.add("a secret of old")
        for name in (client.client_id, client.name):
            token = library.fetch(name, secret="a secret of old", subject_username=subject)
            expect.claims(token["access_token"], subject, client=client)
            assert token["token_type"] == "Bearer" and 0 < token["expires_in"] <= 3600
            assert token["expires_at"] > 0

    def test_several_scopes(self, library, subject):
        """In another order than they were asked for, which must not count as other scopes."""
        scope = [READ, MANAGE]
        token = library.fetch(scope=scope, subject_username=subject)
        expect.claims(token["access_token"], subject, scope=f"{MANAGE} {READ}")

    def test_extensions(self, library, issuer, subject):
        first = library.fetch(subject_username=subject, min_ttl="60")["access_token"]
        rejected = hashlib.sha256(first.encode()).hexdigest()
        other = library.fetch(subject_username=subject, rejected_token_sha256=rejected)
        assert other["access_token"] != first and issuer.requests() == 2


class TestErrors:
    """4xx are the library's own errors."""

    def fails(self, library, code, **parameters):
        expected = library.classes.get(code, library.error)
        with pytest.raises(expected) as caught:
            library.fetch(**parameters)
        assert caught.value.error == code
        assert caught.value.description
        return caught.value.description

    def test_invalid_client(self, library, subject):
        description = self.fails(
            library, "invalid_client", client_id="nobody", subject_username=subject
        )
        assert "No client application" in description

    def test_invalid_grant(self, library, issuer, subject):
        issuer.behave(error="invalid_grant")
        description = self.fails(library, "invalid_grant", subject_username=subject)
        assert description.startswith("The issuer does not know the subject")

    def test_invalid_scope(self, library, issuer, subject):
        self.fails(library, "invalid_scope", client_id="crm", scope="", subject_username=subject)
        issuer.behave(error="invalid_scope")
        self.fails(library, "invalid_scope", subject_username=subject)

    def test_unauthorized_client(self, library, subject):
        self.fails(library, "unauthorized_client", client_id="staff", subject_email=subject)

    def test_invalid_request(self, library, subject):
        self.fails(library, "invalid_request", subject_username=subject, subject_userid="1")
        self.fails(library, "invalid_request")

    @needs_users
    def test_access_denied(self, library, start_daemon, people, subject):
        daemon = start_daemon(callers=[rule("a", user=people.a.name)])
        url = f"http://127.0.0.1:{daemon.port}/oauth2/token"
        self.fails(library, "access_denied", url=url, subject_username=subject)

    def test_a_key_as_the_secret(self, library, start_daemon, subject):
        """Where a rule has one, it goes where a library puts its secret."""
        daemon = start_daemon()
        key_file = daemon.put_key("root", KEY)
        daemon.reload(callers=[rule("root", user="root", key_file=key_file)])
        url = f"http://127.0.0.1:{daemon.port}/oauth2/token"
        self.fails(library, "invalid_client", url=url, subject_username=subject)
        token = library.fetch(url=url, secret=KEY, subject_username=subject)
        expect.claims(token["access_token"], subject)


def test_a_grant_type_that_there_is_not(daemon, monkeypatch):
    library = Authlib(recipe(daemon, Authlib.heading, monkeypatch))
    with pytest.raises(library.error) as caught:
        library.fetch(grant_type="authorization_code", code="x")
    assert caught.value.error == "unsupported_grant_type"


class TestUnavailable:
    """What is no fault of the request tells its status, and when to come again."""

    def fails(self, library, subject):
        with pytest.raises(requests.HTTPError) as caught:
            library.access_token(subject_username=subject)
        return caught.value.response

    @pytest.mark.parametrize(
        "behaviour, status, error",
        [
            ({"status": 500, "body": ""}, 503, "temporarily_unavailable"),
            (
                {"status": 429, "headers": {"Retry-After": "7"}, "body": ""},
                503,
                "temporarily_unavailable",
            ),
            ({"body": "{}"}, 502, "server_error"),
            ({"status": 401, "error": "invalid_client"}, 502, "server_error"),
        ],
        ids=["down", "throttling", "nonsense", "our credentials"],
    )
    @pytest.mark.parametrize("kind", [RequestsOauthlib, Authlib], ids=lambda kind: kind.heading)
    def test_5xx(self, start_daemon, issuer, monkeypatch, subject, kind, behaviour, status, error):
        library = kind(recipe(start_daemon(), kind.heading, monkeypatch))
        issuer.behave(**behaviour)
        response = self.fails(library, subject)
        assert (response.status_code, response.json()["error"]) == (status, error)
        assert int(response.headers["Retry-After"]) >= (7 if "headers" in behaviour else 1)

    @pytest.mark.parametrize("kind", [RequestsOauthlib, Authlib], ids=lambda kind: kind.heading)
    def test_504(self, start_daemon, issuer, monkeypatch, subject, kind):
        library = kind(recipe(start_daemon(request_timeout="200ms"), kind.heading, monkeypatch))
        issuer.behave(stall=True)
        assert self.fails(library, subject).status_code == 504

    @needs_users
    @pytest.mark.parametrize("kind", [RequestsOauthlib, Authlib], ids=lambda kind: kind.heading)
    def test_429(self, start_daemon, monkeypatch, subject, kind):
        daemon = start_daemon(callers=[rule("root", user="root", fetches="1/1d")])
        library = kind(recipe(daemon, kind.heading, monkeypatch))
        library.access_token(subject_username=subject)
        response = self.fails(library, f"{subject}-other")
        assert response.status_code == 429 and int(response.headers["Retry-After"]) > 1


class TestSwitch:
    """The recipe's switch is the one that is needed, and where."""

    def test_requests_oauthlib(self, daemon, monkeypatch, subject):
        library = RequestsOauthlib(recipe(daemon, RequestsOauthlib.heading, monkeypatch))
        assert os.environ[SWITCH] == "1"
        monkeypatch.delenv(SWITCH)
        with pytest.raises(oauthlib.InsecureTransportError):
            library.access_token(subject_username=subject)

    def test_authlib(self, daemon, monkeypatch, subject):
        monkeypatch.delenv("AUTHLIB_INSECURE_TRANSPORT", raising=False)
        library = Authlib(recipe(daemon, Authlib.heading, monkeypatch))
        assert SWITCH not in os.environ
        library.access_token(subject_username=subject)
