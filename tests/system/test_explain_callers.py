# SPDX-License-Identifier: MIT
"""egain-tokend --explain: which rule decides, what it lacks, and a line that is really enough."""

import random
import re
import subprocess

import pytest

from harness import MANAGE, READ, TOKEND, URL_SCOPE, Daemon, environment, question, rule
from people import needs_users
from wire import TIMEOUT, form

pytestmark = needs_users

PERMITTED, USAGE, REFUSED, CONFIG = 0, 64, 77, 78
KEY = "key-of-a-0123456789"


@pytest.fixture(scope="module")
def rules(people):
    """What the daemon of this module has, without its key file."""
    return [
        rule(
            "a-key",
            user=people.a.name,
            clients=["portal", "staff"],
            subjects=["username:*", "email:*"],
            monitor=True,
            admin=True,
        ),
        rule("b", user=str(people.b.uid), subjects=["username:p*"], scopes=[READ]),
        {"name": "c-unit", "user": people.c.name, "unit": "crm@*.service", "monitor": True},
        rule("team", group=people.team.gr_name, clients=["crm"], scopes=["knowledge.*"]),
    ]


@pytest.fixture(scope="module")
def explained(issuer_process, rules):
    with Daemon(issuer_process) as daemon:
        rules[0]["key_file"] = daemon.put_key("a", KEY)
        daemon.reload(callers=rules)
        yield daemon


