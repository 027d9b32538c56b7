# SPDX-License-Identifier: MIT
"""Listing and purging tokens: everything that is there, once, and never a token of it."""

import base64
import itertools
import threading

import pytest

import expect
from harness import CRM, MANAGE, PORTAL, READ, Daemon, ask_bytes, form, payload, rule
from people import needs_users
from wire import Connection, drive, eventually

LISTENERS = ("unix", "tcp4", "tcp6")


def told(value):
    """A name for a parameter of a test that is the same in every process."""
    return "" if callable(value) else str(value)


def fill(daemon, questions):
    """Fetches a token for each (subject, kind, client, scope)."""

    def requests():
        for subject, kind, client, scope in questions:
            yield subject, ask_bytes(subject, kind, client_id=client, scope=scope)

    statuses = []
    drive(daemon.unix, 16, requests(), lambda _, answer: statuses.append(answer.status), 60)
    assert statuses == [200] * len(questions)


def call(daemon, method, address=None, **parameters):
    query = form(parameters).decode()
    target = "/v1/tokens" + (f"?{query}" if query else "")
    response = daemon.request(method, target, address=address)
    daemon.check_answer(response.body.decode())
    return response


def pages(daemon, **parameters):
    """All pages of a listing."""
    after = {}
    while True:
        response = call(daemon, "GET", **parameters, **after)
        assert response.status == 200, response
        expect.not_stored(response)
        assert response.header("Content-Type") == "application/json"
        page = response.json()
        yield page["tokens"]
        if "next" not in page:
            return
        assert set(page) == {"tokens", "next"}
        after = {"after": page["next"]}


def distinct(entries):
    """What was listed, as (subject, kind, client, scope)."""
    found = [
        (entry["subject"]["value"], entry["subject"]["kind"], entry["client"], entry["scope"])
        for entry in entries
    ]
    assert len(set(found)) == len(found), "an entry came twice"
    return set(found)


def listed(daemon, **parameters):
    return distinct(itertools.chain.from_iterable(pages(daemon, **parameters)))


def purge(daemon, **parameters):
    response = call(daemon, "DELETE", **parameters)
    assert response.status == 200, response
    expect.not_stored(response)
    assert set(response.json()) == {"purged"}
    return response.json()["purged"]


def empty(daemon):
    for client in (PORTAL, CRM):
        purge(daemon, client_id=client.name)


THOUSANDS = [
    (f"user-{number}", "username", ("portal", "crm")[number % 2], (READ, MANAGE)[number % 3 == 0])
    for number in range(3000)
]
SOME = [
    ("pa", "username", "portal", READ),
    ("pa", "username", "portal", MANAGE),
    ("pa", "username", "crm", READ),
    ("pa", "userid", "portal", READ),
    ("pa", "email", "portal", READ),
    ("pb", "username", "portal", READ),
    ("pb", "username", "crm", f"{MANAGE} {READ}"),
]


