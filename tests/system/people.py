# SPDX-License-Identifier: MIT
"""Real users of this host, made for the tests and removed after.

A Person is a user with a process that runs as him as long as the tests do. It opens connections and
hands them over: to the kernel, and so to the daemon, they stay those of who opened them.
"""

import contextlib
import grp
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import environment
from wire import TIMEOUT, Connection

needs_users = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("useradd"), reason="needs root to make users"
)

# So that two runs at a time have users of their own, and the next one finds what a killed one left.
NAME = re.compile(r"ettest-[a-z]+-(\d+)")

# Connects as often as it is told, and hands the sockets over.
OPENER = """
import json, socket
control = socket.socket(fileno=0)
while request := control.recv(4096):
    address, count = json.loads(request)
    for _ in range(count):
        try:
            if isinstance(address, str):
                opened = socket.socket(socket.AF_UNIX)
                opened.connect(address)
            else:
                opened = socket.create_connection(tuple(address))
        except OSError as error:
            control.send(repr(error).encode())
            break
        socket.send_fds(control, [b"ok"], [opened.fileno()])
        opened.close()
"""


def manage(*command):
    """One change of the user database; somebody else may have it locked for a moment."""
    for _ in range(50):
        run = subprocess.run(command, capture_output=True, text=True)
        if "try again later" not in run.stderr:
            break
        time.sleep(0.1)
    assert run.returncode == 0, run


def remove_leftovers():
    """Users and groups of runs that were killed."""
    for database, entries in (("user", pwd.getpwall()), ("group", grp.getgrall())):
        for entry in entries:
            match = NAME.fullmatch(entry[0])
            if match and not Path(f"/proc/{match[1]}").exists():
                # A group has gone with the user of its name.
                with contextlib.suppress(AssertionError):
                    manage(f"{database}del", entry[0])


@contextlib.contextmanager
def group_for_the_test(name):
    manage("groupadd", "--system", name)
    try:
        yield grp.getgrnam(name)
    finally:
        manage("groupdel", name)


@contextlib.contextmanager
def user_for_the_test(name, primary=None, supplementary=None):
    """An entry of the passwd database; in a group of his own unless told."""
    options = ["--system", "--no-create-home", "--shell", "/bin/false"]
    options += ["--gid", primary.gr_name] if primary else ["--user-group"]
    options += ["--groups", supplementary.gr_name] if supplementary else []
    manage("useradd", *options, name)
    try:
        yield pwd.getpwnam(name)
    finally:
        manage("userdel", name)


@contextlib.contextmanager
def acting_as(user):
    """We, with another effective user; sockets made and connected meanwhile are his."""
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@dataclass
class Place:
    """Where a person connects; takes the place of an address."""

    person: "Person"
    address: object

    def connect(self, timeout=TIMEOUT):
        opened = self.person.open(self.address)
        opened.settimeout(timeout)
        return opened


class Person:
    """A user with all groups that the database has him in, and his process."""

    def __init__(self, user):
        self.user = user
        self.name = user.pw_name
        self.uid = user.pw_uid
        self.groups = os.getgrouplist(user.pw_name, user.pw_gid)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(TIMEOUT)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", OPENER], stdin=theirs, **self.identity()
            )

    def identity(self):
        """How to start a process of his."""
        extra = [group for group in self.groups if group != self.user.pw_gid]
        return {
            "user": self.uid,
            "group": self.user.pw_gid,
            "extra_groups": extra,
            "cwd": "/",
            "env": environment(HOME="/"),
        }

    def close(self):
        self.control.close()
        self.process.wait(TIMEOUT)

    def open(self, address):
        self.control.send(json.dumps([address, 1]).encode())
        said, fds, _, _ = socket.recv_fds(self.control, 512, 1)
        assert fds, said
        return socket.socket(fileno=fds[0])

    def at(self, address):
        """The address as one that he connects to."""
        return Place(self, address)

    def connect(self, address):
        return Connection(self.at(address))

    def run(self, *command, **options):
        """A program of his."""
        return subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, **self.identity(), **options
        )


@dataclass
class People:
    """Who there is; b is in the team by his primary group, c by a supplementary one."""

    a: Person
    b: Person
    c: Person
    d: Person
    team: object


@contextlib.contextmanager
def population():
    remove_leftovers()
    with contextlib.ExitStack() as stack:

        def name(part):
            return f"ettest-{part}-{os.getpid()}"

        team = stack.enter_context(group_for_the_test(name("team")))
        memberships = {"a": {}, "b": {"primary": team}, "c": {"supplementary": team}, "d": {}}
        persons = {}
        for part, options in memberships.items():
            user = stack.enter_context(user_for_the_test(name(part), **options))
            persons[part] = stack.enter_context(contextlib.closing(Person(user)))
        yield People(**persons, team=team)
