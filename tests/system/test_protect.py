# SPDX-License-Identifier: MIT
"""The memory of the daemon stays its own: no core file, no other process, no swap has it."""

import json
import pwd
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import Daemon, become, scratch_directory
from people import needs_users
from scrape import Metrics
from wire import eventually

NOBODY = pwd.getpwnam("nobody")

# For core files.
UNLIMITED = ("prlimit", "--core=unlimited")
LIMITED = ("prlimit", "--memlock=4194304")
CAP_IPC_LOCK = 14


def may_lock():
    """Whether this process may lock what memory it likes: by a capability, or since there is no limit."""
    effective = re.search(r"(?m)^CapEff:\s*(\w+)", Path("/proc/self/status").read_text())
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return int(effective[1], 16) >> CAP_IPC_LOCK & 1 or limit == resource.RLIM_INFINITY


def smaps(pid):
    """(rights, name, flags, resident KiB, locked KiB) of each mapping."""
    found = []
    for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text()):
        if not part:
            continue
        head, *lines = part.splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        rights, _, _, _, *name = head.split()[1:]
        sizes = (int(fields[field].split()[0]) for field in ("Rss", "Locked"))
        found.append((rights, " ".join(name), fields["VmFlags"].split(), *sizes))
    return found


def is_locked(daemon):
    text = daemon.request("GET", "/metrics").body.decode()
    return Metrics(text).value("egain_tokend_memory_locked")


@pytest.fixture
def unprivileged(issuer, plain_program):
    """Starts daemons of a user without capabilities."""
    folder = scratch_directory()
    program = shutil.copy(plain_program, folder)
    started = []

    def start(prefix=UNLIMITED, **settings):
        daemon = Daemon(issuer, user=NOBODY, program=program, prefix=prefix, **settings)
        started.append(daemon)
        return daemon.start()

    yield start
    for daemon in started:
        if daemon.process is not None:
            daemon.stop()
        daemon.close()
    shutil.rmtree(folder)


@needs_users
class TestDumps:
    def test_a_crash_leaves_no_core_file(self, unprivileged, tmp_path):
        """Where one is made of a program that does not mind."""
        if Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"):
            pytest.skip("core files of this host go to a program")
        tmp_path.chmod(0o777)
        other = subprocess.run(
            [*UNLIMITED, "sh", "-c", "kill -SEGV $$"], cwd=tmp_path, capture_output=True
        )
        assert other.returncode == -signal.SIGSEGV and list(tmp_path.glob("*core*"))

        daemon = unprivileged()
        daemon.terminate(signal.SIGSEGV)
        assert daemon.wait() == -signal.SIGSEGV
        assert not list(daemon.directory.glob("*core*"))
        daemon.process = None

    def test_limits(self, unprivileged):
        proc = Path(f"/proc/{unprivileged().process.pid}")
        limits = (proc / "limits").read_text()
        assert re.search(r"(?m)^Max core file size +0 +0 ", limits), limits
        assert int((proc / "coredump_filter").read_text(), 16) == 0

    def test_its_own_user_cannot_read_it(self, unprivileged):
        pid = unprivileged().process.pid
        reading = (
            "import sys\n"
            "for name in ('mem', 'environ', 'maps', 'fd/0'):\n"
            "    try:\n"
            "        open(f'/proc/{sys.argv[1]}/{name}', 'rb').close()\n"
            "        print(name)\n"
            "    except PermissionError:\n"
            "        pass\n"
        )
        said = subprocess.run(
            [*become(NOBODY), sys.executable, "-c", reading, str(pid)],
            capture_output=True, text=True,
        )  # fmt: skip
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
        # One that does not mind can be read.
        other = subprocess.Popen([*become(NOBODY), "sleep", "600"])
        try:
            proc = Path(f"/proc/{other.pid}/comm")
            eventually(lambda: proc.read_text() == "sleep\n", "sleep")
            said = subprocess.run(
                [*become(NOBODY), sys.executable, "-c", reading, str(other.pid)],
                capture_output=True, text=True,
            )  # fmt: skip
            assert {"mem", "environ", "maps"} <= set(said.stdout.split()), said.stderr
        finally:
            other.kill()
            other.wait()


@needs_users
class TestSwap:
    @pytest.mark.skipif(not may_lock(), reason="this environment limits what memory is locked")
    def test_what_can_be_written_to_is_locked(self, start_daemon, plain_program, issuer):
        daemon = start_daemon(program=plain_program)
        assert is_locked(daemon) == 1
        # More than was there when it began, in mappings of their own, too.
        for number in range(40):
            body = {"access_token": "eyJ" + "x" * 16000, "token_type": "Bearer"}
            issuer.behave(
                subject=f"username:big-{number}", status=200, body=json.dumps(body)
            )
            assert daemon.ask(f"big-{number}").status == 200
        mappings = smaps(daemon.process.pid)
        writable = [mapping for mapping in mappings if "w" in mapping[0]]
        assert {"[heap]", "[stack]"} <= {name for _, name, *_ in writable}
        for rights, name, flags, resident, locked in writable:
            assert "lo" in flags, (rights, name)
            assert locked == resident, (rights, name)
        # The text of programs and libraries is not, and nothing was made resident for it.
        assert not [name for rights, name, flags, *_ in mappings if "x" in rights and "lo" in flags]
        assert sum(resident for *_, resident, _ in mappings) < 24 * 1024

    @pytest.mark.parametrize("lock", ["auto", "on"])
    def test_a_limit_is_no_failure(self, unprivileged, lock):
        """What is locked would count against it, and run into it in the end."""
        daemon = unprivileged(prefix=LIMITED, lock_memory=lock)
        if lock == "on":
            daemon.output.wait_for("memory is not locked")  # said once it is ready
        daemon.settle()
        assert is_locked(daemon) == 0
        assert not [name for _, name, flags, *_ in smaps(daemon.process.pid) if "lo" in flags]
        said = [line for line in daemon.output.lines if "memory is not locked" in line]
        assert len(said) == (lock == "on")
        assert all("warning" in line and "RLIMIT_MEMLOCK" in line for line in said)
        daemon.reload(request_timeout="19s")
        assert len([line for line in daemon.output.lines if "not locked" in line]) == len(said)

    def test_may_be_left_out(self, start_daemon, plain_program):
        daemon = start_daemon(program=plain_program, lock_memory="off")
        assert is_locked(daemon) == 0
        assert not [name for _, name, flags, *_ in smaps(daemon.process.pid) if "lo" in flags]

    def test_a_change_needs_a_restart(self, start_daemon):
        daemon = start_daemon(lock_memory="off")
        since = len(daemon.output.lines)
        daemon.reload(lock_memory="on")
        daemon.output.wait_for("'lock_memory' has changed, which takes effect at a restart", since)
        assert is_locked(daemon) == 0
