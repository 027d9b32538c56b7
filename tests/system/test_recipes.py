# SPDX-License-Identifier: MIT
"""The recipes in doc/, taken from there and run against the daemon.

What needs a compiler or a library that is not installed is skipped, with the reason. NODE_MODULES
may name a folder with the npm packages of the recipes for Node.
"""

import functools
import importlib.util
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import expect
from harness import BUILD, PORTAL, ROOT, TOKEND, environment, scratch_directory
from recipes import addressed, blocks, build, run

SUBJECTS = ("pa", "anna smith", "a&subject_userid=b", "50%41+x", "Zoë \"q\" 'r' \\ $HOME")
GOCODE = Path("/usr/share/gocode")


def needs_program(*names):
    for name in names:
        if not shutil.which(name):
            pytest.skip(f"there is no {name}")


def python(folder, text):
    (folder / "recipe.py").write_text(text)
    return ["/usr/bin/python3", "-I", folder / "recipe.py"]


def python_with(module, folder, text):
    if not importlib.util.find_spec(module):
        pytest.skip(f"there is no Python module {module}")
    return python(folder, text)


def node(folder, text):
    needs_program("node")
    (folder / "recipe.mjs").write_text(text)
    return ["node", folder / "recipe.mjs"]


def node_with(package, folder, text):
    modules = Path(os.environ.get("NODE_MODULES", "/nowhere"))
    if not (modules / package).is_dir():
        pytest.skip(f"NODE_MODULES names no folder with the npm package {package}")
    (folder / "node_modules").symlink_to(modules)
    return node(folder, text)


def go(folder, text):
    needs_program("go")
    if "golang.org/x/oauth2" in text and not (GOCODE / "src/golang.org/x/oauth2").is_dir():
        pytest.skip("golang-golang-x-oauth2-dev is not installed")
    (folder / "recipe.go").write_text(text)
    env = {"GO111MODULE": "off", "GOPATH": str(GOCODE), "GOCACHE": str(folder / "cache")}
    build(["go", "vet", "recipe.go"], folder, **env)
    build(["go", "build", "-o", "recipe", "recipe.go"], folder, **env)
    return [folder / "recipe"]


def java(folder, text):
    needs_program("java", "javac")
    name = re.search(r"public class (\w+)", text)[1]
    (folder / f"{name}.java").write_text(text)
    build(["javac", "-Xlint:all,-serial", "-Werror", f"{name}.java"], folder)
    return ["java", "-cp", folder, name]


def shell(folder, text):
    (folder / "recipe").write_text(text)
    return ["/bin/sh", folder / "recipe"]


# Each a program that prints a token for the user that it is given: file, language, heading, which
# block, and how it is made to run.
UNIX = "Over the Unix socket, with nothing but"
PROGRAMS = {
    "python": ("python.md", "python", f"{UNIX} the standard library", python),
    "requests-oauthlib": (
        "python.md",
        "python",
        "requests-oauthlib",
        functools.partial(python_with, "requests_oauthlib"),
    ),
    "authlib": ("python.md", "python", "Authlib", functools.partial(python_with, "authlib")),
    "node": ("node.md", "js", f"{UNIX} Node", node),
    "fetch": ("node.md", "js", "fetch", node),
    **{
        package: ("node.md", "js", package, functools.partial(node_with, package))
        for package in ("simple-oauth2", "openid-client", "oauth4webapi")
    },
    "go": ("go.md", "go", "net/http, over the Unix socket", go),
    "x/oauth2": ("go.md", "go", "golang.org/x/oauth2", go),
    "java.net.http": ("java.md", "java", "java.net.http, over TCP", java),
    "java.nio": ("java.md", "java", "java.nio, over the Unix socket", java),
    "shell": ("shell.md", "sh", "The bare token", shell),
}


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request, daemon_process):
    """The program of a recipe: a function of a user's name."""
    recipe, language, under, make = PROGRAMS[request.param]
    folder = scratch_directory()
    try:
        text = addressed(blocks(recipe, language, under)[0], daemon_process)
        command = make(folder, text)
        yield lambda subject: run([*command, subject])
    finally:
        shutil.rmtree(folder)


class TestProgram:
    def test_gives_the_token_of_whom_it_is_asked_for(self, program, daemon, issuer):
        for subject in SUBJECTS:
            answer = program(subject)
            assert answer.returncode == 0, answer
            expect.claims(answer.stdout.rstrip("\n"), subject)
            expect.hit(daemon.ask(subject), subject)

    def test_says_that_the_subject_is_unknown(self, program, daemon, issuer, subject):
        issuer.behave(error="invalid_grant")
        answer = program(f"unknown-{subject}")
        assert answer.returncode != 0
        said = answer.stdout + answer.stderr
        assert "does not know the subject" in said or "400" in said or "invalid_grant" in said, said
        assert "eyJ" not in said

    def test_says_that_the_issuer_is_down(self, program, daemon, issuer, subject):
        issuer.behave(status=500, body="", count=3)
        answer = program(f"down-{subject}")
        assert answer.returncode != 0
        said = answer.stdout + answer.stderr
        assert "503" in said or "temporarily_unavailable" in said, said


