# SPDX-License-Identifier: MIT
"""What must not reach the daemon on behalf of somebody else, on every path, and what it says then.

Whoever sends these is root here, who has every right: only the header stands in the way.
"""

import json
import re
import shutil
import socket
import subprocess

import pytest

import expect
from harness import environment, question, rule
from people import needs_users
from wire import FORM, TIMEOUT, Connection, form, form_request, http_request

ASK = form(question("pa"))
QUERY = ASK.decode()
METADATA = ("Metadata", "true")

# Each path as a request that passes: method, target, headers, body.
PATHS = {
    "token": ("POST", "/oauth2/token", [("Content-Type", FORM)], ASK),
    "v1-token": ("GET", f"/v1/token?{QUERY}", [METADATA], None),
    "authorize": (
        "GET",
        "/v1/authorize",
        [METADATA, ("X-Egain-Subject-Username", "pa"), ("X-Egain-Client", "portal")],
        None,
    ),
    "explain": ("GET", f"/v1/explain?{QUERY}", [], None),
    "list": ("GET", "/v1/tokens", [], None),
    "purge": ("DELETE", "/v1/tokens?client_id=staff", [], None),
    "healthz": ("GET", "/healthz", [], None),
    "readyz": ("GET", "/readyz", [], None),
    "metadata": ("GET", "/.well-known/oauth-authorization-server", [], None),
}
LISTENERS = ("unix", "tcp4", "tcp6")

FOREIGN = [
    ("Origin", "https://evil.example"),
    ("Origin", "null"),
    ("origin", "http://localhost:8471"),
    ("ORIGIN", ""),
    ("Sec-Fetch-Site", "same-origin"),
    ("sec-fetch-site", "none"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("x-forwarded-for", "::1, 10.0.0.1"),
    ("Forwarded", "for=127.0.0.1;proto=http"),
    ("Via", "1.1 varnish"),
]


def send(daemon, path, headers=(), address=None, **options):
    method, target, own, body = PATHS[path]
    return daemon.request(method, target, [*own, *headers], body, address=address, **options)


def passes(response):
    assert response.status in (200, 204), response


def shown(value):
    """A value as a description may hold it."""
    safe = re.sub(r"[^ -~]|[\"\\]", "?", value)
    return safe if len(safe) <= 64 else safe[:64] + "..."


@pytest.mark.parametrize("path", PATHS)
class TestEveryPath:
    @pytest.mark.parametrize("listener", LISTENERS)
    def test_passes_without(self, daemon, issuer, path, listener):
        response = send(daemon, path, address=getattr(daemon, listener))
        if path in ("list", "purge") and listener != "unix":
            assert "admin" in expect.error(response, 403, "access_denied")
        else:
            passes(response)

    @pytest.mark.parametrize("header", FOREIGN, ids=": ".join)
    @pytest.mark.parametrize("listener", LISTENERS)
    def test_foreign_headers(self, daemon, issuer, path, listener, header):
        response = send(daemon, path, [header], address=getattr(daemon, listener))
        description = expect.error(response, 403, "access_denied")
        assert f"header {header[0]}: {header[1]}, as " in description
        assert issuer.requests() == 0

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost."])
    @pytest.mark.parametrize("listener", ["tcp4", "tcp6"])
    def test_foreign_hosts(self, daemon, issuer, path, listener, host):
        response = send(daemon, path, address=getattr(daemon, listener), host=host)
        assert f"Host is {host};" in expect.error(response, 403, "access_denied")
        assert issuer.requests() == 0

    def test_what_node_sends(self, daemon, issuer, path):
        """Its fetch says how it fetches, but comes from no site."""
        headers = [
            ("Accept", "*/*"),
            ("Accept-Language", "*"),
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Dest", "empty"),
            ("User-Agent", "node"),
            ("Accept-Encoding", "gzip, deflate"),
        ]
        passes(send(daemon, path, headers))


class TestWords:
    """A refusal says what it saw, in the characters of RFC 6749 §5.2."""

    VALUES = [
        'quo"ted',
        "back\\slash",
        "h\xc3\xa9 \xff\x80",
        "x" * 64,
        "x" * 65,
        "x" * 8000,
        '"}, "access_token": "',
        "%s%n",
        "tab\there",
    ]

    @pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:20])
    @pytest.mark.parametrize("name", ["Origin", "Via"])
    def test_any_value(self, daemon, name, value):
        description = expect.error(send(daemon, "healthz", [(name, value)]), 403, "access_denied")
        assert f"header {name}: {shown(value)}, as " in description
        assert len(description) < 300

    @pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:20])
    def test_any_host(self, daemon, value):
        response = send(daemon, "healthz", host=value, address=daemon.tcp4)
        assert f"Host is {shown(value)};" in expect.error(response, 403, "access_denied")

    @pytest.mark.parametrize("value", [value for value in VALUES if value.strip() == value])
    def test_any_metadata(self, daemon, issuer, value):
        target = f"/v1/token?{QUERY}"
        response = daemon.request("GET", target, [("Metadata", value)])
        description = expect.error(response, 403, "access_denied")
        assert f"header Metadata is {shown(value)};" in description
        assert issuer.requests() == 0

    @pytest.mark.parametrize("value", ["True", "TRUE"])
    def test_metadata_in_any_case(self, daemon, value):
        passes(daemon.request("GET", f"/v1/token?{QUERY}", [("metadata", value)]))

    @pytest.mark.parametrize("target", ['/no"such\\path', "/" + "x" * 300, "/%22%5c", "/h\xe9"])
    def test_any_path(self, daemon, target):
        response = daemon.request("GET", target)
        description = expect.error(response, 404, "invalid_request")
        assert f"nothing at {shown(target)}." in description

    def test_the_browser_is_named_before_all_else(self, daemon):
        """The most telling thing is said: neither the path nor the method matters then."""
        for target in ("/oauth2/token", "/nowhere", "/v1/tokens"):
            response = daemon.request("PATCH", target, [("Origin", "http://x")])
            assert "header Origin: http://x" in expect.error(response, 403, "access_denied")


