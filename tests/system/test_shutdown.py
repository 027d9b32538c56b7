# SPDX-License-Identifier: MIT
"""Ends and new beginnings: nobody is left without an answer, nothing is left behind."""

import contextlib
import os
import signal
import socket
import time

import pytest

import expect
from harness import Daemon, ask_bytes, totals
from wire import Closed, Connection, Fleet, eventually, http_request


def refuses(address):
    """Whether nobody listens there any more."""
    try:
        Connection(address, timeout=5).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except ConnectionResetError:
        pass  # it came into the backlog just before that was closed
    return False


def wait_until_refusing(daemon):
    for address in (daemon.unix, daemon.tcp4, daemon.tcp6):
        eventually(lambda address=address: refuses(address), f"{address} to be closed")


def closes(connection, response):
    """The answer says that it is the last, and it is."""
    assert (response.header("Connection") or "").lower() == "close", response.headers
    assert connection.until_closed() == b""


class TestFlights:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_callers_get_their_tokens(self, start_daemon, issuer, number):
        daemon = start_daemon(drain_timeout="20s")
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 20) as fleet, daemon.connect(daemon.tcp4) as over_tcp:
            fleet.send(lambda index: ask_bytes(f"drain-{index % 4}"))
            over_tcp.send(ask_bytes("drain-tcp"))
            issuer.wait_for("held", 5)
            fleet.wait_until_read()
            daemon.settle()
            started = time.monotonic()
            daemon.terminate(number)
            wait_until_refusing(daemon)
            assert daemon.running()
            issuer.release()
            for index, response in enumerate(fleet.collect()):
                expect.token(response, f"drain-{index % 4}")
                closes(fleet.connections[index], response)
            response = over_tcp.receive()
            expect.token(response, "drain-tcp")
            closes(over_tcp, response)
            daemon.ended()
            # It waited for the flights, not for the time it had.
            assert time.monotonic() - started < 15
        assert issuer.requests() == 5

    def test_when_the_time_is_up_callers_get_an_error(self, start_daemon, issuer):
        daemon = start_daemon(drain_timeout="1s")
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 20) as fleet:
            fleet.send(lambda index: ask_bytes(f"late-{index % 4}"))
            issuer.wait_for("held", 4)
            fleet.wait_until_read()
            daemon.settle()
            started = time.monotonic()
            daemon.terminate()
            for index, response in enumerate(fleet.collect()):
                expect.unavailable(response)
                closes(fleet.connections[index], response)
            assert 0.9 < time.monotonic() - started < 1.9
            daemon.ended()

    def test_queued_fetches_are_drained_too(self, start_daemon, issuer):
        daemon = start_daemon(drain_timeout="20s", upstream={"max_in_flight": 1})
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 3) as fleet:
            fleet.send(lambda index: ask_bytes(f"queue-{index}"))
            issuer.wait_for("held", 1)
            fleet.wait_until_read()
            daemon.settle()
            daemon.terminate()
            wait_until_refusing(daemon)
            issuer.reset()
            for index, response in enumerate(fleet.collect()):
                if response.status == 200:
                    expect.token(response, f"queue-{index}")
                else:
                    expect.unavailable(response)
                closes(fleet.connections[index], response)
            daemon.ended()

    def test_a_flight_whose_callers_have_left(self, start_daemon, issuer):
        daemon = start_daemon(drain_timeout="1s")
        issuer.behave(hold=True)
        with daemon.connect() as caller:
            caller.send(ask_bytes("left"))
            issuer.wait_for("held", 1)
        daemon.stop()

    @pytest.mark.parametrize("where", ["unix", "tcp4"])
    def test_in_the_midst_of_traffic(self, start_daemon, issuer, where):
        """Requests at every stage, from unread to half answered: an answer or an end for each."""
        daemon = start_daemon(drain_timeout="20s")
        issuer.behave(delay_ms=20)
        expect.token(daemon.ask("known"), "known")
        subjects = ["known", "new", "other"]
        with Fleet(getattr(daemon, where), 200) as fleet:
            fleet.send(lambda index: ask_bytes(subjects[index % 3]))
            daemon.terminate()
            for index, response in enumerate(fleet.collect()):
                if response is not None and response.status == 200:
                    expect.token(response, subjects[index % 3])
                elif response is not None:
                    expect.unavailable(response)
            daemon.ended()

    def test_a_request_while_draining(self, start_daemon, issuer):
        """On a connection that is there already: an answer or an end, but no silence."""
        daemon = start_daemon(drain_timeout="5s")
        expect.token(daemon.ask("known"), "known")
        issuer.behave(hold=True)
        with contextlib.ExitStack() as stack:
            waiting, known, unknown = (stack.enter_context(daemon.connect()) for _ in range(3))
            for connection in (known, unknown):
                expect.hit(connection.send(ask_bytes("known")).receive(), "known")
            waiting.send(ask_bytes("waiting"))
            issuer.wait_for("held", 1)
            daemon.terminate()
            wait_until_refusing(daemon)
            for connection, subject in ((known, "known"), (unknown, "unknown")):
                with contextlib.suppress(Closed, ConnectionError):
                    response = connection.send(ask_bytes(subject)).receive()
                    if response.status == 200:
                        expect.token(response, subject)
                    else:
                        expect.unavailable(response)
                    closes(connection, response)
            issuer.release()
            response = waiting.receive()
            expect.token(response, "waiting")
            closes(waiting, response)
            daemon.ended()

    def test_twice(self, start_daemon, issuer):
        """A second signal does no harm, whether or not it hurries things up."""
        daemon = start_daemon(drain_timeout="2s")
        issuer.behave(hold=True)
        with daemon.connect() as caller:
            caller.send(ask_bytes("twice"))
            issuer.wait_for("held", 1)
            daemon.terminate()
            wait_until_refusing(daemon)
            daemon.terminate(signal.SIGINT)
            expect.unavailable(caller.receive())
            daemon.ended()


