# SPDX-License-Identifier: MIT
"""What upheavals act on: an issuer, the network before it, its name, and the daemon behind them.

A World is fake-egain, the fault proxy and a daemon whose token URLs lead through the proxy, with a
service manager between one life of the daemon and the next. With TLS the issuer has a host name and
a certificate for it, and the name's addresses may change; without, it is http on 127.0.0.1. With
HTTP/2 it is nginx before fake-egain that has the certificate.

Who watches the services sets `tell`, `before_stop`, `before_start` and `after_start`; they are called
in the middle of what happens, where it matters.

What is changed for a while goes into effects(): each is undone when its time is over, or when
calm() ends them all. Counters are never reset, neither the issuer's nor the proxy's.
"""

import contextlib
import copy
import shutil
import ssl
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from harness import CLIENTS, LOBBY, SANITIZER, Issuer, scratch_directory  # noqa: E402
from names import Names  # noqa: E402
from proxy import Proxy  # noqa: E402
from test_warm_restart import NAME, Managed, Manager  # noqa: E402
from tls import Front, certify, make_authority  # noqa: E402
from wire import Connection, connect  # noqa: E402

LIFETIME_S = 60
# Where the proxy listens, and an address where nobody does.
ADDRESSES = ("127.0.0.1", "127.0.0.2")
NOBODY = "127.0.0.3"

UPSTREAM = {"connect_timeout": "1s", "timeout": "4s"}
SETTINGS = {
    "upstream": UPSTREAM,
    "request_timeout": "6s",
    "log_level": "info",
}


def now_ms():
    return time.monotonic_ns() // 1000000


class SecureIssuer(Issuer):
    """A fake-egain that speaks TLS, on its control path too. The directory has its certificate."""

    def __init__(self, directory, host, **settings):
        self._context = ssl.create_default_context(cafile=directory / "ca.pem")
        self._name = host
        files = ["--tls-cert", directory / "issuer.pem", "--tls-key", directory / "issuer.key"]
        super().__init__(**(settings | {"options": [*settings.get("options", ()), *files]}))

    def connect(self):
        plain = connect((self.host, self.port))
        return Connection.of(self._context.wrap_socket(plain, server_hostname=self._name))


