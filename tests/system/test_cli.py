# SPDX-License-Identifier: MIT
"""egain-token against the real daemon: tokens, what is shown, exit statuses, odd values."""

import base64
import hashlib
import json
import os
import re
import subprocess
from urllib.parse import parse_qs

import pytest

import cli
import expect
from cli import bad, good
from harness import CRM, MANAGE, PORTAL, READ, ROOT, TOKEN, environment, rule
from people import needs_users
from test_policy import NOBODY

C = ("--client", "portal")


class TestGet:
    def test_the_bare_token_and_nothing_else(self, daemon, issuer, subject):
        token = good("get", "--username", subject, *C, socket=daemon.unix)
        expect.claims(token, subject)
        assert good("get", "-u", subject, "-c", "portal", "-S", daemon.unix) == token
        assert issuer.requests() == 1

    def test_a_line_feed_on_a_terminal(self, daemon, subject):
        result = cli.on_a_terminal("get", "-u", subject, *C, "--socket", daemon.unix)
        assert (result.status, result.err) == (0, "")
        assert result.out.endswith("\n") and result.out.count("\n") == 1
        expect.claims(result.out.rstrip("\n"), subject)

    def test_header(self, daemon, subject):
        line = good("get", "-u", subject, *C, "--header", socket=daemon.unix)
        match = re.fullmatch(r"Authorization: Bearer (\S+)\n", line)
        expect.claims(match[1], subject)

    def test_json(self, daemon, subject):
        out = good("get", "-u", subject, *C, "--json", socket=daemon.unix)
        answer = json.loads(out)
        assert out.endswith("}\n")
        assert set(answer) == {"access_token", "token_type", "expires_in", "scope"}
        expect.claims(answer["access_token"], subject)

    @pytest.mark.parametrize("kind", ["username", "userid", "email"])
    def test_every_kind_of_subject(self, daemon, subject, kind):
        token = good("get", f"--{kind}", subject, *C, socket=daemon.unix)
        expect.claims(token, subject, kind)

    def test_scope_and_client(self, daemon, subject):
        scope = f"{READ} {MANAGE}"
        token = good("get", "-u", subject, "-c", "crm", "-s", scope, socket=daemon.unix)
        expect.claims(token, subject, scope=scope, client=CRM)

    def test_a_client_id_that_encoding_changes(self, daemon, subject):
        token = good(
            "get", "-u", subject, "-c", CRM.client_id, "--scope", READ, socket=daemon.unix
        )
        expect.claims(token, subject, client=CRM)

    def test_min_ttl(self, daemon, issuer, subject):
        issuer.behave(lifetime=100, count=1)
        first = good("get", "-u", subject, *C, socket=daemon.unix)
        # One that was fetched a moment ago satisfies any.
        assert good("get", "-u", subject, *C, "--min-ttl", "3000", socket=daemon.unix) == first
        assert issuer.requests() == 1

    def test_a_refused_token_is_replaced(self, daemon, issuer, subject):
        first = good("get", "-u", subject, *C, socket=daemon.unix)
        # As echo and printf write it.
        for end in ("", "\n", "\r\n"):
            second = good(
                "get", "-u", subject, *C, "--reject-stdin", input=first + end, socket=daemon.unix
            )
            assert second != first
            expect.claims(second, subject)
        # All three told of the same token: one fetch for it.
        assert issuer.requests() == 2

    def test_over_tcp(self, daemon, subject):
        for host in ("localhost", "127.0.0.1", "[::1]"):
            url = f"http://{host}:{daemon.port}"
            expect.claims(good("get", "-u", subject, *C, "--url", url), subject)

    def test_the_environment_says_where(self, daemon, subject):
        unix = {"EGAIN_TOKEN_SOCKET": daemon.unix}
        tcp = {"EGAIN_TOKEN_URL": f"http://localhost:{daemon.port}/"}
        token = good("get", "-u", subject, *C, env=unix)
        assert good("get", "-u", subject, *C, env=tcp) == token
        # Empty is not set; an option wins.
        assert good("get", "-u", subject, *C, env=unix | {"EGAIN_TOKEN_URL": ""}) == token
        nowhere = {"EGAIN_TOKEN_SOCKET": "/nowhere", **tcp}
        assert good("get", "-u", subject, *C, env=nowhere, socket=daemon.unix) == token
        assert "both EGAIN_TOKEN_SOCKET" in bad(64, "get", "-u", subject, *C, env=unix | tcp)

    def test_a_substitution_in_a_shell(self, daemon, subject):
        script = 'token="$(egain-token get -u "$1" -c portal)" && printf "<%s>" "$token"'
        out = shell(daemon, script, subject)
        expect.claims(re.fullmatch("<(.*)>", out)[1], subject)


