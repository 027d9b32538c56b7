# SPDX-License-Identifier: MIT
"""SIGHUP: who may have what changes at once, and nothing else does."""

import contextlib
import hashlib
import json
import os
import signal

import pytest

import expect
from harness import PORTAL, Daemon, ask_bytes, rule
from people import Person, needs_users
from wire import Fleet, eventually, http_request

pytestmark = needs_users

LISTENERS = ("unix", "tcp4", "tcp6")
KEY = "key-of-the-rule-0123456789"


def rules_of(*persons, **more):
    return [rule(f"of-{person.name}", user=person.name, **more) for person in persons]


def refused(response):
    return expect.error(response, 403, "access_denied")


def try_reload(daemon, text=None, **settings):
    """Has a configuration read that is not taken over; what the log says of it."""
    since = len(daemon.output.lines)
    kept = dict(daemon.settings)
    daemon.settings |= settings
    daemon.write_configuration()
    daemon.settings = kept
    if text is not None:
        daemon.path.write_text(text)
    daemon.terminate(signal.SIGHUP)
    daemon.output.wait_for(r"the old one stays|nothing was taken over", since)
    return "\n".join(daemon.output.lines[since:])


@pytest.fixture(scope="class")
def shared(issuer_process, people):
    """A daemon whose configuration each test leaves as it was."""
    with Daemon(issuer_process, callers=rules_of(people.a)) as daemon:
        yield daemon


class TestRightsTakenAway:
    @pytest.mark.parametrize("listener", LISTENERS)
    def test_from_an_open_connection(self, shared, issuer, people, listener):
        daemon = shared
        daemon.reload(callers=rules_of(people.a, people.b))
        address = getattr(daemon, listener)
        with people.a.connect(address) as of_a, people.b.connect(address) as of_b:
            for connection in (of_a, of_b):
                expect.token(connection.send(ask_bytes("pa")).receive(), "pa")
            daemon.reload(callers=rules_of(people.b))
            refused(of_a.send(ask_bytes("pa")).receive())
            expect.hit(of_b.send(ask_bytes("pa")).receive(), "pa")
            daemon.reload(callers=rules_of(people.a, people.b, subjects=["username:q*"]))
            for connection in (of_a, of_b):
                refused(connection.send(ask_bytes("pa")).receive())
                expect.token(connection.send(ask_bytes("qa")).receive(), "qa")

    @pytest.mark.parametrize(
        "later",
        [
            {},
            {"clients": ["crm"]},
            {"subjects": ["username:qa"]},
            {"scopes": ["knowledge.*.manage"]},
        ],
        ids=str,
    )
    def test_from_who_waits(self, start_daemon, issuer, people, subject, later):
        """He is told before the issuer has answered; who waits with him is served."""
        daemon = start_daemon(callers=rules_of(people.a, people.b))
        issuer.behave(hold=True)
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(Fleet(people.a.at(daemon.unix), 5))
            other = stack.enter_context(people.b.connect(daemon.unix))
            first.send(ask_bytes(subject)).wait_until_read()
            other.send(ask_bytes(subject)).wait_until_read()
            daemon.settle()
            issuer.wait_for("held", 1)
            left = rules_of(people.b) + (rules_of(people.a, **later) if later else [])
            daemon.reload(callers=left)
            for response in first.collect():
                refused(response)
            assert issuer.stats()["held"] == 1
            issuer.release()
            expect.token(other.receive(), subject)
        assert issuer.asked_for(subject) == 1

    def test_from_all_who_wait(self, start_daemon, issuer, people, subject):
        """What is under way goes on; what has not begun is not begun."""
        daemon = start_daemon(callers=rules_of(people.a), upstream={"max_in_flight": 1})
        issuer.behave(hold=True)
        with Fleet(people.a.at(daemon.unix), 10) as fleet:
            fleet.send(lambda index: ask_bytes(f"{subject}-{index}")).wait_until_read()
            daemon.settle()
            issuer.wait_for("held", 1)
            daemon.reload(callers=rules_of(people.b))
            for response in fleet.collect():
                refused(response)
        issuer.reset()
        daemon.settle()
        expect.token(daemon.ask("pb", address=people.b.at(daemon.unix)), "pb")
        assert issuer.stats()["by_subject"] == {"username:pb": 1}

    def test_from_who_has_an_old_token_to_fall_back_on(
        self, start_daemon, issuer, people, subject
    ):
        """He would get it if the issuer took its time; not any more."""
        daemon = start_daemon(callers=rules_of(people.a, people.b))
        token = daemon.ask(subject, address=people.a.at(daemon.unix)).json()["access_token"]
        rejected = hashlib.sha256(token.encode()).hexdigest()
        issuer.behave(hold=True)
        with people.a.connect(daemon.unix) as of_a, people.b.connect(daemon.unix) as of_b:
            of_b.send(ask_bytes(subject, rejected_token_sha256=rejected)).wait_until_read()
            issuer.wait_for("held", 1)
            of_a.send(ask_bytes(subject)).wait_until_read()
            daemon.settle()
            daemon.reload(callers=rules_of(people.b))
            refused(of_a.receive())
            issuer.release()
            expect.token(of_b.receive(), subject)

    def test_by_another_key(self, start_daemon, issuer, people):
        """The file's content counts as it was when it was read."""
        daemon = start_daemon(callers=rules_of(people.a))
        here = people.a.at(daemon.unix)
        path = daemon.put_key("a", KEY)
        daemon.reload(callers=rules_of(people.a, key_file=path))
        expect.error(daemon.ask("pa", address=here), 401, "invalid_client")
        expect.token(daemon.ask("pa", address=here, client_secret=KEY), "pa")
        daemon.put_key("a", KEY + "-new")
        expect.token(daemon.ask("pa", address=here, client_secret=KEY), "pa")
        daemon.reload()
        expect.error(daemon.ask("pa", address=here, client_secret=KEY), 401, "invalid_client")
        expect.token(daemon.ask("pa", address=here, client_secret=KEY + "-new"), "pa")

    def test_administration(self, start_daemon, issuer, people):
        daemon = start_daemon(callers=[{"name": "a", "user": people.a.name, "admin": True}])
        with people.a.connect(daemon.unix) as connection:
            assert connection.request("GET", "/v1/tokens").status == 200
            daemon.reload(callers=[{"name": "a", "user": people.a.name, "monitor": True}])
            refused(connection.request("GET", "/v1/tokens"))