class World:
    """All of it; a context manager. `settings` are the daemon's, see harness.Daemon."""

    def __init__(
        self,
        seed,
        tls=False,
        http2=False,
        clients=(*CLIENTS, LOBBY),
        lifetime_s=LIFETIME_S,
        env=None,
        **settings,
    ):
        self.clients = {client.name: client for client in clients}
        self.secrets = {client.name: (client.secret,) for client in clients}
        self.lifetime_s = lifetime_s
        self.own_requests = 0  # for tokens, made by upheavals themselves
        self.tell = lambda lines: None
        self.before_stop = lambda orderly: None
        self.before_start = lambda: None
        self.after_start = lambda: None
        self.told = []
        self._effects = []
        self._configured = None  # how to end what has become of the configuration
        self._repeating = 0  # rules that repeat tokens
        self._repeated_ms = None  # when the last one ended
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as opened:
            self.directory = scratch_directory()
            opened.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self.names = Names(self.directory) if tls or http2 else None
            if self.names:
                opened.callback(self.names.close)
                make_authority(self.directory, "ca")
                certify(self.directory, "issuer", "ca", self.names.name)
            options = {"clients": clients, "options": ["--lifetime", lifetime_s]}
            if tls and not http2:
                self.issuer = SecureIssuer(self.directory, self.names.name, **options)
            else:
                self.issuer = Issuer(**options)
            opened.callback(self.issuer.close)
            upstream = (self.issuer.host, self.issuer.port)
            if http2:
                front = Front(self.issuer, self.directory, ["issuer"])
                opened.callback(front.close)
                upstream = front.address("issuer")
            self.proxy = opened.enter_context(Proxy(upstream, seed, bool(self.names), ADDRESSES))
            self.manager = opened.enter_context(
                contextlib.closing(Manager(self.directory / "notify"))
            )
            self.daemon = self._make_daemon(clients, {**SETTINGS, **settings}, env or {})
            opened.callback(self.daemon.close)
            self._good = copy.deepcopy(self.daemon.settings)
            self._closing = opened.pop_all()

    def _make_daemon(self, clients, settings, env):
        host = self.names.name if self.names else "127.0.0.1"
        origin = f"{'https' if self.names else 'http'}://{host}:{self.proxy.port}"
        urls = {
            client.name: {
                f"{kind}_token_url": self.issuer.url(client, kind, origin) for kind in client.kinds
            }
            for client in clients
        }
        if self.names:
            authority = {"ca_file": self.directory / "ca.pem"}
            # Handshakes take their time where sanitizers watch over both ends of them.
            patience = {"connect_timeout": "3s"} if settings["upstream"] == UPSTREAM else {}
            settings = {**settings, "upstream": {**settings["upstream"], **patience, **authority}}
        env = {"NOTIFY_SOCKET": self.manager.path, **env}
        prefix = self.names.prefix() if self.names else ()
        return Managed(clients=clients, urls=urls, env=env, prefix=prefix, **settings)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.daemon.process is not None:
                self.calm()
                self.daemon.stop()
        finally:
            self.close()

    def close(self):
        self._closing.close()

    # What is told to who watches.

    def say(self, *lines):
        self.told += lines
        self.tell(list(lines))

    # What lasts a while.

    def last(self, seconds, undo):
        """Has something undone when its time is over; what undoes it may be called once only."""
        self._effects.append((now_ms() + int(seconds * 1000), undo))

    def expire(self):
        """Ends what is due."""
        due = [effect for effect in self._effects if effect[0] <= now_ms()]
        self._effects = [effect for effect in self._effects if effect not in due]
        for _, undo in sorted(due, key=lambda effect: effect[0]):
            undo()

    def repeats(self):
        """Whether the issuer may have repeated a token for somebody who still waits."""
        waits_ms = 15000
        ended_ms = self._repeated_ms
        return self._repeating > 0 or (ended_ms is not None and now_ms() < ended_ms + waits_ms)

    def repeat(self, seconds, **rule):
        """Has the issuer repeat tokens for so long, each until it has run out."""
        if self._repeating == 0:
            self.say("repeats on")
        self._repeating += 1
        rule = {**rule, "repeat_token": True, "remaining": True}
        number = self.issuer.control("POST", "behaviour", rule)["id"]

        def undo():
            self.issuer.control("POST", "forget", {"id": number})
            self._repeating -= 1
            self._repeated_ms = now_ms()
            if self._repeating == 0:
                self.say("repeats off")

        self.last(seconds, undo)

    def calm(self):
        """Ends everything that lasts. The daemon may still remember what happened."""
        effects, self._effects = self._effects, []
        for _, undo in effects:
            undo()
        self.issuer.control("POST", "forget")
        self.proxy.set_mix({"pass": 1})
        self.proxy.release()
        self.proxy.admit()

    # The issuer.

    def behave(self, seconds, **rule):
        """A rule of the issuer for so long; its number."""
        number = self.issuer.control("POST", "behaviour", rule)["id"]
        self.last(seconds, lambda: self.issuer.control("POST", "forget", {"id": number}))
        return number

    def accept(self, name, *secrets):
        """The issuer takes these secrets of a client application from now on."""
        self.secrets[name] = secrets
        self.issuer.accept(self.clients[name], *secrets)

    def secret_in_file(self, name):
        return self.daemon.secret_file(self.clients[name]).read_text().rstrip("\n")

    # The configuration.

    def section(self, name):
        """The configuration of a client application, to be changed."""
        return next(one for one in self.daemon.settings["clients"] if one["name"] == name)

    def reload(self):
        """Has the daemon read its configuration; whether it was taken over, and what it said."""
        self.daemon.write_configuration()
        response = self.daemon.request("POST", "/v1/reload")
        assert response.status in (200, 409), response
        said = response.json()
        assert said["reloaded"] == (response.status == 200), said
        return said["reloaded"], said

    def configure(self, **settings):
        """Another configuration, which must be taken over."""
        self.daemon.settings |= settings
        taken, said = self.reload()
        assert taken, said

    def configure_for(self, seconds, undo=None, **settings):
        """The same for so long; restore() ends it, and what else is to be done. Only one such
        change holds at a time, see end_configuration()."""
        assert self._configured is None
        self.configure(**settings)
        self._configured = undo or self.restore
        self.last(seconds, self.end_configuration)

    def end_configuration(self):
        """Ends what has become of the configuration, if that still lasts."""
        undo, self._configured = self._configured, None
        if undo:
            undo()

    def restore(self):
        """The configuration of the beginning."""
        self.daemon.settings = copy.deepcopy(self._good)
        taken, said = self.reload()
        assert taken, said

    # The lives of the daemon.

    def start(self):
        """With what was left to the manager; whether there was anything."""
        self.daemon.inherited = [(NAME, fd) for fd in self.manager.store]
        self.daemon.start()
        return bool(self.daemon.inherited)

    def stop(self, warm=True):
        """An orderly end. Cold: the manager forgets what was left to it."""
        self.before_stop(True)
        self.say("down")
        self.daemon.stop()
        if not warm:
            self.manager.drop()

    def kill(self, ending_s=None):
        """An end that the daemon does not notice; so long after an orderly one began, perhaps."""
        self.before_stop(False)
        self.say("down")
        if ending_s is not None:
            self.daemon.terminate()
            time.sleep(ending_s)
        self.daemon.process.kill()
        self.daemon.wait()
        text = self.daemon.output.text()
        assert not SANITIZER.search(text), text[-8000:]
        self.daemon.check_secrets(text)
        self.daemon.process = None

    def revive(self):
        """The next life. Without anything left to it, no token is there that was there before."""
        at_ms = now_ms()
        self.before_start()
        warm = self.start()
        self.after_start()
        self.say(*(() if warm else (f"taken * * * * {at_ms}",)), "up")
        return warm
