# SPDX-License-Identifier: MIT
"""Fixtures of the tests that need a systemd: one machine is booted for all of them.

They are skipped, and say why, where none can be had. What a test that fails leaves in the journal
is shown with it.
"""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

pytest_plugins = ["leaks"]

pytest.register_assert_rewrite("expect", "leaks")

import leaks  # noqa: E402
import service as the_service  # noqa: E402
from machine import Machine, Unavailable, install  # noqa: E402


@pytest.fixture(scope="session")
def machine():
    try:
        booted = Machine(install())
    except Unavailable as reason:
        pytest.skip(str(reason))
    try:
        yield booted
    finally:
        # All of it, fields that no line shows included, but for how the issuer was started, which is
        # told its clients there.
        text = booted.journal("--output=export", "--all")
        text = re.sub(r"(?m)^_CMDLINE=.*/fake-egain .*$", "", text)
        leaks.look("journal of the machine", text)
        booted.stop()


@pytest.fixture(scope="session")
def svc(machine):
    """The uid of a user with a supplementary group, callers."""
    return machine.add_user("svc", "callers")[0]


@pytest.fixture(scope="module")
def installed(machine, svc):
    """The machine with the installed tree in it, and an issuer."""
    the_service.install(machine)
    yield machine
    machine.stop_unit(the_service.ISSUER)


@pytest.fixture
def service(installed):
    """Stopped, with a good configuration; and stopped again at the end."""
    with the_service.stopped_service(installed) as service:
        yield service


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    booted = item.funcargs.get("machine") if hasattr(item, "funcargs") else None
    if report.failed and booted:
        report.sections.append(("journal of the machine", booted.journal("--lines=200")))
