# SPDX-License-Identifier: MIT
"""What is in the memory of the daemon: core files of the live process are searched.

The daemon of these tests is built as operators build it, since a build for the sanitizers does not
wipe what it frees. It leads a full life first, over each way to an issuer; then dead tokens, retired
secrets and what others sent must be gone without a trace, in any encoding and not even by halves,
and what is alive must be where it is kept and nowhere else.

The one exception, tokens in the snapshot of a restart, is in no process but the one that writes it
and the one that reads it: a sealed memfd in the store of systemd.
"""

import base64
import contextlib
import hashlib
import json
import os
import time

import pytest

import expect
from harness import PORTAL, Client, Daemon, question
from memory import Core, forms, mappings
from test_grants import exchange, exchanged, subject_token
from test_warm_restart import NAME, Managed, Manager, restart

from tls import CLIENTS
from wire import Fleet, eventually, form, form_request, http_request

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="takes core files as root")

# An answer that is asked for again and again is kept, and given back this long after, at the latest;
# many times over, for busy machines.
SETTLED_S = 20

# What issuers and callers send that no answer and no log may ever show.
ERROR = "s3cret-of-an-error-answer"
REFRESH = "s3cret-refresh-token"
IDENTITY = "s3cret-identity-token"
KEY = "s3cret~of/a+caller"
ROTATED = "s3cret~rotated/0815+x"

# The ways to an issuer, by the name of the client application that goes it.
WAYS = ("portal", "http1", "good")


def secret_of(way):
    return PORTAL.secret if way == "portal" else f"s3cret~{way}/4711+x"


@pytest.fixture
def served(issuer, nginx, plain_program):
    """A daemon whose client applications go different ways to one issuer."""
    issuer.accept(PORTAL, PORTAL.secret)
    clients, urls = [PORTAL], {}
    for way in WAYS[1:]:
        known = CLIENTS[way]
        client = Client(way, known.client_id, secret_of(way), known.tenant, known.default_scope)
        issuer.accept(client, client.secret)
        origin = f"https://localhost:{nginx.ports[way]}"
        urls[way] = {
            f"{kind}_token_url": issuer.url(client, kind, origin) for kind in client.kinds
        }
        clients.append(client)
    upstream = {"ca_file": nginx.directory / "ca.pem"}
    with Daemon(issuer, clients, urls, program=plain_program, upstream=upstream) as daemon:
        daemon.forbidden |= {ERROR, REFRESH, IDENTITY, KEY, ROTATED}
        yield daemon


def token_of(response):
    assert response.status == 200, response
    return response.json()["access_token"]


def halves(token):
    """A token, and what a buffer that was partly used again could hold of it."""
    middle = len(token) // 2
    return [token.encode(), token[:middle].encode(), token[middle:].encode()]


def purge(daemon, subject):
    target = "/v1/tokens?" + form({"subject_username": subject}).decode()
    response = daemon.request("DELETE", target)
    assert response.status == 200 and response.json()["purged"] >= 1, response


class Life:
    """What happens to one client application's tokens, on connections that stay open."""

    def __init__(self, daemon, issuer, way, stack):
        self.daemon, self.issuer, self.way, self.stack = daemon, issuer, way, stack
        self.dead = {}  # what must be gone
        self.live = {}  # what must be there once
        self._served()
        self._plainly()
        self._ran_out()
        self._failed()

    def connect(self, address=None):
        return self.stack.enter_context(self.daemon.connect(address))

    def asked(self, connection, subject, **more):
        subject = f"{subject}-{self.way}"
        connection.send(form_request(question(subject, client_id=self.way, **more)))
        return connection.receive()

    def _served(self):
        unix, tcp = self.connect(), self.connect(self.daemon.tcp4)
        self.dead["replaced"] = token_of(self.asked(unix, "replaced"))
        for _ in range(5):  # often enough for its answer to be kept
            assert token_of(self.asked(tcp, "replaced")) == self.dead["replaced"]
        rejected = hashlib.sha256(self.dead["replaced"].encode()).hexdigest()
        self.live["new"] = token_of(self.asked(unix, "replaced", rejected_token_sha256=rejected))
        self.dead["purged"] = token_of(self.asked(tcp, "purged"))
        purge(self.daemon, f"purged-{self.way}")
        self.live["other"] = token_of(self.asked(tcp, "other"))

    def _plainly(self):
        """Tokens in a body of their own, and in a header."""
        subject = f"plain-{self.way}"
        asked = question(subject, client_id=self.way)
        del asked["grant_type"]
        headers = [("Metadata", "true"), ("Accept", "text/plain")]
        connection = self.connect()
        request = http_request("GET", "/v1/token?" + form(asked).decode(), headers)
        self.dead["plain"] = connection.send(request).receive().body.decode()
        headers = [("Metadata", "true"), ("X-Egain-Subject-Username", subject)]
        headers.append(("X-Egain-Client", self.way))
        connection = self.connect(self.daemon.tcp4)
        response = connection.send(http_request("GET", "/v1/authorize", headers)).receive()
        assert response.header("Authorization") == f"Bearer {self.dead['plain']}"
        purge(self.daemon, subject)

    def _ran_out(self):
        self.issuer.behave(subject=f"username:short-{self.way}", lifetime=2)
        self.dead["expired"] = token_of(self.asked(self.connect(), "short"))
        listed = "/v1/tokens?" + form({"subject_username": f"short-{self.way}"}).decode()
        eventually(
            lambda: self.daemon.request("GET", listed).json()["tokens"] == [], "the token's end"
        )

    def _failed(self):
        """Answers with more in them than is kept, and errors."""
        connection = self.connect()
        answers = {
            "whole": (200, {"refresh_token": REFRESH * 9, "id_token": IDENTITY * 9}, 200),
            "refused": (400, {"error": "invalid_grant", "error_description": ERROR}, 400),
            "broken": (500, {"error": ERROR}, 503),
            "odd": (200, {"access_token": 5, "more": ERROR}, 502),
        }
        for subject, (status, members, expected) in answers.items():
            body = {"access_token": "eyJ" + "s3cret-access" * 20 + self.way, "token_type": "Bearer"}
            body = {**body, "expires_in": 3600, **members}
            self.issuer.behave(
                subject=f"username:{subject}-{self.way}", status=status, body=json.dumps(body)
            )
            assert self.asked(connection, subject).status == expected, subject
        purge(self.daemon, f"whole-{self.way}")
        self.dead["odd"] = "s3cret-access" * 4


