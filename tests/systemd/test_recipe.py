# SPDX-License-Identifier: MIT
"""doc/systemd.md with a real systemd: its units, scripts and configuration as they stand there."""

import codecs
import re

import pytest

import expect
from harness import PORTAL, READ
from machine import FAKE_EGAIN, PROBE, TOKEND
from recipes import blocks
from wire import eventually, parse_response

BATCH = "A batch job: the token in a file"
SERVICE = "A service that stays: a caller like any other"
ISSUER_PORT = 8484
INSTALLED = ("egain-tokend.service", "egain-tokend.socket", "egain-tokend-tcp.socket")

CLIENTS = f"""
clients = (
  {{
    name = "portal";
    client_id = "{PORTAL.client_id}";
    client_secret_file = "/etc/recipe/secret";
    user_token_url = "http://127.0.0.1:{ISSUER_PORT}/system/auth/{PORTAL.tenant}-U/oauth2/token";
    default_scope = "{READ}";
  }}
);
"""


def put_unit(machine, text):
    """A unit of the recipe, where it says that it is, but for the folder; its name."""
    name = re.match(r"# /etc/systemd/system/(\S+)\n", text)[1]
    machine.write(f"/run/systemd/system/{name}", text)
    machine.run("systemctl", "daemon-reload")
    return name


@pytest.fixture(scope="module")
def tokend(machine):
    """The issuer, and the daemon with the configuration of both halves of the recipe."""
    # What other tests have installed would come with its socket, which the recipe wants.
    machine.run("systemctl", "mask", "--runtime", *INSTALLED)
    machine.add_user("recipe-daemon", "egain-token")
    machine.add_user("crm")
    client = f"{PORTAL.tenant}:{PORTAL.client_id}:{PORTAL.secret}"
    machine.unit(
        "recipe-issuer.service",
        f"{FAKE_EGAIN} --listen 127.0.0.1:{ISSUER_PORT} --client {client} --scope {READ}",
        DynamicUser="yes",
    )
    config = [text for half in (BATCH, SERVICE) for text in blocks("systemd.md", "libconfig", half)]
    machine.write("/etc/recipe/secret", PORTAL.secret + "\n", 0o600, "recipe-daemon")
    machine.write("/etc/recipe/conf", "\n".join((*config, CLIENTS)), 0o600, "recipe-daemon")
    machine.unit(
        "recipe-daemon.service",
        f"{TOKEND} --config /etc/recipe/conf",
        User="recipe-daemon",
        RuntimeDirectory="egain-tokend",
    )
    machine.start("recipe-issuer.service", "recipe-daemon.service")
    sockets = [machine.path(f"/run/egain-tokend/{name}.sock") for name in ("token", "credentials")]
    eventually(lambda: all(path.is_socket() for path in sockets), "the daemon to listen")
    yield
    machine.stop_unit("recipe-daemon.service", "recipe-issuer.service")
    machine.run("systemctl", "unmask", "--runtime", *INSTALLED)
    text = machine.journal("--unit=recipe-daemon.service")
    assert "Sanitizer" not in text and "runtime error" not in text


def test_the_batch_job(machine, tokend):
    """Its curl says what it was given, in the place of sending it; in rot13, since no token may be in
    the journal."""
    unit = put_unit(machine, *blocks("systemd.md", "ini", BATCH))
    (script,) = blocks("systemd.md", "sh", BATCH)
    machine.write("/usr/local/bin/crm-nightly", script, 0o755)
    machine.write("/usr/local/bin/curl", '#!/bin/sh\necho "arguments: $*"\nexec tr A-Za-z N-ZA-Mn-za-m\n', 0o755)
    machine.start(unit)
    said = machine.journal(f"--unit={unit}", "--output=cat")
    given = codecs.decode(said, "rot13")
    token = re.search(r"^Authorization: Bearer (\S+)$", given, re.MULTILINE)[1]
    expect.claims(token, "pa")
    assert "eyJ" not in re.search(r"^arguments: .*$", said, re.MULTILINE)[0]


def test_the_same_in_another_unit(machine, tokend):
    """It does not start, with the status that the recipe names."""
    (text,) = blocks("systemd.md", "ini", BATCH)
    unit = put_unit(machine, text.replace("crm-nightly.service", "crm-daily.service"))
    assert machine.run("systemctl", "start", unit, check=False).returncode != 0
    show = machine.run("systemctl", "show", unit, "--property=ExecMainStatus")
    assert show.stdout.strip() == "ExecMainStatus=243"


QUESTION = b"grant_type=password&client_id=portal&subject_username=anna"
REQUEST = (
    b"POST /oauth2/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(QUESTION), QUESTION)
)


def test_the_service(machine, tokend):
    """Served as the unit that it is, and no other process of its user."""
    (text,) = blocks("systemd.md", "ini", SERVICE)
    unit = put_unit(machine, text.replace("[Service]", "[Service]\nType=oneshot"))
    machine.write("/etc/recipe/request", REQUEST)
    program = (
        "#!/bin/sh\n"
        f"{PROBE} ask /run/egain-tokend/token.sock </etc/recipe/request >/home/crm/answer-$1\n"
    )
    machine.write("/usr/local/bin/crm-sync", program, 0o755)
    machine.start(unit)
    answer = parse_response(bytearray(machine.path("/home/crm/answer-").read_bytes()), ended=True)
    expect.claims(answer.json()["access_token"], "anna")

    machine.unit(
        "another.service",
        "/usr/local/bin/crm-sync of-another",
        Type="oneshot",
        User="crm",
        SupplementaryGroups="egain-token",
    )
    machine.start("another.service")
    answer = machine.path("/home/crm/answer-of-another").read_bytes()
    expect.error(parse_response(bytearray(answer), ended=True), 403, "access_denied")
