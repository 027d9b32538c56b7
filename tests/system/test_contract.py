# SPDX-License-Identifier: MIT
"""Every answer that doc/openapi.yaml promises, from the running daemon.

For each operation, status and reason of the document there is a step below that has the daemon give
this answer; what comes is held against the document, header fields and body, and the reason against
what the daemon counted. A reason that no step produces is a failure, but for the two that NOT_TRIED
tells about.
"""

import base64
import contextlib
import json
import shutil
import time
from dataclasses import dataclass, field

import pytest

import tls
from contract import Contract, Documented, reason_table
from harness import (
    CLIENTS,
    LOBBY,
    MANAGE,
    PORTAL,
    READ,
    Daemon,
    Issuer,
    ask_bytes,
    form,
    question,
    rule,
    scratch_directory,
)
from people import needs_users
from scrape import scrape
from test_rejection import digest
from test_shutdown import wait_until_refusing
from wire import FORM, Fleet, eventually, http_request

pytestmark = needs_users

CONTRACT = Contract()
REASONS = reason_table()
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:access_token"
KEY = "key-of-the-rule-0123456789"
CONNECTIONS = 16

# What cannot be had from outside.
NOT_TRIED = {
    "out_of_memory": "every request survives the want of memory, or there is no daemon any more",
    "peer_gone": "whoever could read the answer is there to be identified",
}

AUTHORIZE = ("GET", "/v1/authorize")
ASKING = [("POST", "/oauth2/token"), ("GET", "/v1/token"), AUTHORIZE, ("GET", "/v1/explain")]

# What a parameter is called where it is a header field.
FIELDS = {
    "subject_username": "X-Egain-Subject-Username",
    "subject_userid": "X-Egain-Subject-Userid",
    "subject_email": "X-Egain-Subject-Email",
    "scope": "X-Egain-Scope",
    "client_id": "X-Egain-Client",
    "min_ttl": "X-Egain-Min-Ttl",
}
OPERATIONS = [(method, path) for method, path, _ in CONTRACT.operations()]
PROMISED = [
    Documented(method, path, status, reason)
    for method, path in OPERATIONS
    for status, reason in CONTRACT.reasons(method, path)
    if reason not in NOT_TRIED and REASONS[reason].error
]
ANSWERS = [
    Documented(method, path, int(status))
    for method, path, operation in CONTRACT.operations()
    for status, response in operation["responses"].items()
    if not any(REASONS[code].error for code in CONTRACT.resolve(response).get("x-reasons", ()))
]

STEPS = {}


def produces(*reasons):
    """The function has the daemon answer for each of these reasons; it returns the answer."""

    def register(step):
        for reason in reasons:
            assert reason in REASONS and reason not in STEPS, reason
            STEPS[reason] = step
        return step

    return register


def basic(user, password=""):
    return ("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


def jwt(**claims):
    """A token of an identity provider."""
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    encoded = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts]
    return ".".join((*encoded, "c2ln"))


def in_an_hour():
    return int(time.time()) + 3600


