# SPDX-License-Identifier: MIT
"""What the issuer's answers mean, each as the table "What the issuer's answer means" has it.

What a failure does to later requests is here as far as it shows at once; the rest is in
test_hold.py, test_outage.py and test_rotation.py.
"""

import base64
import contextlib
import json
import socket
import threading

import pytest

import expect
from harness import MANAGE, PORTAL, READ, Client, Daemon, Issuer, ask_bytes, free_port
from wire import Fleet, connect, eventually

GOOD = {
    "access_token": "literal-token-1",
    "token_type": "Bearer",
    "expires_in": 3600,
    "scope": READ,
}

# The tokens in literal answers, good and bad: none of them may get into the log.
LITERAL_TOKEN = "literal-token"


@pytest.fixture(scope="module", autouse=True)
def no_literal_token_in_the_log(daemon_process):
    daemon_process.forbidden.add(LITERAL_TOKEN)


def literal(**changes):
    """A literal answer: the good one with changes; None leaves a member out."""
    members = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return {"body": json.dumps(members)}


def text(body, **more):
    return {"body": body, **more}


def raw(body, **more):
    return {"body_base64": base64.b64encode(body).decode(), **more}


def member(name, value):
    """A literal answer in which one member is written exactly so."""
    others = ",".join(
        f"{json.dumps(key)}:{json.dumps(item)}" for key, item in GOOD.items() if key != name
    )
    return {"body": f'{{{others},"{name}":{value}}}'}


SERVER_ERROR = (502, "server_error")
UNAVAILABLE = (503, "temporarily_unavailable")
INVALID_GRANT = (400, "invalid_grant")
INVALID_SCOPE = (400, "invalid_scope")

UNUSABLE = {
    "expires_in 0": member("expires_in", "0"),
    "expires_in negative": member("expires_in", "-1"),
    "expires_in fractional": member("expires_in", "3599.9"),
    "expires_in exponent": member("expires_in", "1e400"),
    "expires_in overflowing": member("expires_in", "99999999999999999999"),
    "expires_in overflowing 2^64": member("expires_in", "18446744073709555216"),
    "expires_in absurd": member("expires_in", "9223372036854775807"),
    "expires_in NaN": member("expires_in", "NaN"),
    "expires_in true": member("expires_in", "true"),
    "expires_in an array": member("expires_in", "[3600]"),
    "expires_in an object": member("expires_in", '{"value":3600}'),
    "expires_in '3600abc'": member("expires_in", '"3600abc"'),
    "expires_in 'abc'": member("expires_in", '"abc"'),
    "expires_in ''": member("expires_in", '""'),
    "expires_in '0'": member("expires_in", '"0"'),
    "expires_in '-1'": member("expires_in", '"-1"'),
    "expires_in '3599.9'": member("expires_in", '"3599.9"'),
    "expires_in '0x10'": member("expires_in", '"0x10"'),
    "expires_in ' 3600'": member("expires_in", '" 3600"'),
    "expires_in digits overflowing": member("expires_in", '"99999999999999999999"'),
    "expires_in with a NUL": member("expires_in", '"3600\\u0000"'),
    "no access_token": literal(access_token=None),
    "access_token empty": literal(access_token=""),
    "access_token null": member("access_token", "null"),
    "access_token a number": literal(access_token=12345),
    "access_token an array": literal(access_token=["literal-token-2"]),
    "access_token an object": literal(access_token={"value": "literal-token-3"}),
    "access_token true": literal(access_token=True),
    "access_token over-long": literal(access_token=LITERAL_TOKEN + "x" * 16 * 1024),
    "access_token with a NUL": member("access_token", '"literal-token\\u0000x"'),
    "access_token with a line break": member("access_token", '"literal-token\\r\\nX-Evil: 1"'),
    "access_token twice": text(
        '{"access_token":"literal-token-4","access_token":"literal-token-5","expires_in":60}'
    ),
    "expires_in twice": text(
        '{"access_token":"literal-token-6","expires_in":60,"expires_in":3600}'
    ),
    "token_type mac": literal(token_type="mac"),
    "token_type empty": literal(token_type=""),
    "token_type a number": literal(token_type=1),
    "token_type Bearer and more": literal(token_type="Bearer x"),
    "an error in a 200": literal(error="server_error", error_description="literal-token-7"),
    "only an error in a 200": text('{"error":"temporarily_unavailable"}'),
    "empty": text("", content_type="application/json"),
    "white space": text(" \n"),
    "HTML": text("<html><body>literal-token-8</body></html>", content_type="text/html"),
    "not JSON": text("literal-token-9"),
    "a JSON string": text('"literal-token-10"'),
    "a JSON array": text('[{"access_token":"literal-token-11","expires_in":3600}]'),
    "null": text("null"),
    "cut JSON": text('{"access_token":"literal-token-12","expires_in":3600'),
    "JSON and more": text(json.dumps(GOOD) + "x"),
    "JSON twice": text(json.dumps(GOOD) * 2),
    "a comment": text(json.dumps(GOOD)[:-1] + "/* */}"),
    "single quotes": text("{'access_token':'literal-token-13','expires_in':3600}"),
    "bad UTF-8 in the token": raw(b'{"access_token":"literal-token\xff","expires_in":3600}'),
    "bad UTF-8 elsewhere": raw(json.dumps(GOOD).encode()[:-1] + b',"x":"\xc3("}'),
    "a NUL after it": raw(json.dumps(GOOD).encode() + b"\0"),
    "too deep": text(json.dumps(GOOD)[:-1] + ',"x":' + "[" * 50 + "]" * 50 + "}"),
    "binary": raw(bytes(range(256)) * 4),
    "over 1 MiB": {"body_size": 1024 * 1024 + 1},
    "far over 1 MiB": {"body_size": 50_000_000},
    "scope a number": literal(scope=1),
}

