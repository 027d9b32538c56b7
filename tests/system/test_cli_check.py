# SPDX-License-Identifier: MIT
"""egain-token check: every fault is named, whoever asks; what is not yet one is a warning."""

import os
import re
import socket
import subprocess
import time

import pytest

import cli
from cli import Impostor, http
from harness import PORTAL, READ, ROOT, free_port, rule
from people import needs_users
from tls import CLIENTS
from wire import eventually

C = ("--client", "portal")
OK, WARNING, CRITICAL, UNKNOWN = range(4)
STATES = {OK: "OK", WARNING: "WARNING", CRITICAL: "CRITICAL"}
MENDED = "mended-s3cret-1618"
STEPS = ("socket", "daemon", "policy", "issuer", "secret", "subject", "scope", "token")


class Verdict:
    """What a check has printed, understood: the first line, and the links by name."""

    def __init__(self, result):
        assert result.err == "", result
        self.status = result.status
        first, *lines = result.out.splitlines()
        self.state, self.step, self.text = re.fullmatch(r"(\w+): (\w+): (.*)", first).groups()
        assert self.state == STATES[self.status]
        self.links, self.advice = {}, {}
        for line in lines:
            state, name, text = re.fullmatch(r"(\S*) +(\w+|->) +(.*)", line).groups()
            if name == "->":
                assert last not in self.advice and text.endswith(".")
                self.advice[last] = text
            else:
                self.links[name] = (state, text)
                last = name
        assert tuple(self.links) == STEPS
        assert self.links[self.step] == (self.state, self.text)
        # What is not well comes with advice, and nothing else does.
        unwell = {name for name, (state, _) in self.links.items() if state in ("WARNING", "CRITICAL")}
        assert set(self.advice) == unwell

    def states(self, *names):
        return [self.links[name][0] for name in names]


def check(*arguments, **options):
    return Verdict(cli.run("check", *arguments, **options))


def critical(step, text, advice, *arguments, **options):
    """There is no token, and the check says at which link that is, and why."""
    verdict = check(*arguments, **options)
    assert (verdict.status, verdict.step) == (CRITICAL, step), verdict.__dict__
    assert re.search(text, verdict.text), verdict.text
    assert re.search(advice, verdict.advice[step]), verdict.advice
    # Nothing behind the fault is claimed, everything before it is well; a subject is not known to
    # be good where its scope is bad.
    at = STEPS.index(step)
    assert set(verdict.states(*STEPS[at + 1 :])) <= {"-"}
    assert set(verdict.states(*(name for name in STEPS[:at] if name != "subject"))) <= {"OK"}
    return verdict


@pytest.fixture(params=["root", "monitor", "plain"])
def asker(request):
    """Who checks: root without rules; a user who may monitor; one who may not."""
    if request.param == "root":
        return None
    if os.geteuid() != 0:
        pytest.skip("needs root to make users")
    return request.getfixturevalue("people").a, request.param == "monitor"


@pytest.fixture
def start(start_daemon, asker):
    """Starts a daemon that serves who checks; gives it, and how to check there."""

    def start(**settings):
        if asker is None:
            daemon = start_daemon(**settings)
            return daemon, {"socket": daemon.unix}
        person, monitor = asker
        given = settings.pop("gives", {})
        clients = [client.name for client in settings.get("clients", [PORTAL])]
        rights = {"clients": clients, "user": person.name, "monitor": monitor} | given
        daemon = start_daemon(callers=[rule("asker", **rights)], **settings)
        return daemon, {"socket": daemon.unix, "person": person}

    return start


@pytest.fixture
def tells(asker):
    """Whether the daemon tells its reasons to who checks."""
    return asker is None or asker[1]


