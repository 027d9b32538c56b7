# SPDX-License-Identifier: MIT
"""egain-token exec, and where a token is, and is not, while egain-token has one."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import cli
import expect
from cli import bad, copies, good, memory_at_exit
from harness import TOKEN, environment, rule
from people import needs_users
from wire import TIMEOUT, eventually

C = ("--client", "portal")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into its memory")

# Says what it was started with, and waits.
REPORT = """
import json, os, sys
fds = {}
for name in os.listdir("/proc/self/fd"):
    try: fds[name] = os.readlink(f"/proc/self/fd/{name}")
    except OSError: pass
print(json.dumps({"argv": sys.argv[1:], "environ": dict(os.environ), "fds": fds}), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def running(daemon, *arguments, env=None, person=None, words=(), **options):
    """exec of REPORT; the process, and what it reports, while it waits."""
    identity = person.identity() if person else {"env": environment()}
    identity["env"] |= env or {}
    process = subprocess.Popen(
        cli.command("exec", *arguments, "--", sys.executable, "-I", "-c", REPORT, *words,
                    socket=daemon.unix),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, **identity, **options,
    )
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(TIMEOUT)
        process.stdout.close()


def proc(process, name):
    return Path(f"/proc/{process.pid}/{name}").read_bytes()


class TestToken:
    def test_in_the_environment(self, daemon, subject):
        stale = {"EGAIN_ACCESS_TOKEN": "stale", "EGAIN_ACCESS_TOKEN_FD": "77", "KEPT": "1"}
        with running(daemon, "-u", subject, *C, env=stale) as (process, report):
            token = report["environ"]["EGAIN_ACCESS_TOKEN"]
            expect.claims(token, subject)
            assert "EGAIN_ACCESS_TOKEN_FD" not in report["environ"]
            assert report["environ"]["KEPT"] == "1"
            assert token.encode() not in proc(process, "cmdline")
            assert not TOKEN.search(proc(process, "cmdline").decode())
            # It is the command's process, and has nothing but what it was given.
            assert proc(process, "cmdline").split(b"\0")[0] == sys.executable.encode()
            assert set(report["fds"]) - {"3"} == {"0", "1", "2"}
            assert report["fds"].get("3", "/proc").startswith("/proc")

    def test_behind_a_descriptor(self, daemon, subject):
        stale = {"EGAIN_ACCESS_TOKEN": "stale"}
        with running(daemon, "-u", subject, *C, "--fd", env=stale) as (process, report):
            assert "EGAIN_ACCESS_TOKEN" not in report["environ"]
            number = report["environ"]["EGAIN_ACCESS_TOKEN_FD"]
            assert report["fds"][number] == "/memfd:egain-access-token (deleted)"
            for name in ("cmdline", "environ"):
                assert not TOKEN.search(proc(process, name).decode())
            token = proc(process, f"fd/{number}").decode()
            expect.claims(token, subject)
            # From its beginning, and not to be changed.
            assert b"pos:\t0\n" in proc(process, f"fdinfo/{number}")
            with open(f"/proc/{process.pid}/fd/{number}", "r+b", 0) as file:
                with pytest.raises(OSError):
                    file.write(b"x")
                with pytest.raises(OSError):
                    file.truncate(1)

    def test_in_no_command_line_meanwhile(self, daemon, issuer, subject, tmp_path):
        """A subject token in a file is in no command line either, while it is asked with."""
        issuer.behave(hold=True)
        process = subprocess.Popen(
            cli.command("exec", "-u", subject, *C, "--", "true", socket=daemon.unix),
            env=environment(),
        )
        issuer.wait_for("held", 1)
        assert not TOKEN.search(proc(process, "cmdline").decode())
        assert b"EGAIN_ACCESS_TOKEN" not in proc(process, "environ")
        issuer.release()
        assert process.wait(TIMEOUT) == 0

    def test_read_in_a_shell(self, daemon, subject):
        out = good("exec", "-u", subject, *C, "--fd", "--", "sh", "-c",
                   "cat /dev/fd/$EGAIN_ACCESS_TOKEN_FD; cat <&3", socket=daemon.unix)
        # Opened anew it begins at its beginning, inherited as well.
        token = out[: len(out) // 2]
        assert out == token + token
        expect.claims(token, subject)


class TestCommand:
    def test_arguments_are_its_own(self, daemon, subject):
        words = ["--username", "x", "-h", "--", "", "a b", "ü"]
        with running(daemon, "-u", subject, *C, words=words) as (_, report):
            assert report["argv"] == words

    def test_without_dashes(self, daemon, subject):
        out = good("exec", "-u", subject, *C, "echo", "-n", "--json", socket=daemon.unix)
        assert out == "--json"

    @pytest.mark.parametrize("status", [0, 1, 64, 77, 255])
    def test_exit_status(self, daemon, subject, status):
        result = cli.run("exec", "-u", subject, *C, "--", "sh", "-c", f"exit {status}",
                         socket=daemon.unix)
        assert (result.status, result.out, result.err) == (status, "", "")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
    def test_signals(self, daemon, subject, number):
        with running(daemon, "-u", subject, *C) as (process, _):
            process.send_signal(number)
            assert process.wait(TIMEOUT) == -number

    def test_signals_are_handled_as_before(self, daemon, subject):
        """None is blocked or ignored that was not."""
        script = "grep -E '^Sig(Blk|Ign)' /proc/self/status"
        bare = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
        assert good("exec", "-u", subject, *C, "--", "sh", "-c", script,
                    socket=daemon.unix) == bare.stdout

    def test_standard_input_is_its_own(self, daemon, subject):
        out = good("exec", "-u", subject, *C, "--", "cat", input="hello", socket=daemon.unix)
        assert out == "hello"

    @needs_users
    def test_can_be_looked_at_by_its_user(self, daemon, start_daemon, people, subject):
        """Only egain-token itself is closed to debuggers."""
        daemon = start_daemon(callers=[rule("a", user=people.a.name)])
        with running(daemon, "-u", subject, *C, person=people.a) as (process, _):
            assert os.stat(f"/proc/{process.pid}/environ").st_uid == people.a.uid


class TestNotExecuted:
    """Nothing is asked for a command that cannot be run."""

    @pytest.fixture
    def place(self, tmp_path):
        (tmp_path / "plain").write_text("#!/bin/sh\n")
        (tmp_path / "plain").chmod(0o644)
        (tmp_path / "folder").mkdir()
        (tmp_path / "script").write_text("#!/bin/sh\necho ran\n")
        (tmp_path / "script").chmod(0o755)
        (tmp_path / "orphan").write_text("#!/nowhere/interpreter\n")
        (tmp_path / "orphan").chmod(0o755)
        return tmp_path

    @pytest.mark.parametrize(
        "command, status, text",
        [
            ("nonesuch", 127, "No such file"),
            ("/nowhere/nonesuch", 127, "No such file"),
            ("", 127, "No such file"),
            ("/etc/passwd/x", 127, "Not a directory"),
            ("{}/plain", 126, "Permission denied"),
            ("{}/folder", 126, "Permission denied"),
            ("plain", 126, "Permission denied"),
        ],
    )
    def test_told_first(self, daemon, issuer, subject, place, command, status, text):
        env = {"PATH": f"{place}:/nowhere"}
        said = bad(status, "exec", "-u", subject, *C, "--", command.format(place),
                   socket="/nowhere/s", env=env)
        assert text in said
        assert issuer.requests() == 0

    def test_found_in_the_path(self, daemon, subject, place):
        for path, cwd in ((f"/nowhere:{place}", "/"), (":/nowhere", place), ("/nowhere:", place)):
            out = good("exec", "-u", subject, *C, "--", "script", socket=daemon.unix,
                       env={"PATH": path}, cwd=cwd)
            assert out == "ran\n"
        # The one that can be executed wins over one that cannot, as execvp(3) has it.
        (place / "bin").mkdir()
        (place / "bin" / "plain").write_text("#!/bin/sh\necho other\n")
        (place / "bin" / "plain").chmod(0o755)
        out = good("exec", "-u", subject, *C, "--", "plain", socket=daemon.unix,
                   env={"PATH": f"{place}:{place}/bin"})
        assert out == "other\n"

    def test_seen_only_when_it_is_executed(self, daemon, subject, place):
        said = bad(127, "exec", "-u", subject, *C, "--", place / "orphan", socket=daemon.unix)
        assert "orphan" in said

    def test_not_run_without_a_token(self, daemon, issuer, subject):
        issuer.behave(error="invalid_grant", subject=f"username:{subject}")
        bad(67, "exec", "-u", subject, *C, "--", "echo", "ran", socket=daemon.unix)
        bad(69, "exec", "-u", subject, *C, "--", "echo", "ran", socket="/nowhere/s")


@needs_root
class TestMemory:
    """What has been in the memory of egain-token is not there any more when it goes."""

    def test_the_search_finds(self, daemon, subject):
        """A command that has the token in its environment has it in its memory."""
        token = good("get", "-u", subject, *C, socket=daemon.unix)
        words = cli.command("exec", "-u", subject, *C, "--", "true", socket=daemon.unix)
        memory, _ = memory_at_exit(words)
        assert copies(memory, token) > 0

    @pytest.mark.parametrize("form", [[], ["--json"], ["--header"]])
    def test_get(self, daemon, subject, form):
        # Once it came from the issuer, once from memory.
        for _ in range(2):
            memory, result = memory_at_exit(
                cli.command("get", "-u", subject, *C, *form, socket=daemon.unix)
            )
            token = TOKEN.search(result.out)[0]
            token = good("get", "-u", subject, *C, socket=daemon.unix)
            assert result.status == 0 and token in result.out
            assert copies(memory, token) == 0

    def test_over_tcp(self, daemon, subject):
        memory, result = memory_at_exit(
            cli.command("get", "-u", subject, *C, "--url", f"http://localhost:{daemon.port}")
        )
        assert result.status == 0 and copies(memory, result.out) == 0

    def test_a_long_token(self, daemon, issuer, subject):
        token = "".join(f"{number:x}." for number in range(10000, 12400))
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
        issuer.behave(status=200, body=json.dumps(answer))
        memory, result = memory_at_exit(cli.command("get", "-u", subject, *C, socket=daemon.unix))
        assert result.out == token and len(token) > 8192 and copies(memory, token) == 0

    def test_check(self, daemon, subject):
        token = good("get", "-u", subject, *C, socket=daemon.unix)
        memory, result = memory_at_exit(
            cli.command("check", "-u", subject, *C, socket=daemon.unix)
        )
        assert result.status == 0 and copies(memory, token) == 0

    def test_output_that_cannot_be_written(self, daemon, subject):
        token = good("get", "-u", subject, *C, socket=daemon.unix)
        with open("/dev/full", "wb") as full:
            memory, result = memory_at_exit(
                cli.command("get", "-u", subject, *C, socket=daemon.unix), stdout=full
            )
        assert result.status == 74 and copies(memory, token) == 0

    def test_a_command_that_cannot_be_executed(self, daemon, subject, tmp_path):
        (tmp_path / "orphan").write_text("#!/nowhere/interpreter\n")
        (tmp_path / "orphan").chmod(0o755)
        token = good("get", "-u", subject, *C, socket=daemon.unix)
        for form in ([], ["--fd"]):
            memory, result = memory_at_exit(
                cli.command("exec", "-u", subject, *C, *form, "--", str(tmp_path / "orphan"),
                            socket=daemon.unix)
            )
            assert result.status == 127 and copies(memory, token) == 0

    def test_a_refused_token(self, daemon, subject):
        token = good("get", "-u", subject, *C, socket=daemon.unix)
        memory, result = memory_at_exit(
            cli.command("get", "-u", subject, *C, "--reject-stdin", socket=daemon.unix),
            input=token.encode() + b"\n",
        )
        assert result.status == 0 and copies(memory, token) == copies(memory, result.out) == 0

    @pytest.mark.parametrize(
        "answer, status",
        [
            (cli.http(400, '{"error":"invalid_request","error_description":"No."}'), 65),
            (cli.http(200, '{"access_token":"TOKEN","token_type":"Bearer","expires_in":0}'), 76),
            (cli.http(200, '{"access_token":"TOKEN","token_type":"mac","expires_in":9}'), 76),
            (cli.http(200, '{"access_token":"TOKEN","token_type":"Bearer"'), 76),
            (cli.http(200, '{"access_token":"\\u0054OKEN","token_type":"Bearer","expires_in":-1}'), 76),
            (cli.http(200, '{"access_token":"TOKEN","token_type":"Bearer","expires_in":9}')[:-9], 76),
            (b"TOKEN\r\n\r\n", 76),
        ],
    )
    def test_a_token_that_is_exchanged_and_a_bad_answer(self, answer, status):
        mine = "mine." + "".join(f"{number:x}." for number in range(700, 1500))
        theirs = "xheirs." + "".join(f"{number:x}." for number in range(1700, 2500))
        kept = len(theirs) - len("TOKEN")

        def reply(request):
            text = answer.replace(b"TOKEN", theirs.encode())
            if b"Content-Length: " in text:
                head, _, rest = text.partition(b"Content-Length: ")
                number, _, rest = rest.partition(b"\r\n")
                size = int(number) + (kept if b"TOKEN" in answer else 0)
                text = head + b"Content-Length: %d\r\n" % size + rest
            return text

        with cli.Impostor(reply) as server:
            memory, result = memory_at_exit(
                cli.command("get", "--exchange-stdin", "--registration-id", "r", socket=server.path),
                input=mine.encode(),
            )
            assert mine.encode() in server.requests[0]
        assert (result.status, result.out) == (status, "")
        assert copies(memory, mine) == 0
        assert copies(memory, theirs) == 0

    def test_a_key(self, daemon, subject, tmp_path):
        key = "key." + "".join(f"{number:x}." for number in range(3000, 3400))
        (tmp_path / "key").write_text(key)
        for verb in (["get"], ["explain"]):
            memory, result = memory_at_exit(
                cli.command(*verb, "-u", subject, *C, "--key-file", str(tmp_path / "key"),
                            socket=daemon.unix)
            )
            assert result.status == 0 and copies(memory, key) == 0


class TestClosed:
    @needs_users
    def test_to_others_of_its_user(self, start_daemon, issuer, people, subject):
        """No core dumps, no debugger, whatever it has in its memory; but it can be seen whose it is,
        and so in which unit."""
        daemon = start_daemon(callers=[rule("a", user=people.a.name)])
        issuer.behave(hold=True)
        process = subprocess.Popen(
            cli.command("get", "-u", subject, *C, socket=daemon.unix),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **people.a.identity(),
        )
        issuer.wait_for("held", 1)
        assert os.stat(f"/proc/{process.pid}").st_uid == people.a.uid
        assert os.stat(f"/proc/{process.pid}/environ").st_uid == 0
        assert people.a.run("cat", f"/proc/{process.pid}/environ").returncode != 0
        issuer.release()
        out = process.communicate(timeout=TIMEOUT)[0]
        expect.claims(out.decode(), subject)


@needs_users
def test_a_subject_token_from_a_substitution(people, start_daemon):
    """/dev/fd/N of one's own can be read by who is not root."""
    with cli.Impostor(TestExchange.ANSWER) as server:
        identity = people.a.identity()
        script = f"{cli.EGAIN_TOKEN} get -S {server.path} --registration-id r --subject-token-file <(echo x.y.z)"
        run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, **identity)
        assert (run.stdout, run.returncode) == ("opaque~1", 0), run
        assert b"subject_token=x.y.z&" in server.requests[0]


class TestExchange:
    ANSWER = cli.http(200, '{"access_token":"opaque~1","token_type":"bearer","expires_in":60}')
