# SPDX-License-Identifier: MIT
"""egain-token where there is no daemon, or something else in its place."""

import contextlib
import json
import os
import pwd
import re
import socket
import subprocess

import pytest

import cli
from cli import Impostor, bad, good, http
from harness import environment

NOBODY = pwd.getpwnam("nobody")
GET = ("get", "-u", "pa", "--timeout", "10")
TOKEN_ANSWER = '{"access_token":"opaque~1","token_type":"Bearer","expires_in":60,"scope":"s"}'


class TestNoDaemon:
    def test_no_file(self, tmp_path):
        said = bad(69, *GET, socket=str(tmp_path / "none"))
        assert f"no socket {tmp_path}/none" in said

    def test_a_regular_file(self, tmp_path):
        (tmp_path / "file").touch()
        assert "not a socket" in bad(69, *GET, socket=str(tmp_path / "file"))

    def test_a_directory(self, tmp_path):
        assert "not a socket" in bad(69, *GET, socket=str(tmp_path))

    def test_a_path_that_is_too_long(self):
        assert "107 bytes" in bad(64, *GET, socket="/" + "x" * 107)
        assert "no socket" in bad(69, *GET, socket="/" + "x" * 106)

    def test_nobody_listens(self, tmp_path):
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            assert "Nobody listens" in bad(69, *GET, socket=path)

    def test_datagrams(self, tmp_path):
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(path)
            assert "not one of streams" in bad(69, *GET, socket=path)

    def test_every_verb(self):
        for verb in (["exec", "-u", "pa", "true"], ["explain", "-u", "pa"], ["status"], ["list"],
                     ["list", "--json"], ["purge", "-u", "pa"]):
            result = cli.run(*verb, socket="/nowhere/s")
            assert result.status == 69 and "no socket /nowhere/s" in result.err
            # Nothing that could be taken for a whole list.
            assert "}" not in result.out


class TestBusy:
    """Who listens does not come to accept: for now, as any other time that runs out."""

    @pytest.fixture
    def path(self, tmp_path):
        path = str(tmp_path / "s")
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(path)
            listener.listen(0)
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection = stack.enter_context(socket.socket(socket.AF_UNIX))
                    connection.setblocking(False)
                    connection.connect(path)
            yield path

    @pytest.mark.parametrize("verb", [["get", "-u", "pa"], ["status"]])
    def test_it_is_for_now(self, path, verb):
        assert "has not accepted" in bad(75, *verb, "--timeout", "1", socket=path)

    def test_a_check_does_not_advise_to_start_it(self, path):
        result = cli.run("check", "-u", "pa", "--timeout", "1", socket=path)
        assert result.status == 2 and result.out.startswith("CRITICAL: daemon: The daemon has not")
        assert "systemctl status" in result.out and "systemctl start" not in result.out


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to listen as somebody else")
class TestSomebodyElse:
    def test_nothing_is_sent(self):
        with Impostor(http(200, TOKEN_ANSWER), user=NOBODY) as server:
            said = bad(76, *GET, socket=server.path)
            assert f"uid {NOBODY.pw_uid}" in said and "nothing was sent" in said
            result = cli.run("check", "-u", "pa", socket=server.path)
            assert result.status == 2 and result.out.startswith("CRITICAL: socket: Who listens")
            assert "--daemon-user" in result.out
            assert server.requests == []

    @pytest.mark.parametrize("user", ["nobody", str(NOBODY.pw_uid)])
    def test_unless_he_is_named(self, user):
        with Impostor(http(200, TOKEN_ANSWER), user=NOBODY) as server:
            assert good(*GET, "--daemon-user", user, socket=server.path) == "opaque~1"

    def test_one_that_does_not_exist_is_not_named(self):
        with Impostor(http(200, TOKEN_ANSWER), user=NOBODY) as server:
            said = bad(76, *GET, "--daemon-user", "ettest-none", socket=server.path)
            assert "ettest-none" in said
            assert server.requests == []


