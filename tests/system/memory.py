# SPDX-License-Identifier: MIT
"""The memory of a running program, all of it, as whoever can trace the process would take it.

gdb writes a core file of the live process: every mapping, those included that the process keeps out
of the core files of the kernel, and the registers. A Core finds bytes in it, and says in which
mapping. What is only read of the files of libraries is there, and not searched: it is theirs.
"""

import base64
import json
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

from harness import scratch_directory

# Everything that core(5) knows.
ALL_MAPPINGS = 0x1FF

PT_LOAD = 1

GCORE = [
    "gdb", "--batch", "--nx", "-iex", "set auto-load off", "-iex", "set debuginfod enabled off",
    "-iex", "set auto-solib-add off",
    "-ex", "set use-coredump-filter on", "-ex", "set dump-excluded-mappings on",
]  # fmt: skip


@dataclass(frozen=True)
class Mapping:
    begin: int
    end: int
    rights: str  # as "rw-p"
    name: str  # "" if it is anonymous

    def is_of_a_library(self):
        return "w" not in self.rights and re.search(r"\.so(\.\d+)*$", self.name) is not None


def mappings(pid):
    """All of them, in the order of addresses."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ *(.*)", line)
        found.append(Mapping(int(match[1], 16), int(match[2], 16), match[3], match[4]))
    return found


class Core:
    """What the memory of a process held at one moment."""

    def __init__(self, pid):
        directory = scratch_directory()
        directory.chmod(0o700)
        file = directory / "core"
        filter_file = Path(f"/proc/{pid}/coredump_filter")
        before = filter_file.read_text().strip()
        filter_file.write_text(hex(ALL_MAPPINGS))
        try:
            self.mappings = mappings(pid)
            run = subprocess.run(
                [*GCORE, "-p", str(pid), "-ex", f"generate-core-file {file}"],
                capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
            )  # fmt: skip
            assert file.exists(), run.stdout + run.stderr
            content = file.read_bytes()
        finally:
            filter_file.write_text("0x" + before)
            shutil.rmtree(directory)
        self.size = len(content)
        self._parts = self._split(content)

    def _split(self, content):
        """(address, bytes) of each part that is searched; what is no memory has the address None."""
        header = struct.unpack_from("<16sHHIQQQIHHHHHH", content)
        assert header[0].startswith(b"\x7fELF")
        at, size, count = header[5], header[9], header[10]
        parts = []
        for index in range(count):
            kind, _, offset, address, _, file_size, _, _ = struct.unpack_from(
                "<IIQQQQQQ", content, at + index * size
            )
            part = content[offset : offset + file_size]
            if kind != PT_LOAD:
                parts.append((None, part))  # notes, which hold the registers
            elif not any(
                mapping.is_of_a_library() and mapping.begin <= address < mapping.end
                for mapping in self.mappings
            ):
                parts.append((address, part))
        return parts

    def place(self, address):
        """The name of the mapping that an address is in; its bounds where it has none."""
        if address is None:
            return "registers"
        for mapping in self.mappings:
            if mapping.begin <= address < mapping.end:
                return mapping.name or f"{mapping.begin:x}-{mapping.end:x}"
        raise AssertionError(f"no mapping has {address:x}")

    def find(self, needle):
        """The address of each occurrence; None of one in registers."""
        found = []
        for address, part in self._parts:
            at = part.find(needle)
            while at >= 0:
                found.append(None if address is None else address + at)
                at = part.find(needle, at + 1)
        return found

    def around(self, address, before=48, after=80):
        """Some bytes there, for the message of a failure."""
        for begin, part in self._parts:
            if begin is not None and address is not None and begin <= address < begin + len(part):
                at = address - begin
                return part[max(0, at - before) : at + after]
        return b""


def forms(value, client_id=None):
    """A secret as it is, and as protocols write it: {name: bytes}, the same bytes once."""
    encoded = {
        "plain": value,
        "form": quote_plus(value),
        "form, lower case": re.sub("%..", lambda match: match[0].lower(), quote_plus(value)),
        "form, tilde": quote_plus(value).replace("~", "%7E"),
        "form, all but letters": quote(value, safe="").replace("-", "%2D"),
        "JSON": json.dumps(value)[1:-1].replace("/", "\\/"),
        "wide": value.encode("utf-16-le").decode("latin-1"),
    }
    for name, text in list(encoded.items()):
        for shift in range(3) if name in ("plain", "form") else ():
            # Wherever in the encoded text it begins: what is whole of it in base64.
            whole = base64.b64encode(b"\0" * shift + text.encode("latin-1")).decode()
            first, last = (4, 0) if shift else (0, 0)
            middle = whole[first : len(whole) - 4 - last]
            encoded[f"base64 of {name}, {shift} in"] = middle
    if client_id is not None:
        encoded["Basic"] = base64.b64encode(f"{client_id}:{value}".encode()).decode()
    unique = {}
    for name, text in encoded.items():
        unique.setdefault(text.encode("latin-1"), name)
    return {name: text for text, name in unique.items()}
