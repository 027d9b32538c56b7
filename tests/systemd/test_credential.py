# SPDX-License-Identifier: MIT
"""Tokens as credentials: a real systemd asks for them on behalf of the units that it starts."""

import json
import re

import pytest

from harness import PORTAL, READ, payload
from machine import FAKE_EGAIN, PROBE, TOKEND
from wire import eventually

SOCKET = "/run/credentials-test/credentials.sock"
CALLERS = "/run/credentials-test/token.sock"
ISSUER_PORT = 8483
ID = "egain-token"

CONFIG = f"""
listen = ( {{ unix = "{CALLERS}"; }}, {{ credentials = "{SOCKET}"; }} );
clients = (
  {{
    name = "portal";
    client_id = "{PORTAL.client_id}";
    client_secret_file = "/etc/credentials-test/secret";
    user_token_url = "http://127.0.0.1:{ISSUER_PORT}/system/auth/{PORTAL.tenant}-U/oauth2/token";
    default_scope = "{READ}";
  }}
);
credentials = (
  {{ id = "{ID}"; unit = "nightly.service"; client = "portal"; subject = "username:pa"; }},
  {{ id = "other"; unit = "nightly.service"; client = "portal"; subject = "userid:4711"; }},
  {{ id = "{ID}"; unit = "batch@*.service"; client = "portal"; subject = "username:batch";
     scope = "{READ}"; }},
  {{ id = "{ID}"; unit = "lonely.service"; client = "portal"; subject = "username:lonely"; }},
  {{ id = "{ID}"; unit = "by-hand.service"; client = "portal"; subject = "username:hand"; }},
  {{ id = "{ID}"; unit = "user.service"; client = "portal"; subject = "username:user"; }}
);
"""


@pytest.fixture(scope="module")
def issuer(machine):
    client = f"{PORTAL.tenant}:{PORTAL.client_id}:{PORTAL.secret}"
    machine.unit(
        "credential-issuer.service",
        f"{FAKE_EGAIN} --listen 127.0.0.1:{ISSUER_PORT} --client {client} --scope {READ}",
        DynamicUser="yes",
    )
    machine.start("credential-issuer.service")
    yield "credential-issuer.service"
    machine.stop_unit("credential-issuer.service")


@pytest.fixture(scope="module")
def tokend(machine, issuer):
    """A daemon that runs as a user of its own."""
    machine.add_user("credd")
    machine.write("/etc/credentials-test/secret", PORTAL.secret + "\n", 0o600, "credd")
    machine.write("/etc/credentials-test/conf", CONFIG, 0o600, "credd")
    machine.unit(
        "credd.service",
        f"{TOKEND} --config /etc/credentials-test/conf",
        User="credd",
        RuntimeDirectory="credentials-test",
    )
    start(machine)
    yield "credd.service"
    machine.stop_unit("credd.service")
    text = machine.journal("--unit=credd.service")
    assert "Sanitizer" not in text and "runtime error" not in text


def start(machine):
    machine.start("credd.service")
    eventually(lambda: machine.path(SOCKET).is_socket(), "the daemon to listen")


class Outcome:
    """What became of a unit: what it found in its credentials directory, or that it never ran."""

    def __init__(self, machine, started, ids):
        show = machine.run(
            "systemctl", "show", started, "--property=Result,ExecMainStatus,ActiveState"
        )
        self.state = dict(line.split("=", 1) for line in show.stdout.split())
        folder = machine.path(f"/run/found/{started}")
        self.ran = folder.exists()
        self.found = {id: (folder / id).read_bytes() for id in ids} if self.ran else {}

    def refused(self):
        """The credential could not be set up (243, EXIT_CREDENTIALS), and nothing was run."""
        return not self.ran and self.state["ExecMainStatus"] == "243"


