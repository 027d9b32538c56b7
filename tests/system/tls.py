# SPDX-License-Identifier: MIT
"""nginx with certificates of a test CA in front of fake-egain.

One nginx stands in for several issuers, one a port, each with a fault or a demand of its own; or for
one issuer that speaks HTTP/2.
"""

import contextlib
import shutil
import socket
import subprocess

from harness import PORTAL, Client, Program, environment, free_port, scratch_directory
from wire import eventually

# What each server presents: common name of its CA, host name, days of validity, protocols.
SERVERS = {
    "good": ("ca", "localhost", 1, "TLSv1.2 TLSv1.3"),
    "tls12": ("ca", "localhost", 1, "TLSv1.2"),
    "wronghost": ("ca", "other.example", 1, "TLSv1.2 TLSv1.3"),
    "expired": ("ca", "localhost", -1, "TLSv1.2 TLSv1.3"),
    "unknownca": ("stranger", "localhost", 1, "TLSv1.2 TLSv1.3"),
    "tls11": ("ca", "localhost", 1, "TLSv1.1"),
    # Knows no HTTP/2.
    "http1": ("ca", "localhost", 1, "TLSv1.2 TLSv1.3"),
    # Asks for a certificate of the client, of the same CA.
    "mtls": ("ca", "localhost", 1, "TLSv1.2 TLSv1.3"),
    # Closes each connection after one answer; the other over HTTP/1.1.
    "once": ("ca", "localhost", 1, "TLSv1.2 TLSv1.3"),
    "once1": ("ca", "localhost", 1, "TLSv1.2 TLSv1.3"),
}

HTTP_1 = ("http1", "once1")

# Lines of nginx that a server has besides.
DEMANDS = {
    # Says of each connection, every so often, that it comes to its end.
    "issuer": "keepalive_requests 100;",
    "mtls": "ssl_client_certificate {directory}/ca.pem; ssl_verify_client on;",
    "once": "keepalive_requests 1;",
    "once1": "keepalive_requests 1;",
}

# Certificates of clients, and who has issued them.
CALLERS = {"known": "ca", "unknown": "stranger"}

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
        listen 127.0.0.1:{port} ssl{http2};
        server_name {name};
        ssl_certificate {directory}/{name}.pem;
        ssl_certificate_key {directory}/{name}.key;
        ssl_protocols {protocols};
        ssl_ciphers ALL:@SECLEVEL=0;
        {demands}
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


NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def make_authority(directory, name):
    """A CA: its certificate NAME.pem and its key NAME.key."""
    files = ["-keyout", directory / f"{name}.key", "-out", directory / f"{name}.pem"]
    openssl("req", "-x509", *NEW_KEY, *files, "-subj", f"/CN=test {name}", "-days", 2)


def certify(directory, name, issued_by, host, days=1):
    """A certificate NAME.pem for a host, of one of the CAs, and its key NAME.key."""
    extensions = directory / f"{name}.ext"
    extensions.write_text(f"subjectAltName=DNS:{host}\n")
    key, request, certificate = (directory / f"{name}.{end}" for end in ("key", "csr", "pem"))
    openssl("req", *NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={host}")
    issuer = [directory / f"{issued_by}.{end}" for end in ("pem", "key")]
    ca = ["-CA", issuer[0], "-CAkey", issuer[1], "-CAcreateserial"]
    what = ["-days", days, "-extfile", extensions, "-out", certificate]
    openssl("x509", "-req", "-in", request, *ca, *what)


def make_certificates(directory):
    """The two CAs, and a certificate of one of them for each server and client."""
    for name in ("ca", "stranger"):
        make_authority(directory, name)
    for name, (issued_by, host, days, _) in SERVERS.items():
        certify(directory, name, issued_by, host, days)
    for name, issued_by in CALLERS.items():
        certify(directory, name, issued_by, name)


class Front(Program):
    """nginx in front of an issuer. The directory holds NAME.pem and NAME.key of each server, and is
    the caller's."""

    def __init__(self, issuer, directory, names):
        super().__init__()
        self.directory = directory
        self.ports = {name: free_port() for name in names}
        servers = "".join(self._server(name) for name in names)
        configuration = self.directory / "nginx.conf"
        configuration.write_text(
            "user root;"
            + NGINX.format(directory=self.directory, issuer=issuer.port, servers=servers)
        )
        self.spawn(["nginx", "-p", self.directory, "-c", configuration], env=environment())

        def listening():
            assert self.running(), f"nginx did not start:\n{self.output.text()}"
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(
                self.address(names[-1])
            ):
                return True

        eventually(listening, "nginx to listen")

    def _server(self, name):
        *_, protocols = SERVERS.get(name, ("TLSv1.2 TLSv1.3",))
        return SERVER.format(
            name=name,
            port=self.ports[name],
            directory=self.directory,
            protocols=protocols,
            http2="" if name in HTTP_1 else " http2",
            demands=DEMANDS.get(name, "").format(directory=self.directory),
        )

    def address(self, name):
        return ("127.0.0.1", self.ports[name])

    def close(self):
        if self.running():
            self.process.terminate()
            self.wait()


class Nginx(Front):
    """One with a port for each of SERVERS."""

    def __init__(self, issuer):
        directory = scratch_directory()
        make_certificates(directory)
        super().__init__(issuer, directory, list(SERVERS))

    def close(self):
        super().close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self, name):
        """The requests one server has seen: (protocol, connection, number on it, status)."""
        lines = [line.split() for line in (self.directory / "access.log").read_text().splitlines()]
        return [tuple(rest) for server, *rest in lines if server == name]
