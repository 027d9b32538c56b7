# SPDX-License-Identifier: MIT
"""The programs in doc/, as they stand there, with the addresses of a daemon of the tests."""

import re
import subprocess

from harness import ROOT, environment
from wire import TIMEOUT

SOCKET = "/run/egain-tokend/token.sock"
ADDRESS = "127.0.0.1:8471"

# Whoever asks a proxy for a token has already lost it.
PROXIES = {
    name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY")
}


def blocks(recipe, language, under):
    """The blocks in this language under a heading of a recipe."""
    text = (ROOT / "doc" / recipe).read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    (section,) = [section for section in sections if section.startswith(f"{under}\n")]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found, f"no {language} under {under!r} in doc/{recipe}"
    return found


def addressed(text, daemon):
    """The same for a daemon of the tests."""
    assert SOCKET in text or ADDRESS in text
    return text.replace(SOCKET, daemon.unix).replace(ADDRESS, f"127.0.0.1:{daemon.port}")


def build(command, folder, **env):
    run = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment(**env)
    )
    assert run.returncode == 0, run.stdout + run.stderr


def run(command, **options):
    """A program of a recipe, in an environment with proxies."""
    options = {"env": environment(**PROXIES), "timeout": TIMEOUT} | options
    return subprocess.run(command, capture_output=True, text=True, **options)
