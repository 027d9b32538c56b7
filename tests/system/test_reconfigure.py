# SPDX-License-Identifier: MIT
"""Another configuration while the daemon runs: by SIGHUP, by POST /v1/reload, by --reload."""

import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest

import expect
from harness import (
    MANAGE,
    PORTAL,
    READ,
    SANITIZER,
    TOKEND,
    Issuer,
    become,
    environment,
    free_port,
    libconfig,
    question,
)
from people import needs_users
from scrape import growth, scrape
from wire import form_request

EX_OK, EX_UNAVAILABLE, EX_CONFIG = 0, 69, 78


def write(daemon, **settings):
    """Puts another configuration in the place of the daemon's."""
    daemon.settings |= settings
    lines = [f"{name} = {libconfig(value)};" for name, value in daemon.settings.items()]
    successor = daemon.path.with_suffix(".new")
    successor.touch(0o600)
    successor.write_text("\n".join(lines) + "\n")
    successor.rename(daemon.path)


def begin(daemon, user=None, path=None):
    return subprocess.Popen(
        [*(become(user) if user else ()), TOKEND, "--config", path or daemon.path, "--reload"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )


def ended(process):
    said, _ = process.communicate(timeout=60)
    assert not SANITIZER.search(said), said
    return process.returncode, said


def run(daemon, **options):
    """Runs --reload. Its exit status, and what it has written."""
    return ended(begin(daemon, **options))


def hang_up(daemon, pattern):
    """Reloads by signal, and waits for what the log says of it."""
    since = len(daemon.output.lines)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.output.wait_for(pattern, since)


def taken_over(daemon, way):
    if way == "signal":
        hang_up(daemon, r"again; changed: ")
    else:
        assert run(daemon) == (EX_OK, "")


def refused(daemon, way):
    """What is said of a configuration that is not taken over."""
    if way == "signal":
        since = len(daemon.output.lines)
        hang_up(daemon, r"the old one stays|nothing was taken over")
        return "\n".join(daemon.output.lines[since:])
    status, said = run(daemon)
    assert status == EX_CONFIG
    return said


def client(daemon, index=0):
    return daemon.settings["clients"][index]


BOTH = pytest.mark.parametrize("way", ["signal", "option"])


@BOTH
class TestOutcome:
    def test_of_a_good_one(self, start_daemon, way):
        daemon = start_daemon()
        expect.miss(daemon.ask("a"), "a")
        write(daemon, request_timeout="7s")
        taken_over(daemon, way)
        daemon.output.wait_for("again; changed: limits and time-outs")
        expect.hit(daemon.ask("a"), "a")

    def test_of_one_that_says_the_same(self, start_daemon, way):
        daemon = start_daemon()
        taken_over(daemon, way)
        daemon.output.wait_for("again; changed: nothing")

    def test_of_a_mistake(self, start_daemon, way):
        daemon = start_daemon()
        expect.miss(daemon.ask("a"), "a")
        write(daemon, request_timeout="soon")
        line = 1 + daemon.path.read_text().splitlines().index('request_timeout = "soon";')
        assert f"{daemon.path}:{line}: " in refused(daemon, way)
        expect.hit(daemon.ask("a"), "a")
        write(daemon, request_timeout="7s")
        taken_over(daemon, way)

    def test_of_a_secret_that_cannot_be_read(self, start_daemon, way):
        daemon = start_daemon()
        client(daemon)["client_secret_file"] = daemon.directory / "nowhere"
        write(daemon)
        assert "nowhere" in refused(daemon, way)
        expect.miss(daemon.ask("a"), "a")

    def test_of_other_listeners(self, start_daemon, way):
        daemon = start_daemon()
        listen = daemon.settings["listen"]
        write(daemon, listen=[*listen, {"unix": str(daemon.directory / "t")}])
        assert "restart" in refused(daemon, way)
        expect.miss(daemon.ask("a"), "a")
        write(daemon, listen=listen)
        taken_over(daemon, way)


class TestOption:
    def test_says_that_there_is_no_daemon(self, start_daemon):
        daemon = start_daemon()
        daemon.stop()
        status, said = run(daemon)
        assert status == EX_UNAVAILABLE
        assert daemon.unix in said

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
    def test_is_refused_to_others(self, start_daemon, tmp_path):
        import pwd

        nobody = pwd.getpwnam("nobody")
        daemon = start_daemon()
        daemon.directory.chmod(0o755)
        own = daemon.directory / "own"
        own.mkdir()
        path = own / "conf"
        secret = own / "secret"
        secret.touch(0o600)
        secret.write_text("of-nobody\n")
        first = client(daemon) | {"client_secret_file": secret}
        lines = {"listen": daemon.settings["listen"], "clients": [first]}
        path.touch(0o600)
        path.write_text("\n".join(f"{name} = {libconfig(value)};" for name, value in lines.items()))
        for entry in (own, path, secret):
            os.chown(entry, nobody.pw_uid, nobody.pw_gid)
        status, said = run(daemon, user=nobody, path=path)
        assert status == EX_CONFIG
        assert said.strip(), "it says why"
        assert "again; changed" not in "\n".join(daemon.output.lines)

    def test_shows_warnings(self, start_daemon):
        daemon = start_daemon()
        write(daemon, callers=[{"name": "idle", "user": "root"}])
        status, said = run(daemon)
        assert status == EX_OK
        assert said.count("this rule gives nothing") == 1, said


class TestInterface:
    def test_is_not_for_tcp(self, start_daemon):
        daemon = start_daemon()
        for address in (daemon.tcp4, daemon.tcp6):
            assert daemon.request("POST", "/v1/reload", address=address).status == 403
        assert "again; changed" not in "\n".join(daemon.output.lines)

    def test_takes_post_alone(self, daemon):
        response = daemon.request("GET", "/v1/reload")
        assert response.status == 405
        assert response.header("Allow") == "POST"

    def test_says_which_configuration_holds(self, start_daemon):
        daemon = start_daemon()
        for generation in (2, 3):
            response = daemon.request("POST", "/v1/reload", body=b"")
            assert response.status == 200
            assert response.json() == {"reloaded": True, "generation": generation, "messages": []}
        write(daemon, nonsense=1)
        response = daemon.request("POST", "/v1/reload", body=b"")
        assert response.status == 409
        answer = response.json()
        assert (answer["reloaded"], answer["generation"]) == (False, 3)
        assert "nonsense" in answer["messages"][0]


class TestRecord:
    """Who had the configuration read again, and what came of it, is in the audit record."""

    def records(self, path):
        found = [json.loads(line) for line in path.read_text().splitlines()]
        return [record for record in found if record["action"] == "reload"]

    def test_of_each_outcome(self, start_daemon, tmp_path):
        path = tmp_path / "audit"
        daemon = start_daemon(audit={"to": path})
        assert run(daemon) == (EX_OK, "")
        write(daemon, nonsense=1)
        assert daemon.request("POST", "/v1/reload", body=b"").status == 409
        assert daemon.request("POST", "/v1/reload", address=daemon.tcp4).status == 403
        headers = [("Origin", "http://localhost")]
        assert daemon.request("POST", "/v1/reload", headers, body=b"").status == 403
        daemon.stop()
        records = self.records(path)
        assert [(record["outcome"], record["reason"]) for record in records] == [
            ("granted", None),
            ("refused", "config_not_taken_over"),
            ("refused", "admin_not_permitted"),
            ("refused", "from_browser"),
        ]
        for record in records:
            assert (record["uid"], record["count"]) == (os.geteuid(), 1)
            assert record["subject"] is None and record["client"] is None
        assert all(record["pid"] for record in records if record["reason"] != "admin_not_permitted")

    @needs_users
    def test_of_who_loses_the_right_by_it(self, start_daemon, people, tmp_path):
        """The rule is the one that let him in."""
        path = tmp_path / "audit"
        admin = {"name": "ops", "user": people.a.name, "admin": True}
        daemon = start_daemon(audit={"to": path}, callers=[admin])
        write(daemon, callers=[admin | {"name": "was-ops", "admin": False, "monitor": True}])
        here = people.a.at(daemon.unix)
        assert daemon.request("POST", "/v1/reload", body=b"", address=here).status == 200
        assert daemon.request("POST", "/v1/reload", body=b"", address=here).status == 403
        daemon.stop()
        records = self.records(path)
        assert [(record["outcome"], record["rule"]) for record in records] == [
            ("granted", "ops"),
            ("refused", "was-ops"),
        ]
        assert {record["uid"] for record in records} == {people.a.uid}

    def test_metrics_tell_failures(self, start_daemon):
        daemon = start_daemon()
        write(daemon, nonsense=1)
        before = scrape(daemon)
        assert daemon.request("POST", "/v1/reload", body=b"").status == 409
        labels = {"outcome": "refused", "reason": "config_not_taken_over"}
        after = scrape(daemon)
        assert growth(before, after, "egain_tokend_other_requests_total", **labels) == 1


class TestTogether:
    def test_ten_at_once_are_all_answered(self, start_daemon):
        daemon = start_daemon()
        processes = [begin(daemon) for _ in range(10)]
        assert [ended(process) for process in processes] == [(EX_OK, "")] * 10

    def test_signals_in_a_loop_cost_no_request(self, start_daemon, issuer):
        """And little memory, once the first readings have been made."""
        # Freed memory that the sanitizers keep, 256 MiB if they may, is to be full by the middle.
        options = environment()["ASAN_OPTIONS"] + ":quarantine_size_mb=16"
        daemon = start_daemon(env={"ASAN_OPTIONS": options})
        done = threading.Event()
        failures, answered = [], [0]

        def load(number):
            while not done.is_set():
                response = daemon.ask(f"user-{number}-{answered[0] % 20}")
                answered[0] += 1
                if response.status != 200:
                    failures.append(response)

        def resident():
            with open(f"/proc/{daemon.process.pid}/statm") as statm:
                return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        threads = [threading.Thread(target=load, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        try:
            sizes = []
            for i in range(600):
                if i % 50 == 0:
                    client(daemon)["default_scope"] = (READ, MANAGE)[i // 50 % 2]
                    write(daemon)
                    sizes.append(resident())
                daemon.process.send_signal(signal.SIGHUP)
                time.sleep(0.01)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert not failures and answered[0] > 100
        changes = len(re.findall("again; changed: ", "\n".join(daemon.output.lines)))
        assert 3 <= changes <= 150, changes  # of 600 signals
        assert sizes[-1] < sizes[len(sizes) // 2] + (32 << 20), sizes

    def test_a_stop_answers_who_waits_for_a_reload(self, start_daemon):
        daemon = start_daemon()
        assert run(daemon) == (EX_OK, "")
        process = begin(daemon)  # the next reading may not have begun yet
        time.sleep(0.3)
        daemon.stop()
        status, said = ended(process)
        assert status in (EX_OK, EX_CONFIG, EX_UNAVAILABLE)
        assert status == EX_OK or said.strip()


class TestWithCredentials:
    """Where there is a socket for systemd beside that of callers."""

    ENTRY = {"id": "t", "unit": "a.service", "client": "portal", "subject": "username:pa", "scope": READ}
    OTHER = ENTRY | {"id": "other"}

    @pytest.fixture
    def listen(self, tmp_path):
        return [{"credentials": f"{tmp_path}/c", "mode": "0600"}, {"unix": f"{tmp_path}/s"}]

    @pytest.mark.parametrize(
        "change",
        [
            {"id": "another"},
            {"unit": "b.service"},
            {"client": "crm"},
            {"subject": "username:pb"},
            {"subject": "email:pa"},
            {"scope": MANAGE},
        ],
        ids=str,
    )
    def test_a_change_of_theirs_is_named(self, start_daemon, listen, change):
        daemon = start_daemon(listen=listen, credentials=[self.ENTRY, self.OTHER])
        for entries in ([self.ENTRY | change, self.OTHER], [self.ENTRY | change]):
            write(daemon, credentials=entries)
            hang_up(daemon, "again; changed: ")
            assert daemon.output.lines[-1].endswith("again; changed: credentials")

    def test_the_option_asks_on_that_of_callers(self, start_daemon, listen):
        daemon = start_daemon(listen=listen, credentials=[self.ENTRY])
        assert run(daemon) == (EX_OK, "")

    def test_the_option_needs_one(self, start_daemon, listen):
        listen[1] = {"tcp": f"127.0.0.1:{free_port()}"}
        daemon = start_daemon(listen=listen, credentials=[self.ENTRY])
        status, said = run(daemon)
        assert status == EX_UNAVAILABLE and "needs a Unix socket in 'listen'" in said, said


class TestChanges:
    def test_of_the_log_level(self, start_daemon):
        daemon = start_daemon(log_level="info")
        write(daemon, log_level="error")
        assert run(daemon) == (EX_OK, "")
        daemon.settle()
        since = len(daemon.output.lines)
        assert run(daemon) == (EX_OK, "")
        assert daemon.output.lines[since:] == []
        write(daemon, log_level="info")
        hang_up(daemon, "again; changed: log$")

    def test_a_client_that_is_added_is_served(self, start_daemon):
        daemon = start_daemon()
        clients = daemon.settings["clients"]
        write(daemon, clients=clients[:1])
        taken_over(daemon, "option")
        name = clients[1]["name"]
        expect.error(daemon.ask("a", client_id=name), 401, "invalid_client")
        write(daemon, clients=clients)
        taken_over(daemon, "option")
        assert daemon.ask("a", client_id=name).status == 200

    def test_a_client_of_another_url_gives_no_token_of_the_old_one(self, start_daemon, issuer):
        daemon = start_daemon()
        old = expect.miss(daemon.ask("a"), "a")
        with Issuer() as other:
            client(daemon)["user_token_url"] = other.url(PORTAL, "user")
            write(daemon)
            taken_over(daemon, "option")
            response = daemon.ask("a")
            assert response.status == 200
            assert response.json()["access_token"] != old
            assert other.requests() == 1 and issuer.requests() == 1
            expect.hit(daemon.ask("a"), "a")

    def test_who_asks_the_same_on_a_kept_connection_is_judged_again(self, start_daemon, issuer):
        daemon = start_daemon()
        client(daemon)["default_scope"] = READ
        write(daemon)
        taken_over(daemon, "option")
        with daemon.connect() as connection:

            def ask():
                connection.send(form_request(question("a", scope=None)))
                return connection.receive()

            expect.miss(ask(), "a", scope=READ)
            for _ in range(3):
                expect.hit(ask(), "a", scope=READ)
            # Another scope is meant by the same words,
            client(daemon)["default_scope"] = MANAGE
            write(daemon)
            taken_over(daemon, "option")
            expect.miss(ask(), "a", scope=MANAGE)
            for _ in range(3):
                expect.hit(ask(), "a", scope=MANAGE)
            # the right is gone,
            write(daemon, callers=[{"name": "others", "user": "daemon", "monitor": True}])
            taken_over(daemon, "option")
            for _ in range(3):
                expect.error(ask(), 403, "access_denied")
            # and there again.
            del daemon.settings["callers"]
            write(daemon)
            taken_over(daemon, "option")
            expect.hit(ask(), "a", scope=MANAGE)
        assert issuer.requests() == 2

    def test_who_waits_for_a_client_that_goes_is_told_at_once(self, start_daemon, issuer):
        daemon = start_daemon()
        issuer.behave(hold=True)
        with daemon.connect() as connection:
            connection.send(form_request(question("a")))
            issuer.wait_for("held", 1)
            write(daemon, clients=daemon.settings["clients"][1:])
            taken_over(daemon, "signal")
            expect.error(connection.receive(), 401, "invalid_client")
        issuer.release()

    def test_another_secret_file(self, start_daemon, issuer):
        daemon = start_daemon()
        path = daemon.directory / "elsewhere"
        daemon.put_secret(PORTAL, "a-new-secret-of-the-portal", path)
        issuer.accept(PORTAL, "a-new-secret-of-the-portal")
        client(daemon)["client_secret_file"] = path
        write(daemon)
        taken_over(daemon, "option")
        expect.miss(daemon.ask("a"), "a")
        assert issuer.requests() == 1
        # It is watched where it is now.
        since = len(daemon.output.lines)
        daemon.put_secret(PORTAL, "yet-another-secret", path)
        daemon.output.wait_for("client secret has changed", since)
        issuer.accept(PORTAL, "yet-another-secret")
        expect.miss(daemon.ask("b"), "b")

    def test_fewer_connections_and_more(self, start_daemon):
        daemon = start_daemon()
        open_ones = [daemon.connect() for _ in range(20)]
        try:
            for connection in open_ones:
                assert connection.request("GET", "/healthz").status == 200
            write(daemon, limits={"max_connections": 16})
            hang_up(daemon, "again; changed: limits")
            for connection in open_ones:
                assert connection.request("GET", "/healthz").status == 200
            with daemon.connect() as connection:
                assert connection.receive().status == 503
            write(daemon, limits={"max_connections": 100})
            hang_up(daemon, "again; changed: limits")
            assert daemon.request("GET", "/healthz").status == 200
        finally:
            for connection in open_ones:
                connection.close()
