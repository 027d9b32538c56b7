# SPDX-License-Identifier: MIT
"""The command line, and configurations that are refused: `file:line: what is wrong`, exit 78."""

import os
import re
import subprocess

import pytest

import expect
from harness import PORTAL, TOKEND, Daemon, ask_bytes, environment, scratch_directory
from wire import Fleet, eventually

EX_CONFIG = 78

GOOD = """\
listen = ( { unix = "DIR/token.sock"; mode = "0600"; } );
clients = (
  { name = "portal";
    client_id = "7121f585";
    client_secret_file = "DIR/portal.secret";
    user_token_url = "http://127.0.0.1:9/u/token";
    default_scope = "a b"; }
);
request_timeout = "20s";
limits = { max_connections = 100; };
upstream = { timeout = "15s"; };
"""
# The lines that the cases below replace.
LISTEN, NAME, CLIENT_ID, SECRET, URL, SCOPE, REQUEST_TIMEOUT, LIMITS, UPSTREAM = (
    1,
    3,
    4,
    5,
    6,
    7,
    9,
    10,
    11,
)


def run(*arguments, **extra_environment):
    command = [str(word) for word in (TOKEND, *arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, env=environment(**extra_environment)
    )


@pytest.fixture
def directory():
    path = scratch_directory()
    secret = path / "portal.secret"
    secret.touch(0o600)
    secret.write_text("the-portal-s3cret\n")
    yield path
    for entry in sorted(path.rglob("*"), reverse=True):
        entry.rmdir() if entry.is_dir() else entry.unlink()
    path.rmdir()


@pytest.fixture
def check(directory):
    """Checks a configuration, given as text or as the good one with lines replaced."""

    def check(text=None, mode=0o600, env=None, **options):
        lines = (text if text is not None else GOOD).splitlines()
        for number, line in options.pop("lines", {}).items():
            lines[number - 1] = line
        path = directory / "test.conf"
        path.touch(mode)
        path.chmod(mode)
        path.write_text("\n".join(lines).replace("DIR", str(directory)) + "\n")
        result = run("--check-config", "--config", path, **(env or {}))
        result.path = path
        assert "the-portal-s3cret" not in result.stderr + result.stdout
        return result

    return check


def refused(result, line=None, pattern=""):
    """Exit 78 and a message for that line that has the pattern in it."""
    assert result.returncode == EX_CONFIG, result
    prefix = re.escape(str(result.path)) + ":" + (r"\d+" if line is None else str(line)) + ": "
    messages = [text for text in result.stderr.splitlines() if re.match(prefix, text)]
    assert messages, f"no message for line {line} in:\n{result.stderr}"
    assert any(re.search(pattern, text, re.I) for text in messages), messages


class TestCommandLine:
    def test_version(self):
        result = run("--version")
        assert result.returncode == 0
        assert re.fullmatch(r"egain-tokend \d+\.\d+\.\d+\n", result.stdout), result.stdout

    def test_help(self):
        result = run("--help")
        assert result.returncode == 0
        for option in ("--config", "--check-config", "--version", "--help"):
            assert option in result.stdout

    @pytest.mark.parametrize(
        "arguments", [["--colour"], ["--config"], ["stray"], ["--check-config", "stray"]]
    )
    def test_wrong_usage(self, arguments):
        result = run(*arguments)
        assert result.returncode not in (0, 1, 99, EX_CONFIG)
        assert result.returncode > 0 and result.stderr

    @pytest.mark.parametrize("check_only", [True, False])
    def test_no_such_file(self, check_only):
        result = run(*["--check-config"] * check_only, "--config", "/nonexistent/x.conf")
        assert result.returncode == EX_CONFIG
        assert "/nonexistent/x.conf" in result.stderr

    def test_a_directory(self, directory):
        assert run("--check-config", "--config", directory).returncode == EX_CONFIG

    def test_check_of_a_good_one_changes_nothing(self, check, directory):
        assert check().returncode == 0
        assert sorted(os.listdir(directory)) == ["portal.secret", "test.conf"]

    def test_a_bad_one_is_refused_when_started_too(self, check, directory):
        path = check(lines={REQUEST_TIMEOUT: "colour = 1;"}).path
        result = run("--config", path)
        result.path = path
        refused(result, REQUEST_TIMEOUT, "colour")
        assert sorted(os.listdir(directory)) == ["portal.secret", "test.conf"]


class TestMistakes:
    CASES = {
        "unknown key": ({REQUEST_TIMEOUT: 'colour = "red";'}, "colour"),
        "unknown key in a section": ({LIMITS: "limits = { max_colours = 1; };"}, "max_colours"),
        "unknown key of a client": ({SCOPE: 'scope = "a"; }'}, "scope"),
        "unknown key of a listener": (
            {LISTEN: 'listen = ( { unix = "DIR/s"; colour = 1; } );'},
            "colour",
        ),
        "key twice": (
            {REQUEST_TIMEOUT: 'request_timeout = "20s"; request_timeout = "21s";'},
            "'request_timeout' is given for the second time",
        ),
        "key twice in a client": (
            {CLIENT_ID: 'client_id = "a"; client_id = "b";'},
            "'client_id' is given for the second time",
        ),
        "key twice in a long line": (
            {LIMITS: "limits = { max_token_size = \"8K\"; max_flights = 7; max_memories = 8; "
             "max_flights = 9; max_waiters = 10; max_memories = 11; };"},
            "'max_flights' is given for the second time",
        ),
        "key twice, and another that begins so": (
            {LIMITS: "limits = { max = 1; max_flights = 7; }; limits = { max = 1; };"},
            "'limits' is given for the second time",
        ),
        "no value": ({REQUEST_TIMEOUT: "request_timeout = ;"}, ""),
        "unbalanced": ({UPSTREAM: 'upstream = { timeout = "15s";'}, ""),
        "duration a number": ({REQUEST_TIMEOUT: "request_timeout = 20;"}, "request_timeout"),
        "duration without a unit": (
            {REQUEST_TIMEOUT: 'request_timeout = "20";'},
            "request_timeout",
        ),
        "duration in parsecs": (
            {REQUEST_TIMEOUT: 'request_timeout = "20 parsecs";'},
            "request_timeout",
        ),
        "duration negative": ({REQUEST_TIMEOUT: 'request_timeout = "-5s";'}, "request_timeout"),
        "duration zero": ({REQUEST_TIMEOUT: 'request_timeout = "0s";'}, "request_timeout"),
        "duration fractional": ({REQUEST_TIMEOUT: 'request_timeout = "1.5s";'}, "request_timeout"),
        "duration empty": ({REQUEST_TIMEOUT: 'request_timeout = "";'}, "request_timeout"),
        "duration absurd": (
            {REQUEST_TIMEOUT: 'request_timeout = "99999999999999999999h";'},
            "request_timeout",
        ),
        "duration of years": ({REQUEST_TIMEOUT: 'request_timeout = "100000h";'}, "request_timeout"),
        "section not a section": ({UPSTREAM: 'upstream = "15s";'}, "upstream"),
        "number a string": ({LIMITS: 'limits = { max_connections = "100"; };'}, "max_connections"),
        "number zero": ({LIMITS: "limits = { max_connections = 0; };"}, "max_connections"),
        "number negative": ({LIMITS: "limits = { max_connections = -1; };"}, "max_connections"),
        "number that wraps to 0": (
            {LIMITS: "limits = { max_connections = 4294967296; };"},
            "max_connections",
        ),
        "number that wraps to 1": (
            {LIMITS: "limits = { max_waiters = 4294967297; };"},
            "max_waiters",
        ),
        "number beyond 64 bits": (
            {LIMITS: "limits = { max_flights = 18446744073709551617; };"},
            "max_flights",
        ),
        "number fractional": ({LIMITS: "limits = { max_connections = 1.5; };"}, "max_connections"),
        "size without a unit": (
            {LIMITS: 'limits = { max_token_size = "many"; };'},
            "max_token_size",
        ),
        "size over what is allowed": (
            {LIMITS: 'limits = { max_response_size = "64M"; };'},
            "max_response_size",
        ),
        "log level": ({REQUEST_TIMEOUT: 'log_level = "chatty";'}, "log_level"),
        "every address": (
            {LISTEN: 'listen = ( { tcp = "0.0.0.0:8471"; } );'},
            "loopback|localhost",
        ),
        "every IPv6 address": (
            {LISTEN: 'listen = ( { tcp = "[::]:8471"; } );'},
            "loopback|localhost",
        ),
        "another address": (
            {LISTEN: 'listen = ( { tcp = "192.0.2.1:8471"; } );'},
            "loopback|localhost",
        ),
        "another host": (
            {LISTEN: 'listen = ( { tcp = "example.com:8471"; } );'},
            "loopback|localhost",
        ),
        "no port": ({LISTEN: 'listen = ( { tcp = "127.0.0.1"; } );'}, "tcp"),
        "port too large": ({LISTEN: 'listen = ( { tcp = "127.0.0.1:65536"; } );'}, "tcp|port"),
        "port negative": ({LISTEN: 'listen = ( { tcp = "127.0.0.1:-1"; } );'}, "tcp|port"),
        "port a word": ({LISTEN: 'listen = ( { tcp = "127.0.0.1:http"; } );'}, "tcp|port"),
        "IPv6 without brackets": ({LISTEN: 'listen = ( { tcp = "::1:8471"; } );'}, "tcp|loopback"),
        "relative path": ({LISTEN: 'listen = ( { unix = "token.sock"; } );'}, "unix|absolute"),
        "path too long": ({LISTEN: f'listen = ( {{ unix = "/{"x" * 107}"; }} );'}, "unix|long"),
        "mode a number": ({LISTEN: 'listen = ( { unix = "DIR/s"; mode = 660; } );'}, "mode"),
        "mode not octal": ({LISTEN: 'listen = ( { unix = "DIR/s"; mode = "0999"; } );'}, "mode"),
        "mode of a TCP listener": (
            {LISTEN: 'listen = ( { tcp = "127.0.0.1:1"; mode = "0660"; } );'},
            "mode",
        ),
        "no such group": (
            {LISTEN: 'listen = ( { unix = "DIR/s"; group = "no-such-group"; } );'},
            "no-such-group",
        ),
        "unix and tcp": (
            {LISTEN: 'listen = ( { unix = "DIR/s"; tcp = "127.0.0.1:1"; } );'},
            "unix|tcp",
        ),
        "neither unix nor tcp": ({LISTEN: 'listen = ( { mode = "0660"; } );'}, "unix|tcp"),
        "no listeners": ({LISTEN: "listen = ( );"}, "listen"),
        "same path twice": ({LISTEN: 'listen = ( { unix = "DIR/s"; }, { unix = "DIR/s"; } );'}, ""),
        "URL without TLS": ({URL: 'user_token_url = "http://ai.egain.cloud/x";'}, "https"),
        "URL without TLS to localhost": (
            {URL: 'user_token_url = "http://localhost:1/x";'},
            "https|literal",
        ),
        "URL without TLS, disguised": (
            {URL: 'user_token_url = "http://127.0.0.1@evil.example/x";'},
            "",
        ),
        "URL without TLS, disguised again": (
            {URL: 'user_token_url = "http://127.0.0.1.evil.example/x";'},
            "https",
        ),
        "URL of another scheme": ({URL: 'user_token_url = "ftp://127.0.0.1/x";'}, "http"),
        "URL relative": ({URL: 'user_token_url = "/oauth2/token";'}, "URL|http"),
        "URL empty": ({URL: 'user_token_url = "";'}, "user_token_url"),
        "URL with a line break": (
            {URL: 'user_token_url = "https://127.0.0.1/x\\r\\ny";'},
            "user_token_url",
        ),
        "name empty": ({NAME: '{ name = "";'}, "name"),
        "client_id empty": ({CLIENT_ID: 'client_id = "";'}, "client_id"),
        "client_id a number": ({CLIENT_ID: "client_id = 7121;"}, "client_id"),
        "two secrets": (
            {SECRET: 'client_secret_file = "DIR/portal.secret"; client_secret = "x";'},
            "secret",
        ),
        "secret empty": ({SECRET: 'client_secret = "";'}, "secret"),
        "no such secret file": ({SECRET: 'client_secret_file = "DIR/none";'}, "none"),
        "secret file a directory": ({SECRET: 'client_secret_file = "DIR";'}, ""),
        "secret file relative": (
            {SECRET: 'client_secret_file = "portal.secret";'},
            "absolute|path",
        ),
        "credential, but no credentials": (
            {SECRET: 'client_secret_credential = "portal";'},
            "credential",
        ),
        "credential with a path": (
            {SECRET: 'client_secret_credential = "../portal";'},
            "credential",
        ),
        "two next secrets": (
            {
                SECRET: 'client_secret_file = "DIR/portal.secret"; next_client_secret = "x"; '
                'next_client_secret_file = "DIR/portal.secret";'
            },
            "next_client_secret",
        ),
        "no such file of the next secret": (
            {
                SECRET: 'client_secret_file = "DIR/portal.secret"; '
                'next_client_secret_file = "DIR/none";'
            },
            "none",
        ),
        "expiry in words": (
            {NAME: '{ name = "portal"; client_secret_expires = "soon";'},
            "expires",
        ),
        "expiry no day": (
            {NAME: '{ name = "portal"; client_secret_expires = "2027-02-30";'},
            "expires",
        ),
        "expiry a number": (
            {NAME: '{ name = "portal"; client_secret_expires = 20270201;'},
            "expires",
        ),
        "expiry with a time": (
            {NAME: '{ name = "portal"; client_secret_expires = "2027-02-01T00:00:00Z";'},
            "expires",
        ),
        "expiry of a next secret that is none": (
            {NAME: '{ name = "portal"; next_client_secret_expires = "2027-02-01";'},
            "next_client_secret",
        ),
        "certificate without a key": (
            {NAME: '{ name = "portal"; cert_file = "DIR/portal.secret";'},
            "key_file",
        ),
        "key without a certificate": (
            {NAME: '{ name = "portal"; key_file = "DIR/portal.secret";'},
            "cert_file",
        ),
        "key that is not there": (
            {NAME: '{ name = "portal"; cert_file = "DIR/portal.secret"; key_file = "DIR/none";'},
            "none",
        ),
        "proxy of another scheme": ({UPSTREAM: 'upstream = { proxy = "socks5://h:1"; };'}, "proxy"),
        "proxy without a scheme": ({UPSTREAM: 'upstream = { proxy = "h:3128"; };'}, "proxy"),
        "proxy with a password": (
            {UPSTREAM: 'upstream = { proxy = "http://u:p@h:3128"; };'},
            "proxy",
        ),
        "proxy a number": ({UPSTREAM: "upstream = { proxy = 3128; };"}, "proxy"),
        "margin too small": (
            {REQUEST_TIMEOUT: 'cache = { expiry_margin = "0s"; };'},
            "expiry_margin",
        ),
        "margin too large": (
            {REQUEST_TIMEOUT: 'cache = { expiry_margin = "6m"; };'},
            "expiry_margin",
        ),
        "memories too few": ({LIMITS: "limits = { max_memories = 0; };"}, "max_memories"),
        "scope with a quote": ({SCOPE: 'default_scope = "a\\"b"; }'}, "default_scope|scope"),
        "scope with a line break": ({SCOPE: 'default_scope = "a\\nb"; }'}, "default_scope|scope"),
    }

    @pytest.mark.parametrize("name", CASES)
    def test_is_refused_with_its_line(self, check, name):
        lines, pattern = self.CASES[name]
        result = check(lines=lines)
        # libconfig notices what is missing only in the next line.
        (line,) = lines
        refused(result, None if name in ("unbalanced", "no value") else line, pattern)

    @pytest.mark.parametrize("missing", ["name", "client_id", "client_secret_file"])
    def test_something_missing(self, check, missing):
        lines = {NAME: "{" if missing == "name" else '{ name = "portal";'}
        if missing != "name":
            lines[{"client_id": CLIENT_ID, "client_secret_file": SECRET}[missing]] = ""
        refused(check(lines=lines), None, missing.removesuffix("_file"))

    @pytest.mark.parametrize(
        "text", ["", "\n\n", "clients = ( );\n", 'listen = ( { unix = "DIR/s"; } );\n']
    )
    def test_no_clients(self, check, text):
        result = check(text=text)
        assert result.returncode == EX_CONFIG
        assert str(result.path) in result.stderr and "client" in result.stderr

    def test_several_at_once(self, check):
        result = check(
            lines={
                LISTEN: 'listen = ( { tcp = "0.0.0.0:1"; } );',
                URL: 'user_token_url = "http://ai.egain.cloud/x";',
                REQUEST_TIMEOUT: "request_timeout = 20;",
                LIMITS: "limits = { max_connections = 0; max_colours = 3; };",
            }
        )
        for line in (LISTEN, URL, REQUEST_TIMEOUT, LIMITS):
            refused(result, line)
        refused(result, LIMITS, "max_connections")
        refused(result, LIMITS, "max_colours")

    @pytest.mark.parametrize(
        "second, pattern",
        [
            ('name = "portal"; client_id = "other";', "portal"),
            ('name = "other"; client_id = "7121f585";', "7121f585"),
            ('name = "7121f585"; client_id = "other";', "7121f585"),
            ('name = "other"; client_id = "portal";', "portal"),
        ],
        ids=[
            "same name",
            "same client_id",
            "name is another's client_id",
            "client_id is another's name",
        ],
    )
    def test_clients_that_cannot_be_told_apart(self, check, second, pattern):
        more = 'client_secret_file = "DIR/portal.secret"; user_token_url = "https://127.0.0.1/x";'
        result = check(lines={8: f", {{ {second} {more} }} );"})
        refused(result, None, pattern)

    def test_name_and_client_id_of_one_client_may_be_equal(self, check):
        assert check(lines={NAME: '{ name = "7121f585";'}).returncode == 0

    @pytest.mark.parametrize(
        "text",
        [b"\0", b"\xff\xfe", b"listen = \0;", b"(" * 5000, b"a" * 1_000_000],
        ids=["NUL", "not UTF-8", "NUL in a value", "parentheses", "a long word"],
    )
    def test_garbage(self, directory, text):
        path = directory / "test.conf"
        path.touch(0o600)
        path.write_bytes(text)
        result = run("--check-config", "--config", path)
        assert result.returncode == EX_CONFIG, result

    def test_an_include_of_a_secret_does_not_print_it(self, check):
        result = check(lines={REQUEST_TIMEOUT: '@include "DIR/portal.secret"'})
        assert result.returncode == EX_CONFIG


CALLERS = """\
callers = (
  { name = "a"; user = "0"; clients = [ "portal" ]; subjects = [ "email:*" ]; scopes = [ "*" ]; },
  { name = "b"; group = "root"; monitor = true; }
);
"""
FIRST, SECOND = 13, 14  # their lines, behind those of GOOD


class TestCallers:
    def check(self, check, second):
        lines = CALLERS.splitlines()
        lines[2] = second
        return check(text=GOOD + "\n".join(lines))

    def test_good(self, check):
        result = check(text=GOOD + CALLERS)
        assert result.returncode == 0
        assert result.stderr == ""

    def test_shadowed_is_a_warning(self, check):
        result = self.check(check, '{ name = "b"; user = "root"; group = "root"; admin = true; }')
        assert result.returncode == 0
        warning = rf"{re.escape(str(result.path))}:{SECOND}: warning: .* line {FIRST} "
        assert re.match(warning, result.stderr), result.stderr
        assert len(result.stderr.splitlines()) == 1

    CASES = {
        "same conditions": ('{ name = "b"; user = "root"; admin = true; }', f"line {FIRST}"),
        "no such user": ('{ name = "b"; user = "no-such-user-4711"; }', "there is no user"),
        "no such group": ('{ name = "b"; group = "no-such-group-4711"; }', "there is no group"),
        "recycled": ('{ name = "b"; user = "61184"; }', "unit"),
        "key alone": ('{ name = "b"; key_file = "DIR/portal.secret"; }', "alone proves nothing"),
        "no such client": (
            '{ name = "b"; group = "root"; clients = [ "portl" ]; }',
            'did you mean "portal"',
        ),
        "no kind": ('{ name = "b"; group = "root"; subjects = [ "pa" ]; }', "username, userid"),
        "empty pattern": ('{ name = "b"; group = "root"; subjects = [ "email:" ]; }', "not empty"),
        "no subjects": ('{ name = "b"; group = "root"; subjects = [ ]; }', "is empty"),
        "no key": ('{ name = "b"; group = "root"; key_file = "DIR/none"; }', "none"),
    }

    @pytest.mark.parametrize("name", CASES)
    def test_is_refused_with_its_line(self, check, name):
        second, pattern = self.CASES[name]
        refused(self.check(check, second), SECOND, pattern)

    def test_key_that_others_can_read(self, check, directory):
        key = directory / "key"
        key.write_text("0123456789abcdef\n")
        key.chmod(0o600)
        second = '{ name = "b"; group = "root"; key_file = "DIR/key"; monitor = true; }'
        assert self.check(check, second).returncode == 0
        key.chmod(0o644)
        refused(self.check(check, second), SECOND, "chmod")

    def test_digests_without_a_key(self, check):
        refused(check(text=GOOD + 'audit = { subjects = "digest"; };'), 12, "key_file")


class TestAuditFile:
    """What would end a start is warned of; a folder may still be made until then."""

    def said(self, check, path):
        result = check(text=GOOD + f'audit = {{ to = "{path}"; }};')
        assert result.returncode == 0
        if result.stderr:
            assert re.match(re.escape(f"{result.path}:12: warning: audit: "), result.stderr)
        return result.stderr

    def test_one_that_is_there_or_can_be_made(self, check, directory):
        assert self.said(check, "DIR/audit") == ""
        assert not (directory / "audit").exists()
        (directory / "audit").touch(0o600)
        (directory / "audit").write_text("half a line")
        assert self.said(check, "DIR/audit") == ""
        assert (directory / "audit").read_text() == "half a line"

    def test_one_that_cannot_be_written(self, check, directory):
        assert "No such file or directory" in self.said(check, "/nodir/audit")
        assert "Not a directory" in self.said(check, "DIR/portal.secret/audit")
        assert "regular file" in self.said(check, "/dev/null")
        (directory / "link").symlink_to(directory / "audit")
        assert "symbolic link" in self.said(check, "DIR/link")
        (directory / "open").touch(0o600)
        (directory / "open").chmod(0o666)
        assert "others can write" in self.said(check, "DIR/open")


class TestSecretFiles:
    @pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o660, 0o602, 0o666])
    def test_open_to_others(self, check, directory, mode):
        (directory / "portal.secret").chmod(mode)
        result = check()
        refused(result, SECRET, "portal.secret")
        assert "chmod" in result.stderr

    @pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
    def test_closed_to_others(self, check, directory, mode):
        (directory / "portal.secret").chmod(mode)
        assert check().returncode == 0

    def test_of_another_owner(self, check, directory):
        os.chown(directory / "portal.secret", 65534, 65534)
        refused(check(), SECRET, "portal.secret")

    def test_behind_a_symbolic_link_the_file_itself_counts(self, check, directory):
        (directory / "link").symlink_to(directory / "portal.secret")
        lines = {SECRET: 'client_secret_file = "DIR/link";'}
        assert check(lines=lines).returncode == 0
        (directory / "portal.secret").chmod(0o644)
        refused(check(lines=lines), SECRET, "link")

    @pytest.mark.parametrize(
        "content",
        [b"", b"\n", b"a\nb\n", b"a\0b\n", b"a\x01\n", b"x" * 4097],
        ids=["empty", "empty line", "two lines", "NUL", "control character", "too long"],
    )
    def test_content_that_is_no_secret(self, check, directory, content):
        (directory / "portal.secret").write_bytes(content)
        refused(check(), SECRET)

    def test_a_fifo_does_not_block(self, check, directory):
        (directory / "portal.secret").unlink()
        os.mkfifo(directory / "portal.secret", 0o600)
        refused(check(), SECRET)

    @pytest.mark.parametrize("mode", [0o604, 0o644, 0o660, 0o622])
    def test_inline_in_an_open_configuration(self, check, mode):
        lines = {SECRET: 'client_secret = "the-portal-s3cret";'}
        result = check(lines=lines, mode=mode)
        assert result.returncode == EX_CONFIG
        assert "chmod" in result.stderr

    def test_inline_in_a_closed_configuration(self, check):
        assert check(lines={SECRET: 'client_secret = "the-portal-s3cret";'}).returncode == 0

    def test_an_open_configuration_without_secrets_is_fine(self, check):
        assert check(mode=0o644).returncode == 0


