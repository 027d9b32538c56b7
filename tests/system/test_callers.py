# SPDX-License-Identifier: MIT
"""Rules for callers, and who they select: real users, on every listener."""

import base64
import json
import re
from urllib.parse import quote_plus

import pytest

import expect
from harness import CRM, MANAGE, READ, Daemon, ask_bytes, question, rule
from people import needs_users
from wire import Connection, form, form_request

pytestmark = needs_users

LISTENERS = ("unix", "tcp4", "tcp6")

# Half of the libraries encode what they send in HTTP Basic: it must not matter.
KEY = "k%y+with:odd/chars=0815&%41"
OTHER_KEY = "another-key-0123456789"


def basic(user, password):
    return ("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


def refused(response, rule_name=None, missing=None):
    """A 403 that says which rule lacks what, or that there is none; its description."""
    description = expect.error(response, 403, "access_denied")
    if rule_name:
        assert f"The rule {rule_name} does not give" in description
        assert missing in description
    else:
        assert "No rule" in description
    return description


class Table:
    """A class's daemon, whose rules are made once its users and its directory are known."""

    @pytest.fixture(scope="class")
    def ruled(self, issuer_process, people):
        with Daemon(issuer_process) as daemon:
            daemon.reload(callers=self.rules(daemon, people))
            yield daemon

    @pytest.fixture
    def place(self, ruled, issuer):
        """Where a person connects."""
        return lambda person, listener: person.at(getattr(ruled, listener))


@pytest.mark.parametrize("listener", LISTENERS)
class TestUsers(Table):
    def rules(self, daemon, people):
        return [rule("by-name", user=people.a.name), rule("by-number", user=str(people.b.uid))]

    def test_right_and_wrong(self, ruled, place, people, issuer, listener, subject):
        refused(ruled.ask(subject, address=place(people.d, listener)))
        assert issuer.requests() == 0
        expect.miss(ruled.ask(subject, address=place(people.a, listener)), subject)
        expect.hit(ruled.ask(subject, address=place(people.b, listener)), subject)
        description = refused(ruled.ask(subject, address=place(people.d, listener)))
        assert f"uid {people.d.uid}" in description
        assert issuer.requests() == 1

    def test_root_is_a_caller_like_others(self, ruled, place, issuer, listener, subject):
        """Once there are rules; on Unix sockets it still administers."""
        refused(ruled.ask(subject, address=getattr(ruled, listener)))
        response = ruled.request("GET", "/v1/tokens", address=getattr(ruled, listener))
        if listener == "unix":
            assert response.status == 200
            ruled.check_answer(response.body.decode())
        else:
            expect.error(response, 403, "access_denied")
        assert issuer.requests() == 0

    def test_a_program_of_theirs(self, ruled, people, issuer, listener, subject):
        """Not only a connection that was made for them: curl, as documented."""
        host, via = {
            "unix": ("localhost", ["--unix-socket", ruled.unix]),
            "tcp4": (f"127.0.0.1:{ruled.port}", []),
            "tcp6": (f"[::1]:{ruled.port}", []),
        }[listener]
        for person, status in ((people.a, 200), (people.d, 403)):
            run = person.run(
                *["curl", "--silent", "--write-out", "\n%{http_code}", *via],
                *["--data", form(question(subject)).decode(), f"http://{host}/oauth2/token"],
            )
            body, _, code = run.stdout.rpartition("\n")
            assert int(code) == status, run
            assert ("access_token" in json.loads(body)) == (status == 200)


@pytest.mark.parametrize("listener", LISTENERS)
class TestGroups(Table):
    def rules(self, daemon, people):
        return [rule("team", group=people.team.gr_name)]

    def test_members(self, ruled, place, people, issuer, listener, subject):
        """By primary and by supplementary group; over TCP the kernel names the user only."""
        for person, is_member in (
            (people.a, False),
            (people.b, True),
            (people.c, True),
            (people.d, False),
        ):
            response = ruled.ask(subject, address=place(person, listener))
            if is_member and listener == "unix":
                expect.token(response, subject)
            else:
                description = refused(response)
                assert ("over TCP" in description) == (listener != "unix")


class TestGroupsByNumber(Table):
    def rules(self, daemon, people):
        return [rule("team", group=str(people.team.gr_gid), user=people.c.name)]

    def test_all_conditions_must_hold(self, ruled, place, people, issuer, subject):
        expect.token(ruled.ask(subject, address=place(people.c, "unix")), subject)
        refused(ruled.ask(subject, address=place(people.b, "unix")))


@pytest.mark.parametrize("listener", LISTENERS)
class TestUnits(Table):
    """Nobody here is in a unit; tests in a booted machine show the other side."""

    def rules(self, daemon, people):
        return [
            rule("a-in-unit", user=people.a.name, unit="crm-sync.service"),
            rule("b-in-unit", user=people.b.name, unit="worker@*.service"),
            rule("b-outside", user=people.b.name, subjects=["username:outside-*"]),
        ]

    def test_the_right_user_outside_of_the_unit(self, ruled, place, people, issuer, listener):
        refused(ruled.ask("pa", address=place(people.a, listener)))
        assert issuer.requests() == 0

    def test_a_later_rule_for_the_user(self, ruled, place, people, issuer, listener):
        here = place(people.b, listener)
        expect.token(ruled.ask("outside-pa", address=here), "outside-pa")
        refused(ruled.ask("pa", address=here), "b-outside", "username:pa")


@pytest.mark.parametrize("listener", LISTENERS)
class TestKeys(Table):
    def rules(self, daemon, people):
        return [
            rule("a-key", user=people.a.name, key_file=daemon.put_key("a", KEY)),
            rule("b-key", user=people.b.name, key_file=daemon.put_key("b", OTHER_KEY)),
            rule("b", user=people.b.name, subjects=["username:open-*"]),
        ]

    def test_right(self, ruled, place, people, issuer, listener, subject):
        here = place(people.a, listener)
        expect.token(ruled.ask(subject, address=here, client_secret=KEY), subject)
        expect.token(ruled.get(subject, address=here, client_secret=KEY), subject)

    @pytest.mark.parametrize("encode", [str, quote_plus], ids=["raw", "encoded"])
    def test_right_as_basic(self, ruled, place, people, issuer, listener, subject, encode):
        response = ruled.post(
            question(subject, client_id=None),
            [basic("portal", encode(KEY))],
            address=place(people.a, listener),
        )
        expect.token(response, subject)

    @pytest.mark.parametrize(
        "key", ["wrong", "", KEY + "x", KEY[:-1], KEY + "\n", OTHER_KEY, None], ids=repr
    )
    def test_wrong_or_missing(self, ruled, place, people, issuer, listener, key):
        here = place(people.a, listener)
        response = ruled.ask("pa", address=here, client_secret=key)
        assert "key_file" in expect.error(response, 401, "invalid_client")
        if key:
            response = ruled.post(question("pa"), [basic("portal", key)], address=here)
            expect.error(response, 401, "invalid_client")
        assert issuer.requests() == 0

    def test_a_key_proves_nothing_alone(self, ruled, place, people, issuer, listener):
        for person in (people.d, people.c):
            refused(ruled.ask("pa", address=place(person, listener), client_secret=KEY))
        response = ruled.ask("pa", address=place(people.a, listener), client_secret=OTHER_KEY)
        expect.error(response, 401, "invalid_client")

    def test_without_it_a_later_rule_decides(self, ruled, place, people, issuer, listener):
        """And then there is no talk of keys."""
        here = place(people.b, listener)
        expect.token(ruled.ask("pa", address=here, client_secret=OTHER_KEY), "pa")
        for key in (None, "wrong", KEY):
            expect.token(ruled.ask("open-pa", address=here, client_secret=key), "open-pa")
            refused(ruled.ask("pa", address=here, client_secret=key), "b", "username:pa")

    def test_is_for_each_request(self, ruled, place, people, issuer, listener):
        with Connection(place(people.a, listener)) as connection:
            for key, status in ((KEY, 200), ("wrong", 401), (KEY, 200), (None, 401)):
                connection.send(form_request(question("pa", client_secret=key)))
                assert connection.receive().status == status


class TestOrder(Table):
    def rules(self, daemon, people):
        return [
            rule("narrow", user=people.c.name, subjects=["userid:*"]),
            rule("other", user=people.d.name),
            rule("wide", group=people.team.gr_name, clients=["portal", "crm"]),
        ]

    def test_the_first_decides_alone(self, ruled, place, people, issuer):
        """What a later rule would give does not count."""
        refused(ruled.ask("pa", address=place(people.c, "unix")), "narrow", "username:pa")
        response = ruled.ask("4711", "userid", client_id="crm", address=place(people.c, "unix"))
        refused(response, "narrow", "the client application crm")
        expect.token(ruled.ask("47", "userid", address=place(people.c, "unix")), "47", "userid")

    def test_only_a_later_one(self, ruled, place, people, issuer):
        here = place(people.b, "unix")
        expect.token(ruled.ask("pa", client_id="crm", address=here), "pa", client=CRM)
        refused(ruled.ask("4711", "userid", address=here), "wide", "userid:4711")


class TestRights(Table):
    def rules(self, daemon, people):
        return [
            rule(
                "a",
                user=people.a.name,
                subjects=["username:p*", "email:*@example.com"],
                scopes=["knowledge.*.read"],
            ),
            rule("b", user=people.b.name),
            {"name": "c", "user": people.c.name, "monitor": True},
            rule("d", user=people.d.name, subjects=["email:nobody"]),
        ]

    def test_every_scope_of_the_set(self, ruled, place, people, issuer, subject):
        here = place(people.a, "unix")
        expect.token(ruled.ask("pa", address=here), "pa")
        expect.token(ruled.ask("pa", address=here, scope=None), "pa")
        for scope in (MANAGE, f"{READ} {MANAGE}", f"{MANAGE} {READ}"):
            refused(ruled.ask("pa", address=here, scope=scope), "a", MANAGE)
        refused(ruled.ask("pa", address=here, scope=f"{READ}x"), "a", f"{READ}x")

    def test_more_than_was_asked_for(self, ruled, place, people, issuer, subject):
        """A token that the issuer granted too much goes to those who may have all of it."""
        granted = f"{READ} {MANAGE}"
        issuer.behave(granted_scope=granted)

        def served(response, name):
            assert response.status == 200, response
            assert response.json()["scope"] == granted
            expect.claims(response.json()["access_token"], name)

        may, may_not = place(people.b, "unix"), place(people.a, "unix")
        for _ in range(2):
            served(ruled.ask("pax", address=may), "pax")
            response = ruled.ask("pax", address=may_not)
            assert "granted more" in expect.error(response, 502, "server_error")
        # Also where it was he who has caused the fetch.
        name = f"p-{subject}"
        expect.error(ruled.ask(name, address=may_not), 502, "server_error")
        served(ruled.ask(name, address=may), name)
        assert issuer.requests() == 2

    def test_a_rule_without_rights(self, ruled, place, people, issuer):
        refused(ruled.ask("pa", address=place(people.c, "unix")), "c", "client application portal")

    NASTY = [
        'quo"ted\\back',
        "ünïcode-\u65e5\u672c",
        "a" * 256,
        "%s%n%d",
        "</script>",
        "\u202egnp",
        "é" * 128,
        "line\u2028separator",
        " ",
    ]

    @pytest.mark.parametrize("name", NASTY, ids=lambda name: ascii(name)[:20])
    def test_the_text_of_a_refusal(self, ruled, place, people, issuer, name):
        """It has the characters that RFC 6749 §5.2 allows, whatever the subject is made of."""
        for ask in (ruled.ask, ruled.get):
            description = refused(ask(name, address=place(people.d, "unix")), "d", "username:")
            shown = re.sub(r"[^ -~]|[\"\\]", "?", name.encode().decode("latin-1"))
            assert f"username:{shown[:64]}" in description

    @pytest.mark.parametrize("listener", LISTENERS)
    def test_a_hit_does_not_leak(self, ruled, place, people, issuer, listener):
        """Nothing in an answer tells whether somebody else has got the token."""
        here = place(people.d, listener)
        expect.token(ruled.ask("cached", address=place(people.b, listener)), "cached")
        expect.hit(ruled.ask("cached", address=place(people.b, listener)), "cached")

        def answers(name):
            targets = "/v1/explain?", "/v1/token?"
            forms = [form(question(name)), form(question(name, scope=MANAGE))]
            responses = [ruled.post(body, address=here) for body in forms]
            responses += [
                ruled.request("GET", target + body.decode(), headers, address=here)
                for target in targets
                for body in forms
                for headers in (
                    [("Metadata", "true")],
                    [("Metadata", "true"), ("Accept", "text/plain")],
                )
            ]
            for response in responses:
                refused(response, "d", name)
                assert response.header("Cache-Status") is None
                ruled.check_answer(response.body.decode())
            return [
                (
                    response.status,
                    [header for header in response.headers if header[0] != "Date"],
                    response.body.replace(name.encode(), b"NAME"),
                )
                for response in responses
            ]

        before = issuer.requests()
        assert answers("cached") == answers("absent")
        assert issuer.requests() == before

    def test_nobody_joins_a_flight_of_others(self, ruled, place, people, issuer, subject):
        issuer.behave(hold=True)
        with people.b.connect(ruled.unix) as waiting:
            waiting.send(ask_bytes(subject))
            issuer.wait_for("held", 1)
            refused(ruled.ask(subject, address=place(people.d, "unix")), "d", subject)
            issuer.release()
            expect.token(waiting.receive(), subject)

    def test_explain_shows_state_to_monitors_only(self, ruled, place, people, issuer, subject):
        expect.token(ruled.ask(subject, address=place(people.b, "unix")), subject)
        explanation = ruled.explain(subject, address=place(people.b, "unix"))
        assert set(explanation) == {"permitted", "rule", "client", "subject", "scope"}
        assert explanation == ruled.explain(subject, address=place(people.b, "unix"))
        assert explanation["rule"] == "b"