class TestHost:
    GOOD = [
        "localhost",
        "LOCALHOST:8471",
        "LocalHost",
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8471",
    ]
    BAD = [
        "evil.example",
        "evil.example:8471",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost.",
        "localhost:",
        "localhost:80:80",
        "localhost:8471x",
        "xlocalhost",
        "127.0.0.1.",
        "127.0.0.2",
        "127.1",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::1",
        "::1",
        "user@localhost",
        "localhost/",
    ]

    @pytest.mark.parametrize("listener", ["tcp4", "tcp6"])
    @pytest.mark.parametrize("host", GOOD)
    def test_loopback_names(self, daemon, listener, host):
        response = send(daemon, "metadata", address=getattr(daemon, listener), host=host)
        passes(response)
        assert response.json()["issuer"] == f"http://{host}"

    @pytest.mark.parametrize("listener", ["tcp4", "tcp6"])
    @pytest.mark.parametrize("host", BAD)
    def test_others(self, daemon, issuer, listener, host):
        for path in ("token", "metadata"):
            response = send(daemon, path, address=getattr(daemon, listener), host=host)
            assert f"Host is {host};" in expect.error(response, 403, "access_denied")
        assert issuer.requests() == 0

    @pytest.mark.parametrize("listener", LISTENERS)
    def test_none(self, daemon, listener):
        """HTTP/1.0 has none; what would repeat it cannot be answered."""
        address = getattr(daemon, listener)
        passes(send(daemon, "token", address=address, host=None, version="HTTP/1.0"))
        response = send(daemon, "metadata", address=address, host=None, version="HTTP/1.0")
        assert "there are none" in expect.error(response, 403, "access_denied")
        response = send(daemon, "healthz", address=address, host=None)
        assert response.status == 400  # HTTP/1.1 has one

    @pytest.mark.parametrize("listener", LISTENERS)
    @pytest.mark.parametrize("path", PATHS)
    def test_repeated(self, daemon, issuer, listener, path):
        for second in ("localhost", "evil.example"):
            for version in ("HTTP/1.0", "HTTP/1.1"):
                response = send(
                    daemon,
                    path,
                    [("Host", second)],
                    address=getattr(daemon, listener),
                    version=version,
                )
                if response.status == 400:
                    continue
                assert "there are several" in expect.error(response, 403, "access_denied")
        assert issuer.requests() == 0

    def test_an_absolute_target(self, daemon, issuer):
        """As proxies get it (RFC 9112 §3.2.2); it is no path of ours."""
        data = form_request(question("pa")).replace(b" /oauth2", b" http://evil.example/oauth2", 1)
        with Connection(daemon.tcp4) as connection:
            response = connection.send(data).receive()
        assert response.status in (400, 403, 404), response
        assert issuer.requests() == 0


@needs_users
def test_guards_come_before_rights(start_daemon, issuer, people):
    """Who has no rights learns of the header, too: the same for all."""
    daemon = start_daemon(callers=[rule("a", user=people.a.name)])
    for place in (people.a.at(daemon.unix), people.d.at(daemon.unix)):
        response = daemon.post(question("pa"), [("Origin", "http://x")], address=place)
        assert "Origin" in expect.error(response, 403, "access_denied")
    assert issuer.requests() == 0


def test_a_guarded_request_keeps_the_connection_in_step(daemon, issuer):
    """Its body is not taken for the next request."""
    smuggled = http_request("GET", "/healthz")
    with daemon.connect(daemon.tcp4) as connection:
        connection.send(
            form_request(smuggled, [("Origin", "http://x")]) + form_request(question("pa"))
        )
        expect.error(connection.receive(), 403, "access_denied")
        expect.token(connection.receive(), "pa")


NODE = """
(async () => {
    const results = [];
    for (const [url, options] of JSON.parse(process.argv[1])) {
        const response = await fetch(url, options);
        results.push([response.status, await response.text()]);
    }
    console.log(JSON.stringify(results));
})();
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_real_fetch_of_node(daemon, issuer, host):
    try:
        socket.getaddrinfo(host.strip("[]"), 80)
    except OSError as reason:
        pytest.skip(f"this host does not know {host}: {reason}")
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    has_fetch = subprocess.run([node, "-p", "typeof fetch"], capture_output=True, text=True)
    if has_fetch.stdout.strip() != "function":
        pytest.skip("this node has no fetch")
    origin = f"http://{host}:{daemon.port}"
    headers = {"Content-Type": FORM}
    requests = [
        [f"{origin}/oauth2/token", {"method": "POST", "headers": headers, "body": QUERY}],
        [f"{origin}/v1/token?{QUERY}", {"headers": {"Metadata": "true"}}],
        [f"{origin}/v1/token?{QUERY}", {}],
    ]
    run = subprocess.run(
        [node, "-e", NODE, json.dumps(requests)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=environment(),
    )
    assert run.returncode == 0, run
    results = json.loads(run.stdout)
    assert [status for status, _ in results[:2]] == [200, 200], results
    for _, body in results[:2]:
        expect.claims(json.loads(body)["access_token"], "pa")
    assert results[2][0] == 403 and "Metadata" in results[2][1]