REFUSED = {
    "400 invalid_grant": (
        {"error": "invalid_grant", "error_description": "unknown"},
        INVALID_GRANT,
    ),
    "400 invalid_scope": ({"error": "invalid_scope"}, INVALID_SCOPE),
    "400 invalid_request": ({"error": "invalid_request"}, INVALID_GRANT),
    "400 some other code": ({"error": "account_locked"}, INVALID_GRANT),
    "400 empty": (text("", status=400), INVALID_GRANT),
    "400 HTML": (text("<html>no</html>", status=400, content_type="text/html"), INVALID_GRANT),
    "400 eGain's form": (
        text('{"code":"400-103","developerMessage":"Bad"}', status=400),
        INVALID_GRANT,
    ),
    "400 a token in it": (literal() | {"status": 400}, INVALID_GRANT),
    "400 bad UTF-8": (raw(b'{"error":"invalid_scope\xff"}', status=400), INVALID_GRANT),
    "400 error not a string": (text('{"error":["invalid_scope"]}', status=400), INVALID_GRANT),
    "403 eGain's form": (
        text('{"code":"403-197","developerMessage":"Scope"}', status=403),
        INVALID_GRANT,
    ),
    "403 code an integer": (
        text('{"code":403,"developerMessage":"No"}', status=403),
        INVALID_GRANT,
    ),
    "403 invalid_scope": ({"error": "invalid_scope", "status": 403}, INVALID_SCOPE),
    "404 empty": (text("", status=404), INVALID_GRANT),
    "422 invalid_grant": ({"error": "invalid_grant", "status": 422}, INVALID_GRANT),
    "422 invalid_scope": ({"error": "invalid_scope", "status": 422}, INVALID_SCOPE),
    "401 empty": (text("", status=401), SERVER_ERROR),
    "401 invalid_client": ({"error": "invalid_client", "status": 401}, SERVER_ERROR),
    "401 invalid_grant": ({"error": "invalid_grant", "status": 401}, SERVER_ERROR),
    "401 eGain's form": (
        text('{"code":"401-104","developerMessage":"x"}', status=401),
        SERVER_ERROR,
    ),
    "401 HTML": (text("<html/>", status=401, content_type="text/html"), SERVER_ERROR),
    "400 invalid_client": ({"error": "invalid_client"}, SERVER_ERROR),
    "403 invalid_client": ({"error": "invalid_client", "status": 403}, SERVER_ERROR),
    "400 unauthorized_client": ({"error": "unauthorized_client"}, SERVER_ERROR),
    "403 unauthorized_client": ({"error": "unauthorized_client", "status": 403}, SERVER_ERROR),
    "400 unsupported_grant_type": ({"error": "unsupported_grant_type"}, SERVER_ERROR),
}

