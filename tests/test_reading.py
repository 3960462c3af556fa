"""A reading that one answer cannot hold: behind the real client, against a double that gives up at random."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from threading import Lock
from time import sleep

import pytest
from azure.core.pipeline.transport import RequestsTransport
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detection.errors import Incomplete
from detection.events import Events, Logs
from detection.kql import bounds, queries, with_bounds
from detection.matches import Matches, slices
from detection.matches import read as matches_in
from detection.record import Seen
from detection.rule import Rule, default_rule, load_rule, rule_names
from detection.sources import answer, hoard, log_analytics, reading
from detection.sources.log_analytics import LogAnalytics, open_log_analytics
from detection.timestamps import iso
from detection.window import windows
from tests.query_api import Body, QueryApi, Reply, error, partial, query_api, reply, tables_of
from tests.rule_world import MOMENT, random_world, write

# The rules over the tables that the golden logs have.
RULES = {name: rule for name in rule_names() if "OpenAIAuditLogs_CL" in (rule := load_rule(name)).tables}
RULE = load_rule(default_rule())
STRETCH = windows(MOMENT, None, RULE)
WORKSPACE = "4f1c2a6e-0b5d-4a57-9a2e-3f9d5d0c7b11"
CUT = 12  # rows after which the double cuts its answers off
LET = re.compile(r"let (\w+)_(after|until) = datetime\(([^)]+)\);")
TIMEOUT = error(504, "GatewayTimeout", "The gateway did not receive a response in time")

BROKEN = Reply(200, b'{"tables": [', {"Content-Type": "application/json", "Content-Encoding": "gzip"})

Answer = Callable[[str], Reply]


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryApi]:
    folder = write(random_world(seed=8, actors=120), tmp_path_factory.mktemp("logs"))
    with tables_of(folder, RULE.tables) as tables, query_api(tables) as api:
        yield api


@pytest.fixture
def api(listening: QueryApi, monkeypatch: pytest.MonkeyPatch) -> QueryApi:
    """The double at MOMENT and without faults, and a client that does not sleep."""
    listening.reset()
    listening.moment = MOMENT
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, _seconds: None)
    return listening


@pytest.fixture
def source(api: QueryApi) -> Iterator[LogAnalytics]:
    source = open_log_analytics([WORKSPACE], api.endpoint, None)
    yield source
    source.close()


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer has fewer than CUT rows."""
    monkeypatch.setattr(answer, "ROW_LIMIT", CUT)


def read(source: LogAnalytics, rule: Rule = RULE) -> Logs:
    return source.read(rule, windows(MOMENT, None, rule))


def side_of(query: str) -> str:
    """Which of the four queries it is."""
    if "summarize Rows" in query:
        return "health"
    if "summarize Identities" in query:
        return "coverage"
    return "signals" if "let signals =" in query else "changes"


def asked(api: QueryApi, name: str) -> list[dict[str, str]]:
    """The bounds of every request for a side, in their order."""
    queries = [one.query for one in api.requests if side_of(one.query) == name]
    return [{f"{side}_{end}": time for side, end, time in LET.findall(query)} for query in queries]


def cut(body: Body, whims: Random) -> Body:
    """A long answer cut off: in part, or at the limit of rows, or in the midst of them."""
    (table,) = body["tables"]
    if len(table["rows"]) < CUT:
        return body
    kept = {"tables": [table | {"rows": table["rows"][:CUT]}]}
    torn = {"tables": [table | {"rows": [*table["rows"][:3], []]}]}
    return whims.choice((partial(kept), kept, torn))


def slicing(api: QueryApi, rule: Rule, seed: int) -> Answer:
    """Answers for any slice of the stamps from what the KQL returns for all of them, cut off and giving up at random."""
    whims = {name: Random(f"{name} {seed}") for name in rule.sequence.sides}  # each in a thread of its own
    rows: dict[str, Body] = {}
    for name, text in queries(rule).items():
        rows[name] = json.loads(api.answer(with_bounds(text, bounds(windows(MOMENT, None, rule)))).body)

    def answer(query: str) -> Reply:
        name = side_of(query)
        if name in ("health", "coverage"):
            return reply(rows[name])
        (table,) = rows[name]["tables"]
        stamped = [column["name"] for column in table["columns"]].index(rule.sequence.sides[name].stamped)
        ends = {end: datetime.fromisoformat(time) for side, end, time in LET.findall(query) if side == name}
        if ends["until"] - ends["after"] > timedelta(seconds=2) and whims[name].random() < 0.1:
            return TIMEOUT
        inside = [
            row
            for row in table["rows"]
            if ends["after"] < datetime.fromisoformat(row[stamped]) <= ends["until"]
        ]
        return reply(cut({"tables": [table | {"rows": inside}]}, whims[name]))

    return answer


def plain(events: Events) -> list[object]:
    """Everything of the events, in an order that does not depend on that of the rows."""
    parts = (events.inside, events.too_late, events.waiting)
    return [
        sorted((*event[:3], sorted(map(str, (event.row, *event.copies)))) for event in part) for part in parts
    ]


