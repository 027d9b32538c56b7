# SPDX-License-Identifier: MIT
"""File systems that do not answer: see tests/hang/hang.c."""

import errno
import os

from harness import BUILD, SANITIZER_OPTIONS
from wire import eventually

LIBRARY = BUILD / "tests" / "hang" / "hang.so"


class Gates:
    """What hangs, by the names of files and folders."""

    def __init__(self, directory):
        self.directory = directory
        self._held = {}

    def environment(self):
        """What the daemon is started with. AddressSanitizer wants to be the first library; that it
        is not does no harm."""
        options = SANITIZER_OPTIONS["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
        return {
            "LD_PRELOAD": str(LIBRARY),
            "EGAIN_TEST_HANG": str(self.directory),
            "ASAN_OPTIONS": options,
        }

    def close(self, path):
        """From now on it hangs."""
        os.mkfifo(self.directory / path.name)

    def _hold(self, gate):
        try:
            return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO, error
            return None  # nobody is there

    def wait_for(self, path):
        """Waits until somebody hangs there."""
        gate = self.directory / path.name
        self._held[gate] = eventually(lambda: self._hold(gate), f"somebody at {gate}")

    def open(self, path):
        """Whoever hangs there goes on, as do all who come later."""
        gate = self.directory / path.name
        gate.unlink()
        os.close(self._held.pop(gate))

    def open_all(self):
        for gate in list(self._held):
            self.open(gate)
