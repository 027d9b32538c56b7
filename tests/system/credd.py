# SPDX-License-Identifier: MIT
"""Asking the socket for credentials in systemd's place: from the address that systemd would bind, in
a cgroup that is named like the unit's where this host lets us. Needs root."""

import contextlib
import itertools
import os
import socket
from pathlib import Path

import pytest

from harness import CRM, MANAGE, PORTAL, STAFF, payload
from wire import TIMEOUT, eventually

LIMIT = 1024 * 1024  # systemd's, of a credential
CAP = 64  # CREDENTIAL_CONNECTIONS_MAX
ID = "egain-token"
UNIT = "nightly.service"

ENTRIES = [
    {"id": ID, "unit": UNIT, "client": "portal", "subject": "username:pa"},
    {"id": "other", "unit": UNIT, "client": "portal", "subject": "email:a@b.example"},
    {"id": "crm", "unit": UNIT, "client": "crm", "subject": "userid:4711", "scope": MANAGE},
    {"id": ID, "unit": "batch@*.service", "client": "portal", "subject": "username:batch"},
]

_numbers = itertools.count(0xADF9D86B)


def settings_of(folder, entries=ENTRIES, mode="0600"):
    """Of a daemon that has a socket for credentials, and one for callers, in this folder."""
    number = next(_numbers)
    return {
        "clients": [PORTAL, CRM, STAFF],
        "listen": [
            {"unix": f"{folder}/t{number}"},
            {"credentials": f"{folder}/c{number}", "mode": mode},
        ],
        "credentials": entries,
    }


def socket_of(daemon):
    return daemon.settings["listen"][1]["credentials"]


def hierarchy():
    """Where systemd looks for the cgroup of a process."""
    for root in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (root / "cgroup.procs").exists():
            return root
    return None


@contextlib.contextmanager
def in_unit(name):
    """We, in a cgroup of this name; what connects meanwhile is taken for the unit's."""
    root = hierarchy()
    if not root:
        pytest.skip("there is no cgroup hierarchy here")
    here = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].split("\n")[0]
    group = root / f"et{os.getpid()}.slice" / name
    try:
        group.mkdir(parents=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        pytest.skip(f"no cgroup can be made and entered here: {error}")
    try:
        yield
    finally:
        (root / here / "cgroup.procs").write_text(str(os.getpid()))
        eventually(lambda: not (group / "cgroup.procs").read_text(), "the cgroup to be empty")
        group.rmdir()
        group.parent.rmdir()


def address(unit, id, random=None):
    return b"\0%s/unit/%s/%s" % (random or b"%x" % next(_numbers), unit.encode(), id.encode())


def connect(daemon, source):
    """A connection as systemd makes it: from this address, and with nothing to say."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    if source is not None:
        connection.bind(source)
    connection.connect(socket_of(daemon))
    connection.shutdown(socket.SHUT_WR)
    return connection


def read(connection):
    pieces = []
    with connection:
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)

def ask(daemon, unit=UNIT, id=ID):
    """Asks from within the unit."""
    with in_unit(unit):
        return read(connect(daemon, address(unit, id)))


def granted(data, subject):
    assert len(data) < LIMIT
    assert payload(data.decode())["sub"] == subject
    return data.decode()


def refused(data, code):
    """systemd cannot take it, and whoever looks can read why; nothing else is in it."""
    assert len(data) == LIMIT + 1, data[:200]
    line, rest = data.split(b"\n", 1)
    assert line.startswith(b"egain-tokend: no token for the credential ")
    assert f" {code}: ".encode() in line, line
    assert not rest.strip(b"\n")
