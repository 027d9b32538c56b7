# SPDX-License-Identifier: MIT
"""Whatever comes in gets its documented error, and everybody else goes on being served."""

import contextlib
import functools
import json
import os
import socket
import time

import pytest

import expect
from harness import READ, ask_bytes, question
from scrape import scrape
from wire import FORM, Closed, Fleet, eventually, form, form_request, http_request

FORM_HEADER = [("Content-Type", FORM)]
LONGEST = "a" * 256


@pytest.fixture(autouse=True)
def still_serving(request):
    """After each test: a new connection gets a token from memory or from the issuer."""
    shared = "daemon" in request.fixturenames
    daemon = request.getfixturevalue("daemon") if shared else None
    issuer = request.getfixturevalue("issuer") if shared else None
    yield
    if shared:
        issuer.reset()
        for address in (daemon.unix, daemon.tcp4, daemon.tcp6):
            expect.token(daemon.ask("pa", address=address), "pa")


def raw(text):
    """A form as it is written, with the usual parameters before it."""
    return b"grant_type=password&client_id=portal&" + (
        text if isinstance(text, bytes) else text.encode()
    )


class TestForms:
    """400 invalid_request, the same in a body and in a query."""

    BAD = {
        "no subject": "",
        "two subjects": "subject_username=a&subject_userid=a",
        "user and customer": "subject_username=a&subject_email=a",
        "all three": "subject_username=a&subject_userid=a&subject_email=a",
        "empty username": "subject_username=",
        "empty userid": "subject_userid=",
        "empty email": "subject_email=",
        "empty without equals": "subject_username",
        "one empty, one not": "subject_username=&subject_userid=a",
        "257 bytes": f"subject_username={LONGEST}a",
        "257 bytes in escapes": "subject_username=" + "%61" * 257,
        "257 bytes of 3-byte characters": "subject_username=" + "%E2%82%AC" * 85 + "%C3%A9",
        "percent at the end": "subject_username=a%",
        "percent and one digit": "subject_username=a%4",
        "percent and no digits": "subject_username=%zz",
        "percent and one wrong digit": "subject_username=%4g",
        "percent percent": "subject_username=%%41",
        "percent u": "subject_username=%u0041",
        "bad escape in the name": "subject_%zzusername=a",
        "NUL escaped": "subject_username=pa%00",
        "NUL escaped within": "subject_username=pa%00x",
        "newline": "subject_username=pa%0a",
        "tab": "subject_username=pa%09x",
        "escape character": "subject_username=%1b%5b31m",
        "DEL": "subject_username=pa%7f",
        "not UTF-8": "subject_username=%ff",
        "truncated UTF-8": "subject_username=a%c3",
        "stray continuation byte": "subject_username=%80a",
        "overlong NUL": "subject_username=%c0%80",
        "overlong slash": "subject_username=%e0%80%af",
        "surrogate": "subject_username=%ed%a0%80",
        "beyond Unicode": "subject_username=%f4%90%80%80",
        "subject repeated": "subject_username=a&subject_username=a",
        "subject repeated, empty": "subject_username=a&subject_username=",
        "subject repeated, disguised": "subject_username=a&subject%5Fusername=b",
        "grant_type repeated": "grant_type=password&subject_username=a",
        "client_id repeated": "client_id=portal&subject_username=a",
        "scope repeated": f"subject_username=a&scope={READ}&scope={READ}",
        "min_ttl repeated": "subject_username=a&min_ttl=1&min_ttl=1",
        "min_ttl a word": "subject_username=a&min_ttl=soon",
        "min_ttl negative": "subject_username=a&min_ttl=-1",
        "min_ttl signed": "subject_username=a&min_ttl=%2B1",
        "min_ttl fractional": "subject_username=a&min_ttl=1.5",
        "min_ttl exponent": "subject_username=a&min_ttl=1e3",
        "min_ttl hexadecimal": "subject_username=a&min_ttl=0x10",
        "min_ttl with a unit": "subject_username=a&min_ttl=60s",
        "min_ttl after a space": "subject_username=a&min_ttl=+60",
    }

    @pytest.mark.parametrize("name", BAD)
    def test_in_a_body(self, daemon, issuer, name):
        expect.error(daemon.post(raw(self.BAD[name])), 400, "invalid_request")
        assert issuer.requests() == 0

    @pytest.mark.parametrize("name", BAD)
    def test_in_a_query(self, daemon, issuer, name):
        target = "/v1/token?" + raw(self.BAD[name]).decode()
        expect.error(daemon.request("GET", target, [("Metadata", "true")]), 400, "invalid_request")
        assert issuer.requests() == 0

    @pytest.mark.parametrize(
        "byte", [b"\0", b"\n", b"\r", b"\x7f", b"\xff", b"\xc0\x80", b"\xed\xa0\x80"]
    )
    def test_raw_bytes_in_a_body(self, daemon, issuer, byte):
        response = daemon.post(raw(b"subject_username=p" + byte + b"a"))
        expect.error(response, 400, "invalid_request")
        assert issuer.requests() == 0

    def test_256_bytes_are_fine(self, daemon):
        expect.token(daemon.ask(LONGEST), LONGEST)

    @pytest.mark.parametrize(
        "scope", ["a%01b", "a%0ab", "a%00", "%7f", '"a"', "a%5Cb", "%c3%a9", "%ff", "a%09b"]
    )
    def test_characters_no_scope_has(self, daemon, issuer, scope):
        response = daemon.post(raw(f"subject_username=a&scope={scope}"))
        expect.error(response, 400, ("invalid_scope", "invalid_request"))
        assert issuer.requests() == 0

    @pytest.mark.parametrize("scope", ["%zz", "a%4"])
    def test_bad_escapes_in_scope(self, daemon, issuer, scope):
        response = daemon.post(raw(f"subject_username=a&scope={scope}"))
        expect.error(response, 400, "invalid_request")
        assert issuer.requests() == 0

    def test_no_grant_type(self, daemon):
        response = daemon.post({"client_id": "portal", "subject_username": "a"})
        expect.error(response, 400, "invalid_request")
        response = daemon.post({"grant_type": "", "client_id": "portal", "subject_username": "a"})
        expect.error(response, 400, "invalid_request")

    @pytest.mark.parametrize(
        "grant", ["client_credentials", "Password", "authorization_code", "x", "%00"]
    )
    def test_other_grants(self, daemon, issuer, grant):
        body = f"grant_type={grant}&client_id=portal&subject_username=a"
        expect.error(daemon.post(body.encode()), 400, ("unsupported_grant_type", "invalid_request"))
        assert issuer.requests() == 0

    def test_empty_body(self, daemon):
        expect.error(daemon.post(b""), 400, "invalid_request")

    def test_no_body_at_all(self, daemon):
        expect.error(daemon.request("POST", "/oauth2/token", FORM_HEADER), 400, "invalid_request")

    @pytest.mark.parametrize(
        "parameters",
        ["&" * 4000, "a=b&" * 4000, "=" * 4000, "subject_username=a&" * 800],
        ids=["ampersands", "pairs", "equals", "subjects"],
    )
    def test_many_parameters(self, daemon, parameters):
        expect.error(daemon.post(parameters.encode()), 400, "invalid_request")

    def test_a_query_on_the_token_endpoint_is_not_read(self, daemon, issuer):
        target = "/oauth2/token?subject_username=b"
        body = form({"grant_type": "password", "client_id": "portal"})
        expect.error(daemon.request("POST", target, FORM_HEADER, body), 400, "invalid_request")
        assert issuer.requests() == 0