class TestRightsGiven:
    @pytest.mark.parametrize("listener", LISTENERS)
    def test_to_an_open_connection(self, shared, issuer, people, listener):
        with people.b.connect(getattr(shared, listener)) as connection:
            refused(connection.send(ask_bytes("pa")).receive())
            shared.reload(callers=rules_of(people.a, people.b))
            expect.token(connection.send(ask_bytes("pa")).receive(), "pa")
            shared.reload(callers=rules_of(people.a))

    def test_from_no_rules_and_back(self, start_daemon, issuer, people):
        daemon = start_daemon()
        for _ in range(3):
            expect.token(daemon.ask("pa"), "pa")
            refused(daemon.ask("pa", address=people.a.at(daemon.unix)))
            daemon.reload(callers=rules_of(people.a))
            refused(daemon.ask("pa"))
            expect.token(daemon.ask("pa", address=people.a.at(daemon.unix)), "pa")
            daemon.reload(callers=None)

    def test_tokens_stay(self, start_daemon, issuer, people):
        daemon = start_daemon(callers=rules_of(people.a))
        expect.miss(daemon.ask("pa", address=people.a.at(daemon.unix)), "pa")
        daemon.reload(callers=rules_of(people.b))
        expect.hit(daemon.ask("pa", address=people.b.at(daemon.unix)), "pa")
        assert issuer.requests() == 1

    def test_a_rule_that_names_a_unit(self, start_daemon, issuer, people):
        """Nobody was asked for his unit when he connected; he is now, and here has none."""
        daemon = start_daemon(callers=rules_of(people.a))
        with contextlib.ExitStack() as stack:
            connections = [
                stack.enter_context(people.a.connect(getattr(daemon, listener)))
                for listener in LISTENERS
            ]
            for connection in connections:
                expect.token(connection.send(ask_bytes("pa")).receive(), "pa")
            in_unit = rule("in-unit", user=people.a.name, unit="crm@*.service")
            daemon.reload(callers=[in_unit])
            for connection in connections:
                for _ in range(2):
                    refused(connection.send(ask_bytes("pa")).receive())
            daemon.reload(callers=[in_unit, *rules_of(people.a)])
            for connection in connections:
                expect.hit(connection.send(ask_bytes("pa")).receive(), "pa")

    def test_a_unit_of_a_process_that_has_ended(self, start_daemon, issuer, people):
        """Whoever connected is gone by then, and somebody else has the connection."""
        daemon = start_daemon(callers=rules_of(people.a))
        person = Person(people.a.user)
        connection = person.connect(daemon.unix)
        person.close()
        with connection:
            expect.token(connection.send(ask_bytes("pa")).receive(), "pa")
            in_unit = rule("in-unit", user=people.a.name, unit="crm.service")
            daemon.reload(callers=[in_unit])
            refused(connection.send(ask_bytes("pa")).receive())


