# SPDX-License-Identifier: MIT
"""The way to the issuer: proxies, kept connections, addresses, names, client certificates."""

import contextlib
import selectors
import socket
import threading
import time

import pytest

import expect
from harness import PORTAL, Daemon, Issuer, ask_bytes, free_port
from scrape import scrape
from tls import CLIENTS
from wire import Fleet, connect, eventually

GOOD = CLIENTS["good"]
MTLS = CLIENTS["mtls"]


class Relay:
    """Accepts connections and passes bytes on to an address, in a thread of its own.

    A subclass may ask for a head first. `poison` makes every connection there is break as soon as
    something more is sent on it: what happens when the other side closes it at that moment. `mute`
    makes them take everything and pass on nothing: what a gateway does that forgot them.
    """

    def __init__(self, target=None, host="127.0.0.1"):
        self.target = target
        self.host = host
        self.accepted = 0
        self.broken = 0
        self.poisoned = set()
        self.muted = set()
        self._pairs = {}
        self._lock = threading.Lock()
        self._ending = False
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._turn, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending = True
        with contextlib.suppress(OSError):
            socket.create_connection((self.host, self.port)).close()
        self._thread.join(30)
        self._listener.close()

    def open_target(self, caller):
        """Where a new connection leads; None: nowhere."""
        return connect(self.target)

    def poison(self):
        with self._lock:
            self.poisoned = set(self._pairs)
            return len(self.poisoned) // 2

    def mute(self):
        with self._lock:
            self.muted = set(self._pairs)
            return len(self.muted) // 2

    def close_all(self):
        """Closes what is idle, as a server does."""
        with self._lock:
            for end in self._pairs:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _drop(self, selector, end):
        with self._lock:
            other = self._pairs.pop(end, None)
            self._pairs.pop(other, None)
        for one in (end, other):
            if one is not None:
                with contextlib.suppress(KeyError):
                    selector.unregister(one)
                one.close()

    def _accept(self, selector):
        caller, _ = self._listener.accept()
        if self._ending:
            caller.close()
            return
        caller.settimeout(10)
        self.accepted += 1
        target = None
        with contextlib.suppress(OSError):
            target = self.open_target(caller)
        if target is None:
            caller.close()
            return
        with self._lock:
            self._pairs[caller], self._pairs[target] = target, caller
        for end in (caller, target):
            selector.register(end, selectors.EVENT_READ)

    def _turn(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ending:
                for key, _ in selector.select(1):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                        continue
                    end = key.fileobj
                    if end not in self._pairs:
                        continue
                    data = b""
                    with contextlib.suppress(OSError):
                        data = end.recv(65536)
                    if data and end in self.poisoned:
                        self.broken += 1
                        data = b""
                    if not data:
                        self._drop(selector, end)
                        continue
                    if end in self.muted:
                        continue
                    with contextlib.suppress(OSError):
                        self._pairs[end].sendall(data)
            while self._pairs:
                self._drop(selector, next(iter(self._pairs)))


class Proxy(Relay):
    """An HTTP proxy that knows CONNECT and nothing else."""

    def __init__(self, answer=b"HTTP/1.1 200 OK\r\n\r\n"):
        super().__init__()
        self.answer = answer
        self.heads = []
        self.url = f"http://127.0.0.1:{self.port}"

    def open_target(self, caller):
        head = b""
        while b"\r\n\r\n" not in head:
            data = caller.recv(65536)
            if not data:
                return None
            head += data
        self.heads.append(head.decode())
        method, authority, _ = head.decode().split(" ", 2)
        target = None
        if method == "CONNECT" and b" 200 " in self.answer:
            # By address: not every machine has a hosts file that knows its name.
            target = connect(("127.0.0.1", int(authority.rpartition(":")[2])))
        caller.sendall(self.answer)
        return target


@pytest.fixture
def start_behind_tls(issuer, nginx, start_daemon):
    """Starts a daemon whose issuers are servers of nginx."""

    def start(*clients, urls=None, upstream=None, **settings):
        every = {}
        for client in clients:
            issuer.accept(client, client.secret)
            origin = f"https://localhost:{nginx.ports[client.name]}"
            every[client.name] = {
                f"{kind}_token_url": issuer.url(client, kind, origin)
                for kind in ("user", "customer")
            } | (urls or {})
        upstream = {"ca_file": nginx.directory / "ca.pem", **(upstream or {})}
        return start_daemon(clients=clients, urls=every, upstream=upstream, **settings)

    return start


class TestProxy:
    def check_used(self, daemon, proxy, nginx, subject):
        expect.miss(daemon.ask(subject, client_id=None), subject, client=GOOD)
        assert len(proxy.heads) == 1
        lines = proxy.heads[0].split("\r\n")
        assert lines[0] == f"CONNECT localhost:{nginx.ports['good']} HTTP/1.1"
        # The tunnel is kept, like any connection, and nothing of ours is told to the proxy.
        expect.miss(daemon.ask(f"more-{subject}", client_id=None), f"more-{subject}", client=GOOD)
        assert len(proxy.heads) == 1
        assert PORTAL.secret not in proxy.heads[0] and subject not in proxy.heads[0]

    def check_not_used(self, daemon, proxy, subject):
        expect.miss(daemon.ask(subject, client_id=None), subject, client=GOOD)
        assert proxy.accepted == 0

    def test_by_configuration(self, start_behind_tls, nginx, subject):
        with Proxy() as proxy:
            daemon = start_behind_tls(GOOD, upstream={"proxy": proxy.url})
            self.check_used(daemon, proxy, nginx, subject)

    @pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
    def test_by_environment(self, start_behind_tls, nginx, subject, name):
        with Proxy() as proxy:
            daemon = start_behind_tls(GOOD, env={name: proxy.url})
            self.check_used(daemon, proxy, nginx, subject)

    @pytest.mark.parametrize("value", ["localhost", "*", "example.com,localhost"])
    def test_but_not_for_no_proxy_of_the_environment(self, start_behind_tls, subject, value):
        with Proxy() as proxy:
            daemon = start_behind_tls(GOOD, env={"https_proxy": proxy.url, "no_proxy": value})
            self.check_not_used(daemon, proxy, subject)

    def test_but_not_for_no_proxy_of_the_configuration(self, start_behind_tls, subject):
        with Proxy() as proxy:
            upstream = {"proxy": proxy.url, "no_proxy": "example.com,localhost"}
            daemon = start_behind_tls(GOOD, upstream=upstream)
            self.check_not_used(daemon, proxy, subject)

    def test_the_configuration_prevails(self, start_behind_tls, nginx, subject):
        with Proxy() as proxy, Proxy() as other:
            daemon = start_behind_tls(
                GOOD, upstream={"proxy": proxy.url}, env={"https_proxy": other.url}
            )
            self.check_used(daemon, proxy, nginx, subject)
            assert other.accepted == 0

    def test_none_whatever_the_environment_says(self, start_behind_tls, subject):
        with Proxy() as proxy:
            daemon = start_behind_tls(GOOD, upstream={"proxy": ""}, env={"https_proxy": proxy.url})
            self.check_not_used(daemon, proxy, subject)

    @pytest.mark.parametrize("where", ["configuration", "environment"])
    def test_never_for_a_loopback_http_url(self, start_daemon, issuer, subject, where):
        with Proxy() as proxy:
            settings = {"upstream": {"proxy": proxy.url}}
            if where == "environment":
                names = ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY")
                settings = {"env": dict.fromkeys(names, proxy.url)}
            daemon = start_daemon(**settings)
            expect.miss(daemon.ask(subject), subject)
            assert proxy.accepted == 0

    @pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
    def test_one_that_refuses(self, start_behind_tls, issuer, subject, status):
        answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
        with Proxy(answer) as proxy:
            daemon = start_behind_tls(GOOD, upstream={"proxy": proxy.url})
            expect.unavailable(daemon.ask(subject, client_id=None))
            daemon.output.wait_for(f"no token from .*: issuer_unreachable: .*{status[:3]}")
            memory = daemon.explain(subject, client_id=None)["memory"]
            assert memory["reason"] == "issuer_unreachable"
            assert len(proxy.heads) == 3
        assert issuer.requests() == 0

    def test_one_that_is_gone(self, start_behind_tls, issuer, subject):
        upstream = {"proxy": f"http://127.0.0.1:{free_port()}"}
        daemon = start_behind_tls(GOOD, upstream=upstream)
        expect.unavailable(daemon.ask(subject, client_id=None))
        daemon.output.wait_for("no token from .*: issuer_unreachable: ")
        assert issuer.requests() == 0


class TestKeptConnections:
    """What the issuer closed while it was idle costs nobody an error, and one more sending."""

    @pytest.fixture
    def relay(self, issuer):
        with Relay(("127.0.0.1", issuer.port)) as relay:
            yield relay

    @pytest.fixture
    def relayed(self, issuer, start_daemon, relay):
        origin = f"http://127.0.0.1:{relay.port}"
        urls = {
            f"{kind}_token_url": issuer.url(PORTAL, kind, origin) for kind in ("user", "customer")
        }
        return start_daemon(clients=[PORTAL], urls={"portal": urls})

    def gather(self, daemon, issuer, subject, count):
        """Has so many connections made, and kept."""
        issuer.behave(hold=True)
        with Fleet(daemon.unix, count) as fleet:
            fleet.send(lambda index: ask_bytes(f"{subject}-{index}"))
            issuer.wait_for("held", count)
            issuer.reset()
            for index, response in enumerate(fleet.collect()):
                expect.token(response, f"{subject}-{index}")
        issuer.reset()

    def test_are_used_again(self, relayed, relay, subject):
        for number in range(10):
            expect.miss(relayed.ask(f"{subject}-{number}"), f"{subject}-{number}")
        assert relay.accepted == 1

    def test_one_that_was_closed(self, relayed, issuer, relay, subject):
        self.gather(relayed, issuer, subject, 8)
        assert relay.accepted == 8
        relay.close_all()
        expect.miss(relayed.ask(subject), subject)
        assert issuer.requests() == 1

    @pytest.mark.parametrize("count", [1, 12])
    def test_one_that_is_closed_while_we_send(self, relayed, issuer, relay, subject, count):
        """Once more and on a new connection, however many there are that were kept."""
        self.gather(relayed, issuer, subject, count)
        assert relay.poison() == count
        expect.miss(relayed.ask(subject), subject)
        assert relay.broken == 1
        assert relay.accepted == count + 1
        assert issuer.requests() == 1
        text = relayed.stop()
        assert "no token from" not in text

    def test_a_new_one_that_breaks_is_a_failure(self, relayed, issuer, relay, subject):
        """It is tried three times in all, like any other failure."""
        issuer.behave(close=True)
        expect.unavailable(relayed.ask(subject))
        assert issuer.requests() == relay.accepted == 3
        assert relayed.explain(subject)["memory"]["reason"] == "issuer_cut"


class TestDeadConnections:
    """A kept one that breaks, or takes everything and says nothing any more, costs the time-out of
    a request at most: over HTTP/2, too, where the end of a request is no end of its connection."""

    @pytest.fixture(params=["http1", "good"])
    def server(self, request):
        return request.param

    @pytest.fixture
    def relay(self, nginx, server):
        with Relay(nginx.address(server)) as relay:
            yield relay

    @pytest.fixture
    def relayed(self, issuer, start_behind_tls, relay, server):
        """With one connection that is kept."""
        client = CLIENTS[server]
        urls = {"user_token_url": issuer.url(client, origin=f"https://localhost:{relay.port}")}
        daemon = start_behind_tls(client, urls=urls, upstream={"timeout": "2s"})
        expect.miss(daemon.ask("pa", client_id=None), "pa", client=client)
        return daemon

    def test_are_not_used_again(self, relayed, issuer, relay, server, subject):
        assert relay.mute() == 1
        for number in range(3):
            asked_for = f"{subject}-{number}"
            response = relayed.ask(asked_for, client_id=None)
            expect.miss(response, asked_for, client=CLIENTS[server])
        assert relay.accepted == 2
        assert issuer.requests() == 4

    def test_with_many_requests_on_it(self, relayed, relay, issuer, server, subject):
        """The first that times out is tried again; what came later is sent on new connections, and
        has not failed."""
        assert relay.mute() == 1
        with Fleet(relayed.unix, 9) as fleet:
            fleet.connections[0].send(ask_bytes(f"{subject}-0", client_id=None))
            time.sleep(0.5)  # of the two seconds that it has
            for index, connection in enumerate(fleet.connections[1:], 1):
                connection.send(ask_bytes(f"{subject}-{index}", client_id=None))
            for index, response in enumerate(fleet.collect()):
                expect.token(response, f"{subject}-{index}", client=CLIENTS[server])
        assert issuer.requests() == 10
        assert scrape(relayed).sum("egain_tokend_fetch_retries_total") == 1

    @pytest.mark.parametrize("server", ["good"], indirect=True)
    def test_that_break_with_many_requests_on_it(self, relayed, relay, issuer, subject):
        assert relay.mute() == 1
        with Fleet(relayed.unix, 9) as fleet:
            fleet.send(lambda index: ask_bytes(f"{subject}-{index}", client_id=None))
            eventually(
                lambda: scrape(relayed).value("egain_tokend_fetches_in_flight") == 9,
                "nine requests to be under way",
            )
            relay.close_all()
            for index, response in enumerate(fleet.collect()):
                expect.token(response, f"{subject}-{index}", client=GOOD)
        assert issuer.requests() == 10
        assert scrape(relayed).sum("egain_tokend_fetch_retries_total") == 0

    @pytest.mark.parametrize("server", ["good"], indirect=True)
    def test_but_not_where_one_request_is_slow(self, relayed, issuer, relay, server, subject):
        """Others are answered on it meanwhile."""
        slow, answers, n_others = f"{subject}-slow", [], 0
        issuer.behave(subject=f"username:{slow}", hold=True)
        asking = threading.Thread(
            target=lambda: answers.append(relayed.ask(slow, client_id=None)), daemon=True
        )
        asking.start()
        while asking.is_alive() or n_others == 0:
            other = f"{subject}-{n_others}"
            expect.miss(relayed.ask(other, client_id=None), other, client=CLIENTS[server])
            n_others += 1
            asking.join(0.05)
        expect.unavailable(answers[0])
        assert issuer.asked_for(slow) == 3
        assert relay.accepted == 1


class TestAddresses:
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_itself(self, subject, host):
        with Issuer(host=host) as issuer, Daemon(issuer) as daemon:
            expect.miss(daemon.ask(subject), subject)
            assert issuer.requests() == 1

    @staticmethod
    @contextlib.contextmanager
    def refusing(host, port):
        """The port is taken, and nobody listens: nor does a server of another test."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as taken:
            if family == socket.AF_INET6:
                taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind((host, port))
            yield

    @pytest.mark.parametrize("host, other", [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
    def test_a_name_of_both_families(self, issuer, start_behind_tls, nginx, subject, host, other):
        """localhost has an address of each (to libcurl, always), of which one does not answer."""
        with Relay(nginx.address("good"), host=host) as relay, self.refusing(other, relay.port):
            origin = f"https://localhost:{relay.port}"
            urls = {"user_token_url": issuer.url(GOOD, origin=origin)}
            daemon = start_behind_tls(GOOD, urls=urls)
            expect.miss(daemon.ask(subject, client_id=None), subject, client=GOOD)
            assert relay.accepted >= 1

    def test_a_name_that_does_not_resolve(self, start_daemon, subject):
        urls = {"portal": {"user_token_url": "https://issuer.invalid/oauth2/token"}}
        upstream = {"connect_timeout": "1s"}
        daemon = start_daemon(clients=[PORTAL], urls=urls, upstream=upstream)
        expect.unavailable(daemon.ask(subject))
        line = daemon.output.wait_for("^.*no token from .*$")[0]
        assert line.startswith("egain-tokend: warning: client 'portal': "), line
        assert "issuer.invalid" in line and "issuer_unreachable" in line, line
        assert daemon.explain(subject)["memory"]["reason"] == "issuer_unreachable"

    def test_a_resolver_that_hangs_holds_nobody_up(self, start_daemon, issuer, subject):
        """While one name is looked up, hits and other issuers are served."""
        urls = {"crm": {"user_token_url": "https://issuer.invalid/oauth2/token"}}
        daemon = start_daemon(urls=urls)
        with daemon.connect() as waiting:
            waiting.send(ask_bytes(subject, client_id="crm"))
            expect.miss(daemon.ask(subject), subject)
            for _ in range(10):
                expect.hit(daemon.ask(subject), subject)
            expect.unavailable(waiting.receive())


class TestClientCertificates:
    @staticmethod
    def files(nginx, name):
        return {
            "cert_file": nginx.directory / f"{name}.pem",
            "key_file": nginx.directory / f"{name}.key",
        }

    def test_with_one(self, start_behind_tls, nginx, subject):
        daemon = start_behind_tls(MTLS, urls=self.files(nginx, "known"))
        expect.miss(daemon.ask(subject, client_id=None), subject, client=MTLS)

    def test_each_client_has_its_own(self, start_behind_tls, issuer, nginx, subject):
        """A connection made with a certificate is not used for a client without it."""
        daemon = start_behind_tls(MTLS, GOOD, urls=self.files(nginx, "known"))
        del daemon.settings["clients"][1]["cert_file"], daemon.settings["clients"][1]["key_file"]
        good = daemon.settings["clients"][1]
        for kind in ("user", "customer"):
            url = daemon.settings["clients"][0][f"{kind}_token_url"]
            good[f"{kind}_token_url"] = url.replace(MTLS.tenant, GOOD.tenant)
        daemon.stop()
        daemon.start()
        expect.miss(daemon.ask(subject, client_id="mtls"), subject, client=MTLS)
        before = issuer.requests()
        assert daemon.ask(subject, client_id="good").status in (400, 502, 503)
        assert issuer.requests() == before
        expect.miss(daemon.ask(f"b-{subject}", client_id="mtls"), f"b-{subject}", client=MTLS)

    def test_without_one(self, start_behind_tls, issuer, subject):
        """nginx says so in a 400, which is a refusal like any other."""
        daemon = start_behind_tls(MTLS)
        expect.error(daemon.ask(subject, client_id=None), 400, "invalid_grant")
        daemon.output.wait_for("client 'mtls': no token from .*: subject_refused: status 400")
        assert issuer.requests() == 0

    def test_with_a_strangers(self, start_behind_tls, issuer, nginx, subject):
        daemon = start_behind_tls(MTLS, urls=self.files(nginx, "unknown"))
        assert daemon.ask(subject, client_id=None).status in (400, 502, 503)
        daemon.output.wait_for("client 'mtls': ")
        assert issuer.requests() == 0

    def test_with_a_key_that_is_not_its_own(self, start_behind_tls, issuer, nginx, subject):
        files = self.files(nginx, "known") | {"key_file": nginx.directory / "unknown.key"}
        daemon = start_behind_tls(MTLS, urls=files)
        response = daemon.ask(subject, client_id=None)
        assert response.status in (502, 503)
        daemon.output.wait_for("client 'mtls': no token from ")
        assert issuer.requests() == 0

    @pytest.mark.parametrize("mode", [0o644, 0o604, 0o660])
    def test_a_key_that_others_can_read(self, nginx, tmp_path, mode):
        key = tmp_path / "client.key"
        key.write_bytes((nginx.directory / "known.key").read_bytes())
        key.chmod(mode)
        files = self.files(nginx, "known") | {"key_file": key}
        files["user_token_url"] = "https://localhost:1/oauth2/token"
        daemon = Daemon(clients=[MTLS], urls={"mtls": files})
        try:
            daemon.spawn_daemon()
            assert daemon.wait() == 78
            text = daemon.output.text()
            assert f"{mode:04o}" in text and str(key) in text, text
        finally:
            daemon.close()