def shell(daemon, script, *arguments, shell="sh"):
    """What a script prints that has egain-token in its path."""
    path = f"{cli.EGAIN_TOKEN.parent}:{os.environ['PATH']}"
    env = environment(EGAIN_TOKEN_SOCKET=daemon.unix, PATH=path)
    run = subprocess.run(
        [shell, "-c", script, shell, *arguments], env=env, capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, ""), run
    return run.stdout


class TestOddSubjects:
    """From a real shell to the issuer, byte for byte."""

    @pytest.mark.parametrize(
        "name",
        [
            "anna smith",
            " leading and trailing ",
            "o'brien",
            'say "hello"',
            "back\\slash",
            "%61dmin",
            "bob&scope=x",
            "a+b=c;d#e?f/g",
            "$HOME `id` $(id) *",
            "-n",
            "--help",
            "ünïcødé",
            "日本語",
            "😀",
            "a" * 256,
            "é" * 128,
        ],
    )
    def test_arrives_as_it_is(self, daemon, issuer, name):
        for script in ('egain-token get --username "$1" -c portal',
                       'egain-token get --username="$1" -c portal'):
            expect.claims(shell(daemon, script, name), name)
        assert issuer.asked_for(name) == 1
        # The same through a query, and back in what is listed and explained.
        explained = json.loads(
            good("explain", "--username", name, *C, "--json", socket=daemon.unix)
        )
        assert explained["subject"] == {"kind": "username", "value": name}
        listed = json.loads(good("list", "--username", name, "--json", socket=daemon.unix))
        assert [entry["subject"]["value"] for entry in listed["tokens"]] == [name]
        assert good("purge", "--username", name, socket=daemon.unix) == "1 token purged\n"

    @pytest.mark.parametrize(
        "name, what",
        [
            ("", "empty"),
            ("two\nlines", "control character"),
            ("a\ttab", "control character"),
            ("bell\a", "control character"),
            ("delete\x7f", "control character"),
            ("a" * 257, "too long"),
            ("é" * 129, "too long"),
            (b"latin-1: \xe9", "UTF-8"),
            (b"overlong: \xc0\xaf", "UTF-8"),
            (b"surrogate: \xed\xa0\x80", "UTF-8"),
            (b"cut: \xe2\x82", "UTF-8"),
            (b"too far: \xf4\x90\x80\x80", "UTF-8"),
        ],
    )
    @pytest.mark.parametrize("verb", ["get", "explain", "list", "purge"])
    def test_refused_with_the_option_named(self, daemon, issuer, verb, name, what):
        said = bad(65, verb, "--username", name, *C, socket=daemon.unix)
        assert what in said and "--username" in said
        assert issuer.requests() == 0


