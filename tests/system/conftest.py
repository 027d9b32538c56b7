# SPDX-License-Identifier: MIT
"""Fixtures of the system tests: the real daemon in front of the real fake issuer.

A module's tests share one issuer and one daemon; each test gets the issuer reset and a subject of
its own. A test that needs a daemon with other settings starts it with `start_daemon`.
"""

import fcntl
import itertools
import resource
import signal
import subprocess

import pytest

pytest_plugins = ["leaks"]

pytest.register_assert_rewrite("credd", "expect", "leaks", "sweep")

from harness import BUILD, ROOT, Daemon, Issuer  # noqa: E402
from people import population  # noqa: E402
from sweep import StarvingDaemon  # noqa: E402
from tls import Nginx  # noqa: E402

_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def enough_descriptors():
    """Thousands of connections from one process, and as many in the daemon that inherits this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@pytest.fixture(scope="session", autouse=True)
def interrupts():
    """Programs inherit what is ignored, as SIGINT is by what a script puts into the background."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def people():
    """Users of this host, made for the tests; needs root."""
    with population() as people:
        yield people


@pytest.fixture(scope="session")
def plain_program():
    """The daemon as operators build it: one built for the sanitizers wipes and locks no memory."""
    linked = subprocess.run(["ldd", BUILD / "daemon/egain-tokend"], capture_output=True, text=True)
    if "libasan" not in linked.stdout:
        return BUILD / "daemon/egain-tokend"
    plain, target = ROOT / "build-release", "daemon/egain-tokend"
    with open(ROOT / "meson.build") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes of the session may want it, too
        if not (plain / "build.ninja").exists():
            options = ["--buildtype=release", "-Dtests=disabled", "-Dwerror=true"]
            subprocess.run(["meson", "setup", plain, ROOT, *options], check=True)
        subprocess.run(["ninja", "-C", plain, target], check=True)
    return plain / target


@pytest.fixture(scope="module")
def issuer_process():
    with Issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(issuer_process):
    """The module's issuer, its counters at zero and no behaviour set."""
    issuer_process.reset()
    yield issuer_process
    issuer_process.reset()


@pytest.fixture(scope="module")
def nginx(issuer_process):
    """TLS and HTTP/2 in front of the module's issuer."""
    nginx = Nginx(issuer_process)
    yield nginx
    nginx.close()


@pytest.fixture(scope="module")
def daemon_process(issuer_process):
    with Daemon(issuer_process) as daemon:
        yield daemon


@pytest.fixture
def daemon(daemon_process, issuer):
    """The module's daemon with default limits."""
    yield daemon_process
    assert daemon_process.running(), daemon_process.output.text()
    if issuer.gave_other_lifetimes:
        # A token that is renewed within minutes would be a request in the midst of another test.
        daemon_process.purge()
        issuer.gave_other_lifetimes = False


@pytest.fixture
def start_daemon(issuer):
    """Starts daemons with settings of their own; each is stopped and checked at the end."""
    started = []

    def start(**settings):
        daemon = Daemon(issuer, **settings)
        try:
            daemon.start()
        except AssertionError:
            daemon.close()
            raise
        started.append(daemon)
        return daemon

    yield start
    failures = []
    for daemon in reversed(started):
        try:
            if daemon.process is not None:
                issuer.reset()
                daemon.stop()
        except AssertionError as failure:
            failures.append(failure)
        finally:
            daemon.close()
    assert not failures, failures


@pytest.fixture
def starving(issuer):
    """Starts a daemon that runs out of memory when it is told to."""
    started = []

    def start(**settings):
        daemon = StarvingDaemon(issuer, **settings)
        started.append(daemon)
        return daemon.start()

    yield start
    for daemon in started:
        try:
            if daemon.running():
                issuer.reset()
                daemon.stop()
        finally:
            daemon.close()


@pytest.fixture
def subject():
    """A user nobody has asked for yet."""
    return f"user-{next(_numbers)}"
