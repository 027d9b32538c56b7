# SPDX-License-Identifier: MIT
"""Asking for tokens: every documented way to do it, and what the answers look like."""

import base64
import json
import subprocess
from urllib.parse import quote_plus

import pytest

import expect
from harness import CRM, MANAGE, PORTAL, READ, STAFF, URL_SCOPE, environment, question
from wire import FORM, form_request, http_request

ADDRESSES = ("unix", "tcp4", "tcp6")


def basic(user, password=""):
    """An Authorization header from what goes into it as it is."""
    return ("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


@pytest.fixture(params=ADDRESSES)
def address(request, daemon):
    return getattr(daemon, request.param)


class TestDocumentedCommand:
    """eGain's own example, with nothing but the URL changed."""

    @pytest.mark.parametrize(
        "where",
        ["http://127.0.0.1:{port}", "http://[::1]:{port}", "http://localhost:{port}", "unix"],
    )
    def test_curl(self, daemon, issuer, where):
        origin = where.format(port=daemon.port)
        via = []
        if where == "unix":
            origin, via = "http://localhost", ["--unix-socket", daemon.unix]
        command = [
            *["curl", "--silent", "--show-error", *via],
            *["--location", "--request", "POST", f"{origin}/oauth2/token"],
            *["--header", "Content-Type: application/x-www-form-urlencoded"],
            *["--data-urlencode", "grant_type=password"],
            *["--data-urlencode", "client_id=7121f585-e403-4531-9a38-1826ebc7e7d8"],
            *["--data-urlencode", "client_secret=*****************"],
            *["--data-urlencode", "scope=knowledge.portalmgr.onbehalfof.read"],
            *["--data-urlencode", "subject_username=pa"],
        ]
        run = subprocess.run(command, capture_output=True, timeout=30, env=environment())
        assert run.returncode == 0, run
        answer = json.loads(run.stdout)
        assert answer["token_type"] == "Bearer" and answer["scope"] == READ
        assert 3500 < answer["expires_in"] <= 3600
        expect.claims(answer["access_token"], "pa")

    def test_curl_leaving_out_the_secret(self, daemon):
        command = [
            *[
                "curl",
                "--silent",
                "--show-error",
                "--fail",
                f"http://127.0.0.1:{daemon.port}/oauth2/token",
            ],
            *["-d", "grant_type=password", "-d", "client_id=portal", "-d", "subject_username=pa"],
        ]
        run = subprocess.run(command, capture_output=True, timeout=30, env=environment())
        assert run.returncode == 0, run
        expect.claims(json.loads(run.stdout)["access_token"], "pa")


class TestSubjects:
    @pytest.mark.parametrize("kind", ["username", "userid", "email"])
    def test_kinds(self, daemon, issuer, subject, address, kind):
        said = expect.miss(daemon.ask(subject, kind, address=address), subject, kind)
        again = expect.hit(daemon.ask(subject, kind, address=address), subject, kind)
        assert again == said
        assert issuer.requests() == 1
        audience = "C" if kind == "email" else "U"
        assert issuer.last()["path"] == f"/system/auth/{PORTAL.tenant}-{audience}/oauth2/token"

    @pytest.mark.parametrize(
        "name",
        [
            "x",
            "pa@example.com",
            "Zoë Müller",
            "日本語",
            "😀" * 64,
            "a" * 256,
            "a&subject_userid=b",
            "a+b %41 %00",
            " lead and trail ",
            '"quoted\\back',
            "{}[]<>|^`~",
        ],
    )
    def test_subjects_are_taken_verbatim(self, daemon, issuer, name):
        expect.miss(daemon.ask(name), name)
        assert issuer.last()["parameters"]["subject_username"] == name
        expect.hit(daemon.get(name), name)

    def test_percent_encoding_of_any_byte_is_the_same_subject(self, daemon, issuer, subject):
        escaped = "".join(f"%{byte:02x}" for byte in subject.encode())
        expect.miss(daemon.ask(subject), subject)
        body = f"grant_type=password&client_id=portal&subject_username={escaped.upper()}"
        expect.hit(daemon.post(body.encode()), subject)

    def test_no_url_for_this_kind(self, daemon, issuer, subject):
        expect.miss(daemon.ask(subject, client_id="staff"), subject, client=STAFF)
        response = daemon.ask(subject, "email", client_id="staff")
        expect.error(response, 400, "unauthorized_client")
        assert issuer.requests() == 1


class TestWhatTheIssuerSees:
    def test_everything_in_the_body_and_nothing_else(self, daemon, issuer, subject):
        parameters = question(subject, client_secret="the caller's own", username="u", password="p")
        parameters |= {"resource": "x", "foo": "bar"}
        daemon.forbidden |= {"the caller's own"}
        expect.miss(daemon.post(parameters), subject)
        last = issuer.last()
        assert last["parameters"] == {
            "grant_type": "password",
            "client_id": PORTAL.client_id,
            # Blotted out by fake-egain, which accepts no other than the configured one.
            "client_secret": "***",
            "scope": READ,
            "subject_username": subject,
        }
        assert last["content_type"] == FORM
        assert not last["query"]

    def test_query_of_the_token_url_is_kept(self, issuer, start_daemon, subject):
        url = issuer.url(PORTAL) + "?p=B2C_1_policy&x=%2F"
        daemon = start_daemon(clients=[PORTAL], urls={"portal": {"user_token_url": url}})
        expect.miss(daemon.ask(subject), subject)
        assert issuer.last()["query"].lstrip("?") == "p=B2C_1_policy&x=%2F"

    def test_connections_are_kept_and_shared(self, daemon, issuer, subject):
        for number in range(20):
            expect.miss(daemon.ask(f"{subject}-{number}"), f"{subject}-{number}")
        assert issuer.stats()["token_connections_total"] <= 1

    def test_plain_http_to_loopback_never_goes_through_a_proxy(self, start_daemon, subject):
        nowhere = "http://127.0.0.1:9"
        proxies = {name: nowhere for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")}
        daemon = start_daemon(env=proxies)
        expect.miss(daemon.ask(subject), subject)


class TestClientApplications:
    def test_by_name_and_by_client_id_is_one_entry(self, daemon, issuer, subject):
        said = expect.miss(daemon.ask(subject, client_id="portal"), subject)
        assert expect.hit(daemon.ask(subject, client_id=PORTAL.client_id), subject) == said
        assert issuer.requests() == 1

    def test_several_are_kept_apart(self, daemon, issuer, subject):
        for client in (PORTAL, CRM, STAFF):
            expect.miss(daemon.ask(subject, client_id=client.name), subject, client=client)
            expect.hit(daemon.ask(subject, client_id=client.client_id), subject, client=client)
        assert issuer.requests() == 3

    def test_unknown_one(self, daemon, subject):
        expect.error(daemon.ask(subject, client_id="nobody"), 401, "invalid_client")
        expect.error(daemon.ask(subject, client_id="Portal"), 401, "invalid_client")
        expect.error(daemon.get(subject, client_id="nobody"), 401, "invalid_client")

    def test_may_be_left_out_when_there_is_only_one(self, start_daemon, subject):
        daemon = start_daemon(clients=[PORTAL])
        expect.miss(daemon.ask(subject, client_id=None), subject)
        expect.hit(daemon.ask(subject, client_id="portal"), subject)
        expect.hit(daemon.get(subject, client_id=None), subject)

    def test_must_be_given_when_there_are_several(self, daemon, subject):
        response = daemon.ask(subject, client_id=None)
        assert response.status in (400, 401)
        expect.error(response, response.status, ("invalid_request", "invalid_client"))


class TestBasic:
    """HTTP Basic in place of client_id (RFC 6749 §2.3.1)."""

    @pytest.mark.parametrize("password", ["", "whatever"])
    @pytest.mark.parametrize("user", ["portal", PORTAL.client_id])
    def test_instead_of_client_id(self, daemon, subject, user, password):
        parameters = question(subject, client_id=None)
        expect.miss(daemon.post(parameters, [basic(user, password)]), subject)

    @pytest.mark.parametrize(
        "user", [CRM.client_id, quote_plus(CRM.client_id)], ids=["raw", "encoded"]
    )
    def test_raw_and_form_encoded(self, daemon, subject, user):
        parameters = question(subject, client_id=None)
        expect.miss(daemon.post(parameters, [basic(user, "s")]), subject, client=CRM)

    def test_the_secret_in_it_is_ignored_and_never_forwarded(self, daemon, subject):
        header = basic("portal", "a secret of the caller")
        daemon.forbidden |= {"a secret of the caller", header[1].removeprefix("Basic ")}
        expect.miss(daemon.post(question(subject, client_id=None), [header]), subject)

    def test_with_an_equal_client_id_in_the_body(self, daemon, subject):
        expect.miss(daemon.post(question(subject), [basic("portal")]), subject)

    def test_with_another_client_id_in_the_body(self, daemon, subject):
        response = daemon.post(question(subject, client_id="crm"), [basic("portal")])
        expect.error(response, 400, "invalid_request")

    def test_unknown_user(self, daemon, subject):
        response = daemon.post(question(subject, client_id=None), [basic("nobody", "x")])
        expect.error(response, 401, "invalid_client")

    def test_scheme_in_any_case(self, daemon, subject):
        name, value = basic("portal")
        header = (name, value.replace("Basic", "bAsIc"))
        expect.miss(daemon.post(question(subject, client_id=None), [header]), subject)


class TestScopes:
    def test_absent_means_the_default(self, daemon, issuer, subject):
        expect.miss(daemon.ask(subject, scope=None), subject)
        expect.hit(daemon.ask(subject, scope=READ), subject)
        expect.hit(daemon.ask(subject, scope=""), subject)
        assert issuer.requests() == 1

    def test_absent_without_a_default(self, daemon, issuer, subject):
        response = daemon.ask(subject, client_id="crm", scope=None)
        expect.error(response, 400, ("invalid_scope", "invalid_request"))
        assert issuer.requests() == 0

    def test_order_and_repeats_do_not_matter(self, daemon, issuer, subject):
        both = f"{READ} {MANAGE}"
        expect.miss(daemon.ask(subject, scope=both), subject, scope=both)
        for same in (f"{MANAGE} {READ}", f"{READ} {MANAGE} {READ}", f"{MANAGE} {MANAGE} {READ}"):
            expect.hit(daemon.ask(subject, scope=same), subject, scope=both)
        assert issuer.requests() == 1
        expect.miss(daemon.ask(subject, scope=READ), subject)
        expect.miss(daemon.ask(subject, scope=MANAGE), subject, scope=MANAGE)

    def test_scopes_that_are_urls(self, daemon, issuer, subject):
        expect.miss(daemon.ask(subject, scope=URL_SCOPE), subject, scope=URL_SCOPE)
        assert issuer.last()["parameters"]["scope"] == URL_SCOPE

    def test_unknown_at_the_issuer(self, daemon, subject):
        expect.error(daemon.ask(subject, scope="no.such.scope"), 400, "invalid_scope")


class TestHits:
    def test_expires_in_counts_down(self, daemon, issuer, subject):
        issuer.behave(lifetime=1800, count=1)
        first = daemon.ask(subject)
        expect.miss(first, subject)
        last = first.json()["expires_in"]
        assert 1790 <= last <= 1800
        with daemon.connect() as connection:
            while last == first.json()["expires_in"]:
                response = connection.send(form_request(question(subject))).receive()
                expect.hit(response, subject)
                assert response.json()["access_token"] == first.json()["access_token"]
                assert response.json()["expires_in"] <= last
                last = response.json()["expires_in"]
        assert issuer.requests() == 1

    def test_the_same_token_whoever_asks_and_however(self, daemon, issuer, subject):
        tokens = {daemon.ask(subject).json()["access_token"]}
        for name in ADDRESSES:
            address = getattr(daemon, name)
            tokens.add(daemon.ask(subject, address=address).json()["access_token"])
            tokens.add(daemon.get(subject, address=address).json()["access_token"])
        assert len(tokens) == 1
        assert issuer.requests() == 1

    def test_min_ttl_is_met_by_a_young_token(self, daemon, issuer, subject):
        expect.miss(daemon.ask(subject, min_ttl="60"), subject)
        expect.hit(daemon.ask(subject, min_ttl="60"), subject)
        expect.hit(daemon.ask(subject, min_ttl="0"), subject)
        expect.hit(daemon.ask(subject, min_ttl=""), subject)
        # Nothing the issuer gives lives so long; a token this young has to do.
        expect.hit(daemon.ask(subject, min_ttl="86400"), subject)
        assert daemon.ask(subject, min_ttl="9" * 40).status in (200, 400)
        assert issuer.requests() == 1


class TestForms:
    @pytest.mark.parametrize(
        "content_type",
        [
            FORM,
            f"{FORM};charset=UTF-8",
            f"{FORM}; charset=utf-8",
            f'{FORM}; charset="utf-8"',
            "Application/X-WWW-Form-URLEncoded",
        ],
    )
    def test_content_types(self, daemon, subject, content_type):
        expect.miss(daemon.post(question(subject), [("Content-Type", content_type)]), subject)

    @pytest.mark.parametrize("secret", ["", "plain", "%25%00%ff", "ünïcode"])
    def test_client_secret_is_ignored(self, daemon, subject, secret):
        """Were it forwarded, the issuer would refuse it."""
        expect.miss(daemon.ask(subject, client_secret=secret), subject)

    def test_a_client_secret_is_named_once_in_the_log(self, start_daemon, subject):
        """As no longer needed: an operator may want to take it out of his applications."""
        daemon = start_daemon()
        for _ in range(3):
            expect.token(daemon.ask(subject, client_secret="the caller's own"), subject)
        daemon.forbidden.add("the caller's own")
        text = daemon.stop()
        assert sum("client_secret" in line for line in text.splitlines()) == 1

    def test_username_and_password_are_no_subject(self, daemon, issuer, subject):
        response = daemon.post(
            {"grant_type": "password", "client_id": "portal", "username": subject}
        )
        expect.error(response, 400, "invalid_request")
        assert issuer.requests() == 0

    def test_unknown_parameters_may_repeat(self, daemon, subject):
        pairs = [*question(subject).items(), ("x", "1"), ("x", "2"), ("x", ""), ("y", "3")]
        expect.miss(daemon.post(pairs), subject)

    @pytest.mark.parametrize(
        "empty", ["scope", "client_secret", "min_ttl", "rejected_token_sha256"]
    )
    def test_a_parameter_without_a_value_is_absent(self, daemon, subject, empty):
        expect.miss(daemon.post(question(subject) | {empty: ""}), subject)

    def test_plus_is_a_space(self, daemon, issuer, subject):
        both = f"{READ} {MANAGE}"
        body = f"scope={READ}+{MANAGE}&subject_username={subject}+x"
        response = daemon.post(f"grant_type=password&client_id=portal&{body}".encode())
        expect.miss(response, f"{subject} x", scope=both)

    def test_empty_pairs_and_a_trailing_ampersand(self, daemon, subject):
        body = f"&grant_type=password&&client_id=portal&subject_username={subject}&"
        expect.miss(daemon.post(body.encode()), subject)

    def test_a_body_of_16_kib_is_not_too_large(self, daemon, subject):
        body = f"grant_type=password&client_id=portal&subject_username={subject}&x=".encode()
        expect.miss(daemon.post(body.ljust(16 * 1024, b"x")), subject)


class TestGetV1Token:
    def test_json(self, daemon, issuer, subject, address):
        expect.miss(daemon.get(subject, address=address), subject)
        expect.hit(daemon.get(subject, address=address), subject)
        assert issuer.requests() == 1

    def test_grant_type_may_be_given(self, daemon, subject):
        expect.miss(daemon.get(subject), subject)
        target = f"/v1/token?grant_type=password&client_id=portal&subject_username={subject}"
        expect.hit(daemon.request("GET", target, [("Metadata", "true")]), subject)
        target = target.replace("password", "implicit")
        response = daemon.request("GET", target, [("Metadata", "true")])
        expect.error(response, 400, "unsupported_grant_type")

    def test_bare_token(self, daemon, subject):
        bare = daemon.get(subject, headers=[("Accept", "text/plain")])
        assert bare.status == 200
        assert bare.header("Content-Type").split(";")[0] == "text/plain"
        assert expect.cache_status(bare)["fwd"] == "miss"
        expect.not_stored(bare)
        assert bare.body == daemon.ask(subject).json()["access_token"].encode()
        again = daemon.get(subject, headers=[("Accept", "text/plain")])
        assert again.body == bare.body
        assert again.header("Cache-Status").startswith("egain-tokend; hit; ttl=")

    def test_errors_stay_json(self, daemon):
        expect.error(daemon.get("", headers=[("Accept", "text/plain")]), 400, "invalid_request")

    @pytest.mark.parametrize(
        "accept",
        [
            "TEXT/plain",
            "text/html, text/plain;q=0.5, application/json",
            "text/plain ; charset=utf-8; q=0.001",
            "application/json;q=0, text/plain;q=0.05",
            "application/json; q=0.0 , text/plain",
        ],
    )
    def test_accept_headers_that_give_the_bare_token(self, daemon, subject, accept):
        bare = daemon.get(subject, headers=[("Accept", accept)])
        assert bare.body == daemon.ask(subject).json()["access_token"].encode()

    @pytest.mark.parametrize(
        "accept",
        [
            "*/*",
            "",
            "application/json",
            "application/json, text/plain;q=0.5",
            "text/plain;q=0",
            "text/plain; Q=0.000, application/json",
            "text/plain;charset=utf-8;q=0;x",
            "text/plainer, text/plain2",
        ],
    )
    def test_other_accept_headers_give_json(self, daemon, subject, accept):
        expect.miss(daemon.get(subject, headers=[("Accept", accept)]), subject)

    @pytest.mark.parametrize("headers", [[], [("Metadata", "false")], [("Metadata", "")]])
    def test_needs_the_metadata_header(self, daemon, issuer, subject, headers):
        target = f"/v1/token?client_id=portal&subject_username={subject}"
        expect.error(daemon.request("GET", target, headers), 403, "access_denied")
        assert issuer.requests() == 0


class TestConnections:
    def test_keep_alive(self, daemon, subject, address):
        with daemon.connect(address) as connection:
            for number in range(5):
                response = connection.send(form_request(question(subject))).receive()
                assert response.version == "HTTP/1.1"
                assert (response.header("Connection") or "keep-alive").lower() == "keep-alive"
                (expect.hit if number else expect.miss)(response, subject)

    def test_connection_close(self, daemon, subject):
        with daemon.connect() as connection:
            connection.send(form_request(question(subject), [("Connection", "close")]))
            response = connection.receive()
            expect.miss(response, subject)
            assert response.header("Connection").lower() == "close"
            assert connection.until_closed() == b""

    def test_a_large_header_within_the_limit(self, daemon, subject):
        headers = [("Cookie", "x" * 4000), ("X-More", "y" * 4000)]
        expect.miss(daemon.post(question(subject), headers), subject)

    def test_an_error_keeps_the_connection(self, daemon, subject):
        with daemon.connect() as connection:
            expect.error(
                connection.send(form_request(question(""))).receive(), 400, "invalid_request"
            )
            expect.miss(connection.send(form_request(question(subject))).receive(), subject)

    @pytest.mark.parametrize("name", ADDRESSES)
    def test_http_1_0(self, daemon, subject, name):
        with daemon.connect(getattr(daemon, name)) as connection:
            connection.send(form_request(question(subject), version="HTTP/1.0"))
            expect.miss(connection.receive(), subject)
            assert connection.until_closed() == b""

    def test_expect_100_continue(self, daemon, subject):
        whole = form_request(question(subject), [("Expect", "100-continue")])
        head, separator, body = whole.partition(b"\r\n\r\n")
        with daemon.connect() as connection:
            assert connection.send(head + separator).receive().status == 100
            expect.miss(connection.send(body).receive(), subject)

    def test_chunked_body(self, daemon, subject):
        body = form_request(question(subject)).partition(b"\r\n\r\n")[2]
        chunks = [body[:7], body[7:9], body[9:]]
        chunked = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        headers = [("Content-Type", FORM), ("Transfer-Encoding", "chunked")]
        with daemon.connect() as connection:
            connection.send(http_request("POST", "/oauth2/token", headers, chunked))
            expect.miss(connection.receive(), subject)
            expect.hit(connection.send(form_request(question(subject))).receive(), subject)

    def test_a_body_that_comes_byte_by_byte(self, daemon, subject):
        with daemon.connect() as connection:
            for byte in form_request(question(subject)):
                connection.send(bytes([byte]))
            expect.miss(connection.receive(), subject)

    def test_pipelined_requests_are_answered_in_order(self, daemon, subject):
        names = [f"{subject}-{number}" for number in range(5)]
        with daemon.connect() as connection:
            connection.send(b"".join(form_request(question(name)) for name in names))
            for name in names:
                expect.miss(connection.receive(), name)


class TestOtherPaths:
    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    def test_health(self, daemon, address, path):
        assert daemon.request("GET", path, address=address).status == 200

    def test_ready_while_the_issuer_is_down(self, start_daemon):
        daemon = start_daemon(
            clients=[PORTAL],
            urls={
                "portal": {
                    "user_token_url": "http://127.0.0.1:9/u",
                    "customer_token_url": "http://127.0.0.1:9/c",
                }
            },
        )
        expect.unavailable(daemon.ask("pa"))
        assert daemon.request("GET", "/readyz").status == 200

    @pytest.mark.parametrize(
        "name, host",
        [
            ("tcp4", "127.0.0.1:{port}"),
            ("tcp6", "[::1]:{port}"),
            ("tcp4", "localhost"),
            ("unix", "localhost"),
        ],
    )
    def test_metadata(self, daemon, name, host):
        host = host.format(port=daemon.port)
        target = "/.well-known/oauth-authorization-server"
        response = daemon.request("GET", target, host=host, address=getattr(daemon, name))
        assert response.status == 200
        assert response.header("Content-Type") == "application/json"
        answer = response.json()
        assert answer["issuer"] == f"http://{host}"
        assert answer["token_endpoint"] == f"http://{host}/oauth2/token"
        assert answer["response_types_supported"] == []
        assert answer["grant_types_supported"] == [
            "password",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ]
        assert answer["token_endpoint_auth_methods_supported"] == [
            "none",
            "client_secret_basic",
            "client_secret_post",
        ]