class TestWell:
    def test_all(self, start, issuer, subject, tells):
        daemon, options = start()
        verdict = check("-u", subject, *C, **options)
        assert (verdict.status, verdict.step) == (OK, "token")
        assert set(verdict.states(*STEPS)) == {"OK"}
        assert READ in verdict.links["scope"][1] and "portal" in verdict.links["policy"][1]
        assert ("version" in verdict.links["daemon"][1]) == tells
        assert issuer.requests() == 1
        if tells:
            # Not every answer that shows an issuer well brings a token.
            assert re.fullmatch(r"answered \d+ s ago", verdict.links["issuer"][1])
        # From memory the second time.
        assert check("-u", subject, *C, **options).status == OK
        assert issuer.requests() == 1

    def test_what_the_request_itself_has_ended_is_no_warning(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        issuer.accept(PORTAL, MENDED)
        try:
            assert daemon.ask(subject).status == 502
            daemon.put_secret(PORTAL, MENDED)

            def state():
                said = daemon.request("GET", "/v1/status").json()
                return said["clients"][0]["token_urls"][0]["state"]

            eventually(lambda: state() == "probing", "the secret to be read again")
            assert check("-u", subject, *C, socket=daemon.unix).status == OK
        finally:
            issuer.accept(PORTAL, PORTAL.secret)

    def test_over_tcp(self, daemon, subject):
        verdict = check("-u", subject, *C, "--url", f"http://127.0.0.1:{daemon.port}")
        assert verdict.status == OK


class TestFaults:
    """The eight faults."""

    def test_1_daemon_down(self, daemon, subject):
        critical("socket", "no socket /nowhere/s", "systemctl start", "-u", subject, socket="/nowhere/s")

    def test_1_daemon_down_its_socket_left_behind(self, tmp_path, subject):
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
        critical("socket", "Nobody listens", "systemctl start", "-u", subject, socket=path)
        port = free_port()
        critical("socket", "Nobody listens", "systemctl start", "-u", subject,
                 "--url", f"http://localhost:{port}")

    @needs_users
    def test_2_socket_not_permitted(self, start_daemon, people, subject):
        daemon = start_daemon(callers=[rule("a", user=people.a.name)])
        os.chmod(daemon.unix, 0o600)
        critical("socket", f"uid {people.a.uid}, may not connect", "group of the socket", "-u", subject,
                 socket=daemon.unix, person=people.a)
        assert cli.bad(77, "get", "-u", subject, socket=daemon.unix, person=people.a)

    @needs_users
    @pytest.mark.parametrize(
        "given, arguments, text",
        [
            ({"subjects": ["username:b*"]}, [], "rule a does not give .* subject username:"),
            ({"clients": ["crm"]}, [], "rule a does not give .* client application portal"),
            ({"scopes": ["x.*"]}, [], f"rule a does not give .* scope {READ}"),
            ({}, ["--scope", "other.scope"], "rule a does not give .* scope other.scope"),
        ],
    )
    def test_3_policy_refuses(self, start_daemon, issuer, people, subject, given, arguments, text):
        daemon = start_daemon(callers=[rule("a", user=people.a.name, **{"scopes": [READ]} | given)])
        critical("policy", text, "egain-tokend --explain", "-u", subject, *C, *arguments,
                 socket=daemon.unix, person=people.a)
        assert issuer.requests() == 0

    @needs_users
    def test_3_no_rule_at_all(self, start_daemon, people, subject):
        daemon = start_daemon(callers=[rule("a", user=people.a.name)])
        critical("policy", f"No rule .* uid {people.d.uid}", "egain-tokend --explain", "-u", subject,
                 *C, socket=daemon.unix, person=people.d)

    def test_4_wrong_secret(self, start, issuer, subject, tells):
        try:
            _, options = start()
            issuer.accept(PORTAL, "another-s3cret-2718")
            critical(*(("secret", "client credentials", "client_secret_file") if tells else
                       ("issuer", "refuses the client credentials", "whoever runs the daemon")),
                     "-u", subject, *C, **options)
        finally:
            issuer.accept(PORTAL, PORTAL.secret)

    def test_5_issuer_down(self, start, subject, tells):
        url = f"http://127.0.0.1:{free_port()}/token"
        _, options = start(clients=[PORTAL], urls={"portal": {"user_token_url": url}})
        for index in range(8):
            # Also when the daemon leaves it alone: that is not why.
            verdict = critical("issuer", "no connection to the issuer" if tells or index == 0 else "issuer",
                               "whether the issuer is up", "-u", f"{subject}-{index}", *C, **options)
            assert verdict.status == CRITICAL

    def test_6_certificate_bad(self, start, nginx, subject, tells):
        for name in ("expired", "wronghost", "unknownca"):
            client = CLIENTS[name]
            url = f"https://localhost:{nginx.ports[name]}/token"
            _, options = start(
                clients=[client],
                urls={name: {"user_token_url": url, "customer_token_url": url}},
                upstream={"ca_file": nginx.directory / "ca.pem"},
            )
            critical("issuer", "TLS certificate is not accepted",
                     "certificate" if tells else "whoever runs the daemon",
                     "-u", subject, "-c", name, **options)

    def test_7_unknown_subject(self, start, issuer, subject):
        issuer.behave(error="invalid_grant", subject=f"username:{subject}")
        _, options = start()
        critical("subject", "does not know the subject", "spelt exactly so", "-u", subject, *C, **options)

    def test_8_wrong_scope(self, start, issuer, subject):
        _, options = start()
        verdict = critical("scope", "refuses the scope", "Assign the scope", "-u", subject, *C,
                           "--scope", "un.heard.of", **options)
        assert verdict.states("subject") == ["-"]

    def test_each_reason_of_the_daemon_has_advice(self):
        """Whatever the daemon can name as what blocks a fetch is known, or is said to be none of
        these: what is the caller's request, its right, or for the moment."""
        table = (ROOT / "lib" / "reason.h").read_text()
        reasons = set(re.findall(r'X\([A-Z_]+, "(\w+)", (?:502|400, "invalid_grant"|400, "invalid_scope")', table))
        reasons |= set(re.findall(r'"((?:issuer|breaker)_\w+)", 503', table))
        mine = set(re.findall(r'\{"(\w+)",', (ROOT / "client" / "cli-faults.c").read_text()))
        of_the_request = {"bad_scope", "missing_scope", "long_token"}
        assert reasons - of_the_request <= mine and len(reasons) > 10
        assert mine <= set(re.findall(r'"(\w+)", \d{3}', table))


class TestWarnings:
    """There is a token, but not for long."""

    def test_an_issuer_that_fails_behind_a_token(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        assert daemon.ask(subject).status == 200
        issuer.behave(status=500, body="oops")
        daemon.ask(f"{subject}-2")
        verdict = check("-u", subject, *C, socket=daemon.unix)
        assert (verdict.status, verdict.step) == (WARNING, "issuer")
        assert verdict.states("token", "secret") == ["OK", "OK"]
        assert "still served" in verdict.text and "Failing" in verdict.text

    def test_a_secret_refused_behind_a_token(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        assert daemon.ask(subject).status == 200
        issuer.behave(error="invalid_client")
        daemon.ask(f"{subject}-2")
        verdict = check("-u", subject, *C, socket=daemon.unix)
        assert (verdict.status, verdict.step) == (WARNING, "secret")
        assert "refuses the client secret" in verdict.text
        assert "client_secret_file" in verdict.advice["secret"]

    def test_a_secret_that_expires(self, issuer, start_daemon, subject):
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 10 * 86400))
        daemon = start_daemon(
            clients=[PORTAL],
            urls={"portal": {"client_secret_expires": day, "user_token_url": issuer.url(PORTAL)}},
        )
        verdict = check("-u", subject, socket=daemon.unix)
        assert (verdict.status, verdict.step) == (WARNING, "secret")
        assert re.search(r"expires in (9|10) d", verdict.text)
        assert check("-u", subject, "--warning-days", "8", socket=daemon.unix).status == OK
        assert check("-u", subject, "--warning-days", "12", socket=daemon.unix).status == WARNING

    def test_a_secret_that_has_expired(self, issuer, start_daemon, subject):
        daemon = start_daemon(
            clients=[PORTAL],
            urls={"portal": {"client_secret_expires": "2020-01-01",
                             "user_token_url": issuer.url(PORTAL)}},
        )
        verdict = check("-u", subject, "--warning-days", "0", socket=daemon.unix)
        assert verdict.status == WARNING and "expired" in verdict.text


class TestUnknown:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["-u", ""],
            ["-u", "two\nlines"],
            ["-u", "pa", "--nonsense"],
            ["-u", "pa", "--key-file", "/dev/null"],
            ["-u", "pa", "-c", "portal", "--key-file", "/nowhere"],
            ["-u", "pa", "--url", "http://example.com"],
            ["-u", "pa", "--socket", "/" + "x" * 200],
        ],
    )
    def test_it_cannot_be_checked(self, arguments):
        assert cli.bad(UNKNOWN, "check", *arguments)

    def test_output_that_cannot_be_written(self, daemon, subject):
        with open("/dev/full", "wb") as full:
            process = subprocess.run(
                cli.command("check", "-u", subject, *C, socket=daemon.unix),
                stdout=full, stderr=subprocess.PIPE,
            )
        assert process.returncode == UNKNOWN and b"cannot be written" in process.stderr


