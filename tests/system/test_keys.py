# SPDX-License-Identifier: MIT
"""The cache key: everything that shapes the issuer's answer is in it, and nothing else.

Counts at the issuer prove it: as many fetches as there are distinct keys, no more and no fewer.
"""

import itertools

import pytest

import expect
from harness import CRM, MANAGE, PORTAL, READ, URL_SCOPE, Client, Daemon, Issuer, ask_bytes
from wire import Fleet

# Short scopes and client applications whose names and ids can be mistaken for other parts of a key.
LETTERS = ("a", "b", "c", "ab", "bc", "abc", "pa", "username", "portal")
SHORT = (
    Client("p", "portal-a", "secret-one-1", "TENANT1", "a"),
    Client("pa", "portal", "secret-two-2", "TENANT1", "a"),
    Client("a", "p|a", "secret-three-3", "TENANT2", "a"),
)


@pytest.fixture(scope="module")
def letters():
    """An issuer that knows one-letter scopes."""
    with Issuer(clients=SHORT, scopes=LETTERS) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def small(letters):
    with Daemon(letters, clients=SHORT) as daemon:
        yield daemon


def splits(text):
    """Every way to cut a text into a subject and a scope, with and without a space between."""
    for cut in range(1, len(text)):
        subject, scope = text[:cut], text[cut:]
        yield subject, scope.strip(" ")
        yield subject.strip(" "), scope.strip(" ")


class TestCollisions:
    @pytest.mark.parametrize("text", ["a b c", "abc", "a bc", "ab c", "a  b c", "pa a b"])
    def test_regrouping_subject_and_scope(self, small, letters, text):
        """`subject_username=a` with scope `b c` against every regrouping of the same bytes."""
        letters.reset()
        known = {
            (subject + text, scope)
            for subject, scope in splits(text)
            if subject and scope and all(part in LETTERS for part in scope.split())
        }
        assert len(known) > 1
        for subject, scope in sorted(known):
            expect.miss(
                small.ask(subject, client_id="p", scope=scope),
                subject,
                scope=scope,
                client=SHORT[0],
            )
        assert letters.requests() == len(known)
        for subject, scope in sorted(known):
            expect.hit(
                small.ask(subject, client_id="p", scope=scope),
                subject,
                scope=scope,
                client=SHORT[0],
            )

    def test_literal_regroupings(self, small, letters):
        """The same without anything added to the subjects."""
        letters.reset()
        keys = [
            ("a", "b c"),
            ("a b", "c"),
            ("ab", "c"),
            ("a", "bc"),
            ("abc", "a"),
            ("a b c", "a"),
            ("a ", "b c"),
            ("a b ", "c"),
        ]
        for subject, scope in keys:
            expect.miss(
                small.ask(subject, client_id="p", scope=scope),
                subject,
                scope=scope,
                client=SHORT[0],
            )
        assert letters.requests() == len(keys)

    def test_separators_in_subjects(self, small, letters):
        """Subjects that look like whatever a careless key might be joined with."""
        letters.reset()
        subjects = ["x"] + [
            f"x{separator}{rest}"
            for separator in (":", "|", "/", "&", "=", ",", ";", " ", "+", "%00", "\\0", "%3A")
            for rest in ("", "a", "username", "b c", "1:a", "scope=b")
        ]
        subjects += ["1:x", "username:x", "userid:x", "p:x", "portal-a|x"]
        for subject in subjects:
            expect.miss(
                small.ask(subject, client_id="p", scope="a"), subject, scope="a", client=SHORT[0]
            )
        assert letters.requests() == len(set(subjects)) == len(subjects)

    def test_client_application_and_subject(self, small, letters):
        letters.reset()
        asked = list(itertools.product(SHORT, ("q", "aq", "paq", "portal-aq", ":aq")))
        for client, subject in asked:
            expect.miss(
                small.ask(subject, client_id=client.name, scope="a"),
                subject,
                scope="a",
                client=client,
            )
        assert letters.requests() == len(asked)

    def test_kinds_of_equal_value(self, daemon, issuer, subject):
        for kind in ("username", "userid", "email"):
            expect.miss(daemon.ask(subject, kind), subject, kind)
        assert issuer.requests() == 3
        for kind in ("username", "userid", "email"):
            expect.hit(daemon.ask(subject, kind), subject, kind)

    @pytest.mark.parametrize(
        "names",
        [
            ("pa", "Pa", "PA", "pA"),
            ("pb", "pb ", " pb", "pb\u00a0"),
            ("caf\u00e9", "cafe\u0301", "cafe"),
            ("\u0130x", "ix", "Ix", "\u0131x"),
            ("stra\u00dfe", "strasse", "STRASSE"),
            ("\uff50\uff43", "pc"),
            ("zero\u200bwidth", "zerowidth"),
            ("07", "7", "7.0", "+7"),
        ],
    )
    def test_nothing_is_folded_trimmed_or_normalised(self, daemon, issuer, names):
        for name in names:
            expect.miss(daemon.ask(name), name)
        assert issuer.requests() == len(names)
        for name in names:
            expect.hit(daemon.ask(name), name)

    def test_nul_does_not_end_a_subject(self, daemon, issuer):
        """`pa%00x` must be neither `pa` nor anything else."""
        expect.token(daemon.ask("nul"), "nul")
        for body in (
            b"subject_username=nul%00",
            b"subject_username=nul%00x",
            b"subject_username=nul\0x",
        ):
            response = daemon.post(b"grant_type=password&client_id=portal&" + body)
            expect.error(response, 400, "invalid_request")
        assert issuer.requests() == 1

    def test_prefixes_of_a_long_subject(self, daemon, issuer):
        names = ["n" * length for length in (1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 255, 256)]
        for name in names:
            expect.miss(daemon.ask(name), name)
        for name in reversed(names):
            expect.hit(daemon.ask(name), name)
        assert issuer.requests() == len(names)


