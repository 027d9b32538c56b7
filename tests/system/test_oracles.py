# SPDX-License-Identifier: MIT
"""Our parsers beside Python's: the same bytes, read by both, tens of thousands of times.

What each makes of an input is compared whole. Where we mean to differ, the test says so in the
function that adds our rule to what Python says. ORACLE_SEED=N gives other inputs; the seed stands
in the message of a failure.
"""

import base64
import datetime
import email.utils
import json
import math
import os
import random
import re
import subprocess
import urllib.parse

from harness import BUILD, ROOT

ORACLE = BUILD / "tests" / "oracle" / "oracle"
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
SEED = int(os.environ.get("ORACLE_SEED", "1"))
CASES = 100_000


def corpus(name):
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir()) if path.is_file()]


def field(value):
    return value.hex() or "."


def unfield(text):
    return b"" if text == "." else bytes.fromhex(text)


def compare(mode, cases, expect):
    """Has all of them read by ours, and holds each answer against what `expect` says."""
    lines = "".join(" ".join(map(field, case)) + "\n" for case in cases)
    said = subprocess.run([ORACLE, mode], input=lines, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    answers = said.stdout.splitlines()
    assert len(answers) == len(cases)
    for case, answer in zip(cases, answers):
        assert answer == expect(*case), f"{mode}, seed {SEED}: {case}"
    return answers


def mutate(rng, value, alphabet):
    """One to three bytes of it are other ones, gone, or repeated."""
    value = bytearray(value)
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(value))
        how = rng.random()
        if how < 0.4:
            value[at:at] = rng.choice(alphabet)
        elif how < 0.7:
            value[at : at + 1] = rng.choice(alphabet)
        elif how < 0.85:
            del value[at : at + rng.randint(1, 3)]
        else:
            value[at:at] = value[at : at + rng.randint(1, 8)]
    return bytes(value)


