# SPDX-License-Identifier: MIT
"""A disk that is full under the audit record, and has room again. Where the record is required no
token goes out that is not in it; where it is not, tokens go out and what was lost is counted. Once
there is room every record that waited is written, each whole and once."""

import contextlib
import json
import os
import shutil
import subprocess

import pytest

from harness import payload, scratch_directory
from scrape import scrape
from wire import eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a disk")

QUEUE = 16  # audit.max_records
DISK = 16 * 1024
PAGE = 4096


@contextlib.contextmanager
def mounted(size):
    """A disk of a few pages."""
    folder = scratch_directory()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True)
    if made.returncode != 0:
        folder.rmdir()
        pytest.skip(f"nothing can be mounted here: {made.stderr}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def disk():
    with mounted(DISK) as folder:
        yield folder


def fill(disk):
    """Leaves no room but what is in the last page of a file that is there."""
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(PAGE))


def records_of(path):
    """Every line is a whole record."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def granted(records):
    return [record["subject"] for record in records if record["outcome"] == "granted"]


@pytest.mark.parametrize("full_from_the_start", [False, True])
def test_required(start_daemon, disk, full_from_the_start):
    path = disk / "audit"
    if full_from_the_start:
        fill(disk)
    daemon = start_daemon(audit={"to": str(path), "required": True, "max_records": QUEUE})
    if not full_from_the_start:
        daemon.ask("first")
        fill(disk)

    served = [] if full_from_the_start else ["first"]
    for number in range(1000):
        response = daemon.ask(f"user-{number}")
        if response.status != 200:
            break
        served.append(f"user-{number}")
    assert response.status == 503
    assert response.json()["error"] == "temporarily_unavailable"
    assert response.header("Retry-After")
    daemon.check_answer(response.body.decode())
    before = scrape(daemon)
    assert before.sum("egain_tokend_audit_queued") >= QUEUE

    # A hit is withheld just as well, and all that tells no token is answered.
    assert daemon.ask(served[0]).status == 503
    for target in ("/healthz", "/v1/status", "/metrics"):
        assert daemon.request("GET", target).status == 200

    (disk / "filler").unlink()
    eventually(lambda: not scrape(daemon).sum("egain_tokend_audit_queued"), "the queue to empty")
    assert payload(daemon.ask("after").json()["access_token"])["sub"] == "after"
    served.append("after")
    daemon.stop()
    assert sorted(granted(records_of(path))) == sorted(served)


def test_not_required(start_daemon, disk):
    path = disk / "audit"
    daemon = start_daemon(audit={"to": str(path), "max_records": QUEUE, "fold": "0s"})
    daemon.ask("first")
    fill(disk)
    # What is left of the last page, the queue, and as many again that are lost.
    asked = PAGE // 100 + 4 * QUEUE
    for number in range(asked):
        response = daemon.ask(f"user-{number}")
        assert payload(response.json()["access_token"])["sub"] == f"user-{number}"
    lost = scrape(daemon).sum("egain_tokend_audit_records_dropped_total")
    assert lost > 0
    (disk / "filler").unlink()
    eventually(lambda: not scrape(daemon).sum("egain_tokend_audit_queued"), "the queue to empty")
    assert daemon.ask("after").status == 200
    daemon.stop()
    subjects = granted(records_of(path))
    assert len(subjects) == len(set(subjects))
    assert "first" in subjects and "after" in subjects
    assert len(subjects) == asked + 2 - lost
