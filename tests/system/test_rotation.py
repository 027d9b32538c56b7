# SPDX-License-Identifier: MIT
"""Client secrets that change under the daemon: nobody's hand is needed, and nobody notices."""

import itertools
import os
import re
import threading
import time

import pytest

import expect
from harness import CRM, PORTAL, READ, Client, ask_bytes
from wire import Connection, Fleet, eventually

NEW = "rotated~s3cret/0815+x"
DAY_S = 86400

_numbers = itertools.count()


def renamed(number):
    """A client application that no other test has at the issuer."""
    return Client("portal", f"rotating-{number}", PORTAL.secret, f"TENANT-{number}", READ)


@pytest.fixture
def client(issuer):
    client = renamed(next(_numbers))
    issuer.accept(client, client.secret)
    return client


@pytest.fixture
def next_file(tmp_path):
    """Where the next secret is; nothing yet."""
    return tmp_path / "next.secret"


def write_secret(path, secret):
    path.touch(0o600)
    path.write_text(secret + "\n")


class Load(threading.Thread):
    """A caller that asks for one unknown subject after the other: each costs a request."""

    def __init__(self, daemon, client, label):
        super().__init__(daemon=True)
        self.address = daemon.unix
        self.client = client
        self.label = label
        self.answers = []
        self.error = None
        self.ending = threading.Event()

    def run(self):
        try:
            with Connection(self.address) as connection:
                for number in itertools.count():
                    if self.ending.is_set():
                        return
                    subject = f"{self.label}-{number}"
                    connection.send(ask_bytes(subject, client_id=self.client.client_id))
                    self.answers.append(connection.receive())
        except Exception as error:  # for the thread that joins it
            self.error = error

    def more(self, count=20):
        """Waits until so many more were answered."""
        wanted = len(self.answers) + count
        eventually(lambda: self.error or len(self.answers) >= wanted, "answers")


class Loads:
    """Some of them, none of which may fail."""

    def __init__(self, daemon, client, subject, count=4):
        self.loads = [Load(daemon, client, f"{subject}-{index}") for index in range(count)]

    def __enter__(self):
        for load in self.loads:
            load.start()
        self.more()
        return self

    def more(self):
        for load in self.loads:
            load.more()

    def __exit__(self, kind, *_):
        for load in self.loads:
            load.ending.set()
        for load in self.loads:
            load.join(30)
        if kind is None:
            for load in self.loads:
                assert load.error is None, load.error
                statuses = [response.status for response in load.answers]
                assert set(statuses) == {200}, statuses


class TestUnderLoad:
    """Not one failed request, in whatever order things are done, as long as two secrets overlap."""

    def test_issuer_first(self, start_daemon, issuer, client, subject):
        daemon = start_daemon(clients=[client])
        with Loads(daemon, client, subject) as loads:
            issuer.accept(client, client.secret, NEW)
            loads.more()
            daemon.put_secret(client, NEW)
            daemon.output.wait_for("the client secret has changed")
            loads.more()
            issuer.accept(client, NEW)
            loads.more()
        assert issuer.stats()["by_status"] == {"200": issuer.requests()}

    def test_the_old_one_dies_before_the_file_was_read(self, start_daemon, issuer, client, subject):
        """Nobody waits for the daemon to notice: it reads the file when it is refused."""
        daemon = start_daemon(clients=[client])
        with Loads(daemon, client, subject) as loads:
            issuer.accept(client, client.secret, NEW)
            daemon.put_secret(client, NEW)
            issuer.accept(client, NEW)
            loads.more()
        assert daemon.explain(subject)["client"]["held_for"] == 0

    def test_daemon_first(self, start_daemon, issuer, client, subject, next_file):
        """The next secret waits beside the current one, long before the issuer knows it."""
        write_secret(next_file, NEW)
        daemon = start_daemon(
            clients=[client], urls={"portal": {"next_client_secret_file": next_file}}
        )
        daemon.forbidden.add(NEW)
        with Loads(daemon, client, subject) as loads:
            issuer.accept(client, client.secret, NEW)
            loads.more()
            issuer.accept(client, NEW)
            loads.more()
            # It moves up; the file of the next one is no more.
            daemon.put_secret(client, NEW)
            loads.more()
        refused = issuer.stats()["by_status"].get("401", 0)
        assert 1 <= refused <= 2 * 4

    def test_back_again(self, start_daemon, issuer, client, subject):
        daemon = start_daemon(clients=[client])
        with Loads(daemon, client, subject) as loads:
            for secret in (NEW, client.secret, NEW):
                since = len(daemon.output.lines)
                issuer.accept(client, client.secret, NEW)
                daemon.put_secret(client, secret)
                daemon.output.wait_for("the client secret has changed", since)
                issuer.accept(client, secret)
                loads.more()


