# SPDX-License-Identifier: MIT
"""doc/openapi.yaml by itself: that it is OpenAPI 3.1, whole, and agrees with the sources."""

import re

import jsonschema
import pytest

from contract import (
    METHODS,
    Contract,
    media_type,
    parameter_table,
    reason_table,
    reasons_in,
    route_table,
    source,
)

CONTRACT = Contract()
DOCUMENT = CONTRACT.document
REASONS = reason_table()
ROUTES = {(route.method, route.path): route for route in route_table()}
OPERATIONS = {(method, path): operation for method, path, operation in CONTRACT.operations()}

EACH = pytest.mark.parametrize(
    "method, path", [pytest.param(*names, id=" ".join(names)) for names in OPERATIONS]
)

# The members that the objects of OpenAPI 3.1 may have: required ones with a star.
SHAPES = {
    "openapi": "openapi* info* servers paths* components security tags",
    "info": "title* version* summary description license contact",
    "license": "name* identifier url",
    "server": "url* description variables",
    "tag": "name* description",
    "path": "summary description parameters " + " ".join(METHODS),
    "operation": "operationId* summary* description tags* parameters requestBody responses*"
    " security",
    "parameter": "name* in* description* required schema* example",
    "body": "description required content*",
    "media": "schema* example examples",
    "response": "description* headers content",
    "header": "description* required schema* example",
    "example": "summary description value*",
    "components": "schemas responses parameters examples headers securitySchemes",
    "security": "type* scheme description",
}


def shaped(thing, kind):
    """Nothing but what OpenAPI has, but for extensions."""
    words = SHAPES[kind].split()
    assert isinstance(thing, dict), (kind, thing)
    missing = {word[:-1] for word in words if word.endswith("*")} - set(thing)
    unknown = {name for name in thing if not name.startswith("x-")} - {
        word.rstrip("*") for word in words
    }
    assert not missing and not unknown, (kind, missing, unknown, thing)
    return thing


def resolve(thing, kind):
    return shaped(CONTRACT.resolve(thing), kind)


def check_content(content, where):
    for name, media in content.items():
        assert re.fullmatch(r"[a-z]+/[a-z-]+(; [a-z]+=[\w.-]+)*", name), name
        assert media_type(name) == name.split(";")[0]
        shaped(media, "media")
        jsonschema.Draft202012Validator.check_schema(media["schema"])
        for example in media.get("examples", {}).values():
            CONTRACT.valid(resolve(example, "example")["value"], media["schema"], where)


def check_response(response, where):
    response = resolve(response, "response")
    for header in response.get("headers", {}).values():
        header = resolve(header, "header")
        jsonschema.Draft202012Validator.check_schema(header["schema"])
        if "example" in header:
            CONTRACT.valid(header["example"], header["schema"], where)
    check_content(response.get("content", {}), where)


def walk(thing, path=()):
    yield path, thing
    items = enumerate(thing) if isinstance(thing, list) else ()
    for name, part in thing.items() if isinstance(thing, dict) else items:
        yield from walk(part, (*path, str(name)))


class TestItself:
    def test_the_frame(self):
        shaped(DOCUMENT, "openapi")
        assert DOCUMENT["openapi"] == "3.1.0"
        shaped(shaped(DOCUMENT["info"], "info")["license"], "license")
        shaped(DOCUMENT["components"], "components")
        for server in DOCUMENT["servers"]:
            shaped(server, "server")
        for scheme in DOCUMENT["components"]["securitySchemes"].values():
            shaped(scheme, "security")
        tags = {shaped(tag, "tag")["name"] for tag in DOCUMENT["tags"]}
        assert tags == {tag for operation in OPERATIONS.values() for tag in operation["tags"]}

    def test_the_version_is_the_projects(self):
        version = re.search(r"version : '([\d.]+)'", source("meson.build"))[1]
        assert DOCUMENT["info"]["version"] == version

    def test_operation_ids_are_unique(self):
        ids = [operation["operationId"] for operation in OPERATIONS.values()]
        assert len(ids) == len(set(ids))

    @EACH
    def test_an_operation(self, method, path):
        shaped(DOCUMENT["paths"][path], "path")
        operation = shaped(OPERATIONS[method, path], "operation")
        assert operation["x-right"] in ("none", "token", "monitor", "admin")
        # Whoever needs no right needs no key either; and of nginx none is taken.
        keyless = operation["x-right"] == "none" or path == "/v1/authorize"
        assert (operation.get("security") == []) == keyless
        seen = set()
        for parameter in operation.get("parameters", ()):
            parameter = resolve(parameter, "parameter")
            assert parameter["in"] in ("query", "header")
            assert (parameter["in"], parameter["name"]) not in seen
            seen.add((parameter["in"], parameter["name"]))
            jsonschema.Draft202012Validator.check_schema(parameter["schema"])
            CONTRACT.valid(parameter["example"], parameter["schema"], parameter["name"])
        if "requestBody" in operation:
            check_content(shaped(operation["requestBody"], "body")["content"], path)
        for status, response in operation["responses"].items():
            assert re.fullmatch("[2-5][0-9][0-9]", status)
            check_response(response, f"{method} {path} {status}")

    def test_extensions_that_are_answers(self):
        check_response(DOCUMENT["x-other-paths"], "other paths")
        for item in DOCUMENT["paths"].values():
            check_response(item["x-other-methods"], "other methods")
        for response in DOCUMENT["x-malformed-head"].values():
            check_response(response, "malformed head")

    def test_schemas(self):
        for name, schema in DOCUMENT["components"]["schemas"].items():
            jsonschema.Draft202012Validator.check_schema(schema)
            for path, part in walk(schema):
                if isinstance(part, dict) and "required" in part and "properties" in part:
                    assert set(part["required"]) <= set(part["properties"]), (name, path)

    def test_every_reference_leads_somewhere_and_every_component_is_used(self):
        used = set()
        for _, part in walk(DOCUMENT):
            if isinstance(part, dict) and "$ref" in part:
                CONTRACT.resolve(part)
                used.add(part["$ref"])
        used |= {
            f"#/components/securitySchemes/{name}" for one in DOCUMENT["security"] for name in one
        }
        there = {
            f"#/components/{kind}/{name}"
            for kind, components in DOCUMENT["components"].items()
            for name in components
        }
        assert there == used


