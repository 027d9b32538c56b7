# SPDX-License-Identifier: MIT
"""The fault proxy, the moving name and each upheaval alone: that they do what they say."""

import contextlib
import http.client
import json
import random
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import upheaval
from names import Names
from proxy import BREAKING, FAULTS, Proxy
from world import ADDRESSES, NOBODY, World, now_ms

import expect
from harness import CLIENTS, LOBBY, PORTAL, Issuer, form, payload, question, rule
from wire import eventually

# What a caller sees of an answer that is no good.
BROKEN = (http.client.HTTPException, OSError, ValueError)

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def plain_issuer():
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(plain_issuer):
    plain_issuer.reset()
    return plain_issuer


@pytest.fixture
def proxy(issuer):
    with Proxy((issuer.host, issuer.port), seed=4711) as proxy:
        yield proxy


class Caller:
    """Asks the issuer itself, as the daemon does, through a proxy."""

    def __init__(self, issuer, proxy, host="127.0.0.1"):
        self._path = urlsplit(issuer.url(PORTAL)).path
        more = {"client_id": PORTAL.client_id, "client_secret": PORTAL.secret}
        self._body = form({**question("pa"), **more})
        self.connection = http.client.HTTPConnection(host, proxy.port, timeout=20)

    def ask(self):
        self.connection.request("POST", self._path, self._body, FORM)
        response = self.connection.getresponse()
        body = response.read()
        assert response.status == 200
        # http.client takes the end of the connection for the end of headers, too.
        return json.loads(body)["access_token"]


class TestProxy:
    def ask(self, issuer, proxy, **options):
        caller = Caller(issuer, proxy, **options)
        with contextlib.closing(caller.connection):
            return caller.ask()

    def test_passes(self, issuer, proxy):
        caller = Caller(issuer, proxy)
        with contextlib.closing(caller.connection):
            for _ in range(20):
                assert payload(caller.ask())["sub"] == "pa"
        counts = proxy.counts()
        assert (counts["connections"], counts["turns"], counts["pass"]) == (1, 20, 20)
        eventually(lambda: proxy.counts()["open"] == 0, "the connection to be gone")

    @pytest.mark.parametrize("fault", BREAKING)
    def test_breaks(self, issuer, proxy, fault):
        proxy.set_mix({fault: 1})
        for _ in range(10):
            with pytest.raises(BROKEN):
                self.ask(issuer, proxy)
            # Who listens again after a refusal has been told so by then.
            eventually(lambda: self.listens(issuer, proxy), "somebody to listen")
        counts = proxy.counts()
        assert counts[fault] == 10
        assert {name for name in FAULTS if counts[name]} <= {fault, "pass"}
        # A request that was cut has not arrived as a whole.
        arrived = 0 if fault in ("cut_request", "refuse") else 10
        assert issuer.requests() == arrived

    @staticmethod
    def listens(issuer, proxy):
        with contextlib.suppress(ConnectionError):
            connection = Caller(issuer, proxy).connection
            connection.connect()
            connection.close()
            return True

    @pytest.mark.parametrize("fault", ["delay", "bytewise"])
    def test_delays(self, issuer, proxy, fault):
        proxy.set_mix({fault: 1})
        for _ in range(3):
            assert payload(self.ask(issuer, proxy))["sub"] == "pa"
        assert proxy.counts()[fault] == 3

    def test_stalls_until_released(self, issuer, proxy, monkeypatch):
        proxy.set_mix({"stall": 1})
        caller = Caller(issuer, proxy)
        with contextlib.closing(caller.connection) as connection:
            started = time.monotonic()
            connection.request("POST", caller._path, caller._body, FORM)
            eventually(lambda: proxy.counts()["stall"] == 1, "a stall")
            assert proxy.release() == 1
            assert connection.getresponse().status == 200
            # Nobody was let go by time, which takes half a second at least.
            assert proxy.release() == 0 or time.monotonic() - started > 0.5

    def test_a_mix_follows_from_the_seed(self, issuer):
        seen = []
        for seed in (1, 1, 2):
            with Proxy((issuer.host, issuer.port), seed) as proxy:
                proxy.set_mix({"pass": 1, "reset": 1, "cut_answer": 1})
                outcomes = []
                for _ in range(30):
                    try:
                        self.ask(issuer, proxy)
                        outcomes.append("pass")
                    except BROKEN as failure:
                        outcomes.append(type(failure).__name__)
                seen.append(outcomes)
                counts = proxy.counts()
                assert counts["pass"] == outcomes.count("pass")
                assert counts["turns"] == 30
        assert seen[0] == seen[1] != seen[2]

    def test_all_at_once(self, issuer, proxy):
        """Faults of one turn upon those of the turn before, on connections that are kept."""
        proxy.set_mix({fault: 1 for fault in FAULTS if fault not in ("stall", "refuse")})
        good = bad = 0
        for _ in range(60):
            caller = Caller(issuer, proxy)
            with contextlib.closing(caller.connection):
                try:
                    for _ in range(10):
                        assert payload(caller.ask())["sub"] == "pa"
                        good += 1
                except BROKEN:
                    bad += 1
        counts = proxy.counts()
        assert good and bad
        assert all(counts[fault] for fault in FAULTS if fault not in ("stall", "refuse"))
        assert sum(counts[fault] for fault in BREAKING) == bad

    def test_nobody_listens(self, issuer, proxy):
        for seconds in (3600, 0.2):
            proxy.refuse(seconds)
            with pytest.raises(ConnectionRefusedError):
                self.ask(issuer, proxy)
        eventually(lambda: self.listens(issuer, proxy), "somebody to listen")
        assert self.ask(issuer, proxy)
        proxy.refuse(3600)
        proxy.admit()
        eventually(lambda: self.listens(issuer, proxy), "somebody to listen")

    def test_breaks_all(self, issuer, proxy):
        caller = Caller(issuer, proxy)
        with contextlib.closing(caller.connection):
            caller.ask()
            assert proxy.break_all() == 1
            with pytest.raises(BROKEN):
                caller.ask()

    def test_an_issuer_that_is_gone(self, issuer):
        with Issuer() as gone:
            address = (gone.host, gone.port)
        with Proxy(address, seed=1) as proxy:
            with pytest.raises(BROKEN):
                self.ask(issuer, proxy)
            assert proxy.counts()["unreachable"] == 1

    def test_several_addresses(self, issuer):
        with Proxy((issuer.host, issuer.port), seed=1, addresses=ADDRESSES) as proxy:
            for address in (*ADDRESSES, ADDRESSES[1]):
                self.ask(issuer, proxy, host=address)
            assert proxy.counts()["by_address"] == {ADDRESSES[0]: 1, ADDRESSES[1]: 2}
            with pytest.raises(ConnectionRefusedError):
                self.ask(issuer, proxy, host=NOBODY)