class TestListing:
    @pytest.fixture(scope="class")
    def full(self, issuer_process):
        with Daemon(issuer_process) as daemon:
            fill(daemon, THOUSANDS)
            yield daemon

    @pytest.mark.parametrize("limit", [None, 1000, 7, 0, 999999])
    def test_each_once(self, full, limit):
        parameters = {} if limit is None else {"limit": limit}
        assert listed(full, **parameters) == set(THOUSANDS)

    def test_a_page_is_as_long_as_was_said(self, full):
        # One bucket's entries stay together.
        lengths = [len(page) for page in pages(full, limit=10)]
        assert sum(lengths) == len(THOUSANDS)
        assert max(lengths) <= 12
        assert max(map(len, pages(full))) <= 256

    @pytest.mark.parametrize(
        "parameters, fits",
        [
            ({"client_id": "portal"}, lambda entry: entry[2] == "portal"),
            ({"client_id": CRM.client_id}, lambda entry: entry[2] == "crm"),
            ({"subject_username": "user-4"}, lambda entry: entry[0] == "user-4"),
            ({"subject_userid": "user-4"}, lambda entry: False),
            ({"scope": MANAGE}, lambda entry: entry[3] == MANAGE),
            ({"scope": READ, "client_id": "crm"}, lambda entry: entry[2:] == ("crm", READ)),
            (
                {"scope": READ, "client_id": "portal", "subject_username": "user-4"},
                lambda entry: entry == ("user-4", "username", "portal", READ),
            ),
        ],
        ids=told,
    )
    def test_filters(self, full, parameters, fits):
        assert listed(full, **parameters) == set(filter(fits, THOUSANDS))

    def test_what_is_said_of_an_entry(self, full):
        entry = next(
            entry for page in pages(full, subject_username="user-4") for entry in page
        )
        assert set(entry) - {"granted"} == {
            *("client", "subject", "scope", "state"),
            *("age", "expires_in", "refresh_in", "used", "rejected"),
        }
        assert entry["state"] == "fresh"
        assert 0 <= entry["age"] < 300 < entry["expires_in"] <= 3600
        assert entry["used"] is False and entry["rejected"] is False

    def test_while_entries_come_and_go(self, full, issuer):
        """What is there all the time is seen once, whatever happens beside it."""
        found = []
        numbers = itertools.count()
        for page in pages(full, limit=100):
            found += page
            number = next(numbers)
            fill(full, [(f"new-{number}", "username", "portal", READ)])
            if number:
                assert purge(full, subject_username=f"new-{number - 1}") == 1
        assert set(THOUSANDS) <= distinct(found)
        purge(full, subject_username=f"new-{number}")

    @pytest.mark.parametrize(
        "parameters",
        [
            {"limit": "x"},
            {"limit": "-1"},
            {"limit": "1234567"},
            {"after": "x"},
            {"after": "-1"},
            {"subject_username": "a", "subject_email": "b"},
            {"subject_username": ""},
            {"scope": "a  b"},
        ],
        ids=str,
    )
    def test_bad_questions(self, full, parameters):
        for method in ("GET", "DELETE"):
            response = call(full, method, **parameters)
            expect.error(response, 400, ("invalid_request", "invalid_scope"))

    def test_behind_the_end(self, full):
        assert call(full, "GET", after=10**17).json() == {"tokens": []}

    def test_unknown_client(self, full):
        for method in ("GET", "DELETE"):
            expect.error(call(full, method, client_id="nobody"), 401, "invalid_client")


