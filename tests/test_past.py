"""Read once for all runs, the logs tell every run what they would have told it when asked anew."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pytest

from detection.incidents.index import Index
from detection.incidents.table import MemoryTable
from detection.replay import moments, replay
from detection.rule import Rule, load_rule
from detection.sources import Source
from detection.sources.cycles import Calendar
from detection.sources.files import Files
from detection.sources.loading import Loaded, load, look_at
from detection.sources.past import Arrival, Past, Range
from detection.sources.past_files import _lanes, past_files
from detection.window import windows
from tests import raw_logs, world
from tests.builders import HOUR, RULE, START, change_row, signal_row
from tests.world import random_world

SENTINEL = load_rule("openai-config-to-abuse-sentinel")
RUNS = 20


def write(folder: Path, rows: Sequence[world.Arrival], chance: Random) -> None:
    """The rows of a world as exported logs; some have no id, some do not say when they arrived."""
    sides: dict[str, list[raw_logs.LogRow]] = {"changes": [], "signals": []}
    for one in rows:
        build = raw_logs.audit if one.side == "changes" else raw_logs.completion
        row = build(one.id, one.actor, one.time, arrived=one.arrived)
        row["TimeGenerated"] = one.stamped.isoformat()
        if one.id.endswith("7"):
            row |= {"Id": ""} if one.side == "changes" else {"EventUid": "", "EventRequestId": ""}
        if chance.random() < 0.1:
            row["_ingested"] = None
        sides[one.side].append(row)
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


def outcome(rule: Rule, source: Source, at: Sequence[datetime]) -> list[object]:
    """All that the runs told, and what is kept after them."""
    table = MemoryTable()
    runs = list(replay(rule, source, at, table))
    told = [verdict.alert for one in runs for verdict in one.told]
    pairs = [
        sorted(
            (change.id, signal.id)
            for verdict in one.told
            for part in verdict.told
            for change, signal in part.pairs()
        )
        for one in runs
    ]
    counts = [
        (
            one.record.changes,
            one.record.signals,
            one.record.pairs,
            one.record.told_before,
            one.record.held_back,
        )
        for one in runs
    ]
    return [sorted(told, key=str), pairs, counts, list(Index(table, rule.folder, "look").incidents())]


@pytest.mark.parametrize(
    "seed,rule,form",
    [
        pytest.param(1, RULE, as_lines, id="default rule, JSON lines"),
        pytest.param(2, RULE, as_parquet, id="default rule, Parquet"),
        pytest.param(3, SENTINEL, as_parquet, id="published rule, Parquet"),
        pytest.param(4, RULE, as_parquet, id="default rule, Parquet again"),
    ],
)
def test_runs_over_what_was_read_once_tell_what_hourly_queries_tell(
    seed: int, rule: Rule, form: Callable[[Path], None], tmp_path: Path
) -> None:
    chance = Random(seed)
    history = random_world(seed, size=3)
    write(tmp_path, history.rows, chance)
    form(tmp_path)
    begin = history.plans[0].now
    end = begin + RUNS * HOUR
    outage = {begin + number * HOUR for number in range(9, 14)}
    at = moments(begin, end, HOUR, outage)

    with past_files(tmp_path, rule.tables) as files:
        past = files.read(rule, Range(begin, end, HOUR, windows(begin, None, rule)))

    assert outcome(rule, past, at) == outcome(rule, Files(tmp_path, rule.tables, arrival="stamped"), at)


def test_rows_that_are_late_by_more_runs_than_there_are_lanes_are_asked_for_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, random_world(1, size=3).rows, Random(1))
    begin = random_world(1, size=3).plans[0].now
    runs = Range(begin, begin + RUNS * HOUR, HOUR, windows(begin, None, RULE))
    at = moments(begin, runs.end, HOUR)

    def read_once() -> list[object]:
        with past_files(tmp_path, RULE.tables) as files:
            return outcome(RULE, files.read(RULE, runs), at)

    together = read_once()
    monkeypatch.setattr(Calendar, "lanes", 3)

    assert read_once() == together


@pytest.mark.parametrize("most", [3, 5, 50])
def test_every_delay_has_a_lane_and_the_first_is_for_rows_in_time_or_for_nobody(most: int) -> None:
    delays = [-1, 0, 1, 2, 7, 30]

    turns = list(_lanes(delays, most))

    assert sorted(delay for lanes in turns for delay in lanes.values()) == delays
    assert all(len({0, *lanes}) <= most for lanes in turns)
    assert [lanes.get(0) for lanes in turns] == ([0] if most >= len(delays) else [None] * len(turns))


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
    found: list[tuple[Loaded, list[tuple[Any, ...]], list[str]]] = []
    for take in (load, look_at):
        connection = duckdb.connect()
        loaded = take(connection, name, table, [file])
        rows = connection.execute(f'SELECT * FROM "{name}_rows" ORDER BY _line').fetchall()
        found.append((loaded, rows, [column for column, *_ in connection.description or ()]))

    assert found[0] == found[1]
    assert len(found[0][1]) == 2


def test_what_is_stamped_ahead_of_a_run_waits_for_its_time() -> None:
    runs = Range(START, START + 5 * HOUR, HOUR, windows(START, None, RULE))
    ahead = START + 2 * HOUR
    changed = Arrival(START, change_row("c", START - HOUR))
    signalled = Arrival(START, signal_row("s", ahead))
    past = Past(RULE, {"changes": [changed], "signals": [signalled]}, {}, {})

    told = [len(one.told) for one in replay(RULE, past, moments(START, runs.end, HOUR), MemoryTable())]

    assert told == [0, 0, 1, 0, 0, 0]