def module_of(daemon, recipe, under, block=0):
    """A Python program of a recipe as a module."""
    namespace = {"__name__": "recipe"}
    text = addressed(blocks(recipe, "python", under)[block], daemon)
    exec(compile(text, recipe, "exec"), namespace)
    return SimpleNamespace(**namespace)


class TestPython:
    @pytest.fixture
    def recipe(self, daemon):
        return module_of(daemon, "python.md", f"{UNIX} the standard library")

    def test_kinds_of_subjects(self, recipe, subject):
        for kind in ("username", "userid", "email"):
            token = recipe.access_token(**{f"subject_{kind}": subject})
            expect.claims(token, subject, kind)
        expect.claims(recipe.access_token("client_credentials"), PORTAL.client_id, "application")

    def test_errors(self, recipe, issuer, subject):
        issuer.behave(error="invalid_grant", count=1)
        with pytest.raises(recipe.TokenError) as caught:
            recipe.access_token(subject_username=f"unknown-{subject}")
        failure = caught.value
        assert (failure.status, failure.error, failure.retry_after) == (400, "invalid_grant", None)
        issuer.behave(status=500, body="", count=3)
        with pytest.raises(recipe.TokenError) as caught:
            recipe.access_token(subject_username=f"down-{subject}")
        assert caught.value.status == 503 and caught.value.retry_after >= 1

    def test_a_token_that_the_api_refuses(self, recipe, issuer, subject):
        """Called with another one, once; and at the cost of one request to the issuer."""
        calls = []

        def call(token):
            calls.append(token)
            return SimpleNamespace(status=401 if len(calls) == 1 else 200)

        assert recipe.call_api(call, subject_username=subject).status == 200
        assert len(set(calls)) == 2 and issuer.requests() == 2
        # No token of the daemon's helps where the API refuses all of them.
        assert recipe.call_api(call, subject_username=subject).status == 200
        assert len(calls) == 3 and issuer.requests() == 2


def test_node_calls_an_api_again(daemon, issuer, subject):
    needs_program("node")
    folder = scratch_directory()
    text = addressed(blocks("node.md", "js", f"{UNIX} Node")[0], daemon)
    (folder / "recipe.mjs").write_text(text)
    (folder / "main.mjs").write_text(
        """
        import { callApi, accessToken, TokenError } from "./recipe.mjs";
        const tokens = [];
        const own = await accessToken({ grant_type: "client_credentials" });
        const response = await callApi((token) => {
          tokens.push(token);
          return { status: tokens.length === 1 ? 401 : 200 };
        }, { subject_username: process.argv[2] });
        let failure;
        try {
          await accessToken({ subject_username: "" });
        } catch (error) {
          failure = error;
        }
        console.log(JSON.stringify({
          own,
          status: response.status,
          tokens: new Set(tokens).size,
          failure: [failure instanceof TokenError, failure.status, failure.error],
        }));
        """
    )
    try:
        answer = run(["node", folder / "main.mjs", subject])
    finally:
        shutil.rmtree(folder)
    assert answer.returncode == 0, answer
    said = json.loads(answer.stdout)
    expect.claims(said.pop("own"), PORTAL.client_id, "application")
    assert said == {"status": 200, "tokens": 2, "failure": [True, 400, "invalid_request"]}
    assert issuer.asked_for(subject) == 2


