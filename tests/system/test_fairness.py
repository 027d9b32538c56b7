# SPDX-License-Identifier: MIT
"""No caller takes what others need: the issuer's patience, the queue, connections, waits."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import pytest

import expect
from harness import ask_bytes, rule, totals
from people import needs_users
from wire import Fleet, drive, eventually

pytestmark = needs_users

# None comes back while a test runs.
FETCHES = 500
SPENT = f"{FETCHES}/1d"


def rules(people, **more):
    """One for each of three; a's is the one with `more`."""
    return [
        rule("a", user=people.a.name, **more),
        rule("b", user=people.b.name),
        rule("c", user=people.c.name),
    ]


class Walk(threading.Thread):
    """Somebody who asks for one subject after the other, on several connections."""

    def __init__(self, place, subjects, connections):
        super().__init__(daemon=True)
        self.place = place
        self.subjects = subjects
        self.connections = connections
        self.answers = {}
        self.error = None

    def run(self):
        requests = ((subject, ask_bytes(subject)) for subject in self.subjects)
        try:
            drive(self.place, self.connections, requests, self.answers.__setitem__, 120)
        except BaseException as error:  # for the thread that joins it
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.join(120)
        if kind is None:
            assert self.error is None, self.error
            assert len(self.answers) == len(self.subjects)

    def statuses(self):
        return [response.status for response in self.answers.values()]


class TestFetches:
    def test_who_walks_10000_subjects(self, start_daemon, issuer, people):
        """He is stopped at his fetches; another's requests meanwhile all succeed."""
        daemon = start_daemon(callers=rules(people, fetches=SPENT))
        walked = [f"walked-{number}" for number in range(10_000)]
        wanted = [f"wanted-{number}" for number in range(300)]
        with Walk(people.a.at(daemon.unix), walked, 16) as walker:
            with Walk(people.b.at(daemon.unix), wanted, 2) as other:
                pass
        assert other.statuses() == [200] * len(wanted)
        for subject, response in other.answers.items():
            expect.token(response, subject)
        statuses = walker.statuses()
        assert statuses.count(200) == FETCHES
        assert statuses.count(429) == len(walked) - FETCHES
        stats = issuer.stats()["by_subject"]
        assert sum(stats.get(f"username:{subject}", 0) for subject in walked) == FETCHES
        for subject, response in walker.answers.items():
            if response.status == 200:
                expect.token(response, subject)
                continue
            description = expect.error(response, 429, "temporarily_unavailable")
            assert f"The rule a has used up its fetches, {FETCHES} in 86400 s" in description

    def test_hits_are_served_beyond(self, start_daemon, issuer, people):
        daemon = start_daemon(callers=rules(people, fetches="2/1d"))
        here = people.a.at(daemon.unix)
        for name in ("one", "two"):
            expect.miss(daemon.ask(name, address=here), name)
        expect.error(daemon.ask("three", address=here), 429, "temporarily_unavailable")
        expect.hit(daemon.ask("one", address=here), "one")
        # What another's request has fetched costs nothing.
        expect.miss(daemon.ask("three", address=people.b.at(daemon.unix)), "three")
        expect.hit(daemon.ask("three", address=here), "three")
        assert issuer.requests() == 3

    def test_is_the_rules_on_all_listeners(self, start_daemon, issuer, people):
        daemon = start_daemon(callers=rules(people, fetches="3/1d"))
        statuses = [
            daemon.ask(f"pa-{number}", address=people.a.at(address)).status
            for number, address in enumerate([daemon.unix, daemon.tcp4, daemon.tcp6] * 2)
        ]
        assert statuses == [200] * 3 + [429] * 3

    def test_refusals_of_the_issuer_cost_too(self, start_daemon, issuer, people):
        daemon = start_daemon(callers=rules(people, fetches="2/1d"))
        issuer.behave(status=400, error="invalid_grant")
        here = people.a.at(daemon.unix)
        for name, status in (("one", 400), ("two", 400), ("three", 429)):
            assert daemon.ask(name, address=here).status == status
        assert issuer.requests() == 2