FAILED = {
    "500": (text("oops", status=500), UNAVAILABLE),
    "500 empty": (text("", status=500), UNAVAILABLE),
    "500 a token in it": (literal() | {"status": 500}, UNAVAILABLE),
    "500 invalid_grant in it": ({"error": "invalid_grant", "status": 500}, UNAVAILABLE),
    "502": (text("<html/>", status=502, content_type="text/html"), UNAVAILABLE),
    "503": (text("", status=503), UNAVAILABLE),
    "503 with Retry-After": (text("", status=503, headers={"Retry-After": "7"}), UNAVAILABLE),
    "503 with a date": (
        text("", status=503, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}),
        UNAVAILABLE,
    ),
    "504": (text("", status=504), UNAVAILABLE),
    "599": (text("", status=599), UNAVAILABLE),
    "408": (text("", status=408), UNAVAILABLE),
    "429": (text("", status=429), UNAVAILABLE),
    "429 with Retry-After": (text("", status=429, headers={"Retry-After": "7"}), UNAVAILABLE),
    "429 with a huge Retry-After": (
        text("", status=429, headers={"Retry-After": "9" * 30}),
        UNAVAILABLE,
    ),
    "429 with a negative Retry-After": (
        text("", status=429, headers={"Retry-After": "-5"}),
        UNAVAILABLE,
    ),
    "429 with nonsense": (text("", status=429, headers={"Retry-After": "soon"}), UNAVAILABLE),
    "429 eGain's form": (
        text(
            '{"code":"429-001","developerMessage":"x"}',
            status=429,
            headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "2000-01-01T00:00:00Z"},
        ),
        UNAVAILABLE,
    ),
    "connection cut": ({"close": True}, UNAVAILABLE),
    "answer cut": ({"close_after_headers": True}, UNAVAILABLE),
    "300": (text("", status=300), SERVER_ERROR),
    "304": (text("", status=304), SERVER_ERROR),
}


# Of these the issuer wants to be asked again later: its token URL is left alone.
HOLDS = {name for name in FAILED if name.startswith("429") or name.startswith("503 with")}

# Of these what is refused is the client application, whoever the subject is.
OURS = {name for name, (_, expected) in REFUSED.items() if expected == SERVER_ERROR}
OUR_SECRET = {name for name in OURS if name.startswith("401") or "invalid_client" in name}

CASES = (
    [(name, behaviour, SERVER_ERROR) for name, behaviour in UNUSABLE.items()]
    + [(name, *case) for name, case in REFUSED.items()]
    + [(name, *case) for name, case in FAILED.items()]
)


class Case:
    """A client application of its own, with a tenant and so a token URL of its own.

    What a failure does to secrets and URL stays with its case, and all cases run at once.
    """

    def __init__(self, number, name, behaviour):
        self.name = name
        self.subject = f"case-{number}"
        self.client = Client(self.subject, self.subject, "case-secret", self.subject, READ)
        self.behaviour = behaviour | {"tenant": self.client.tenant}
        self.first = self.again = self.other = None  # answers
        self.asked = 0  # of the issuer, for `first` and `again`
        self.asked_later = 0  # for `other`, when the issuer is well again

    def request(self, subject):
        return ask_bytes(subject, client_id=self.client.name)