class TestExactCounts:
    def test_100_subjects_4_scope_orders_3_kinds(self, daemon, issuer):
        """300 distinct keys, asked for in 1,200 ways, at once and again: 300 fetches."""
        scopes = (READ, MANAGE, URL_SCOPE)
        orders = (
            " ".join(scopes),
            " ".join(reversed(scopes)),
            f"{MANAGE} {READ} {URL_SCOPE}",
            f"{READ} {URL_SCOPE} {MANAGE} {READ}",
        )
        asked = [
            (f"count-{number}", kind, order)
            for order in orders
            for kind in ("username", "userid", "email")
            for number in range(100)
        ]
        with Fleet(daemon.unix, len(asked)) as fleet:
            for _ in range(2):
                fleet.send(
                    lambda index: ask_bytes(asked[index][0], asked[index][1], scope=asked[index][2])
                )
                for (subject, kind, order), response in zip(asked, fleet.collect(), strict=True):
                    expect.token(response, subject, kind, scope=order)
        stats = issuer.stats()
        assert stats["requests"] == 300
        assert set(stats["by_subject"].values()) == {1}

    def test_scope_sets(self, daemon, issuer, subject):
        """Each subset is a key of its own: a token with more or less scope never stands in."""
        scopes = (READ, MANAGE, URL_SCOPE)
        subsets = [
            " ".join(subset)
            for size in (1, 2, 3)
            for subset in itertools.combinations(scopes, size)
        ]
        for subset in subsets:
            expect.miss(daemon.ask(subject, scope=subset), subject, scope=subset)
        for subset in subsets:
            expect.hit(daemon.ask(subject, scope=subset), subject, scope=subset)
        assert issuer.requests() == len(subsets) == 7

    def test_client_applications(self, daemon, issuer, subject):
        for client in (PORTAL, CRM):
            for kind in ("username", "email"):
                expect.miss(
                    daemon.ask(subject, kind, client_id=client.name), subject, kind, client=client
                )
        assert issuer.requests() == 4


class TestBounds:
    def test_entries_are_bounded(self, start_daemon, issuer):
        """More subjects than room: the oldest go, every answer stays right."""
        daemon = start_daemon(cache={"max_entries": 20})
        names = [f"bound-{number}" for number in range(60)]
        for name in names:
            expect.miss(daemon.ask(name), name)
            expect.hit(daemon.ask(name), name)
        before = issuer.requests()
        assert before == 60
        hits = sum(
            daemon.ask(name).header("Cache-Status").startswith("egain-tokend; hit")
            for name in names
        )
        assert hits <= 20
        assert issuer.requests() - before == 60 - hits

    def test_memory_is_bounded(self, letters):
        """Large tokens fill the memory long before the number of entries."""
        with Issuer(clients=SHORT, scopes=LETTERS, options=["--token-bytes", "8000"]) as issuer:
            with Daemon(issuer, clients=SHORT, cache={"max_memory": "1M"}) as daemon:
                names = [f"large-{number}" for number in range(300)]
                for name in names:
                    response = daemon.ask(name, client_id="p", scope="a")
                    assert len(response.json()["access_token"]) > 6000
                    expect.miss(response, name, scope="a", client=SHORT[0])
                before = issuer.requests()
                for name in names:
                    expect.token(
                        daemon.ask(name, client_id="p", scope="a"), name, scope="a", client=SHORT[0]
                    )
                assert issuer.requests() - before >= 300 - 1_048_576 // 8000

    def test_a_scan_of_one_off_subjects_leaves_the_popular_ones(self, start_daemon, issuer):
        daemon = start_daemon(cache={"max_entries": 100})
        popular = [f"popular-{number}" for number in range(20)]
        for name in popular:
            expect.miss(daemon.ask(name), name)
        for number in range(300):
            expect.miss(daemon.ask(f"once-{number}"), f"once-{number}")
            expect.hit(daemon.ask(popular[number % 20]), popular[number % 20])
