# SPDX-License-Identifier: MIT
"""What test_exhaustion_memory.py does, with an issuer over TLS. A handshake has some 3,000
allocations, of which a sample fails: see sweep.py."""

import random

import pytest

from harness import PORTAL, Client
from shortage import LIBRARY
from sweep import LENGTHS, SAMPLE, SEED, Sweep, is_token_of, subject_of_its_own
from tls import CLIENTS

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="not in builds that guide fuzzers")

# What a handshake that fails has at least; more than one that is broken off early.
HANDSHAKE_ALLOCATIONS = 2500


@pytest.fixture
def behind(starving, issuer, nginx):
    """Starts a daemon for clients whose issuer is one of nginx's servers."""

    def start(server, clients, query=""):
        origin = f"https://localhost:{nginx.ports[server]}"
        urls = {}
        for client in clients:
            issuer.accept(client, client.secret)
            urls[client.name] = {
                "user_token_url": issuer.url(client, origin=origin) + query.format(client.name)
            }
        upstream = {"ca_file": nginx.directory / "ca.pem"}
        return starving(clients=clients, urls=urls, upstream=upstream)

    return start


@pytest.mark.parametrize("server", ["http1", "good"])
def test_a_miss(behind, nginx, server):
    """On a connection that is kept, over HTTP/1.1 and HTTP/2."""
    daemon = behind(server, [CLIENTS[server]])

    def ask(subject):
        return daemon.ask(subject, client_id=server)

    ask(subject_of_its_own())
    Sweep(daemon).run(subject_of_its_own, ask, is_token_of())
    protocols = {entry[0] for entry in nginx.log(server)}
    assert protocols == {"HTTP/1.1" if server == "http1" else "HTTP/2.0"}


@pytest.mark.parametrize("server", ["once1", "once"])
def test_a_miss_on_a_new_connection(behind, server):
    """With a handshake for each. None that fails for want of memory is the issuer's fault."""
    daemon = behind(server, [CLIENTS[server]])

    def ask(subject):
        return daemon.ask(subject, client_id=server)

    for _ in range(2):  # what is made once in a process
        ask(subject_of_its_own())
    Sweep(daemon).run_sample(subject_of_its_own, ask, is_token_of())


@pytest.mark.parametrize("server", ["unknownca", "wronghost"])
def test_an_issuer_that_is_none(behind, issuer, server):
    """Whatever fails, nothing is sent to who cannot show who he is. A URL is tried no more than
    thrice, before its breaker opens."""
    clients = [
        Client(f"portal-{i}", f"id-{i}", PORTAL.secret, PORTAL.tenant, PORTAL.default_scope)
        for i in range(len(LENGTHS) * SAMPLE // 3 + 1)
    ]
    daemon = behind(server, clients, "?of={}")
    sweep = Sweep(daemon)
    drawn = random.Random(SEED)
    print(f"SWEEP_SEED={SEED}")
    for i in range(len(LENGTHS) * SAMPLE):
        n = drawn.randrange(HANDSHAKE_ALLOCATIONS)
        name = clients[i // 3].name
        response, failed = sweep.try_one(
            lambda: daemon.ask(subject_of_its_own(), client_id=name), n, LENGTHS[i % 2]
        )
        assert response is None or response.status in (502, 503), response
    assert issuer.requests() == 0
    assert daemon.ask("pa", client_id=clients[-1].name).status == 502
