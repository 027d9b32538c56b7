# SPDX-License-Identifier: MIT
"""A name service that hangs while the installed service reads its configuration again."""

import re
import socket
import threading
import time

import pytest

import expect
from service import CONFIG, CONFIG_PATH, SERVICE
from wire import TIMEOUT, eventually

MODULE = "libnss_hang.so.2"
GIVEN_UP_AFTER = 20  # LOADING_TIMEOUT_MS
ELSEWHERE = CONFIG.replace('user = "svc"; clients', 'user = "elsewhere"; clients')
OTHER_RULE = CONFIG.replace('subjects = [ "username:*" ];\n     scopes = [ "*" ]; fetches',
                            'subjects = [ "username:new" ];\n     scopes = [ "*" ]; fetches')
assert CONFIG not in (ELSEWHERE, OTHER_RULE)


class NameService:
    """What answers look-ups, or rather does not: each of them is a connection that stays open."""

    def __init__(self, path):
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        path.chmod(0o666)
        self._socket.listen()
        self._socket.settimeout(TIMEOUT)
        self._asked = []

    def wait_for(self, count):
        """Waits for so many more look-ups."""
        for _ in range(count):
            self._asked.append(self._socket.accept()[0])

    def answer(self):
        """All who wait, and all who come later."""
        self._path.unlink(missing_ok=True)
        self._socket.close()
        for connection in self._asked:
            connection.close()
        self._asked = []


@pytest.fixture
def names(service):
    """Users and groups that are not in the files are looked up where nobody answers."""
    machine = service.machine
    configuration = "/etc/nsswitch.conf"
    machine.run("cp", f"/build/tests/systemd/{MODULE}", "/usr/lib/")
    before = machine.path(configuration).read_text()
    machine.write(configuration, re.sub(r"(?m)^((passwd|group):.*)$", r"\1 hang", before))
    service.start()
    service.granted("pa")
    names = NameService(machine.path("/run/nss-hang"))
    yield names
    names.answer()
    machine.write(configuration, before)


class Caller(threading.Thread):
    """Asks for a reload, and waits for what comes of it."""

    def __init__(self, service):
        super().__init__()
        self.connection = service.connect(timeout=90)
        self.began = time.monotonic()
        self.start()

    def run(self):
        with self.connection:
            self.response = self.connection.request("POST", "/v1/reload", body=b"")
        self.seconds = time.monotonic() - self.began


def test_at_a_reload(service, names):
    """All are served meanwhile, and who asked for it is told, in bounded time, what hangs."""
    pid = service.show("MainPID")
    service.configure(ELSEWHERE)
    since = service.cursor()
    # Whose --reload tries the configuration first, in a process of its own.
    operator = service.begin("systemctl", "reload", SERVICE)
    names.wait_for(1)
    caller = Caller(service)
    names.wait_for(1)
    served = 0
    while caller.is_alive():
        expect.hit(service.ask("pa"), "pa")
        service.granted(f"meanwhile-{served}")
        served += 1
        assert time.monotonic() - caller.began < 3 * GIVEN_UP_AFTER
        time.sleep(0.05)
    caller.join()
    assert served > 20
    assert caller.seconds >= GIVEN_UP_AFTER
    assert caller.response.status == 409
    assert "does the name service answer?" in caller.response.json()["messages"][0]
    said = operator.communicate(timeout=3 * GIVEN_UP_AFTER)[1].decode()
    assert operator.returncode != 0 and f"systemctl status {SERVICE}" in said

    def told():
        text = service.journal(since)
        daemon = f"could not be read within {GIVEN_UP_AFTER} s (does the name service answer?)"
        client = f"{CONFIG_PATH}: could not be read within {GIVEN_UP_AFTER} s: the name service"
        return daemon in text and client in text

    eventually(told, "the journal to tell what hangs")
    assert service.show("MainPID") == pid and service.show("ActiveState") == "active"
    expect.hit(service.ask("pa"), "pa")

    # It answers again: what was given up changes nothing any more, what is asked for now does.
    names.answer()
    service.configure(OTHER_RULE)
    assert service.systemctl("reload", SERVICE).returncode == 0
    expect.error(service.ask("pa"), 403, "access_denied")
    service.granted("new")


def test_a_stop_meanwhile(service, names):
    """It waits for nobody; who waits for the reload is told."""
    service.configure(ELSEWHERE)
    caller = Caller(service)
    names.wait_for(1)
    began = time.monotonic()
    service.systemctl("stop", SERVICE)
    assert time.monotonic() - began < GIVEN_UP_AFTER / 2
    assert service.show("Result") == "success"
    caller.join()
    assert caller.response.status == 409
    assert caller.response.json()["messages"] == ["the daemon is shutting down"]


def test_at_a_restart(service, names):
    """Callers wait until names can be looked up again, and the cache with them."""
    service.configure(ELSEWHERE)
    service.systemctl("restart", "--no-block", SERVICE)
    names.wait_for(1)
    with service.connect() as waiting:
        waiting.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert service.show("ActiveState") == "activating"
        service.configure(CONFIG)
        names.answer()
        assert waiting.receive().status == 200
    expect.hit(service.ask("pa"), "pa")