@dataclass
class World:
    """What a step has to work with: who there is, and one operation to be asked for."""

    issuer: Issuer
    shared: Daemon
    ruled: Daemon
    start: object
    people: object
    subject: str
    operation: tuple
    reason: str = None
    daemon: Daemon = None  # that is asked
    before: float = 0  # how often it had answered for the reason
    uncounted: bool = False  # nobody can be let in to look, or there was no request to count
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def use(self, daemon):
        self.daemon = daemon
        self.before = self.counted()

    def fresh(self, **settings):
        """Asks a daemon of this step's own."""
        self.use(self.start(**settings))

    def parameters(self, **more):
        """Good ones for the operation, with some of them changed, or None to leave one out."""
        method, path = self.operation
        if self.operation in ASKING:
            given = question(self.subject)
            if method == "GET":
                del given["grant_type"]
        elif self.operation == ("DELETE", "/v1/tokens"):
            given = {"subject_username": self.subject}
        else:
            given = {}
        return {name: value for name, value in (given | more).items() if value is not None}

    def application(self):
        """For the application itself."""
        return self.parameters(grant_type="client_credentials", subject_username=None)

    def exchange(self, **more):
        """For a token of an identity provider that nobody else has."""
        given = {
            "grant_type": EXCHANGE,
            "subject_username": None,
            "subject_token": jwt(sub=self.subject, exp=in_an_hour()),
            "subject_token_type": TYPE,
            "registration_id": "okta-1",
        }
        return self.parameters(**given | more)

    def bytes(self, parameters=None, headers=(), body=None, checked=False):
        """A request for the operation; `parameters`: a dict, pairs, or bytes as they are."""
        method, path = self.operation
        parameters = self.parameters() if parameters is None else parameters
        headers, target, query = list(headers), path, ""
        if self.operation == AUTHORIZE:
            pairs = parameters.items() if isinstance(parameters, dict) else parameters
            headers += [(FIELDS.get(name, name), value) for name, value in pairs]
            parameters = {}
        data = form(parameters)
        if CONTRACT.parameters(method, path, "form"):
            body = data if body is None else body
            if not any(name == "Content-Type" for name, _ in headers):
                headers.append(("Content-Type", FORM))
        else:
            query = data.decode()
            target += f"?{query}" if query else ""
        needed = "Metadata" in CONTRACT.parameters(method, path, "header")
        if needed and ("Metadata", None) not in headers:
            headers.append(("Metadata", "true"))
        headers = [(name, value) for name, value in headers if value is not None]
        if checked:
            CONTRACT.check_parameters(method, path, query, body, headers)
        return http_request(method, target, headers, body)

    def send(self, parameters=None, headers=(), body=None, address=None, checked=False):
        """The answer to one request, on a connection of its own."""
        if not self.daemon:
            self.use(self.shared)
        with self.daemon.connect(address) as connection:
            request = self.bytes(parameters, headers, body, checked)
            return connection.send_unless_cut(request).receive()

    def good(self, parameters=None, headers=(), address=None):
        """The same for a request that is as documented."""
        return self.send(parameters, headers, address=address, checked=True)

    def good_bytes(self):
        return self.bytes(checked=True)

    def counted(self):
        metrics = scrape(self.daemon)
        names = ("egain_tokend_requests_total", "egain_tokend_other_requests_total")
        return sum(metrics.sum(name, reason=self.reason) for name in names)


@pytest.fixture(scope="module")
def ruled_process(issuer_process, people):
    """A may have tokens of the portal, b nothing, c a key, d administration and monitoring."""
    daemon = Daemon(issuer_process)
    daemon.settings["callers"] = [
        rule("a", user=people.a.name, scopes=[READ]),
        rule("c", user=people.c.name, key_file=daemon.put_key("c", KEY), monitor=True, admin=True),
        {"name": "d", "user": people.d.name, "monitor": True, "admin": True},
    ]
    with daemon:
        yield daemon


@pytest.fixture
def world(request, issuer, daemon_process, ruled_process, start_daemon, people, subject):
    documented = request.param
    world = World(
        issuer,
        daemon_process,
        ruled_process,
        start_daemon,
        people,
        f"{subject}-of-contract",
        (documented.method, documented.path),
        documented.reason,
    )
    with world.stack:
        yield world


# The request is off.


@produces("malformed_escape")
def escape(world):
    return world.send(b"scope=%zz")


@produces("repeated_parameter")
def repeated(world):
    return world.send([*world.parameters().items(), ("client_id", "a"), ("client_id", "b")])


@produces("missing_grant_type")
def no_grant_type(world):
    return world.send(world.parameters(grant_type=None))


@produces("unsupported_grant_type")
def other_grant_type(world):
    return world.send(world.parameters(grant_type="authorization_code"))


@produces("missing_subject")
def no_subject(world):
    return world.send(world.parameters(subject_username=None))


@produces("ambiguous_subject")
def two_subjects(world):
    return world.send(world.parameters(subject_username="pa", subject_userid="1"))


@produces("empty_subject")
def empty_subject(world):
    return world.send(world.parameters(subject_username=""))


@produces("long_subject")
def long_subject(world):
    return world.send(world.parameters(subject_username="x" * 257))


@produces("bad_subject")
def bad_subject(world):
    return world.send(world.parameters(subject_username="a\x01b"))