class TestNext:
    def test_the_one_that_works_stays_first(self, start_daemon, issuer, client, subject, next_file):
        write_secret(next_file, NEW)
        daemon = start_daemon(
            clients=[client], urls={"portal": {"next_client_secret_file": next_file}}
        )
        daemon.forbidden.add(NEW)
        issuer.accept(client, NEW)
        expect.miss(daemon.ask(subject, client_id="portal"), subject, client=client)
        assert issuer.requests() == 2
        for number in range(5):
            name = f"{subject}-{number}"
            expect.miss(daemon.ask(name), name, client=client)
        assert issuer.stats()["by_status"] == {"200": 6, "401": 1}

    def test_neither_works(self, start_daemon, issuer, client, subject, next_file):
        """Each is tried once."""
        write_secret(next_file, NEW)
        daemon = start_daemon(
            clients=[client], urls={"portal": {"next_client_secret_file": next_file}}
        )
        daemon.forbidden.add(NEW)
        issuer.accept(client, "something-else")
        expect.error(daemon.ask(subject), 502, "server_error")
        assert issuer.requests() == 2
        assert 0 < daemon.explain(subject)["client"]["held_for"] <= 30

    def test_one_that_appears_when_both_are_read_again(
        self, start_daemon, issuer, client, subject, next_file
    ):
        write_secret(next_file, "not-yet-known")
        daemon = start_daemon(
            clients=[client], urls={"portal": {"next_client_secret_file": next_file}}
        )
        expect.miss(daemon.ask(f"one-{subject}"), f"one-{subject}", client=client)
        daemon.put_secret(client, NEW, path=next_file)
        issuer.accept(client, NEW)
        expect.miss(daemon.ask(subject), subject, client=client)


def vanish(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def only_a_line_end(path):
    path.write_bytes(b"\r\n")


def two_lines(path):
    path.write_bytes(b"one\ntwo\n")


def nul(path):
    path.write_bytes(NEW.encode() + b"\0\n")


def too_long(path):
    path.write_bytes(b"x" * 100_000)


def world_readable(path):
    path.chmod(0o644)


def group_writable(path):
    path.chmod(0o660)


def of_another_user(path):
    os.chown(path, 65534, 0)


def directory(path):
    path.unlink()
    path.mkdir(0o700)


def fifo(path):
    path.unlink()
    os.mkfifo(path, 0o600)


def dangling_link(path):
    path.unlink()
    path.symlink_to("/nonexistent/secret")


class TestBadFiles:
    """Whatever becomes of the file, the old secret is kept, with a warning."""

    @pytest.mark.parametrize(
        "spoil",
        [
            vanish,
            empty,
            only_a_line_end,
            two_lines,
            nul,
            too_long,
            world_readable,
            group_writable,
            of_another_user,
            directory,
            fifo,
            dangling_link,
        ],
    )
    def test_the_old_secret_is_kept(self, start_daemon, issuer, client, subject, spoil):
        daemon = start_daemon(clients=[client])
        path = daemon.secret_file(client)
        since = len(daemon.output.lines)
        spoil(path)
        line = daemon.output.wait_for("^.* is kept$", since)[0]
        assert line.startswith("egain-tokend: warning: ") and str(path) in line, line
        expect.miss(daemon.ask(subject), subject, client=client)

        # It is still looked at: a good one is taken, and the old one given up.
        if path.is_dir():
            path.rmdir()
        daemon.put_secret(client, NEW)
        daemon.output.wait_for("the client secret has changed", since)
        issuer.accept(client, NEW)
        expect.miss(daemon.ask(f"new-{subject}"), f"new-{subject}", client=client)
        assert issuer.stats()["by_status"] == {"200": 2}

    @pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"], ids=["none", "LF", "CRLF"])
    def test_line_ends_are_no_part_of_it(self, start_daemon, issuer, client, subject, end):
        daemon = start_daemon(clients=[client])
        daemon.forbidden.add(NEW)
        since = len(daemon.output.lines)
        issuer.accept(client, client.secret, NEW)
        daemon.secret_file(client).write_bytes(NEW.encode() + end)
        daemon.output.wait_for("the client secret has changed", since)
        issuer.accept(client, NEW)
        expect.miss(daemon.ask(subject), subject, client=client)
        assert issuer.stats()["by_status"] == {"200": 1}

    def test_spoilt_and_refused(self, start_daemon, issuer, client, subject):
        """With the file gone and the secret dead there is nothing left to try."""
        daemon = start_daemon(clients=[client])
        daemon.secret_file(client).unlink()
        issuer.accept(client, NEW)
        expect.error(daemon.ask(subject), 502, "server_error")
        assert issuer.requests() == 1

    def test_a_folder_that_is_exchanged(self, start_daemon, issuer, client, subject, tmp_path):
        """As container platforms do it: the file is a link into a folder behind a link."""
        for number, secret in enumerate((client.secret, NEW)):
            (tmp_path / str(number)).mkdir(0o700)
            write_secret(tmp_path / str(number) / "secret", secret)
        (tmp_path / "now").symlink_to("0")
        (tmp_path / "secret").symlink_to("now/secret")
        daemon = start_daemon(
            clients=[client], urls={"portal": {"client_secret_file": tmp_path / "secret"}}
        )
        daemon.forbidden.add(NEW)
        (tmp_path / "later").symlink_to("1")
        (tmp_path / "later").rename(tmp_path / "now")
        daemon.output.wait_for("the client secret has changed")
        issuer.accept(client, NEW)
        expect.miss(daemon.ask(subject), subject, client=client)


class TestWrongSecret:
    def test_the_issuer_is_asked_once_however_many_ask(self, start_daemon, issuer, client, subject):
        daemon = start_daemon(clients=[client])
        live = daemon.ask(f"live-{subject}")
        expect.miss(live, f"live-{subject}", client=client)
        issuer.reset()
        issuer.accept(client, NEW)
        with Fleet(daemon.unix, 100) as fleet:
            for _ in range(3):
                fleet.send(lambda index: ask_bytes(f"{subject}-{index}"))
                for response in fleet.collect():
                    expect.error(response, 502, "server_error")
        # Those that were under way together, at most max_in_flight.
        assert issuer.requests() <= 32
        asked = issuer.requests()
        for number in range(20):
            expect.error(daemon.ask(f"more-{number}-{subject}"), 502, "server_error")
        assert issuer.requests() == asked
        line = daemon.output.wait_for("^.*refuses its client secret .*$")[0]
        assert line.startswith("egain-tokend: error: "), line
        explanation = daemon.explain(subject)
        assert 0 < explanation["client"]["held_for"] <= 30
        assert explanation["outcome"]["status"] == 502
        assert explanation["outcome"]["blocked"] == "credentials_refused"
        assert explanation["issuer"]["breaker"] == "closed"

        # Nobody with a live token notices.
        expect.hit(daemon.ask(f"live-{subject}"), f"live-{subject}", client=client)

        # Healed at once when the file changes.
        since = len(daemon.output.lines)
        daemon.put_secret(client, NEW)
        daemon.output.wait_for("the client secret has changed", since)
        expect.miss(daemon.ask(subject), subject, client=client)
        assert issuer.requests() == asked + 1
        assert daemon.explain(subject)["client"]["held_for"] == 0

    def test_the_log_says_when_it_is_over(self, start_daemon, issuer, client, subject):
        daemon = start_daemon(clients=[client])
        issuer.accept(client, NEW)
        expect.error(daemon.ask(subject), 502, "server_error")
        daemon.put_secret(client, NEW)
        daemon.output.wait_for("the client secret has changed")
        expect.miss(daemon.ask(subject), subject, client=client)
        assert "accepts its client secret again" in daemon.stop()

    def test_one_at_a_time_it_is_one_request(self, start_daemon, issuer, client, subject):
        daemon = start_daemon(clients=[client])
        issuer.accept(client, NEW)
        for number in range(20):
            expect.error(daemon.ask(f"{subject}-{number}"), 502, "server_error")
        assert issuer.requests() == 1

    def test_other_clients_are_served(self, start_daemon, issuer, client, subject):
        daemon = start_daemon(clients=[client, CRM])
        issuer.accept(client, NEW)
        expect.error(daemon.ask(subject), 502, "server_error")
        expect.miss(daemon.ask(subject, client_id="crm"), subject, client=CRM)
        expect.error(daemon.ask(subject), 502, "server_error")


def date(days):
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * DAY_S))


