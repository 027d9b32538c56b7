# SPDX-License-Identifier: MIT
"""TLS and HTTP/2 for real: nginx with certificates of a test CA in front of fake-egain.

One nginx stands in for several issuers, one a port, each with a fault of its own. The daemon knows
each as a client application of its own, all of one tenant.
"""

import contextlib
import re
import shutil
import socket
import ssl
import subprocess

import pytest

import expect
from harness import (
    PORTAL,
    Client,
    Daemon,
    Program,
    ask_bytes,
    environment,
    free_port,
    scratch_directory,
)
from wire import Fleet, eventually

# What each server presents: common name of its CA, host name, days of validity, protocols.
SERVERS = {
    "good": ("ca", "localhost", 1, "TLSv1.2 TLSv1.3"),
    "tls12": ("ca", "localhost", 1, "TLSv1.2"),
    "wronghost": ("ca", "other.example", 1, "TLSv1.2 TLSv1.3"),
    "expired": ("ca", "localhost", -1, "TLSv1.2 TLSv1.3"),
    "unknownca": ("stranger", "localhost", 1, "TLSv1.2 TLSv1.3"),
    "tls11": ("ca", "localhost", 1, "TLSv1.1"),
}

# All are the portal to the issuer; to the daemon they differ by name and client_id.
CLIENTS = {
    name: Client(name, f"id-{name}", PORTAL.secret, PORTAL.tenant, PORTAL.default_scope)
    for name in SERVERS
}

NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    log_format test '$server_name $server_protocol $connection $connection_requests $status';
    access_log {directory}/access.log test;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream issuer {{ server 127.0.0.1:{issuer}; keepalive 64; }}
{servers}
}}
"""

SERVER = """
    server {{
        listen 127.0.0.1:{port} ssl http2;
        server_name {name};
        ssl_certificate {directory}/{name}.pem;
        ssl_certificate_key {directory}/{name}.key;
        ssl_protocols {protocols};
        ssl_ciphers ALL:@SECLEVEL=0;
        location / {{
            proxy_pass http://issuer;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""


def openssl(*arguments, **options):
    run = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, **options
    )
    assert run.returncode == 0, run.stderr


def make_certificates(directory):
    """The two CAs, and a certificate of one of them for each server."""
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "stranger"):
        files = ["-keyout", directory / f"{name}.key", "-out", directory / f"{name}.pem"]
        openssl("req", "-x509", *new_key, *files, "-subj", f"/CN=test {name}", "-days", 2)
    for name, (issued_by, host, days, _) in SERVERS.items():
        extensions = directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{host}\n")
        key, request, certificate = (directory / f"{name}.{end}" for end in ("key", "csr", "pem"))
        openssl("req", *new_key, "-keyout", key, "-out", request, "-subj", f"/CN={host}")
        ca = [
            "-CA",
            directory / f"{issued_by}.pem",
            "-CAkey",
            directory / f"{issued_by}.key",
            "-CAcreateserial",
        ]
        openssl(
            "x509",
            "-req",
            "-in",
            request,
            *ca,
            "-days",
            days,
            "-extfile",
            extensions,
            "-out",
            certificate,
        )


class Nginx(Program):
    """nginx in front of an issuer, a port for each of SERVERS."""

    def __init__(self, issuer):
        super().__init__()
        self.directory = scratch_directory()
        make_certificates(self.directory)
        self.ports = {}
        for name in SERVERS:
            self.ports[name] = free_port()
        servers = "".join(
            SERVER.format(
                name=name, port=self.ports[name], directory=self.directory, protocols=protocols
            )
            for name, (*_, protocols) in SERVERS.items()
        )
        configuration = self.directory / "nginx.conf"
        configuration.write_text(
            "user root;"
            + NGINX.format(directory=self.directory, issuer=issuer.port, servers=servers)
        )
        self.spawn(["nginx", "-p", self.directory, "-c", configuration], env=environment())

        def listening():
            assert self.running(), f"nginx did not start:\n{self.output.text()}"
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(
                self.address("good")
            ):
                return True

        eventually(listening, "nginx to listen")

    def address(self, name):
        return ("127.0.0.1", self.ports[name])

    def close(self):
        if self.running():
            self.process.terminate()
            self.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self, name):
        """The requests one server has seen: (protocol, connection, number on it, status)."""
        lines = [line.split() for line in (self.directory / "access.log").read_text().splitlines()]
        return [tuple(rest) for server, *rest in lines if server == name]


@pytest.fixture(scope="module")
def nginx(issuer_process):
    nginx = Nginx(issuer_process)
    yield nginx
    nginx.close()


@pytest.fixture(scope="module")
def daemon_process(issuer_process, nginx):
    """The daemon of this module: every server is a client application, trusted is the CA "ca"."""
    for client in CLIENTS.values():
        body = {"tenant": client.tenant, "client_id": client.client_id, "secrets": [client.secret]}
        issuer_process.control("PUT", "clients", body)
    urls = {}
    for name, client in CLIENTS.items():
        origin = f"https://localhost:{nginx.ports[name]}"
        urls[name] = {
            f"{audience}_token_url": issuer_process.url(client, audience, origin)
            for audience in ("user", "customer")
        }
    with Daemon(
        clients=CLIENTS.values(), urls=urls, upstream={"ca_file": nginx.directory / "ca.pem"}
    ) as daemon:
        yield daemon


class TestGood:
    def test_http_2(self, daemon, nginx, subject):
        before = len(nginx.log("good"))
        response = daemon.ask(subject, client_id="good")
        expect.miss(response, subject, client=CLIENTS["good"])
        (entry,) = eventually(lambda: nginx.log("good")[before:], "nginx's log")
        assert entry[0] == "HTTP/2.0" and entry[3] == "200"

    def test_many_requests_at_once_on_one_connection(self, daemon, issuer, nginx, subject):
        before = len(nginx.log("good"))
        issuer.behave(hold=True)
        with Fleet(daemon.unix, 20) as fleet:
            fleet.send(lambda index: ask_bytes(f"{subject}-{index}", client_id="good"))
            # All of them are under way at the same time.
            issuer.wait_for("held", 20)
            issuer.release()
            for index, response in enumerate(fleet.collect()):
                expect.miss(response, f"{subject}-{index}", client=CLIENTS["good"])
        entries = eventually(
            lambda: len(nginx.log("good")) >= before + 20 and nginx.log("good")[before:],
            "nginx's log",
        )
        assert {entry[0] for entry in entries} == {"HTTP/2.0"}
        assert len({entry[1] for entry in entries}) == 1

    def test_tls_1_2(self, daemon, subject):
        expect.miss(daemon.ask(subject, client_id="tls12"), subject, client=CLIENTS["tls12"])

    def test_customers_go_to_their_own_url(self, daemon, issuer, subject):
        response = daemon.ask(subject, "email", client_id="good")
        expect.miss(response, subject, "email", client=CLIENTS["good"])
        assert "-C/" in issuer.last()["path"]

    def test_failures_come_through(self, daemon, issuer, subject):
        issuer.behave(status=500, body="oops")
        expect.unavailable(daemon.ask(subject, client_id="good"))
        issuer.reset()
        expect.miss(daemon.ask(subject, client_id="good"), subject, client=CLIENTS["good"])

    def test_a_redirect_is_not_followed(self, daemon, issuer, nginx, subject):
        location = f"https://localhost:{nginx.ports['tls12']}/elsewhere"
        issuer.behave(status=307, headers={"Location": location}, body="")
        before = len(nginx.log("tls12"))
        expect.error(daemon.ask(subject, client_id="good"), 502, "server_error")
        assert len(nginx.log("tls12")) == before
        assert issuer.requests() <= 3


class TestRefused:
    """502, nothing sent to the issuer, and a line in the log that says what is wrong where."""

    @pytest.mark.parametrize(
        "name, reason, not_reason",
        [
            (
                "wronghost",
                r"host ?name|subject.?name|does not match",
                r"expired|issuer certificate|self.signed",
            ),
            ("expired", r"expired", r"host ?name|issuer certificate|self.signed"),
            (
                "unknownca",
                r"issuer certificate|self.signed|unknown CA|not trusted",
                r"expired|host ?name",
            ),
        ],
    )
    def test_certificates(self, daemon, issuer, subject, name, reason, not_reason):
        since = len(daemon.output.lines)
        expect.error(daemon.ask(subject, client_id=name), 502, "server_error")
        line = daemon.output.wait_for(f"(?i).*({reason}).*", since)[0]
        assert not re.search(f"(?i){not_reason}", line), line
        assert name in line or str(issuer.port) in line or "localhost:" in line, line
        assert issuer.requests() == 0
        # The others are none the worse for it.
        expect.miss(daemon.ask(subject, client_id="good"), subject, client=CLIENTS["good"])

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_tls_1_1(self, daemon, issuer, nginx, subject):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        with socket.create_connection(nginx.address("tls11")) as plain:
            with context.wrap_socket(plain) as server:
                assert server.version() == "TLSv1.1"
        response = daemon.ask(subject, client_id="tls11")
        code = {502: "server_error", 503: "temporarily_unavailable"}[response.status]
        expect.error(response, response.status, code)
        assert issuer.requests() == 0

    def test_plain_http_where_tls_is_expected(self, issuer, start_daemon, subject):
        origin = f"https://127.0.0.1:{issuer.port}"
        urls = {"portal": {"user_token_url": issuer.url(PORTAL, origin=origin)}}
        daemon = start_daemon(clients=[PORTAL], urls=urls)
        response = daemon.ask(subject)
        code = {502: "server_error", 503: "temporarily_unavailable"}[response.status]
        expect.error(response, response.status, code)
        assert issuer.requests() == 0

    def test_without_the_ca_file_nobody_knows_this_ca(self, issuer, nginx, start_daemon, subject):
        origin = f"https://localhost:{nginx.ports['good']}"
        urls = {"portal": {"user_token_url": issuer.url(PORTAL, origin=origin)}}
        daemon = start_daemon(clients=[PORTAL], urls=urls)
        expect.error(daemon.ask(subject), 502, "server_error")
        assert issuer.requests() == 0