@produces("bad_scope")
def bad_scope(world):
    return world.send(world.parameters(scope=f"{READ}  {MANAGE}"))


@produces("missing_scope")
def no_scope(world):
    return world.send(world.parameters(client_id="crm", scope=None))


@produces("bad_min_ttl")
def bad_min_ttl(world):
    return world.send(world.parameters(min_ttl="5m"))


@produces("bad_rejected_token")
def bad_rejected_token(world):
    return world.send(world.parameters(rejected_token_sha256="4711"))


@produces("spaced_subject")
def spaced_subject(world):
    return world.send(world.parameters(subject_username="pa\t "))


@produces("unknown_field")
def unknown_field(world):
    return world.send(headers=[("X-Egain-Subject", "pa")])


@produces("odd_head")
def odd_head(world):
    return world.send(headers=[("X-Other", "a\r\n folded")])


@produces("unclear_end")
def unclear_end(world):
    return world.send(headers=[("Content-Length ", "4")])


def with_query(world, query):
    """A request with something in its query, too."""
    world.use(world.shared)
    method, target, rest = world.bytes().split(b" ", 2)
    target += b"&" if b"?" in target else b"?"
    with world.daemon.connect() as connection:
        return connection.send(b" ".join((method, target + query, rest))).receive()


@produces("unread_query")
def unread_query(world):
    return with_query(world, b"scope=x")


@produces("subject_token_in_query")
def token_in_query(world):
    return with_query(world, b"subject_token=x")


@produces("unwanted_subject")
def application_and_subject(world):
    return world.send(world.parameters(grant_type="client_credentials"))


@produces("exchange_in_query")
def exchange_in_query(world):
    return world.send(world.parameters(grant_type=EXCHANGE))


@produces("anonymous_client")
def anonymous_client(world):
    world.fresh(clients=[*CLIENTS, LOBBY])
    return world.good(world.parameters(client_id="lobby"))


BAD_EXCHANGES = {
    "exchange_parameter": {"resource": "https://example.com"},
    "bad_requested_token_type": {"requested_token_type": "x"},
    "missing_registration_id": {"registration_id": None},
    "bad_registration_id": {"registration_id": "x" * 129},
    "missing_subject_token": {"subject_token": None},
    "long_subject_token": {"subject_token": "x" * (16 * 1024 + 1)},
    "missing_subject_token_type": {"subject_token_type": None},
    "bad_subject_token_type": {"subject_token_type": "x"},
    "subject_token_not_jwt": {"subject_token": "x"},
    "subject_token_no_exp": {"subject_token": jwt(sub="pa")},
    "subject_token_bad_exp": {"subject_token": jwt(exp="soon")},
    "subject_token_expired": {"subject_token": jwt(exp=1)},
}


@produces(*BAD_EXCHANGES)
def bad_exchange(world):
    return world.send(world.exchange(**BAD_EXCHANGES[world.reason]))


@produces("bad_limit")
def bad_limit(world):
    return world.send(world.parameters(limit="many"))


@produces("bad_after")
def bad_after(world):
    return world.send(world.parameters(after="-1"))


@produces("missing_filter")
def no_filter(world):
    return world.send({})


@produces("bad_authorization")
def bad_authorization(world):
    return world.send(headers=[("Authorization", "Basic !")])


@produces("ambiguous_client")
def two_clients(world):
    return world.good(world.parameters(client_id="crm"), [basic("portal")])


@produces("missing_client")
def no_client(world):
    return world.good(world.parameters(client_id=None))


@produces("unknown_client")
def unknown_client(world):
    return world.good(world.parameters(client_id="nobody"))


@produces("no_token_url")
def no_url(world):
    kind = {"subject_username": None, "subject_email": "anna@example.com"}
    return world.good(world.parameters(client_id="staff", **kind))


@produces("bad_content_type")
def bad_content_type(world):
    return world.send(headers=[("Content-Type", "application/json")])


@produces("body_too_large")
def large_body(world):
    return world.send(body=b"x" * (32 * 1024 + 1))


# The caller is not entitled.


def ruled(world, person, parameters=None, **more):
    world.use(world.ruled)
    return world.good(parameters, address=person.at(world.daemon.unix), **more)


