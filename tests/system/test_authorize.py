# SPDX-License-Identifier: MIT
"""GET /v1/authorize: asked in header fields, answered in one.

The bytes on the wire are the test's own, since what libmicrohttpd makes of odd heads is the point:
a subject must be the bytes that were sent, or be refused.
"""

import json

import pytest

import expect
from harness import CRM, MANAGE, PORTAL, READ, STAFF, question, rule
from people import needs_users
from scrape import scrape
from wire import Fleet, http_request

USERNAME = "X-Egain-Subject-Username"
FIELDS = {
    "username": USERNAME,
    "userid": "X-Egain-Subject-Userid",
    "email": "X-Egain-Subject-Email",
}
LISTENERS = ("unix", "tcp4", "tcp6")

# What a header takes; room for it is shared with the head of the request.
TOKEN_MAX_BYTES = 8192


def lines_of(subject, kind="username", client="portal", scope=None, min_ttl=None):
    """The header fields of a question, as (name, bytes)."""
    lines = [(FIELDS[kind], subject)]
    lines += [("X-Egain-Client", client)] if client is not None else []
    lines += [("X-Egain-Scope", scope)] if scope is not None else []
    lines += [("X-Egain-Min-Ttl", str(min_ttl))] if min_ttl is not None else []
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in lines]


def head(*lines, target="/v1/authorize", metadata=True):
    """The bytes of a request with these lines in its head; each is raw bytes or (name, bytes)."""
    start = [f"GET {target} HTTP/1.1".encode(), b"Host: localhost"]
    start += [b"Metadata: true"] if metadata else []
    given = [
        line if isinstance(line, bytes) else line[0].encode() + b": " + line[1] for line in lines
    ]
    return b"\r\n".join([*start, *given, b"", b""])


def send(daemon, data, address=None):
    with daemon.connect(address) as connection:
        response = connection.send(data).receive()
        assert not connection.buffer, "bytes behind the answer"
        return response


def ask(daemon, subject, kind="username", *more, address=None, **options):
    return send(daemon, head(*lines_of(subject, kind, **options), *more), address)


def authorized(response, subject, kind="username", scope=READ, client=PORTAL):
    """A 204 with a token of exactly this subject, scope and client; the token."""
    assert response.status == 204, response
    assert response.body == b""
    assert not response.values("Content-Length") and not response.values("Content-Type")
    assert not response.values("WWW-Authenticate") and not response.values("Set-Cookie")
    expect.not_stored(response)
    assert int(expect.cache_status(response)["ttl"]) > 0
    scheme, _, token = response.header("Authorization").partition(" ")
    assert scheme == "Bearer"
    expect.claims(token, subject, kind, scope, client)
    return token


class TestAnswer:
    @pytest.mark.parametrize("listener", LISTENERS)
    def test_a_token_in_a_header(self, daemon, issuer, subject, listener):
        address = getattr(daemon, listener)
        first = ask(daemon, subject, address=address)
        second = ask(daemon, subject, address=address)
        assert authorized(first, subject) == authorized(second, subject)
        assert expect.cache_status(first)["fwd"] == "miss"
        assert expect.cache_status(second)["hit"] is True
        assert issuer.requests() == 1

    @pytest.mark.parametrize("kind", FIELDS)
    def test_every_kind_of_subject(self, daemon, subject, kind):
        authorized(ask(daemon, subject, kind), subject, kind)

    def test_scope_and_client(self, daemon, issuer, subject):
        for scope in (MANAGE, f"{READ} {MANAGE}", f"{MANAGE} {READ} {MANAGE}"):
            response = ask(daemon, subject, client=CRM.client_id, scope=scope)
            authorized(response, subject, scope=scope, client=CRM)
        assert issuer.requests() == 2

    def test_the_same_token_as_by_the_other_ways(self, daemon, issuer, subject):
        token = authorized(ask(daemon, subject), subject)
        assert daemon.ask(subject).json()["access_token"] == token
        assert daemon.get(subject).json()["access_token"] == token
        assert issuer.requests() == 1

    def test_min_ttl(self, daemon, issuer, subject):
        issuer.behave(lifetime=60)
        authorized(ask(daemon, subject), subject)
        # Just fetched, it does for any.
        authorized(ask(daemon, subject, min_ttl=3000), subject)
        assert issuer.requests() == 1

    def test_a_connection_is_kept(self, daemon, subject):
        with daemon.connect() as connection:
            for number in range(20):
                name = f"{subject}-{number % 4}"
                authorized(connection.send(head(*lines_of(name))).receive(), name)

    def test_a_body_is_not_read_as_anything(self, daemon, subject):
        data = http_request(
            "GET",
            "/v1/authorize",
            [("Metadata", "true"), *((n, v.decode()) for n, v in lines_of(subject))],
            b"subject_username=other&grant_type=password",
        )
        authorized(send(daemon, data), subject)

    def test_no_other_method(self, daemon, issuer, subject):
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            data = head(*lines_of(subject)).replace(b"GET", method.encode(), 1)
            response = send(daemon, data)
            expect.error(response, 405, "invalid_request")
            assert response.header("Allow") == "GET"
        assert issuer.requests() == 0


