# SPDX-License-Identifier: MIT
"""Each allocation of the real daemon fails once, and once with a dozen behind it: on every path,
whichever library asks for it. Whoever asked is answered, with what he asked for or a documented
refusal, or his connection is closed; never with what is not his, nor with a part of it. The daemon
lives, and what is asked next is answered as if nothing had been."""

import base64
import hashlib
import json
import subprocess
import time

import pytest

from harness import READ, payload, question
from shortage import LIBRARY
from sweep import SWEEP_MAX, Sweep, is_status, is_token_of, subject_of_its_own
from wire import Closed, form

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="not in builds that guide fuzzers")

@pytest.mark.parametrize("to", ["unix", "tcp4"])
def test_a_hit(starving, to):
    daemon = starving()
    daemon.ask("hit")
    Sweep(daemon).run(
        lambda: "hit", lambda subject: daemon.ask(subject, address=getattr(daemon, to)), is_token_of()
    )


def test_a_miss(starving):
    """On a connection to the issuer that is kept."""
    daemon = starving()
    Sweep(daemon).run(subject_of_its_own, daemon.ask, is_token_of())


def test_a_miss_on_a_new_connection(starving, issuer):
    daemon = starving()
    issuer.behave(headers={"Connection": "close"})
    Sweep(daemon).run(subject_of_its_own, daemon.ask, is_token_of())


@pytest.mark.parametrize("subjects", ["clear", "digest"])
def test_a_miss_with_the_record_required(starving, tmp_path, subjects):
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text("a key of thirty-two bytes, or more\n")
    audit = {"to": str(tmp_path / "audit"), "required": True, "subjects": subjects}
    daemon = starving(audit=audit | ({"key_file": str(key)} if subjects == "digest" else {}))
    Sweep(daemon).run(subject_of_its_own, daemon.ask, is_token_of())


def test_a_subject_that_is_refused(starving, issuer):
    daemon = starving()
    issuer.behave(error="invalid_grant")
    Sweep(daemon, blame={"subject_refused"}).run(subject_of_its_own, daemon.ask, is_status(400))


def test_a_token_that_was_rejected(starving):
    """It is not handed out again to who reports it, whatever fails."""
    daemon = starving()

    def prepare():
        subject = subject_of_its_own()
        return subject, daemon.ask(subject).json()["access_token"]

    def ask(given):
        subject, token = given
        digest = hashlib.sha256(token.encode()).hexdigest()
        return daemon.ask(subject, rejected_token_sha256=digest)

    def right(given, response):
        if response.status != 200:
            return False
        assert response.json()["access_token"] != given[1]
        return is_token_of()(given[0], response)

    Sweep(daemon).run(prepare, ask, right)


def jwt_of(subject):
    """What an identity provider would issue."""
    parts = ({"alg": "none"}, {"sub": subject, "exp": int(time.time()) + 3000})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts]
    return b".".join(part.rstrip(b"=") for part in encoded).decode() + ".x"


def test_an_exchange(starving):
    """No two subject tokens ever become one."""
    daemon = starving()
    whose = {}

    def ask(subject):
        return daemon.post(
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "client_id": "portal",
                "registration_id": "okta-1",
                "subject_token": jwt_of(subject),
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "scope": READ,
            }
        )

    def right(subject, response):
        if response.status != 200:
            return False
        assert whose.setdefault(response.json()["access_token"], subject) == subject
        return True

    Sweep(daemon).run(subject_of_its_own, ask, right)


def test_authorize(starving):
    daemon = starving()
    daemon.ask("hit")
    headers = [
        ("Metadata", "true"),
        ("X-Egain-Client", "portal"),
        ("X-Egain-Subject-Username", "hit"),
    ]

    def right(_, response):
        if response.status != 204:
            return False
        token = response.header("Authorization").removeprefix("Bearer ")
        assert payload(token)["sub"] == "hit"
        return True

    Sweep(daemon).run(
        lambda: None, lambda _: daemon.request("GET", "/v1/authorize", headers), right
    )


def same_members(of):
    """An answer is whole: it has the members that it has where nothing fails, and as many."""

    def members(value):
        if isinstance(value, dict):
            return {name: members(item) for name, item in value.items()}
        if isinstance(value, list):
            return [members(item) for item in value]
        return type(value).__name__

    whole = members(of.json())

    def right(_, response):
        if response.status != 200:
            return False
        assert members(response.json()) == whole, response
        return True

    return right


@pytest.mark.parametrize(
    "target",
    ["/v1/explain?" + form(question("hit", grant_type=None)).decode(), "/v1/status", "/v1/tokens"],
)
def test_what_is_told_in_json(starving, target):
    daemon = starving()
    daemon.ask("hit")

    def ask(_):
        return daemon.request("GET", target)

    daemon.ask("hit")
    Sweep(daemon).run(lambda: None, ask, same_members(ask(None)))


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_what_is_told_to_machines(starving, path):
    daemon = starving()

    def right(_, response):
        if response.status != 200:
            return False
        assert path != "/metrics" or response.body.endswith(b"\n")
        return True

    Sweep(daemon).run(lambda: None, lambda _: daemon.request("GET", path), right)


def test_a_purge(starving):
    daemon = starving()

    def prepare():
        subject = subject_of_its_own()
        daemon.ask(subject)
        return form({"client_id": "portal", "subject_username": subject}).decode()

    Sweep(daemon).run(
        prepare, lambda query: daemon.request("DELETE", f"/v1/tokens?{query}"), is_status(200)
    )


# libconfig 1.5 looks at nothing that malloc(), calloc() and realloc() give it: config_init(), its
# scanner (strbuf_append(), libconfig_yy_scan_bytes(), …) and its settings use NULL. What can be done
# about that is done before it is called: see is_memory_ample() in daemon/config.c.
UNCHECKED = "libconfig.so"
RELOAD_STEP = 7  # of its some 300 allocations


def test_a_reload(starving):
    """It is taken over, or is not and says so; the daemon ends in libconfig alone."""
    daemon = starving()
    ended = 0
    for n in range(0, SWEEP_MAX, RELOAD_STEP):
        daemon.ask("hit")
        daemon.shortage.begin(n, 1)
        try:
            response = daemon.request("POST", "/v1/reload")
        except (Closed, ConnectionError):
            response = None
        failed = daemon.shortage.end()
        if response is None and has_ended(daemon):
            assert any(UNCHECKED in library for library, *_ in daemon.shortage.calls()), (
                daemon.shortage.trace() + daemon.output.text()[-8000:]
            )
            ended += 1
            daemon.close()
            daemon = starving()
            continue
        if response is not None and response.status == 409:
            assert response.json()["messages"], daemon.shortage.trace()
        else:
            assert response is None or response.status in (200, 503), response
        assert is_token_of()("hit", daemon.ask("hit")), daemon.shortage.trace()
        if not failed:
            assert response.status == 200
            break
    assert ended < n / RELOAD_STEP / 2


def has_ended(daemon):
    """A connection that was closed is all that is left of a process, or it lives."""
    try:
        daemon.process.wait(0.5)
    except subprocess.TimeoutExpired:
        return False
    return True