class TestShell:
    @pytest.mark.parametrize("heading, number", [("egain-token", 0), ("The bare token", 1)])
    def test_calling_an_api(self, daemon, issuer, tmp_path, heading, number):
        """What the API would be sent is looked at."""
        script = tmp_path / "call"
        text = blocks("shell.md", "sh", heading)[number]
        script.write_text(text if heading == "egain-token" else addressed(text, daemon))
        seen = tmp_path / "seen"
        curl = tmp_path / "curl"
        # The second curl shows what it was given in place of sending it.
        curl.write_text(
            '#!/bin/sh\ncase "$*" in *--unix-socket*) exec /usr/bin/curl "$@" ;; esac\n'
            f'printf "%s\\n" "$*" >{seen}; cat >>{seen}\n'
        )
        curl.chmod(0o755)
        path = f"{tmp_path}:{BUILD / 'client'}:{os.environ['PATH']}"
        env = environment(PATH=path, EGAIN_TOKEN_SOCKET=daemon.unix)
        answer = run(["/bin/sh", script, "https://api.example/x", "anna smith"], env=env)
        assert answer.returncode == 0, answer
        arguments, header = seen.read_text().rstrip("\n").split("\n")
        assert "https://api.example/x" in arguments and "eyJ" not in arguments
        expect.claims(header.removeprefix("Authorization: Bearer "), "anna smith")
        issuer.behave(error="invalid_grant")
        seen.unlink()
        unknown = f"unknown by {heading}"
        answer = run(["/bin/sh", script, "https://api.example/x", unknown], env=env)
        assert answer.returncode != 0 and not seen.exists(), answer

    def test_as_egain_documents_it(self, daemon):
        (command,) = blocks("shell.md", "sh", "As eGain documents it")
        answer = run(["/bin/sh", "-c", addressed(command, daemon)], env=environment())
        expect.claims(json.loads(answer.stdout)["access_token"], "pa")

    def test_why_there_is_none(self, daemon):
        (command,) = blocks("shell.md", "sh", "Why there is none")
        answer = run(["/bin/sh", "-c", addressed(command, daemon)])
        assert json.loads(answer.stdout)["permitted"] is True


class TestSdk:
    """The functions that eGain's SDKs are given; each call may bring another token."""

    def test_python(self, daemon, issuer, subject):
        recipe = module_of(daemon, "egain-sdk.md", "Python")
        of_one, of_other = recipe.on_behalf_of(subject), recipe.on_behalf_of(f"other {subject}")
        first = of_one()
        expect.claims(first, subject)
        expect.claims(of_other(), f"other {subject}")
        assert of_one() == first and issuer.requests() == 2
        # It is asked for each time: a purge reaches it.
        daemon.request("DELETE", f"/v1/tokens?subject_username={subject}")
        assert of_one() != first and issuer.requests() == 3
        issuer.behave(error="invalid_grant")
        with pytest.raises(RuntimeError, match="400 invalid_grant"):
            recipe.on_behalf_of(f"unknown-{subject}")()

    def test_typescript(self, daemon, issuer, subject):
        """The block is a program in JavaScript, too: it needs no types that are not inferred."""
        needs_program("node")
        folder = scratch_directory()
        text = addressed(blocks("egain-sdk.md", "ts", "TypeScript")[0], daemon)
        (folder / "recipe.mjs").write_text(text)
        (folder / "main.mjs").write_text(
            """
            import { onBehalfOf } from "./recipe.mjs";
            const accessToken = onBehalfOf(process.argv[2]);
            const tokens = [await accessToken(), await accessToken()];
            const failure = await onBehalfOf("")().catch((error) => error.message);
            console.log(JSON.stringify({ tokens, failure }));
            """
        )
        try:
            answer = run(["node", folder / "main.mjs", subject])
        finally:
            shutil.rmtree(folder)
        assert answer.returncode == 0, answer
        said = json.loads(answer.stdout)
        assert said["tokens"][0] == said["tokens"][1] and issuer.requests() == 1
        expect.claims(said["tokens"][0], subject)
        assert said["failure"].startswith("400 invalid_request: ")


class TestSystemd:
    """What is said there to systemd is tried with a real one, see tests/systemd."""

    @pytest.mark.parametrize(
        "heading",
        ["A batch job: the token in a file", "A service that stays: a caller like any other"],
    )
    def test_configuration(self, heading, tmp_path):
        (text,) = blocks("systemd.md", "libconfig", heading)
        secret = tmp_path / "secret"
        secret.touch(0o600)
        secret.write_text("x\n")
        text += f"""
            clients = ( {{ name = "portal"; client_id = "{PORTAL.client_id}";
              client_secret_file = "{secret}"; default_scope = "{PORTAL.default_scope}";
              user_token_url = "https://ai.egain.cloud/x"; }} );"""
        if "listen" not in text:
            text += f'listen = ( {{ unix = "{tmp_path}/s"; }} );'
        # Users and groups of the example that this host need not have.
        text = text.replace('group = "egain-token"', 'group = "root"')
        text = text.replace('user = "crm"', 'user = "root"')
        path = tmp_path / "conf"
        path.touch(0o600)
        path.write_text(text)
        answer = run([TOKEND, "--config", path, "--check-config"])
        assert answer.returncode == 0, answer


def test_the_index_names_every_recipe():
    index = (ROOT / "doc" / "README.md").read_text()
    named = set(re.findall(r"\]\(([\w.-]+)\)", index))
    there = {path.name for path in (ROOT / "doc").iterdir()} - {"README.md"}
    assert named == there