class TestExitStatus:
    def test_usage(self, daemon):
        for arguments in (
            ["get"],
            ["get", "-u", "pa", "-e", "pa@example.com"],
            ["get", "-u", "pa", "-u", "pb"],
            ["get", "-u", "pa", "--nonsense"],
            ["get", "-u", "pa", "rest"],
            ["get", "-u", "pa", "--header", "--json"],
            ["get", "-u"],
            ["get", "-u", "pa", "--timeout", "0"],
            ["get", "-u", "pa", "--timeout", "soon"],
            ["get", "-u", "pa", "--min-ttl", "-1"],
            ["get", "-u", "pa", "--min-ttl", "1000000000"],
            ["get", "-u", "pa", "--url", "http://localhost", "--socket", "/run/x"],
            ["get", "-u", "pa", "--registration-id", "x"],
            ["get", "-u", "pa", "--subject-token-type", "jwt"],
            ["get", "--exchange-stdin"],
            ["get", "--exchange-stdin", "--reject-stdin", "--registration-id", "x"],
            ["exec", "-u", "pa"],
            ["exec", "true"],
            ["explain", "-u", "pa", "--key-file", "/dev/null"],
            ["status", "--username", "pa"],
            ["purge"],
            ["nonsense"],
        ):
            said = bad(64, *arguments)
            assert re.search("Try 'egain-token|takes a number|nothing says which", said), said
        process = subprocess.run([cli.EGAIN_TOKEN], capture_output=True, text=True)
        assert (process.returncode, process.stdout) == (64, "")

    @pytest.mark.parametrize("url", ["https://localhost", "http://example.com", "localhost:8471"])
    def test_urls_of_others(self, url):
        assert "http://" in bad(64, "get", "-u", "pa", "--url", url)

    @pytest.mark.parametrize("scope", ["two  spaces", " x", "x ", 'a"b', "a\\b", "ümlaut", "a\nb"])
    def test_scopes_that_are_none(self, daemon, scope):
        assert "--scope" in bad(65, "get", "-u", "pa", *C, "--scope", scope, socket=daemon.unix)

    def test_what_the_issuer_refuses(self, daemon, issuer, subject):
        issuer.behave(error="invalid_grant", subject=f"username:{subject}")
        said = bad(67, "get", "-u", subject, *C, socket=daemon.unix)
        assert "The issuer does not know the subject" in said
        said = bad(67, "get", "-u", f"{subject}-2", *C, "-s", "unheard.of", socket=daemon.unix)
        assert "refuses the scope" in said

    def test_what_policy_refuses(self, start_daemon, subject):
        daemon = start_daemon(callers=[rule("few", user=str(os.geteuid()), subjects=["username:b*"])])
        said = bad(77, "get", "-u", subject, *C, socket=daemon.unix)
        assert "few" in said and "subject" in said
        said = bad(77, "explain", "-u", subject, *C, socket=daemon.unix)
        assert "few" in said and "subject" in said

    def test_an_unknown_client_application(self, daemon):
        said = bad(77, "get", "-u", "pa", "-c", "nobody", socket=daemon.unix)
        assert "No client application" in said

    def test_no_token_url(self, daemon):
        said = bad(78, "get", "--email", "a@example.com", "-c", "staff", socket=daemon.unix)
        assert "customer_token_url" in said

    def test_a_secret_that_is_wrong(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        issuer.behave(error="invalid_client")
        said = bad(78, "get", "-u", subject, *C, socket=daemon.unix)
        assert "refuses the client credentials" in said

    def test_for_now(self, start_daemon, issuer, subject):
        daemon = start_daemon()
        issuer.behave(status=429, body="", headers={"Retry-After": "60"})
        said = bad(75, "get", "-u", subject, *C, socket=daemon.unix)
        assert "fewer requests" in said
        assert re.search(r"again in (59|60) s$", said.rstrip("\n"))

    def test_the_time_runs_out(self, daemon, issuer, subject):
        issuer.behave(hold=True)
        said = bad(75, "get", "-u", subject, *C, "--timeout", "1", socket=daemon.unix)
        assert "in time" in said

    def test_output_that_cannot_be_written(self, daemon, subject):
        for verb in (["get", "-u", subject, *C], ["status"], ["list"], ["list", "--json"],
                     ["explain", "-u", subject, *C], ["get", "--help"], ["--help"], ["--version"]):
            words = cli.command(*verb, socket=daemon.unix)
            if verb[0].startswith("--"):
                words = [str(cli.EGAIN_TOKEN), *verb]
            with open("/dev/full", "wb") as full:
                process = subprocess.run(
                    words, stdout=full, stderr=subprocess.PIPE, text=True, env=environment()
                )
            assert process.returncode == 74, verb
            assert "No space left" in process.stderr

    def test_a_standard_output_that_is_closed(self, daemon, subject):
        path = f"{cli.EGAIN_TOKEN.parent}:{os.environ['PATH']}"
        process = subprocess.run(
            ["sh", "-c", 'egain-token get -u "$1" -c portal >&-; echo $?', "sh", subject],
            env=environment(EGAIN_TOKEN_SOCKET=daemon.unix, PATH=path),
            capture_output=True, text=True,
        )
        assert process.stdout == "74\n" and "cannot be written" in process.stderr


class TestInput:
    def test_files_that_cannot_be_read(self, daemon, tmp_path):
        exchange = ["--registration-id", "x", "--subject-token-file"]
        for path in ("/nowhere", str(tmp_path)):
            assert path in bad(66, "get", *exchange, path, socket=daemon.unix)
            assert path in bad(66, "status", "--key-file", path, socket=daemon.unix)
        (tmp_path / "empty").write_text(" \n\t\n")
        assert "nothing in it" in bad(66, "get", *exchange, tmp_path / "empty", socket=daemon.unix)

    def test_nothing_on_standard_input(self, daemon):
        for option in (["--reject-stdin", "-u", "pa"], ["--exchange-stdin", "--registration-id", "x"]):
            assert "nothing in it" in bad(66, "get", *option, *C, socket=daemon.unix)

    def test_a_terminal_is_not_read_from(self, daemon):
        result = cli.on_a_terminal("get", "-u", "pa", *C, "--reject-stdin", "-S", daemon.unix)
        assert result.status == 66 and "terminal" in result.err and result.out == ""

    def test_too_long(self, daemon):
        exchange = ["--exchange-stdin", "--registration-id", "x"]
        for size in (16 * 1024 + 1, 1024 * 1024):
            said = bad(65, "get", *exchange, input="x" * size, socket=daemon.unix)
            assert "over 16384 bytes" in said


class TestKeys:
    """A rule that wants a key; root's other right is out of the way, as nobody else asks."""

    @pytest.fixture
    def keyed(self, start_daemon, people, tmp_path):
        key = "it's+a%2Bkey & more"
        path = tmp_path / "key"
        path.write_text(key + "\n")
        path.chmod(0o644)
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == os.getuid() and folder != folder.parent:
                folder.chmod(folder.stat().st_mode | 0o011)
        daemon = start_daemon(clients=[PORTAL])
        key_file = daemon.put_key("rule", key)
        daemon.reload(
            callers=[rule("keyed", user=people.a.name, key_file=key_file, monitor=True, admin=True)]
        )
        return daemon, path

    @needs_users
    def test_every_verb_sends_it(self, keyed, people, subject):
        daemon, path = keyed
        options = {"socket": daemon.unix, "person": people.a}
        key = ("--key-file", str(path))
        expect.claims(good("get", "-u", subject, *key, **options), subject)
        good("explain", "-u", subject, *C, *key, **options)
        good("status", *key, **options)
        assert subject in good("list", *key, **options)
        assert cli.run("check", "-u", subject, *C, *key, **options).status == 0
        assert good("purge", "-u", subject, *key, **options) == "1 token purged\n"

    @needs_users
    def test_without_it(self, keyed, people, subject):
        daemon, _ = keyed
        options = {"socket": daemon.unix, "person": people.a}
        for verb in (["get", "-u", subject], ["status"]):
            said = bad(77, *verb, **options)
            assert "key_file" in said and "--key-file" in said


class TestShown:
    def test_explain(self, daemon, issuer, subject):
        out = good("explain", "-u", subject, *C, socket=daemon.unix)
        assert f"subject     username:{subject}\n" in out
        assert "outcome     200: It waits for a fetch.\n" in out
        assert "token       none in memory\n" in out
        assert issuer.requests() == 0
        good("get", "-u", subject, *C, socket=daemon.unix)
        out = good("explain", "-u", subject, *C, socket=daemon.unix)
        assert "outcome     200: It is answered from memory.\n" in out
        assert re.search(r"^token       fresh; ends in 59 min, renewed in \d\d min", out, re.M)

    def test_explain_a_refusal_that_is_remembered(self, daemon, issuer, subject):
        issuer.behave(error="invalid_grant", subject=f"username:{subject}")
        bad(67, "get", "-u", subject, *C, socket=daemon.unix)
        out = good("explain", "-u", subject, *C, socket=daemon.unix)
        assert "outcome     400: The issuer does not know the subject" in out
        assert "no fetch now: subject_refused, for 10 s\n" in out

    @needs_users
    def test_explain_to_who_may_not_monitor(self, start_daemon, people, subject):
        daemon = start_daemon(callers=[rule("a", user=people.a.name)])
        out = good("explain", "-u", subject, *C, socket=daemon.unix, person=people.a)
        assert "permitted   by rule a\n" in out and "outcome" not in out
        assert "monitor = true" in out
        assert "monitor" in bad(77, "status", socket=daemon.unix, person=people.a)
        assert "admin" in bad(77, "list", socket=daemon.unix, person=people.a)
        assert "admin" in bad(77, "purge", "-u", subject, socket=daemon.unix, person=people.a)

    def test_status(self, daemon, subject):
        good("get", "-u", subject, *C, socket=daemon.unix)
        out = good("status", socket=daemon.unix)
        assert re.match(r"egain-tokend \d+\.\d+\.\d+, up for \d+ (s|min), configuration \d+\n", out)
        for client in ("portal", "crm", "staff"):
            assert f"\nclient {client}\n" in out
        assert re.search(r"^  users      well       Well\.$", out, re.M)
        assert "\x1b" not in out
        answer = json.loads(good("status", "--json", socket=daemon.unix))
        assert answer == daemon_status(daemon, answer)

    def test_list_of_all_pages(self, daemon, issuer, subject):
        names = {f"{subject}-{index:03}" for index in range(300)}
        for name in names:
            expect.token(daemon.ask(name), name)
        out = good("list", "--client", "portal", "--json", socket=daemon.unix)
        entries = json.loads(out)["tokens"]
        found = [entry["subject"]["value"] for entry in entries]
        assert names <= set(found) and len(found) == len(set(found))
        lines = good("list", socket=daemon.unix).splitlines()
        assert lines[0].split() == ["STATE", "ENDS", "IN", "CLIENT", "SCOPE", "SUBJECT"]
        assert {f"username:{name}" for name in names} <= {line.split()[-1] for line in lines}
        one = good("list", "--username", f"{subject}-007", socket=daemon.unix).splitlines()
        assert len(one) == 2 and one[1].startswith("fresh  59 min ")
        assert good("list", "--username", "nobody", socket=daemon.unix) == ""
        nothing = good("list", "--username", "nobody", "--json", socket=daemon.unix)
        assert json.loads(nothing) == {"tokens": []}
        purged = good("purge", "--client", "portal", "--scope", READ, "--json", socket=daemon.unix)
        assert json.loads(purged)["purged"] >= 300
        assert good("list", "--client", "portal", "--scope", READ, socket=daemon.unix) == ""

    def test_purge_names_the_number(self, daemon, subject):
        for scope in (READ, MANAGE):
            good("get", "-u", subject, *C, "-s", scope, socket=daemon.unix)
        assert good("purge", "-u", subject, socket=daemon.unix) == "2 tokens purged\n"
        assert good("purge", "-u", subject, socket=daemon.unix) == "0 tokens purged\n"

    def test_nothing_shows_a_token(self, daemon, subject):
        good("get", "-u", subject, *C, socket=daemon.unix)
        for verb in (["status"], ["list"], ["explain", "-u", subject, *C]):
            for form in ([], ["--json"]):
                assert not TOKEN.search(good(*verb, *form, socket=daemon.unix))
        out = cli.run("check", "-u", subject, *C, socket=daemon.unix).out
        assert not TOKEN.search(out)


def daemon_status(daemon, like):
    """What /v1/status says now; what has changed since is as in `like`."""
    answer = daemon.request("GET", "/v1/status").json()
    for moving in ("uptime", "requests", "connections", "audit"):
        answer[moving] = like[moving]
    for client, earlier in zip(answer["clients"], like["clients"], strict=True):
        for url, before in zip(client["token_urls"], earlier["token_urls"], strict=True):
            url["last_success_ago"] = before["last_success_ago"]
    return answer


class TestGrants:
    """What is sent for the grants without a subject of eGain's, byte for byte."""

    TOKEN = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "none"}, {"sub": "x", "exp": 4102444800})
    ) + ".c2ln"
    ANSWER = cli.http(
        200, '{"access_token":"opaque~1","token_type":"bearer","expires_in":60,"scope":"s"}'
    )

    def form(self, *arguments, **options):
        """The parameters of the request that a run sends."""
        with cli.Impostor(self.ANSWER) as server:
            assert good("get", *arguments, socket=server.path, **options) == "opaque~1"
            (request,) = server.requests
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /oauth2/token HTTP/1.1\r\n")
        assert b"Content-Type: application/x-www-form-urlencoded\r\n" in head + b"\r\n"
        parameters = parse_qs(body.decode(), keep_blank_values=True, strict_parsing=True)
        assert all(len(values) == 1 for values in parameters.values())
        return {name: value for name, (value,) in parameters.items()}

    def test_application(self):
        assert self.form("--application", "-c", "portal", "-s", "app.read") == {
            "grant_type": "client_credentials",
            "client_id": "portal",
            "scope": "app.read",
        }

    def test_exchange_from_standard_input(self):
        parameters = self.form(
            "--exchange-stdin", "--registration-id", "okta 1&x=é", input=self.TOKEN + "\n"
        )
        assert parameters == {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": self.TOKEN,
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "registration_id": "okta 1&x=é",
        }

    @pytest.mark.parametrize(
        "given, sent",
        [
            ("jwt", "urn:ietf:params:oauth:token-type:jwt"),
            ("id_token", "urn:ietf:params:oauth:token-type:id_token"),
            ("urn:example:x", "urn:example:x"),
        ],
    )
    def test_exchange_from_a_file(self, tmp_path, given, sent):
        path = tmp_path / "token"
        path.write_text(f"  {self.TOKEN}\r\n")
        parameters = self.form(
            "--subject-token-file", path, "--registration-id", "r", "--subject-token-type", given
        )
        assert parameters["subject_token"] == self.TOKEN
        assert parameters["subject_token_type"] == sent

    def test_the_longest_token(self):
        token = "x" * (16 * 1024)
        parameters = self.form("--exchange-stdin", "--registration-id", "r", input=token)
        assert parameters["subject_token"] == token

    def test_rejected(self):
        parameters = self.form("-u", "pa", "--reject-stdin", "--min-ttl", "90", input="old~1\n")
        assert parameters == {
            "grant_type": "password",
            "subject_username": "pa",
            "min_ttl": "90",
            "rejected_token_sha256": hashlib.sha256(b"old~1").hexdigest(),
        }


