# SPDX-License-Identifier: MIT
"""What the daemon writes, and that writing never holds up a caller.

That it never writes a token or a secret is checked at the end of every daemon (see harness).
"""

import os
import re
import signal
import socket
import subprocess

import pytest

import expect
from harness import PIPE_BYTES, PORTAL, Daemon, Output, ask_bytes, totals
from wire import Fleet, eventually


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
        began = len(daemon.output.lines)
        with daemon.output.paused, daemon.connect() as connection:
            for number in range(refusals):
                request = ask_bytes(f"unread-{number}")
                expect.error(connection.send(request).receive(), 400, "invalid_grant")
        issuer.reset()
        expect.token(daemon.ask("pa"), "pa")
        # What was lost is told within a second, and exactly, if not in one line: where a line does
        # not fit any more, a shorter one may.
        daemon.output.wait_for(r"warning: \d{2,} log lines could not be written$")
        text = daemon.stop()
        lost = sum(map(int, re.findall(r": (\d+) log lines could not be written$", text, re.M)))
        assert totals(text)["refusals"] == refusals
        said = [line for line in text.splitlines()[began:] if ": subject_refused: " in line]
        assert len(said) + lost == refusals and len(said) > 0


class TestJson:
    def test_every_line_is_an_object(self, start_daemon, issuer):
        """Also at level debug, whatever the issuer answers; and the names are in order."""
        daemon = start_daemon(log_format="json")
        expect.miss(daemon.ask("a"), "a")
        issuer.behave(subject='username:"}{', error="invalid_grant")
        issuer.behave(subject="username:b", body="\x00\u0085\n", content_type="text/html")
        expect.error(daemon.ask('"}{'), 400, "invalid_grant")
        expect.error(daemon.ask("b"), 502, "server_error")
        daemon.stop()
        names = [event["event"] for event in daemon.events()]
        names = [name for name in names if not name.startswith("audit_")]
        assert names[:4] == ["listening"] * 3 + ["ready"]
        assert names[-2:] == ["stopping", "stopped"] and set(names[4:-2]) == {"fetch_failed"}
        failed = daemon.events("fetch_failed")[0]
        assert failed["level"] == "warning"
        assert failed["client"] == "portal"
        assert failed["url"] == issuer.url(PORTAL)
        assert failed["reason"] == "answer_unusable"
        assert failed["detail"] == "status 200"
        assert {event["listener"] for event in daemon.events("listening")} == {
            daemon.unix,
            f"127.0.0.1:{daemon.port}",
            f"[::1]:{daemon.port}",
        }


class TestEvents:
    """Each change of state is one line."""

    def test_a_breaker(self, start_daemon, issuer):
        daemon = start_daemon(clients=[PORTAL], log_format="json")
        issuer.behave(status=500, body="oops")
        for number in range(40):
            expect.unavailable(daemon.ask(f"s-{number}"))
            if daemon.events("breaker_opened"):
                break
        opened = daemon.wait_for_event("breaker_opened")[0]
        assert opened["level"] == "warning" and opened["reason"] == "issuer_error"
        assert opened["url"] == issuer.url(PORTAL) and opened["client"] == "portal"
        assert 0 < opened["for_ms"] <= 1000
        issuer.reset()
        eventually(lambda: daemon.ask("well").status == 200, "the issuer to be asked")
        daemon.wait_for_event("issuer_well")
        assert [
            event["event"]
            for event in daemon.events("breaker_opened", "issuer_probed", "issuer_well")
        ] == ["breaker_opened", "issuer_probed", "issuer_well"]

    def test_a_hold(self, start_daemon, issuer):
        daemon = start_daemon(clients=[PORTAL], log_format="json")
        issuer.behave(status=429, body="", headers={"Retry-After": "1"}, count=1)
        expect.retry_after(daemon.ask("a"))
        held = daemon.wait_for_event("issuer_holds")[0]
        assert held["reason"] == "issuer_throttles" and 0 < held["for_ms"] <= 1000
        eventually(lambda: daemon.ask("a").status == 200, "the issuer to be asked")
        daemon.wait_for_event("issuer_well")
        assert [
            event["event"]
            for event in daemon.events("issuer_holds", "issuer_probed", "issuer_well")
        ] == ["issuer_holds", "issuer_probed", "issuer_well"]

    def test_a_secret(self, start_daemon, issuer):
        """Refused, looked at again, spoilt, changed, accepted; never what is in it."""
        daemon = start_daemon(clients=[PORTAL], log_format="json")
        daemon.forbidden.add("another~secret")
        path = daemon.secret_file(PORTAL)
        issuer.accept(PORTAL, "another~secret")
        try:
            expect.error(daemon.ask("a"), 502, "server_error")
            held = daemon.wait_for_event("client_held")[0]
            assert held["level"] == "error" and held["client"] == "portal"
            assert held["reason"] == "credentials_refused" and held["for_ms"] >= 30000
            assert len(daemon.events("secret_refused")) == 1
            path.chmod(0o644)
            kept = daemon.wait_for_event("secret_kept")[0]
            assert kept["client"] == "portal" and str(path) in kept["message"]
            path.chmod(0o600)
            daemon.wait_for_event("secrets_well")
            path.write_text("another~secret\n")
            read = daemon.wait_for_event("secret_read")[0]
            assert read["client"] == "portal" and read["source"] == str(path)
            expect.miss(daemon.ask("a"), "a")
            assert daemon.wait_for_event("client_well")[0]["client"] == "portal"
            for name in ("client_held", "secret_read", "secrets_well", "client_well"):
                assert len(daemon.events(name)) == 1
        finally:
            issuer.accept(PORTAL, PORTAL.secret)

    @pytest.mark.parametrize(
        "date, event", [("2020-01-01", "secret_expired"), (None, "secret_expiring")]
    )
    def test_an_expiry(self, issuer, date, event):
        with Daemon(issuer, clients=[PORTAL], log_format="json") as daemon:
            daemon.stop()
            seconds = int(subprocess.check_output(["date", "+%s"])) + 10 * 86400
            day = subprocess.check_output(["date", "-u", f"-d@{seconds}", "+%F"], text=True)
            daemon.settings["clients"][0]["client_secret_expires"] = date or day.strip()
            daemon.start()
            found = daemon.wait_for_event(event)
            assert len(found) == 1 and found[0]["client"] == "portal"
            assert found[0]["source"] == "client secret"
            if not date:
                assert 0 < found[0]["for_ms"] <= 10 * 86400 * 1000

    def test_a_reload(self, start_daemon, issuer):
        daemon = start_daemon(clients=[PORTAL], log_format="json")
        good = daemon.path.read_text()
        daemon.terminate(signal.SIGHUP)
        reloaded = daemon.wait_for_event("reloaded")[0]
        assert reloaded["source"] == str(daemon.path)
        daemon.path.write_text(good + "log_level = 3;\n")
        daemon.terminate(signal.SIGHUP)
        failed = daemon.wait_for_event("reload_failed")[0]
        assert failed["level"] == "error" and failed["source"] == str(daemon.path)
        assert [event["event"] for event in daemon.events() if "reload" in event["event"]] == [
            "reloading",
            "reloaded",
            "reloading",
            "reload_failed",
        ]

    def test_no_descriptors(self, start_daemon):
        """While accepting fails ten times a second: one line; and one when it has gone on well."""
        daemon = start_daemon(clients=[PORTAL], log_format="json")
        pid = str(daemon.process.pid)
        limits = subprocess.check_output(
            ["prlimit", "--pid", pid, "--nofile", "--raw", "--noheadings", "--output=SOFT"],
            text=True,
        ).strip()
        used = len(os.listdir(f"/proc/{pid}/fd"))
        subprocess.check_call(["prlimit", "--pid", pid, f"--nofile={used}:"])
        with socket.socket(socket.AF_UNIX) as unserved:
            unserved.connect(daemon.unix)
            paused = daemon.wait_for_event("accept_paused")[0]
            assert paused["listener"] == daemon.unix and paused["level"] == "warning"
            subprocess.check_call(["prlimit", "--pid", pid, f"--nofile={limits}:"])
            daemon.wait_for_event("accept_resumed")
        assert len(daemon.events("accept_paused", "accept_resumed")) == 2
        expect.miss(daemon.ask("a"), "a")