class TestQueue:
    def test_another_is_next_though_hundreds_queue(self, start_daemon, issuer, people):
        """Uids take turns: what b asks for starts as often as what a asked for long before."""
        daemon = start_daemon(callers=rules(people), upstream={"max_in_flight": 2})
        issuer.behave(hold=True)
        queued, others = 200, 5
        with contextlib.ExitStack() as stack:
            walker = stack.enter_context(Fleet(people.a.at(daemon.unix), queued))
            walker.send(lambda index: ask_bytes(f"walked-{index}")).wait_until_read()
            daemon.settle()
            issuer.wait_for("held", 2)
            other = stack.enter_context(Fleet(people.b.at(daemon.unix), others))
            other.send(lambda index: ask_bytes(f"wanted-{index}")).wait_until_read()
            daemon.settle()
            for released in range(1, 2 * others + 1):
                issuer.release(1)
                issuer.wait_for("requests", 2 + released)
                asked = sum(issuer.asked_for(f"wanted-{index}") for index in range(others))
                assert asked >= released // 2, f"after {released} fetches {asked} were b's"
            issuer.release(2)
            # The issuer still holds what comes; b's requests are done although a's are not.
            for index, response in enumerate(other.collect()):
                expect.token(response, f"wanted-{index}")
            assert issuer.requests() < 3 * others + 5
            issuer.reset()
            for index, response in enumerate(walker.collect()):
                expect.token(response, f"walked-{index}")

    def test_hits_do_not_queue(self, start_daemon, issuer, people):
        daemon = start_daemon(callers=rules(people), upstream={"max_in_flight": 2})
        expect.miss(daemon.ask("pa", address=people.b.at(daemon.unix)), "pa")
        issuer.behave(hold=True)
        with Fleet(people.a.at(daemon.unix), 100) as walker:
            walker.send(lambda index: ask_bytes(f"walked-{index}")).wait_until_read()
            with people.b.connect(daemon.unix) as connection:
                for _ in range(100):
                    expect.hit(connection.send(ask_bytes("pa")).receive(), "pa")
            issuer.reset()
            assert [answer.status for answer in walker.collect()] == [200] * 100


