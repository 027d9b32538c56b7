# SPDX-License-Identifier: MIT
"""doc/nginx.md with a real nginx: its configuration is taken from there as it stands.

A browser (the test) talks TLS to nginx, nginx asks the daemon as its own user and passes the
request on, over TLS, to a small API server that records what it got. Only ports, paths and the name
of the unit, which is not there, are other than in the recipe.
"""

import base64
import contextlib
import json
import os
import pwd
import re
import select
import shutil
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import expect
from harness import READ, ROOT, Daemon, Program, environment, free_port, scratch_directory
from scrape import scrape
from tls import certify, make_authority
from wire import TIMEOUT, Connection, Fleet, eventually, http_request

RECIPE = (ROOT / "doc" / "nginx.md").read_text()
PASSWORD = "open sesame"
USERS = ["pa", "%61dmin", "admin", "bob&scope=x", "bob", "anna smith", "anna", "jörg müller"]
# Accounts that are nobody's name, or could be read as another's.
ODD_USERS = [" pa", "pa ", "a\tb", "a\x7fb", "x" * 257, b"\xff\xfe"]
BLOCKED = "carol"  # has an account with nginx, and is no subject of the daemon's rule

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin"),
    reason="needs root and nginx",
)


def block(pattern):
    """The one block of the recipe that the pattern is in."""
    found = [code for code in re.findall(r"```\w*\n(.*?)```", RECIPE, re.S) if pattern in code]
    assert len(found) == 1, found
    return found[0]


def replace_each(text, replacements):
    """Every one of them must be there."""
    for old, new in replacements.items():
        assert old in text, f"the recipe has no {old}"
        text = text.replace(old, str(new))
    return text


def as_bytes(name):
    return name if isinstance(name, bytes) else name.encode()


