# SPDX-License-Identifier: MIT
"""Every limit has a name, a counter and a test at the limit: the options and the headers are walked,
and what has none of these is named here."""

import re

import pytest

import expect
from harness import ROOT, ask_bytes
from scrape import scrape
from test_options import TABLES
from wire import Fleet

# Option → what tells how much there may be (None: each answer tells it by itself), what counts those
# that it kept out, and the test at the limit.
OPTIONS = {
    "max_connections": (
        "egain_tokend_max_connections",
        ("egain_tokend_connections_refused_total", "limit"),
        ("system/test_bad_input.py", "test_the_limit_is_exact"),
    ),
    "max_waiters": (
        "egain_tokend_max_waiters",
        ("egain_tokend_limit_refusals_total", "waiters"),
        ("system/test_single_flight.py", "test_waiters"),
    ),
    "max_waiters_per_flight": (
        None,
        ("egain_tokend_limit_refusals_total", "waiters_per_flight"),
        ("system/test_single_flight.py", "test_waiters_per_flight"),
    ),
    "max_flights": (
        "egain_tokend_max_flights",
        ("egain_tokend_limit_refusals_total", "flights"),
        ("system/test_single_flight.py", "test_flights"),
    ),
    "max_memories": (
        "egain_tokend_max_memories",
        ("egain_tokend_memories_evicted_total", None),
        ("unit/test-memory.c", "the_cap_is_reached_and_never_passed"),
    ),
    "max_entries": (
        "egain_tokend_cache_max_entries",
        ("egain_tokend_cache_evictions_total", None),
        ("unit/test-cache.c", "the_cap_on_entries_is_reached_and_never_passed"),
    ),
    "max_memory": (
        "egain_tokend_cache_max_bytes",
        ("egain_tokend_cache_evictions_total", None),
        ("unit/test-cache.c", "the_cap_on_bytes_is_reached_and_never_passed"),
    ),
    "max_in_flight": (
        None,
        ("egain_tokend_fetches_in_flight", None),
        ("system/test_single_flight.py", "test_per_token_url"),
    ),
    "max_in_flight_total": (
        "egain_tokend_max_fetches_in_flight",
        ("egain_tokend_fetches_in_flight", None),
        ("system/test_single_flight.py", "test_all_together"),
    ),
    "max_token_size": (
        None,
        ("egain_tokend_fetches_begun_total", None),
        ("unit/test-answer.c", "the_longest_token_passes_and_a_byte_more_does_not"),
    ),
    "max_response_size": (
        None,
        ("egain_tokend_fetches_begun_total", None),
        ("system/test_issuer_answers.py", "test_response_size"),
    ),
    "max_records": (
        "egain_tokend_audit_queued",
        ("egain_tokend_audit_records_dropped_total", None),
        ("unit/test-audit.c", "each_queue_is_bounded_and_drops_are_told_later"),
    ),
}

# Of the headers: what no test names as it is written there, and the test at the limit.
NAMED_OTHERWISE = {
    "API_BODY_MAX_BYTES": ("system/test_bad_input.py", "test_a_body_over_32_kib"),
    "API_HEADER_TOKEN_MAX_BYTES": ("system/test_authorize.py", "test_large_heads"),
    "BROKER_PAGE_MAX": ("system/test_admin.py", "test_a_page_is_as_long_as_was_said"),
    "CONFIG_NAME_MAX_BYTES": ("unit/test-config.c", "name"),
    "CREDENTIAL_ADDRESS_NAMES_MAX": ("unit/test-credential-address.c", "test_length"),
    "INHERIT_MAX": ("system/test_inherit.py", "test_too_many"),
    "LISTEN_LINGER_MAX": ("system/test_exhaustion_limits.py", "test_more_are_turned_away_at_once"),
    "REQUEST_FIELDS_MAX": ("unit/test-request-fields.c", "cmocka_unit_test"),
    "SNAPSHOT_HOLDS_MAX": ("unit/test-snapshot.c", "hold"),
}
# Room that is made to measure for what is written into it, or cuts it.
ROOM = {
    "AUDIT_RECORD_MAX_BYTES",
    "DESCRIBE_MAX_BYTES",
    "LOG_RENDER_MAX_BYTES",
    "NOTIFY_STATUS_MAX_BYTES",
    "RELOAD_CHANGES_MAX_BYTES",
    "RENDER_CACHE_STATUS_MAX_BYTES",
}
# Whose limit is not reached in a test: notes to the log, which are counted where they are lost
# (egain_tokend_notes_lost_total), and groups of a user on the command line of --explain.
NOT_REACHED = {"NOTES_MAX", "EXPLAIN_GROUPS_MAX"}


def has_test(where):
    file, name = where
    return name in (ROOT / "tests" / file).read_text()


def test_every_option_that_is_a_limit_is_here():
    found = {option for options in TABLES.values() for option in options if option[:4] == "max_"}
    assert found == set(OPTIONS)


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_an_option(daemon, option):
    gauge, (counter, label), where = OPTIONS[option]
    metrics = scrape(daemon)
    assert gauge is None or gauge in metrics.types
    assert counter in metrics.types
    if label:
        labels = [dict(labels) for labels in metrics.all(counter)]
        assert any(label in values.values() for values in labels), labels
    assert has_test(where), where


def header_limits():
    headers = [*(ROOT / "lib").glob("*.h"), *(ROOT / "daemon").glob("*.h")]
    pattern = r"^#define +(\w+_(?:MAX|MAX_BYTES|SLOTS))\b"
    return {
        name for path in headers for name in re.findall(pattern, path.read_text(), re.MULTILINE)
    }


def test_every_limit_of_the_headers_has_a_test():
    sources = [
        path.read_text()
        for folder in ("unit", "scenario", "fuzz", "system")
        for path in (ROOT / "tests" / folder).iterdir()
        if path.suffix in (".c", ".h", ".py") and path.name != "test_exhaustion_limits.py"
    ]
    named = {
        name
        for name in header_limits()
        if any(re.search(rf"\b{name}\b", source) for source in sources)
    }
    listed = set(NAMED_OTHERWISE) | ROOM | NOT_REACHED
    assert header_limits() - named - listed == set()
    assert listed <= header_limits()  # none that is gone
    for name, where in NAMED_OTHERWISE.items():
        assert has_test(where), name


def test_more_are_turned_away_at_once_than_are_kept_for_it(start_daemon):
    """Each is told so, though the oldest of 64 gives way to the next."""
    daemon = start_daemon(limits={"max_connections": 16})
    with Fleet(daemon.unix, 16) as fleet:
        for response in fleet.send(ask_bytes("pa")).collect():
            expect.token(response, "pa")
        with Fleet(daemon.unix, 200) as late:
            for response in late.collect():
                expect.unavailable(response)
        for response in fleet.send(ask_bytes("pa")).collect():
            expect.hit(response, "pa")
        refused = fleet.connections[0].request("GET", "/metrics").body.decode()
        assert re.search(r'connections_refused_total\{cause="limit"\} 200\n', refused)
