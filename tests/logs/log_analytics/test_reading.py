"""A reading that one answer cannot hold: behind the real client, against a double that gives up at random."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from random import Random
from threading import Barrier, Lock
from weakref import ReferenceType, ref

import pytest
from azure.core.pipeline.transport import RequestsTransport
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detection.base.errors import Incomplete
from detection.base.timestamps import iso
from detection.correlation.detection import Detection, correlate_logs
from detection.correlation.detection import detect as matches_in
from detection.logs.events import Events, Logs
from detection.logs.kql import HEALTH_COLUMNS, bounds, queries, with_bounds
from detection.logs.log_analytics import client, spill
from detection.logs.log_analytics.answers import AnswerTable
from detection.logs.log_analytics.client import LogAnalytics, open_log_analytics
from detection.logs.log_analytics.reading import LIMITS, Limits, Reading
from detection.logs.log_analytics.splitting import QueryUnfinished
from detection.logs.source import read_slices
from detection.logs.window import plan_windows
from detection.rules.loading import default_rule, load_rule, rule_names
from detection.rules.model import Rule
from detection.runs.record import RunStats
from tests.support.query_api import Body, QueryApi, Reply, error, partial, query_api, reply, tables_of
from tests.support.rule_world import MOMENT, random_world, write

# The rules over the tables that the golden logs have.
RULES = {name: rule for name in rule_names() if "OpenAIAuditLogs_CL" in (rule := load_rule(name)).tables}
RULE = load_rule(default_rule())
WINDOWS = plan_windows(MOMENT, None, RULE)
WORKSPACE = "4f1c2a6e-0b5d-4a57-9a2e-3f9d5d0c7b11"
CUT = 12  # rows after which the double cuts its answers off
FEW_ROWS = Limits(rows=CUT, requests=10_000)
HANG = 60  # seconds after which a test gives up
LET = re.compile(r"let (\w+)_(after|until) = datetime\(([^)]+)\);")
TIMEOUT = error(504, "GatewayTimeout", "The gateway did not receive a response in time")
BROKEN = Reply(200, b'{"tables": [', {"Content-Type": "application/json", "Content-Encoding": "gzip"})
CUT_OFF = reply(partial({"tables": []}))

AnswerFunction = Callable[[str], Reply]
Open = Callable[..., LogAnalytics]


@pytest.fixture(scope="module")
def shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryApi]:
    folder = write(random_world(seed=8, actors=120), tmp_path_factory.mktemp("logs"))
    with tables_of(folder, RULE.tables) as tables, query_api(tables) as api:
        yield api


@pytest.fixture
def api(shared_api: QueryApi, monkeypatch: pytest.MonkeyPatch) -> QueryApi:
    """The double at MOMENT and without faults, and a client that does not sleep."""
    shared_api.reset()
    shared_api.moment = MOMENT
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, _seconds: None)
    return shared_api


@pytest.fixture
def opened(api: QueryApi) -> Iterator[Open]:
    """Opens sources within limits, and closes them after the test."""
    with ExitStack() as sources:

        def open_(limits: Limits = LIMITS, clock: Callable[[], datetime] = lambda: MOMENT) -> LogAnalytics:
            source = open_log_analytics([WORKSPACE], api.endpoint, None, clock, limits=limits)
            sources.callback(source.close)
            return source

        yield open_


@pytest.fixture
def source(opened: Open) -> LogAnalytics:
    return opened()


@pytest.fixture
def cutting(api: QueryApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The double cuts its answers off after CUT rows."""
    monkeypatch.setattr(api, "answer", slicing(api, RULE, seed=1))


def read(source: LogAnalytics, rule: Rule = RULE) -> Logs:
    return source.read(rule, plan_windows(MOMENT, None, rule))


def side_of(query: str) -> str:
    """Which of the four queries it is."""
    if "summarize Rows" in query:
        return "health"
    if "summarize Identities" in query:
        return "coverage"
    return "signals" if "let signals =" in query else "changes"


def requested_bounds(api: QueryApi, name: str) -> list[dict[str, str]]:
    """The bounds of every request for a side, in their order."""
    sent_queries = [request.query for request in api.requests if side_of(request.query) == name]
    return [{f"{side}_{end}": time for side, end, time in LET.findall(query)} for query in sent_queries]


def cut(body: Body, random: Random) -> Body:
    """A long answer cut off: in part, or at the limit of rows, or in the midst of them."""
    (table,) = body["tables"]
    if len(table["rows"]) < CUT:
        return body
    limited = {"tables": [table | {"rows": table["rows"][:CUT]}]}
    torn = {"tables": [table | {"rows": [*table["rows"][:3], []]}]}
    return random.choice((partial(limited), limited, torn))