def run(machine, unit, ids=(ID,), instance=None, loads=None, socket=SOCKET, **properties):
    """Starts a service that copies its credentials to where we see them, mode included."""
    started = instance or unit
    machine.run("rm", "-rf", f"/run/found/{started}")
    machine.run("mkdir", "-p", "/run/found")
    machine.unit(
        unit,
        "/bin/sh -c 'umask 077; cp -r \"$CREDENTIALS_DIRECTORY\" /run/found/%n'",
        Type="oneshot",
        LoadCredential=loads or [f"{id}:{socket}" for id in ids],
        **properties,
    )
    machine.run("systemctl", "start", started, check=False)
    return Outcome(machine, started, ids)


def token_of(outcome, subject, id=ID):
    assert outcome.ran, outcome.state
    token = outcome.found[id].decode()
    assert token == token.strip()
    assert payload(token)["sub"] == subject
    return token


def records(machine, **fields):
    matches = [f"{name}={value}" for name, value in fields.items()]
    lines = machine.journal("--output=json", "--unit=credd.service", *matches).splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def probe(machine):
    machine.unit(
        "credential-probe.service",
        f"{PROBE} listen /run/credential-probe/socket {ISSUER_PORT + 1}",
        DynamicUser="yes",
        RuntimeDirectory="credential-probe",
    )
    machine.start("credential-probe.service")
    socket = "/run/credential-probe/socket"
    eventually(lambda: machine.path(socket).is_socket(), "the probe to listen")
    yield socket
    machine.stop_unit("credential-probe.service")


@pytest.mark.parametrize("user", ["root", "svc"])
def test_who_connects_is_root_and_in_the_unit_already(machine, probe, svc, user):
    """What all of this rests on: the credential is what the probe has seen of its peer."""
    machine.run("mkdir", "-p", "/run/found")
    machine.run("chmod", "1777", "/run/found")
    for unit, instance in (("measured.service", None), ("many@.service", "many@a-b.service")):
        outcome = run(machine, unit, instance=instance, socket=probe, User=user)
        assert outcome.ran, outcome.state
        seen = dict(re.findall(r"(\w+)=(\S*)", outcome.found[ID].decode()))
        assert seen["known"] == "1" and seen["uid"] == "0" and int(seen["pid"]) > 1
        assert seen["unit"] == (instance or unit)


def test_the_right_unit_finds_its_token(machine, tokend):
    token = token_of(run(machine, "nightly.service"), "pa")
    # From memory the next time: it is the very same.
    assert token_of(run(machine, "nightly.service"), "pa") == token

    got = eventually(
        lambda: records(machine, EGAIN_SUBJECT="pa", EGAIN_OUTCOME="granted"), "the record"
    )[0]
    assert got["EGAIN_RULE"] == f"credential:{ID}"
    assert (got["EGAIN_UNIT"], got["EGAIN_CLIENT"]) == ("nightly.service", "portal")
    assert got["EGAIN_UID"] == "0" and int(got["EGAIN_PID"]) > 0


def test_two_credentials_of_one_unit(machine, tokend):
    outcome = run(machine, "nightly.service", ids=(ID, "other"))
    token_of(outcome, "pa")
    token_of(outcome, "4711", "other")


def test_a_unit_with_a_user_of_its_own(machine, tokend):
    """systemd asks before it becomes somebody else."""
    machine.run("mkdir", "-p", "/run/found")
    machine.run("chmod", "1777", "/run/found")
    token_of(run(machine, "user.service", DynamicUser="yes", ReadWritePaths="/run/found"), "user")


def test_a_unit_in_a_slice_of_its_own(machine, tokend):
    token_of(run(machine, "nightly.service", Slice="deep-inside.slice"), "pa")


def test_template_instances(machine, tokend):
    for instance in ("batch@a.service", "batch@b-c.service"):
        token_of(run(machine, "batch@.service", instance=instance), "batch")
    assert run(machine, "abatch@.service", instance="abatch@a.service").refused()