# ------------------------------------------------------------------------------------------------------------ halves


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", RULES)
def test_every_row_is_read_once_wherever_the_service_gives_up(
    api: QueryApi, source: LogAnalytics, seed: int, name: str
) -> None:
    rule = RULES[name]
    expected = read(source, rule)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api, "answer", slicing(api, rule, seed))
        patched.setattr(answer, "ROW_LIMIT", CUT)
        patched.setattr(reading, "REQUESTS", 10_000)
        found = read(source, rule)

    assert plain(found.changes) == plain(expected.changes)
    assert plain(found.signals) == plain(expected.signals)
    assert (found.health, found.rejected) == (expected.health, expected.rejected)


@pytest.mark.parametrize("name", ["changes", "signals", "health"])
def test_query_that_takes_too_long_is_answered_in_halves(
    api: QueryApi, source: LogAnalytics, name: str
) -> None:
    expected = read(source)
    whole = with_bounds(queries(RULE)[name], bounds(STRETCH))
    api.fault = lambda request: TIMEOUT if request.query == whole else None
    found = read(source)

    assert plain(found.changes) == plain(expected.changes)
    assert plain(found.signals) == plain(expected.signals)
    assert (found.health, found.rejected) == (expected.health, expected.rejected)


def test_what_fits_is_asked_once(api: QueryApi, source: LogAnalytics) -> None:
    read(source)
    assert len(api.requests) == 4


def test_slices_adjoin_and_reach_as_far_as_the_whole(
    api: QueryApi, source: LogAnalytics, limited: None
) -> None:
    api.amend = lambda body: cut(body, Random(1))
    read(source)
    slices = [(one["signals_after"], one["signals_until"]) for one in asked(api, "signals")]
    edges = sorted({edge for one in slices for edge in one})
    assert slices[0] == (edges[0], edges[-1])
    assert len(edges) > 4
    assert set(pairwise(edges)) <= set(slices)


def test_every_slice_of_signals_has_all_changes_in_its_semi_join(
    api: QueryApi, source: LogAnalytics, limited: None
) -> None:
    api.amend = lambda body: cut(body, Random(1))
    read(source)
    semi_joined = {(one["changes_after"], one["changes_until"]) for one in asked(api, "signals")}
    assert semi_joined == {(iso(STRETCH.changes.after), "2100-01-01T00:00:00Z")}


def test_what_is_cut_off_within_a_second_fails_the_run(api: QueryApi, source: LogAnalytics) -> None:
    api.amend = lambda body: partial(body) if body["tables"][0]["rows"] else body
    with pytest.raises(Incomplete, match="answered in part"):
        read(source)


def test_answer_whose_connection_breaks_is_asked_again_in_halves(api: QueryApi, source: LogAnalytics) -> None:
    expected = read(source)
    whole = with_bounds(queries(RULE)["signals"], bounds(STRETCH))
    api.fault = lambda request: BROKEN if request.query == whole else None
    assert plain(read(source).signals) == plain(expected.signals)


# ----------------------------------------------------------------------------------------------------------- budgets


def test_no_more_than_five_are_asked_at_once(api: QueryApi, source: LogAnalytics, limited: None) -> None:
    at_once, most, lock, whole = 0, 0, Lock(), api.answer

    def counting(query: str) -> Reply:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        sleep(0.05)
        try:
            return whole(query)
        finally:
            with lock:
                at_once -= 1

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api, "answer", counting)
        api.amend = lambda body: cut(body, Random(1))
        read(source)
    assert 1 < most <= 5


def test_a_reading_has_no_more_requests_than_the_api_takes_in_half_a_minute() -> None:
    assert reading.REQUESTS == 200


def test_a_reading_ends_in_time_to_commit() -> None:
    host = json.loads((Path(__file__).parents[1] / "host.json").read_text(encoding="utf-8"))
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    longest = reading.BUDGET + log_analytics.CONNECT_TIMEOUT + log_analytics.READ_TIMEOUT
    assert longest <= (hours * 60 + minutes) * 60 + seconds - 120


def test_reading_that_needs_more_requests_fails(
    api: QueryApi, source: LogAnalytics, limited: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "REQUESTS", 5)
    api.amend = lambda body: cut(body, Random(1))
    with pytest.raises(Incomplete, match="5 requests"):
        read(source)
    assert len(api.requests) == 5


def test_reading_that_needs_more_time_fails(source: LogAnalytics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BUDGET", 0)
    with pytest.raises(Incomplete, match="0 seconds"):
        read(source)


# ------------------------------------------------------------------------------------------------------------ slices


def in_slices(source: LogAnalytics, monkeypatch: pytest.MonkeyPatch) -> list[Matches]:
    monkeypatch.setattr(hoard, "SLICE", CUT)
    return list(slices(RULE, STRETCH, source))


def test_slices_hold_what_the_whole_holds(source: LogAnalytics, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = matches_in(RULE, STRETCH, source)
    found = in_slices(source, monkeypatch)
    assert len(found) > 3
    assert not any(one.whole for one in found)
    rows = sorted(line for one in found for line in one.lines())
    assert rows == sorted(expected.lines())
    seen, whole = seen_in(found), seen_in([expected])
    assert replace(seen, slices=1) == whole


def seen_in(found: Sequence[Matches]) -> Seen:
    seen = Seen(RULE, STRETCH)
    for one in found:
        seen.add(one.logs, one.chains)
    return seen


def test_an_actor_is_in_one_slice(source: LogAnalytics, monkeypatch: pytest.MonkeyPatch) -> None:
    found = in_slices(source, monkeypatch)
    times = Counter(actor for one in found for actor in {event.actor for event in one.logs.signals.read})
    assert set(times.values()) == {1}