# Where a reason comes from that an operation can end with. What a handler calls is named by file.
GUARD = {"from_browser", "forwarded", "bad_host"}
EVERYWHERE = GUARD | {"unclear_end", "body_too_large", "connections_full"}
EVERYWHERE |= {"uid_connections_full", "out_of_memory"}
NOWHERE = {
    # No path, or none with this method: documented beside the operations.
    *("not_found", "bad_method"),
    # On the socket for credentials alone, which does not speak HTTP.
    *("not_systemd", "other_unit", "no_credential"),
    # Whoever would be told has hung up.
    "caller_gone",
    # A detail of a token, no error.
    "issuer_repeats_token",
}
PARSING = reasons_in(
    "lib/parameters.c", "lib/request.c", "lib/request-basic.c", "lib/form.c", "lib/scope.c", "lib/subjecttoken.c"
)
OF_PAGES = {"bad_limit", "bad_after"}
# Of nothing but token exchange, which is asked for in forms alone.
OF_EXCHANGE = reasons_in("lib/subjecttoken.c") | {"exchange_parameter", "bad_requested_token_type"}
OF_EXCHANGE |= {"missing_registration_id", "bad_registration_id", "subject_token_expired"}
OF_GRANTS = {"missing_grant_type", "unsupported_grant_type", "missing_subject"}
OF_GRANTS |= {"unwanted_subject", "exchange_in_query"} | OF_EXCHANGE
FILTER = PARSING - OF_GRANTS
MONITOR = {"not_permitted", "bad_key", "peer_gone", "monitor_not_permitted"}
ADMIN = {"not_permitted", "bad_key", "peer_gone", "admin_not_permitted"}
RIGHTS = {"monitor_not_permitted", "admin_not_permitted"}
JUDGING = (reasons_in("lib/policy.c", "lib/client.c") - RIGHTS) | {"no_token_url", "missing_scope"}
JUDGING |= {"anonymous_client"}
# Of nothing but administration.
OF_ADMINISTRATION = {"missing_filter", "purges_full", "config_not_taken_over"} | RIGHTS | OF_PAGES
# All others are of requests for tokens, so that a new one must be documented there, or named above.
OF_FIELDS = reasons_in("lib/request-fields.c") - PARSING
OF_FIELDS |= {"odd_head", "unread_query", "long_token"}
OF_HEAD = {"no_metadata_header", "bad_content_type"}
OF_TOKENS = set(REASONS) - NOWHERE - OF_ADMINISTRATION - OF_FIELDS - OF_HEAD
OF_FORMS = {"missing_grant_type"} | OF_EXCHANGE
# What cannot be said in a header field: how it is encoded, grants, rejected tokens, HTTP Basic.
NO_FIELD = {"malformed_escape", "bad_rejected_token", "rejected_again", "bad_authorization"}
NO_FIELD |= {"ambiguous_client", "unsupported_grant_type", "unwanted_subject"} | OF_FORMS
NO_FIELD |= {"exchange_in_query", "subject_token_in_query"}

