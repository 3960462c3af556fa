"""Runs over the past, and the published rule at the times of these runs."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from benchmarks.volume import RowSource
from detection.base.errors import ConfigurationError
from detection.logs.events import Logs
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.rules.silences import parse_silence
from detection.runs.commit import RunOptions
from detection.runs.replay import Comparison, compare, replay, run_times
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable
from tests.support.builders import ALICE, DAY, HOUR, RULE, START, change_row, logs, signal_row

# The published rule's windows, over the rows of the default rule.
PUBLISHED = RULE.model_copy(
    update={"sequence": RULE.sequence.model_copy(update={"windows": "query-period", "duplicates": "keep"})}
)
BOB = "bob@example.com"
MINUTE = timedelta(minutes=1)


# ----------------------------------------------------------------------------------------------------------- times


def test_runs_are_at_every_step_from_the_begin_to_the_end() -> None:
    hours = [START, START + HOUR, START + 2 * HOUR]
    assert run_times(START, START + 2 * HOUR, HOUR) == hours
    assert run_times(START, START + 3 * HOUR - MINUTE, HOUR) == hours
    assert run_times(START, START, HOUR) == [START]


def test_skipped_runs_are_left_out() -> None:
    skipped = [START + HOUR, START + 3 * HOUR]
    assert run_times(START, START + 3 * HOUR, HOUR, skipped) == [START, START + 2 * HOUR]


def test_end_before_the_begin_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no run"):
        run_times(START, START - MINUTE, HOUR)


def test_skipped_time_at_which_no_run_is_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"no run is at 2026-03-02T10:30:00Z"):
        run_times(START, START + HOUR, HOUR, [START, START + 30 * MINUTE])


def test_skipping_every_run_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="every run"):
        run_times(START, START + HOUR, HOUR, [START, START + HOUR])


# ------------------------------------------------------------------------------------------------------------ runs


def test_replay_is_what_runs_at_these_times_do_to_the_table() -> None:
    source = RowSource([change_row("c", START)], [signal_row(f"s{n}", START + n * HOUR) for n in range(3)])
    times, table = run_times(START, START + 2 * HOUR, HOUR), MemoryTable()

    replays = list(replay(RULE, source, times, table, RunOptions(storm_alerts=0)))

    assert [replayed.record.windows.now for replayed in replays] == times
    assert [replayed.record.previous_watermark for replayed in replays] == [None, *times[:-1]]
    assert [[verdict.pairs for verdict in replayed.verdicts] for replayed in replays] == [[1], [1], [1]]
    assert [replayed.record.storm for replayed in replays] == [True, True, True]
    assert IncidentStore(table, RULE.folder, "look").watermark() == START + 2 * HOUR
    assert len(list(IncidentList(table, RULE.folder).alerts())) == 3


# ------------------------------------------------------------------------------------------------------ comparison


class RowsOfWindows:
    """A source that returns the rows in the windows, with the actors Alice and Bob."""

    def __init__(
        self, changes: Sequence[tuple[str, datetime]], signals: Sequence[tuple[str, datetime]]
    ) -> None:
        self._changes, self._signals = changes, signals

    def read(self, rule: Rule, windows: Windows) -> Logs:
        changes, signals = (
            [
                build(ident, time, BOB if ident.startswith("bob") else ALICE)
                for ident, time in rows
                if window.after < time <= windows.now
            ]
            for build, rows, window in (
                (change_row, self._changes, windows.changes),
                (signal_row, self._signals, windows.signals),
            )
        )
        return logs(changes, signals, windows, rule)


def test_comparison_counts_what_the_published_rule_repeats_misses_and_returns_in_vain() -> None:
    source = RowsOfWindows(
        [("c0", START - DAY + 30 * MINUTE), ("c1", START + 40 * MINUTE), ("bob-c", START + 40 * MINUTE)],
        [
            ("s0", START + 30 * MINUTE),  # the published rule cannot read c0 at the next run
            ("s1", START + HOUR),
            ("bob-s1", START + HOUR),
            ("bob-s2", START + HOUR),
        ],
    )
    exclusion = parse_silence({"name": "robot", "owner": "carol", "reason": "x", "actor": BOB})
    rule = RULE.model_copy(update={"exclusions": (exclusion,)})
    times = run_times(START, START + 3 * HOUR, HOUR)

    comparison = compare(PUBLISHED, source, replay(rule, source, times, MemoryTable()))

    assert comparison == Comparison(returned=9, repeated=6, missed=1, false=2)
