# SPDX-License-Identifier: MIT
"""The installed service, as an operator has it: its configuration, and what he does with it."""

import contextlib
import json
import os
import re
import subprocess

import expect
from harness import BUILD, PORTAL, READ, ask_bytes
from machine import FAKE_EGAIN, PROBE
from wire import Connection, eventually, http_request, parse_response

ISSUER = "issuer-of-service.service"
ISSUER_PORT = 8483
UNIX = "/run/egain-tokend/token.sock"
SERVICE = "egain-tokend.service"
SOCKETS = ("egain-tokend.socket", "egain-tokend-tcp.socket")
CONFIG_PATH = "/etc/egain-tokend/egain-tokend.conf"
SECRET_PATH = "/etc/egain-tokend/portal.secret"
DROP_IN = "/run/systemd/system/{}.d/50-test.conf"

# LeakSanitizer traces the process, which the unit does not let it do.
SANITIZER = "Environment=ASAN_OPTIONS=detect_leaks=0:exitcode=99\n"

CONFIG = f"""
listen = (
  {{ unix = "{UNIX}"; mode = "0660"; group = "egain-token"; }},
  {{ tcp = "localhost:8471"; }}
);
clients = ( {{
  name = "portal";
  client_id = "{PORTAL.client_id}";
  client_secret_file = "{SECRET_PATH}";
  user_token_url = "http://127.0.0.1:{ISSUER_PORT}/system/auth/{PORTAL.tenant}-U/oauth2/token";
  default_scope = "{READ}";
}} );
callers = (
  {{ name = "root"; user = "root"; clients = [ "portal" ]; subjects = [ "username:*" ];
     scopes = [ "*" ]; fetches = "100000/1m"; }},
  {{ name = "crm"; user = "svc"; unit = "crm.service"; clients = [ "portal" ];
     subjects = [ "username:*" ]; scopes = [ "*" ]; }},
  {{ name = "over-tcp"; user = "svc"; clients = [ "portal" ]; subjects = [ "username:tcp" ];
     scopes = [ "*" ]; }}
);
log_level = "debug";
"""
BROKEN = CONFIG.replace("default_scope", "defualt_scope")


class Service:
    """The service in the machine."""

    def __init__(self, machine):
        self.machine = machine
        self.since = None  # the cursor of the journal when the test began

    def systemctl(self, *words, **options):
        return self.machine.run("systemctl", *words, **options)

    def show(self, name, unit=SERVICE):
        return self.systemctl("show", "--value", f"--property={name}", unit).stdout.strip()

    def configure(self, text=CONFIG):
        """As a whole, since the daemon may be reading it."""
        successor = f"{CONFIG_PATH}.new"
        self.machine.write(successor, text, 0o640)
        self.machine.run("chown", "root:egain-tokend", successor)
        self.machine.path(successor).rename(self.machine.path(CONFIG_PATH))

    def drop_in(self, text, unit=SERVICE):
        self.machine.write(DROP_IN.format(unit), text)
        self.systemctl("daemon-reload")

    def begin(self, *command):
        """A command of the container, not waited for."""
        enter = ["nsenter", f"--target={self.machine.leader}", "--all", "--"]
        return subprocess.Popen([*enter, *command], stderr=subprocess.PIPE)

    def address(self):
        """Of the Unix socket, from outside, where all that the machine's root may do, we may."""
        return str(self.machine.path(UNIX))

    def connect(self, **options):
        return Connection(self.address(), **options)

    def ask(self, subject="pa"):
        with self.connect() as connection:
            return connection.send(ask_bytes(subject)).receive()

    def granted(self, subject="pa"):
        expect.token(self.ask(subject), subject)

    def journal(self, since):
        return self.machine.journal(f"--unit={SERVICE}", "--output=cat", f"--after-cursor={since}")

    def cursor(self):
        self.machine.run("journalctl", "--sync")
        text = self.machine.journal("--lines=0", "--show-cursor")
        return re.search(r"cursor: (\S+)", text)[1]

    def issuer_requests(self):
        """How many requests for a token the issuer has seen."""
        question, answer = "/run/stats.question", "/run/stats.answer"
        request = http_request("GET", "/_control/stats", [("Connection", "close")])
        self.machine.write(question, request)
        ask = f"{PROBE} ask 127.0.0.1:{ISSUER_PORT} <{question} >{answer}"
        self.machine.run("sh", "-c", ask)
        response = parse_response(bytearray(self.machine.path(answer).read_bytes()))
        return response.json()["requests"]

    def start(self):
        self.systemctl("start", *SOCKETS, SERVICE)

    def stop(self):
        self.systemctl("stop", *SOCKETS, SERVICE)
        self.systemctl("reset-failed", check=False)

    def wait_for_status(self, pattern):
        return eventually(
            lambda: re.search(pattern, self.show("StatusText")), f"the status {pattern!r}"
        )


def install(machine):
    """Puts the installed tree, and a fake issuer as a unit, into the machine."""
    tree = BUILD / "installed"
    subprocess.run(
        ["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet"],
        env={**os.environ, "DESTDIR": str(tree)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    machine.run("cp", "-a", "/build/installed/.", "/")
    machine.run("systemd-sysusers")
    machine.run("systemd-tmpfiles", "--create", "--prefix=/run/egain-tokend")
    machine.run("systemd-tmpfiles", "--create", "--prefix=/etc/egain-tokend")
    machine.run("usermod", "--append", "--groups=egain-token", "svc")
    machine.unit(
        ISSUER,
        f"{FAKE_EGAIN} --listen 127.0.0.1:{ISSUER_PORT} --scope {READ} "
        f"--client {PORTAL.tenant}:{PORTAL.client_id}:{PORTAL.secret}",
        DynamicUser="yes",
    )
    machine.start(ISSUER)
    machine.write(SECRET_PATH, PORTAL.secret + "\n", 0o640)
    machine.run("chown", "root:egain-tokend", SECRET_PATH)


@contextlib.contextmanager
def stopped_service(machine):
    """The service, with a good configuration; and stopped again at the end."""
    service = Service(machine)
    service.configure()
    service.drop_in("[Service]\n" + SANITIZER)
    service.since = service.cursor()
    yield service
    service.stop()
    for unit in (SERVICE, *SOCKETS):
        machine.run("rm", "-rf", os.path.dirname(DROP_IN.format(unit)))
    service.systemctl("daemon-reload")
    text = service.journal(service.since)
    assert "Sanitizer" not in text and "runtime error" not in text, text
    assert PORTAL.secret not in text