class TestConnections:
    LIMIT = 64

    @pytest.fixture
    def daemon(self, start_daemon, people):
        return start_daemon(callers=rules(people), limits={"max_connections": self.LIMIT})

    def test_a_quarter_and_not_one_more(self, daemon, issuer, people):
        addresses = [daemon.unix, daemon.tcp4, daemon.tcp6]
        quarter = self.LIMIT // 4
        with contextlib.ExitStack() as stack:
            held = []
            for index in range(quarter):
                held.append(people.a.connect(addresses[index % 3]))
                stack.enter_context(held[-1])
                expect.token(held[-1].send(ask_bytes("pa")).receive(), "pa")
            for index in range(2 * self.LIMIT):
                with people.a.connect(addresses[index % 3]) as refused:
                    description = expect.error(
                        refused.receive(), 429, "temporarily_unavailable"
                    )
                    assert "a quarter of all connections" in description
                    assert refused.until_closed() == b""
            # There is room for others, and for those who are in.
            for index, person in enumerate([people.b, people.c] * (quarter // 2)):
                connection = stack.enter_context(person.connect(addresses[index % 3]))
                expect.hit(connection.send(ask_bytes("pa")).receive(), "pa")
            for connection in held:
                expect.hit(connection.send(ask_bytes("pa")).receive(), "pa")
            # One goes, one may come.
            held[0].close()

            def served():
                with people.a.connect(daemon.unix) as connection:
                    response = connection.send_unless_cut(ask_bytes("pa")).receive()
                return response.status == 200

            eventually(served, "room for another connection")

    def test_root_may_have_more(self, daemon, issuer):
        with Fleet(daemon.unix, self.LIMIT) as fleet:
            fleet.send(ask_bytes("pa"))
            assert {answer.status for answer in fleet.collect()} == {403}  # but not refused as many

    @pytest.mark.parametrize("listener", ["tcp4", "tcp6"])
    def test_unknown_peers_share_a_quarter(self, start_daemon, issuer, people, listener):
        """Whoever was gone before he was accepted is nobody, and all of them are one."""
        daemon = start_daemon(callers=rules(people), limits={"max_connections": self.LIMIT})
        pid = daemon.process.pid
        os.kill(pid, signal.SIGSTOP)
        stat = Path(f"/proc/{pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] in "Tt", "a stop")
        unknown = 60  # it takes 64 at a time
        for _ in range(unknown):
            with people.a.connect(getattr(daemon, listener)) as connection:
                connection.send(ask_bytes("pa"))
        os.kill(pid, signal.SIGCONT)
        expect.token(daemon.ask("pb", address=people.b.at(getattr(daemon, listener))), "pb")
        daemon.settle()
        assert issuer.asked_for("pa") == 0
        accepted = totals(daemon.stop())["connections"]
        assert accepted == self.LIMIT // 4 + 1 + 2, "a quarter of them, b, and two of ours"


class TestWaits:
    LIMIT = 40

    def fill(self, stack, daemon, people, issuer, request):
        """As many waits of a as he may have."""
        issuer.behave(hold=True)
        fleet = stack.enter_context(Fleet(people.a.at(daemon.unix), self.LIMIT // 4))
        fleet.send(request).wait_until_read()
        daemon.settle()
        return fleet

    def test_waiters(self, start_daemon, issuer, people):
        daemon = start_daemon(callers=rules(people), limits={"max_waiters": self.LIMIT})
        expect.miss(daemon.ask("there", address=people.a.at(daemon.unix)), "there")
        with contextlib.ExitStack() as stack:
            fleet = self.fill(stack, daemon, people, issuer, ask_bytes("pa"))
            for subject in ("pa", "others"):
                response = daemon.ask(subject, address=people.a.at(daemon.tcp4))
                description = expect.error(response, 429, "temporarily_unavailable")
                assert "a quarter of all requests waiting" in description
            expect.hit(daemon.ask("there", address=people.a.at(daemon.unix)), "there")
            other = stack.enter_context(people.b.connect(daemon.unix)).send(ask_bytes("pa"))
            other.wait_until_read()
            daemon.settle()
            issuer.release()
            expect.token(other.receive(), "pa")
            for response in fleet.collect():
                expect.token(response, "pa")
            issuer.reset()
            expect.token(daemon.ask("others", address=people.a.at(daemon.unix)), "others")

    def test_flights(self, start_daemon, issuer, people):
        daemon = start_daemon(callers=rules(people), limits={"max_flights": self.LIMIT})
        with contextlib.ExitStack() as stack:
            fleet = self.fill(
                stack, daemon, people, issuer, lambda index: ask_bytes(f"held-{index}")
            )
            response = daemon.ask("one-more", address=people.a.at(daemon.tcp6))
            description = expect.error(response, 429, "temporarily_unavailable")
            assert "a quarter of all tokens being fetched" in description
            # To wait for what is being fetched is no fetch more; and there is room for others.
            joined = stack.enter_context(people.a.connect(daemon.unix)).send(ask_bytes("held-0"))
            other = stack.enter_context(people.b.connect(daemon.unix)).send(ask_bytes("other"))
            issuer.wait_for("held", self.LIMIT // 4 + 1)
            joined.wait_until_read()
            daemon.settle()
            issuer.reset()
            expect.token(joined.receive(), "held-0")
            expect.token(other.receive(), "other")
            for index, response in enumerate(fleet.collect()):
                expect.token(response, f"held-{index}")
            expect.token(daemon.ask("one-more", address=people.a.at(daemon.unix)), "one-more")

    def test_who_hangs_up_gives_back(self, start_daemon, issuer, people):
        """His flights are still his until they end."""
        daemon = start_daemon(
            callers=rules(people), limits={"max_flights": self.LIMIT}, request_timeout="1s"
        )
        with contextlib.ExitStack() as stack:
            self.fill(stack, daemon, people, issuer, lambda index: ask_bytes(f"gone-{index}"))
        expect.error(
            daemon.ask("one-more", address=people.a.at(daemon.unix)),
            429,
            "temporarily_unavailable",
        )
        issuer.reset()

        def served():
            return daemon.ask("one-more", address=people.a.at(daemon.unix)).status == 200

        eventually(served, "his fetches to end")