def slicing(api: QueryApi, rule: Rule, seed: int) -> AnswerFunction:
    """Answers any window of the stamps from the rows of all; cuts off and gives up at random."""
    random_by_side = {
        name: Random(f"{name} {seed}") for name in rule.sequence.sides
    }  # each in a thread of its own
    rows: dict[str, Body] = {}
    for name, text in queries(rule).items():
        rows[name] = json.loads(api.answer(with_bounds(text, bounds(plan_windows(MOMENT, None, rule)))).body)

    def answer(query: str) -> Reply:
        name = side_of(query)
        if name in ("health", "coverage"):
            return reply(rows[name])
        (table,) = rows[name]["tables"]
        stamped = [column["name"] for column in table["columns"]].index(rule.sequence.sides[name].stamped)
        ends = {end: datetime.fromisoformat(time) for side, end, time in LET.findall(query) if side == name}
        if ends["until"] - ends["after"] > timedelta(seconds=2) and random_by_side[name].random() < 0.1:
            return TIMEOUT
        inside = [
            row
            for row in table["rows"]
            if ends["after"] < datetime.fromisoformat(row[stamped]) <= ends["until"]
        ]
        return reply(cut({"tables": [table | {"rows": inside}]}, random_by_side[name]))

    return answer


def plain(events: Events) -> list[object]:
    """Everything of the events, in an order that does not depend on that of the rows."""
    parts = (events.in_window, events.too_late, events.in_future)
    return [
        sorted((*event[:3], sorted(map(str, (event.row, *event.copies)))) for event in part) for part in parts
    ]


# ----------------------------------------------------------------------------------------------------- halves


@settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", RULES)
def test_every_row_is_read_once_wherever_the_service_gives_up(
    api: QueryApi, opened: Open, seed: int, name: str
) -> None:
    rule = RULES[name]
    expected = read(opened(), rule)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api, "answer", slicing(api, rule, seed))
        logs = read(opened(FEW_ROWS), rule)

    assert plain(logs.changes) == plain(expected.changes)
    assert plain(logs.signals) == plain(expected.signals)
    assert (logs.health, logs.rejected) == (expected.health, expected.rejected)


@pytest.mark.parametrize("name", ["changes", "signals", "health"])
@pytest.mark.parametrize(
    "fault", [TIMEOUT, CUT_OFF, BROKEN], ids=["takes too long", "cut off", "connection breaks"]
)
def test_query_that_is_not_answered_whole_is_asked_again_in_halves(
    api: QueryApi, source: LogAnalytics, name: str, fault: Reply
) -> None:
    expected = read(source)
    whole = with_bounds(queries(RULE)[name], bounds(WINDOWS))
    api.fault = lambda request: fault if request.query == whole else None
    logs = read(source)

    assert plain(logs.changes) == plain(expected.changes)
    assert plain(logs.signals) == plain(expected.signals)
    assert (logs.health, logs.rejected) == (expected.health, expected.rejected)


def test_what_fits_is_asked_once(api: QueryApi, source: LogAnalytics) -> None:
    read(source)
    assert len(api.requests) == 4


def test_slices_adjoin_and_reach_as_far_as_the_whole(api: QueryApi, opened: Open, cutting: None) -> None:
    read(opened(FEW_ROWS))
    slices = [
        (request_bounds["signals_after"], request_bounds["signals_until"])
        for request_bounds in requested_bounds(api, "signals")
    ]
    edges = sorted({edge for window in slices for edge in window})
    assert slices[0] == (edges[0], edges[-1])
    assert len(edges) > 4
    assert set(pairwise(edges)) <= set(slices)


def test_every_slice_of_signals_has_all_changes_in_its_semi_join(
    api: QueryApi, opened: Open, cutting: None
) -> None:
    read(opened(FEW_ROWS))
    semi_joined = {
        (request_bounds["changes_after"], request_bounds["changes_until"])
        for request_bounds in requested_bounds(api, "signals")
    }
    assert semi_joined == {(iso(WINDOWS.changes.after), "2100-01-01T00:00:00Z")}


def test_what_is_cut_off_within_a_second_fails_the_run(api: QueryApi, source: LogAnalytics) -> None:
    api.fault = lambda _: CUT_OFF
    with pytest.raises(Incomplete, match="answered in part"):
        read(source)


# ---------------------------------------------------------------------------------------------------- budgets