def explain(daemon, *words, path=None):
    run = subprocess.run(
        [TOKEND, "--config", path or daemon.path, "--explain", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=environment(),
    )
    assert not re.search("Sanitizer|runtime error", run.stderr), run.stderr
    daemon.check_answer(run.stdout + run.stderr)
    return run


def words(people, question):
    """The words of a question in which {a} is a's name and {a.uid} his uid."""
    return question.format(
        **{name: getattr(people, name).name for name in "abcd"},
        **{f"{name}_uid": getattr(people, name).uid for name in "abcd"},
        team=people.team.gr_name,
    ).split()


class TestVerdicts:
    PORTAL = f"client=portal subject=username:pa scope={READ}"
    CRM = f"client=crm subject=username:pa scope={READ}"
    CASES = [
        # the rule's user, by name and by number; his key
        (f"user={{a}} key_file=KEY {PORTAL}", PERMITTED, "rule 'a-key' .*: selected"),
        (f"user={{a_uid}} key_file=KEY {PORTAL}", PERMITTED, "rule 'a-key' .*: selected"),
        (f"user={{a}} {PORTAL}", REFUSED, "bad_key"),
        (f"user={{b}} {PORTAL}", PERMITTED, "rule 'a-key' .*: not selected: its user"),
        (f"over=tcp user={{b}} {PORTAL}", PERMITTED, "over TCP"),
        # client, subject, scope
        (f"user={{b}} {CRM}", REFUSED, "client crm: NOT given"),
        (f"user={{b}} client=portal subject=username:qa scope={READ}", REFUSED, "username:qa: NOT"),
        (f"user={{b}} client=portal subject=email:pa scope={READ}", REFUSED, "email:pa: NOT"),
        (f"user={{b}} client=portal subject=username:pa scope={MANAGE}", REFUSED, "manage: NOT"),
        (f"user={{b}} {PORTAL} scope={MANAGE}", REFUSED, "manage: NOT given"),
        ("user={b} client=portal subject=username:pa", PERMITTED, f"scope {READ}: given"),
        # other rights, and where they hold
        (f"user={{a}} key_file=KEY {PORTAL}", PERMITTED, "monitor: yes, admin: yes\n"),
        (f"over=tcp user={{a}} key_file=KEY {PORTAL}", PERMITTED, "yes, admin: over Unix sockets"),
        (f"user={{b}} {PORTAL}", PERMITTED, "monitor: no, admin: no\n"),
        (f"user={{b}} client=portal scope={READ}", PERMITTED, "\npermitted, as far as .*no subject="),
        # groups of the database, others, and none over TCP
        (f"user={{c}} {CRM}", PERMITTED, "rule 'team' .*: selected"),
        (f"user={{d}} {CRM}", REFUSED, "rule 'team' .*: not selected: its group"),
        (f"user={{d}} group={{team}} {CRM}", PERMITTED, "rule 'team' .*: selected"),
        (f"over=tcp user={{c}} {CRM}", REFUSED, "not_permitted"),
        # units
        (f"user={{c}} unit=crm@1.service {CRM}", REFUSED, "rule 'team' in line .* would give it"),
        (f"user={{c}} unit=crm.service {CRM}", PERMITTED, "its unit is crm@\\*.service, not crm.s"),
        (f"over=tcp user={{c}} unit=crm@1.service {CRM}", REFUSED, "not_permitted"),
        # what makes no sense
        ("user=nobody-of-this-name client=portal subject=username:pa", USAGE, "there is no user"),
        ("user={a} group=no-group-of-this-name client=portal", USAGE, "makes no sense"),
        ("user={a} client=no-such-client", USAGE, "client application"),
        ("user={a} subject=username:pa", USAGE, "client_id"),
        ("user={a} client=crm subject=username:pa", USAGE, "scope"),
        ("user={a} client=portal subject=pa", USAGE, "makes no sense"),
        ("user={a} client=portal subject=username:", USAGE, "makes no sense"),
        ("user={a} client=portal subject=name:pa", USAGE, "makes no sense"),
        ("user={a} client=portal subject=application:pa", USAGE, "makes no sense"),
        ("user={a} client=portal subject=exchange:", USAGE, "makes no sense"),
        ("user={b} client=portal subject=application:", REFUSED, "subject application: NOT given"),
        ("user={b} client=portal subject=exchange:okta", REFUSED, "exchange:okta: NOT given"),
        ("user={a} client=portal over=udp", USAGE, "makes no sense"),
        ("user={a} client=portal scope=a\\b", USAGE, "no scope"),
        ("user={a} client=portal colour=red", USAGE, "makes no sense"),
        ("user= client=portal", USAGE, "."),
        ("nonsense", USAGE, "makes no sense"),
        ("user=99999999999 client=portal", USAGE, "there is no user"),
        ("user=4294967295 client=portal", USAGE, "there is no user"),
        ("user={a} group=4294967296 client=portal", USAGE, "makes no sense"),
        ("user={a} client=portal subject=username:\x1b[2J", USAGE, "makes no sense"),
        # ids that systemd recycles
        (f"user=61184 {PORTAL}", REFUSED, "61184 .* systemd gives to one service"),
    ]

    @pytest.mark.parametrize("question, status, pattern", CASES, ids=str)
    def test_table(self, explained, people, rules, question, status, pattern):
        question = question.replace("KEY", str(rules[0]["key_file"]))
        run = explain(explained, *words(people, question))
        assert run.returncode == status, run
        said = run.stderr if status == USAGE else run.stdout
        assert re.search(pattern, said), run
        verdict = "permitted\n" if "subject=" in question else "permitted, "
        assert (f"\n{verdict}" in run.stdout) == (status == PERMITTED)
        assert bool(re.search("^refused: ", run.stdout, re.M)) == (status == REFUSED)

    def test_an_unknown_key_file(self, explained, people):
        run = explain(explained, f"user={people.a.name}", "client=portal", "key_file=/nowhere")
        assert run.returncode == USAGE and "/nowhere" in run.stderr

    def test_a_wrong_configuration(self, explained, tmp_path):
        for text in ("clients = (", "callers = ( { name = \"a\"; } );"):
            path = tmp_path / "bad.conf"
            path.write_text(text)
            path.chmod(0o600)
            run = explain(explained, "user=root", path=path)
            assert run.returncode == CONFIG and f"{path}:1" in run.stderr, run

    def test_without_rules(self, explained, issuer, people, tmp_path):
        daemon = Daemon(issuer)
        try:
            daemon.write_configuration()
            for user, over, status in (
                ("root", "unix", PERMITTED),
                ("root", "tcp", PERMITTED),  # it is the user who explains, and would run it
                (people.a.name, "unix", REFUSED),
                (people.a.name, "tcp", REFUSED),
            ):
                run = explain(daemon, f"user={user}", f"over={over}", *self.PORTAL.split())
                assert run.returncode == status, run
                if status == PERMITTED:
                    admin = "yes" if over == "unix" else "no"
                    assert f"monitor: yes, admin: {admin}\n" in run.stdout
        finally:
            daemon.close()


class TestRoundTrip:
    """The line that is suggested, put where it is said to belong, is enough."""

    CASES = [
        f"user={{d}} client=portal subject=username:pa scope={READ}",
        f"user={{d_uid}} client=staff subject=email:pa@example.com scope={READ} scope={MANAGE}",
        "user={d} client=portal subject=username:pa",
        f"over=tcp user={{d}} client=portal subject=userid:4711 scope={URL_SCOPE}",
        f"user={{d}} unit=crm.service client=portal subject=username:pa scope={READ}",
        f"user={{d}} unit=crm@7.service client=crm subject=username:pa scope={READ}",
        f"user={{b}} client=crm subject=username:pa scope={READ}",
        f"user={{b}} client=portal subject=username:qa scope={READ}",
        f"user={{b}} client=portal subject=email:pa scope={READ}",
        f"user={{b}} client=portal subject=username:pa scope={MANAGE}",
        f"user={{b}} client=portal subject=username:pa scope={MANAGE} scope={URL_SCOPE}",
        f"user=61184 unit=crm.service client=portal subject=username:pa scope={READ}",
        f"user={{b}} client=portal subject=application: scope={READ}",
        f"user={{d}} client=portal subject=anonymous: scope={READ}",
        f"user={{b}} client=portal subject=exchange:okta-1 scope={READ}",
        # several rights at once
        f"user={{b}} client=staff subject=userid:qa scope={MANAGE}",
        f"user={{b}} client=portal subject=email:qa scope={MANAGE} scope={READ}",
        # what has a meaning in the configuration's strings
        "user={d} client=portal subject=username:quo\"te scope=a",
        "user={d} client=portal subject=username:back\\slash scope=a",
        "user={d} client=portal subject=username:back\\\\n\\x41 scope=a[b]?",
        "user={b} client=portal subject=userid:both\\\"of\"them scope=a",
        "user={d} client=portal subject=username:päß scope=a",
    ]

    @pytest.mark.parametrize("question", CASES)
    def test_round_trip(self, explained, people, tmp_path, question):
        asked = words(people, question)
        run = explain(explained, *asked)
        assert run.returncode == REFUSED, run
        text = self.paste(explained.path.read_text(), run.stdout)
        path = tmp_path / "mended.conf"
        path.touch(0o600)
        path.write_text(text)
        mended = explain(explained, *asked, path=path)
        assert mended.returncode == PERMITTED, f"{run.stdout}\n{mended.stdout}{mended.stderr}"
        if "user = " not in run.stdout and "this entry" in run.stdout:
            return  # a uid that means nothing: the unit is all there is to tell it by
        # And it gives nothing to somebody else.
        user = next(word for word in asked if word.startswith("user="))
        others = [f"user={people.c.name}" if word == user else word for word in asked]
        before = explain(explained, *others).returncode
        assert explain(explained, *others, path=path).returncode == before

    def paste(self, text, said):
        """The configuration with the suggestion in it, as an operator would put it there."""
        entry = re.search(r"^  (\{ name = .*\})$", said, re.M)
        if entry:
            first = re.search(r"^callers = \( ", text, re.M).end()
            return f"{text[:first]}{entry[1]}, {text[first:]}"
        name = re.search(r"this in rule '(\S+)'", said)[1]
        line = re.search(rf'\{{ name = "{name}";.*?\}}(?=[, ])', text)[0]
        mended = line
        options = re.findall(r"^  (\w+) = \[ …, (.*) \];$", said, re.M)
        assert options, said
        for option, items in options:
            mended = re.sub(
                rf"({option} = \[ .*?) \]", lambda match: f"{match[1]}, {items} ]", mended, 1
            )
        return text.replace(line, mended)


def test_the_daemon_agrees(explained, issuer, people, rules):
    """A sample of questions, asked of both."""
    chance = random.Random(4711)
    questions = []
    for _ in range(60):
        person = chance.choice("abcd")
        listener = chance.choice(("unix", "tcp4", "tcp6"))
        key = chance.choice((KEY, None))
        client = chance.choice(("portal", "crm", "staff"))
        kind, subject = chance.choice(
            (("username", "pa"), ("username", "qa"), ("userid", "4711"), ("email", "pa@x"))
        )
        scope = chance.choice((READ, MANAGE, f"{READ} {MANAGE}", URL_SCOPE))
        questions.append((person, listener, key, client, kind, subject, scope))
    seen = set()
    for person, listener, key, client, kind, subject, scope in questions:
        someone = getattr(people, person)
        run = explain(
            explained,
            f"user={someone.name}",
            f"over={'unix' if listener == 'unix' else 'tcp'}",
            *([f"key_file={rules[0]['key_file']}"] if key else []),
            f"client={client}",
            f"subject={kind}:{subject}",
            *(f"scope={value}" for value in scope.split(" ")),
        )
        here = someone.at(getattr(explained, listener))
        more = {"client_id": client, "scope": scope, "client_secret": key}
        response = explained.ask(subject, kind, address=here, **more)
        code = (re.findall(r"^refused: \w+ \((\d+) ", run.stdout, re.M) or ["permitted"])[0]
        if run.returncode == PERMITTED:
            # An application without a token URL for this kind is no matter of rights.
            assert response.status == 200 or (client, kind) == ("staff", "email"), (run, response)
        else:
            assert str(response.status) == code, (run, response)
        seen.add(code)
        # So does the explanation over HTTP.
        allowed = response.status != 403 and response.status != 401
        explanation = explained.request(
            "GET",
            "/v1/explain?" + form(question(subject, kind, **more)).decode(),
            address=here,
        )
        assert (explanation.status in (200, 400)) == allowed, explanation
        if not allowed:
            assert explanation.json() == response.json()
    assert {"permitted", "403", "401"} <= seen