class TestContent:
    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json",
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencodedx",
            "application/x-www-form",
            "",
        ],
    )
    def test_wrong_content_type(self, daemon, issuer, content_type):
        response = daemon.post(question("a"), [("Content-Type", content_type)])
        expect.error(response, 400, "invalid_request")
        assert issuer.requests() == 0

    def test_no_content_type(self, daemon):
        response = daemon.request("POST", "/oauth2/token", [], form(question("a")))
        expect.error(response, 400, "invalid_request")

    def test_a_body_over_32_kib(self, daemon, issuer):
        body = raw("subject_username=a&x=").ljust(32 * 1024 + 1, b"x")
        expect.error(daemon.post(body), 413, "invalid_request")
        assert issuer.requests() == 0

    def test_a_body_far_over_32_kib(self, daemon):
        """The answer may come, and the connection end, before all of it was sent."""
        with daemon.connect() as connection:
            connection.send_unless_cut(form_request(raw("x=" + "x" * 4_000_000)))
            expect.error(connection.receive(), 413, "invalid_request")

    def test_a_chunked_body_over_32_kib(self, daemon):
        headers = [*FORM_HEADER, ("Transfer-Encoding", "chunked")]
        chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
        with daemon.connect() as connection:
            connection.send_unless_cut(
                http_request("POST", "/oauth2/token", headers, chunk * 33 + b"0\r\n\r\n")
            )
            expect.error(connection.receive(), 413, "invalid_request")

    def test_a_large_body_where_none_belongs(self, daemon):
        with daemon.connect() as connection:
            connection.send_unless_cut(
                http_request("POST", "/nowhere", FORM_HEADER, b"x" * 1_000_000)
            )
            response = connection.receive()
            expect.error(response, response.status, "invalid_request")
            assert response.status in (404, 413)

    def test_a_get_with_a_body(self, daemon):
        target = "/v1/token?" + form(question("pa")).decode()
        response = daemon.request("GET", target, [("Metadata", "true"), *FORM_HEADER], b"x=y")
        assert response.status in (200, 400)