@pytest.fixture(scope="module")
def cases():
    """All cases, asked for twice while their issuer misbehaves, and for another subject later."""
    every = [Case(number, name, behaviour) for number, (name, behaviour, _) in enumerate(CASES)]
    clients = [case.client for case in every]
    with Issuer(clients=clients) as issuer, Daemon(
        issuer, clients=clients, request_timeout="60s", upstream={"timeout": "30s"}
    ) as daemon:
        daemon.forbidden.add(LITERAL_TOKEN)
        for case in every:
            issuer.behave(**case.behaviour)
        with Fleet(daemon.unix, len(every)) as fleet:
            # The second one waits on its connection, and is looked at once the first is answered.
            fleet.send(lambda index: every[index].request(every[index].subject) * 2)
            for case, response in zip(every, fleet.collect(), strict=True):
                case.first = response
            for case, response in zip(every, fleet.collect(), strict=True):
                case.again = response
            stats = issuer.stats()
            issuer.reset()
            fleet.send(lambda index: every[index].request("other-" + every[index].subject))
            for case, response in zip(every, fleet.collect(), strict=True):
                case.other = response
            later = issuer.stats()
        for case in every:
            case.asked = stats["by_subject"].get(f"username:{case.subject}", 0)
            case.asked_later = later["by_subject"].get(f"username:other-{case.subject}", 0)
        yield {case.name: case for case in every}


class TestClasses:
    @staticmethod
    def check(case, expected, most):
        """Both callers get the same, and the issuer was asked on behalf of the first alone."""
        for response in (case.first, case.again):
            description = expect.error(response, *expected)
            assert LITERAL_TOKEN not in description
        assert 1 <= case.asked <= most

    @staticmethod
    def check_others_are_served(case):
        expect.miss(case.other, "other-" + case.subject, client=case.client)
        assert case.asked_later == 1

    @pytest.mark.parametrize("name", UNUSABLE)
    def test_unusable(self, cases, name):
        """A failure: at most two more tries, and one subject's failure is one subject's."""
        self.check(cases[name], SERVER_ERROR, most=3)
        self.check_others_are_served(cases[name])

    @pytest.mark.parametrize("name", sorted(set(REFUSED) - OURS))
    def test_refused(self, cases, name):
        """One request: a refusal is not tried again, and remembered."""
        _, expected = REFUSED[name]
        self.check(cases[name], expected, most=1)
        self.check_others_are_served(cases[name])

    @pytest.mark.parametrize("name", sorted(OURS))
    def test_refused_for_our_sake(self, cases, name):
        """Held, with the one secret there is tried once; or remembered for client and scope."""
        case = cases[name]
        self.check(case, SERVER_ERROR, most=1)
        expect.error(case.other, *SERVER_ERROR)
        assert case.asked_later == 0

    @pytest.mark.parametrize("name", sorted(set(FAILED) - HOLDS))
    def test_failed(self, cases, name):
        _, expected = FAILED[name]
        # What breaks on a connection that was kept is sent once more without a word.
        self.check(cases[name], expected, most=6 if name == "connection cut" else 3)
        self.check_others_are_served(cases[name])

    @pytest.mark.parametrize("name", sorted(HOLDS))
    def test_held(self, cases, name):
        """Not tried again, neither for this subject nor another; details are in test_hold.py."""
        case = cases[name]
        self.check(case, UNAVAILABLE, most=1)
        if case.other.status == 503:
            expect.unavailable(case.other)
            assert case.asked_later == 0
        else:
            # Where the issuer does not say for how long, it is a second.
            assert "with" not in name or "negative" in name or "nonsense" in name
            self.check_others_are_served(case)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirects_are_not_followed(self, daemon, issuer, subject, status):
        """The secret must not go where a redirect says."""
        elsewhere = issuer.url(PORTAL, "customer")
        issuer.behave(status=status, headers={"Location": elsewhere}, body="")
        expect.error(daemon.ask(subject), *SERVER_ERROR)
        assert issuer.last()["path"].endswith("-U/oauth2/token")
        assert issuer.requests() <= 3
        issuer.reset()
        expect.miss(daemon.ask(f"other-{subject}"), f"other-{subject}")

    def test_one_bad_subject_harms_nobody(self, daemon, issuer, subject):
        issuer.behave(subject=f"username:{subject}", error="invalid_grant")
        for number in range(10):
            expect.error(daemon.ask(subject), *INVALID_GRANT)
            expect.miss(daemon.ask(f"{subject}-{number}"), f"{subject}-{number}")
        assert issuer.asked_for(subject) == 1

    def test_one_subject_that_fails_harms_nobody(self, daemon, issuer, subject):
        """Its failures are in a row, but of one key, and others succeed in between."""
        issuer.behave(subject=f"username:{subject}", status=500, body="oops")
        for number in range(3):
            expect.unavailable(daemon.ask(subject))
            expect.miss(daemon.ask(f"{subject}-{number}"), f"{subject}-{number}")
        assert issuer.asked_for(subject) <= 3 * 2

    def test_text_of_the_issuer_is_not_passed_on(self, daemon, issuer, subject):
        """`error_description` may carry anything (the form is checked by expect.error)."""
        issuer.behave(
            status=400, error="invalid_grant", error_description='<script>"\\\u0001\u202e</script>'
        )
        description = expect.error(daemon.ask(subject), *INVALID_GRANT)
        assert "<script>" not in description


