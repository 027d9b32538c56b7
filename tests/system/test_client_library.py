# SPDX-License-Identifier: MIT
"""libegaintoken against the real daemon, and against what only looks like one."""

import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import expect
from harness import (
    BUILD,
    MANAGE,
    PORTAL,
    READ,
    ROOT,
    SANITIZER,
    Daemon,
    Issuer,
    Program,
    environment,
    for_anybody,
    scratch_directory,
)
from test_grants import subject_token
from test_inherit import UNIT, listening_unix
from test_warm_restart import NAME, Manager
from test_warm_restart import Managed as Restarted
from wire import TIMEOUT, eventually

CLIENT = BUILD / "tests" / "client"
MAN_PAGE = ROOT / "man" / "egain_token.3.scd"
HEADER = ROOT / "client" / "egain_token.h"
MAP = ROOT / "client" / "egain_token.map"

# Full: 64 threads, a million calls, 20 token lives and two restarts; some minutes.
FULL = os.environ.get("EGAIN_STORM") == "full"

ERRORS = {
    name: int(number)
    for name, number in re.findall(r"EGAIN_TOKEN_E_(\w+) = (\d+)", HEADER.read_text())
}
KINDS = {
    name.lower(): int(number)
    for name, number in re.findall(
        r"EGAIN_TOKEN_([A-Z]+) = (\d+)", HEADER.read_text().split("enum egain_token_kind")[1]
    )
}
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


ASK = "tests/client/ask"
LIBRARY = "client/libegaintoken.so.0"