class TestNames:
    def test_point_elsewhere(self, tmp_path):
        """One process after the other sees it as it is then; nobody else ever does."""
        names = Names(tmp_path)
        command = names.run_under(["getent", "ahostsv4", names.name])
        with contextlib.closing(names):
            for addresses in (["127.0.0.1"], ["127.0.0.2"], [], ["127.0.0.3", "127.0.0.1"]):
                names.point_at(addresses)
                run = subprocess.run(command, capture_output=True, text=True, timeout=30)
                assert {line.split()[0] for line in run.stdout.splitlines()} == set(addresses)
            assert names.name not in Path("/etc/hosts").read_text()


WORLDS = pytest.mark.parametrize(
    "how", [{}, {"tls": True}, {"http2": True}], ids=["plain", "tls", "http2"]
)


class TestWorld:
    @WORLDS
    def test_serves(self, how):
        with World(1, **how) as world:
            for client in ("portal", "crm", "staff"):
                expect.token(world.daemon.ask("pa", client_id=client), "pa", **named(world, client))
            assert world.proxy.counts()["turns"] >= 3

    def test_a_corrupt_record_is_seen(self):
        """What is another byte is a failure of the connection, whichever byte it was."""
        with World(2, tls=True) as world:
            world.proxy.set_mix({"corrupt": 1})
            for number in range(20):
                assert world.daemon.ask(f"user-{number}").status in (502, 503, 504)
            assert world.proxy.counts()["corrupt"] >= 5
            assert world.issuer.control("GET", "counters")["tokens"] == 0

    def test_a_name_that_moves(self):
        """A new connection goes where the name points at its time, a minute's memory aside: what
        the daemon remembers of a name ends with its life."""
        with World(3, tls=True) as world:
            expect.token(world.daemon.ask("a"), "a")
            for address in (ADDRESSES[1], ADDRESSES[0]):
                world.names.point_at(address)
                before = world.proxy.counts()["by_address"].get(address, 0)
                world.stop(warm=False)
                assert not world.revive()
                expect.token(world.daemon.ask("a"), "a")
                assert world.proxy.counts()["by_address"][address] == before + 1
            world.names.point_at(())
            world.stop()
            assert world.revive()
            expect.hit(world.daemon.ask("a"), "a")
            expect.unavailable(world.daemon.ask("b"))

    def test_lives(self):
        """Warm, cold and killed; who watches is told in time."""
        with World(4) as world:
            heard = []
            world.tell = heard.extend
            world.before_stop = lambda orderly: heard.append(orderly)
            world.after_start = lambda: heard.append("started")
            tokens = [world.daemon.ask("a").json()["access_token"]]
            for end in (world.stop, lambda: world.stop(warm=False), world.kill):
                end()
                world.revive()
                tokens.append(world.daemon.ask("a").json()["access_token"])
            assert tokens[0] == tokens[1] and len(set(tokens)) == 3
            taken = [index for index, line in enumerate(heard) if str(line).startswith("taken ")]
            assert [heard[index + 1] for index in taken] == ["up", "up"]
            assert [line for index, line in enumerate(heard) if index not in taken] == [
                *(True, "down", "started", "up"),
                *(True, "down", "started", "up"),
                *(False, "down", "started", "up"),
            ]
            for index, first in zip(taken, (2, 3)):
                _, *what, at_ms = heard[index].split()
                assert what == ["*"] * 4
                minted = [payload(token)["minted_ms"] for token in tokens]
                assert [one < int(at_ms) for one in minted] == [n < first for n in range(4)]

    def test_effects_end(self):
        with World(5) as world:
            world.behave(3600, status=500)
            over = []
            world.last(0, lambda: over.append("due"))
            world.last(3600, lambda: over.append("later"))
            world.expire()
            assert over == ["due"]
            expect.unavailable(world.daemon.ask("a"))
            world.calm()
            assert over == ["due", "later"]
            expect.token(world.daemon.ask("b"), "b")


