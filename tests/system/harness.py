# SPDX-License-Identifier: MIT
"""Starts, watches and stops the real programs.

Issuer is a running fake-egain and its control path; Daemon is an egain-tokend with a configuration
of its own. Stopping a Daemon is a test in itself: it must exit with 0, without a word from the
sanitizers, and must never have written a token or a secret.
"""

import atexit
import base64
import contextlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import leaks
from wire import TIMEOUT, Connection, eventually, form, form_request

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD_DIR", ROOT / "build")).resolve()
TOKEND = BUILD / "daemon" / "egain-tokend"
# What the daemon runs under, as scripts/valgrind says; usually nothing.
UNDER = shlex.split(os.environ.get("DAEMON_UNDER", ""))
FAKE_EGAIN = BUILD / "tests" / "fake-egain" / "fake-egain"

READ = "knowledge.portalmgr.onbehalfof.read"
MANAGE = "knowledge.portalmgr.onbehalfof.manage"
URL_SCOPE = "https://api.egain.cloud/auth/knowledge:maange"
SCOPES = (READ, MANAGE, URL_SCOPE)

# Every token of fake-egain looks like a JWT, and so begins with base64 of '{"'.
TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}")
SANITIZER = re.compile(r"(Address|Leak|UndefinedBehavior)Sanitizer|runtime error:")

# Of the pipe a program writes to: small enough to fill it in a test.
PIPE_BYTES = 16 * 1024

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:halt_on_error=1:exitcode=99:detect_stack_use_after_return=1",
    "LSAN_OPTIONS": "exitcode=99",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99",
}


@dataclass(frozen=True)
class Client:
    """A client application as the issuer knows it, and what the daemon calls it."""

    name: str
    client_id: str
    secret: str
    tenant: str
    default_scope: str = ""
    kinds: tuple = ("user", "customer")


PORTAL = Client(
    "portal",
    "7121f585-e403-4531-9a38-1826ebc7e7d8",
    "portal~s3cret/4711+x",
    "TMPRODB88619984",
    READ,
)
# A client_id that form-encoding changes, and no default scope.
CRM = Client("crm", "crm/app=2+x", "crm-s3cret-0815", "TMPRODB00000002")
# No token URL for customers.
STAFF = Client("staff", "staff-only", "staff-s3cret-1234", "TMPRODB00000003", READ, ("user",))
CLIENTS = (PORTAL, CRM, STAFF)
# For anonymous customers, with the placeholders that the issuer documents. Not among the usual ones.
LOBBY = Client("lobby", "clientId", "clientSecret", PORTAL.tenant, READ, ("anonymous",))

# Identity providers whose tokens the issuer exchanges.
REGISTRATIONS = ("okta-1", "okta-2", "entra")


def environment(**extra):
    """The environment programs get: no proxies, no credentials, sanitizers on."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ
    }
    return {**kept, **SANITIZER_OPTIONS, **extra}


def scratch_directory():
    """A new directory others may enter, with a path short enough for Unix sockets in it."""
    path = Path(tempfile.mkdtemp(prefix="et-", dir="/tmp"))
    path.chmod(0o755)
    return path


def for_anybody(*names):
    """A copy of files in the build, laid out alike, that every user may run: the build itself may
    lie in somebody's home."""
    top = scratch_directory()
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    for name in names:
        copy = top / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BUILD / name, copy)
    for path in top.rglob("*"):
        path.chmod(0o755)
    return top


def free_port():
    """A port nobody has on either loopback address, outside the range that the kernel hands out."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(15000, 32000)
        with contextlib.suppress(OSError):
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with socket.socket(family) as probe:
                    probe.bind((host, port))
            return port
    raise AssertionError("no port is free on both 127.0.0.1 and [::1]")


class Output:
    """What a program writes, taken by a thread so that it never blocks on us."""

    def __init__(self, stream, where="output"):
        self.lines = []
        self._where = where
        self.paused = threading.Lock()  # while somebody has it, nothing is read
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._drain, args=(stream,), daemon=True)
        self._thread.start()

    def _drain(self, stream):
        with stream:
            for line in stream:
                text = line.decode("utf-8", "replace").rstrip("\n")
                with self.paused, self._news:
                    leaks.look(self._where, text)
                    self.lines.append(text)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def text(self):
        """All of it, once the program has ended."""
        self._thread.join(TIMEOUT)
        return "\n".join(self.lines)

    def wait_for(self, pattern, since=0, timeout=TIMEOUT):
        """The match of the first line, counted from `since`, that has the pattern in it."""
        deadline = time.monotonic() + timeout
        seen = since
        with self._news:
            while True:
                while seen < len(self.lines):
                    match = re.search(pattern, self.lines[seen])
                    if match:
                        return match
                    seen += 1
                remaining = deadline - time.monotonic()
                if self._ended or remaining <= 0:
                    end = "\n".join(self.lines[since:])[-8000:]
                    raise AssertionError(f"no line with {pattern!r} in:\n{end}")
                self._news.wait(remaining)


class Program:
    """A child process whose output is collected."""

    def __init__(self):
        self.process = None
        self.output = None

    def spawn(self, command, **options):
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pipesize=PIPE_BYTES,
            **options,
        )
        self.output = Output(self.process.stdout, f"output of {Path(command[0]).name}")

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """Ends it without ceremony; nothing is checked."""
        if self.running():
            self.process.kill()
        if self.process is not None:
            self.process.wait()
        self.process = None

    def wait(self, timeout=TIMEOUT):
        """Waits for its end; its exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"still running after {timeout} s:\n{self.output.text()}"
            ) from None


