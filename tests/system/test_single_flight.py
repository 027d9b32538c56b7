# SPDX-License-Identifier: MIT
"""Any number of callers that miss on one key cause one fetch and share its result.

fake-egain holds the fetch while the callers gather; that all of them have been read is seen at
their sockets (SIOCOUTQ), so nothing here depends on time but the deadlines themselves.
"""

import time

import pytest

import expect
from harness import CRM, PORTAL, ask_bytes
from wire import Fleet


def gather(daemon, issuer, fleet, subject="pa", flights=1, **more):
    """Has a whole fleet ask and wait for the issuer, who holds `flights` requests by then."""
    fleet.send(ask_bytes(subject, **more))
    issuer.wait_for("held", flights)
    fleet.wait_until_read()
    daemon.settle()


def collapsed(responses):
    """How many of the answers came from another request's fetch."""
    return sum("collapsed" in expect.cache_status(response) for response in responses)


class TestSharing:
    def test_1000_callers_one_request(self, daemon, issuer):
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 1000) as fleet:
            gather(daemon, issuer, fleet, "thousand")
            issuer.release()
            responses = fleet.collect()
        for response in responses:
            expect.token(response, "thousand")
            assert expect.cache_status(response)["fwd"] == "miss"
        assert len({response.json()["access_token"] for response in responses}) == 1
        assert collapsed(responses) == 999
        stats = issuer.stats()
        assert stats["requests"] == stats["tokens"] == 1
        expect.hit(daemon.ask("thousand"), "thousand")

    @pytest.mark.parametrize("where", ["unix", "tcp4", "tcp6"])
    def test_1000_callers_who_do_not_wait_for_each_other(self, daemon, issuer, subject, where):
        """The same without a barrier: joins and hits mix as they come."""
        issuer.behave(delay_ms=50)
        with Fleet(getattr(daemon, where), 1000) as fleet:
            responses = fleet.send(ask_bytes(subject)).collect()
        for response in responses:
            expect.token(response, subject)
        assert len({response.json()["access_token"] for response in responses}) == 1
        assert issuer.requests() == 1

    def test_over_every_listener(self, daemon, issuer, subject):
        issuer.behave(hold=True)
        connections = [
            daemon.connect(address) for address in (daemon.unix, daemon.tcp4, daemon.tcp6)
        ]
        connections[0].send(ask_bytes(subject))
        issuer.wait_for("held", 1)
        for connection in connections[1:]:
            connection.send(ask_bytes(subject))
        daemon.settle()
        issuer.release()
        tokens = set()
        for connection in connections:
            with connection:
                response = connection.receive()
                expect.token(response, subject)
                tokens.add(response.json()["access_token"])
        assert len(tokens) == 1 and issuer.requests() == 1

    def test_different_ways_to_ask_share_one_flight(self, daemon, issuer, subject):
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 40) as fleet:
            names = ("portal", PORTAL.client_id)
            fleet.send(lambda index: ask_bytes(subject, client_id=names[index % 2]))
            issuer.wait_for("held", 1)
            fleet.wait_until_read()
            issuer.release()
            for response in fleet.collect():
                expect.token(response, subject)
        assert issuer.requests() == 1

    def test_keys_do_not_share(self, daemon, issuer, subject):
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 60) as fleet:
            keys = [
                (subject, "username", "portal"),
                (subject, "userid", "portal"),
                (subject, "username", "crm"),
            ]
            clients = {"portal": PORTAL, "crm": CRM}
            fleet.send(
                lambda index: ask_bytes(
                    keys[index % 3][0], keys[index % 3][1], client_id=keys[index % 3][2]
                )
            )
            issuer.wait_for("held", 3)
            fleet.wait_until_read()
            daemon.settle()
            issuer.release()
            responses = fleet.collect()
        for index, response in enumerate(responses):
            name, kind, client = keys[index % 3]
            expect.token(response, name, kind, client=clients[client])
        assert issuer.requests() == 3
        assert collapsed(responses) == 57

    def test_a_failure_is_shared(self, daemon, issuer, subject):
        """When the one fetch fails, its callers do not each try for themselves."""
        issuer.behave(hold=True, status=500, body="oops", count=1)
        issuer.behave(status=500, body="oops")
        with Fleet(daemon.unix, 200) as fleet:
            gather(daemon, issuer, fleet, subject)
            issuer.release()
            responses = fleet.collect()
        for response in responses:
            expect.unavailable(response)
        # One, and two more tries of the same flight.
        assert issuer.requests() == 3

    def test_a_refusal_is_shared(self, daemon, issuer, subject):
        issuer.behave(hold=True, error="invalid_grant", count=1)
        with Fleet(daemon.unix, 200) as fleet:
            gather(daemon, issuer, fleet, subject)
            issuer.release()
            for response in fleet.collect():
                expect.error(response, 400, "invalid_grant")
        assert issuer.requests() == 1