def test_a_unit_that_is_not_entitled_does_not_start(machine, tokend):
    outcome = run(machine, "stranger.service")
    assert outcome.refused(), outcome.state
    denied = eventually(
        lambda: records(machine, EGAIN_UNIT="stranger.service"), "the record of the refusal"
    )[0]
    assert denied["EGAIN_OUTCOME"] == "refused" and denied["EGAIN_REASON"] == "no_credential"
    assert "stranger.service" in machine.journal("--unit=credd.service")


def test_another_credential_than_the_units_own(machine, tokend):
    assert run(machine, "lonely.service", ids=("other",)).refused()
    token_of(run(machine, "lonely.service"), "lonely")


def test_without_the_issuer_a_unit_does_not_start(machine, tokend, issuer):
    run(machine, "nightly.service")
    machine.stop_unit(issuer)
    try:
        assert run(machine, "batch@.service", instance="batch@a.service").ran  # from memory
        machine.stop_unit(tokend)
        start(machine)
        outcome = run(machine, "batch@.service", instance="batch@a.service")
        assert outcome.refused(), outcome.state
    finally:
        machine.start(issuer)
    # As soon as the issuer is back, without a word from anybody.
    eventually(lambda: run(machine, "batch@.service", instance="batch@a.service").ran, "a token")


def test_a_restart_in_between(machine, tokend):
    token_of(run(machine, "nightly.service"), "pa")
    machine.stop_unit(tokend)
    # Nobody listens: systemd itself refuses to start the unit.
    assert run(machine, "nightly.service").refused()
    start(machine)
    token_of(run(machine, "nightly.service"), "pa")


def test_a_forged_address(machine, tokend):
    """Root in one unit says that it is systemd on behalf of another one."""
    ask = (PROBE, "ask", SOCKET, f"adf9d86b6eda275e/unit/nightly.service/{ID}")
    for where in ((), ("systemd-run", "--scope", "--unit=forger", "--collect")):
        said = machine.run(*where, *ask).stdout
        assert len(said) == 1024 * 1024 + 1 and " other_unit: " in said.splitlines()[0]
    # Whoever can enter the unit's cgroup could have had systemd start it.
    by_hand = ("systemd-run", "--pipe", "--wait", "--collect", "--unit=by-hand")
    inside = machine.run(*by_hand, PROBE, "ask", SOCKET, f"1/unit/by-hand.service/{ID}")
    assert payload(inside.stdout)["sub"] == "hand"


def test_a_unit_of_a_users_own_manager(machine, tokend, svc):
    """It cannot even connect, and does not start for it."""
    machine.start(f"user@{svc}.service")
    machine.write(
        "/run/systemd/user/nightly.service",
        "[Service]\nType=oneshot\nExecStart=/bin/true\n"
        f"LoadCredential={ID}:{SOCKET}\n",
    )
    manager = f"XDG_RUNTIME_DIR=/run/user/{svc}"
    as_user = ("setpriv", "--reuid=svc", "--regid=svc", "--init-groups", "env", manager)
    machine.run(*as_user, "systemctl", "--user", "daemon-reload")
    done = machine.run(*as_user, "systemctl", "--user", "start", "nightly.service", check=False)
    machine.stop_unit(f"user@{svc}.service")
    assert done.returncode != 0


def test_why_a_refusal_is_longer_than_systemd_takes(machine, tokend):
    """A socket that is closed at once gives an empty credential, and starts the unit."""
    run(machine, "stranger.service")
    assert "Failed to set up credentials" in machine.journal("--unit=stranger.service")
    machine.write(
        "/run/systemd/system/closing@.service", "[Service]\nExecStart=/bin/true\n"
    )
    machine.write(
        "/run/systemd/system/closing.socket",
        "[Socket]\nListenStream=/run/closing.sock\nAccept=yes\n",
    )
    machine.run("systemctl", "daemon-reload")
    machine.start("closing.socket")
    outcome = run(machine, "stranger.service", socket="/run/closing.sock")
    assert outcome.ran and outcome.found[ID] == b""
    machine.stop_unit("closing.socket")