class Evidence:
    """What to look for, and how often it may be there."""

    def __init__(self):
        self.needles = {}  # name: (bytes, how often at most, how often at least)

    def dead(self, name, text):
        for number, part in enumerate(halves(text) if len(text) > 100 else [text.encode()]):
            self.needles[f"dead: {name}, part {number}"] = (part, 0, 0)

    def live(self, name, text):
        self.needles[f"live: {name}"] = (text.encode(), 1, 1)

    def secret(self, name, secret, client_id, retired):
        for form_name, text in forms(secret, client_id).items():
            most = 0 if retired or form_name != "plain" else 1
            self.needles[f"secret: {name}, {form_name}"] = (text, most, most)

    def faults(self, core):
        faults = []
        for name, (needle, most, least) in self.needles.items():
            found = core.find(needle)
            if not least <= len(found) <= most:
                places = [(core.place(at), core.around(at)) for at in found[:3]]
                faults.append(f"{name}: {len(found)} copies, {least} to {most} expected: {places}")
        return faults

    def hold(self, daemon):
        """Kept answers are given back in a moment; what is there then is there to stay."""
        deadline = time.monotonic() + SETTLED_S
        while True:
            core = Core(daemon.process.pid)
            faults = self.faults(core)
            if not faults:
                return core
            assert time.monotonic() < deadline, "\n".join(faults)


def rotate(daemon, issuer, client, secret):
    """Puts another secret in the place of a client application's, and sees it used."""
    issuer.accept(client, secret)
    since = len(daemon.output.lines)
    daemon.put_secret(client, secret)
    daemon.output.wait_for("secret", since)
    expect.token(daemon.ask("rotated"), "rotated")


class TestCore:
    def test_finds_what_is_there(self, served, subject):
        """Or all the other tests could not fail."""
        planted = token_of(served.ask(subject))
        core = Core(served.process.pid)
        assert core.size > 8 * 1024 * 1024
        assert len(core.find(planted.encode())) >= 1
        (at,) = core.find(PORTAL.secret.encode())
        assert core.place(at) == "[heap]"
        evidence = Evidence()
        evidence.dead("planted", planted)
        evidence.secret("planted", PORTAL.secret, PORTAL.client_id, retired=True)
        faults = evidence.faults(core)
        assert [fault.split(":")[:2] for fault in faults] == [
            ["dead", " planted, part 0"],
            ["dead", " planted, part 1"],
            ["dead", " planted, part 2"],
            ["secret", " planted, plain"],
        ]

    def test_knows_encodings(self):
        written = forms("a~b/c d", "id+x")
        assert b"a~b%2Fc+d" in written.values() and b"a~b\\/c d" in written.values()
        assert base64.b64encode(b"id+x:a~b/c d") in written.values()
        for shift in range(3):
            text = base64.b64encode(b"?" * shift + b"a~b/c d and more")
            assert any(form in text for name, form in written.items() if "base64" in name), shift