class TestOtherServers:
    def test_not_the_daemon(self, subject):
        for answer in (
            http(404, "<html>nginx</html>", "text/html"),
            http(200, "hello", "text/plain"),
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"",
        ):
            with Impostor(answer) as server:
                critical("daemon", "closed|cut short|answer|speak", "version|systemctl status",
                         "-u", subject, socket=server.path)

    def test_a_daemon_that_shuts_down(self, subject):
        def answer(request):
            if request.startswith(b"GET /readyz"):
                return http(503, '{"status":"shutting down"}')
            return http(503, '{"error":"temporarily_unavailable","error_description":"Bye."}',
                        headers="Retry-After: 1\r\n")

        with Impostor(answer) as server:
            verdict = check("-u", subject, socket=server.path)
        assert verdict.status == CRITICAL and verdict.step == "daemon"

    def test_nothing_of_what_it_says_reaches_a_terminal(self, subject):
        evil = "\\u001b]0;x\\u0007\\u009b31m\\u202e\\u0000"

        def answer(request):
            path = request.split()[1].partition(b"?")[0].decode()
            return http(200, {
                "/readyz": '{"status":"ready"}',
                "/v1/status": f'{{"version":"{evil[:-6]}","uptime":1}}',
                "/v1/explain": f'{{"permitted":true,"rule":"{evil[:-6]}","scope":"a\\nb"}}',
                "/oauth2/token": '{"access_token":"x","token_type":"Bearer","expires_in":9}',
            }[path])

        with Impostor(answer) as server:
            result = cli.on_a_terminal("check", "-u", subject, "-S", server.path)
        assert result.status == OK
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u202e]", result.out)
        assert "version ?]0;x??31m?" in result.out and "scope a?b" in result.out