@produces("not_permitted")
def no_rule(world):
    return ruled(world, world.people.b)


@produces("bad_key")
def no_key(world):
    return ruled(world, world.people.c)


@produces("client_not_permitted")
def other_client(world):
    return ruled(world, world.people.a, world.parameters(client_id="crm"))


@produces("subject_not_permitted")
def other_subject(world):
    kind = {"subject_username": None, "subject_email": "anna@example.com"}
    return ruled(world, world.people.a, world.parameters(**kind))


@produces("scope_not_permitted")
def other_scope(world):
    return ruled(world, world.people.a, world.parameters(scope=MANAGE))


@produces("monitor_not_permitted", "admin_not_permitted")
def no_right(world):
    return ruled(world, world.people.a)


@produces("from_browser")
def browser(world):
    return world.send(headers=[("Origin", "https://example.com")])


@produces("forwarded")
def proxy(world):
    return world.send(headers=[("Forwarded", "for=192.0.2.1")])


@produces("bad_host")
def rebound(world):
    return world.send(headers=[("Host", "rebound.example")])


@produces("no_metadata_header")
def no_metadata(world):
    return world.send(headers=[("Metadata", None)])


# The issuer refuses, or is not well: a daemon of its own, since much of it is remembered.


@produces("subject_refused")
def unknown_subject(world):
    world.issuer.behave(error="invalid_grant")
    return world.good()


@produces("scope_refused")
def unknown_scope(world):
    world.issuer.behave(error="invalid_scope")
    return world.good()


MISBEHAVIOUR = {
    "credentials_refused": {"status": 401, "error": "invalid_client"},
    "client_unauthorized": {"error": "unauthorized_client"},
    "answer_unusable": {"body": "{}"},
    "answer_redirect": {"status": 302, "headers": {"Location": "/elsewhere"}, "body": ""},
    "answer_too_large": {"body_size": 2 << 20},
    "issuer_throttles": {"status": 429, "headers": {"Retry-After": "7"}, "body": ""},
    "issuer_error": {"status": 500, "body": ""},
    "issuer_cut": {"close_after_headers": True},
}


@produces(*MISBEHAVIOUR)
def unwell(world):
    world.fresh()
    world.issuer.behave(**MISBEHAVIOUR[world.reason])
    return world.good()


@produces("long_token")
def long_token(world):
    issuer = world.stack.enter_context(Issuer(options=["--token-bytes", "9000"]))
    world.fresh(urls={"portal": {"user_token_url": issuer.url(PORTAL)}})
    return world.good()


@produces("issuer_timeout")
def silent(world):
    world.fresh(upstream={"connect_timeout": "100ms", "timeout": "200ms"})
    world.issuer.behave(stall=True)
    return world.good()


@produces("request_timeout")
def silent_for_longer(world):
    world.fresh(request_timeout="200ms")
    world.issuer.behave(stall=True)
    return world.good()


NOWHERE = {"portal": {"user_token_url": "http://127.0.0.1:9/oauth2/token"}}


@produces("issuer_unreachable")
def away(world):
    world.fresh(urls=NOWHERE)
    return world.good()


@produces("breaker_open")
def away_for_long(world):
    world.fresh(urls=NOWHERE)
    with world.daemon.connect() as connection:
        for number in range(5):
            body = question(f"{world.subject}-{number}")
            connection.request("POST", "/oauth2/token", [("Content-Type", FORM)], form(body))
    return world.good()


@produces("issuer_certificate")
def bad_certificate(world):
    nginx = tls.Nginx(world.issuer)
    world.stack.callback(nginx.close)
    url = world.issuer.url(PORTAL, origin=f"https://localhost:{nginx.ports['expired']}")
    world.fresh(urls={"portal": {"user_token_url": url}})
    return world.good()


@produces("granted_too_much")
def too_much(world):
    world.issuer.behave(granted_scope=f"{READ} {MANAGE}")
    return ruled(world, world.people.a)


@produces("rejected_again")
def rejected_again(world):
    first = world.good()
    second = world.good(world.parameters(rejected_token_sha256=digest(first)))
    return world.good(world.parameters(rejected_token_sha256=digest(second)))