class TestQuota:
    def test_survives(self, start_daemon, issuer, people):
        """What a rule has used up stays so, unless it says something else of fetches."""
        daemon = start_daemon(callers=rules_of(people.a, fetches="3/1d"))
        here = people.a.at(daemon.unix)
        for number in range(3):
            expect.token(daemon.ask(f"pa-{number}", address=here), f"pa-{number}")
        for callers in (
            rules_of(people.a, fetches="3/1d"),
            rules_of(people.b, people.a, fetches="3/1d"),
            rules_of(people.a, fetches="3/1d", subjects=["username:*", "email:*"]),
        ):
            daemon.reload(callers=callers)
            expect.error(daemon.ask("more", address=here), 429, "temporarily_unavailable")
        daemon.reload(callers=rules_of(people.a, fetches="4/1d"))
        expect.token(daemon.ask("more", address=here), "more")
        assert issuer.requests() == 4


class TestNotTakenOver:
    @pytest.fixture
    def daemon(self, shared, issuer):
        return shared

    @pytest.fixture
    def unchanged(self, daemon, issuer, people):
        """Everything is as it was, after each of the tests."""
        expect.token(daemon.ask("pa", address=people.a.at(daemon.unix)), "pa")
        yield
        expect.hit(daemon.ask("pa", address=people.a.at(daemon.unix)), "pa")
        refused(daemon.ask("pa", address=people.b.at(daemon.unix)))
        daemon.reload(callers=rules_of(people.b))
        refused(daemon.ask("pa", address=people.a.at(daemon.unix)))
        daemon.reload(callers=rules_of(people.a))

    @pytest.mark.parametrize(
        "text", ["", "callers = (", "nonsense = 1;\n", "callers = ( { } );\n", "\0\0"], ids=repr
    )
    def test_a_bad_file(self, daemon, unchanged, text):
        said = try_reload(daemon, text)
        assert f"egain-tokend: error: {daemon.path}:" in said
        if "= 1" in text or "{ }" in text:
            assert f"egain-tokend: error: {daemon.path}:1: " in said
        assert "the old one stays" in said

    def test_a_rule_with_a_mistake(self, daemon, unchanged, people):
        callers = [*rules_of(people.b), rule("bad", user="no-such-user-4711")]
        said = try_reload(daemon, callers=callers)
        lines = daemon.configuration().splitlines()
        at = next(at for at, line in enumerate(lines, 1) if line.startswith("callers"))
        assert f"egain-tokend: error: {daemon.path}:{at}: there is no user" in said

    def test_no_file(self, daemon, unchanged):
        since = len(daemon.output.lines)
        daemon.path.rename(daemon.path.with_suffix(".gone"))
        daemon.terminate(signal.SIGHUP)
        daemon.output.wait_for("error: .*No such file", since)
        daemon.output.wait_for("the old one stays", since)

    def test_a_key_that_others_can_read(self, daemon, unchanged, people):
        path = daemon.put_key("a", KEY)
        path.chmod(0o644)
        said = try_reload(daemon, callers=rules_of(people.b, key_file=path))
        assert "chmod" in said

    def test_other_listeners(self, daemon, unchanged, people):
        listen = [{"unix": daemon.unix, "mode": "0600"}]
        said = try_reload(daemon, listen=listen, callers=rules_of(people.b))
        assert "'listen' has changed, which needs a restart; nothing was taken over" in said


class TestWhatIsTakenOver:
    @pytest.mark.parametrize(
        "settings, words",
        [
            ({"limits": {"max_connections": 17}}, "limits"),
            ({"limits": {"max_flights": 17}}, "limits"),
            ({"limits": {"header_timeout": "7s"}}, "time-outs"),
            ({"request_timeout": "7s"}, "time-outs"),
            ({"cache": {"max_entries": 17}}, "limits"),
            ({"log_level": "info"}, "log"),
            ({"upstream": {"connect_timeout": "3s"}}, "upstream"),
            ({"upstream": {"proxy": "http://127.0.0.1:1"}}, "upstream"),
        ],
        ids=str,
    )
    def test_what_has_changed_is_named(self, shared, issuer, people, settings, words):
        before = {name: shared.settings.get(name) for name in settings}
        since = len(shared.output.lines)
        shared.reload(**settings, callers=rules_of(people.b))
        expect.token(shared.ask("pa", address=people.b.at(shared.unix)), "pa")
        changed = shared.output.wait_for("again; changed: (.*)", since)[1]
        assert "callers" in changed and words in changed
        assert not any(": warning: " in line for line in shared.output.lines[since:])
        shared.reload(**before, callers=rules_of(people.a))

    @pytest.mark.parametrize("settings", [{"to": "stderr"}, {"fold": "2m"}], ids=str)
    def test_what_needs_a_restart_is_named(self, shared, issuer, people, settings):
        before = shared.settings.get("audit")
        since = len(shared.output.lines)
        shared.reload(audit=settings, callers=rules_of(people.b))
        expect.token(shared.ask("pa", address=people.b.at(shared.unix)), "pa")
        shared.output.wait_for("warning: .*'audit' has changed, which takes effect at a", since)
        shared.reload(audit=before, callers=rules_of(people.a))

    def test_a_warning_of_the_file(self, start_daemon, issuer, people):
        """A rule that nobody is selected by is told of, and taken over."""
        daemon = start_daemon(callers=rules_of(people.a))
        since = len(daemon.output.lines)
        shadowed = rule("shadowed", user=people.a.name, group=people.team.gr_name)
        daemon.reload(callers=[*rules_of(people.a), shadowed])
        said = "\n".join(daemon.output.lines[since:])
        assert f"egain-tokend: warning: {daemon.path}:" in said