class TestPurging:
    @pytest.mark.parametrize(
        "parameters, fits",
        [
            ({"client_id": "portal"}, lambda entry: entry[2] == "portal"),
            ({"client_id": CRM.client_id}, lambda entry: entry[2] == "crm"),
            ({"subject_username": "pa"}, lambda entry: entry[:2] == ("pa", "username")),
            ({"subject_email": "pa"}, lambda entry: entry[:2] == ("pa", "email")),
            ({"subject_email": "pb"}, lambda entry: False),
            ({"scope": READ}, lambda entry: READ in entry[3].split()),
            ({"scope": f"{READ} {MANAGE}"}, lambda entry: entry[3] == f"{MANAGE} {READ}"),
            (
                {"client_id": "portal", "subject_username": "pa"},
                lambda entry: entry[:3] == ("pa", "username", "portal"),
            ),
            (
                {"client_id": "crm", "scope": READ},
                lambda entry: entry[2] == "crm" and READ in entry[3].split(),
            ),
            (
                {"subject_username": "pa", "scope": READ},
                lambda entry: entry[:2] == ("pa", "username") and READ in entry[3].split(),
            ),
            (
                {"client_id": "portal", "subject_username": "pa", "scope": READ},
                lambda entry: entry == ("pa", "username", "portal", READ),
            ),
            ({"client_id": "staff"}, lambda entry: False),
        ],
        ids=told,
    )
    def test_what_goes_and_what_stays(self, daemon, issuer, parameters, fits):
        empty(daemon)
        fill(daemon, SOME)
        before = issuer.requests()
        gone = set(filter(fits, SOME))
        assert purge(daemon, **parameters) == len(gone)
        assert listed(daemon) == set(SOME) - gone
        fill(daemon, SOME)
        assert issuer.requests() == before + len(gone)
        assert purge(daemon, **parameters) == len(gone)
        assert purge(daemon, **parameters) == 0

    def test_without_a_filter(self, daemon, issuer):
        fill(daemon, SOME)
        for parameters in ({}, {"limit": 5}, {"scope": "", "client_id": ""}):
            expect.error(call(daemon, "DELETE", **parameters), 400, "invalid_request")
        assert set(SOME) <= listed(daemon)

    def test_what_is_remembered_of_refusals_goes_too(self, daemon, issuer, subject):
        issuer.behave(status=400, error="invalid_grant", count=1)
        for _ in range(2):
            expect.error(daemon.ask(subject), 400, "invalid_grant")
        assert issuer.asked_for(subject) == 1
        assert purge(daemon, subject_username=subject) == 0
        expect.miss(daemon.ask(subject), subject)

    @pytest.mark.parametrize(
        "parameters",
        [
            lambda subject: {"subject_username": subject},
            lambda subject: {"subject_username": subject, "client_id": "portal", "scope": READ},
        ],
        ids=["walked", "found"],
    )
    def test_a_fetch_under_way_is_detached(self, daemon, issuer, subject, parameters):
        """Who waits for it is answered; nothing is kept, and who comes later does not join."""
        issuer.behave(hold=True, count=1)
        with daemon.connect() as waiting, daemon.connect() as later:
            waiting.send(ask_bytes(subject))
            issuer.wait_for("held", 1)
            assert purge(daemon, **parameters(subject)) == 0
            fresh = expect.miss(later.send(ask_bytes(subject)).receive(), subject)
            issuer.release()
            old = expect.token(waiting.receive(), subject)
        assert issuer.asked_for(subject) == 2
        assert old["serial"] != fresh["serial"]
        assert expect.hit(daemon.ask(subject), subject)["serial"] == fresh["serial"]

    def test_the_next_request_fetches_anew(self, daemon, issuer, subject):
        expect.miss(daemon.ask(subject), subject)
        assert purge(daemon, subject_username=subject) == 1
        expect.miss(daemon.ask(subject), subject)
        assert issuer.asked_for(subject) == 2

    def test_under_load(self, daemon, issuer):
        """Whoever asks once a purge was answered never gets a token from before it."""
        empty(daemon)
        horizon = Horizon()
        subjects = [f"load-{number}" for number in range(40)]
        loads = [Load(daemon, subjects[number % 4 :: 4], horizon) for number in range(8)]
        for load in loads:
            load.start()
        n_purged = 0
        try:
            for index in range(30):
                for load in loads:
                    load.more()
                issued = issuer.stats()["tokens"]
                n_purged += purge(daemon, **[{"scope": READ}, {"client_id": "portal"}][index % 2])
                horizon.issued = issued
        finally:
            horizon.ending.set()
            for load in loads:
                load.join(30)
        for load in loads:
            assert load.error is None, load.error
        assert n_purged > 30
        # Serial numbers of the issuer's tokens go on from test to test.
        first = min(serial for load in loads for serial, _ in load.seen)
        for load in loads:
            for serial, issued_before in load.seen:
                assert serial - first >= issued_before


class Horizon:
    """How many tokens were issued before the last purge that was answered."""

    def __init__(self):
        self.issued = 0
        self.ending = threading.Event()