class TestHangingUp:
    def test_the_first_caller_leaves(self, daemon, issuer, subject):
        issuer.behave(hold=True)
        with daemon.connect() as second:
            with daemon.connect() as first:
                first.send(ask_bytes(subject))
                issuer.wait_for("held", 1)
                second.send(ask_bytes(subject)).wait_until_read()
                daemon.settle()
            daemon.settle()
            issuer.release()
            expect.token(second.receive(), subject)
        assert issuer.requests() == 1

    def test_the_only_caller_leaves(self, daemon, issuer, subject):
        """Its fetch is not wasted: the next caller gets the token."""
        issuer.behave(hold=True)
        with daemon.connect() as only:
            only.send(ask_bytes(subject))
            issuer.wait_for("held", 1)
        daemon.settle()
        with daemon.connect() as second:
            second.send(ask_bytes(subject)).wait_until_read()
            daemon.settle()
            issuer.release()
            expect.token(second.receive(), subject)
        expect.hit(daemon.ask(subject), subject)
        assert issuer.requests() == 1

    @pytest.mark.parametrize("where", ["unix", "tcp4"])
    def test_most_callers_leave(self, daemon, issuer, subject, where):
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 5) as staying:
            with Fleet(getattr(daemon, where), 200) as leaving:
                staying.send(ask_bytes(subject))
                issuer.wait_for("held", 1)
                leaving.send(ask_bytes(subject))
                staying.wait_until_read()
                for connection in leaving.connections:
                    connection.reset()
            daemon.settle()
            issuer.release()
            for response in staying.collect():
                expect.token(response, subject)
        assert issuer.requests() == 1


class TestDeadlines:
    def test_504_when_the_caller_has_no_time_left(self, start_daemon, issuer, subject):
        daemon = start_daemon(request_timeout="1s")
        issuer.behave(hold=True)
        started = time.monotonic()
        with daemon.connect() as connection:
            connection.send(ask_bytes(subject))
            issuer.wait_for("held", 1)
            response = connection.receive()
            expect.error(response, 504, "temporarily_unavailable")
            assert 0.9 < time.monotonic() - started < 10
            # The fetch went on, and its token is there for the next one, on the same connection.
            issuer.release()
            expect.token(connection.send(ask_bytes(subject)).receive(), subject)
        expect.hit(daemon.ask(subject), subject)
        assert issuer.requests() == 1

    def test_each_waiter_has_its_own(self, start_daemon, issuer, subject):
        """The first runs out of time; the second, who came later, still gets the token."""
        daemon = start_daemon(request_timeout="3s")
        issuer.behave(hold=True)
        with daemon.connect() as first, daemon.connect() as second:
            first.send(ask_bytes(subject))
            issuer.wait_for("held", 1)
            # What this test is about is that time passes between the two.
            time.sleep(1.5)
            second.send(ask_bytes(subject)).wait_until_read()
            expect.error(first.receive(), 504, "temporarily_unavailable")
            issuer.release()
            expect.token(second.receive(), subject)
        assert issuer.requests() == 1

    def test_the_fetch_fails_when_nobody_waits_any_more(self, start_daemon, issuer, subject):
        daemon = start_daemon(request_timeout="500ms", upstream={"timeout": "1s"})
        issuer.behave(stall=True, count=1)
        expect.error(daemon.ask(subject), 504, "temporarily_unavailable")
        daemon.output.wait_for("no token from")
        # It is not tried again for nobody, and remembered for those who come next.
        assert expect.retry_after(daemon.ask(subject)) == 1
        assert issuer.requests() == 1
        expect.miss(daemon.ask(f"other-{subject}"), f"other-{subject}")

    def test_a_thousand_at_once(self, start_daemon, issuer, subject):
        daemon = start_daemon(request_timeout="2s")
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 1000) as fleet:
            fleet.send(ask_bytes(subject))
            for response in fleet.collect():
                expect.error(response, 504, "temporarily_unavailable")
        issuer.release()
        expect.token(daemon.ask(subject), subject)