# Limits, and the daemon itself.


@produces("fetches_spent")
def spent(world):
    world.fresh(callers=[rule("a", user=world.people.a.name, fetches="1/1d")])
    at = world.people.a.at(world.daemon.unix)
    assert world.good(address=at).status < 300
    world.subject += "-other"
    return world.good(address=at)


def crowd(world, person, count, limits, requests):
    """Has somebody wait `count` times, each with a request of `requests`."""
    world.fresh(callers=[rule("a", user=person.name)] if person else None, limits=limits)
    world.issuer.behave(hold=True)
    address = person.at(world.daemon.unix) if person else world.daemon.unix
    fleet = world.stack.enter_context(Fleet(address, count))
    fleet.send(requests).wait_until_read()
    world.daemon.settle()
    return world.good(address=address)


@produces("waiters_full")
def many_waiters(world):
    limits = {"max_waiters": 4, "max_waiters_per_flight": 4}
    return crowd(world, None, 4, limits, world.good_bytes())


@produces("flight_full")
def many_waiters_of_one(world):
    return crowd(world, None, 4, {"max_waiters_per_flight": 4}, world.good_bytes())


def of_others(world):
    """A request for another subject each time."""

    def other(index):
        return world.bytes(world.parameters(subject_username=f"{world.subject}-{index}"))

    return other


@produces("flights_full")
def many_flights(world):
    return crowd(world, None, 4, {"max_flights": 4}, of_others(world))


@produces("uid_waiters_full")
def many_waiters_of_a(world):
    limits = {"max_waiters": 16, "max_waiters_per_flight": 16}
    return crowd(world, world.people.a, 4, limits, world.good_bytes())


@produces("uid_flights_full")
def many_flights_of_a(world):
    return crowd(world, world.people.a, 4, {"max_flights": 16}, of_others(world))


def full_house(world, address, count):
    """A daemon with that many connections, every one of them let in, and the next one's answer."""
    world.uncounted = True
    world.daemon = world.start(limits={"max_connections": CONNECTIONS})
    fleet = world.stack.enter_context(Fleet(address(world.daemon.unix), count))
    for connection in fleet.connections:
        assert connection.request("GET", "/healthz").status == 200
    return world.good(address=address(world.daemon.unix))


@produces("connections_full")
def many_connections(world):
    return full_house(world, str, CONNECTIONS)