class TestUsable:
    """Everything a healthy issuer may say."""

    @pytest.mark.parametrize("token_type", ["Bearer", "bearer", "BEARER", "bEaReR"])
    def test_token_type_in_any_case(self, daemon, issuer, subject, token_type):
        issuer.behave(token_type=token_type)
        expect.miss(daemon.ask(subject), subject)

    @pytest.mark.parametrize("omitted", ["token_type", "expires_in", "scope"])
    def test_members_that_may_be_missing(self, daemon, issuer, subject, omitted):
        issuer.behave(omit=[omitted])
        expect.miss(daemon.ask(subject), subject)
        expect.hit(daemon.ask(subject), subject)

    @pytest.mark.parametrize("value", ["1800", '"1800"'])
    def test_expires_in_as_number_or_digits(self, daemon, issuer, subject, value):
        issuer.behave(expires_in_json=value)
        response = daemon.ask(subject)
        expect.miss(response, subject)
        assert 1790 <= response.json()["expires_in"] <= 1800

    def test_expires_in_missing_is_the_tokens_own(self, daemon, issuer, subject):
        issuer.behave(omit=["expires_in"], jwt_lifetime=777)
        response = daemon.ask(subject)
        expect.miss(response, subject)
        assert 770 <= response.json()["expires_in"] <= 777

    @pytest.mark.parametrize(
        "token", ["literal-token-opaque", "a.b.c", "eyJ.eyJ9.x", "eyJhIjoxfQ.e30.x"]
    )
    def test_expires_in_missing_and_no_hint(self, issuer, start_daemon, subject, token):
        daemon = start_daemon(cache={"default_lifetime": "20m"})
        daemon.forbidden.add(token)
        issuer.behave(**literal(access_token=token, expires_in=None))
        answer = daemon.ask(subject).json()
        assert answer["access_token"] == token
        assert 1190 <= answer["expires_in"] <= 1200

    @pytest.mark.parametrize("jwt_lifetime", [0, -1])
    def test_a_token_that_says_it_is_dead(self, daemon, issuer, subject, jwt_lifetime):
        """Its own word is a hint, and this one is none: refused, or taken for the default."""
        issuer.behave(omit=["expires_in"], jwt_lifetime=jwt_lifetime)
        response = daemon.ask(subject)
        if response.status == 200:
            expect.token(response, subject)
        else:
            expect.error(response, *SERVER_ERROR)

    def test_other_members_are_ignored_and_not_passed_on(self, daemon, issuer, subject):
        extra = {
            "refresh_token": "literal-token-r",
            "id_token": "literal-token-i",
            "x": {"y": [1, None]},
        }
        issuer.behave(**literal(**extra))
        answer = daemon.ask(subject).json()
        assert set(answer) == set(GOOD)
        assert answer["access_token"] == GOOD["access_token"]

    def test_less_scope_than_asked_for_is_said(self, daemon, issuer, subject):
        issuer.behave(granted_scope=READ)
        for status in ("fwd=miss", "hit"):
            response = daemon.ask(subject, scope=f"{READ} {MANAGE}")
            assert response.status == 200 and status in response.header("Cache-Status")
            assert response.json()["scope"] == READ
        assert issuer.requests() == 1
        # It was granted for both, so it does not stand in for the one alone.
        expect.miss(daemon.ask(subject, scope=READ), subject)

    @pytest.mark.parametrize("granted", ["", " ", "   "])
    def test_a_scope_without_a_value_says_nothing(self, daemon, issuer, subject, granted):
        """What was asked for was granted, then, and is what is told."""
        issuer.behave(granted_scope=granted)
        for ask in (expect.miss, expect.hit):
            ask(daemon.ask(subject), subject)

    @pytest.mark.parametrize("length", [1, 100, 8 * 1024, 16 * 1024])
    def test_lengths_of_tokens(self, daemon, issuer, subject, length):
        token = (LITERAL_TOKEN + "x" * length)[-length:]
        issuer.behave(**literal(access_token=token))
        for _ in range(2):
            assert daemon.ask(subject).json()["access_token"] == token
        bare = daemon.get(subject, headers=[("Accept", "text/plain")])
        assert bare.body == token.encode()

    @pytest.mark.parametrize("token", ["a+b/c==", "~._-", 'quote"back\\slash'])
    def test_characters_of_tokens(self, daemon, issuer, subject, token):
        """RFC 6749 A.12: any visible ASCII, which JSON may have to escape."""
        issuer.behave(**literal(access_token=token))
        assert daemon.ask(subject).json()["access_token"] == token

    def test_an_answer_just_below_1_mib(self, daemon, issuer, subject):
        body = literal()["body"]
        issuer.behave(body=body + " " * (1024 * 1024 - len(body)))
        assert daemon.ask(subject).json()["access_token"] == GOOD["access_token"]

    def test_an_answer_that_trickles(self, daemon, issuer, subject):
        issuer.behave(**literal(), trickle_ms=1)
        assert daemon.ask(subject).json()["access_token"] == GOOD["access_token"]

    def test_an_answer_in_any_content_type(self, daemon, issuer, subject):
        issuer.behave(content_type="text/json; charset=utf-8")
        expect.miss(daemon.ask(subject), subject)


