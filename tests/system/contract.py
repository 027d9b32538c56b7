# SPDX-License-Identifier: MIT
"""doc/openapi.yaml as something to test against.

Every object of its schemas is closed here: what an answer holds and the document does not name is a
mistake of one of the two. (The document itself leaves them open, so that a client that was made
from it does not break when a member is added.)
"""

import re
from dataclasses import dataclass
from email.message import Message
from urllib.parse import parse_qsl

import jsonschema
import yaml

from harness import ROOT

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

# Header fields of every answer, that HTTP has and not we.
OF_HTTP = {"connection", "content-length", "content-type", "date"}


class Strict(yaml.SafeLoader):
    """Without repeated keys, and without words that YAML takes for a date or a truth value."""

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key, deep) for key, _ in node.value]
        assert len(names) == len(set(map(str, names))), f"repeated keys in {node.start_mark}"
        assert all(isinstance(name, str) for name in names), f"{names} in {node.start_mark}"
        return super().construct_mapping(node, deep)


def close(schema):
    """Closes every object of a schema that says which members it has, in place."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            close(part)
    elif isinstance(schema, list):
        for part in schema:
            close(part)


@dataclass(frozen=True)
class Documented:
    """One answer that the document promises: of an operation, with a status, for a reason."""

    method: str
    path: str
    status: int
    reason: str = None

    def __str__(self):
        return " ".join(str(part) for part in (self.method, self.path, self.status, self.reason))


class Contract:
    def __init__(self, path=ROOT / "doc" / "openapi.yaml"):
        self.document = yaml.load(path.read_text(), Strict)
        close(self.document["paths"])
        close(self.document["components"])

    def resolve(self, thing):
        """What a reference stands for; a thing that is none, for itself."""
        while "$ref" in thing:
            found = self.document
            assert thing["$ref"].startswith("#/"), thing
            for step in thing["$ref"][2:].split("/"):
                found = found[step.replace("~1", "/").replace("~0", "~")]
            thing = found
        return thing

    def operations(self):
        """(method, path) and the operation."""
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method.upper(), path, item[method]

    def operation(self, method, path):
        return self.document["paths"][path][method.lower()]

    def response(self, method, path, status):
        return self.resolve(self.operation(method, path)["responses"][str(status)])

    def other_methods(self, path):
        return self.resolve(self.document["paths"][path]["x-other-methods"])

    def reasons(self, method, path):
        """(status, reason) of all errors of an operation."""
        for status, response in self.operation(method, path)["responses"].items():
            for reason in self.resolve(response).get("x-reasons", ()):
                yield int(status), reason

    def parameters(self, method, path, where="query"):
        """The parameters of an operation by name; `where`: query, header or form."""
        operation = self.operation(method, path)
        if where == "form":
            content = operation.get("requestBody", {}).get("content", {})
            form = content.get("application/x-www-form-urlencoded")
            return self.resolve(form["schema"])["properties"] if form else {}
        found = [self.resolve(parameter) for parameter in operation.get("parameters", ())]
        return {parameter["name"]: parameter for parameter in found if parameter["in"] == where}

    def errors(self, response):
        """The values that `error` may have in a documented answer."""
        schema = self.resolve(response["content"]["application/json"]["schema"])
        error = schema["properties"]["error"]
        return set(error["enum"]) if "enum" in error else {error["const"]}

    def valid(self, value, schema, what):
        resolver = jsonschema.RefResolver("", self.document)
        validator = jsonschema.Draft202012Validator(schema, resolver=resolver)
        problems = [
            f"{'/'.join(map(str, error.absolute_path)) or what}: {error.message}"
            for error in validator.iter_errors(value)
        ]
        assert not problems, f"{what}: {problems}"

    def check_headers(self, response, documented):
        expected = {name.lower(): header for name, header in documented.get("headers", {}).items()}
        names = [name.lower() for name, _ in response.headers]
        assert len(names) == len(set(names)), f"repeated: {response.headers}"
        unknown = set(names) - set(expected) - OF_HTTP
        assert not unknown, f"not documented: {unknown} of {response}"
        for name, header in expected.items():
            header = self.resolve(header)
            value = response.header(name)
            if value is None:
                assert not header.get("required"), f"{name} is missing: {response}"
            else:
                self.valid(value, header["schema"], name)

    def check_answer(self, response, documented):
        """Headers and body are as documented."""
        self.check_headers(response, documented)
        content = documented.get("content")
        if content is None:
            assert response.body == b"" and response.header("Content-Type") is None, response
            return
        kind = response.header("Content-Type")
        assert kind in content, f"Content-Type is {kind}, documented are {list(content)}"
        body = response.json() if kind == "application/json" else response.body.decode()
        self.valid(body, content[kind]["schema"], "body")

    def check(self, method, path, response):
        """An answer is one that the document has for this operation."""
        documented = self.operation(method, path)["responses"]
        assert str(response.status) in documented, f"{method} {path}: {response}"
        self.check_answer(response, self.response(method, path, response.status))

    def check_parameters(self, method, path, query, body, headers):
        """What is sent is documented, and as documented; for requests that mean to be good."""
        form = parse_qsl((body or b"").decode(), keep_blank_values=True, strict_parsing=bool(body))
        asked = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        for where, sent in (("form", form), ("query", asked)):
            known = self.parameters(method, path, where)
            for name, value in sent:
                assert name in known, f"{method} {path}: {name} is not documented ({where})"
                schema = known[name] if where == "form" else known[name]["schema"]
                self.valid(value, schema, name)
        named = {name.lower() for name, _ in headers} - {"authorization", "content-type", "accept"}
        known = {name.lower() for name in self.parameters(method, path, "header")}
        assert named <= known, f"{method} {path}: {named - known} not documented"


REASON = re.compile(r'X\((\w+),\s*"(\w+)",\s*(\d+),\s*"(\w*)",\s*(\d+),\s*((?:"[^"]*"\s*)+)\)')
ROUTE = re.compile(r'\{"(/[^"]*)", "([A-Z]+)", "([A-Z, ]+)",(.*?)\.handle = (\w+)\}', re.S)


@dataclass(frozen=True)
class Reason:
    """A row of the table of reasons."""

    name: str
    code: str
    status: int
    error: str
    retry_after: int
    description: str


def source(name):
    return (ROOT / name).read_text()


def reason_table():
    """All reasons that the daemon knows, by code."""
    text = source("lib/reason.h").replace("\\\n", "\n")
    rows = [
        Reason(
            name, code, int(status), error, int(retry), "".join(re.findall('"([^"]*)"', words))
        )
        for name, code, status, error, retry, words in REASON.findall(text)
    ]
    table = text[text.index("define REASON_TABLE") : text.index("enum reason {")]
    assert len(rows) == table.count("X("), "a row was not understood"
    return {row.code: row for row in rows}


@dataclass(frozen=True)
class Route:
    path: str
    method: str
    allow: str
    flags: frozenset
    handler: str


def route_table():
    """All routes of the daemon."""
    text = source("daemon/api.c")
    begin = text.index("routes[] = {")
    table = text[begin : text.index("\n};", begin)]
    routes = [
        Route(path, method, allow, frozenset(re.findall(r"\.(\w+) = true", flags)), handler)
        for path, method, allow, flags, handler in ROUTE.findall(table)
    ]
    assert len(routes) == table.count(".handle"), "a route was not understood"
    return routes


def reasons_in(*names):
    """The codes of the reasons that these sources mention."""
    by_name = {row.name: row.code for row in reason_table().values()}
    found = set()
    for name in names:
        words = set(re.findall(r"\bREASON_(\w+)", source(name)))
        found |= {by_name[word] for word in words & set(by_name)}
    return found


def parameter_table():
    """All parameters that the daemon reads."""
    return set(re.findall(r'\[PARAMETER_\w+\] = NAME\("(\w+)"\)', source("lib/parameters.c")))


def media_type(value):
    message = Message()
    message["Content-Type"] = value
    return message.get_content_type()