class TestVerbatim:
    """The subject that the issuer saw and minted is what stood in the header, byte for byte."""

    NAMES = [
        "%61dmin",
        "bob&scope=x",
        "anna smith",
        "jörg müller",
        "日本",
        "a+b",
        "a%20b",
        "a=b&subject_username=c",
        'quo"ted\\',
        "a,b;c",
        "p  a",
        "?x#y",
        "x" * 256,
        "ü" * 128,
        ":",
    ]

    @pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
    def test_names(self, daemon, issuer, name):
        authorized(ask(daemon, name), name)
        assert issuer.last()["parameters"]["subject_username"] == name

    def test_byte_by_byte(self, daemon, subject):
        """However the bytes arrive, and however much of them there is."""
        name = subject + " %41"
        data = head(*lines_of(name), ("X-Filler", b"x" * 3000))
        with daemon.connect() as connection:
            for index in range(0, len(data), 7):
                connection.send(data[index : index + 7])
            authorized(connection.receive(), name)

    @pytest.mark.parametrize("size", [1000, 4000, 7000])
    @pytest.mark.parametrize("behind", [False, True])
    def test_large_heads(self, daemon, subject, size, behind):
        filler = [(f"X-Filler-{number}", b"x" * 90) for number in range(size // 100)]
        lines = lines_of(subject)
        lines = lines + filler if behind else filler + lines
        authorized(send(daemon, head(*lines)), subject)

    def test_pipelined(self, daemon, subject):
        names = [f"{subject} {number}" for number in range(8)]
        with daemon.connect() as connection:
            connection.send(b"".join(head(*lines_of(name)) for name in names))
            for name in names:
                authorized(connection.receive(), name)

    @pytest.mark.parametrize("blank", [b":", b": ", b":\t"])
    def test_one_blank_or_none(self, daemon, subject, blank):
        line = USERNAME.encode() + blank + subject.encode()
        authorized(send(daemon, head(line, b"X-Egain-Client: portal")), subject)

    def test_names_of_headers_in_any_case(self, daemon, subject):
        data = head(*lines_of(subject, scope=MANAGE)).replace(b"X-Egain-S", b"x-eGAIN-s")
        authorized(send(daemon, data), subject, scope=MANAGE)


class TestRefused:
    """What is not certain, or off, costs the issuer nothing."""

    CLIENT = b"X-Egain-Client: portal"

    # Heads that libmicrohttpd reads as something else than was sent.
    ODD = {
        "nul": [b"%s: pa\0b" % USERNAME.encode(), CLIENT],
        "nul at the end": [CLIENT, b"%s: pa\0" % USERNAME.encode()],
        "nuls at the end": [CLIENT, b"%s: pa\0\0\0\0b" % USERNAME.encode()],
        "nul before it": [b"%s: \0pa" % USERNAME.encode(), CLIENT],
        "nul elsewhere": [b"%s: pa" % USERNAME.encode(), CLIENT, b"X-Other: a\0b"],
        "two blanks": [b"%s:  pa" % USERNAME.encode(), CLIENT],
        "blank and tab": [b"%s: \tpa" % USERNAME.encode(), CLIENT],
        "folded": [b"%s: pa\r\n b" % USERNAME.encode(), CLIENT],
        "folded by a tab": [CLIENT, b"%s: pa\r\n\tb" % USERNAME.encode()],
        "folded into nothing": [b"%s: pa\r\n " % USERNAME.encode(), CLIENT],
        "folded scope": [b"%s: pa" % USERNAME.encode(), CLIENT, b"X-Egain-Scope: a\r\n b"],
        "a folded name": [b"X-Egain-Subject-User: pa\r\n name", CLIENT],
        "line feed": [b"%s: pa\nX-Egain-Scope: a" % USERNAME.encode(), CLIENT],
        "line feed at the end": [CLIENT, b"%s: pa\nX-Other: a" % USERNAME.encode()],
    }

    @pytest.mark.parametrize("lines", ODD.values(), ids=ODD)
    def test_odd_heads(self, daemon, issuer, lines):
        description = expect.error(send(daemon, head(*lines)), 400, "invalid_request")
        assert description.startswith("A header holds a NUL, is folded, ")
        assert issuer.requests() == 0

    @pytest.mark.parametrize("value", [b"pa ", b"pa\t", b"pa  "])
    @pytest.mark.parametrize("kind", FIELDS)
    def test_a_blank_at_the_end(self, daemon, issuer, kind, value):
        response = ask(daemon, value, kind)
        assert "begins or ends with a space" in expect.error(response, 400, "invalid_request")
        assert issuer.requests() == 0

    @pytest.mark.parametrize("value", [b"a\rb", b"a\tb", b"a\x7f", b"\xff", b"\xc3", b"\xc2\x85"])
    def test_control_characters_and_no_utf8(self, daemon, issuer, value):
        assert "not valid UTF-8" in expect.error(ask(daemon, value), 400, "invalid_request")
        assert issuer.requests() == 0

    @pytest.mark.parametrize("name", [*FIELDS.values(), "X-Egain-Scope", "X-Egain-Client"])
    def test_repeats(self, daemon, issuer, name):
        for first, second in ((b"a", b"b"), (b"a", b"a"), (b"", b"a"), (b"a", b"")):
            data = head((name, first), (name.lower(), second))
            description = expect.error(send(daemon, data), 400, "invalid_request")
            assert f"header {name.lower()} occurs twice" in description
        assert issuer.requests() == 0

    @pytest.mark.parametrize(
        "name", ["X-Egain-Subject", "X-Egain-Scopes", "X-Egain-Scope.", "X-Egain-Client-Id"]
    )
    def test_names_that_only_begin_like_ours(self, daemon, issuer, name):
        data = head(*lines_of("pa"), (name, b"a"))
        description = expect.error(send(daemon, data), 400, "invalid_request")
        assert f"header {name} only begins like" in description
        assert issuer.requests() == 0

    def test_subjects(self, daemon, issuer):
        for lines, said in (
            ([self.CLIENT], "There is no subject"),
            (lines_of("a") + lines_of("b", "email", client=None), "more than one subject"),
            (lines_of(""), "subject is empty"),
            (lines_of("x" * 257), "too long"),
        ):
            description = expect.error(send(daemon, head(*lines)), 400, "invalid_request")
            assert said in description
        assert issuer.requests() == 0

    def test_the_rest(self, daemon, issuer):
        for options, status, error, said in (
            ({"client": None}, 400, "invalid_request", "X-Egain-Client"),
            ({"client": "nobody"}, 401, "invalid_client", "No client application"),
            ({"client": "portal "}, 401, "invalid_client", "No client application"),
            ({"scope": "a  b"}, 400, "invalid_scope", "single spaces"),
            ({"scope": "a "}, 400, "invalid_scope", "single spaces"),
            ({"client": "crm"}, 400, "invalid_scope", "no default_scope"),
            ({"min_ttl": "1s"}, 400, "invalid_request", "X-Egain-Min-Ttl"),
        ):
            assert said in expect.error(ask(daemon, "pa", **options), status, error)
        response = ask(daemon, "pa", "email", client=STAFF.name)
        expect.error(response, 400, "unauthorized_client")
        assert issuer.requests() == 0

    @pytest.mark.parametrize("query", ["x", "subject_username=pb", "scope=a", "=", "%zz"])
    def test_any_query(self, daemon, issuer, query):
        data = head(*lines_of("pa"), target=f"/v1/authorize?{query}")
        assert "reads no query" in expect.error(send(daemon, data), 400, "invalid_request")
        assert issuer.requests() == 0

    def test_an_empty_query_is_none(self, daemon, subject):
        authorized(send(daemon, head(*lines_of(subject), target="/v1/authorize?")), subject)

    def test_without_the_metadata_header(self, daemon, issuer):
        response = send(daemon, head(*lines_of("pa"), metadata=False))
        assert "Metadata" in expect.error(response, 403, "access_denied")
        assert issuer.requests() == 0

    def test_the_fields_mean_nothing_elsewhere(self, daemon, subject):
        """A form is read as ever, whatever the head says besides."""
        headers = [(USERNAME, "other"), (USERNAME, "again"), ("X-Egain-Scopes", "a")]
        expect.token(daemon.post(question(subject), headers), subject)
        expect.token(daemon.get(subject, headers=headers), subject)


class TestAuthorization:
    """The header belongs to somebody else: whoever was authenticated by the server in between."""

    @pytest.mark.parametrize(
        "value",
        ["Basic !!!", "Basic c3RhZmY6c2VjcmV0", "Basic bm9ib2R5Og==", "Bearer x", "Digest a=b", ""],
    )
    def test_is_ignored(self, daemon, subject, value):
        response = ask(daemon, subject, "username", ("Authorization", value.encode()))
        authorized(response, subject)
        twice = [("Authorization", b"a"), ("Authorization", b"b")]
        authorized(ask(daemon, subject, "username", *twice), subject)

    def test_names_no_client(self, daemon, issuer):
        basic = ("Authorization", b"Basic cG9ydGFsOng=")  # portal
        response = ask(daemon, "pa", "username", basic, client=None)
        assert "X-Egain-Client" in expect.error(response, 400, "invalid_request")

    @needs_users
    def test_is_no_key(self, start_daemon, issuer, people, subject):
        key = "key-one-0123456789abcdef"
        daemon = start_daemon()
        path = daemon.put_key("one", key)
        daemon.reload(callers=[rule("a", user=people.a.name, key_file=str(path))])
        place = people.a.at(daemon.unix)
        expect.token(daemon.ask(subject, client_secret=key, address=place), subject)
        # base64 of "portal:key-one-0123456789abcdef"
        basic = b"Basic cG9ydGFsOmtleS1vbmUtMDEyMzQ1Njc4OWFiY2RlZg=="
        for more in ((), (("Authorization", basic),)):
            response = ask(daemon, subject, "username", *more, address=place)
            assert "takes no key" in expect.error(response, 401, "invalid_client")


class TestLikeEveryTokenRequest:
    def test_waiting_together(self, daemon, issuer, subject):
        """One fetch for any number, whichever way they ask."""
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 100) as fleet:
            fleet.send(head(*lines_of(subject)))
            issuer.wait_for("held", 1)
            fleet.wait_until_read()
            daemon.settle()
            issuer.release()
            tokens = {authorized(response, subject) for response in fleet.collect()}
        assert len(tokens) == 1 and issuer.requests() == 1

    def test_the_issuer_refuses(self, daemon, issuer, subject):
        issuer.behave(status=400, error="invalid_grant")
        expect.error(ask(daemon, subject), 400, "invalid_grant")

    def test_the_issuer_is_down(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        issuer.behave(status=503, body="", headers={"Retry-After": "7"})
        assert expect.retry_after(ask(daemon, subject)) in range(1, 8)

    def test_policy_audit_and_metrics(self, start_daemon, issuer, subject, tmp_path):
        rights = {"subjects": ["username:user-*"], "scopes": [READ]}
        daemon = start_daemon(
            callers=[rule("root", user="root", monitor=True, **rights)],
            audit={"to": f"{tmp_path}/audit", "subjects": "clear"},
        )
        authorized(ask(daemon, subject), subject)
        authorized(ask(daemon, subject), subject)
        for denied, options in (("admin", {}), (subject, {"scope": MANAGE})):
            response = ask(daemon, denied, **options)
            assert "The rule root" in expect.error(response, 403, "access_denied")
        expect.error(ask(daemon, "pa "), 400, "invalid_request")
        expect.error(send(daemon, head(metadata=False)), 403, "access_denied")
        metrics = scrape(daemon)
        assert metrics.sum("egain_tokend_requests_total", outcome="granted") == 2
        assert metrics.sum("egain_tokend_requests_total", outcome="refused") == 4
        daemon.stop()
        lines = (tmp_path / "audit").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        assert {(record["outcome"], record["reason"], record["subject"]) for record in records} == {
            ("granted", None, subject),
            ("refused", "subject_not_permitted", "admin"),
            ("refused", "scope_not_permitted", subject),
            ("refused", "spaced_subject", None),
            ("refused", "no_metadata_header", None),
        }

    def test_a_browser_and_a_proxy(self, daemon, issuer):
        for name in ("Origin", "Sec-Fetch-Site", "X-Forwarded-For", "Forwarded", "Via"):
            response = ask(daemon, "pa", "username", (name, b"x"))
            assert f"header {name}: x" in expect.error(response, 403, "access_denied")
        assert issuer.requests() == 0


class TestLongTokens:
    """They fit, or it is said that they do not; no connection ends without an answer."""

    def long(self, issuer, size, kind="username"):
        """The subject of a token of this size, and the token."""
        token = "eyJ" + "x" * (size - 3)
        body = json.dumps({"access_token": token, "expires_in": 3600})
        issuer.behave(status=200, body=body, subject=f"{kind}:long-{size}")
        return f"long-{size}", token

    def test_at_the_limit(self, daemon, issuer):
        scope = f"{READ} {MANAGE}"
        for size, fits in ((TOKEN_MAX_BYTES, True), (TOKEN_MAX_BYTES + 1, False)):
            subject, token = self.long(issuer, size)
            filler = [(f"X-Filler-{number}", b"x" * 90) for number in range(30)]
            for more in ((), filler):
                response = ask(daemon, subject, "username", *more, scope=scope)
                if fits:
                    assert response.status == 204, response
                    assert response.header("Authorization") == f"Bearer {token}"
                else:
                    description = expect.error(response, 502, "server_error")
                    assert "does not fit into a header, 8 KiB" in description
            answer = daemon.ask(subject, scope=scope)
            assert answer.json()["access_token"] == token

    @pytest.mark.parametrize("width", [1, 90, 1000])
    def test_beside_long_requests(self, daemon, issuer, width):
        """Until the request is too long itself."""
        subject, token = self.long(issuer, TOKEN_MAX_BYTES)
        seen = []
        for number in range(0, 9000 // (width + 20), max(1, 300 // (width + 20))):
            filler = [(f"X-Filler-{each}", b"x" * width) for each in range(number)]
            with daemon.connect() as connection:
                response = connection.send(head(*lines_of(subject), *filler)).receive()
            if response.status == 204:
                assert response.header("Authorization") == f"Bearer {token}"
            elif response.status == 502:
                assert "does not fit" in expect.error(response, 502, "server_error")
            seen.append(response.status)
        assert seen == sorted(seen, key=[204, 502, 431].index)
        assert {204, 502} <= set(seen) <= {204, 502, 431}

    @pytest.mark.parametrize("kind", FIELDS)
    def test_the_record_names_the_subject(self, start_daemon, issuer, tmp_path, kind):
        daemon = start_daemon(audit={"to": f"{tmp_path}/audit", "subjects": "clear"})
        subject, _ = self.long(issuer, TOKEN_MAX_BYTES + 1, kind)
        expect.error(ask(daemon, subject, kind), 502, "server_error")
        daemon.stop()
        record = json.loads((tmp_path / "audit").read_text())
        told = {name: record[name] for name in ("reason", "subject_kind", "subject", "client")}
        assert told == {
            "reason": "long_token",
            "subject_kind": kind,
            "subject": subject,
            "client": "portal",
        }