class TestSources:
    """Each kind of source, down to the issuer, which knows the secret."""

    def daemon(self, issuer, source, **options):
        daemon = Daemon(issuer, clients=[PORTAL], **options)
        (section,) = daemon.settings["clients"]
        del section["client_secret_file"]
        section |= source
        return daemon

    def serves(self, daemon, subject):
        with daemon:
            expect.miss(daemon.ask(subject), subject)

    def test_inline(self, issuer, subject):
        self.serves(self.daemon(issuer, {"client_secret": PORTAL.secret}), subject)

    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_file_with_any_line_end(self, issuer, subject, directory, end):
        path = directory / "portal.secret"
        path.write_bytes((PORTAL.secret + end).encode())
        self.serves(self.daemon(issuer, {"client_secret_file": path}), subject)

    def test_credential(self, issuer, subject, directory):
        credentials = directory / "credentials"
        credentials.mkdir(0o700)
        (credentials / "portal.secret").touch(0o400)
        (credentials / "portal.secret").write_text(PORTAL.secret)
        self.serves(
            self.daemon(
                issuer,
                {"client_secret_credential": "portal.secret"},
                env={"CREDENTIALS_DIRECTORY": str(credentials)},
            ),
            subject,
        )

    def test_missing_credential(self, check, directory):
        lines = {SECRET: 'client_secret_credential = "portal";'}
        result = check(lines=lines, env={"CREDENTIALS_DIRECTORY": str(directory)})
        refused(result, SECRET, "portal")