class TestFolding:
    def test_failures(self, start_daemon, issuer):
        """Many failed fetches are ten lines, and one that tells of the others."""
        daemon = start_daemon(clients=[PORTAL], request_timeout="3s")
        issuer.behave(hold=True, status=500, body="oops", count=30)
        issuer.behave(status=500, body="oops")
        with Fleet(daemon.unix, 30) as fleet:
            fleet.send(lambda index: ask_bytes(f"s-{index}"))
            issuer.wait_for("held", 30)
            issuer.release()
            assert {response.status for response in fleet.collect()} <= {503, 504}
        text = daemon.stop()
        lines = [line for line in text.splitlines() if ": no token from " in line]
        told = [int(n) for n in re.findall(r"\(and (\d+) others? like it\)$", text, re.M)]
        assert told and max(told) >= 19 and len(lines) < 20
        assert len(lines) + sum(told) == totals(text)["failures"]


without_journal = pytest.mark.skipif(
    os.path.exists("/run/systemd/journal/socket"), reason="this host has a journal of its own"
)


@without_journal
def test_a_journal_that_is_missing(start_daemon, subject):
    """Said once, and no more than a wait at the end."""
    daemon = start_daemon(audit=None)
    expect.miss(daemon.ask(subject), subject)
    expect.hit(daemon.ask(subject), subject)
    text = daemon.stop()
    assert text.count("audit: there is no journal at ") == 1


@without_journal
class TestJournalStream:
    """Standard error is what systemd connects to the journal; only the journal is missing."""

    def lines(self, issuer, said):
        ours, theirs = socket.socketpair()
        status = os.fstat(theirs.fileno())
        stream = said or f"{status.st_dev}:{status.st_ino}"
        daemon = Daemon(issuer, clients=[PORTAL], env={"JOURNAL_STREAM": stream}, log_level="info")

        def spawn(command, env, cwd):
            daemon.process = subprocess.Popen(
                [str(word) for word in command], stderr=theirs, env=env, cwd=cwd
            )
            theirs.close()
            daemon.output = Output(ours.makefile("rb"))
            ours.close()

        daemon.spawn = spawn
        try:
            daemon.start()
            daemon.terminate()
            assert daemon.wait() == 0
            return daemon.output.text().splitlines()
        finally:
            daemon.close()

    def test_lines_have_priorities(self, issuer):
        lines = self.lines(issuer, None)
        assert any(line.startswith("<6>ready: ") for line in lines)
        assert all(line[0] == "<" and line[1] in "346" and line[2] == ">" for line in lines)

    @pytest.mark.parametrize("stream", ["1:2", "x"])
    def test_another_stream_is_not_the_journal(self, issuer, stream):
        lines = self.lines(issuer, stream)
        assert all(line.startswith("egain-tokend: ") for line in lines)