class Issuer(Program):
    """A running fake-egain."""

    def __init__(self, clients=CLIENTS, scopes=SCOPES, options=(), port=0, host="127.0.0.1"):
        super().__init__()
        self.gave_other_lifetimes = False
        self.directory = scratch_directory()
        self.host = host
        self.authority = f"[{host}]" if ":" in host else host
        port_file = self.directory / "port"
        command = [FAKE_EGAIN, "--listen", f"{self.authority}:{port}", "--port-file", port_file]
        for client in clients:
            command += ["--client", f"{client.tenant}:{client.client_id}:{client.secret}"]
        for scope in scopes:
            command += ["--scope", scope]
        for registration in REGISTRATIONS:
            command += ["--registration", registration]
        self.spawn([*command, *options], env=environment())

        def port():
            assert self.running(), f"fake-egain did not start:\n{self.output.text()}"
            text = port_file.read_text() if port_file.exists() else ""
            return int(text) if text.endswith("\n") else None

        self.port = eventually(port, "fake-egain's port file")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.running():
            self.process.terminate()
            status = self.wait()
            text = self.output.text()
            report = SANITIZER.search(text)
            assert status == 0 and not report, f"fake-egain: status {status}\n{text}"
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, client, audience="user", origin=None):
        """A client's token URL; `origin` replaces http://HOST:PORT."""
        origin = origin or f"http://{self.authority}:{self.port}"
        if audience == "anonymous":
            query = f"user_type=customer&domain_hint={client.tenant}"
            return f"{origin}/core/authmgr/v3/oauth2/v2.0/anonymous/token?{query}"
        letter = {"user": "U", "customer": "C"}[audience]
        return f"{origin}/system/auth/{client.tenant}-{letter}/oauth2/token"

    def connect(self):
        return Connection((self.host, self.port))

    def control(self, method, path, body=None):
        """One call of the control path; its JSON answer."""
        with self.connect() as connection:
            data = b"" if body is None else json.dumps(body).encode()
            response = connection.request(method, f"/_control/{path}", body=data)
        assert response.status == 200, f"{method} {path} {body}: {response}"
        return response.json()

    def stats(self):
        return self.control("GET", "stats")

    def requests(self):
        return self.stats()["requests"]

    def last(self):
        """The last request for a token, as the issuer saw it."""
        return self.stats()["last_request"]

    def behave(self, **fields):
        """Adds a behaviour, see fake-egain."""
        if fields.keys() & {"lifetime", "jwt_lifetime", "expires_in_json", "body"}:
            self.gave_other_lifetimes = True
        self.control("POST", "behaviour", fields)

    def asked_for(self, subject, kind="username"):
        """How many requests there were for this subject."""
        return self.stats()["by_subject"].get(f"{kind}:{subject}", 0)

    def accept(self, client, *secrets):
        """A client application's secrets are these from now on."""
        body = {"tenant": client.tenant, "client_id": client.client_id, "secrets": list(secrets)}
        self.control("PUT", "clients", body)

    def release(self, count=None):
        """Lets held requests go on: so many, or all."""
        self.control("POST", "release", None if count is None else {"count": count})

    def reset(self):
        """Forgets counters and behaviours; what is held gets its normal answer."""
        self.control("POST", "reset")

    def wait_for(self, field, at_least):
        """Waits until a counter has grown to `at_least`; the statistics then."""

        def reached():
            stats = self.stats()
            return stats[field] >= at_least and stats

        return eventually(reached, f"{field} to reach {at_least}")


