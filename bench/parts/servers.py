# SPDX-License-Identifier: MIT
"""The programs that are compared: started with the configurations in bench/conf, on loopback.

Each is a Server: entered, it listens; left, it is gone with its folder. `cpu_s()` is the processor
time that it has used, its threads and its workers included, in nanosecond steps.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

BENCH = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("BUILD_DIR", BENCH.parent / "build-release")).resolve()

CLIENT = "TMPRODB88619984:7121f585-e403-4531-9a38-1826ebc7e7d8:not-a-secret"
SECRET = CLIENT.rpartition(":")[2]
FORM = (
    "grant_type=password&client_id=7121f585-e403-4531-9a38-1826ebc7e7d8"
    "&scope=knowledge.portalmgr.onbehalfof.read&subject_username="
)
READY_S = 60


def free_port():
    """A port that nobody has on either loopback address, outside what the kernel hands out."""
    while True:
        port = random.SystemRandom().randrange(15000, 32000)
        with contextlib.suppress(OSError):
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with socket.socket(family) as probe:
                    probe.bind((host, port))
            return port


def cpu_clock_s(pid):
    """The processor time of a process; its clock as clock_getcpuclockid(3) numbers it."""
    return time.clock_gettime(~pid << 3 | 2)


class Server:
    """A program that serves a port of 127.0.0.1."""

    name = "?"

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-"))
        self.folder.chmod(0o711)  # workers of nginx are another user
        self.port = free_port()
        self.process = None
        self.environment = {}

    def command(self):
        raise NotImplementedError

    def write_conf(self, template, **names):
        """Fills a configuration in; where it was written."""
        text = (BENCH / "conf" / template).read_text()
        for name, value in {"FOLDER": self.folder, "PORT": self.port, **names}.items():
            text = text.replace(name, str(value))
        path = self.folder / template
        path.touch(0o600)
        path.write_text(text)
        return path

    def __enter__(self):
        self.process = subprocess.Popen(
            [str(word) for word in self.command()],
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "stdout").open("w"),
            stderr=(self.folder / "stderr").open("w"),
            env={**os.environ, **self.environment},
        )
        end = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            if self.process.poll() is not None or time.monotonic() > end:
                said = (self.folder / "stderr").read_text()
                self.__exit__()
                raise RuntimeError(f"{self.name} did not start: {said}")
            time.sleep(0.02)

    def stop(self):
        """Ends it; its folder stays."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def pids(self):
        """The process, and its children."""
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def cpu_s(self):
        return sum(cpu_clock_s(pid) for pid in self.pids())

    def pin(self, processor):
        """Keeps all of its threads on one processor."""
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {processor})

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise KeyError("VmRSS")

    def ask(self, subject, **headers):
        """One request for a token: status, header fields, body."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/oauth2/token",
            data=(FORM + subject).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded", **headers},
        )
        with urllib.request.urlopen(request, timeout=READY_S) as answer:
            return answer.status, answer.headers, answer.read()


class Issuer(Server):
    """fake-egain."""

    name = "fake-egain"

    def __init__(self, *options):
        super().__init__()
        self.options = options

    def command(self):
        program = BUILD / "tests" / "fake-egain" / "fake-egain"
        return [program, "--listen", f"127.0.0.1:{self.port}", "--client", CLIENT, *self.options]

    def control(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/_control/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
        )
        with urllib.request.urlopen(request, timeout=READY_S) as answer:
            return json.loads(answer.read())

    def stats(self):
        return self.control("GET", "stats")

    def behave(self, **rule):
        self.control("POST", "behaviour", rule)


class Broker(Server):
    """egain-tokend. `extra` is what its configuration holds beside the defaults."""

    name = "egain-tokend"

    def __init__(self, issuer, extra=""):
        super().__init__()
        self.issuer, self.extra = issuer, extra
        self.prefix = ()  # of its command, such as a profiler

    def command(self):
        secret = self.folder / "portal.secret"
        secret.touch(0o600)
        secret.write_text(SECRET + "\n")
        conf = self.write_conf(
            "egain-tokend.conf", ISSUER=self.issuer.port, UID=os.getuid(), EXTRA=self.extra
        )
        return [*self.prefix, BUILD / "daemon" / "egain-tokend", "--config", conf]

    def metrics(self):
        """The counters, by name and labels."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        with urllib.request.urlopen(url, timeout=READY_S) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


def answer_of(server):
    """What a server answers to a hit: its header fields but those that every server makes by
    itself, and the body."""
    server.ask("user-1")
    _, headers, body = server.ask("user-1")
    own = {"date", "content-length", "connection", "server"}
    fields = [(name, value) for name, value in headers.items() if name.lower() not in own]
    return fields, body.decode()


class Floor(Server):
    """The smallest libmicrohttpd server, with the answer of another."""

    name = "floor"

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def command(self):
        fields, body = self.answer
        path = self.folder / "answer"
        path.write_text("\n".join(f"{name}: {value}" for name, value in fields) + "\n\n" + body)
        return [BUILD / "bench" / "floor", self.port, path]


class NginxReturn(Server):
    """nginx with the answer of another."""

    name = "nginx return"

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def command(self):
        fields, body = self.answer
        headers = "\n".join(
            f"add_header {name} '{value}';"
            for name, value in fields
            if name.lower() != "content-type"
        )
        conf = self.write_conf("nginx-return.conf", HEADERS=headers, BODY=body)
        return ["/usr/sbin/nginx", "-p", self.folder, "-c", conf]


class NginxCache(Server):
    """nginx as a token cache before the issuer."""

    name = "nginx proxy_cache"

    def __init__(self, issuer):
        super().__init__()
        self.issuer = issuer

    def command(self):
        conf = self.write_conf("nginx-cache.conf", ISSUER=self.issuer.port, SECRET=SECRET)
        return ["/usr/sbin/nginx", "-p", self.folder, "-c", conf]