@produces("uid_connections_full")
def many_connections_of_a(world):
    return full_house(world, world.people.a.at, CONNECTIONS // 4)


# A file that is full after a few records.
FULL_DISK = ("env", "--ignore-signal=XFSZ", "prlimit", "--fsize=2048")


@produces("audit_full")
def full_disk(world):
    """Records wait, and no more of them than there is room for."""
    folder = scratch_directory()
    world.stack.callback(shutil.rmtree, folder)
    audit = {"to": folder / "log", "required": True, "max_records": 16}
    world.fresh(prefix=FULL_DISK, audit=audit)

    def withheld():
        response = world.good()
        return response if response.status == 503 else None

    return eventually(withheld, "the queue to be full")


@produces("client_changed")
def another_client(world):
    """What queues for a client application that is another by then is not fetched."""
    world.fresh(upstream={"max_in_flight": 1})
    world.issuer.behave(hold=True)
    with world.daemon.connect() as first, world.daemon.connect() as second:
        first.send(of_others(world)(1))
        world.issuer.wait_for("held", 1)
        second.send(world.good_bytes()).wait_until_read()
        world.daemon.settle()
        clients = world.daemon.settings["clients"]
        clients[0]["user_token_url"] += "?now=another"
        world.daemon.reload(clients=clients)
        return second.receive()


@produces("purges_full")
def many_purges(world):
    """All in one turn of the loop: none of them is done when the last comes."""
    world.fresh(cache={"max_entries": 1000000})
    with Fleet(world.daemon.unix, 64) as fleet:
        answers = fleet.send(world.good_bytes()).collect()
    refused = [response for response in answers if response.status != 200]
    for response in answers:
        CONTRACT.check(*world.operation, response)
    return refused[0]


@produces("shutting_down")
def goodbye(world):
    """On a connection that was there before, while somebody still waits."""
    world.fresh(drain_timeout="20s")
    world.uncounted = True
    world.issuer.behave(hold=True)
    with world.daemon.connect() as waiting, world.daemon.connect() as late:
        late.request("GET", "/healthz")
        waiting.send(ask_bytes("who waits"))
        world.issuer.wait_for("held", 1)
        world.daemon.terminate()
        wait_until_refusing(world.daemon)
        response = late.send(world.good_bytes()).receive()
        world.issuer.release()
        waiting.receive()
        return response


@pytest.mark.parametrize("world", PROMISED, ids=str, indirect=True)
def test_an_error(world, request):
    documented = request.node.callspec.params["world"]
    reason = REASONS[documented.reason]
    assert documented.reason in STEPS, f"no step produces {documented}"
    response = STEPS[documented.reason](world)
    CONTRACT.check(*world.operation, response)
    assert response.status == documented.status, response
    assert response.json()["error"] == reason.error, response
    if world.uncounted:
        assert response.json()["error_description"] == reason.description
    else:
        assert world.counted() > world.before, f"answered for another reason: {response}"


# Answers that are no errors: each function yields them all, for a step that checks them.

GRANTED = {}
KINDS = ("subject_username", "subject_userid", "subject_email", "registration_id")


def grants(method, path, status):
    def register(step):
        GRANTED[Documented(method, path, status)] = step
        return step

    return register


@grants("POST", "/oauth2/token", 200)
@grants("GET", "/v1/token", 200)
@grants("GET", "/v1/authorize", 204)
def tokens(world):
    """From memory and not, old ones, on behalf of everybody, everywhere."""
    yield world.good()
    for address in (world.shared.unix, world.shared.tcp4, world.shared.tcp6):
        yield world.good(address=address)
    for kind in ("subject_userid", "subject_email"):
        yield world.good(world.parameters(**{"subject_username": None, kind: "anna@example.com"}))
    yield world.good(world.parameters(min_ttl="99999", scope=f"{MANAGE} {READ}"))
    if world.operation == AUTHORIZE:
        return
    yield world.good(world.application())
    if world.operation == ("POST", "/oauth2/token"):
        yield world.good(world.exchange())
        yield world.good(world.exchange(requested_token_type=TYPE, actor_token=""))
    yield world.good(world.parameters(client_id=None), [basic("portal")])
    last = world.good()
    yield last
    world.issuer.behave(repeat_token=True)
    report = {"rejected_token_sha256": digest(last), "client_secret": "of old"}
    yield world.good(world.parameters(**report))
    yield world.good()
    if world.operation == ("GET", "/v1/token"):
        yield world.send(headers=[("Accept", "text/plain")])
        yield world.send(headers=[("Accept", "application/json, text/plain")])
    world.fresh(clients=[LOBBY])
    yield world.good(world.application() | {"client_id": "lobby"})


@grants("GET", "/v1/explain", 200)
def explanations(world):
    yield world.good()  # absent
    yield world.good(world.application())
    world.shared.ask(world.subject)
    yield world.good()  # fresh
    yield ruled(world, world.people.a)  # who does not monitor
    expires = {"client_secret_expires": "2099-01-01", "next_client_secret_expires": "2099-01-02"}
    successor = {"next_client_secret": "another"}
    world.fresh(clients=[PORTAL], urls={"portal": expires | successor})
    world.daemon.forbidden.add("another")
    world.issuer.behave(lifetime=2, count=1)
    world.daemon.ask(world.subject)
    yield world.good()  # fresh, due or spent
    world.issuer.behave(status=500, body="")
    world.daemon.ask(f"{world.subject}-other")
    yield world.good(world.parameters(subject_username=f"{world.subject}-other"))  # remembered
    world.issuer.reset()
    world.issuer.behave(status=429, headers={"Retry-After": "60"}, body="")
    world.daemon.ask(f"{world.subject}-third")
    yield world.good()  # held
    world.issuer.reset()
    world.issuer.behave(error="invalid_client", status=401)
    world.fresh()
    world.daemon.ask(world.subject)
    yield world.good()  # the client application is held


def pages(world, **parameters):
    """All of a listing."""
    page = world.good(parameters)
    yield page
    while "next" in page.json():
        page = world.good(parameters | {"after": page.json()["next"]})
        yield page


@grants("GET", "/v1/tokens", 200)
def listing(world):
    world.fresh()
    yield world.good()
    world.issuer.behave(granted_scope=MANAGE, count=1)
    for number in range(40):
        world.daemon.ask(f"{world.subject}-{number}")
    assert "next" in world.good({"limit": "5", "after": ""}).json()
    yield from pages(world, limit="5")
    token = jwt(sub=world.subject, exp=in_an_hour())
    of_exchange = {"subject_token": token, "subject_token_type": TYPE, "registration_id": "okta-1"}
    asked = {"client_id": "portal", "scope": READ}
    world.daemon.post(asked | {"grant_type": EXCHANGE} | of_exchange)
    world.daemon.post(asked | {"grant_type": "client_credentials"})
    kinds = set()
    for page in pages(world, **asked):
        kinds |= {entry["subject"]["kind"] for entry in page.json()["tokens"]}
        yield page
    assert kinds == {"username", "application", "exchange"}
    for kind in KINDS:
        yield world.good({kind: f"{world.subject}-0", "client_id": "portal", "scope": READ})


@grants("DELETE", "/v1/tokens", 200)
def purging(world):
    world.shared.ask(world.subject)
    yield world.good()
    for kind in KINDS:
        yield world.good({kind: world.subject, "client_id": "portal", "scope": READ})


@grants("POST", "/v1/reload", 200)
def reloading(world):
    world.fresh()
    yield world.good()
    world.daemon.settings["callers"] = [{"name": "idle", "user": "root"}]
    world.daemon.write_configuration()
    response = world.good()
    assert response.json()["messages"]
    yield response


@grants("POST", "/v1/reload", 409)
def reloading_a_mistake(world):
    world.fresh()
    world.daemon.settings["chache"] = {"max_entries": 1}
    world.daemon.write_configuration()
    response = world.good()
    assert response.json()["messages"]
    yield response


@grants("GET", "/metrics", 200)
def metrics(world):
    world.shared.ask(world.subject)
    yield world.good()
    yield ruled(world, world.people.d)


@grants("GET", "/v1/status", 200)
def statuses(world):
    """In every state that a token URL can be in, see the unit tests of the words for them."""
    yield world.good()
    world.shared.ask(world.subject)
    yield world.good()
    yield ruled(world, world.people.d)
    world.fresh(clients=[*CLIENTS, LOBBY])
    yield world.good()
    expires = {"client_secret_expires": "2001-01-01"}
    for behaviour in (
        {"status": 500, "body": ""},
        {"status": 429, "headers": {"Retry-After": "60"}, "body": ""},
        {"status": 401, "error": "invalid_client"},
    ):
        world.issuer.reset()
        world.issuer.behave(**behaviour)
        world.fresh(clients=[PORTAL], urls={"portal": expires})
        world.daemon.ask(world.subject)
        yield world.good()


@grants("GET", "/healthz", 200)
@grants("GET", "/readyz", 200)
@grants("GET", "/.well-known/oauth-authorization-server", 200)
def health(world):
    for address in (world.shared.unix, world.shared.tcp4, world.shared.tcp6):
        yield world.good(address=address)
    for person in (world.people.a, world.people.b):
        yield ruled(world, person)


@pytest.mark.parametrize("world", ANSWERS, ids=str, indirect=True)
def test_an_answer(world, request):
    documented = request.node.callspec.params["world"]
    assert documented in GRANTED, f"no step produces {documented}"
    seen = 0
    for response in GRANTED[documented](world):
        CONTRACT.check(*world.operation, response)
        assert response.status == documented.status, response
        seen += 1
    assert seen


# RFC 8693 §2.1 lets some of them occur more than once.
NOT_SERVED = {"actor_token", "actor_token_type", "resource", "audience"}

# Who has which right.

RIGHTS = {
    "none": {"a": 200, "b": 200, "d": 200, "d over TCP": 200},
    "token": {"a": 200, "b": 403, "d": 403, "d over TCP": 403},
    "monitor": {"a": 403, "b": 403, "d": 200, "d over TCP": 200},
    "admin": {"a": 403, "b": 403, "d": 200, "d over TCP": 403},
}


@pytest.mark.parametrize(
    "world", [Documented(*operation, 0) for operation in OPERATIONS], ids=str, indirect=True
)
class TestOperation:
    def test_its_right(self, world):
        right = CONTRACT.operation(*world.operation)["x-right"]
        people, daemon = world.people, world.ruled
        places = {
            "a": people.a.at(daemon.unix),
            "b": people.b.at(daemon.unix),
            "d": people.d.at(daemon.unix),
            "d over TCP": people.d.at(daemon.tcp4),
        }
        world.use(daemon)
        for who, expected in RIGHTS[right].items():
            response = world.good(address=places[who])
            CONTRACT.check(*world.operation, response)
            assert (response.status if response.status >= 400 else 200) == expected, who

    def test_the_key_that_its_rule_asks_for(self, world):
        """Needed where the document says that one may be, by Basic or as client_secret."""
        operation = CONTRACT.operation(*world.operation)
        needed = operation["x-right"] != "none"
        taken = operation.get("security") != []
        for headers, met in (([], False), ([basic("portal", KEY)], taken)):
            response = ruled(world, world.people.c, headers=headers)
            CONTRACT.check(*world.operation, response)
            assert response.status == (401 if needed and not met else 200)

    def test_its_parameters_are_read(self, world):
        """Of each that is documented a second one is noticed, but of those that are not served."""
        method, path = world.operation
        where = "form" if CONTRACT.parameters(method, path, "form") else "query"
        names = FIELDS if world.operation == AUTHORIZE else CONTRACT.parameters(method, path, where)
        for name in names:
            if name in NOT_SERVED:
                continue
            others = [pair for pair in world.parameters().items() if pair[0] != name]
            response = world.send([*others, (name, "1"), (name, "1")])
            CONTRACT.check(method, path, response)
            assert response.json()["error"] == "invalid_request", name
            assert "twice" in response.json()["error_description"], name

    def test_other_parameters_mean_nothing(self, world):
        response = world.send([*world.parameters().items(), ("resource", "x"), ("resource", "y")])
        CONTRACT.check(*world.operation, response)
        assert response.status in (200, 204)


@pytest.mark.parametrize("path", CONTRACT.document["paths"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods(daemon, path, method):
    methods = [other for other, its_path in OPERATIONS if its_path == path]
    if method in methods:
        return
    with daemon.connect() as connection:
        connection.send(http_request(method, path, [("Metadata", "true")]))
        response = connection.receive(bodiless=method == "HEAD")
    if method == "HEAD":
        CONTRACT.check_headers(response, CONTRACT.other_methods(path))
    else:
        CONTRACT.check_answer(response, CONTRACT.other_methods(path))
    assert response.status == 405
    assert sorted(response.header("Allow").split(", ")) == sorted(methods)


@pytest.mark.parametrize("path", ["/", "/oauth2", "/oauth2/token/", "/v1/Token", "/v2/token", "*"])
def test_other_paths(daemon, path):
    for method in ("GET", "POST"):
        response = daemon.request(method, path, address=daemon.tcp4)
        CONTRACT.check_answer(response, CONTRACT.resolve(CONTRACT.document["x-other-paths"]))
        assert response.status == 404


@pytest.mark.parametrize("status", CONTRACT.document["x-malformed-head"])
def test_a_malformed_head(daemon, status):
    """What the HTTP library answers by itself."""
    request = {
        "400": b"GET /healthz HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "414": http_request("GET", "/healthz?" + "x" * 40_000),
        "431": http_request("GET", "/healthz", [("X-Long", "x" * 40_000)]),
        "505": http_request("GET", "/healthz", version="HTTP/3.7"),
    }[status]
    with daemon.connect() as connection:
        response = connection.send_unless_cut(request).receive()
    assert response.status == int(status)
    documented = CONTRACT.resolve(CONTRACT.document["x-malformed-head"][status])
    CONTRACT.check_headers(response, documented)
    assert response.header("Content-Type") is None and response.body.startswith(b"<html>")
