# SPDX-License-Identifier: MIT
"""TLS and HTTP/2 for real: nginx with certificates of a test CA in front of fake-egain.

The daemon knows each of nginx's servers as a client application of its own, all of one tenant.
"""

import re
import socket
import ssl

import pytest

import expect
from harness import PORTAL, Daemon, ask_bytes
from tls import CLIENTS
from wire import Fleet, eventually


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
        first = f"first-{subject}"
        expect.miss(daemon.ask(first, client_id="good"), first, client=CLIENTS["good"])
        before = len(eventually(lambda: nginx.log("good"), "nginx's log"))
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
        assert issuer.requests() == 3
        issuer.reset()
        subject = f"other-{subject}"
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
