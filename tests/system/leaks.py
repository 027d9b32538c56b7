# SPDX-License-Identifier: MIT
"""No token and no secret is in anything that the programs of the tests wrote.

Every token of the issuer looks like a JWT, and every secret of the tests has "s3cret" in it. What
daemons and issuers write, a line or a file, is looked at as the tests run; whatever shows fails the
test that was running, and the session, also where it came after the last test. This is a plugin of
pytest. As a program it looks at files: leaks.py FILE...
"""

import base64
import re
import sys
from pathlib import Path

import pytest

MARK = "s3cret"

# Of a session in which something showed.
EXIT_STATUS = 13


def _marks():
    """The mark, and what base64 makes of it wherever it begins."""
    yield MARK
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + MARK.encode() + b"\0" * 3).decode()
        yield encoded[-(-shift * 8 // 6) : (shift + len(MARK)) * 8 // 6]


SECRET = re.compile("|".join(map(re.escape, _marks())))
# Not what merely begins like one, as base64 of any JSON does.
TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{16,}")

# What tests put into a daemon's folder themselves.
INPUTS = {".conf", ".secret", ".key", ".new", ".pem", ".csr", ".ext"}

# What daemons write into the folders of tests.
LOG = re.compile(r"log|audit|journal|^core")

found = []


def look(where, text):
    """Whether nothing shows; keeps what does, without it."""
    for pattern in (TOKEN, SECRET):
        match = pattern.search(text)
        if match:
            begin = max(0, match.start() - 100)
            found.append(f"{where}: {match[0][:8]}… behind {text[begin:match.start()]!r}")
            return False
    return True


def look_at_file(path):
    """The same of a file, if it is one."""
    if not path.is_file() or path.is_symlink():
        return True
    return look(str(path), path.read_bytes().decode("utf-8", "replace"))


def look_into(directory):
    """The same of all in a directory that is not the tests' own."""
    for path in sorted(directory.rglob("*")):
        if path.suffix not in INPUTS:
            look_at_file(path)


@pytest.hookimpl(tryfirst=True)  # before others skip it
def pytest_runtest_setup(item):
    item.leaks_before = len(found)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    for path in sorted(folder.rglob("*")) if folder else ():
        if LOG.search(path.name):
            look_at_file(path)
    new = found[item.leaks_before :]
    assert not new, "a token or a secret was written:\n" + "\n".join(new)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # one of xdist's workers
        session.config.workeroutput["leaks"] = found
    elif found:
        session.exitstatus = EXIT_STATUS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    found.extend(getattr(node, "workeroutput", {}).get("leaks", []))


def pytest_terminal_summary(terminalreporter):
    for leak in found:
        terminalreporter.write_line(f"a token or a secret was written: {leak}")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        look_at_file(Path(name))
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(EXIT_STATUS if found else 0)