class TestListening:
    def test_mode_and_group_of_the_socket(self, issuer):
        daemon = Daemon(issuer)
        daemon.settings["listen"] = [{"unix": daemon.unix, "mode": "0620", "group": "nogroup"}]
        with daemon:
            status = os.stat(daemon.unix)
            assert status.st_mode & 0o7777 == 0o620
            assert status.st_gid == 65534
            expect.token(daemon.ask("pa"), "pa")

    def test_mode_unless_told(self, issuer):
        daemon = Daemon(issuer)
        daemon.settings["listen"] = [{"unix": daemon.unix}]
        with daemon:
            assert os.stat(daemon.unix).st_mode & 0o7777 == 0o660

    def test_one_address_only(self, issuer):
        daemon = Daemon(issuer)
        daemon.settings["listen"] = [{"tcp": f"[::1]:{daemon.port}"}]
        with daemon:
            expect.token(daemon.ask("pa", address=daemon.tcp6), "pa")
            with pytest.raises(ConnectionRefusedError):
                daemon.ask("pa", address=daemon.tcp4)

    @pytest.mark.parametrize("listen", ["unix", "tcp"])
    def test_where_it_cannot(self, issuer, daemon, listen):
        """What is taken, or cannot be made, is said, and ends it with something else than 0."""
        other = Daemon(issuer)
        try:
            value = {"unix": "/nonexistent/s", "tcp": f"127.0.0.1:{daemon.port}"}[listen]
            other.settings["listen"] = [{listen: value}]
            other.spawn_daemon()
            status = other.wait()
            text = other.output.text()
            assert status not in (0, 99) and status > 0, text
            assert value in text
        finally:
            other.close()

    def test_more_connections_than_descriptors(self, issuer):
        """RLIMIT_NOFILE is looked at when it starts, and never run into."""
        prefix = ["prlimit", "--nofile=512:512"]
        with Daemon(issuer, prefix=prefix, limits={"max_connections": 4000}) as daemon:
            daemon.output.wait_for("RLIMIT_NOFILE")
            with Fleet(daemon.unix, 600) as fleet:
                for connection in fleet.connections:
                    connection.send_unless_cut(ask_bytes("pa"))
                statuses = {response.status for response in fleet.collect()}
            assert statuses == {200, 503}
            eventually(lambda: daemon.request("GET", "/healthz").status == 200, "room")
            assert not any("cannot accept" in line for line in daemon.output.lines)

    def test_its_port_can_be_taken_again_at_once(self, issuer):
        """Connections in TIME_WAIT are no obstacle."""
        with Daemon(issuer) as daemon:
            for _ in range(2):
                expect.token(daemon.ask("pa", address=daemon.tcp4), "pa")
                daemon.stop()
                daemon.start()
