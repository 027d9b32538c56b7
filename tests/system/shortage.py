# SPDX-License-Identifier: MIT
"""Daemons whose allocations fail when a test says so: see tests/exhaust/shortage.c."""

import mmap
import re
import struct
import subprocess

from harness import BUILD

LIBRARY = BUILD / "tests" / "exhaust" / "shortage.so"

# struct shortage
ARMED, SKIP, COUNT, SEEN, FAILED = range(0, 40, 8)
TRACE = slice(40, 4040)


class Shortage:
    """The file that a daemon shares with us."""

    def __init__(self, directory):
        self.path = directory / "shortage"
        self.path.write_bytes(bytes(TRACE.stop))
        with self.path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), TRACE.stop)

    def environment(self):
        """What the daemon is started with. AddressSanitizer wants to be the first library; that it
        is not does no harm, since whatever is allocated reaches it."""
        return {"LD_PRELOAD": str(LIBRARY), "EGAIN_TEST_SHORTAGE": str(self.path)}

    def _put(self, offset, value):
        struct.pack_into("=Q", self._memory, offset, value)

    def _get(self, offset):
        return struct.unpack_from("=Q", self._memory, offset)[0]

    def begin(self, skip, count):
        """From now on `skip` allocations succeed, then `count` fail, then all succeed."""
        for offset, value in ((SKIP, skip), (COUNT, count), (SEEN, 0), (FAILED, 0)):
            self._put(offset, value)
        self._memory[TRACE.start] = 0
        self._put(ARMED, 1)

    def end(self):
        """How many have failed."""
        self._put(ARMED, 0)
        return self._get(FAILED)

    def seen(self):
        """How many there were since begin()."""
        return self._get(SEEN)

    def calls(self):
        """The calls that led to the first failure, innermost first: a library, an offset and a name
        each."""
        lines = self._memory[TRACE].split(b"\0")[0].decode().splitlines()
        return [line.split(" ", 2) for line in lines]

    def trace(self):
        """The same in words. It takes a moment, and is for those who read of a failure."""
        return "\n".join(place(*call) for call in self.calls())


def place(file, offset, name):
    """A call in words: where our own code is, as file and line."""
    if "egain-tokend" in file:
        command = ["addr2line", "-fse", file, f"{int(offset, 16) - 1:#x}"]
        found = subprocess.run(command, capture_output=True, text=True).stdout.split("\n")
        return " ".join(found[:2])
    return f"{name} ({re.sub('.*/', '', file)}+{offset})"
