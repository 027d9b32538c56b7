# SPDX-License-Identifier: MIT
"""The scan of all that is written finds what is planted, in whatever way the tests are run."""

import base64
import subprocess
import sys
from pathlib import Path

import pytest

import leaks
from harness import CLIENTS, PORTAL, environment

HERE = Path(__file__).resolve().parent

# A session of its own: a daemon that writes something, and an audit file of it.
SESSION = """
import harness
from wire import eventually

class Talkative(harness.Daemon):
    def speak(self, line, file):
        (self.directory / "audit.log").write_text(file)
        self.spawn(["printf", "%s\\\\n", line])
        self.process.wait()
        self.output.text()

def test_speaks():
    daemon = Talkative()
    daemon.speak({line!r}, {file!r})
    daemon.close()

def test_says_nothing():
    pass
"""

TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl"


def session(tmp_path, line, file, options):
    (tmp_path / "test_session.py").write_text(SESSION.format(line=line, file=file))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider"]
        + ["-p", "leaks", "--rootdir", tmp_path, *options, tmp_path],
        env=environment(PYTHONPATH=str(HERE)),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("options", [[], ["--numprocesses=2", "--dist=loadfile"]], ids=str)
@pytest.mark.parametrize(
    "line, file",
    [
        (f"info: got {TOKEN}", "a"),
        ("info", f'{{"token": "{TOKEN}"}}'),
        (f"info: {PORTAL.secret}", "a"),
    ],
    ids=["token in a line", "token in a file", "secret in a line"],
)
def test_a_planted_one_fails_the_session(tmp_path, options, line, file):
    run = session(tmp_path, line, file, options)
    assert run.returncode == leaks.EXIT_STATUS, run.stdout + run.stderr
    assert "1 passed, 1 error" in run.stdout or "2 passed, 1 error" in run.stdout, run.stdout
    assert "a token or a secret was written: " in run.stdout
    assert TOKEN not in run.stdout and PORTAL.secret not in run.stdout


def test_a_clean_one_passes(tmp_path):
    run = session(tmp_path, "info: nothing", "nothing", [])
    assert run.returncode == 0, run.stdout + run.stderr


def test_as_a_program(tmp_path):
    program = [sys.executable, HERE / "leaks.py"]
    clean, planted = tmp_path / "clean", tmp_path / "planted"
    clean.write_text("nothing\n" * 10000)
    planted.write_text("nothing\n" * 10000 + PORTAL.secret)
    assert subprocess.run([*program, clean], capture_output=True).returncode == 0
    run = subprocess.run([*program, clean, planted], capture_output=True, text=True)
    assert run.returncode == leaks.EXIT_STATUS and str(planted) in run.stdout
    assert str(clean) not in run.stdout


def test_every_secret_has_the_mark():
    for client in CLIENTS:
        assert leaks.SECRET.search(client.secret)
        for shift in range(3):
            encoded = base64.b64encode(b"?" * shift + client.secret.encode()).decode()
            assert leaks.SECRET.search(encoded), encoded
    assert leaks.TOKEN.search(TOKEN)
    assert not leaks.SECRET.search("client_secret is not needed") and not leaks.TOKEN.search("eyJ9")