class TestLimits:
    def test_response_size(self, start_daemon, issuer, subject):
        daemon = start_daemon(limits={"max_response_size": "8K", "max_token_size": "2K"})
        issuer.behave(body=literal()["body"].ljust(8 * 1024 + 1))
        expect.error(daemon.ask(subject), *SERVER_ERROR)
        issuer.reset()
        issuer.behave(body=literal()["body"].ljust(8 * 1024))
        assert daemon.ask(f"fits-{subject}").status == 200

    def test_token_size(self, start_daemon, issuer, subject):
        daemon = start_daemon(limits={"max_token_size": "2K"})
        issuer.behave(**literal(access_token="x" * 2049))
        expect.error(daemon.ask(subject), *SERVER_ERROR)
        issuer.reset()
        issuer.behave(**literal(access_token="x" * 2048))
        assert daemon.ask(f"fits-{subject}").status == 200


class TestTransport:
    """Faults below HTTP, which fake-egain has no part in."""

    URLS = "user_token_url", "customer_token_url"

    def at(self, start_daemon, port, **settings):
        """A daemon whose issuer is at another port of 127.0.0.1."""
        urls = {name: f"http://127.0.0.1:{port}/oauth2/token" for name in self.URLS}
        return start_daemon(clients=[PORTAL], urls={"portal": urls}, **settings)

    def test_nobody_listens(self, start_daemon, subject):
        daemon = self.at(start_daemon, free_port())
        expect.unavailable(daemon.ask(subject))

    def test_the_issuer_stalls(self, start_daemon, issuer, subject):
        daemon = start_daemon(upstream={"timeout": "500ms"}, request_timeout="20s")
        issuer.behave(stall=True, subject=f"username:{subject}")
        expect.unavailable(daemon.ask(subject))
        assert issuer.asked_for(subject) == 3
        expect.miss(daemon.ask(f"other-{subject}"), f"other-{subject}")

    def test_the_answer_trickles_too_slowly(self, start_daemon, issuer, subject):
        daemon = start_daemon(upstream={"timeout": "500ms"}, request_timeout="20s")
        issuer.behave(trickle_ms=500, subject=f"username:{subject}")
        expect.unavailable(daemon.ask(subject))
        assert issuer.asked_for(subject) == 3
        expect.miss(daemon.ask(f"other-{subject}"), f"other-{subject}")

    def test_connecting_takes_too_long(self, start_daemon, subject):
        """A listener with a full backlog lets SYNs wait."""
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            address = listener.getsockname()
            with contextlib.suppress(TimeoutError):
                while True:
                    stack.enter_context(connect(address, 0.3))
            daemon = self.at(
                start_daemon, address[1], upstream={"connect_timeout": "400ms"}
            )
            expect.unavailable(daemon.ask(subject))

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"garbage\r\n\r\n",
            b'{"access_token":"literal-token-raw","expires_in":3600}',
            b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 400_000 + b"\r\n\r\n{}",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\n{}",
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ],
        ids=[
            "nothing",
            "garbage",
            "HTTP/0.9",
            "length",
            "short",
            "chunk",
            "headers",
            "204",
            "999",
            "SSH",
        ],
    )
    def test_what_is_no_proper_http(self, start_daemon, subject, answer):
        with RawIssuer(answer) as raw_issuer:
            daemon = self.at(start_daemon, raw_issuer.port)
            daemon.forbidden.add(LITERAL_TOKEN)
            response = daemon.ask(subject)
            assert response.status in (502, 503)
            code = {502: "server_error", 503: "temporarily_unavailable"}[response.status]
            expect.error(response, response.status, code)

    def test_no_such_host(self, start_daemon, subject):
        urls = {"portal": {name: "https://issuer.invalid/oauth2/token" for name in self.URLS}}
        upstream = {"connect_timeout": "1s"}
        daemon = start_daemon(clients=[PORTAL], urls=urls, upstream=upstream)
        expect.unavailable(daemon.ask(subject))

    def test_the_issuer_is_restarted(self, subject):
        """The connections that were kept are dead, and the daemon finds that out by itself."""
        with Issuer() as first:
            port = first.port
            with Daemon(first) as daemon:
                expect.miss(daemon.ask(subject), subject)
                first.close()
                expect.unavailable(daemon.ask(f"{subject}-down"))
                expect.hit(daemon.ask(subject), subject)
                with Issuer(port=port):

                    def served(suffix):
                        response = daemon.ask(subject + suffix)
                        if response.status == 200:
                            return response
                        # The breaker is open for a second or two, the failure remembered as long.
                        assert 1 <= expect.retry_after(response) <= 4
                        return None

                    for suffix in ("-up", "-down"):
                        response = eventually(
                            lambda suffix=suffix: served(suffix), "the issuer to be asked again"
                        )
                        expect.miss(response, subject + suffix)

    def test_the_issuer_closes_its_connections(self, daemon, issuer, subject):
        """A kept connection that the issuer has closed costs nobody an error."""
        for number in range(5):
            expect.miss(daemon.ask(f"{subject}-{number}"), f"{subject}-{number}")
            issuer.behave(headers={"Connection": "close"}, count=1)
            expect.miss(daemon.ask(f"{subject}-close-{number}"), f"{subject}-close-{number}")


class TestSubjects:
    def test_a_subject_unknown_at_the_issuer(self, daemon, issuer, subject):
        """It is unknown for a while, and nobody else is."""
        issuer.behave(subject=f"username:{subject}", error="invalid_grant")
        for _ in range(5):
            expect.error(daemon.ask(subject), *INVALID_GRANT)
        assert issuer.asked_for(subject) == 1
        expect.miss(daemon.ask(f"other-{subject}"), f"other-{subject}")


class RawIssuer:
    """Accepts connections, reads a request and sends whatever bytes it was given."""

    def __init__(self, answer):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        # Wakes the thread out of accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(10)
                received = b""
                while b"subject_username=" not in received:
                    data = connection.recv(65536)
                    if not data:
                        break
                    received += data
                connection.sendall(self._answer)