class TestForms:
    """urllib.parse.parse_qsl."""

    IGNORED = {"password", "username", "limit", "after"}
    NOTED = {"actor_token", "actor_token_type", "resource", "audience"}
    READ = [
        "grant_type", "subject_username", "subject_userid", "subject_email", "scope", "client_id",
        "client_secret", "min_ttl", "rejected_token_sha256", "subject_token", "subject_token_type",
        "registration_id", "requested_token_type", *sorted(NOTED),
    ]  # fmt: skip
    ORDER = [*READ[:13], *("actor_token", "actor_token_type", "resource", "audience")]
    MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})")

    def expect(self, source, form):
        text = form.decode("latin-1")
        pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, encoding="latin-1")
        raw = [segment.partition("=") for segment in text.split("&") if segment]
        assert len(pairs) == len(raw)
        outcome, seen = "ok", {}

        def fails(reason):
            nonlocal outcome
            if outcome == "ok":
                outcome = reason

        token = False
        for (name, value), (raw_name, _, raw_value) in zip(pairs, raw):
            # A percent sign that begins no escape is refused; Python lets it stand.
            if self.MALFORMED.search(raw_name):
                fails("malformed_escape")
                continue
            token |= source == b"q" and name in ("subject_token", "actor_token")
            if self.MALFORMED.search(raw_value):
                fails("malformed_escape")
            elif name in self.NOTED:
                if value:
                    seen[name] = b""
            elif name in self.READ:
                # What we read may occur once.
                if name in seen:
                    fails("repeated_parameter")
                else:
                    # What would be a token of somebody in a query is wiped.
                    wiped = name == "client_secret" or (name == "subject_token" and source == b"q")
                    seen[name] = b"\0" * len(value) if wiped else value.encode("latin-1")
        if token:
            outcome = "subject_token_in_query"
        return " ".join([outcome, *(f"{name}={field(seen[name])}" for name in self.ORDER if name in seen)])

    def encode(self, rng, text):
        return "".join(
            f"%{ord(c):02{rng.choice('xX')}}" if rng.random() < 0.2 else "+" if c == " " else c
            for c in text
        )

    def random_form(self, rng):
        names = [*self.READ, *sorted(self.IGNORED), "x", "", "Scope", "scope "]
        pairs = []
        for name in rng.sample(names, rng.randint(0, 5)):
            value = "".join(rng.choice("abz09 =%&+.;\0\xff") for _ in range(rng.randint(0, 6)))
            if rng.random() < 0.8:
                value = value.replace("%", "").replace("&", "").replace("+", "")
            pairs.append(self.encode(rng, name) + rng.choice(["=", "=", "=", ""]) + self.encode(rng, value))
        return rng.choice(["&", "&", "&&"]).join(pairs).encode("latin-1")

    def test_every_parameter(self):
        rng = random.Random(SEED)
        alphabet = [b"%", b"&", b"=", b"+", b";", b"%2", b"%3d", b"%26", b"%00", b"scope=", b"\xff", b" "]
        seeds = [data[1:] for data in corpus("request") if data[:1] in (b"b", b"q")]
        forms = seeds + [self.random_form(rng) for _ in range(CASES // 2)]
        forms += [mutate(rng, rng.choice(forms), alphabet) for _ in range(CASES // 2)]
        answers = compare("form", [(rng.choice((b"b", b"q")), form) for form in forms], self.expect)
        outcomes = {answer.split()[0] for answer in answers}
        assert outcomes == {"ok", "malformed_escape", "repeated_parameter", "subject_token_in_query"}


class TestPatterns:
    """re, with every star as '.*' and all else quoted."""

    def expect(self, pattern, text):
        expression = b".*".join(re.escape(part) for part in re.split(rb"\*+", pattern))
        return str(int(re.fullmatch(expression, text, re.DOTALL) is not None))

    def test_every_pattern(self):
        rng = random.Random(SEED)
        cases = []
        for data in corpus("pattern"):
            pattern, _, text = data[1:].partition(b"\n")
            if b"\0" not in pattern and pattern.count(b"*") < 6:
                cases.append((pattern, text))
        while len(cases) < CASES:
            letters = rng.choice([b"ab", b"a*", b"ab.\n", b"a[]\\?^$", b"\x01\xff\x80a"])
            text = bytes(rng.choice(letters) for _ in range(rng.randint(0, 12)))
            pattern = bytearray(text)
            for _ in range(rng.randint(0, 4)):
                begin = rng.randint(0, len(pattern))
                pattern[begin : begin + rng.randint(0, 4)] = rng.choice([b"*", b"*", b"**", b"a", b""])
            cases.append((bytes(pattern), text))
        answers = compare("pattern", cases, self.expect)
        assert min(answers.count("0"), answers.count("1")) > CASES // 10


class TestDates:
    """email.utils for the forms of HTTP, datetime for ISO 8601."""

    DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    FORMS = [
        "%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y", "{day}, %d-%b-%y %H:%M:%S GMT",
        "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.250+00:00",
    ]  # fmt: skip

    def write(self, rng, form, moment):
        return moment.strftime(form.replace("{day}", self.DAYS[moment.weekday()]))

    def python(self, text):
        """The moment in seconds, or None."""
        try:
            if text[:1].isdigit():
                moment = datetime.datetime.fromisoformat(text.replace(" UTC", "Z").replace(" GMT", "Z"))
            else:
                moment = email.utils.parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        try:
            return int(moment.timestamp() // 1)
        except (OverflowError, ValueError):
            return None

    def moments(self, rng, n):
        """Of this century, and never one whose two digits Python takes for the last one."""
        begin, end = 946684800, 3124224000
        return [
            datetime.datetime.fromtimestamp(rng.randrange(begin, end), datetime.timezone.utc)
            for _ in range(n)
        ]

    def test_what_is_written_properly(self):
        rng = random.Random(SEED)
        cases, waits = [], {}
        for moment in self.moments(rng, CASES):
            text = self.write(rng, rng.choice(self.FORMS), moment)
            at = self.python(text)
            assert at == int(moment.timestamp())
            wait = rng.choice([-5, 0, 1, 7, 299, 300, 301, 100_000])
            case = (text.encode(), str(at - wait).encode())
            cases.append(case)
            waits[case] = str(min(max(wait, 0), 300) * 1000)
        compare("date", cases, lambda *case: waits[case])

    def test_what_is_not(self):
        """We read less than Python; what we do read is the same moment to both."""
        rng = random.Random(SEED)
        alphabet = [bytes([c]) for c in b"0123456789 :-,TZ.+GMTadn"]
        cases, read = [], 0
        while len(cases) < CASES // 5:
            moment = rng.choice(self.moments(rng, 1))
            text = mutate(rng, self.write(rng, rng.choice(self.FORMS), moment).encode(), alphabet)
            at = self.python(text.decode())
            if at is not None and not text.strip().isdigit():
                cases.append((text, str(at - 60).encode()))
        lines = "".join(" ".join(map(field, case)) + "\n" for case in cases)
        said = subprocess.run([ORACLE, "date"], input=lines, capture_output=True, text=True, timeout=120)
        assert said.returncode == 0, said.stderr
        for case, answer in zip(cases, said.stdout.splitlines(), strict=True):
            read += answer == "60000"
            assert answer in ("0", "60000"), f"seed {SEED}: {case}"
        assert read > 100


class Object(dict):
    """Knows how many members were written."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.repeats = len(pairs) != len(self)


def refuse_constant(name):
    raise ValueError(name)


def load(body):
    """One object as RFC 8259 has it, in UTF-8; None for anything else."""
    try:
        value = json.loads(body.decode(), parse_constant=refuse_constant, object_pairs_hook=Object)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Object) else None


def children(value):
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def level(value):
    """How deep its deepest value lies in it."""
    return max((1 + level(child) for child in children(value)), default=0)


def nesting(value):
    """How many objects and arrays lie in one another."""
    inner = max(map(nesting, children(value)), default=0)
    return inner + isinstance(value, (dict, list))


def random_value(rng, nested=0):
    if nested < 9 and rng.random() < 0.15:
        if rng.random() < 0.5:
            return [random_value(rng, nested + 1) for _ in range(rng.randint(0, 2))]
        return {rng.choice("ab"): random_value(rng, nested + 1) for _ in range(rng.randint(0, 2))}
    return rng.choice([
        "", "a", "t.k-n", "a b", 'q"', "\\", "\u00fc", "\x7f", "bearer", "Bearer", "mac", "asked", "3600",
        "12345678901", "invalid_client", "invalid_scope", "unauthorized_client", "invalid_grant",
        0, 1, -1, 60, 3600, 3600.5, 1e3, 31_622_401, 2**63, 2**70, 10**14, 10**15, None, True, False,
    ])  # fmt: skip


def random_object(rng):
    good = {"access_token": "t" * rng.choice([1, 8, 200, 201]), "token_type": "Bearer", "expires_in": 3600}
    wanted = dict(good) if rng.random() < 0.7 else {}
    names = ["access_token", "token_type", "expires_in", "scope", "error", "a", "x", "issued_token_type"]
    for name in rng.sample(names, rng.randint(0, 3)):
        wanted[name] = random_value(rng)
    items = list(wanted.items())
    rng.shuffle(items)
    ascii_only = rng.random() < 0.5
    text = json.dumps(dict(items), ensure_ascii=ascii_only)
    if rng.random() < 0.2:
        text = text.replace(": ", ":\n\t")
    return text.encode()


JSON_ALPHABET = [
    *(bytes([c]) for c in b'{}[],:"\\ \t\n\r\f\v0123456789eE+-.aNuI/*\'\0\x1f\x7f\xff'),
    b"\\u0000", b"\\u0041", b"\\ud800", b"\\n", b"null", b"true", b"NaN", b"Infinity", b"00", b"1.", b"-.5",
    b'"a":1,', b'"access_token":"u",', b"[[[[[[[[]]]]]]]]", b"\xef\xbb\xbf", b"\xc3\xbc", b"/**/", b"1e400", b"-0",
]  # fmt: skip


def random_bodies(rng, seeds):
    objects = [random_object(rng) for _ in range(CASES // 2)]
    mutated = [mutate(rng, rng.choice(objects), JSON_ALPHABET) for _ in range(CASES // 2 - len(seeds))]
    return seeds + objects + mutated


class TestAnswers:
    """json.loads on what issuers answer."""

    LIFETIME_MAX_S = 366 * 86400
    STATUSES = b"0123456789"
    KNOWN = [200, 400, 401, 403, 404, 408, 422, 429, 500, 503]

    def parse(self, body):
        value = load(body)
        # A NUL, even one that is escaped, a name twice, and what lies too deep.
        if value is None or value.repeats or level(value) > 7 or re.search(rb"(?<!\\)(\\\\)*\\u0000", body):
            return None
        return value

    def lifetime(self, value):
        if "expires_in" not in value:
            return 300
        expires = value["expires_in"]
        if isinstance(expires, str):
            return int(expires) if re.fullmatch("[0-9]{1,10}", expires) else -1
        return expires if type(expires) is int else -1

    def token(self, body):
        value = self.parse(body)
        if value is None or "error" in value:
            return None
        token, scope = value.get("access_token"), value.get("scope") or ""
        if value.get("scope") is not None and not isinstance(value["scope"], str):
            return None
        if not isinstance(token, str) or not re.fullmatch("[!-~]{1,200}", token):
            return None
        kind = value.get("token_type", "bearer")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            return None
        if not re.fullmatch(r'[ !#-\[\]-~]{0,16384}', scope):
            return None
        lifetime = self.lifetime(value)
        if not 0 < lifetime <= self.LIFETIME_MAX_S:
            return None
        return f"{token.encode().hex()} {field(b'' if scope == 'asked' else scope.encode())} {lifetime}"

    def expect(self, status, body):
        status = int(status)
        if status == 200:
            return self.token(body) or "answer_unusable"
        if status == 429:
            return "issuer_throttles"
        if status >= 500 or status == 408:
            return "issuer_error"
        value = self.parse(body)
        error = value.get("error") if value is not None else None
        if status == 401 or error == "invalid_client":
            return "credentials_refused"
        if error in ("unauthorized_client", "unsupported_grant_type"):
            return "client_unauthorized"
        return "scope_refused" if error == "invalid_scope" else "subject_refused"

    def test_every_answer(self):
        rng = random.Random(SEED)
        seeds = [data[2:] for data in corpus("answer") if data[1:2] not in (b"t", b"r", b"x", b"b")]
        bodies = random_bodies(rng, seeds)
        cases = [
            (str(200 if rng.random() < 0.7 else rng.choice(self.KNOWN)).encode(), body)
            for body in bodies
            # A token of three parts may say itself how long it lives; unit tests tell of that.
            if body.count(b".") < 2
        ]
        answers = compare("answer", cases, self.expect)
        assert sum(" " in answer for answer in answers) > CASES // 20
        assert answers.count("answer_unusable") > CASES // 20


class TestJwts:
    """base64 and json on the payload of a JWT."""

    def claims(self, token):
        parts = token.split(b".")
        if len(parts) != 3 or not re.fullmatch(rb"[A-Za-z0-9_-]+", parts[1]) or len(parts[1]) % 4 == 1:
            return None
        return TestAnswers().parse(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))

    def number(self, value):
        if type(value) not in (int, float) or value != value:
            return None
        if value in (float("inf"), float("-inf")):
            return 2**63 - 1 if value > 0 else -(2**63)
        return max(-(2**63), min(math.floor(value), 2**63 - 1))

    def expect(self, token):
        claims = self.claims(token)
        if claims is None:
            return "no no"
        exp, iat = claims.get("exp"), claims.get("iat")
        expiry = "absent" if "exp" not in claims else "bad" if self.number(exp) is None else str(self.number(exp))
        lifetime = "no"
        if type(exp) is int and type(iat) is int:
            difference = self.number(exp) - self.number(iat)
            if -(2**63) <= difference < 2**63:
                lifetime = str(difference)
        return f"{expiry} {lifetime}"

    def test_every_token(self):
        rng = random.Random(SEED)
        numbers = [0, 1, -1, 1_784_548_800, 1_784_552_400.75, -0.5, 1e300, 2**63 - 1, 2**63, -(2**63), 2**70, None, "1"]
        alphabet = [b".", b"=", b"==", b"A", b"-", b"_", b"+", b"/", b" ", b"\n", b"\0", b"\xff", b"eyJ"]
        tokens = []
        for _ in range(CASES // 2):
            claims = {name: rng.choice(numbers) for name in rng.sample(["exp", "iat", "sub"], rng.randint(0, 3))}
            payload = json.dumps(claims).encode()
            if rng.random() < 0.3:
                payload = mutate(rng, payload, JSON_ALPHABET)
            middle = base64.urlsafe_b64encode(payload).rstrip(b"=")
            tokens.append(b"e30." + middle + b".c2ln")
        tokens += [mutate(rng, rng.choice(tokens), alphabet) for _ in range(CASES // 2)]
        answers = compare("jwt", [(token,) for token in tokens], self.expect)
        assert answers.count("no no") > CASES // 20
        assert sum(answer.split()[1] != "no" for answer in answers) > CASES // 50


class TestMembers:
    """json.loads on what clients read of the daemon's answers."""

    def expect(self, body):
        # Bytes that are no UTF-8 are let through where nobody asks for them.
        value = load(body.decode("latin-1").encode())
        if value is None or nesting(value) > 8:
            return "no"
        said = []
        for name in ("access_token", "expires_in"):
            member = value.get(name)
            if name not in value:
                said.append("absent")
            elif name == "access_token":
                good = isinstance(member, str) and re.fullmatch("[ -~]*", member)
                said.append(field(member.encode()) if good else "other")
            else:
                said.append(str(member) if type(member) is int and 0 <= member < 10**15 else "other")
        return " ".join(said)

    def test_every_answer(self):
        rng = random.Random(SEED)
        bodies = random_bodies(rng, corpus("members"))
        # Names are taken as they are written, and ours are written without escapes; of two values
        # only those that are asked for must not be there.
        cases = [
            (body,)
            for body in bodies
            if not re.search(rb'\\[^"\\/]', body) and not getattr(load(body.decode("latin-1").encode()), "repeats", False)
        ]
        assert len(cases) > CASES // 2
        answers = compare("members", cases, self.expect)
        assert answers.count("no") > CASES // 50


class TestUnits:
    """int() and datetime.date on what the configuration writes."""

    SUFFIXES = [
        {"": 1},
        {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30},
        {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000},
    ]

    def number(self, text, suffixes):
        match = re.fullmatch(r"(0|[1-9][0-9]*)([A-Za-z]*)", text, re.ASCII)
        if not match or match[2] not in suffixes:
            return "no"
        value = int(match[1]) * suffixes[match[2]]
        return str(value) if value < 2**64 else "overflow"

    def date(self, text):
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
            return "no"
        try:
            days = (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days
        except ValueError:
            return "no"
        return str(days * 86400) if days >= 0 else "no"

    def expect(self, text):
        text = text.decode("latin-1")
        return " ".join([*(self.number(text, suffixes) for suffixes in self.SUFFIXES), self.date(text)])

    def test_every_number(self):
        rng = random.Random(SEED)
        units = ["", "", "K", "M", "G", "ms", "s", "m", "h", "d"]
        limits = [2**64 // factor for suffixes in self.SUFFIXES for factor in suffixes.values()]
        texts = [f"{limit + more}{unit}" for limit in limits for more in (-1, 0, 1) for unit in units]
        texts += [f"{rng.randrange(10 ** rng.randint(1, 21))}{rng.choice(units)}" for _ in range(CASES // 3)]
        texts += [
            f"{rng.randint(1960, 2410):04}-{rng.randint(0, 13):02}-{rng.randint(0, 32):02}"
            for _ in range(CASES // 3)
        ]
        texts = [text.encode() for text in texts]
        alphabet = [bytes([c]) for c in b"0123456789-+. KMGsmhdx\xb2"]
        texts += [mutate(rng, rng.choice(texts), alphabet) for _ in range(CASES // 3)]
        compare("units", [(text,) for text in texts], self.expect)


class TestTexts:
    def test_utf8(self):
        def expect(text):
            try:
                decoded = text.decode()
            except UnicodeDecodeError:
                return "0 0"
            plain = not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in decoded)
            return f"1 {int(plain)}"

        rng = random.Random(SEED)
        alphabet = [bytes([c]) for c in range(256)]
        texts = [
            "".join(rng.choice("az \x00\x7f\x85\xa0\xfc\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff")
                    for _ in range(rng.randint(0, 20))).encode()
            for _ in range(CASES // 2)
        ]  # fmt: skip
        texts += [mutate(rng, rng.choice(texts), alphabet) for _ in range(CASES // 2)]
        answers = compare("utf8", [(text,) for text in texts], expect)
        assert {"0 0", "1 0", "1 1"} == set(answers)

    def test_scope(self):
        def expect(scope):
            values = scope.split(b" ")
            if not all(re.fullmatch(rb"[!#-\[\]-~]+", value) for value in values):
                return "no"
            return field(b" ".join(sorted(set(values)))) if len(values) <= 128 else "no"

        rng = random.Random(SEED)
        cases = []
        while len(cases) < CASES // 2:
            n = rng.choice([1, 2, 3, 5, 127, 128, 129]) if rng.random() < 0.02 else rng.randint(0, 5)
            values = ["".join(rng.choice("aAb.:/*~!") for _ in range(rng.randint(1, 3))) for _ in range(n)]
            scope = " ".join(values).encode()
            if rng.random() < 0.2:
                scope = mutate(rng, scope, [b" ", b'"', b"\\", b"\x7f", b"\xff", b"a", b"\0"])
            cases.append((scope,))
        answers = compare("scope", cases, expect)
        assert answers.count("no") > 1000
