# SPDX-License-Identifier: MIT
"""What a daemon under a real systemd leaves in the journal, and what happens when journald stops."""

import json
import time

import pytest

import expect
from harness import PORTAL, READ, ask_bytes
from machine import FAKE_EGAIN, TOKEND
from wire import Connection, eventually

UNIT = "logging.service"
SOCKET = "/run/logging/socket"
ISSUER_PORT = 8483
DEAD = "http://127.0.0.1:9/oauth2/token"
LIVE = f"http://127.0.0.1:{ISSUER_PORT}/system/auth/{PORTAL.tenant}-U/oauth2/token"

CONFIG = f"""
listen = ( {{ unix = "{SOCKET}"; }} );
clients = (
  {{
    name = "portal"; client_id = "{PORTAL.client_id}"; client_secret_file = "/etc/logging/secret";
    user_token_url = "{LIVE}"; default_scope = "{READ}";
  }},
  {{
    name = "dead"; client_id = "dead"; client_secret_file = "/etc/logging/secret";
    user_token_url = "{DEAD}"; default_scope = "{READ}";
  }}
);
log_level = "debug";
log_format = "json";    // which the journal does not mind
"""

# Of egain-tokend(8): what operators may have in their alerts.
MESSAGE_IDS = {
    "ready": "f5b9cd453b7f40f4b01030df5afe9955",
    "listening": "6672a32f48f640548371c8c263685e2b",
    "breaker_opened": "4793e08cec3a42009d7359cd4b5adfe3",
    "issuer_well": "81fe483eb9b14d7694fc8879dfee6679",
}

STOPPED_REQUESTS = 1500


@pytest.fixture(scope="module")
def daemon(machine):
    machine.write("/etc/logging/secret", PORTAL.secret + "\n", 0o600)
    machine.write("/etc/logging/conf", CONFIG, 0o600)
    client = f"{PORTAL.tenant}:{PORTAL.client_id}:{PORTAL.secret}"
    machine.unit(
        "logging-issuer.service",
        f"{FAKE_EGAIN} --listen 127.0.0.1:{ISSUER_PORT} --client {client} --scope {READ}",
    )
    machine.unit(
        UNIT,
        f"{TOKEND} --config /etc/logging/conf",
        RuntimeDirectory="logging",
        LogRateLimitIntervalSec="0",
    )
    machine.start("logging-issuer.service", UNIT)
    eventually(lambda: machine.path(SOCKET).is_socket(), "the daemon to listen")
    yield machine.path(SOCKET)
    machine.stop_unit(UNIT, "logging-issuer.service")
    assert "Sanitizer" not in machine.journal(f"--unit={UNIT}")


def ask(daemon, subject, **more):
    with Connection(str(daemon)) as connection:
        return connection.send(ask_bytes(subject, **more)).receive()


def entries(machine, *matches):
    """What the journal has of the daemon, with these fields."""
    lines = machine.journal("--output=json", f"_SYSTEMD_UNIT={UNIT}", *matches).splitlines()
    return [json.loads(line) for line in lines]


def wait_for(machine, *matches):
    return eventually(lambda: entries(machine, *matches), f"{matches} in the journal")


def test_lines_of_the_log(machine, daemon):
    ready = wait_for(machine, "EGAIN_EVENT=ready")[-1]
    assert ready["_TRANSPORT"] == "journal"
    assert ready["SYSLOG_IDENTIFIER"] == "egain-tokend"
    assert ready["PRIORITY"] == "6"
    assert ready["MESSAGE"] == "ready: 2 client applications"
    assert ready["EGAIN_COUNT"] == "2"
    for name, message_id in MESSAGE_IDS.items():
        assert entries(machine, f"EGAIN_EVENT={name}") == entries(machine, f"MESSAGE_ID={message_id}")
    assert wait_for(machine, "EGAIN_EVENT=listening")[-1]["EGAIN_LISTENER"] == SOCKET


def test_an_issuer_that_is_dead(machine, daemon):
    for number in range(12):
        expect.unavailable(ask(daemon, f"dead-{number}", client_id="dead"))
    opened = wait_for(machine, "EGAIN_EVENT=breaker_opened")
    assert len(opened) == 1
    assert opened[0]["PRIORITY"] == "4"
    assert opened[0]["EGAIN_REASON"] == "issuer_unreachable"
    assert opened[0]["EGAIN_URL"] == DEAD and opened[0]["EGAIN_CLIENT"] == "dead"
    assert 0 < int(opened[0]["EGAIN_FOR_MS"]) <= 1000
    failed = wait_for(machine, "EGAIN_EVENT=fetch_failed", "EGAIN_CLIENT=dead")
    assert 5 <= len(failed) <= 11 and all(entry["EGAIN_DETAIL"] for entry in failed)


def test_records_and_lines_share_names(machine, daemon):
    assert ask(daemon, "both").status == 200
    record = wait_for(machine, "EGAIN_SUBJECT=both")[-1]
    assert record["_TRANSPORT"] == "journal" and record["SYSLOG_IDENTIFIER"] == "egain-tokend"
    assert record["EGAIN_OUTCOME"] == "granted" and record["EGAIN_CLIENT"] == "portal"
    expect.unavailable(ask(daemon, "dead-too", client_id="dead"))

    def both():
        found = entries(machine, "EGAIN_CLIENT=dead")
        return any("EGAIN_OUTCOME" in it for it in found) and any(
            "EGAIN_EVENT" in it for it in found
        )

    eventually(both, "records and lines of one client application")


def test_a_stopped_journald(machine, daemon):
    """Nobody waits for it; and the journal tells how many lines it lacks."""
    pid = machine.run(
        "systemctl", "show", "--property=MainPID", "--value", "systemd-journald"
    ).stdout.strip()
    machine.run("sh", "-c", f"kill -STOP {pid}")
    try:
        began = time.monotonic()
        with Connection(str(daemon)) as connection:
            for number in range(STOPPED_REQUESTS):
                request = ask_bytes(f"stopped-{number}", scope="nobody.knows.it")
                expect.error(connection.send(request).receive(), 400, "invalid_scope")
        assert ask(daemon, "meanwhile").status == 200
        assert time.monotonic() - began < 60
    finally:
        machine.run("sh", "-c", f"kill -CONT {pid}")

    lost = wait_for(machine, "EGAIN_EVENT=log_dropped")
    assert lost[0]["PRIORITY"] == "4"
    assert lost[0]["MESSAGE"] == f"{lost[0]['EGAIN_COUNT']} log lines could not be written"

    def told():
        dropped = sum(int(it["EGAIN_COUNT"]) for it in entries(machine, "EGAIN_EVENT=log_dropped"))
        written = [
            it
            for it in entries(machine, "PRIORITY=7")
            if "scope_refused" in it["MESSAGE"] and "no token from" in it["MESSAGE"]
        ]
        return dropped > 0 and len(written) + dropped == STOPPED_REQUESTS

    eventually(told, "every line to be there, or counted")
    # The records of decisions waited for it.
    eventually(lambda: entries(machine, "EGAIN_SUBJECT=meanwhile"), "the record")


def test_the_end(machine, daemon):
    machine.run("systemctl", "restart", UNIT)
    assert wait_for(machine, "EGAIN_EVENT=stopping") and wait_for(machine, "EGAIN_EVENT=stopped")
    assert len(wait_for(machine, "EGAIN_EVENT=ready")) >= 1
