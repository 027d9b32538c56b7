# SPDX-License-Identifier: MIT
"""What every answer of the daemon has to look like, by doc: the HTTP interface."""

import re

from harness import PORTAL, READ, payload

RETRYABLE = (429, 503)


def cache_status(response):
    """The Cache-Status header (RFC 9211) as a dict of its parameters, in any order."""
    name, *parameters = [part.strip() for part in response.header("Cache-Status").split(";")]
    assert name == "egain-tokend"
    return {key: value or True for key, _, value in (part.partition("=") for part in parameters)}


def not_stored(response):
    """Nothing on the way may keep it."""
    assert response.header("Cache-Control") == "no-store"
    assert response.header("Pragma") == "no-cache"


def token(response, subject, kind="username", scope=READ, client=PORTAL):
    """A 200 with a token of exactly this subject, scope and client application; its claims."""
    assert response.status == 200, response
    assert response.header("Content-Type") == "application/json"
    not_stored(response)
    answer = response.json()
    names = {"access_token", "token_type", "expires_in", "scope"}
    if kind == "exchange":
        assert answer["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
        names.add("issued_token_type")
    assert set(answer) == names, answer
    assert answer["token_type"] == "Bearer"
    assert type(answer["expires_in"]) is int and answer["expires_in"] > 0, answer
    assert sorted(answer["scope"].split(" ")) == sorted(set(scope.split(" ")))
    return claims(answer["access_token"], subject, kind, scope, client)


def claims(access_token, subject, kind="username", scope=READ, client=PORTAL):
    """The claims of a token that must be this subject's, scope's and client application's."""
    said = payload(access_token)
    expected = (subject, kind, sorted(set(scope.split(" "))), client.client_id, client.tenant)
    got = (
        said["sub"],
        said["kind"],
        sorted(said["scope"].split(" ")),
        said["client_id"],
        said["tenant"],
    )
    assert got == expected
    return said


def hit(response, *args, **kwargs):
    """A token served from memory."""
    said = token(response, *args, **kwargs)
    match = re.fullmatch(r"egain-tokend; hit; ttl=(\d+)", response.header("Cache-Status"))
    assert match, response.header("Cache-Status")
    assert int(match[1]) == response.json()["expires_in"]
    return said


def miss(response, *args, **kwargs):
    """A token fetched for this request alone."""
    said = token(response, *args, **kwargs)
    status = cache_status(response)
    # RFC 9211 allows a ttl here, too.
    assert status.pop("ttl", None) in (None, str(response.json()["expires_in"]))
    assert status == {"fwd": "miss"}
    return said


def old(response, detail, fwd, *args, **kwargs):
    """A token handed out because no new one came, and why that is."""
    said = token(response, *args, **kwargs)
    status = cache_status(response)
    assert (status.get("fwd"), status.get("detail")) == (fwd, detail), status
    return said


def error(response, status, code):
    """An error in the form of RFC 6749 §5.2; its description."""
    assert (response.status, response.body[:1]) == (status, b"{"), response
    assert response.header("Content-Type") == "application/json"
    not_stored(response)
    answer = response.json()
    assert set(answer) == {"error", "error_description"}, answer
    codes = (code,) if isinstance(code, str) else code
    assert answer["error"] in codes, answer
    # RFC 6749 §5.2: the characters a description may have.
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", answer["error_description"]), answer
    if status == 401:
        assert response.header("WWW-Authenticate") == 'Basic realm="egain-tokend"'
    else:
        assert not response.values("WWW-Authenticate")
    if status in RETRYABLE:
        # Who has used up the fetches of a day may have to wait for long.
        digits = 3 if status == 503 else 5
        retry = response.header("Retry-After") or ""
        assert re.fullmatch(rf"[1-9]\d{{0,{digits - 1}}}", retry), response.headers
    if status == 405:
        assert response.header("Allow")
    assert not response.values("Set-Cookie")
    return answer["error_description"]


def unavailable(response):
    """The issuer is down or we are full: come again."""
    return error(response, 503, "temporarily_unavailable")


def retry_after(response):
    """The seconds of a 503's Retry-After."""
    unavailable(response)
    return int(response.header("Retry-After"))