def libconfig(value):
    """A value in libconfig's syntax."""
    if isinstance(value, dict):
        members = (f"{name} = {libconfig(item)};" for name, item in value.items())
        return "{ " + " ".join(members) + " }"
    if isinstance(value, (list, tuple)):
        items = ", ".join(libconfig(item) for item in value)
        return f"[ {items} ]" if all(isinstance(item, str) for item in value) else f"( {items} )"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def become(user):
    """What to put before a command so that root runs it as somebody else."""
    ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    return ("setpriv", *ids, "--pdeathsig=KILL")


class Daemon(Program):
    """An egain-tokend, its configuration and its directory.

    It listens on a Unix socket and on both loopback addresses, and keeps its audit record in a file:
    for a journal that is not there it would wait at its end. `settings` are merged into the
    configuration by section: Daemon(issuer, limits={"max_flights": 3}, request_timeout="1s").
    `urls` gives a client other token URLs: {name: {"user_token_url": …}}. With a `user` (an entry of
    the passwd database) it runs as him, and its files are his; needs root. `program` is another build.
    """

    def __init__(
        self,
        issuer=None,
        clients=CLIENTS,
        urls=None,
        env=None,
        prefix=(),
        user=None,
        program=TOKEND,
        **settings,
    ):
        super().__init__()
        self.directory = scratch_directory()
        self.path = self.directory / "egain-tokend.conf"
        self.unix = str(self.directory / "s")
        self.port = free_port()
        self.tcp4 = ("127.0.0.1", self.port)
        self.tcp6 = ("::1", self.port)
        self.forbidden = {client.secret for client in clients}
        self._env = environment(**(env or {}))
        self._prefix = [*prefix, *(become(user) if user else ())]
        self._user = user
        self._program = program
        self.settings = {
            "listen": [{"unix": self.unix, "mode": "0666"}, {"tcp": f"localhost:{self.port}"}],
            "clients": [
                self._client(client, issuer, (urls or {}).get(client.name)) for client in clients
            ],
            "log_level": "debug",
            "audit": {"to": self.directory / "audit"},
            **settings,
        }

    def _client(self, client, issuer, urls):
        section = {"name": client.name}
        if client.kinds != LOBBY.kinds:
            secret_file = self.directory / f"{client.name}.secret"
            secret_file.touch(0o600)
            secret_file.write_text(client.secret + "\n")
            section |= {"client_id": client.client_id, "client_secret_file": secret_file}
        section |= {
            f"{kind}_token_url": issuer.url(client, kind) for kind in client.kinds if issuer
        }
        if client.default_scope:
            section["default_scope"] = client.default_scope
        return section | (urls or {})

    def __enter__(self):
        return self.start() if self.process is None else self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.process is not None:
                self.stop()
        finally:
            self.close()

    def configuration(self):
        """The text of its configuration; a setting that is None is left out."""
        lines = [
            f"{name} = {libconfig(value)};"
            for name, value in self.settings.items()
            if value is not None
        ]
        return "\n".join(lines) + "\n"

    def write_configuration(self):
        self.path.touch(0o600)
        self.path.write_text(self.configuration())
        if self._user:
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def put_key(self, name, key):
        """A file with the key of a rule for callers; nothing the daemon writes may hold the key."""
        self.forbidden.add(key)
        path = self.directory / f"{name}.key"
        path.touch(0o600)
        path.write_text(key + "\n")
        return path

    def reload(self, **settings):
        """Has it read a changed configuration; returns once that is taken over."""
        self.settings |= settings
        since = len(self.output.lines)
        self.write_configuration()
        self.terminate(signal.SIGHUP)
        self.output.wait_for("again; changed: ", since)

    def spawn_daemon(self):
        """Writes the configuration and starts the program, without waiting for it."""
        self.write_configuration()
        self.spawn(
            [*self._prefix, *UNDER, self._program, "--config", self.path],
            env=self._env,
            cwd=self.directory,
        )
        return self

    def start(self):
        self.spawn_daemon()
        self.output.wait_for(r"\bready\b")
        return self

    def terminate(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Ends it as an operator would, and checks all that must hold at an end."""
        if self.running():
            self.terminate(number)
        return self.ended()

    def ended(self):
        """Waits for the end after a signal, and checks it. Returns what it has written."""
        status = self.wait()
        text = self.output.text()
        self.process = None
        report = SANITIZER.search(text)
        assert not report, text[report.start() :][:8000]
        end = text[-8000:]
        assert status == 0, f"exit status {status}:\n{end}"
        assert re.search(r"\bstopped: .*requests=\d+", end), end
        self.check_secrets(text)
        return text

    def events(self, *names):
        """The events of these names so far (none: all), of a daemon with log_format = "json"."""
        entries = [json.loads(line) for line in list(self.output.lines)]
        return [
            entry
            for entry in entries
            if "event" in entry and (not names or entry["event"] in names)
        ]

    def wait_for_event(self, name, count=1):
        """Waits until there are as many of them; all of this name."""

        def found():
            events = self.events(name)
            return len(events) >= count and events

        return eventually(found, f"{count} events {name}")

    def check_secrets(self, text):
        """Nothing that it wrote holds a token or a secret, and every line says whose it is."""
        assert not TOKEN.search(text), "a token in the output"
        for secret in self.forbidden:
            assert secret not in text, f"a secret in the output: {secret}"
        for line in text.splitlines():
            if self.settings.get("log_format") == "json":
                entry = json.loads(line)
                assert entry["level"] in ("error", "warning", "info", "debug"), line
                assert entry["time"] and "message" in entry, line
            else:
                assert re.match("egain-tokend: (error|warning|info|debug): ", line), line

    def close(self):
        self.kill()
        leaks.look_into(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)

    def cpu_seconds(self):
        """The time it has spent computing."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def connect(self, address=None):
        return Connection(address or self.unix)

    def request(self, method, target, headers=(), body=None, address=None, **options):
        """One request on a connection of its own."""
        with self.connect(address) as connection:
            return connection.request(method, target, headers, body, **options)

    def post(self, parameters, headers=(), address=None, **options):
        """One POST to the token endpoint, its form given as a dict, pairs or bytes."""
        with self.connect(address) as connection:
            return connection.send(form_request(parameters, headers, **options)).receive()

    def ask(self, subject, kind="username", address=None, **more):
        """Asks for a token, of the portal's client application unless told."""
        return self.post(question(subject, kind, **more), address=address)

    def get(self, subject, kind="username", headers=(), address=None, **more):
        """The same through GET /v1/token."""
        parameters = question(subject, kind, **more)
        del parameters["grant_type"]
        return self.request(
            "GET",
            "/v1/token?" + form(parameters).decode(),
            [("Metadata", "true"), *headers],
            address=address,
        )

    def explain(self, subject, kind="username", address=None, **more):
        """What GET /v1/explain says; never a token, whatever the state."""
        parameters = question(subject, kind, **more)
        target = "/v1/explain?" + form(parameters).decode()
        response = self.request("GET", target, address=address)
        assert response.status == 200, response
        self.check_answer(response.body.decode())
        return response.json()

    def check_answer(self, text):
        """Nothing that is no token answer holds a token or a secret."""
        assert not TOKEN.search(text), text
        for secret in self.forbidden:
            assert secret not in text, text

    def secret_file(self, client):
        """The file a client application's secret is in."""
        return self.directory / f"{client.name}.secret"

    def put_secret(self, client, secret, path=None):
        """Puts another secret in the place of a client application's, as a whole."""
        path = path or self.secret_file(client)
        self.forbidden.add(secret)
        successor = path.with_suffix(".new")
        successor.touch(0o600)
        successor.write_text(secret + "\n")
        successor.rename(path)

    def purge(self):
        """Forgets all tokens, for which it must let anybody purge."""
        for client in self.settings["clients"]:
            query = form({"client_id": client["name"]}).decode()
            response = self.request("DELETE", f"/v1/tokens?{query}")
            assert response.status == 200, response

    def settle(self):
        """One full turn of the daemon's loop: what it had read before has been acted upon."""
        for _ in range(2):
            assert self.request("GET", "/healthz").status == 200


def rule(name, **more):
    """An entry of `callers` that gives all users' tokens of the portal; what is None is left out."""
    rights = {"clients": ["portal"], "subjects": ["username:*"], "scopes": ["*"]}
    given = {key: value for key, value in (rights | more).items() if value is not None}
    return {"name": name, **given}


def totals(text):
    """The counters of the line that a daemon wrote at its end."""
    line = re.search(r"stopped: (.*)", text)[1]
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}


def question(subject, kind="username", client_id="portal", scope=READ, **more):
    """The form of a token request; a parameter that is None is left out."""
    parameters = {
        "grant_type": "password",
        "client_id": client_id,
        "scope": scope,
        f"subject_{kind}": subject,
        **more,
    }
    return {name: value for name, value in parameters.items() if value is not None}


def ask_bytes(subject, kind="username", **more):
    """The bytes of a token request."""
    return form_request(question(subject, kind, **more))


def payload(token):
    """What a token of fake-egain says of itself."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
