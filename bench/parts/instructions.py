# SPDX-License-Identifier: MIT
"""Instructions inside the daemon's access handler, counted by callgrind.

Only there: of a whole request most is libmicrohttpd's zeroing of memory, which would drown any change
of ours. A count is the difference of two runs, so that what happens once a run does not matter.
"""

import pathlib
import platform
import re
import socket
import subprocess

from .servers import FORM, Broker, Issuer

# In daemon/server.c; the other name is what link-time optimisation makes of it.
HANDLERS = ("handle", "handle.lto_priv.0")
HITS = 2000
MISSES = 500
BASE = 20
RECORDED = pathlib.Path(__file__).resolve().parents[1] / "instructions"


class Client:
    """One kept connection."""

    def __init__(self, port):
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), 60)

    def ask(self, subject):
        form = FORM + subject
        self.socket.sendall(
            f"POST /oauth2/token HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nAccept: application/json\r\n"
            f"User-Agent: bench/1.0\r\nContent-Length: {len(form)}\r\n\r\n{form}".encode()
        )
        answer = b""
        while not answer.endswith(b"}"):
            piece = self.socket.recv(65536)
            if not piece:
                raise RuntimeError(f"the connection was closed: {answer}")
            answer += piece
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"no token: {answer}")


def count(issuer, subjects):
    """Instructions in the handler while these subjects are asked for, one after the other."""
    broker = Broker(issuer)
    out = broker.folder / "callgrind"
    broker.prefix = (
        "valgrind", "--quiet", "--tool=callgrind",
        *(f"--toggle-collect={name}" for name in HANDLERS),
        f"--callgrind-out-file={out}",
    )  # fmt: skip
    with broker:
        client = Client(broker.port)
        for subject in subjects:
            client.ask(subject)
        broker.stop()
        return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M).group(1))


def difference(issuer, few, many):
    return (count(issuer, many) - count(issuer, few)) / (len(many) - len(few))


def measure():
    """Of a hit on the same subject again and again, and of a miss: the handler's share of it."""
    with Issuer("--token-bytes", "1500") as issuer:
        names = [f"user-{number:06}" for number in range(BASE + MISSES)]
        return {
            "hit": difference(issuer, names[:1] * BASE, names[:1] * (BASE + HITS)),
            "miss": difference(issuer, names[:BASE], names),
        }


def toolchain():
    """What the counts hold for: the compiler, and the libraries whose code is counted along."""
    compiler = subprocess.check_output(["cc", "-dumpfullversion"], text=True).strip()
    versions = [
        subprocess.check_output(["pkg-config", "--modversion", name], text=True).strip()
        for name in ("libmicrohttpd", "libcrypto")
    ]
    return f"cc {compiler}, {' '.join(platform.libc_ver())}, libmicrohttpd {versions[0]}, libcrypto {versions[1]}, {platform.machine()}"


def recorded():
    """(toolchain, counts) as bench/count --record has written them."""
    lines = RECORDED.read_text().splitlines()
    counts = dict(line.split() for line in lines if line and not line.startswith("#"))
    return lines[0].removeprefix("# "), {name: float(value) for name, value in counts.items()}


def record(counts):
    lines = [f"# {toolchain()}", *(f"{name} {value:.0f}" for name, value in counts.items())]
    RECORDED.write_text("\n".join(lines) + "\n")
