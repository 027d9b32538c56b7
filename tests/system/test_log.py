# SPDX-License-Identifier: MIT
"""What the daemon writes, and that writing never holds up a caller.

That it never writes a token or a secret is checked at the end of every daemon (see harness).
"""

import signal

import pytest

import expect
from harness import PIPE_BYTES, Daemon, ask_bytes, totals
from wire import eventually


def answers(daemon):
    """Whether it serves already: below the level info it does not say that it is ready."""
    try:
        return daemon.request("GET", "/readyz").status == 200
    except (ConnectionRefusedError, FileNotFoundError):
        return False


class TestReasons:
    """Whatever a caller sees as 502 is in the log with its reason."""

    @pytest.mark.parametrize(
        "behaviour, line",
        [
            ({"body": "<html>", "content_type": "text/html"}, "answer_unusable: status 200"),
            ({"error": "unauthorized_client"}, "client_unauthorized: status 400"),
            ({"status": 302, "headers": {"Location": "/"}, "body": ""}, "answer_redirect: status 302"),
        ],
    )
    def test_of_a_502(self, start_daemon, issuer, behaviour, line):
        daemon = start_daemon()
        issuer.behave(**behaviour)
        expect.error(daemon.ask("a"), 502, "server_error")
        daemon.output.wait_for(f"warning: client 'portal': no token from .*: {line}")


class TestSignals:
    def test_sighup_reads_the_configuration_again_and_serves_on(self, start_daemon):
        daemon = start_daemon()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.output.wait_for("again; changed: nothing")
        expect.miss(daemon.ask("a"), "a")


class TestFile:
    def test_others_may_write_to_the_file_from_where_the_daemon_is(self, issuer, tmp_path):
        """As a shell does, with one offset for all: nobody's lines are lost."""
        script = (
            f"exec >{tmp_path}/log 2>&1; echo before; \"$@\" & pid=$!; "
            "trap 'kill $pid' TERM; wait $pid; wait $pid; echo after"
        )
        daemon = Daemon(issuer, prefix=("sh", "-c", script, "sh"))
        try:
            daemon.spawn_daemon()
            eventually(lambda: answers(daemon), "the daemon to serve")
            daemon.terminate()
            assert daemon.wait() == 0
        finally:
            daemon.close()
        lines = (tmp_path / "log").read_text().splitlines()
        assert lines[0] == "before" and lines[-1] == "after"
        assert any("ready" in line for line in lines) and "stopped: " in lines[-2]


class TestLevels:
    @pytest.mark.parametrize(
        "level, expected",
        [
            ("error", set()),
            ("warning", {"warning"}),
            ("info", {"warning", "info"}),
            ("debug", {"warning", "info", "debug"}),
        ],
    )
    def test_only_what_is_asked_for(self, issuer, level, expected):
        daemon = Daemon(issuer, log_level=level)
        try:
            daemon.spawn_daemon()
            eventually(lambda: answers(daemon), "the daemon to serve")
            issuer.behave(subject="username:a", error="invalid_grant")
            issuer.behave(subject="username:b", status=500, body="oops")
            expect.error(daemon.ask("a"), 400, "invalid_grant")
            expect.unavailable(daemon.ask("b"))
            daemon.terminate()
            assert daemon.wait() == 0
            text = daemon.output.text()
            daemon.check_secrets(text)
            assert {line.split(": ")[1] for line in text.splitlines()} == expected
        finally:
            daemon.close()


class TestNothingBlocks:
    def test_a_log_that_nobody_reads(self, start_daemon, issuer):
        """Lines are lost, and counted; callers are served."""
        daemon = start_daemon(log_level="debug")
        issuer.behave(error="invalid_grant")
        refusals = 2 * PIPE_BYTES // 50
        with daemon.output.paused, daemon.connect() as connection:
            for number in range(refusals):
                request = ask_bytes(f"unread-{number}")
                expect.error(connection.send(request).receive(), 400, "invalid_grant")
        issuer.reset()
        expect.token(daemon.ask("pa"), "pa")
        text = daemon.stop()
        assert totals(text)["refusals"] == refusals
