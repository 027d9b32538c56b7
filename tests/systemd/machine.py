# SPDX-License-Identifier: MIT
"""A minimal Debian whose PID 1 is a real systemd, in a container of systemd-nspawn.

The system is installed once (about a minute, from the mirror that this host's apt uses) and kept;
a Machine boots it with a layer of memory on top, so that nothing is left of a run. It has a network
of its own with nothing but a loopback interface, and sees the build read-only at /build.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from harness import BUILD
from wire import eventually

CACHE = Path(os.environ.get("SYSTEMD_ROOT_CACHE", BUILD / "systemd-root"))
RELEASE = "bookworm"
PACKAGES = (
    "dbus",
    "libasan8",
    "libconfig9",
    "libcurl4",
    "libjson-c5",
    "libmicrohttpd12",
    "libpam-systemd",
    "libsystemd0",
    "libubsan1",
    "systemd",
    "systemd-sysv",
)
INSTALL_TIMEOUT = 600
BOOT_TIMEOUT = 60
STOP_TIMEOUT = 30
COMMAND_TIMEOUT = 60
MARK = "etc/egain-tokend-test-machine"

PROBE = "/build/tests/systemd/peer-probe"
TOKEND = "/build/daemon/egain-tokend"
FAKE_EGAIN = "/build/tests/fake-egain/fake-egain"


CAP_NET_ADMIN = 12

class Unavailable(Exception):
    """No such machine can be had on this host; the message says why."""


def mirror():
    """The first Debian mirror of this host's apt, or nothing: then debootstrap has its own."""
    sources = Path("/etc/apt")
    for path in (sources / "sources.list", *sorted((sources / "sources.list.d").glob("*"))):
        text = path.read_text(errors="replace") if path.is_file() else ""
        found = re.search(r"https?://\S+/debian/?(?=\s|$)", text)
        if found:
            return [found[0]]
    return []


