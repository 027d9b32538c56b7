# SPDX-License-Identifier: MIT
"""Restarts of the installed service while callers come at a rate."""

import resource

import pytest

from load import Load
from service import SERVICE
from wire import eventually

RATE = 500
ENOUGH = 400  # of RATE, for a generator that shares its processors with all the rest
RESTARTS = 3
SUBJECTS = 50
BETWEEN = RATE  # callers served by each process


@pytest.fixture(autouse=True)
def enough_descriptors():
    """For all who come while the service restarts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(16384, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_restarts_under_load(service):
    """Nobody fails, everybody gets the token that was there before, and the issuer is not asked."""
    service.start()
    tokens = {
        f"load-{number}": service.ask(f"load-{number}").json()["access_token"]
        for number in range(SUBJECTS)
    }
    before = service.issuer_requests()
    pids = [service.show("MainPID")]
    with Load(service.address(), tokens, RATE) as load:
        for _ in range(RESTARTS):
            served = load.answered
            eventually(lambda served=served: load.answered > served + BETWEEN, "callers served")
            sent = load.sent
            service.systemctl("restart", SERVICE)
            assert load.sent > sent, "nobody came meanwhile"
            pids.append(service.show("MainPID"))
        served = load.answered
        eventually(lambda: load.answered > served + BETWEEN, "callers served")
    print(
        f"{load.sent} requests, {load.achieved():.0f} a second, at most {load.latest:.3f} s late; "
        f"{len(load.failures)} failed, {load.retries} tried again, slowest {load.slowest:.3f} s"
    )
    assert not load.failures, load.failures[:5]
    assert load.answered == load.sent
    assert load.achieved() >= ENOUGH
    assert len(set(pids)) == 1 + RESTARTS
    assert service.show("NRestarts") == "0"
    assert service.issuer_requests() == before