class TestPathsAndMethods:
    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/oauth2",
            "/oauth2/token/",
            "/oauth2/tokens",
            "/OAuth2/token",
            "//oauth2/token",
            "/v1/tokenx",
            "/oauth2%2Ftoken",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_unknown_paths(self, daemon, method, path):
        body = form(question("a")) if method == "POST" else None
        response = daemon.request(method, path, [("Metadata", "true"), *FORM_HEADER], body)
        expect.error(response, 404, "invalid_request")

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "post"])
    def test_wrong_methods_for_the_token_endpoint(self, daemon, method):
        response = daemon.request(method, "/oauth2/token", [("Metadata", "true")])
        expect.error(response, 405, "invalid_request")
        assert response.header("Allow") == "POST"

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
    def test_wrong_methods_for_v1_token(self, daemon, issuer, method):
        target = "/v1/token?" + form(question("a")).decode()
        response = daemon.request(method, target, [("Metadata", "true"), *FORM_HEADER], b"")
        expect.error(response, 405, "invalid_request")
        assert response.header("Allow") == "GET"
        assert issuer.requests() == 0

    @pytest.mark.parametrize(
        "target", ["/oauth2/token", "/v1/token?client_id=portal&subject_username=a"]
    )
    def test_head_is_refused(self, daemon, issuer, target):
        response = daemon.request("HEAD", target, [("Metadata", "true")])
        assert response.status == 405
        assert response.header("Allow") and response.body == b""
        assert issuer.requests() == 0

    def test_wrong_method_with_a_body(self, daemon):
        with daemon.connect() as connection:
            response = connection.request("PUT", "/oauth2/token", FORM_HEADER, form(question("a")))
            expect.error(response, 405, "invalid_request")

    def test_a_long_target(self, daemon):
        """libmicrohttpd's own answer, in HTML."""
        response = daemon.request("GET", "/v1/token?x=" + "x" * 40_000, [("Metadata", "true")])
        assert response.status in (400, 414, 431)

    @pytest.mark.parametrize(
        "headers",
        [
            [("X-Long", "x" * 40_000)],
            [(f"X-{number}", "x" * 100) for number in range(400)],
            [("X" * 40_000, "x")],
        ],
        ids=["one long value", "many", "one long name"],
    )
    def test_a_header_block_over_the_limit(self, daemon, headers):
        """libmicrohttpd's own answer, in HTML."""
        with daemon.connect() as connection:
            connection.send_unless_cut(form_request(question("a"), headers))
            assert connection.receive().status in (400, 413, 431)