def _may_have_network():
    """Whether CAP_NET_ADMIN is in the bounding set, without which a network of one's own stays down."""
    bounding = re.search(r"^CapBnd:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.M)
    return bool(int(bounding[1], 16) >> CAP_NET_ADMIN & 1)


def install():
    """The root of the installed system; made if it is not there."""
    for program in ("systemd-nspawn", "debootstrap", "nsenter"):
        if not shutil.which(program):
            raise Unavailable(f"{program} is not installed")
    if os.geteuid() != 0:
        raise Unavailable("a container cannot be booted without root")
    if not _may_have_network():
        raise Unavailable("a container here may not bring up a loopback interface (CAP_NET_ADMIN)")
    wanted = "\n".join((RELEASE, *PACKAGES, ""))
    mark = CACHE / MARK
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with CACHE.with_name(CACHE.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if mark.exists() and mark.read_text() == wanted:
            return CACHE
        if CACHE.exists() and not mark.exists():
            raise Unavailable(f"{CACHE} is there, and not made by these tests")
        fresh = CACHE.with_name(CACHE.name + ".new")
        _install_into(fresh)
        (fresh / MARK).write_text(wanted)
        shutil.rmtree(CACHE, ignore_errors=True)
        fresh.rename(CACHE)
    return CACHE


def _install_into(root):
    shutil.rmtree(root, ignore_errors=True)
    log = root.with_suffix(".log")
    command = [
        "timeout",  # ends what debootstrap has started, too
        str(INSTALL_TIMEOUT),
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        RELEASE,
        str(root),
        *mirror(),
    ]
    with log.open("w") as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise Unavailable(f"debootstrap ended with {done.returncode}: {' '.join(last)}")
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()


class Machine:
    """A booted one. Units that a test adds are in /run, and go with it."""

    def __init__(self, root):
        self._console = BUILD / "systemd-console.log"
        command = [
            "systemd-nspawn",
            "--quiet",
            f"--directory={root}",
            "--volatile=overlay",
            "--private-network",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
            f"--bind-ro={BUILD}:/build",
            "--boot",
        ]
        with self._console.open("w") as console:
            self._nspawn = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
            )
        self.leader = None
        try:
            self.leader = self._wait_for_leader()
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise

    def _console_end(self):
        return " / ".join(self._console.read_text(errors="replace").strip().splitlines()[-3:])

    def _wait_for_leader(self):
        """The pid of the container's PID 1, once it is in its own root and answers systemctl."""
        deadline = time.monotonic() + BOOT_TIMEOUT
        pid = self._nspawn.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        while time.monotonic() < deadline:
            if self._nspawn.poll() is not None:
                raise Unavailable(f"systemd-nspawn does not boot here: {self._console_end()}")
            for child in children.read_text().split():
                root = Path(f"/proc/{child}/root")
                if (root / MARK).exists() and (root / "run/systemd/private").exists():
                    return int(child)
            time.sleep(0.02)
        raise Unavailable(f"nothing booted within {BOOT_TIMEOUT} s: {self._console_end()}")

    def _wait_until_up(self):
        def state():
            return self.run("systemctl", "is-system-running", check=False).stdout.strip()

        # Not all that a container lacks is known to all of its units: degraded is good enough.
        eventually(
            lambda: state() in ("running", "degraded"), "the machine to be up", BOOT_TIMEOUT, 0.05
        )

    def run(self, *command, check=True, timeout=COMMAND_TIMEOUT, **options):
        """Runs a command of the container as its root, outside of its units."""
        done = subprocess.run(
            ["nsenter", f"--target={self.leader}", "--all", "--", *map(str, command)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,
        )
        assert not check or done.returncode == 0, (
            f"{command}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.journal()[-8000:]}"
        )
        return done

    def path(self, name):
        """A file of the container as we see it. Its symbolic links lead astray."""
        return Path(f"/proc/{self.leader}/root") / str(name).lstrip("/")

    def write(self, name, text, mode=0o644, owner=None):
        """Writes a file; `owner` is a user of the container."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode)
        path.chmod(mode)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        if owner:
            self.run("chown", f"{owner}:", name)

    def unit(self, name, command, folder="system", **properties):
        """Adds a service: properties as in its file, such as User="svc"; a list repeats one."""
        lines = ["[Unit]", "StartLimitIntervalSec=0", "[Service]", f"ExecStart={command}"]
        for key, value in properties.items():
            for item in value if isinstance(value, list) else [value]:
                lines.append(f"{key}={item}")
        self.write(f"/run/systemd/{folder}/{name}", "\n".join(lines) + "\n")
        if folder == "system":
            self.run("systemctl", "daemon-reload")

    def start(self, *units):
        self.run("systemctl", "start", *units)

    def stop_unit(self, *units):
        self.run("systemctl", "stop", *units)

    def ask(self, unit, address, request=b"", instance=None, **properties):
        """A oneshot service connects to an address, sends the request, and gets this answer."""
        question, answer = "/run/questions", "/run/answers"
        started = instance or unit
        self.write(f"{question}/{started}", request)
        self.run("mkdir", "-p", answer)
        self.unit(
            unit,
            f"{PROBE} ask {address}",
            Type="oneshot",
            StandardInput=f"file:{question}/%n",
            StandardOutput=f"truncate:{answer}/%n",
            **properties,
        )
        self.start(started)
        return self.path(f"{answer}/{started}").read_bytes()

    def add_user(self, name, *groups):
        """A user with a primary group of its own and supplementary ones; its uid and gid."""
        for group in groups:
            self.run("groupadd", "--system", "--force", group)
        more = ["--groups", ",".join(groups)] if groups else []
        self.run("useradd", "--create-home", "--user-group", *more, name)
        ids = self.run("getent", "passwd", name).stdout.split(":")
        return int(ids[2]), int(ids[3])

    def journal(self, *arguments):
        """What the journal has, of one unit for instance: journal("--unit=tokend")."""
        return self.run("journalctl", "--no-pager", *arguments, check=False).stdout

    def stop(self):
        """Powers it off, or ends it if it will not."""
        try:
            if self.leader and self._nspawn.poll() is None:
                self.run("systemctl", "--no-block", "poweroff", check=False)
                self._nspawn.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if self._nspawn.poll() is None:
                self._nspawn.send_signal(signal.SIGKILL)  # its PID 1 dies with it
                self._nspawn.wait()
