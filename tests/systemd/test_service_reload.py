# SPDX-License-Identifier: MIT
"""`systemctl reload`: what holds afterwards, what the operator is told, and with which status."""

import time

import pytest

import expect
from harness import ask_bytes
from load import Load
from service import BROKEN, CONFIG, CONFIG_PATH, SERVICE
from wire import eventually

# Root may have "pa" no more, but "new".
OTHER_RULE = CONFIG.replace(
    '"root"; clients = [ "portal" ]; subjects = [ "username:*" ]',
    '"root"; clients = [ "portal" ]; subjects = [ "username:new" ]',
)
OTHER_LISTENER = CONFIG.replace('{ tcp = "localhost:8471"; }', '{ tcp = "localhost:8472"; }')
assert CONFIG not in (OTHER_RULE, OTHER_LISTENER)


@pytest.fixture
def serving(service):
    service.start()
    service.granted("pa")
    return service


def reload(service):
    return service.systemctl("reload", SERVICE, check=False)


def status_shown(service):
    """What `systemctl status` shows, long lines whole."""
    service.machine.run("journalctl", "--sync")
    return service.systemctl("status", "--full", "--no-pager", SERVICE, check=False).stdout


def hang_up(service):
    service.systemctl("kill", "--kill-who=main", "--signal=HUP", SERVICE)


def begin_to_reload(service):
    return service.begin("systemctl", "reload", SERVICE)


def test_of_a_good_one(serving):
    """The status is 0, and the very next request, on an open connection too, meets the new rule."""
    with serving.connect() as opened:
        expect.hit(opened.send(ask_bytes("pa")).receive(), "pa")
        pid = serving.show("MainPID")
        serving.configure(OTHER_RULE)
        done = reload(serving)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        expect.error(opened.send(ask_bytes("pa")).receive(), 403, "access_denied")
    serving.granted("new")
    expect.error(serving.ask("pa"), 403, "access_denied")
    assert serving.show("MainPID") == pid and serving.show("NRestarts") == "0"
    serving.wait_for_status("^serving; 2 tokens")


def test_of_a_bad_one(serving):
    """It fails, says where the mistake is, and all goes on as it was."""
    line = 1 + [line.split(" ")[2:3] for line in BROKEN.splitlines()].index(["defualt_scope"])
    since = serving.cursor()
    serving.configure(BROKEN)
    done = reload(serving)
    assert done.returncode != 0
    # systemctl itself sends the operator there:
    assert f"systemctl status {SERVICE}" in done.stderr, done
    said = f"{CONFIG_PATH}:{line}: "
    assert said in status_shown(serving)
    assert said in serving.journal(since) and "defualt_scope" in serving.journal(since)
    assert serving.show("ActiveState") == "active"
    serving.wait_for_status("^serving; 1 token,")
    expect.hit(serving.ask("pa"), "pa")
    # Corrected, it is taken over.
    serving.configure(OTHER_RULE)
    assert reload(serving).returncode == 0
    serving.granted("new")


def test_of_other_listeners(serving):
    serving.configure(OTHER_LISTENER)
    done = reload(serving)
    assert done.returncode != 0
    shown = status_shown(serving)
    assert f"{CONFIG_PATH}: 'listen' has changed, which needs a restart" in shown, shown
    expect.hit(serving.ask("pa"), "pa")
    assert serving.show("ActiveState") == "active"


def test_while_it_is_stopped(service):
    done = reload(service)
    assert done.returncode != 0 and "not active" in done.stderr, done


def test_several_at_once(serving):
    """A reload while another one runs: each is told, and each by what held when it asked."""
    serving.configure(OTHER_RULE)
    reloads = [begin_to_reload(serving) for _ in range(8)]
    said = [process.communicate(timeout=60)[1] for process in reloads]
    assert [process.returncode for process in reloads] == [0] * 8, said
    serving.granted("new")
    expect.error(serving.ask("pa"), 403, "access_denied")


def test_sighup_in_a_loop(serving):
    """It costs no caller anything, and the last one counts."""
    tokens = {"pa": serving.ask("pa").json()["access_token"]}
    since = serving.cursor()
    pid = serving.show("MainPID")
    with Load(serving.address(), tokens, 100) as load:
        for number in range(100):
            serving.configure(CONFIG + f'drain_timeout = "{1 + number}s";\n')
            hang_up(serving)
        eventually(lambda: load.sent > 100, "callers to have come meanwhile")
    assert not load.failures, load.failures[:5]
    serving.configure(OTHER_RULE)
    hang_up(serving)
    eventually(lambda: serving.ask("pa").status == 403, "the new rule to hold")
    serving.machine.run("journalctl", "--sync")
    text = serving.journal(since)
    # One in the loop and the last one at least; what is sent while a file is read is one.
    assert 2 <= text.count("again; changed: ") <= 101
    assert "not taken over" not in text, text
    assert serving.show("MainPID") == pid and serving.show("ActiveState") == "active"


def test_while_it_waits_for_its_configuration(serving):
    """systemctl waits, too: until the repaired configuration holds."""
    serving.configure(BROKEN)
    assert reload(serving).returncode != 0
    serving.systemctl("restart", "--no-block", SERVICE)
    serving.wait_for_status("waiting for a configuration.*defualt_scope")
    waiting = begin_to_reload(serving)
    time.sleep(1.5)  # through a try
    assert waiting.poll() is None
    serving.configure(OTHER_RULE)
    serving.granted("new")
    said = waiting.communicate(timeout=60)[1]
    assert waiting.returncode == 0, said
    # The restart was warm all the same: what was to be kept waited, too.
    assert "restored 1 tokens" in serving.journal(serving.since)