class TestBrowsersAndProxies:
    """A request that a browser made or a proxy passed on is nobody's on this host."""

    FOREIGN = ["Origin", "Sec-Fetch-Site", "X-Forwarded-For", "Forwarded", "Via"]

    @pytest.mark.parametrize("header", FOREIGN + ["x-forwarded-for"])
    def test_token_endpoint(self, daemon, issuer, header):
        response = daemon.post(question("a"), [(header, "anything")])
        expect.error(response, 403, "access_denied")
        assert issuer.requests() == 0

    @pytest.mark.parametrize("header", FOREIGN)
    def test_v1_token(self, daemon, issuer, header):
        expect.error(daemon.get("a", headers=[(header, "anything")]), 403, "access_denied")
        assert issuer.requests() == 0

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:8471",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:8471@evil.example",
            "127.0.0.2",
            "[::2]",
            "::1",
            "localhost:",
            "localhost:abc",
            "local host",
            "",
        ],
    )
    @pytest.mark.parametrize("name", ["tcp4", "tcp6"])
    def test_foreign_hosts_over_tcp(self, daemon, issuer, name, host):
        response = daemon.post(question("a"), address=getattr(daemon, name), host=host)
        if host == "":
            assert response.status in (400, 403)
        else:
            expect.error(response, 403, "access_denied")
        assert issuer.requests() == 0

    @pytest.mark.parametrize(
        "host", ["localhost", "localhost:8471", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8471"]
    )
    @pytest.mark.parametrize("name", ["tcp4", "tcp6"])
    def test_own_hosts_over_tcp(self, daemon, name, host):
        expect.token(daemon.post(question("a"), address=getattr(daemon, name), host=host), "a")

    def test_any_host_over_unix(self, daemon):
        expect.token(daemon.post(question("a"), host="whatever.example"), "a")

    def test_two_hosts(self, daemon, issuer):
        response = daemon.post(question("a"), [("Host", "evil.example")], address=daemon.tcp4)
        assert response.status in (400, 403)
        response = daemon.post(
            question("a"), [("Host", "localhost")], address=daemon.tcp4, host="evil.example"
        )
        assert response.status in (400, 403)
        assert issuer.requests() == 0

    def test_no_host(self, daemon, issuer):
        response = daemon.post(question("a"), address=daemon.tcp4, host=None)
        assert response.status in (400, 403)
        assert issuer.requests() == 0


class TestAuthorization:
    @pytest.mark.parametrize(
        "value", ["Basic", "Basic ", "Basic !!!", "Basic cG9ydGFs", "Basic cG9ydGFsOg==="]
    )
    def test_broken_basic(self, daemon, issuer, value):
        response = daemon.post(question("a", client_id=None), [("Authorization", value)])
        assert response.status in (400, 401)
        expect.error(response, response.status, ("invalid_request", "invalid_client"))
        assert issuer.requests() == 0

    def test_long_basic(self, daemon):
        response = daemon.post(
            question("a", client_id=None), [("Authorization", "Basic " + "QUFB" * 1000)]
        )
        assert response.status in (400, 401)


class TestNotHttp:
    """Things that are no request. What they get is libmicrohttpd's business."""

    GARBAGE = {
        "binary": bytes(range(256)) * 4,
        "zeros": b"\0" * 1000,
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 506,
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9,
        "line feeds": b"\n" * 5000,
        "HTTP/0.9": b"GET /oauth2/token\r\n\r\n",
        "HTTP/9.9": b"GET /healthz HTTP/9.9\r\n\r\n",
        "no colon": b"GET /healthz HTTP/1.1\r\nHost localhost\r\n\r\n",
        "negative length": http_request(
            "POST", "/oauth2/token", [*FORM_HEADER, ("Content-Length", "-1")]
        ),
        "huge length": http_request(
            "POST", "/oauth2/token", [*FORM_HEADER, ("Content-Length", "9" * 30)]
        ),
        "length in letters": http_request(
            "POST", "/oauth2/token", [*FORM_HEADER, ("Content-Length", "ten")]
        ),
        "bad chunk": http_request(
            "POST", "/oauth2/token", [*FORM_HEADER, ("Transfer-Encoding", "chunked")]
        )
        + b"zz\r\nx",
        "unknown encoding": http_request(
            "POST", "/oauth2/token", [*FORM_HEADER, ("Transfer-Encoding", "gzip")]
        ),
    }

    @pytest.mark.parametrize("where", ["unix", "tcp4"])
    def test_garbage(self, start_daemon, issuer, where):
        daemon = start_daemon(limits={"header_timeout": "1s"})
        with contextlib.ExitStack() as stack:
            connections = {}
            for name, garbage in self.GARBAGE.items():
                connection = stack.enter_context(daemon.connect(getattr(daemon, where)))
                connections[name] = connection.send_unless_cut(garbage)
            for name, connection in connections.items():
                assert b" 200 " not in connection.until_closed()[:15], name
        assert issuer.requests() == 0
        expect.token(daemon.ask("pa"), "pa")

    AUTHORIZE = [
        ("Metadata", "true"), ("X-Egain-Client", "portal"), ("X-Egain-Subject-Username", "first"),
    ]  # fmt: skip
    CHUNKED = ("Transfer-Encoding", "chunked")
    LAST_CHUNK = b"0\r\n\r\n"

    def post(self, *fields, version="1.1"):
        fields = [*FORM_HEADER, *fields]
        return http_request("POST", "/oauth2/token", fields, version=f"HTTP/{version}")

    @pytest.mark.parametrize("where", ["unix", "tcp4"])
    @pytest.mark.parametrize(
        "fields, version",
        [
            ([("Content-Length", "5"), CHUNKED], "1.1"),
            ([CHUNKED, ("Content-Length", "5")], "1.1"),
            ([("Content-Length", "5"), ("Content-Length", "WHOLE")], "1.1"),
            ([("Content-Length", "5"), ("content-length", "5")], "1.1"),
            ([("Content-Length ", "WHOLE")], "1.1"),
            ([("Content-Length\t", "WHOLE")], "1.1"),
            ([("Transfer-Encoding ", "chunked")], "1.1"),
            ([CHUNKED, CHUNKED], "1.1"),
            ([CHUNKED], "1.0"),
            ([CHUNKED, ("Connection", "keep-alive")], "1.0"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("method", ["POST", "GET"])
    def test_an_end_in_doubt(self, daemon, issuer, where, method, fields, version):
        """A request whose end is in doubt lets no second one through (smuggling), nor itself."""
        rest = self.LAST_CHUNK + ask_bytes("smuggled")
        fields = [(name, value.replace("WHOLE", str(len(rest)))) for name, value in fields]
        if method == "POST":
            head = self.post(*fields, version=version)
        else:
            fields = [*self.AUTHORIZE, *fields]
            head = http_request("GET", "/v1/authorize", fields, version=f"HTTP/{version}")
        with daemon.connect(getattr(daemon, where)) as connection:
            connection.send(head + rest)
            answer = connection.receive()
            # The library has a word of its own on some.
            if answer.header("Content-Type") == "application/json":
                assert "not certain where" in expect.error(answer, 400, "invalid_request")
            assert answer.status == 400 and answer.header("Connection") == "close", answer
            assert connection.until_closed() == b""
        assert issuer.requests() == 0

    def test_an_end_that_is_certain(self, daemon, issuer):
        """Each of these once is a request like any other, and so is what follows."""
        body = form(question("first"))
        chunk = b"%x\r\n%s\r\n" % (len(body), body) + self.LAST_CHUNK
        length = ("Content-Length", str(len(body)))
        for head, rest in ((self.post(self.CHUNKED), chunk), (self.post(length), body)):
            with daemon.connect() as connection:
                connection.send(head + rest + ask_bytes("second"))
                expect.token(connection.receive(), "first")
                expect.token(connection.receive(), "second")

    def test_an_end_in_doubt_is_recorded(self, start_daemon, tmp_path):
        daemon = start_daemon(audit={"to": f"{tmp_path}/audit"})
        lengths = [("Content-Length", "0"), ("Content-Length", "0")]
        for target in ("/oauth2/token", "/healthz", "/nowhere"):
            answer = daemon.request("POST", target, lengths)
            assert "not certain where" in expect.error(answer, 400, "invalid_request")
        metrics = scrape(daemon)
        count = functools.partial(metrics.sum, reason="unclear_end")
        assert count("egain_tokend_requests_total") == 1
        assert count("egain_tokend_other_requests_total") == 2
        daemon.stop()
        record = json.loads((tmp_path / "audit").read_text())
        assert (record["outcome"], record["reason"]) == ("refused", "unclear_end")


class TestBrokenConnections:
    """Cut at every place: nothing hangs, nothing leaks."""

    @pytest.mark.parametrize("where", ["unix", "tcp4", "tcp6"])
    def test_cut_in_the_middle(self, daemon, issuer, where):
        whole = ask_bytes("cut")
        for end in range(0, len(whole), 17):
            with daemon.connect(getattr(daemon, where)) as connection:
                connection.send(whole[:end])
                if end % 2:
                    connection.reset()

    def test_no_descriptor_is_left_behind(self, start_daemon, issuer):
        # On a Unix socket libmicrohttpd may miss an end that comes together with half a body; that
        # connection is cut with all that are too slow.
        daemon = start_daemon(limits={"header_timeout": "2s"})

        def descriptors():
            return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))

        before = descriptors()
        whole = ask_bytes("pa")
        for end in (0, 1, 100, len(whole) - 1, len(whole)):
            for address in (daemon.unix, daemon.tcp4, daemon.tcp6):
                with Fleet(address, 20) as fleet:
                    fleet.send(whole[:end])
        # The issuer's connections are kept.
        eventually(lambda: descriptors() <= before + 2, "descriptors to be closed")

    def test_cut_while_waiting(self, daemon, issuer):
        issuer.behave(hold=True)
        for number in range(10):
            with daemon.connect() as connection:
                connection.send(ask_bytes(f"gone-{number}"))
                issuer.wait_for("held", number + 1)
                connection.reset()
        issuer.release()

    @pytest.mark.parametrize("where", ["unix", "tcp4", "tcp6"])
    def test_cut_while_the_answer_is_sent(self, daemon, where):
        expect.token(daemon.ask("pa"), "pa")
        for number in range(100):
            with daemon.connect(getattr(daemon, where)) as connection:
                connection.send(ask_bytes("pa") * (number % 50))
                if number % 2:
                    connection.reset()


class TestSlowCallers:
    def test_half_a_request_is_cut(self, start_daemon):
        daemon = start_daemon(limits={"header_timeout": "1s"})
        whole = ask_bytes("pa")
        body_at = whole.index(b"\r\n\r\n") + 4
        started = time.monotonic()
        ends = (0, 1, 20, body_at - 2, body_at, len(whole) - 1)
        connections = [
            daemon.connect(address).send(whole[:end])
            for end in ends
            for address in (daemon.unix, daemon.tcp4)
        ]
        expect.token(daemon.ask("pa"), "pa")
        for connection in connections:
            with connection:
                assert b" 200 " not in connection.until_closed()
        assert 0.9 < time.monotonic() - started < 10

    def test_the_time_runs_for_each_request_anew(self, start_daemon):
        """A connection older than the time a request has is not cut for that."""
        daemon = start_daemon(limits={"header_timeout": "1s"})
        with daemon.connect() as connection, daemon.connect() as clock:
            expect.token(connection.send(ask_bytes("pa")).receive(), "pa")
            # The second connection is cut when the time of one request has passed.
            clock.send(b"P").until_closed()
            expect.token(connection.send(ask_bytes("pa")).receive(), "pa")
            connection.send(ask_bytes("pa")[:-1]).until_closed()

    def test_waiting_for_the_issuer_is_not_slowness(self, start_daemon, issuer):
        daemon = start_daemon(limits={"header_timeout": "1s"})
        issuer.behave(hold=True)
        with daemon.connect() as connection, daemon.connect() as clock:
            connection.send(ask_bytes("patient"))
            issuer.wait_for("held", 1)
            clock.send(b"P").until_closed()
            issuer.release()
            expect.miss(connection.receive(), "patient")

    def test_idle_connections_are_closed(self, start_daemon):
        """The next request has its own time on top of that."""
        daemon = start_daemon(limits={"idle_timeout": "1s", "header_timeout": "1s"})
        with daemon.connect() as connection, daemon.connect() as begun:
            for used in (connection, begun):
                expect.token(used.send(ask_bytes("pa")).receive(), "pa")
            started = time.monotonic()
            begun.send(b"PO")
            for used in (connection, begun):
                assert used.until_closed() == b""
            assert 0.9 < time.monotonic() - started < 10

    def test_one_that_never_reads_its_answers(self, start_daemon):
        """What it is sent has its time to be taken, too; nobody else waits for that."""
        daemon = start_daemon(limits={"header_timeout": "1s"})
        expect.token(daemon.ask("pa"), "pa")
        with daemon.connect() as glutton:
            glutton.socket.settimeout(20)
            started = time.monotonic()
            with pytest.raises(ConnectionError):
                while True:
                    glutton.send(ask_bytes("pa") * 100)
            assert time.monotonic() - started < 15
            expect.hit(daemon.ask("pa"), "pa")

    def test_200_that_send_one_byte_a_second(self, start_daemon):
        """They are never idle, so an idle timeout alone would keep them for ever."""
        daemon = start_daemon(limits={"header_timeout": "2s", "idle_timeout": "60s"})
        whole = ask_bytes("drip")
        started = time.monotonic()
        with Fleet(daemon.unix, 200) as fleet:
            alive = list(fleet.connections)
            sent = 0
            while alive:
                assert time.monotonic() - started < 20, f"{len(alive)} connections still open"
                for connection in list(alive):
                    try:
                        connection.send(whole[sent : sent + 1])
                    except ConnectionError:
                        alive.remove(connection)
                expect.token(daemon.ask("pa"), "pa")
                sent += 1
                # The byte a second is what this test is about, not a way to wait for something.
                time.sleep(max(0.0, started + sent - time.monotonic()))
        assert time.monotonic() - started > 1.5


class TestRest:
    def test_waiting_costs_nothing(self, start_daemon, issuer):
        """Whatever state connections are in, the daemon sleeps while none of them moves."""
        daemon = start_daemon(limits={"max_connections": 32})
        addresses = (daemon.unix, daemon.tcp4, daemon.tcp6)
        issuer.behave(hold=True, subject="username:held")
        with contextlib.ExitStack() as stack:

            def connections():
                return [stack.enter_context(daemon.connect(address)) for address in addresses]

            for connection in connections():
                expect.token(connection.send(ask_bytes("pa")).receive(), "pa")
            waiting = [connection.send(ask_bytes("held")) for connection in connections()]
            unfinished = [connection.send(ask_bytes("pa")[:-3]) for connection in connections()]
            issuer.wait_for("held", 1)
            daemon.settle()
            waiting[0].reset()
            waiting[1].socket.shutdown(socket.SHUT_WR)
            unfinished[0].reset()
            unfinished[1].socket.shutdown(socket.SHUT_WR)
            for _ in range(15):
                connections()
            before = daemon.cpu_seconds()
            # Time has to pass here: what is measured is what is done in it.
            time.sleep(1)
            assert daemon.cpu_seconds() - before < 0.5
            issuer.release()
            expect.token(waiting[2].receive(), "held")


class TestTooManyConnections:
    def test_2000_idle_connections(self, start_daemon):
        """Those over the limit are answered and closed; the others do not hang, and make room."""
        limit = 1500
        daemon = start_daemon(
            limits={"max_connections": limit, "header_timeout": "60s", "idle_timeout": "60s"}
        )
        with daemon.connect() as early, Fleet(daemon.unix, limit - 1) as idle:
            expect.token(early.send(ask_bytes("pa")).receive(), "pa")
            with Fleet(daemon.unix, 501) as refused:
                for response in refused.collect():
                    expect.unavailable(response)
                for connection in refused.connections:
                    assert connection.until_closed() == b""
            with daemon.connect(daemon.tcp4) as late:
                expect.unavailable(late.receive())
            # Whoever is in goes on being served, and every idle one still may speak.
            expect.token(early.send(ask_bytes("pa")).receive(), "pa")
            for response in idle.send(ask_bytes("pa")).collect():
                expect.hit(response, "pa")
        # They have gone; so may others come.
        with Fleet(daemon.unix, 100) as others:
            others_served(daemon, others)

    def test_the_limit_is_exact(self, start_daemon):
        daemon = start_daemon(limits={"max_connections": 16})
        with Fleet(daemon.unix, 16) as fleet:
            for response in fleet.send(ask_bytes("pa")).collect():
                expect.token(response, "pa")
            for _ in range(30):
                with daemon.connect() as late:
                    expect.unavailable(late.receive())
                    assert late.until_closed() == b""
            for response in fleet.send(ask_bytes("pa")).collect():
                expect.hit(response, "pa")
            fleet.connections.pop().close()
            others_served(daemon, None)


def others_served(daemon, fleet):
    """Waits until there is room again, and then for an answer on every connection of a fleet."""
    deadline = time.monotonic() + 20
    while True:
        try:
            response = daemon.ask("pa")
        except (Closed, ConnectionError):
            response = None
        if response is not None and response.status == 200:
            break
        assert time.monotonic() < deadline, response
    if fleet is not None:
        for response in fleet.send(ask_bytes("pa")).collect():
            expect.hit(response, "pa")
