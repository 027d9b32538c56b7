# SPDX-License-Identifier: MIT
"""A host name whose addresses change under a running daemon.

The daemon runs in a mount namespace of its own, in which /etc/hosts is a file of ours and the name
service knows nothing else. The file is written in place, in one piece and always of the same size:
a look-up sees the old addresses or the new ones. Needs root.
"""

import os
from pathlib import Path

HOSTS_BYTES = 2048

# Files alone: no look-up of a test leaves the host.
SERVICES = "passwd: files\ngroup: files\nshadow: files\nhosts: files\n"

# Keeps the process: who started it may still signal it and name it by its number. A minimal system may
# lack the files, which are to be mounted over.
ENTER = """
touch -a /etc/hosts /etc/nsswitch.conf || exit
mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/nsswitch.conf && shift 2 && exec "$@"
"""


class Names:
    """The name and where it points to; at first to 127.0.0.1."""

    def __init__(self, directory, name="issuer.chaos.test"):
        self.name = name
        self.addresses = None
        self._hosts = Path(directory) / "hosts"
        self._services = Path(directory) / "nsswitch.conf"
        self._services.write_text(SERVICES)
        self._services.chmod(0o644)
        self._fd = os.open(self._hosts, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self.point_at("127.0.0.1")

    def point_at(self, addresses):
        """The name has these addresses from now on: one, several, or none (it does not exist)."""
        self.addresses = (addresses,) if isinstance(addresses, str) else tuple(addresses)
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += [f"{address} {self.name}" for address in self.addresses]
        text = "\n".join(lines) + "\n"
        assert len(text) < HOSTS_BYTES, addresses
        # A comment fills it up.
        text += "#" * (HOSTS_BYTES - 1 - len(text)) + "\n"
        written = os.pwrite(self._fd, text.encode(), 0)
        assert written == HOSTS_BYTES, written

    def prefix(self):
        """What to put before a command so that it sees these names."""
        files = (str(self._hosts), str(self._services))
        # Given as a whole: what starts a command may not search for it.
        return ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", ENTER, "sh", *files]

    def run_under(self, command):
        return [*self.prefix(), *map(str, command)]

    def close(self):
        os.close(self._fd)