class TestHoldTogether:
    """Help, completion and man page name the same verbs and options."""

    VERBS = ("get", "exec", "check", "explain", "status", "list", "purge")
    COMMON = {"key-file", "socket", "url", "daemon-user", "timeout", "help"}

    @pytest.fixture(scope="class")
    def man(self):
        return (ROOT / "man" / "egain-token.1.scd").read_text()

    def section(self, man, title):
        return re.search(rf"^# {title}\n(.*?)(?=^# )", man, re.M | re.S)[1]

    def help(self, verb):
        return good(verb, "--help")

    def test_the_verbs(self, man):
        process = subprocess.run([cli.EGAIN_TOKEN, "--help"], capture_output=True, text=True)
        assert process.returncode == 0
        assert tuple(re.findall(r"^  ([a-z]+)  ", process.stdout, re.M)) == self.VERBS
        paragraphs = re.findall(r"^\*([a-z]+)\*$", self.section(man, "VERBS"), re.M)
        assert tuple(paragraphs) == self.VERBS
        for verb in self.VERBS:
            assert f"*egain-token* *{verb}*" in self.section(man, "SYNOPSIS")
        assert self.complete("egain-token", "") == sorted([*self.VERBS, "--help", "--version"])

    @pytest.mark.parametrize("verb", VERBS)
    def test_the_options_of_a_verb(self, man, verb):
        options = cli.options_of(self.help(verb))
        assert self.COMMON < set(options)
        assert self.help(verb) == good("help", verb)
        # An option that the help does not name is none, and each that it names is one.
        for name, (letter, argument) in options.items():
            if name == "help":
                continue
            words = [f"--{name}", "", *(["x"] if not argument else [])]
            assert "unrecognized option" not in cli.run(verb, *words).err
            if letter:
                assert "invalid option" not in cli.run(verb, f"-{letter}", "").err

        verbs = self.section(man, "VERBS")
        paragraph = re.search(rf"^\*{verb}\*\n(.*?)(?=^\*[a-z]+\*$|\Z)", verbs, re.M | re.S)[1]
        assert set(re.findall(r"\*--([\w-]+)\*", paragraph)) == set(options) - self.COMMON
        assert self.complete("egain-token", verb, "--") == sorted(f"--{name}" for name in options)

    def test_the_man_page_tells_every_option(self, man):
        told = {}
        for line in re.findall(r"^\*-.*$", self.section(man, "OPTIONS"), re.M):
            letter, name, argument = re.fullmatch(
                r"(?:\*-(\w)\*, )?\*--([\w-]+)\*(?: _([A-Z]+)_)?", line
            ).groups()
            told[name] = (letter or "", argument or "")
        all_options = {}
        for verb in self.VERBS:
            all_options |= cli.options_of(self.help(verb))
        assert told == all_options

    def test_the_exit_statuses(self, man):
        """Those of the man page are those of the source."""
        source = (ROOT / "client" / "cli.h").read_text()
        numbers = {int(number) for number in re.findall(r"CLI_EXIT_\w+ = (\d+)", source)}
        table = self.section(man, "EXIT STATUS").partition("Once the command")[0]
        told = re.findall(r"^\|  ([\d, ]+)$", table, re.M)
        assert {int(number) for cell in told for number in cell.split(", ")} == numbers

    SCRIPT = """
        source "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _egain_token
        printf '%s\\n' "${COMPREPLY[@]}"
    """

    def complete(self, *words, env=None, cwd="/"):
        """What bash offers for the last of the words."""
        script = ROOT / "client" / "egain-token.bash"
        path = f"{cli.EGAIN_TOKEN.parent}:{os.environ['PATH']}"
        process = subprocess.run(
            ["bash", "--norc", "-c", self.SCRIPT, "bash", script, *words],
            env=environment(PATH=path, **(env or {})),
            cwd=cwd,
            capture_output=True,
            text=True,
        )
        assert (process.returncode, process.stderr) == (0, ""), process
        return sorted(line for line in process.stdout.splitlines() if line)

    def test_completion_of_values(self, daemon, tmp_path):
        (tmp_path / "one file").touch()
        here = {"EGAIN_TOKEN_SOCKET": daemon.unix}
        assert self.complete("egain-token", "get", "--client", "", env=here) == [
            "crm", "portal", "staff",
        ]
        assert self.complete("egain-token", "get", "--client", "=", "po", env=here) == ["portal"]
        assert self.complete("egain-token", "check", "-c", "s", env=here) == ["staff"]
        # Without a daemon there is nothing to offer.
        nowhere = {"EGAIN_TOKEN_SOCKET": "/nowhere"}
        assert self.complete("egain-token", "get", "--client", "", env=nowhere) == []
        assert self.complete("egain-token", "get", "--username", "", env=here) == []
        assert self.complete("egain-token", "get", "--socket", "o", cwd=tmp_path) == ["one file"]
        assert "root" in self.complete("egain-token", "get", "--daemon-user", "roo")
        assert "true" in self.complete("egain-token", "exec", "--username", "x", "--", "tru")
        assert "true" in self.complete("egain-token", "exec", "--fd", "--username=x", "tru")
        assert self.complete("egain-token", "exec", "-u", "x", "cat", "o", cwd=tmp_path) == [
            "one file"
        ]
        assert "--fd" in self.complete("egain-token", "exec", "-u", "x", "--f")


def test_version(daemon):
    process = subprocess.run([cli.EGAIN_TOKEN, "--version"], capture_output=True, text=True)
    version = json.loads(good("status", "--json", socket=daemon.unix))["version"]
    assert (process.returncode, process.stdout) == (0, f"egain-token {version}\n")
