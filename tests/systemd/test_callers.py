# SPDX-License-Identifier: MIT
"""Rules that name a unit, kept by the daemon as a service of a real systemd."""

import json

import pytest

from harness import PORTAL, READ, ROOT, payload, question
from machine import FAKE_EGAIN, TOKEND
from wire import eventually, form_request, parse_response

pytestmark = pytest.mark.skipif(
    "callers" not in (ROOT / "conf" / "egain-tokend.conf").read_text(),
    reason="this daemon's configuration knows no callers",
)

SOCKET = "/run/tokend/socket"
PORT = 8472
ISSUER_PORT = 8473
TCP = (f"127.0.0.1:{PORT}", f"[::1]:{PORT}")

CONFIG = f"""
listen = ( {{ unix = "{SOCKET}"; mode = "0666"; }}, {{ tcp = "localhost:{PORT}"; }} );
clients = (
  {{
    name = "portal";
    client_id = "{PORTAL.client_id}";
    client_secret_file = "/etc/tokend/secret";
    user_token_url = "http://127.0.0.1:{ISSUER_PORT}/system/auth/{PORTAL.tenant}-U/oauth2/token";
    default_scope = "{READ}";
  }}
);
callers = (
  {{
    name = "allowed"; user = "svc"; unit = "allowed.service";
    clients = [ "portal" ]; subjects = [ "username:*" ]; scopes = [ "{READ}" ];
  }},
  {{
    name = "workers"; user = "svc"; unit = "worker@*.service";
    clients = [ "portal" ]; subjects = [ "username:worker-*" ]; scopes = [ "{READ}" ];
  }},
  {{
    name = "dynamic"; unit = "dynamic.service";
    clients = [ "portal" ]; subjects = [ "username:*" ]; scopes = [ "{READ}" ];
  }}
);
"""


@pytest.fixture(scope="module")
def tokend(machine, svc):
    """A daemon that runs as a user of its own, with nothing that others do not have."""
    machine.add_user("tokend")
    machine.write("/etc/tokend/secret", PORTAL.secret + "\n", 0o600, "tokend")
    machine.write("/etc/tokend/conf", CONFIG, 0o600, "tokend")
    client = f"{PORTAL.tenant}:{PORTAL.client_id}:{PORTAL.secret}"
    machine.unit(
        "issuer.service",
        f"{FAKE_EGAIN} --listen 127.0.0.1:{ISSUER_PORT} --client {client} --scope {READ}",
        DynamicUser="yes",
    )
    machine.unit(
        "tokend.service",
        f"{TOKEND} --config /etc/tokend/conf",
        User="tokend",
        RuntimeDirectory="tokend",
    )
    machine.start("issuer.service", "tokend.service")
    eventually(lambda: machine.path(SOCKET).is_socket(), "the daemon to listen")
    yield
    machine.stop_unit("tokend.service", "issuer.service")
    assert "Sanitizer" not in machine.journal("--unit=tokend.service")


def asks(machine, unit, subject="pa", instance=None, address=SOCKET, **properties):
    """Lets a service ask for a token; the daemon's answer."""
    request = form_request(question(subject), [("Connection", "close")])
    return parse_response(
        bytearray(machine.ask(unit, address, request, instance=instance, **properties))
    )


def granted(response, subject="pa"):
    assert response.status == 200, response
    assert payload(response.json()["access_token"])["sub"] == subject


def refused(response):
    assert response.status == 403, response
    answer = response.json()
    assert answer["error"] == "access_denied" and "access_token" not in answer


def records(machine, **fields):
    """The audit records with these fields, as the journal has them."""
    matches = [f"{name}={value}" for name, value in fields.items()]
    lines = machine.journal("--output=json", "--unit=tokend.service", *matches).splitlines()
    return [json.loads(line) for line in lines]


def test_two_services_of_one_user(machine, tokend, svc):
    granted(asks(machine, "allowed.service", User="svc"))
    refused(asks(machine, "denied.service", User="svc"))
    # What one has brought into memory is not the other's for that.
    granted(asks(machine, "allowed.service", User="svc"))
    refused(asks(machine, "denied.service", User="svc"))


def test_the_record_says_who_it_was(machine, tokend, svc):
    granted(asks(machine, "allowed.service", "recorded", User="svc"), "recorded")
    refused(asks(machine, "denied.service", "recorded", User="svc"))

    def both():
        got = records(machine, EGAIN_SUBJECT="recorded", EGAIN_OUTCOME="granted")
        denied = records(machine, EGAIN_SUBJECT="recorded", EGAIN_OUTCOME="refused")
        return got and denied and (got[0], denied[0])

    got, denied = eventually(both, "the records to be in the journal")
    assert (got["EGAIN_UNIT"], got["EGAIN_RULE"]) == ("allowed.service", "allowed")
    assert denied["EGAIN_UNIT"] == "denied.service" and "EGAIN_RULE" not in denied
    assert denied["EGAIN_REASON"] == "not_permitted"
    assert got["EGAIN_UID"] == denied["EGAIN_UID"] == str(svc)
    assert int(got["EGAIN_PID"]) > 0


def test_template_instances(machine, tokend, svc):
    for instance in ("worker@a.service", "worker@b-c.service"):
        granted(
            asks(machine, "worker@.service", "worker-1", instance=instance, User="svc"), "worker-1"
        )
        refused(asks(machine, "worker@.service", "pa", instance=instance, User="svc"))
    refused(asks(machine, "worker.service", "worker-1", User="svc"))
    other = asks(
        machine, "coworker@.service", "worker-1", instance="coworker@a.service", User="svc"
    )
    refused(other)


def test_a_dynamic_user_is_known_by_its_unit(machine, tokend):
    granted(asks(machine, "dynamic.service", DynamicUser="yes"))
    refused(asks(machine, "dynamic-too.service", DynamicUser="yes"))


def test_the_right_unit_with_the_wrong_user(machine, tokend):
    machine.add_user("svc2")
    refused(asks(machine, "allowed.service", User="svc2"))


def test_over_tcp_no_rule_with_a_unit_matches(machine, tokend, svc):
    for address in TCP:
        refused(asks(machine, "allowed.service", address=address, User="svc"))
        refused(asks(machine, "dynamic.service", address=address, DynamicUser="yes"))