class Load(threading.Thread):
    """Asks for a few subjects again and again; notes what it got, and the horizon when it asked."""

    def __init__(self, daemon, subjects, horizon):
        super().__init__(daemon=True)
        self.address = daemon.unix
        self.subjects = subjects
        self.horizon = horizon
        self.seen = []
        self.error = None

    def run(self):
        try:
            with Connection(self.address) as connection:
                for subject in itertools.cycle(self.subjects):
                    if self.horizon.ending.is_set():
                        return
                    issued = self.horizon.issued
                    response = connection.send(ask_bytes(subject)).receive()
                    assert response.status == 200, response
                    serial = payload(response.json()["access_token"])["serial"]
                    self.seen.append((serial, issued))
        except BaseException as error:  # for the thread that joins it
            self.error = error

    def more(self, count=5):
        """Waits until so many more were answered."""
        wanted = len(self.seen) + count
        eventually(lambda: self.error or len(self.seen) >= wanted, "answers")


@needs_users
class TestRights:
    @pytest.fixture
    def ruled(self, start_daemon, people):
        daemon = start_daemon(
            callers=[
                rule("a", user=people.a.name, admin=True),
                {"name": "b", "user": people.b.name, "admin": True},
                rule("c", user=people.c.name, monitor=True),
            ]
        )
        expect.miss(daemon.ask("pa", address=people.a.at(daemon.unix)), "pa")
        return daemon

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    @pytest.mark.parametrize("listener", LISTENERS)
    def test_who_may(self, ruled, people, method, listener):
        address = getattr(ruled, listener)
        for place, allowed in (
            (address, True),
            (people.a.at(address), True),
            (people.b.at(address), True),
            (people.c.at(address), False),
            (people.d.at(address), False),
        ):
            response = call(ruled, method, place, client_id="portal")
            if allowed and listener == "unix":
                assert response.status == 200, response
            else:
                expect.error(response, 403, "access_denied")
        kept = expect.token(ruled.ask("pa", address=people.a.at(address)), "pa")
        assert kept["sub"] == "pa"

    def test_those_without_the_right_purge_nothing(self, ruled, people, issuer):
        for place in (people.c.at(ruled.unix), people.a.at(ruled.tcp4), ruled.tcp4):
            expect.error(call(ruled, "DELETE", place, client_id="portal"), 403, "access_denied")
        expect.hit(ruled.ask("pa", address=people.a.at(ruled.unix)), "pa")

    def test_a_rule_with_a_key(self, ruled, people):
        """Sent as with requests for tokens; HTTP Basic is no filter."""
        key = "key-of-administration-0123"
        path = ruled.put_key("admin", key)
        keyed = {"name": "d", "user": people.d.name, "key_file": path, "admin": True}
        ruled.reload(callers=[*ruled.settings["callers"], keyed])
        here = people.d.at(ruled.unix)
        for more in ({}, {"client_secret": "wrong"}):
            expect.error(call(ruled, "GET", here, **more), 401, "invalid_client")
            expect.error(call(ruled, "DELETE", here, scope=READ, **more), 401, "invalid_client")
        authorization = base64.b64encode(f"anything:{key}".encode()).decode()
        headers = [("Authorization", f"Basic {authorization}")]
        assert ruled.request("GET", "/v1/tokens", headers, address=here).status == 200
        response = call(ruled, "DELETE", here, scope=READ, client_secret=key)
        assert response.json() == {"purged": 1}

    def test_the_daemons_user(self, issuer, people):
        with Daemon(
            issuer,
            clients=[PORTAL],
            user=people.d.user,
            callers=[rule("a", user=people.a.name)],
        ) as daemon:
            expect.miss(daemon.ask("pa", address=people.a.at(daemon.unix)), "pa")
            for place in (people.d.at(daemon.unix), daemon.unix):
                expect.error(daemon.ask("pa", address=place), 403, "access_denied")
                assert call(daemon, "GET", place).status == 200
            expect.error(call(daemon, "GET", people.d.at(daemon.tcp4)), 403, "access_denied")
            expect.error(call(daemon, "GET", people.a.at(daemon.unix)), 403, "access_denied")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "HEAD", "OPTIONS"])
def test_other_methods(daemon, method):
    response = daemon.request(method, "/v1/tokens")
    assert (response.status, response.header("Allow")) == (405, "GET, DELETE")
