# SPDX-License-Identifier: MIT
"""Who gets tokens while there are no rules: the daemon's own user on every listener, and root on
Unix sockets.

Callers of another uid are curl, started with that uid. Needs root.
"""

import json
import os
import pwd
import subprocess

import pytest

import expect
from harness import PORTAL, READ, Daemon, become, environment, payload
from wire import form_request

ROOT = pwd.getpwuid(0)
NOBODY = pwd.getpwnam("nobody")
# Some other user who is neither root nor the daemon's.
OTHER = pwd.getpwnam("daemon")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


def curl(daemon, listener, target, user, *arguments):
    """A request of another user; its status and body."""
    origin, via = {
        "unix": ("http://localhost", ["--unix-socket", daemon.unix]),
        "tcp4": (f"http://127.0.0.1:{daemon.port}", []),
        "tcp6": (f"http://[::1]:{daemon.port}", []),
    }[listener]
    run = subprocess.run(
        [
            "curl",
            "--silent",
            "--show-error",
            "--write-out",
            "\n%{http_code}",
            *via,
            *arguments,
            origin + target,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd="/",
        env=environment(HOME="/"),
    )
    assert run.returncode == 0, run
    body, _, status = run.stdout.rpartition("\n")
    return int(status), body


def ask(daemon, listener, user, subject="pa"):
    form = {
        "grant_type": "password",
        "client_id": "portal",
        "scope": READ,
        "subject_username": subject,
    }
    data = [
        word for name, value in form.items() for word in ("--data-urlencode", f"{name}={value}")
    ]
    status, body = curl(daemon, listener, "/oauth2/token", user, *data)
    return status, json.loads(body)


@pytest.mark.parametrize("listener", ["unix", "tcp4", "tcp6"])
class TestDaemonOfRoot:
    def test_root_gets_tokens(self, daemon, listener):
        expect.token(daemon.ask("pa", address=getattr(daemon, listener)), "pa")

    def test_others_do_not(self, daemon, issuer, listener):
        """Neither a new token nor one that is there."""
        for subject in ("pa", "nobody-ever-asked"):
            status, answer = ask(daemon, listener, NOBODY, subject)
            assert (status, answer["error"]) == (403, "access_denied")
            assert "access_token" not in answer
            # The refusal tells the operator what he would have to change.
            assert answer["error_description"]
            expect.token(daemon.ask("pa"), "pa")
        assert "username:nobody-ever-asked" not in issuer.stats()["by_subject"]

    def test_nor_through_get(self, daemon, listener):
        target = "/v1/token?client_id=portal&subject_username=pa"
        for accept in ("application/json", "text/plain"):
            headers = ["-H", "Metadata: true", "-H", f"Accept: {accept}"]
            status, body = curl(daemon, listener, target, NOBODY, *headers)
            assert status == 403 and json.loads(body)["error"] == "access_denied"

    def test_a_refusal_does_not_tell_what_is_configured(self, daemon, listener):
        """Client applications are for those who may have tokens."""
        target = "/v1/token?client_id=no-such-client&subject_username=pa"
        status, _ = curl(daemon, listener, target, NOBODY, "-H", "Metadata: true")
        assert status in (401, 403)

    def test_everybody_may_ask_for_health_and_metadata(self, daemon, listener):
        for target in ("/healthz", "/readyz", "/.well-known/oauth-authorization-server"):
            assert curl(daemon, listener, target, NOBODY)[0] == 200

    def test_nobody_joins_a_flight_he_may_not_share(self, daemon, issuer, listener, subject):
        issuer.behave(hold=True)
        with daemon.connect() as root:
            from_root = {
                "grant_type": "password",
                "client_id": "portal",
                "subject_username": subject,
            }
            root.send(form_request(from_root))
            issuer.wait_for("held", 1)
            assert ask(daemon, listener, NOBODY, subject)[0] == 403
            issuer.release()
            expect.token(root.receive(), subject)


class TestDaemonOfNobody:
    @pytest.fixture(scope="class")
    def unprivileged(self, issuer_process):
        """A daemon that runs as nobody, whose files are his."""
        with Daemon(issuer_process, clients=[PORTAL], user=NOBODY) as daemon:
            yield daemon

    @pytest.mark.parametrize("listener", ["unix", "tcp4", "tcp6"])
    def test_who_gets_tokens(self, unprivileged, issuer, listener):
        for user, allowed in ((ROOT, listener == "unix"), (NOBODY, True), (OTHER, False)):
            status, answer = ask(unprivileged, listener, user)
            if allowed:
                assert status == 200, answer
                assert payload(answer["access_token"])["sub"] == "pa"
            else:
                assert (status, answer["error"]) == (403, "access_denied")

    @pytest.mark.parametrize("listener", ["unix", "tcp4", "tcp6"])
    def test_who_administers(self, unprivileged, issuer, listener):
        """On Unix sockets only, and there the same two."""
        for user in (ROOT, NOBODY, OTHER):
            status, body = curl(unprivileged, listener, "/v1/tokens", user)
            assert status == (200 if listener == "unix" and user != OTHER else 403), body

    @pytest.mark.parametrize("listener", ["unix", "tcp4", "tcp6"])
    def test_who_monitors(self, unprivileged, issuer, listener):
        """Whoever may have tokens, on any listener."""
        target = "/v1/explain?client_id=portal&subject_username=pa"
        for user, allowed in ((ROOT, listener == "unix"), (NOBODY, True), (OTHER, False)):
            status, body = curl(unprivileged, listener, target, user)
            assert status == (200 if allowed else 403), body
            assert ("entry" in json.loads(body)) == allowed

    def test_a_secret_of_root_that_it_may_not_read(self, issuer):
        daemon = Daemon(issuer, clients=[PORTAL], prefix=become(NOBODY))
        try:
            daemon.path.touch(0o600)
            for path in (daemon.directory, daemon.path):
                os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
            daemon.spawn_daemon()
            assert daemon.wait() == 78
            assert "portal.secret" in daemon.output.text()
        finally:
            daemon.close()