EXPECTED = {
    ("POST", "/oauth2/token"): (OF_TOKENS - {"exchange_in_query"}) | {"bad_content_type"},
    ("GET", "/v1/token"): (OF_TOKENS - OF_FORMS) | {"no_metadata_header"},
    ("GET", "/v1/authorize"): (OF_TOKENS - NO_FIELD) | OF_FIELDS | {"no_metadata_header"},
    ("GET", "/v1/explain"): (PARSING - OF_PAGES - OF_FORMS) | JUDGING,
    ("GET", "/v1/tokens"): FILTER | ADMIN | {"unknown_client"},
    ("DELETE", "/v1/tokens"): FILTER
    | ADMIN
    | {"unknown_client", "missing_filter"}
    | reasons_in("lib/broker-admin.c"),
    ("POST", "/v1/reload"): ADMIN
    | {"bad_authorization", "shutting_down", "config_not_taken_over"},
    ("GET", "/metrics"): FILTER | MONITOR,
    ("GET", "/v1/status"): FILTER | MONITOR,
    ("GET", "/healthz"): set(),
    ("GET", "/readyz"): {"shutting_down"},
    ("GET", "/.well-known/oauth-authorization-server"): set(),
}


class TestAgainstTheSources:
    def test_operations_are_the_routes(self):
        assert set(OPERATIONS) == set(ROUTES)

    @pytest.mark.parametrize("path", DOCUMENT["paths"])
    def test_methods(self, path):
        """What Allow says is what is documented, and there is no value of it documented in vain."""
        methods = sorted(method for method, other in OPERATIONS if other == path)
        allows = {route.allow for route in ROUTES.values() if route.path == path}
        (allow,) = allows
        assert sorted(allow.split(", ")) == methods
        schema = DOCUMENT["components"]["headers"]["Allow"]["schema"]
        assert set(schema["enum"]) == {route.allow for route in ROUTES.values()}

    @EACH
    def test_reasons(self, method, path):
        """Exactly those are documented that the sources can end this operation with."""
        documented = list(CONTRACT.reasons(method, path))
        codes = [code for _, code in documented]
        assert len(codes) == len(set(codes))
        assert set(codes) == EXPECTED[method, path] | EVERYWHERE
        for status, code in documented:
            assert REASONS[code].status == status, code

    @EACH
    def test_errors(self, method, path):
        """Of a status, exactly the values of `error` are documented that its reasons have."""
        for status in OPERATIONS[method, path]["responses"]:
            response = CONTRACT.response(method, path, status)
            expected = {REASONS[code].error for code in response.get("x-reasons", ())}
            if expected - {""}:
                assert CONTRACT.errors(response) == expected, status
                retry = response["headers"].get("Retry-After")
                promised = bool(retry and CONTRACT.resolve(retry).get("required"))
                assert promised == all(
                    REASONS[code].retry_after > 0 for code in response["x-reasons"]
                )
            else:
                assert status in ("200", "204", "409")

    def test_reasons_beside_the_operations(self):
        responses = [CONTRACT.resolve(DOCUMENT["x-other-paths"])]
        responses += [CONTRACT.other_methods(path) for path in DOCUMENT["paths"]]
        codes = {code for response in responses for code in response["x-reasons"]}
        assert codes == {"not_found", "bad_method"}
        for code in codes:
            assert REASONS[code].error == "invalid_request"

    def test_every_reason_is_somewhere(self):
        documented = {
            code for method, path in OPERATIONS for _, code in CONTRACT.reasons(method, path)
        }
        assert documented == set(REASONS) - NOWHERE

    @EACH
    def test_flags(self, method, path):
        flags = ROUTES[method, path].flags
        assert ("metadata" in flags) == ("Metadata" in CONTRACT.parameters(method, path, "header"))
        fields = any(name.startswith("X-") for name in CONTRACT.parameters(method, path, "header"))
        assert ("fields" in flags) == fields
        assert ("form" in flags) == bool(CONTRACT.parameters(method, path, "form"))
        assert ("token" in flags) == (path in ("/oauth2/token", "/v1/token", "/v1/authorize"))

    def test_parameters(self):
        """All that the daemon reads is documented, but for what it reads to wipe it."""
        documented = set()
        for method, path in OPERATIONS:
            for where in ("query", "form"):
                documented |= set(CONTRACT.parameters(method, path, where))
        assert documented == parameter_table() - {"username", "password"}
        form = set(CONTRACT.parameters("POST", "/oauth2/token", "form"))
        assert form == documented - {"limit", "after"}
        begin = source("lib/parameters.h").index("PARAMETER_SUBJECT_TOKEN, /*")
        names = re.findall(r"\bPARAMETER_(\w+),", source("lib/parameters.h")[begin:].split("}")[0])
        form -= {name.lower() for name in names}
        assert set(CONTRACT.parameters("GET", "/v1/token")) == form
        assert set(CONTRACT.parameters("GET", "/v1/explain")) == form

    def test_fields(self):
        """The header fields that are read as parameters are those of the sources."""
        fields = re.findall(r'\{"(X-Egain-[\w-]+)", "\w+"\}', source("lib/request-fields.c"))
        documented = CONTRACT.parameters("GET", "/v1/authorize", "header")
        assert set(documented) == {"Metadata", *fields}