class TestAfterALife:
    def test_nothing_dead_is_left(self, served, issuer):
        evidence = Evidence()
        with contextlib.ExitStack() as stack:
            for way in WAYS:
                life = Life(served, issuer, way, stack)
                for name, text in life.dead.items():
                    evidence.dead(f"{name} of {way}", text)
                for name, text in life.live.items():
                    evidence.live(f"{name} of {way}", text)
            for name in (ERROR, REFRESH, IDENTITY):
                evidence.dead(name, name)

            foreign = subject_token("somebody", pad=300)
            connection = stack.enter_context(served.connect())
            exchanged(connection.send(form_request(exchange(foreign))).receive(), foreign)
            evidence.dead("subject token", foreign)

            basic = base64.b64encode(f"portal:{KEY}".encode()).decode()
            for headers, more in (
                ([("Authorization", f"Basic {basic}")], {"client_id": None}),
                ([], {"client_secret": KEY}),
            ):
                connection = stack.enter_context(served.connect())
                asked = form_request(question("other-portal", **more), headers)
                assert connection.send(asked).receive().status == 200
            evidence.secret("a caller's", KEY, "portal", retired=True)

            rotate(served, issuer, PORTAL, ROTATED)
            evidence.secret("retired", PORTAL.secret, PORTAL.client_id, retired=True)
            evidence.secret("new", ROTATED, PORTAL.client_id, retired=False)
            for way in WAYS[1:]:
                evidence.secret(way, secret_of(way), CLIENTS[way].client_id, retired=False)
            served.reload(request_timeout="19s")

            core = evidence.hold(served)
            for name, (needle, most, _) in evidence.needles.items():
                assert most == 0 or core.place(core.find(needle)[0]) == "[heap]", name

    def test_nothing_is_left_of_many_at_once(self, served, issuer):
        """On one connection of HTTP/2, answers too large for one read."""
        evidence = Evidence()
        for number in range(24):
            body = {
                "access_token": f"eyJ{number:04}" + f"s3cret-many-{number:04}-" * 600,
                "token_type": "Bearer",
                "expires_in": 3600,
                "refresh_token": REFRESH * 3000,
            }
            issuer.behave(subject=f"username:many-{number}", status=200, body=json.dumps(body))
            evidence.dead(f"many {number}", f"s3cret-many-{number:04}-")
        evidence.dead("refresh token", REFRESH)
        with Fleet(served.unix, 24) as fleet:
            fleet.send(lambda index: form_request(question(f"many-{index}", client_id="good")))
            for index, response in enumerate(fleet.collect()):
                assert f"s3cret-many-{index:04}-" * 600 in token_of(response)
            for index in range(24):
                purge(served, f"many-{index}")
            evidence.hold(served)


class TestWithoutAConnection:
    def test_nothing_is_left_of_a_caller_who_hung_up(self, served, issuer, subject):
        """In the middle of a body that held his secret, or while he waited."""
        evidence = Evidence()
        request = form_request(question(subject, client_secret=KEY))
        with served.connect() as caller:
            caller.send(request[:-1])
            served.settle()
        with served.connect() as caller:
            caller.send(b"GET /v1/token HTTP/1.1\r\nHost: x\r\nX-Secret: " + KEY.encode())
            served.settle()
        issuer.behave(subject=f"username:{subject}", hold=True)
        with served.connect() as caller:
            caller.send(request)
            issuer.wait_for("held", 1)
        issuer.release()
        eventually(lambda: served.explain(subject)["entry"], "the token")
        evidence.secret("a caller's", KEY, "portal", retired=True)
        evidence.hold(served)


class TestRestart:
    def test_the_snapshot_is_not_kept(self, issuer, plain_program):
        """It is given back when it was read, and no other mapping has what is in it."""
        with contextlib.ExitStack() as stack:
            daemon = stack.enter_context(
                contextlib.closing(Managed(issuer, program=plain_program, drain_timeout="20s"))
            )
            manager = stack.enter_context(
                contextlib.closing(Manager(daemon.directory / "notify"))
            )
            daemon._env["NOTIFY_SOCKET"] = manager.path
            daemon.start()
            purged, kept = (token_of(daemon.ask(subject)) for subject in ("purged", "kept"))
            restart(daemon, manager)
            assert daemon.restored() == 2
            # The memfd is ours to see: systemd holds it, and nobody else.
            names = [mapping.name for mapping in mappings(daemon.process.pid)]
            assert not [name for name in names if NAME in name]
            folder = f"/proc/{daemon.process.pid}/fd"
            links = [os.readlink(entry.path) for entry in os.scandir(folder)]
            assert not [link for link in links if NAME in link], links
            purge(daemon, "purged")
            evidence = Evidence()
            evidence.dead("purged", purged)
            evidence.live("kept", kept)
            evidence.hold(daemon)
            daemon.stop()