class TestOddAnswers:
    """Another server, or another version of the daemon: status 76, and never a token."""

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            http(200, TOKEN_ANSWER)[:-1],
            http(200, TOKEN_ANSWER)[:-60],
            http(200, TOKEN_ANSWER, "text/plain"),
            http(200, ""),
            http(200, "{}"),
            http(200, "[]"),
            http(200, TOKEN_ANSWER + "}"),
            http(200, TOKEN_ANSWER.replace("opaque~1", "")),
            http(200, TOKEN_ANSWER.replace("opaque~1", "two words")),
            http(200, TOKEN_ANSWER.replace("opaque~1", "a\\r\\nX: y")),
            http(200, TOKEN_ANSWER.replace("opaque~1", "é")),
            http(200, TOKEN_ANSWER.replace('"opaque~1"', "17")),
            http(200, TOKEN_ANSWER.replace("Bearer", "mac")),
            http(200, TOKEN_ANSWER.replace("60", "0")),
            http(200, TOKEN_ANSWER.replace("60", "-5")),
            http(200, TOKEN_ANSWER.replace("60", '"60"')),
            http(200, TOKEN_ANSWER.replace('"scope":', '"access_token":')),
            http(204, ""),
            http(301, "", headers="Location: http://localhost/\r\n"),
            http(404, "<h1>nginx</h1>", "text/html"),
            http(500, "oops", "text/plain"),
            http(503, "<h1>no upstream</h1>", "text/html"),
            http(403, '{"message":"Forbidden"}'),
            http(403, '{"error":"access_denied"}'),
            http(403, '{"error":"access_denied","error_description":"a\\u001b[31mb"}'),
            http(200, " " * (1024 * 1024 + 1)),
        ],
        ids=lambda answer: repr(answer[-70:]),
    )
    def test_get(self, answer):
        with Impostor(answer) as server:
            said = bad(76, *GET, socket=server.path)
            assert re.search("listens|closed|cut short", said)
            assert "opaque" not in said and "\x1b" not in said

    @pytest.mark.parametrize(
        "verb, answer",
        [
            (["status"], http(200, "[]")),
            (["status"], http(200, '{"clients":')),
            (["explain", "-u", "pa"], http(200, "{}")),
            (["explain", "-u", "pa"], http(200, '{"permitted":false}')),
            (["list"], http(200, "{}")),
            (["list"], http(200, '{"tokens":{}}')),
            (["list"], http(200, '{"tokens":[],"next":"x&y"}')),
            (["list"], http(200, '{"tokens":[],"next":7}')),
            (["list"], http(200, '{"tokens":[],"next":"1' + "0" * 40 + '"}')),
        ],
    )
    def test_others(self, verb, answer):
        with Impostor(answer) as server:
            assert bad(76, *verb, socket=server.path)

    def test_a_status_of_another_version(self):
        """What is not there is shown as such; what is unknown is not shown."""
        with Impostor(http(200, '{"version":"9.0","clients":[{"token_urls":[{}]},7],"new":[]}')) as server:
            out = good("status", socket=server.path)
            assert out.startswith("egain-tokend 9.0, ") and "client ?\n" in out
            assert '"new"' in good("status", "--json", socket=server.path)

    def test_a_list_whose_end_fails(self):
        answers = iter([http(200, '{"tokens":[{"state":"fresh"}],"next":"5"}'),
                        http(503, '{"error":"temporarily_unavailable","error_description":"Bye."}')])
        with Impostor(lambda request: next(answers)) as server:
            result = cli.run("list", "--json", socket=server.path)
        assert (result.status, "]}" in result.out) == (75, False)
        assert "Bye." in result.err

    def test_nothing_that_a_terminal_obeys(self):
        evil = "x\\u001b[31m\\u0007\\u009b1m\\u202ey\\u007f"
        entry = f'{{"client":"{evil}","subject":{{"kind":"username","value":"{evil}"}}}}'
        with Impostor(http(200, f'{{"tokens":[{entry}]}}')) as server:
            shown = good("list", socket=server.path)
            assert "username:x?[31m??1m?y?" in shown
            raw = good("list", "--json", socket=server.path)
        for text in (shown, raw):
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
        # As JSON it is still what it was.
        assert json.loads(raw)["tokens"][0]["client"] == json.loads(f'"{evil}"')


class TestRestarts:
    def test_a_connection_that_is_closed_is_tried_again(self):
        answers = iter([b"", http(200, TOKEN_ANSWER)])
        with Impostor(lambda request: next(answers)) as server:
            assert good(*GET, socket=server.path) == "opaque~1"
            assert len(server.requests) == 2 and server.requests[0] == server.requests[1]

    def test_a_broken_pipe(self, daemon, subject):
        path = f"{cli.EGAIN_TOKEN.parent}:{os.environ['PATH']}"
        script = 'egain-token get -u "$1" -c portal | true; echo "${PIPESTATUS[0]}"'
        run = subprocess.run(
            ["bash", "-c", script, "bash", subject], capture_output=True, text=True,
            env=environment(EGAIN_TOKEN_SOCKET=daemon.unix, PATH=path),
        )
        assert run.stdout.strip() in ("0", "141") and run.stderr == ""
