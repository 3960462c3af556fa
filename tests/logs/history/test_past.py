"""Logs that are read once for all runs give each run the rows of a new query: replay, demo, backtest."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from detection.logs.files.loading import LoadedFiles, load_table, view_table
from detection.logs.files.source import FileSource
from detection.logs.history.calendar_shift import CalendarShift
from detection.logs.history.files import _lane_batches, open_file_archive
from detection.logs.history.past import ArrivedRow, PastLogs, RunRange, cross_row_keyword
from detection.logs.source import Source
from detection.logs.window import plan_windows
from detection.rules.loading import load_rule, rule_names
from detection.rules.model import Rule
from detection.runs.replay import replay, run_times
from detection.store.incident_list import IncidentList
from detection.store.table import MemoryTable
from tests.support import raw_logs, world
from tests.support.builders import HOUR, RULE, START, change_row, signal_row
from tests.support.world import random_world

SENTINEL = load_rule("openai-config-to-abuse-sentinel")
RUNS = 7


def write(folder: Path, rows: Sequence[world.Arrival], random: Random) -> None:
    """The rows of a world as exported logs; some have no id, no actor or no time of arrival.

    Of different events at one time only the first is written: the job gives them no order.
    """
    sides: dict[str, list[raw_logs.LogRow]] = {"changes": [], "signals": []}
    event_by_time: dict[tuple[str, datetime], str] = {}
    for arrival in rows:
        if event_by_time.setdefault((arrival.side, arrival.time), arrival.id) != arrival.id:
            continue
        build = raw_logs.audit if arrival.side == "changes" else raw_logs.completion
        row = build(
            arrival.id,
            "" if arrival.id.endswith("3") else arrival.actor,
            arrival.time,
            arrived=arrival.arrived,
        )
        row["TimeGenerated"] = arrival.stamped.isoformat()
        if arrival.id.endswith("7"):
            row |= {"Id": ""} if arrival.side == "changes" else {"EventUid": "", "EventRequestId": ""}
        if random.random() < 0.1:
            row["_ingested"] = None
        sides[arrival.side].append(row)
    raw_logs.write(folder, sides["changes"], sides["signals"])


def as_lines(_folder: Path) -> None:
    """As they were written."""


def as_parquet(folder: Path) -> None:
    """The same logs in the other format."""
    for path in folder.glob("*.jsonl"):
        duckdb.sql(
            f"COPY (SELECT * FROM read_json('{path}', auto_detect=true, format='newline_delimited')) "
            f"TO '{path.with_suffix('.parquet')}'"
        )
        path.unlink()


def outcome(rule: Rule, source: Source, times: Sequence[datetime]) -> list[object]:
    """All that the runs told, what the last says of the logs, and what is kept after them."""
    table = MemoryTable()
    runs = list(replay(rule, source, times, table))
    alerts = [verdict.alert for replayed in runs for verdict in replayed.verdicts]
    pairs = [
        sorted(
            (change.id, signal.id)
            for verdict in replayed.verdicts
            for part in verdict.new_pairs
            for change, signal in part.pairs()
        )
        for replayed in runs
    ]
    counts = [
        (
            replayed.record.changes,
            replayed.record.signals,
            replayed.record.pairs,
            replayed.record.already_alerted,
            replayed.record.suppressed,
        )
        for replayed in runs
    ]
    last = runs[-1].record
    log_figures = [last.health, last.rejected, last.coverage]
    return [
        sorted(alerts, key=str),
        pairs,
        counts,
        log_figures,
        list(IncidentList(table, rule.folder).incidents()),
    ]


@pytest.mark.parametrize(
    "seed,rule,form,interval",
    [
        pytest.param(1, RULE, as_lines, HOUR, id="default rule, JSON lines, hourly"),
        pytest.param(2, RULE, as_parquet, 7.5 * HOUR, id="default rule, Parquet, three times a day"),
        pytest.param(3, SENTINEL, as_parquet, 2 * HOUR, id="published rule, Parquet, every other hour"),
        pytest.param(6, RULE, as_parquet, 20 * HOUR, id="default rule, Parquet, nearly daily"),
    ],
)
def test_runs_that_read_once_together_tell_what_runs_tell_that_each_ask_anew(
    seed: int, rule: Rule, form: Callable[[Path], None], interval: timedelta, tmp_path: Path
) -> None:
    random = Random(seed)
    history = random_world(seed, size=3)
    write(tmp_path, history.rows, random)
    form(tmp_path)
    begin = history.plans[0].now
    times = run_times(
        begin, begin + RUNS * interval, interval, {begin + number * interval for number in (0, 4, 5)}
    )

    with open_file_archive(tmp_path, rule.tables) as files:
        together = outcome(rule, files.source(rule, RunRange.of_runs(times, interval, rule)), times)

    assert together == outcome(rule, FileSource(tmp_path, rule.tables, arrival="stamped"), times)


def test_rule_that_looks_across_rows_is_asked_anew_by_each_run(tmp_path: Path) -> None:
    top_rule = RULE.model_copy(update={"changes_kql": f"{RULE.changes_kql}\n| top 1 by ConfigTime asc"})
    forgotten, recent = (
        START - 51.5 * HOUR,
        START - 3 * HOUR,
    )  # the second run reads changes of the last 51 hours
    changes = [
        raw_logs.audit("c1", "alice@example.com", forgotten, arrived=forgotten),
        raw_logs.audit("c2", "bob@example.com", recent, arrived=recent),
    ]
    signal = raw_logs.completion("s", "bob@example.com", START - 2 * HOUR, arrived=START)
    raw_logs.write(tmp_path, changes, [signal])
    times = [START - 4 * HOUR, START]

    with open_file_archive(tmp_path, RULE.tables) as files:
        source = files.source(top_rule, RunRange.of_runs(times, 4 * HOUR, top_rule))
        alert_counts = [len(replayed.verdicts) for replayed in replay(top_rule, source, times, MemoryTable())]

    assert alert_counts == [0, 1]


@pytest.mark.parametrize(
    "changes,word",
    [
        ("OpenAIAuditLogs | where Id has 'a | join' // | top 1 by Id", ""),
        ("OpenAIAuditLogs | where isnull(EffectiveAt) or EffectiveAt != datetime(null)", ""),
        ("OpenAIAuditLogs | mv-expand P = Project | summarize N = count() by Id, TimeGenerated", ""),
        ("OpenAIAuditLogs | summarize N = count() by Id, bin(TimeGenerated, 1h)", "summarize"),
        ("OpenAIAuditLogs | distinct Id, TimeGenerated", "distinct"),
        ("OpenAIAuditLogs | where Id in (OpenAIChatCompletions)", "OpenAIChatCompletions"),
        ("OpenAIAuditLogs | extend Before = prev(Id)", "prev"),
        ("OpenAIAuditLogs | where TimeGenerated > datetime(2026-06-01)", "datetime"),
    ],
)
def test_query_looks_across_rows_unless_each_of_its_operators_is_known_not_to(
    changes: str, word: str
) -> None:
    assert cross_row_keyword(RULE.model_copy(update={"changes_kql": changes})) == word


@pytest.mark.parametrize("name", rule_names())
def test_shipped_rule_looks_at_each_row_by_itself(name: str) -> None:
    assert not cross_row_keyword(load_rule(name))


def test_rows_that_are_late_by_more_runs_than_there_are_lanes_are_asked_for_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, random_world(1, size=3).rows, Random(1))
    begin = random_world(1, size=3).plans[0].now
    times = run_times(begin, begin + RUNS * HOUR, HOUR)

    def read_once() -> list[object]:
        with open_file_archive(tmp_path, RULE.tables) as files:
            return outcome(RULE, files.source(RULE, RunRange.of_runs(times, HOUR, RULE)), times)

    together = read_once()
    monkeypatch.setattr(CalendarShift, "lane_count", 3)

    assert read_once() == together


@pytest.mark.parametrize("max_lanes", [3, 5, 50])
def test_every_delay_has_a_lane_and_the_first_is_for_rows_in_time_or_for_nobody(max_lanes: int) -> None:
    delays = [-1, 0, 1, 2, 7, 30]

    turns = list(_lane_batches(delays, max_lanes))

    assert sorted(delay for lanes in turns for delay in lanes.values()) == delays
    assert all(len({0, *lanes}) <= max_lanes for lanes in turns)
    assert [lanes.get(0) for lanes in turns] == ([0] if max_lanes >= len(delays) else [None] * len(turns))


BROKEN: dict[str, list[str | None]] = {
    "TimeGenerated": ["2026-06-08T10:00:00Z", "2026-06-08T10:00:00", None, "2026-06-08T11:00:00Z"],
    "EventType": ["api_key.created"] * 4,
    "ActorSession": ['{"user": {"email": "a@example.com"}}', "{}", "{}", "null"],
    "EventDetails": ['{"a":1}', '{"a":1}', '{"a":1}', "a bare text"],
}
SOUND = {name: [values[0], values[3]] for name, values in BROKEN.items()}


@pytest.mark.parametrize("columns", [BROKEN, SOUND], ids=["some broken", "all sound"])
def test_parquet_that_stays_on_disk_has_the_rows_that_would_be_loaded(
    columns: dict[str, list[str | None]], tmp_path: Path
) -> None:
    name, table = "OpenAIAuditLogs_CL", RULE.tables["OpenAIAuditLogs_CL"]
    lists = ", ".join(f"unnest(${column}::VARCHAR[]) AS {column}" for column in columns)
    file = tmp_path / f"{name}.parquet"
    duckdb.execute(f"COPY (SELECT {lists}) TO '{file}'", columns)
    results: list[tuple[LoadedFiles, list[tuple[Any, ...]], list[str]]] = []
    for take in (load_table, view_table):
        connection = duckdb.connect()
        loaded = take(connection, name, table, [file])
        rows = connection.execute(f'SELECT * FROM "{name}_rows" ORDER BY _line').fetchall()
        results.append((loaded, rows, [column for column, *_ in connection.description or ()]))

    assert results[0] == results[1]
    assert len(results[0][1]) == 2


def test_what_is_stamped_ahead_of_a_run_waits_for_its_time() -> None:
    runs = RunRange(START, START + 5 * HOUR, HOUR, plan_windows(START, None, RULE))
    ahead = START + 2 * HOUR
    changed = ArrivedRow(START, change_row("c", START - HOUR))
    signalled = ArrivedRow(START, signal_row("s", ahead))
    past = PastLogs(RULE, {"changes": [changed], "signals": [signalled]}, {}, {})

    alert_counts = [
        len(replayed.verdicts)
        for replayed in replay(RULE, past, run_times(START, runs.end, HOUR), MemoryTable())
    ]

    assert alert_counts == [0, 0, 1, 0, 0, 0]