class TestOften:
    def test_many_in_a_row_under_load(self, start_daemon, issuer, people):
        """Several at once become one more; no request of those with rights fails meanwhile."""
        daemon = start_daemon(callers=rules_of(people.a, people.b, fetches="1000000/1s"))
        issuer.behave(hold=True, subject="username:held")
        with contextlib.ExitStack() as stack:
            waiting = stack.enter_context(Fleet(people.a.at(daemon.unix), 20))
            waiting.send(ask_bytes("held")).wait_until_read()
            busy = stack.enter_context(people.b.connect(daemon.unix))
            for number in range(60):
                wide = rules_of(people.a, people.b, fetches="1000000/1s")
                daemon.settings["callers"] = wide if number % 2 else wide[::-1]
                daemon.write_configuration()
                for _ in range(5):
                    daemon.terminate(signal.SIGHUP)
                for subject in (f"pa-{number}", "pb"):
                    expect.token(busy.send(ask_bytes(subject)).receive(), subject)
            daemon.reload()
            issuer.release()
            for response in waiting.collect():
                expect.token(response, "held")
        assert issuer.asked_for("held") == 1

    def test_purges_that_outlast_a_configuration(self, start_daemon, issuer):
        """What they name in the end, in the record, is what they were asked for."""
        # Each looks at as many places as there may be entries, a few at a turn.
        daemon = start_daemon(cache={"max_entries": 4000000})
        purges = 8
        for _ in range(purges):
            since = len(daemon.output.lines)
            with daemon.connect() as connection:
                connection.send(http_request("DELETE", "/v1/tokens?client_id=portal"))
                daemon.terminate(signal.SIGHUP)
                assert connection.receive().json() == {"purged": 0}
            daemon.output.wait_for("again; changed: ", since)

        def recorded():
            with open(daemon.directory / "audit") as lines:
                records = [json.loads(line) for line in lines]
            return [entry for entry in records if entry["action"] == "purge"]

        eventually(lambda: len(recorded()) == purges, "all purges to be recorded")
        assert {entry["client"] for entry in recorded()} == {"portal"}

    def test_while_rights_come_and_go(self, start_daemon, issuer, people):
        """Each answer is right for one of the two sets of rules, and never half of each."""
        daemon = start_daemon(callers=rules_of(people.a))
        with people.a.connect(daemon.unix) as of_a, people.b.connect(daemon.unix) as of_b:
            for number in range(40):
                person = (people.a, people.b)[number % 2]
                daemon.reload(callers=rules_of(person))
                answers = [c.send(ask_bytes("pa")).receive().status for c in (of_a, of_b)]
                assert answers == ([200, 403], [403, 200])[number % 2]

    def test_the_daemons_descriptors(self, start_daemon, issuer, people):
        """None is left behind by a reload."""
        daemon = start_daemon(callers=rules_of(people.a))

        def descriptors():
            return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))

        daemon.reload()
        before = descriptors()
        for _ in range(20):
            daemon.reload()
            try_reload(daemon, "nonsense")
        eventually(lambda: descriptors() <= before, "descriptors to be closed")


def test_as_the_daemons_user(issuer, people):
    """Who has given up root reads the file again all the same."""
    with Daemon(issuer, clients=[PORTAL], user=people.d.user) as daemon:
        expect.token(daemon.ask("pa", address=people.d.at(daemon.unix)), "pa")
        daemon.reload(callers=rules_of(people.a))
        refused(daemon.ask("pa", address=people.d.at(daemon.unix)))
        expect.token(daemon.ask("pa", address=people.a.at(daemon.tcp6)), "pa")
