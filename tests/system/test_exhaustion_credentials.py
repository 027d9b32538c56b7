# SPDX-License-Identifier: MIT
"""What test_exhaustion_memory.py does, at the socket for credentials. Here an end of file in place
of an answer would be a wrong one: systemd would start the unit, with an empty credential."""

import os
import shutil

import pytest

from credd import ID, LIMIT, UNIT, address, connect, granted, in_unit, read, refused, settings_of
from harness import scratch_directory
from shortage import LIBRARY
from sweep import Sweep
from wire import form

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be taken for systemd"),
    pytest.mark.skipif(not LIBRARY.exists(), reason="not in builds that guide fuzzers"),
]


class CredentialSweep(Sweep):
    def judge(self, given, response, right, n, length):
        assert response is not None, self.where(n, length)
        if right(given, response):
            return "right"
        refused(response, "out_of_memory")
        self.daemon.check_answer(response.decode())
        return "refused"


@pytest.fixture
def starving_credd(starving):
    folder = scratch_directory()
    daemon = starving(**settings_of(folder))
    daemon.unix = daemon.settings["listen"][0]["unix"]
    yield daemon
    shutil.rmtree(folder)


def ask(daemon):
    return lambda _: read(connect(daemon, address(UNIT, ID)))


def right(_, data):
    assert data, "an empty credential"
    return len(data) <= LIMIT and bool(granted(data, "pa"))


def test_a_hit(starving_credd):
    with in_unit(UNIT):
        ask(starving_credd)(None)
        CredentialSweep(starving_credd).run(lambda: None, ask(starving_credd), right)


def test_a_miss(starving_credd):
    daemon = starving_credd

    def purge():
        target = "/v1/tokens?" + form({"subject_username": "pa"}).decode()
        assert daemon.request("DELETE", target).status == 200

    with in_unit(UNIT):
        CredentialSweep(daemon).run(purge, ask(daemon), right)