class TestLimits:
    """Each limit at its exact value: the last that fits waits, the next gets 503 at once."""

    def check(self, daemon, issuer, fitting, over, flights):
        """The first requests wait for the issuer, the others are refused, then all is as before."""
        issuer.behave(hold=True)
        with Fleet(daemon.unix, len(fitting)) as fleet, Fleet(daemon.unix, len(over)) as late:
            fleet.send(lambda index: ask_bytes(fitting[index]))
            issuer.wait_for("held", flights)
            fleet.wait_until_read()
            daemon.settle()
            for response in late.send(lambda index: ask_bytes(over[index])).collect():
                expect.unavailable(response)
            issuer.release()
            for subject, response in zip(fitting, fleet.collect(), strict=True):
                expect.token(response, subject)
            assert issuer.requests() == flights
            issuer.reset()
            # Room again, on the same connections.
            for subject, response in zip(
                over, late.send(lambda index: ask_bytes(over[index])).collect(), strict=True
            ):
                expect.token(response, subject)

    def test_flights(self, start_daemon, issuer):
        daemon = start_daemon(limits={"max_flights": 3})
        self.check(daemon, issuer, ["a", "b", "c"], ["d"], flights=3)

    def test_flights_full_still_takes_joiners_and_hits(self, start_daemon, issuer):
        daemon = start_daemon(limits={"max_flights": 1})
        expect.miss(daemon.ask("hit"), "hit")
        issuer.reset()
        self.check(daemon, issuer, ["a", "a", "a"], ["b"], flights=1)
        expect.hit(daemon.ask("hit"), "hit")

    def test_waiters_per_flight(self, start_daemon, issuer):
        daemon = start_daemon(limits={"max_waiters_per_flight": 5})
        self.check(daemon, issuer, ["a"] * 5 + ["b"], ["a"], flights=2)

    def test_waiters(self, start_daemon, issuer):
        daemon = start_daemon(limits={"max_waiters": 4})
        self.check(daemon, issuer, ["a", "a", "b", "b"], ["a"], flights=2)

    def test_waiters_full_for_a_new_key(self, start_daemon, issuer):
        daemon = start_daemon(limits={"max_waiters": 4})
        self.check(daemon, issuer, ["a", "a", "a", "a"], ["b"], flights=1)

    def test_hits_are_served_while_all_is_full(self, start_daemon, issuer):
        daemon = start_daemon(
            limits={"max_waiters": 1, "max_flights": 1, "max_waiters_per_flight": 1}
        )
        expect.miss(daemon.ask("hit"), "hit")
        issuer.behave(hold=True)
        with daemon.connect() as waiting:
            waiting.send(ask_bytes("a"))
            issuer.wait_for("held", 1)
            expect.unavailable(daemon.ask("a"))
            expect.unavailable(daemon.ask("b"))
            expect.hit(daemon.ask("hit"), "hit")
            issuer.release()
            expect.token(waiting.receive(), "a")


class TestInFlight:
    """How many requests the issuer sees at once; the rest queue."""

    def test_per_token_url(self, start_daemon, issuer):
        daemon = start_daemon(upstream={"max_in_flight": 2})
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 12) as fleet:
            fleet.send(lambda index: ask_bytes(f"s{index}"))
            issuer.wait_for("held", 2)
            fleet.wait_until_read()
            daemon.settle()
            for done in range(2, 12, 2):
                issuer.release(2)
                issuer.wait_for("requests", done + 2)
            issuer.release()
            for index, response in enumerate(fleet.collect()):
                expect.miss(response, f"s{index}")
        stats = issuer.stats()
        assert stats["max_in_flight"] == 2
        assert stats["requests"] == 12

    def test_each_token_url_has_its_own(self, start_daemon, issuer):
        daemon = start_daemon(upstream={"max_in_flight": 2, "max_in_flight_total": 128})
        issuer.behave(hold=True)
        kinds = ("username", "email")
        with Fleet(daemon.unix, 12) as fleet:
            fleet.send(lambda index: ask_bytes(f"s{index}", kinds[index % 2]))
            stats = issuer.wait_for("held", 4)
            assert stats["held"] == 4
            issuer.reset()
            for index, response in enumerate(fleet.collect()):
                expect.token(response, f"s{index}", kinds[index % 2])

    def test_all_together(self, start_daemon, issuer):
        daemon = start_daemon(upstream={"max_in_flight": 2, "max_in_flight_total": 3})
        issuer.behave(hold=True)
        kinds = ("username", "email")
        with Fleet(daemon.unix, 12) as fleet:
            fleet.send(lambda index: ask_bytes(f"s{index}", kinds[index % 2]))
            issuer.wait_for("held", 3)
            fleet.wait_until_read()
            daemon.settle()
            for done in range(3, 12, 3):
                issuer.release(3)
                issuer.wait_for("requests", done + 3)
            issuer.release()
            for index, response in enumerate(fleet.collect()):
                expect.token(response, f"s{index}", kinds[index % 2])
        assert issuer.stats()["max_in_flight"] == 3

    def test_a_queued_fetch_nobody_waits_for_is_dropped(self, start_daemon, issuer):
        daemon = start_daemon(upstream={"max_in_flight": 1})
        issuer.behave(hold=True)
        with daemon.connect() as first, daemon.connect() as last:
            first.send(ask_bytes("first"))
            issuer.wait_for("held", 1)
            with daemon.connect() as leaver:
                leaver.send(ask_bytes("leaver")).wait_until_read()
                daemon.settle()
            last.send(ask_bytes("last")).wait_until_read()
            daemon.settle()
            issuer.reset()
            expect.token(first.receive(), "first")
            expect.token(last.receive(), "last")
        assert set(issuer.stats()["by_subject"]) <= {"username:first", "username:last"}

    def test_a_queued_caller_runs_out_of_time(self, start_daemon, issuer):
        daemon = start_daemon(request_timeout="1s", upstream={"max_in_flight": 1})
        issuer.behave(hold=True)
        with daemon.connect() as first, daemon.connect() as queued:
            first.send(ask_bytes("first"))
            issuer.wait_for("held", 1)
            queued.send(ask_bytes("queued"))
            expect.error(queued.receive(), 504, "temporarily_unavailable")
            expect.error(first.receive(), 504, "temporarily_unavailable")
        issuer.reset()
        expect.token(daemon.ask("queued"), "queued")
