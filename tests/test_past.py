"""Read once for all runs, the logs tell every run what they would have told it when asked anew."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from random import Random

import duckdb
import pytest

from detection.incidents.index import Index
from detection.incidents.table import MemoryTable
from detection.replay import moments, replay
from detection.rule import Rule, load_rule
from detection.sources import Source
from detection.sources.files import Files
from detection.sources.past import Range
from detection.sources.past_files import past_files
from detection.window import windows
from tests import raw_logs
from tests.builders import HOUR, RULE
from tests.world import Arrival, random_world

SENTINEL = load_rule("openai-config-to-abuse-sentinel")
RUNS = 20


def write(folder: Path, rows: Sequence[Arrival], chance: Random) -> None:
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
    world = random_world(seed, size=3)
    write(tmp_path, world.rows, chance)
    form(tmp_path)
    begin = world.plans[0].now
    end = begin + RUNS * HOUR
    outage = {begin + number * HOUR for number in range(9, 14)}
    at = moments(begin, end, HOUR, outage)

    with past_files(tmp_path, rule.tables) as files:
        past = files.read(rule, Range(begin, end, HOUR, windows(begin, None, rule)))

    assert outcome(rule, past, at) == outcome(rule, Files(tmp_path, rule.tables, arrival="stamped"), at)
