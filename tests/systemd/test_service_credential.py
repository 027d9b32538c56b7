# SPDX-License-Identifier: MIT
"""Tokens as credentials from the installed service, in its sandbox, through its own socket unit."""

import pytest

import expect
from harness import payload
from service import CONFIG, SERVICE, SOCKETS

SOCKET_UNIT = "egain-tokend-credentials.socket"
SOCKET = "/run/egain-tokend/credentials.sock"
ID = "egain-token"
LISTENER = f',\n  {{ credentials = "{SOCKET}"; }}\n);\nclients'
ENTRIES = f"""
credentials = (
  {{ id = "{ID}"; unit = "nightly.service"; client = "portal"; subject = "username:nightly"; }}
);
"""
WITH_CREDENTIALS = CONFIG.replace("\n);\nclients", LISTENER, 1) + ENTRIES
assert LISTENER in WITH_CREDENTIALS


@pytest.fixture
def offering(service):
    """Nothing but the sockets is started."""
    service.configure(WITH_CREDENTIALS)
    service.systemctl("start", SOCKET_UNIT, *SOCKETS)
    yield service
    service.systemctl("stop", SOCKET_UNIT)


def run(service, unit):
    """Starts a unit that keeps what it is given; whether it ran, and that."""
    machine = service.machine
    found = f"/run/found-{unit}"
    machine.run("rm", "-f", found)
    machine.unit(
        unit,
        f"/bin/sh -c 'cat \"$CREDENTIALS_DIRECTORY/{ID}\" >{found}'",
        Type="oneshot",
        LoadCredential=f"{ID}:{SOCKET}",
    )
    done = service.systemctl("start", unit, check=False)
    status = service.show("ExecMainStatus", unit)
    ran = machine.path(found).exists()
    assert ran == (done.returncode == 0)
    return (machine.path(found).read_text() if ran else None), status


def test_the_first_unit_starts_it_and_finds_its_token(offering):
    assert offering.show("ActiveState") == "inactive"
    token, _ = run(offering, "nightly.service")
    assert payload(token)["sub"] == "nightly"
    assert offering.show("ActiveState") == "active"
    # From memory, as callers have it.
    expect.hit(offering.ask("nightly"), "nightly")
    assert run(offering, "nightly.service")[0] == token


def test_another_unit_does_not_start(offering):
    since = offering.cursor()
    token, status = run(offering, "stranger.service")
    assert token is None and status == "243"
    text = offering.journal(since)
    assert "no_credential" in text and "stranger.service" in text, text


def test_a_restart_keeps_units_waiting(offering):
    """systemd itself connects, and the socket outlives the daemon."""
    token, _ = run(offering, "nightly.service")
    offering.systemctl("restart", SERVICE)
    assert run(offering, "nightly.service")[0] == token


def test_it_is_counted(offering):
    run(offering, "nightly.service")
    run(offering, "stranger.service")
    with offering.connect() as connection:
        text = connection.request("GET", "/metrics").body.decode()
    name = "egain_tokend_credential_requests_total"
    assert f'{name}{{outcome="granted",reason="none"}} 1\n' in text
    assert f'{name}{{outcome="refused",reason="no_credential"}} 1\n' in text
