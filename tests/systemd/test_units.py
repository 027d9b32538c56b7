# SPDX-License-Identifier: MIT
"""What a systemd says a peer's unit is, seen through peer-probe in the place of the daemon."""

import re

import pytest

from machine import PROBE
from wire import eventually

SOCKET = "/run/probe/socket"
PORT = 8471


@pytest.fixture(scope="module", params=["by SO_PEERPIDFD", "by pidfd_open"])
def probe(machine, request):
    """A probe that runs as a user who is nobody in particular."""
    older = " older" if request.param == "by pidfd_open" else ""
    machine.unit(
        "probe.service",
        f"{PROBE} listen {SOCKET} {PORT}{older}",
        DynamicUser="yes",
        RuntimeDirectory="probe",
    )
    machine.start("probe.service")
    eventually(lambda: machine.path(SOCKET).is_socket(), "the probe to listen")
    yield
    machine.stop_unit("probe.service")
    assert "Sanitizer" not in machine.journal("--unit=probe.service")


class Seen:
    """What the probe saw of one connection."""

    def __init__(self, text):
        fields = dict(re.findall(r"(\w+)=(\S*)", text))
        assert fields.get("known") == "1", text
        self.unit = fields["unit"]
        self.uid = int(fields["uid"])
        self.pid = int(fields["pid"])
        self.tcp = fields["tcp"] == "1"
        self.groups = {int(gid) for gid in fields["groups"].split(",") if gid}


def asks(machine, unit, instance=None, address=SOCKET, **properties):
    """Lets a service ask the probe; what it was told."""
    return Seen(machine.ask(unit, address, instance=instance, **properties).decode())


def test_two_services_of_one_user(machine, probe, svc):
    gid = int(machine.run("getent", "group", "callers").stdout.split(":")[2])
    allowed = asks(machine, "allowed.service", User="svc")
    denied = asks(machine, "denied.service", User="svc")
    assert allowed.unit == "allowed.service"
    assert denied.unit == "denied.service"
    assert allowed.uid == denied.uid == svc
    assert allowed.pid != denied.pid and allowed.pid > 0
    assert gid in allowed.groups and 0 not in allowed.groups


def test_a_template_instance(machine, probe, svc):
    for name in ("worker@a.service", "worker@b-c.service"):
        assert asks(machine, "worker@.service", name, User="svc").unit == name


def test_a_dynamic_user(machine, probe):
    seen = asks(machine, "dynamic.service", DynamicUser="yes")
    assert seen.unit == "dynamic.service"
    assert 61184 <= seen.uid <= 65519


def test_a_service_in_a_slice_of_its_own(machine, probe, svc):
    seen = asks(machine, "sliced.service", User="svc", Slice="deep-inside.slice")
    assert seen.unit == "sliced.service"


def test_a_process_forked_by_a_service(machine, probe, svc):
    """Whichever process of a unit asks, and whoever it has become."""
    machine.run("mkdir", "-p", "/run/answers")
    machine.unit(
        "forking.service",
        f"/bin/sh -c '(setpriv --reuid=svc --clear-groups {PROBE} ask {SOCKET} & wait)'",
        Type="oneshot",
        StandardOutput="truncate:/run/answers/%n",
    )
    machine.start("forking.service")
    seen = Seen(machine.path("/run/answers/forking.service").read_text())
    assert (seen.unit, seen.uid) == ("forking.service", svc)


def test_a_scope(machine, probe):
    done = machine.run("systemd-run", "--scope", "--unit=by-hand", PROBE, "ask", SOCKET)
    assert Seen(done.stdout).unit == "by-hand.scope"


def test_a_session(machine, probe, svc):
    """A user who has logged in is in the scope of the session, whatever started it."""
    seen = asks(machine, "login.service", User="svc", PAMName="login")
    assert re.fullmatch(r"session-\w+\.scope", seen.unit)
    assert seen.uid == svc


def test_a_unit_of_the_users_own_manager(machine, probe, svc):
    """Anybody can call a unit of his own what he likes; it is not the system's of that name."""
    machine.start(f"user@{svc}.service")
    machine.unit(
        "allowed.service",
        f"{PROBE} ask {SOCKET}",
        folder="user",
        Type="oneshot",
        StandardOutput="truncate:%t/result",
    )
    manager = f"XDG_RUNTIME_DIR=/run/user/{svc}"
    as_user = ("setpriv", "--reuid=svc", "--regid=svc", "--init-groups", "env", manager)
    machine.run(*as_user, "systemctl", "--user", "daemon-reload")
    machine.run(*as_user, "systemctl", "--user", "start", "allowed.service")
    seen = Seen(machine.path(f"/run/user/{svc}/result").read_text())
    assert seen.unit == f"user@{svc}.service"
    assert seen.uid == svc
    machine.stop_unit(f"user@{svc}.service")


def test_over_tcp_there_is_no_unit(machine, probe, svc):
    for address in (f"127.0.0.1:{PORT}", f"[::1]:{PORT}"):
        seen = asks(machine, "over-tcp.service", address=address, User="svc")
        assert (seen.tcp, seen.unit, seen.pid, seen.groups) == (True, "none", 0, set())
        assert seen.uid == svc


def test_outside_of_all_units(machine, probe):
    """A process in no unit has none; it is not in ours."""
    seen = Seen(machine.run(PROBE, "ask", SOCKET).stdout)
    assert (seen.unit, seen.uid) == ("none", 0)
    assert seen.pid > 0


@pytest.fixture
def confined_probe(machine):
    """Starts a probe with a property of its own."""

    def start(**properties):
        machine.unit(
            "confined.service",
            f"{PROBE} listen /run/confined/socket {PORT + 1}",
            DynamicUser="yes",
            RuntimeDirectory="confined",
            **properties,
        )
        machine.start("confined.service")
        socket = "/run/confined/socket"
        eventually(lambda: machine.path(socket).is_socket(), "the probe to listen")
        return socket

    yield start
    machine.stop_unit("confined.service")


def test_a_probe_that_sees_everybody_as_nobody(machine, confined_probe, svc):
    """With PrivateUsers= the kernel shows all others as one and the same user, who is nobody."""
    socket = confined_probe(PrivateUsers="yes")
    for address in (socket, f"127.0.0.1:{PORT + 1}"):
        text = machine.ask("seen-as-nobody.service", address, User="svc").decode()
        assert "known=0" in text and "unit=none" in text and "groups=\n" in text


def test_a_probe_that_sees_no_other_processes(machine, confined_probe, svc):
    """With ProtectProc= there is no unit, and all the rest."""
    socket = confined_probe(ProtectProc="invisible")
    seen = asks(machine, "not-seen.service", address=socket, User="svc")
    assert (seen.unit, seen.uid) == ("none", svc)