def named(world, client):
    return {"client": world.clients[client]}


SEEDS = 3


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "tls"])
def world(request):
    with World(6, tls=request.param) as world:
        yield world


class TestUpheavals:
    def test_a_client_goes_with_its_rights(self):
        """Rules name it, too, and one of them nobody else."""
        names = [client.name for client in (*CLIENTS, LOBBY)]
        callers = [
            rule("all", user="root", clients=names),
            *(rule(name, user=str(uid), clients=[name]) for uid, name in enumerate(names, 1000)),
        ]
        with World(11, callers=callers) as world:
            for seed in range(4):
                record = upheaval.ACTIONS["client_is_removed"].run(world, random.Random(seed))
                gone = world.clients[record["detail"]["client"]]
                assert world.daemon.ask("a", client_id=gone.name).status == 401
                world.calm()
                if gone is not LOBBY:
                    answer = world.daemon.ask("a", client_id=gone.name)
                    expect.token(answer, "a", client=gone)

    @pytest.mark.parametrize("name", sorted(upheaval.ACTIONS))
    def test_alone(self, world, name):
        """It happens, is undone, and then somebody who was never asked for is served again."""
        act = upheaval.ACTIONS[name]
        if act not in upheaval.possible(world):
            return
        heard = []
        world.tell = heard.extend
        expect.token(world.daemon.ask("user-1"), "user-1")
        for seed in range(SEEDS):
            told = len(heard)
            record = act.run(world, random.Random(seed))
            assert record["before_ms"] <= record["after_ms"] <= now_ms()
            assert record["tell_before"] + record["tell_after"] == heard[told:]
            json.dumps(record)
            world.calm()
        # What it remembers ends with its life; secrets and identities must be right without.
        world.kill()
        world.revive()
        for client in world.clients.values():
            if client.kinds == ("anonymous",):
                continue
            answer = world.daemon.ask("nobody-yet", client_id=client.name)
            expect.token(answer, "nobody-yet", **named(world, client.name))
        assert heard.count("repeats on") == heard.count("repeats off")
        gone = [line.split()[1] for line in heard if line.startswith("gone ")]
        assert gone == [line.split()[1] for line in heard if line.startswith("back ")]

    def test_an_issuer_repeats_itself_until_the_last_rule_has_ended(self, world):
        heard = []
        world.tell = heard.extend
        for seconds in (60, 0):
            world.repeat(seconds, every=2)
        world.expire()
        assert heard == ["repeats on"]
        assert world.repeats()
        world.calm()
        assert heard == ["repeats on", "repeats off"]
        world.tell = lambda lines: None

    def test_drawn_from_a_seed(self):
        with World(7) as world:
            names = [
                [upheaval.pick(world, rng).name for _ in range(300)]
                for rng in (random.Random(1), random.Random(1), random.Random(2))
            ]
        assert names[0] == names[1] != names[2]
        assert set(names[0]) == {name for name in upheaval.ACTIONS if name != "name_moves"}

    @pytest.mark.parametrize("text", upheaval.BAD_TEXTS)
    def test_bad_configurations_are(self, world, text):
        world.daemon.path.write_text(world.daemon.configuration() + text)
        assert world.daemon.request("POST", "/v1/reload").status == 409

    @pytest.mark.parametrize("changes", upheaval.CHANGES, ids=str)
    def test_good_configurations_are(self, world, changes):
        class Fixed(random.Random):
            def choice(self, of):
                assert of is upheaval.CHANGES
                return changes

        upheaval.ACTIONS["limits_are_changed"].run(world, Fixed())
        expect.token(world.daemon.ask("a"), "a")
        world.calm()

    @pytest.mark.parametrize("how", upheaval.ROTATIONS)
    def test_rotations(self, world, how):
        """In every order, the new secret is used in the end and the old one is dead."""

        class Fixed(random.Random):
            def choice(self, of):
                return how if of is upheaval.ROTATIONS else "portal"

        before = payload(world.daemon.ask(f"before-{how}").json()["access_token"])["secret"]
        upheaval.ACTIONS["secret_is_rotated"].run(world, Fixed(how))
        token = world.daemon.ask(f"rotated-{how}").json()["access_token"]
        assert payload(token)["secret"] > before
        assert world.secret_in_file("portal") == world.secrets["portal"][-1]