class TestIdle:
    def test_connections_without_a_request_do_not_delay_the_end(self, start_daemon):
        daemon = start_daemon(drain_timeout="20s")
        with contextlib.ExitStack() as stack:
            connections = [
                stack.enter_context(daemon.connect(address))
                for address in (daemon.unix, daemon.tcp4, daemon.tcp6) * 3
            ]
            used, silent, half = connections[:3], connections[3:6], connections[6:]
            for connection in used:
                expect.token(connection.send(ask_bytes("idle")).receive(), "idle")
            for connection in half:
                connection.send(ask_bytes("half")[:-5])
            daemon.settle()
            started = time.monotonic()
            daemon.stop()
            assert time.monotonic() - started < 15
            for connection in used + silent:
                assert connection.until_closed() == b""
            for connection in half:
                assert b" 200 " not in connection.until_closed()

    def test_at_once_after_the_start(self, start_daemon):
        start_daemon().stop()

    def test_a_signal_before_it_is_ready(self, issuer):
        """No moment of the start is a bad one."""
        daemon = Daemon(issuer)
        with contextlib.closing(daemon):
            for delay in (0.0, 0.01, 0.03, 0.06, 0.1):
                daemon.spawn_daemon()
                time.sleep(delay)
                daemon.terminate()
                assert daemon.wait() in (0, -signal.SIGTERM), daemon.output.text()

    def test_with_a_full_cache(self, start_daemon):
        daemon = start_daemon()
        with Fleet(daemon.unix, 300) as fleet:
            for response in fleet.send(lambda index: ask_bytes(f"full-{index}")).collect():
                assert response.status == 200
        daemon.stop()


class TestTotals:
    def test_of_a_known_run(self, start_daemon, issuer):
        daemon = start_daemon(drain_timeout="20s")
        expect.miss(daemon.ask("one"), "one")
        for _ in range(3):
            expect.hit(daemon.ask("one"), "one")
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 5) as fleet:
            fleet.send(ask_bytes("two"))
            issuer.wait_for("held", 1)
            fleet.wait_until_read()
            daemon.settle()
            issuer.release()
            for response in fleet.collect():
                expect.token(response, "two")
        counters = totals(daemon.stop())
        assert counters["hits"] == 3
        assert counters["fetches"] == 2
        assert counters["coalesced"] == 4
        assert counters["requests"] >= 9


class TestAgain:
    def test_restart_on_the_same_addresses(self, start_daemon, issuer):
        daemon = start_daemon()
        for number in range(3):
            expect.miss(daemon.ask("again"), "again")
            daemon.stop()
            if number < 2:
                daemon.start()
        assert issuer.requests() == 3

    def test_after_a_crash(self, start_daemon):
        """The socket file is still there, and nobody behind it."""
        daemon = start_daemon()
        daemon.kill()
        assert os.path.exists(daemon.unix)
        daemon.start()
        expect.token(daemon.ask("crash"), "crash")

    def test_the_socket_of_a_live_daemon_is_not_taken(self, start_daemon, issuer):
        daemon = start_daemon()
        other = Daemon(issuer)
        with contextlib.closing(other):
            other.settings["listen"] = [{"unix": daemon.unix, "mode": "0666"}]
            other.spawn_daemon()
            assert other.wait() not in (0, 99)
            assert daemon.unix in other.output.text()
        expect.token(daemon.ask("mine"), "mine")

    def test_a_file_that_is_no_socket_is_left_alone(self, issuer):
        daemon = Daemon(issuer)
        with contextlib.closing(daemon):
            with open(daemon.unix, "w", encoding="ascii") as file:
                file.write("precious")
            daemon.spawn_daemon()
            assert daemon.wait() not in (0, 99)
            with open(daemon.unix, encoding="ascii") as file:
                assert file.read() == "precious"

    def test_a_socket_put_in_its_place_is_not_removed(self, start_daemon):
        """What lies at the path at the end may be a successor's."""
        daemon = start_daemon()
        os.unlink(daemon.unix)
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(daemon.unix)
            successor.listen()
            daemon.stop()
            assert os.path.exists(daemon.unix)

    def test_health_is_answered_to_the_end(self, start_daemon, issuer):
        """A connection of a health check that is there already never hangs."""
        daemon = start_daemon(drain_timeout="2s")
        issuer.behave(hold=True)
        with daemon.connect() as caller, daemon.connect() as check:
            assert check.send(http_request("GET", "/healthz")).receive().status == 200
            caller.send(ask_bytes("held"))
            issuer.wait_for("held", 1)
            daemon.terminate()
            with contextlib.suppress(Closed, ConnectionError):
                check.send(http_request("GET", "/readyz")).receive()
            expect.unavailable(caller.receive())
            daemon.ended()