def test_three_are_asked_at_once_and_never_more_than_five(
    api: QueryApi, opened: Open, cutting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, peak, lock, whole = 0, 0, Lock(), api.answer
    arrivals, first_three = count(1), Barrier(3)

    def counting(query: str) -> Reply:
        nonlocal at_once, peak
        with lock:
            at_once += 1
            peak = max(peak, at_once)
        try:
            if next(arrivals) <= 3:
                first_three.wait(HANG)
            return whole(query)
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(api, "answer", counting)
    read(opened(FEW_ROWS))
    assert 3 <= peak <= 5


def test_a_reading_has_no_more_requests_than_the_api_takes_in_half_a_minute() -> None:
    assert LIMITS.requests == 200


def test_a_reading_ends_in_time_to_commit() -> None:
    host = json.loads((Path(__file__).parents[3] / "host.json").read_text(encoding="utf-8"))
    hours, minutes, seconds = map(int, host["functionTimeout"].split(":"))
    longest = LIMITS.seconds + client.CONNECT_TIMEOUT + client.READ_TIMEOUT
    assert longest <= (hours * 60 + minutes) * 60 + seconds - 120


def test_reading_that_needs_more_requests_fails(api: QueryApi, opened: Open) -> None:
    api.fault = lambda request: CUT_OFF if side_of(request.query) == "changes" else None
    cause = r"5 requests \(changes: the query API answered in part: .*\); see docs/scale.md"
    with pytest.raises(Incomplete, match=cause):
        read(opened(replace(LIMITS, requests=5)))
    assert len(api.requests) == 5


def test_reading_that_needs_more_time_fails(api: QueryApi, opened: Open) -> None:
    with pytest.raises(Incomplete, match="60 seconds"):
        read(opened(Limits(seconds=60), clock_that_goes_on(60)))
    assert api.requests == []


def test_question_may_be_sent_again_for_as_long_as_the_reading_may_still_take() -> None:
    times: list[float] = []

    def ask(_name: str, _query: str, seconds: float) -> AnswerTable:
        times.append(seconds)
        return AnswerTable(
            [*RULE.sequence.changes.columns, *RULE.sequence.signals.columns, *HEALTH_COLUMNS], []
        )

    Reading(ask, RULE, WINDOWS, queries(RULE), clock_that_goes_on(10), Limits(seconds=300)).read_raw()
    assert sorted(times) == [270, 280, 290]


def test_answer_of_an_unfinished_query_is_freed_before_the_next_query() -> None:
    class Answer:
        """As large as the API allows."""

    earlier_answers: list[ReferenceType[Answer]] = []

    def ask(name: str, _query: str, _seconds: float) -> AnswerTable:
        if name == "changes":
            assert [answer() for answer in earlier_answers] == [None] * len(earlier_answers)
            if len(earlier_answers) < 3:
                answer = Answer()
                earlier_answers.append(ref(answer))
                raise QueryUnfinished(Incomplete("cut off"))
        return AnswerTable(
            [*RULE.sequence.sides["changes"].columns, *RULE.sequence.signals.columns, *HEALTH_COLUMNS], []
        )

    Reading(ask, RULE, WINDOWS, queries(RULE), lambda: MOMENT, LIMITS).read_raw()
    assert len(earlier_answers) == 3


def test_raw_rows_come_with_the_rejected_rows_of_both_sides() -> None:
    def ask(name: str, _query: str, _seconds: float) -> AnswerTable:
        if name == "health":
            return AnswerTable(HEALTH_COLUMNS, [])
        columns = [*RULE.sequence.sides[name].columns]
        return AnswerTable(columns, [[None] * len(columns)])

    raw_logs = Reading(ask, RULE, WINDOWS, queries(RULE), lambda: MOMENT, LIMITS).read_raw()
    assert sorted(raw_logs.rejected) == ["changes, ConfigTime: no time", "signals, AbuseTime: no time"]


def clock_that_goes_on(seconds: int) -> Callable[[], datetime]:
    """A clock that goes on by some seconds between two looks at it."""
    passed = count(0, seconds)  # several threads look at it
    return lambda: MOMENT + timedelta(seconds=next(passed))


# ----------------------------------------------------------------------------------------------------- slices


def sliced_detections(source: LogAnalytics, monkeypatch: pytest.MonkeyPatch) -> list[Detection]:
    monkeypatch.setattr(spill, "SLICE", CUT)
    return [correlate_logs(logs, RULE, WINDOWS) for logs in read_slices(source, RULE, WINDOWS)]


def test_slices_hold_what_the_whole_holds(source: LogAnalytics, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = matches_in(RULE, WINDOWS, source)
    detections = sliced_detections(source, monkeypatch)
    assert len(detections) > 3
    assert all(detection.logs.is_slice for detection in detections)
    rows = sorted(line for detection in detections for line in detection.lines())
    assert rows == sorted(expected.lines())
    assert stats_of(detections) == stats_of([expected])


def stats_of(detections: Sequence[Detection]) -> RunStats:
    stats = RunStats(RULE, WINDOWS)
    for detection in detections:
        stats.add(detection, WINDOWS.new_signals())
    return stats


def test_an_actor_is_in_one_slice(source: LogAnalytics, monkeypatch: pytest.MonkeyPatch) -> None:
    detections = sliced_detections(source, monkeypatch)
    times = Counter(
        actor
        for detection in detections
        for actor in {event.actor for event in detection.logs.signals.all_events}
    )
    assert set(times.values()) == {1}