class Api:
    """eGain's API host, as far as a recipe needs one: it answers with what it is told to."""

    def __init__(self, certificate, key):
        self.reset()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                api.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
                api.requests.append((self.path, list(self.headers.items())))
                body = b"hello from the API"
                self.send_response(api.status)
                if api.challenge:
                    self.send_header("WWW-Authenticate", api.challenge)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

        self.server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # Each connection's handshake is its own thread's, so that none holds up the others.
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def reset(self):
        self.requests, self.bodies = [], []
        self.status, self.challenge = 200, None

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Tap:
    """A Unix socket before the daemon's that keeps what goes through it to the daemon."""

    def __init__(self, path, target):
        self.target = target
        self.bytes = b""
        self.cut = False  # the next request on a kept connection ends it, as a daemon may
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        os.chmod(path, 0o666)
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self.listener.accept()
                threading.Thread(target=self._carry, args=(caller,), daemon=True).start()

    def _carry(self, caller):
        kept = False
        with caller, socket.socket(socket.AF_UNIX) as daemon:
            daemon.connect(self.target)
            while True:
                for end in select.select([caller, daemon], [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    if end is daemon:
                        caller.sendall(data)
                        kept = True
                    elif kept and self.cut:
                        self.cut = False
                        return
                    else:
                        self.bytes += data
                        daemon.sendall(data)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Nginx(Program):
    """nginx with the recipe's configuration, before this daemon's socket and this API server."""

    def __init__(self, directory, unix, api, **other):
        super().__init__()
        self.directory = scratch_directory()
        self.port = free_port()
        users = self.directory / "portal.htpasswd"
        names = [as_bytes(name) for name in (*USERS, *ODD_USERS, BLOCKED)]
        users.write_bytes(b"".join(name + f":{{PLAIN}}{PASSWORD}\n".encode() for name in names))
        text = replace_each(
            block("auth_request "),
            {
                "/run/egain-tokend/token.sock": unix,
                "server api.ai.egain.cloud:443;": f"server 127.0.0.1:{api.port};",
                "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
                "/etc/ssl/certs/ca-certificates.crt": directory / "ca.pem",
                "/etc/nginx/portal.example.com": directory / "portal",
                "/etc/nginx/portal.htpasswd": users,
                "/run/nginx.pid": self.directory / "nginx.pid",
                "/var/log/nginx/": f"{self.directory}/",
                **other,
            },
        )
        path = self.directory / "nginx.conf"
        path.write_text(text)
        self.context = ssl.create_default_context(cafile=directory / "ca.pem")
        command = ["/usr/sbin/nginx", "-p", self.directory, "-c", path, "-g", "daemon off;"]
        self.spawn(command, env=environment())

        def listening():
            assert self.running(), f"nginx did not start:\n{self.output.text()}"
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return True

        eventually(listening, "nginx to listen")

    def connect(self, timeout=TIMEOUT):
        """As an address of wire.py: a browser's connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout)
        return self.context.wrap_socket(plain, server_hostname="portal.example.com")

    def get(self, user, path="/egain/knowledge", headers=(), password=PASSWORD):
        with Connection(self) as connection:
            return connection.request("GET", path, [*login(user, password), *headers])

    def log(self):
        return (self.directory / "error.log").read_text(errors="replace")

    def close(self):
        status = None
        if self.running():
            self.process.terminate()
            status = self.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
        return status


def login(user, password=PASSWORD):
    pair = as_bytes(user) + b":" + password.encode()
    return [("Authorization", "Basic " + base64.b64encode(pair).decode())]


@pytest.fixture(scope="module")
def certificates():
    directory = scratch_directory()
    make_authority(directory, "ca")
    certify(directory, "portal", "ca", "portal.example.com")
    certify(directory, "api", "ca", "api.ai.egain.cloud")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def api_process(certificates):
    with contextlib.closing(Api(certificates / "api.pem", certificates / "api.key")) as api:
        yield api


@pytest.fixture
def api(api_process):
    api_process.reset()
    return api_process


class RecipeDaemon(Daemon):
    """A daemon with the recipe's rule."""

    rule = replace_each(block("callers = ("), {' unit = "nginx.service";': ""})

    def configuration(self):
        return super().configuration() + self.rule


@pytest.fixture(scope="module")
def recipe_daemon(issuer_process):
    with RecipeDaemon(issuer_process) as daemon:
        yield daemon


@pytest.fixture
def daemon(recipe_daemon, issuer):
    """Instead of the one without rules: nobody's tokens are in memory."""
    recipe_daemon.request("DELETE", "/v1/tokens?client_id=portal")
    yield recipe_daemon
    assert recipe_daemon.running(), recipe_daemon.output.text()


@pytest.fixture(scope="module")
def nginx_process(recipe_daemon, api_process, certificates):
    nginx = Nginx(certificates, recipe_daemon.unix, api_process)
    yield nginx
    assert nginx.close() == 0


@pytest.fixture
def nginx(nginx_process, daemon, api):
    yield nginx_process
    assert nginx_process.running(), nginx_process.output.text()


def bearer(headers):
    """The token among the headers that the API got, which is there once."""
    values = [value for name, value in headers if name.lower() == "authorization"]
    assert len(values) == 1, headers
    scheme, _, token = values[0].partition(" ")
    assert scheme == "Bearer"
    return token


def passed(response, api, user):
    """The API was asked once, with a token of this user's and nobody else's."""
    assert (response.status, response.body) == (200, b"hello from the API"), response
    assert len(api.requests) == 1
    path, headers = api.requests.pop()
    token = bearer(headers)
    expect.claims(token, user)
    assert not response.values("Authorization")
    assert token not in str(response)
    return path, headers


class TestIdentity:
    @pytest.mark.parametrize("user", USERS)
    def test_everybody_is_himself(self, nginx, api, issuer, user):
        path, _ = passed(nginx.get(user), api, user)
        assert path == "/knowledge"
        passed(nginx.get(user, "/egain/a%20b?subject_username=admin&scope=x"), api, user)
        assert issuer.requests() == 1

    def test_all_together(self, nginx, api, issuer):
        """Names that could be taken for one another, at the same time, on few connections."""
        users = USERS * 8
        with Fleet(nginx, len(users)) as fleet:
            fleet.send(lambda index: http_request("GET", f"/egain/{index}", login(users[index])))
            assert {response.status for response in fleet.collect()} == {200}
        assert len(api.requests) == len(users)
        for path, headers in api.requests:
            expect.claims(bearer(headers), users[int(path[1:])])
        assert issuer.requests() == len(set(users))

    @pytest.mark.parametrize("user", ODD_USERS, ids=lambda user: ascii(user)[:12])
    def test_names_that_could_be_misread(self, nginx, api, issuer, user):
        assert nginx.get(user).status == 403
        assert issuer.requests() == 0 and not api.requests

    def test_who_has_no_account_costs_nothing(self, nginx, api, issuer, daemon):
        before = scrape(daemon)
        for user, password in (("pa", "wrong"), ("nobody", PASSWORD), ("pa\0", PASSWORD)):
            response = nginx.get(user, password=password)
            assert response.status == 401
            assert response.header("WWW-Authenticate") == 'Basic realm="Portal"'
        with Connection(nginx) as connection:
            assert connection.request("GET", "/egain/x").status == 401
        after = scrape(daemon)
        assert after.sum("egain_tokend_requests_total") == before.sum("egain_tokend_requests_total")
        assert issuer.requests() == 0 and not api.requests

    def test_the_location_of_the_question_is_inside_only(self, nginx, api):
        assert nginx.get("pa", "/_egain_token").status == 404


BROWSER = [
    ("Origin", "https://evil.example"),
    ("Sec-Fetch-Site", "cross-site"),
    ("Cookie", "session=secret-cookie"),
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Real-IP", "203.0.113.7"),
    ("Forwarded", "for=203.0.113.7"),
    ("Via", "1.1 evil"),
    ("Metadata", "false"),
    ("X-Egain-Subject-Username", "admin"),
    ("X-Egain-Subject-Email", "admin@example.com"),
    ("x-egain-scope", "everything"),
    ("X-Egain-Client", "crm"),
    ("X-Egain-Subject-Usernames", "admin"),
    ("Accept-Language", "de"),
]


class TestTap:
    """What nginx says to the daemon, as it goes by. Who asks is the test then, which is root."""

    @pytest.fixture
    def start(self, start_daemon, api, certificates):
        with contextlib.ExitStack() as stack:

            def start(**other):
                daemon = start_daemon()
                path = daemon.directory / "tap"
                tap = stack.enter_context(contextlib.closing(Tap(path, daemon.unix)))
                nginx = Nginx(certificates, path, api, **other)
                stack.enter_context(contextlib.closing(nginx))
                return nginx, tap

            yield start

    def test_nothing_of_the_browser(self, start, api):
        """The same bytes whatever it says."""
        nginx, tap = start()
        passed(nginx.get("anna smith"), api, "anna smith")
        plain, tap.bytes = tap.bytes, b""
        passed(nginx.get("anna smith", "/egain/x?y=z", BROWSER), api, "anna smith")
        assert tap.bytes == plain
        start, *lines = plain.decode().split("\r\n")
        assert start == "GET /v1/authorize HTTP/1.1"
        assert sorted(filter(None, lines)) == [
            "Host: localhost",
            "Metadata: true",
            "X-Egain-Client: portal",
            f"X-Egain-Scope: {READ}",
            "X-Egain-Subject-Username: anna smith",
        ]

    @pytest.mark.parametrize(
        "user",
        [
            b"pa\r\nX-Other: x",
            b"pa\nX-Other: x",
            b"x\r\nX-Egain-Subject-Email: admin@example.com\r\nX-Other:",
            b"pa\r\n\r\nGET /v1/authorize HTTP/1.1\r\nHost: localhost\r\nMetadata: true\r\n"
            b"X-Egain-Subject-Username: admin\r\nX-Egain-Client",
            b"pa\r",
            b"pa\0",
            b"pa\0\0x",
            b" pa",
            b"pa ",
            b"",
        ],
        ids=lambda user: ascii(user)[2:22],
    )
    def test_names_that_nobody_has_checked(self, start, api, issuer, user):
        """Other ways to authenticate may let names through that no file of users can hold."""
        nginx, tap = start(**{'auth_basic           "Portal";': "auth_basic off;"})
        passed(nginx.get("pa"), api, "pa")
        tap.bytes = b""
        assert nginx.get(user).status == 403
        assert b"ubject" not in tap.bytes and tap.bytes.count(b"\r\n\r\n") == 1
        assert issuer.requests() == 1 and not api.requests

    def test_a_kept_connection_that_ends(self, start, api):
        """The question is asked again on another."""
        nginx, tap = start()
        passed(nginx.get("pa"), api, "pa")
        tap.cut = True
        for _ in range(100):  # which worker's turn it is cannot be told
            passed(nginx.get("pa"), api, "pa")
            if not tap.cut:
                return
        raise AssertionError("no connection was kept")


class TestForeignHeaders:
    def test_they_change_nothing(self, nginx, api, issuer):
        _, headers = passed(nginx.get("pa", headers=BROWSER), api, "pa")
        given = {name.lower(): value for name, value in headers}
        assert given["host"] == "api.ai.egain.cloud"
        assert given["accept-language"] == "de"
        assert "cookie" not in given
        assert issuer.last()["parameters"]["subject_username"] == "pa"

    def test_a_second_authorization(self, nginx, api):
        assert nginx.get("pa", headers=login("admin")).status == 400
        assert not api.requests

    def test_a_body_is_for_the_api(self, nginx, api):
        body = b"subject_username=admin&" * 100
        with Connection(nginx) as connection:
            response = connection.request("GET", "/egain/x", login("pa"), body)
        passed(response, api, "pa")
        assert api.bodies == [body]


class TestAnswers:
    def test_a_token_of_8_kib(self, nginx, api, issuer):
        token = "eyJ" + "x" * (8192 - 3)
        issuer.behave(status=200, body=json.dumps({"access_token": token, "expires_in": 3600}))
        response = nginx.get("anna")
        assert response.status == 200, response
        assert [bearer(headers) for _, headers in api.requests] == [token]


class TestConnections:
    def test_those_to_the_daemon_are_kept(self, nginx, api, daemon):
        """One for each worker, at most; they would be fifty."""
        name = "egain_tokend_connections_accepted_total"
        before = scrape(daemon).sum(name)
        for _ in range(50):
            passed(nginx.get("pa"), api, "pa")
        # Reading the counter took one, too.
        assert 0 <= scrape(daemon).sum(name) - before - 1 <= os.cpu_count()

    def test_100_at_once_are_one_fetch(self, nginx, api, issuer, daemon):
        issuer.behave(hold=True)
        with Fleet(nginx, 100) as fleet:
            fleet.send(http_request("GET", "/egain/x", login("pa")))
            issuer.wait_for("held", 1)
            eventually(
                lambda: scrape(daemon).sum("egain_tokend_waiters") == 100, "all of them to wait"
            )
            issuer.release()
            assert {response.status for response in fleet.collect()} == {200}
        assert issuer.requests() == 1
        assert len({bearer(headers) for _, headers in api.requests}) == 1
        assert len(api.requests) == 100


class TestWhenThereIsNoToken:
    """The table of the recipe."""

    def refused(self, response, status, api):
        assert response.status == status, response
        assert not response.values("WWW-Authenticate")
        assert not api.requests

    def test_the_rule_does_not_give_it(self, nginx, api, issuer, daemon, monkeypatch):
        narrow = replace_each(RecipeDaemon.rule, {'"username:*"': '"username:p*"'})
        monkeypatch.setattr(daemon, "rule", narrow)
        daemon.reload()
        try:
            self.refused(nginx.get(BLOCKED), 403, api)
            assert issuer.requests() == 0
            passed(nginx.get("pa"), api, "pa")
        finally:
            monkeypatch.undo()
            daemon.reload()
        passed(nginx.get(BLOCKED), api, BLOCKED)

    def test_no_rule_is_for_nginx(self, nginx, api, issuer, daemon, monkeypatch):
        other = replace_each(RecipeDaemon.rule, {'"www-data"': '"games"'})
        monkeypatch.setattr(daemon, "rule", other)
        daemon.reload()
        try:
            self.refused(nginx.get("pa"), 403, api)
        finally:
            monkeypatch.undo()
            daemon.reload()
        assert issuer.requests() == 0

    def test_the_issuer_does_not_know_the_user(self, nginx, api, issuer):
        issuer.behave(status=400, error="invalid_grant", subject="username:anna")
        self.refused(nginx.get("anna"), 403, api)
        passed(nginx.get("anna smith"), api, "anna smith")

    def test_the_client_is_unknown(self, nginx, api, daemon):
        """nginx's 401 would have the browser ask for a password."""
        clients = daemon.settings["clients"]
        renamed = [client | {"name": client["name"] + "2"} for client in clients]
        rule = RecipeDaemon.rule
        daemon.rule = replace_each(rule, {'[ "portal" ]': '[ "portal2" ]'})
        daemon.reload(clients=renamed)
        try:
            self.refused(nginx.get("pa"), 500, api)
            assert "auth request unexpected status: 500" in nginx.log()
        finally:
            daemon.rule = rule
            daemon.reload(clients=clients)

    def test_what_is_the_apis_stays_so(self, nginx, api):
        api.challenge = 'Bearer realm="API"'
        for status in (401, 403, 404, 429, 500, 502, 503):
            api.status = status
            response = nginx.get("pa")
            assert (response.status, response.body) == (status, b"hello from the API")
            assert not response.values("WWW-Authenticate")

    def test_a_token_that_the_api_refuses(self, nginx, api, daemon, issuer):
        """The command at the end of the recipe has it replaced."""
        passed(nginx.get("pa"), api, "pa")
        api.status = 401
        assert nginx.get("pa").status == 401
        assert issuer.requests() == 1
        command = replace_each(
            block("curl --unix-socket"), {"/run/egain-tokend/token.sock": daemon.unix}
        )
        subprocess.run(["sh", "-ec", command], check=True, capture_output=True, timeout=TIMEOUT)
        api.reset()
        passed(nginx.get("pa"), api, "pa")
        assert issuer.requests() == 2


class TestOutages:
    """Each with a daemon and an nginx of its own, since issuers are remembered."""

    @pytest.fixture
    def own(self, issuer, api, certificates):
        with RecipeDaemon(issuer) as daemon:
            nginx = Nginx(certificates, daemon.unix, api)
            try:
                yield daemon, nginx
            finally:
                nginx.close()

    def test_the_issuer_is_down(self, own, api, issuer):
        daemon, nginx = own
        passed(nginx.get("pa"), api, "pa")
        issuer.behave(status=503, body="", headers={"Retry-After": "30"})
        response = nginx.get("anna")
        assert response.status == 503 and not api.requests
        assert 1 <= int(response.header("Retry-After")) <= 30
        # Whose token lives notices nothing.
        passed(nginx.get("pa"), api, "pa")

    def test_the_secret_is_refused(self, own, api, issuer):
        daemon, nginx = own
        issuer.behave(status=401, error="invalid_client")
        response = nginx.get("pa")
        assert response.status == 503 and not api.requests
        assert not response.values("WWW-Authenticate")

    def test_the_daemon_is_away_and_comes_back(self, own, api, issuer):
        """A connection that nginx has kept is of no use then, and no request is lost to it."""
        daemon, nginx = own
        for _ in range(4):
            passed(nginx.get("pa"), api, "pa")
        daemon.stop()
        for _ in range(4):
            response = nginx.get("pa")
            assert response.status == 503 and not api.requests
            assert not response.values("Retry-After")
        daemon.start()
        for _ in range(4):
            passed(nginx.get("pa"), api, "pa")

    def test_restarted_between_two_requests(self, own, api, issuer):
        daemon, nginx = own
        for _ in range(3):
            for _ in range(4):
                passed(nginx.get("pa"), api, "pa")
            daemon.stop()
            daemon.start()
        passed(nginx.get("pa"), api, "pa")


def test_nginx_is_www_data():
    """Whom the rule names is whom the configuration makes the workers."""
    user = re.search(r"^user (\S+);", block("auth_request "), re.M)[1]
    assert f'user = "{user}"' in block("callers = (")
    assert pwd.getpwnam(user)