class Library:
    """A process that uses the library as it is told, see tests/client/ask.c."""

    def __init__(self, prefix=(), **options):
        # Somebody else, whom a prefix makes of us, may not reach the build.
        built = for_anybody(ASK, LIBRARY) if prefix else BUILD
        self.process = subprocess.Popen(
            [*prefix, built / ASK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(http_proxy="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9"),
            text=True,
        )
        self.opened = self.command("open", **options)["result"]

    def command(self, name, **arguments):
        words = [name, *(f"{key}={value}" for key, value in arguments.items() if value is not None)]
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().rstrip("\n")
        assert line, self.process.communicate()[1]
        answer = dict(field.split("=", 1) for field in line.split("\t"))
        return {k: int(v) if re.fullmatch(r"\d{1,18}", v) else v for k, v in answer.items()}

    def get(self, subject=None, kind="username", command="get", **arguments):
        return self.command(command, kind=KINDS[kind], subject=subject, **arguments)

    def token(self, subject, kind="username", scope=READ, **arguments):
        """A token of exactly this subject."""
        answer = self.get(subject, kind, client=arguments.pop("client", "portal"), **arguments)
        assert answer["result"] == 0, answer
        assert answer["expires_in"] > 0 and answer["scope"] == scope
        expect.claims(answer["token"], subject, kind, scope)
        return answer["token"]

    def reject(self, subject, **arguments):
        return self.get(subject, command="reject", client="portal", **arguments)

    def fails(self, name, subject="pa", **arguments):
        answer = self.get(subject, **{"client": "portal", **arguments})
        assert answer["result"] == answer["error"] == ERRORS[name], answer
        assert answer["message"] and "token" not in answer
        return answer

    def counters(self):
        return self.command("counters")

    def close(self):
        _, errors = self.process.communicate(timeout=TIMEOUT)
        assert self.process.returncode == 0 and errors == "", errors


@pytest.fixture
def library():
    """Starts processes that use the library; each must end well and have written nothing."""
    started = []

    def start(where=None, **options):
        if where is not None:
            options |= {"url" if str(where).startswith("http") else "socket": where}
        started.append(Library(**options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@contextlib.contextmanager
def server(answer, path=None, backlog=16):
    """Answers each connection's first request with these bytes (or what a function gives for the
    request), and closes it. Yields the path of its socket and the requests it has got."""
    directory = scratch_directory()
    listener = listening_unix(path or str(directory / "s"), backlog=backlog)
    requests = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                requests.append(receive_request(connection))
                connection.sendall(answer(requests) if callable(answer) else answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname(), requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT)
        listener.close()
        shutil.rmtree(directory, ignore_errors=True)


def receive_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(65536)
    return body.decode()


def http(status, body, *headers, kind="application/json", length=None):
    length = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {length}", *headers]
    return "\r\n".join([*lines, "", body]).encode()


GOOD = '{"access_token":"a.b.c","token_type":"Bearer","expires_in":3600,"scope":"s"}'


class TestTokens:
    @pytest.mark.parametrize("where", ["unix", "localhost", "127.0.0.1", "[::1]"])
    def test_every_way_there(self, daemon, library, subject, where):
        ours = library(daemon.unix if where == "unix" else f"http://{where}:{daemon.port}")
        ours.token(subject)

    def test_kinds_and_odd_subjects(self, daemon, library):
        ours = library(daemon.unix)
        for subject in ("pa ü+%&=;#", "%61dmin", "bob&scope=x", "a'\"\\"):
            ours.token(subject)
        ours.token("4711", "userid")
        ours.token("a@b.example", "email")

    def test_scope_and_client(self, daemon, library, subject):
        ours = library(daemon.unix)
        answer = ours.get(subject, client="portal", scope=MANAGE)
        assert answer["scope"] == MANAGE
        expect.claims(answer["token"], subject, scope=MANAGE)

    def test_kept_for_a_while_and_asked_again(self, daemon, issuer, library, subject):
        ours = library(daemon.unix, keep=60000)
        first = ours.token(subject)
        assert all(ours.token(subject) == first for _ in range(9))
        counted = ours.counters()
        assert (counted["calls"], counted["kept"], counted["asked"]) == (10, 9, 1)
        ours.command("forget")
        assert ours.token(subject) == first
        assert ours.counters()["asked"] == 2 and issuer.asked_for(subject) == 1

    def test_not_kept_if_told(self, daemon, library, subject):
        ours = library(daemon.unix, keep=0)
        for _ in range(5):
            ours.token(subject)
        counted = ours.counters()
        assert (counted["kept"], counted["asked"]) == (0, 5)

    def test_a_purge_comes_through(self, daemon, library, subject):
        ours = library(daemon.unix, keep=100)
        first = ours.token(subject)
        daemon.request("DELETE", f"/v1/tokens?subject_username={subject}")
        assert eventually(lambda: ours.token(subject) != first, "another token")

    def test_a_token_in_its_last_half_minute_is_not_kept(self, library, subject):
        with Issuer(options=("--lifetime", "25")) as issuer, Daemon(issuer) as daemon:
            ours = library(daemon.unix, keep=60000)
            for _ in range(3):
                ours.token(subject)
            assert ours.counters()["kept"] == 0

    def test_min_ttl(self, daemon, library, subject):
        ours = library(daemon.unix, keep=60000)
        ours.token(subject)
        ours.token(subject, min_ttl=60)
        assert ours.counters()["kept"] == 1
        ours.token(subject, min_ttl=3601)
        assert ours.counters()["asked"] == 2

    def test_a_rejected_one(self, daemon, issuer, library, subject):
        ours = library(daemon.unix, keep=60000)
        first = ours.token(subject)
        answer = ours.reject(subject)
        assert answer["result"] == 0 and answer["token"] != first
        assert issuer.asked_for(subject) == 2
        # The new one is kept; the old one has gone.
        assert ours.token(subject) == answer["token"]
        assert ours.counters()["kept"] == 1

    def test_the_table_is_bounded(self, daemon, library, subject):
        ours = library(daemon.unix, keep=60000, max_kept=8)
        for number in range(20):
            ours.token(f"{subject}-{number}")
        assert ours.counters()["evicted"] == 12
        for number in range(12, 20):
            ours.token(f"{subject}-{number}")
        assert ours.counters()["kept"] == 8

    def test_a_rule_with_a_key(self, issuer, library, subject):
        daemon = Daemon(issuer)
        rule = {"name": "us", "user": str(os.getuid()), "clients": ["portal"], "scopes": ["*"]}
        key_file = daemon.put_key("us", "the-key-of-us-alone")
        daemon.settings["callers"] = [rule | {"subjects": ["username:*"], "key_file": key_file}]
        with daemon:
            ours = library(daemon.unix)
            ours.token(subject, key="the-key-of-us-alone")
            # What is kept for the one who has the key is not for others.
            assert ours.fails("CLIENT", subject)["code"] == "invalid_client"


class TestErrors:
    def test_of_the_daemon(self, daemon, issuer, library, subject):
        ours = library(daemon.unix)
        answer = ours.fails("CLIENT", subject, client="nobody")
        assert (answer["status"], answer["code"]) == (401, "invalid_client")
        assert ours.fails("SCOPE", subject, scope="a  b")["code"] == "invalid_scope"
        assert ours.fails("REQUEST", "a\x01b")["code"] == "invalid_request"
        issuer.behave(subject=f"username:{subject}", error="invalid_grant")
        assert ours.fails("SUBJECT", subject)["status"] == 400
        assert ours.counters()["failed"] == 4

    def test_of_the_issuer(self, issuer, library, start_daemon, subject):
        daemon = start_daemon(request_timeout="1s")
        ours = library(daemon.unix)
        issuer.behave(body="{}", status=200, subject=f"username:{subject}-odd")
        assert ours.fails("ISSUER", f"{subject}-odd")["status"] == 502
        issuer.behave(status=429, subject=f"username:{subject}-busy")
        answer = ours.fails("UNAVAILABLE", f"{subject}-busy")
        assert answer["status"] == 503 and answer["retry_after"] > 0
        issuer.reset()

    def test_rules(self, issuer, library, subject):
        rule = {"name": "us", "user": str(os.getuid()), "clients": ["portal"], "subjects": ["username:a*"]}
        with Daemon(issuer, callers=[rule | {"scopes": ["*"]}]) as daemon:
            answer = library(daemon.unix).fails("DENIED", f"b-{subject}")
            assert (answer["status"], answer["code"]) == (403, "access_denied")

    def test_patience_with_an_answer_that_says_when(self, library):
        def answer(requests):
            if len(requests) > 1:
                return http(200, GOOD)
            body = '{"error":"temporarily_unavailable","error_description":"Come again."}'
            return http(503, body, "Retry-After: 1")

        with server(answer) as (path, requests):
            impatient = library(path, patience=0)
            assert impatient.fails("UNAVAILABLE")["retry_after"] == 1
            del requests[:]
            ours = library(path, patience=5000)
            assert ours.get("pa")["result"] == 0
            assert ours.counters()["retried"] == 1 and len(requests) == 2

    @pytest.mark.parametrize(
        "options",
        [
            {"url": "https://localhost"},
            {"url": "http://127.0.0.2:1"},
            {"url": "http://localhost:1/x"},
            {"url": "http://localhost@evil.example"},
            {"url": "http://localhost.evil.example"},
            {"url": "http://localhost:0"},
            {"url": "http://localhost:65536"},
            {"url": "http://localhost", "socket": "/s"},
            {"timeout": 0},
            {"timeout": 600001},
            {"keep": 60001},
            {"max_kept": 7},
            {"connections": 0},
            {"connections": 257},
            {"user": "x" * 33},
        ],
    )
    def test_options_that_are_off(self, library, options):
        ours = library(**options)
        assert ours.opened == ERRORS["INVALID"]
        ours.fails("INVALID")

    def test_requests_that_are_off(self, daemon, library):
        ours = library(daemon.unix)
        ours.fails("INVALID", "")
        ours.fails("INVALID", "x" * 257)
        ours.fails("INVALID", None)
        ours.fails("INVALID", "pa", kind="application")
        ours.fails("INVALID", None, kind="exchange", subject_token="t")
        ours.fails("INVALID", "pa", registration="okta")
        ours.fails("INVALID", "pa", scope="s" * 70000)
        assert ours.command("get", kind=6)["result"] == ERRORS["INVALID"]
        assert ours.command("reject", kind=1, subject="pa")["result"] == ERRORS["INVALID"]
        assert ours.counters()["asked"] == 0


# Answers nothing, and says what it has got.
LISTENER = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    print(connection.recv(65536).split(b"\\r\\n")[0], flush=True)
    connection.close()
"""


class TestSockets:
    def test_nothing_there(self, library, tmp_path):
        ours = library(tmp_path / "s", patience=300)
        assert str(tmp_path / "s") in ours.fails("NO_SOCKET")["message"]

    def test_path_too_long(self, library):
        assert library("/" + "x" * 106).fails("NO_SOCKET")
        assert library("/" + "x" * 107).opened == ERRORS["PATH_TOO_LONG"]

    def test_a_file(self, library, tmp_path):
        (tmp_path / "s").write_text("")
        library(tmp_path / "s").fails("NOT_A_SOCKET")
        library(tmp_path).fails("NOT_A_SOCKET")

    def test_a_socket_of_datagrams(self, library, tmp_path):
        with listening_unix(str(tmp_path / "s"), kind=socket.SOCK_DGRAM, backlog=0):
            library(tmp_path / "s").fails("NOT_A_SOCKET")

    def test_nobody_listens(self, library, tmp_path):
        listening_unix(str(tmp_path / "s")).close()
        library(tmp_path / "s").fails("NOT_RUNNING")
        library("http://127.0.0.1:1").fails("NOT_RUNNING")

    def test_no_permission(self, daemon, library, people):
        os.chmod(daemon.unix, 0o600)
        try:
            prefix = ("setpriv", f"--reuid={people.a.uid}", "--clear-groups")
            answer = library(daemon.unix, prefix=prefix).fails("PERMISSION")
            assert str(people.a.uid) in answer["message"]
        finally:
            os.chmod(daemon.unix, 0o666)

    def test_somebody_else_s(self, library, people):
        """Who listens is judged before a byte is sent."""
        directory = scratch_directory()
        directory.chmod(0o777)
        uid = people.a.uid
        for user in ("egain-tokend", "root", str(uid), people.a.name):
            path = directory / user
            become = ["setpriv", f"--reuid={uid}", "--clear-groups"]
            command = [*become, sys.executable, "-c", LISTENER, path]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
                assert other.stdout.readline() == "listening\n"
                ours = library(path, user=user)
                if user in ("egain-tokend", "root"):
                    assert f"uid {uid}" in ours.fails("FOREIGN")["message"]
                    # It was connected to, and got nothing.
                    assert other.stdout.readline() == "b''\n"
                else:
                    # This one hangs up.
                    ours.fails("CLOSED")
                    assert other.stdout.readline() == "b'POST /oauth2/token HTTP/1.1'\n"
                other.kill()
        shutil.rmtree(directory)

    def test_many_callers_and_a_short_queue(self, library, tmp_path):
        """A queue that is full is waited for, and nothing is lost in it."""
        listener = listening_unix(str(tmp_path / "s"), backlog=1)
        fillers = []
        with contextlib.suppress(BlockingIOError):
            while len(fillers) < 64:
                filler = socket.socket(socket.AF_UNIX)
                filler.setblocking(False)
                fillers.append(filler)
                filler.connect(str(tmp_path / "s"))
        library(tmp_path / "s", timeout=300).fails("TIMEOUT")
        for filler in (*fillers, listener):
            filler.close()


class TestOddServers:
    """What listens is trusted, but is no daemon of this version."""

    @pytest.mark.parametrize(
        "answer, error",
        [
            (b"", "CLOSED"),
            (b"\n", "NOT_BROKER"),
            (b"220 mail.example ESMTP\r\n", "NOT_BROKER"),
            (b"HTTP/1.1 200", "CLOSED"),
            (b"HTTP/1.1 200 OK\r\nContent-Le", "CUT"),
            (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + GOOD.encode(), "CUT"),
            (http(200, GOOD, length=len(GOOD) + 1), "CUT"),
            (http(200, GOOD[:-1]), "NOT_BROKER"),
            (http(200, ""), "NOT_BROKER"),
            (http(200, GOOD, kind="text/html"), "NOT_BROKER"),
            (http(200, "null"), "NOT_BROKER"),
            (http(200, "[" * 100000), "NOT_BROKER"),
            (http(200, GOOD + "x"), "NOT_BROKER"),
            (http(200, GOOD.replace("3600", "0")), "NOT_BROKER"),
            (http(200, GOOD.replace("3600", "-1")), "NOT_BROKER"),
            (http(200, GOOD.replace("3600", '"3600"')), "NOT_BROKER"),
            (http(200, GOOD.replace("3600", "36.5")), "NOT_BROKER"),
            (http(200, GOOD.replace("3600", "3600000000000000000")), "NOT_BROKER"),
            (http(200, GOOD.replace("a.b.c", "")), "NOT_BROKER"),
            (http(200, GOOD.replace("a.b.c", "a b")), "NOT_BROKER"),
            (http(200, GOOD.replace("a.b.c", "a\\nb")), "NOT_BROKER"),
            (http(200, GOOD.replace("a.b.c", "a\\u0000b")), "NOT_BROKER"),
            (http(200, GOOD.replace("Bearer", "mac")), "NOT_BROKER"),
            (http(200, GOOD.replace("}", ',"access_token":"other"}')), "NOT_BROKER"),
            (http(204, ""), "NOT_BROKER"),
            (http(302, "", "Location: http://127.0.0.1:9/"), "NOT_BROKER"),
            (http(404, "<html>not found</html>", kind="text/html"), "NOT_BROKER"),
            (http(404, '{"code":"404-1"}'), "NOT_BROKER"),
            (http(403, '{"error":"access_denied"}'), "NOT_BROKER"),
            (http(403, '{"error":"a b","error_description":"x"}'), "NOT_BROKER"),
            (http(403, '{"error":"x","error_description":"\x1b[31m"}'), "NOT_BROKER"),
            (http(200, " " * (1024 * 1024 + 1)), "NOT_BROKER"),
            (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100000 + b"\r\n", "CUT"),
        ],
        ids=lambda value: value if isinstance(value, str) else str(len(value)),
    )
    def test_what_it_says(self, library, answer, error):
        with server(answer) as (path, requests):
            ours = library(path)
            ours.fails(error)
            # Asked twice only where there was no answer at all.
            assert len(requests) == (2 if error == "CLOSED" else 1), requests

    def test_a_description_is_repeated(self, library):
        body = '{"error":"access_denied","error_description":"No rule \\"x\\" is for you."}'
        with server(http(403, body)) as (path, _):
            answer = library(path).fails("DENIED")
            assert answer["message"] == 'No rule "x" is for you.'

    def test_an_answer_of_another_version(self, library):
        """Members that are new are passed over."""
        body = GOOD.replace("}", ', "new": {"a": [1, {"b": null}]}, "more": -1.5e3}')
        with server(http(200, body)) as (path, _):
            assert library(path).get("pa")["token"] == "a.b.c"

    def test_silence(self, library, tmp_path):
        with listening_unix(str(tmp_path / "s")):
            library(tmp_path / "s", timeout=200).fails("TIMEOUT")

    def test_one_that_breaks_once(self, library):
        with server(lambda requests: b"" if len(requests) == 1 else http(200, GOOD)) as (path, sent):
            ours = library(path)
            assert ours.get("pa")["result"] == 0
            assert ours.counters()["retried"] == 1 and len(set(sent)) == 1


class TestGrants:
    """What is sent; the daemon's side is tested with it."""

    def sent(self, library, **request):
        with server(http(200, GOOD)) as (path, requests):
            ours = library(path, keep=60000)
            assert ours.get(**request)["result"] == 0
            again = ours.get(**request)
            assert again["result"] == 0 and ours.counters()["kept"] == 1
            return dict(pair.split("=") for pair in requests[0].split("&"))

    def test_password(self, library):
        assert self.sent(library, subject="a b", client="c", scope="s t", min_ttl=0) == {
            "grant_type": "password",
            "subject_username": "a%20b",
            "client_id": "c",
            "scope": "s%20t",
        }

    def test_application(self, library):
        sent = self.sent(library, kind="application", client="c")
        assert sent == {"grant_type": "client_credentials", "client_id": "c"}

    def test_exchange(self, library):
        sent = self.sent(library, kind="exchange", subject_token="e.y.J", registration="okta-1")
        assert sent == {
            "grant_type": EXCHANGE.replace(":", "%3A"),
            "subject_token": "e.y.J",
            "subject_token_type": "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token",
            "registration_id": "okta-1",
        }

    def test_rejected(self, library):
        with server(http(200, GOOD)) as (path, requests):
            ours = library(path)
            ours.get("pa")
            assert ours.reject("pa")["result"] == 0
            digest = hashlib.sha256(b"a.b.c").hexdigest()
            assert requests[1].endswith(f"&rejected_token_sha256={digest}")

    def test_exchanges_of_two_subjects_are_two(self, library):
        bodies = iter(GOOD.replace("a.b.c", f"token-{n}") for n in range(9))
        with server(lambda requests: http(200, next(bodies))) as (path, _):
            ours = library(path, keep=60000)

            def exchange(token):
                return ours.get(kind="exchange", subject_token=token, registration="r")["token"]

            assert [exchange(token) for token in "abab"] == ["token-0", "token-1"] * 2


class TestGrantsOfTheDaemon:
    def test_application(self, daemon, issuer, library):
        ours = library(daemon.unix, keep=60000)
        answers = [ours.get(kind="application", client="portal") for _ in range(3)]
        assert {answer["result"] for answer in answers} == {0}
        expect.claims(answers[0]["token"], PORTAL.client_id, "application")
        assert ours.counters()["kept"] == 2 and issuer.requests() == 1

    def test_exchange(self, daemon, issuer, library):
        ours = library(daemon.unix, keep=60000)

        def exchange(token):
            return ours.get(
                kind="exchange", client="portal", subject_token=token, registration="okta-1"
            )

        anna, bert = subject_token("anna"), subject_token("bert")
        answers = [exchange(token) for token in (anna, bert, anna, bert)]
        assert {answer["result"] for answer in answers} == {0}
        assert answers[0]["token"] == answers[2]["token"] != answers[1]["token"]
        assert ours.counters()["kept"] == 2 and issuer.requests() == 2
        refused = exchange("no-jwt")
        assert refused["result"] == ERRORS["REQUEST"] and "JWT" in refused["message"]

    def test_an_exchanged_token_is_not_kept_past_its_subject_token(self, daemon, library):
        ours = library(daemon.unix, keep=60000)
        token = subject_token("short", life=25)
        for _ in range(2):
            answer = ours.get(
                kind="exchange", client="portal", subject_token=token, registration="okta-1"
            )
            assert answer["result"] == 0 and answer["expires_in"] <= 25
        assert ours.counters()["kept"] == 0


class TestRestart:
    def test_a_socket_that_is_gone_for_a_while(self, issuer, library, subject):
        with Daemon(issuer) as daemon:
            ours = library(daemon.unix, keep=0, patience=60000, timeout=60000)
            ours.token(subject)
            daemon.stop()
            starter = threading.Timer(0.5, daemon.start)
            starter.start()
            ours.token(subject)
            starter.join()

    def test_a_connection_of_before(self, issuer, library, subject):
        with Daemon(issuer) as daemon:
            ours = library(daemon.unix, keep=0)
            ours.token(subject)
            daemon.stop()
            daemon.start()
            ours.token(subject)


class Warm(Restarted):
    """A daemon with a manager that holds its socket and its snapshot, as systemd does."""

    def __init__(self, issuer):
        super().__init__(issuer, drain_timeout="20s", log_level="info")
        self.settings["listen"] = [{"unix": self.unix, "mode": "0666"}]
        self.listener = listening_unix(self.unix, backlog=4096)
        self.manager = Manager(self.directory / "notify")
        self._env["NOTIFY_SOCKET"] = self.manager.path
        self.inherited = [(UNIT, self.listener.fileno())]

    def restart(self):
        self.stop()
        self.inherited = [(UNIT, self.listener.fileno())]
        self.inherited += [(NAME, fd) for fd in self.manager.store]
        self.start()

    def is_warm(self):
        """It took over what the one before has left; tokens as short as these may end meanwhile."""
        pattern = r"restored (\d+) tokens.* \(not restored: (\d+) that ran out"
        restored = self.output.wait_for(pattern)
        assert int(restored[1]) + int(restored[2]) > 0

    def close(self):
        self.manager.close()
        self.listener.close()
        super().close()


class TestStorm:
    """Threads that call all the time, while tokens end and the daemon is restarted."""

    # An issuer that a busy machine stalls for longer has tokens that are over when they come.
    LIFETIME_S = 6

    def run(self, program, calls, lives, forks=0, subjects=20, keep_ms=0):
        seconds = lives * self.LIFETIME_S
        options = ("--lifetime", str(self.LIFETIME_S), "--token-bytes", "400")
        with Issuer(options=options) as issuer, Warm(issuer) as daemon:
            storm = Program()
            words = [daemon.unix, 64, calls, seconds, subjects, keep_ms, forks]
            storm.spawn([CLIENT / program, *words], env=environment(TSAN_OPTIONS="exitcode=66"))
            try:
                for percent in (30, 60):
                    storm.output.wait_for(rf"^at {percent}$", timeout=600)
                    daemon.restart()
                    daemon.is_warm()
                status = storm.wait(600)
                text = re.sub(r"(?m)^at \d+\n", "", storm.output.text())
                assert status == 0 and not SANITIZER.search(text), text[-8000:]
                assert "ThreadSanitizer" not in text, text[-8000:]
                said = re.search(r"^calls=.*", text, re.M)
                result = {k: int(v) for k, v in (f.split("=") for f in said[0].split())}
                print(program, result, "fetches", issuer.requests())
            finally:
                storm.kill()
            assert result["errors"] == result["wrong"] == result["bad_children"] == 0, text[-8000:]
            assert result["calls"] >= calls
            # A token is renewed halfway through its life at the earliest, and for a rejection once
            # in five seconds; a restart costs none.
            stats = issuer.stats()
            per_subject = result["seconds"] / (self.LIFETIME_S / 2) + result["seconds"] / 5 + 2
            assert lives * subjects <= stats["requests"] <= per_subject * subjects, stats
            assert stats["requests"] == stats["tokens"]
            assert len(stats["by_subject"]) == subjects
            assert min(stats["by_subject"].values()) >= lives
            return result

    def test_with_the_build_s_sanitizers(self):
        result = self.run("storm", 1_000_000 if FULL else 50_000, 20 if FULL else 3)
        assert result["joined"] > 0 and result["asked"] > 0

    def test_without_a_data_race(self):
        # A child hung once in many runs, which nobody could look into afterwards; test_forks_without_end
        # forks in each.
        forks = 50 if FULL else 0
        self.run("storm-tsan", 1_000_000 if FULL else 50_000, 20 if FULL else 3, forks=forks)

    def test_forks_without_end(self):
        self.run("storm-plain", 20_000, 2, forks=300)


@pytest.fixture(scope="module")
def installed():
    """The tree that an installation leaves."""
    directory = scratch_directory()
    command = ["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", directory]
    subprocess.run(command, check=True, capture_output=True)
    yield directory
    shutil.rmtree(directory)


class TestInstalled:
    def flags(self, installed, *words):
        [file] = installed.rglob("libegaintoken.pc")
        env = environment(PKG_CONFIG_PATH=str(file.parent), PKG_CONFIG_SYSROOT_DIR=str(installed))
        command = ["pkg-config", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout

    def example(self):
        block = re.search(r"# EXAMPLE\n\n```\n(.*?)```", MAN_PAGE.read_text(), re.S)[1]
        return block.replace("\\\\", "\\")

    def sanitizers(self):
        text = (BUILD / "meson-info" / "intro-buildoptions.json").read_text()
        value = re.search(r'"name": "b_sanitize", "value": "([^"]*)"', text)
        return [] if not value or value[1] == "none" else [f"-fsanitize={value[1]}"]

    @pytest.mark.parametrize("how", ["shared", "static"])
    def test_the_example_of_the_man_page(self, installed, issuer, subject, tmp_path, how):
        (tmp_path / "example.c").write_text(self.example())
        link = self.flags(installed, "--libs", "libegaintoken").split()
        if how == "static":
            at = link.index("-legaintoken")
            link[at : at + 1] = ["-l:libegaintoken.a"]
            link += [*self.flags(installed, "--libs", "libcurl", "libcrypto").split(), "-pthread"]
        cflags = self.flags(installed, "--cflags", "libegaintoken").split()
        warnings = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
        command = [os.environ.get("CC", "cc"), *warnings, *self.sanitizers(), *cflags]
        program = tmp_path / how
        subprocess.run(
            [*command, tmp_path / "example.c", "-o", program, *link], check=True, text=True
        )
        needed = subprocess.run(["objdump", "-p", program], capture_output=True, text=True).stdout
        assert ("libegaintoken.so.0" in needed) == (how == "shared")

        [library] = installed.rglob("libegaintoken.so.0")
        with Daemon(issuer, clients=(PORTAL,)) as daemon:
            env = environment(LD_LIBRARY_PATH=str(library.parent), EGAIN_TOKEN_SOCKET=daemon.unix)
            run = subprocess.run(
                [program, subject], capture_output=True, text=True, env=env, timeout=TIMEOUT
            )
            assert run.returncode == 0 and run.stderr == "", run
            said = re.fullmatch(r"Authorization: Bearer (\S+)\n", run.stdout)
            expect.claims(said[1], subject)
            assert issuer.asked_for(subject) == 1
        # And without a daemon.
        run = subprocess.run([program, subject], capture_output=True, text=True, env=env)
        assert run.returncode == 1 and run.stderr.startswith("no token: There is no socket")

    def test_what_is_exported(self, installed):
        wanted = sorted(re.findall(r"^\t\t(egain_\w+);$", MAP.read_text(), re.M))
        declared = sorted(set(re.findall(r"\b(egain_token_\w+)\(", declarations())))
        assert wanted == declared and len(wanted) == 13
        [shared] = {path.resolve() for path in installed.rglob("libegaintoken.so.*")}
        symbols = [line.split() for line in nm("-D", "--defined-only", shared)]
        assert sorted(s[2] for s in symbols if s[1] != "A") == [
            f"{name}@@EGAIN_TOKEN_0" for name in wanted
        ]
        [static] = installed.rglob("libegaintoken.a")
        defined = [line.split() for line in nm("-g", "--defined-only", static) if " " in line]
        assert sorted({s[2] for s in defined if s[1] in "TBDRWV"}) == wanted

    def test_what_else_is_there(self, installed):
        assert list(installed.rglob("include/egain_token.h"))
        names = {path.name for path in installed.rglob("man3/*")}
        exported = re.findall(r"^\t\t(egain_\w+);$", MAP.read_text(), re.M)
        assert names == {"egain_token.3", *(f"{name}.3" for name in exported)}
        assert self.flags(installed, "--modversion", "libegaintoken").strip() in (
            ROOT / "meson.build"
        ).read_text()

    def test_the_header_is_one_for_cpp(self, tmp_path):
        (tmp_path / "x.cc").write_text(
            '#include "egain_token.h"\nstruct egain_token_options o = EGAIN_TOKEN_OPTIONS_INIT;\n'
            "struct egain_token_request r = EGAIN_TOKEN_REQUEST_INIT;\n"
        )
        command = ["clang", "-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", f"-I{HEADER.parent}"]
        subprocess.run([*command, "-fsyntax-only", tmp_path / "x.cc"], check=True)


def nm(*words):
    run = subprocess.run(["nm", *map(str, words)], check=True, capture_output=True, text=True)
    return [line for line in run.stdout.splitlines() if line]


def declarations():
    """The header without its comments."""
    return re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)


def test_the_man_page_names_every_error_with_its_number():
    text = MAN_PAGE.read_text()
    rows = re.findall(r"\*EGAIN_TOKEN_E_(\w+)\*\n:[ -]+(\d+)\n", text)
    assert {name: int(number) for name, number in rows} == ERRORS
    for name in re.findall(r"^\t\t(egain_\w+);$", MAP.read_text(), re.M):
        assert f"*{name}*(" in text