class TestExpiry:
    @pytest.mark.parametrize(
        "days, pattern",
        [
            (-1, r"error: .*'portal'.* client secret has expired"),
            (0, r"error: .*'portal'.* client secret has expired"),
            (1, r"warning: .*'portal'.* client secret expires in 1 day$"),
            (10, r"warning: .*'portal'.* client secret expires in 10 days$"),
            (30, r"warning: .*'portal'.* client secret expires in 30 days$"),
        ],
    )
    def test_warnings(self, start_daemon, client, days, pattern):
        daemon = start_daemon(
            clients=[client], urls={"portal": {"client_secret_expires": date(days)}}
        )
        daemon.output.wait_for(pattern)
        expires = daemon.explain("pa")["client"]["secret_expires"]
        assert expires % DAY_S == 0
        assert (days - 1) * DAY_S <= expires - time.time() <= days * DAY_S

    def test_none_before_that(self, start_daemon, client):
        daemon = start_daemon(
            clients=[client], urls={"portal": {"client_secret_expires": date(32)}}
        )
        assert "secret_expires" in daemon.explain("pa")["client"]
        text = daemon.stop()
        assert not re.search("secret (has expired|expires)", text)

    def test_the_next_one(self, start_daemon, client, next_file):
        write_secret(next_file, NEW)
        settings = {
            "client_secret_expires": date(400),
            "next_client_secret_file": next_file,
            "next_client_secret_expires": date(5),
        }
        daemon = start_daemon(clients=[client], urls={"portal": settings})
        daemon.forbidden.add(NEW)
        daemon.output.wait_for(r"warning: .* next client secret expires in 5 days")
        client_part = daemon.explain("pa")["client"]
        assert client_part["next_secret_expires"] < client_part["secret_expires"]
