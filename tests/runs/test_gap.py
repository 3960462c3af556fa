"""An outage longer than MAX_CATCH_UP: every row that arrived in it is read by the next run or with its gap."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest

from detection.logs.events import Logs, Row
from detection.logs.window import MAX_CATCH_UP, Windows
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import run, run_gap
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable
from tests.support.builders import DAY, HOUR, RULE, START, change_row, logs, signal_row

MINUTE = timedelta(minutes=1)
STAMP = {"changes": "ConfigStamped", "signals": "AbuseStamped"}


class Arrival(NamedTuple):
    """A row and the moment from which it can be read."""

    row: Row
    arrived: datetime


class ArrivedLogs:
    """A source with the rows that have arrived by the moment of the run, and whose stamp the run asks for."""

    def __init__(self, changes: Sequence[Arrival], signals: Sequence[Arrival]) -> None:
        self._sides = {"changes": changes, "signals": signals}

    def read(self, rule: Rule, windows: Windows) -> Logs:
        changes, signals = (
            [
                arrival.row
                for arrival in self._sides[name]
                if arrival.arrived <= windows.now
                and datetime.fromisoformat(arrival.row[side.place_of(STAMP[name])]) > window.after
            ]
            for (name, side), window in zip(
                rule.sequence.sides.items(), (windows.changes, windows.signals), strict=True
            )
        )
        return logs(changes, signals, windows, rule)


class Job:
    """Runs over the rows, on one table."""

    def __init__(self, changes: Sequence[Arrival], signals: Sequence[Arrival], options: RunOptions) -> None:
        self._source, self._options = ArrivedLogs(changes, signals), options
        self._table = MemoryTable()

    def run(self, now: datetime) -> RunRecord:
        return run(RULE, now, self._source, self._store(now), self._options)[0]

    def read_gap(self, record: RunRecord) -> RunRecord:
        """Reads the gap of a run a minute after it."""
        assert record.windows.gap
        now = record.windows.now + MINUTE
        return run_gap(RULE, record.windows.gap, now, self._source, self._store(now), self._options)

    def _store(self, now: datetime) -> IncidentStore:
        return IncidentStore(self._table, RULE.folder, now.isoformat())


def test_a_row_from_before_an_outage_that_arrived_in_it_is_alerted_with_the_gap() -> None:
    stamped = START - 10 * MINUTE
    job = Job(
        [Arrival(change_row("c", stamped - HOUR), stamped - HOUR)],
        [
            Arrival(signal_row("s-in-time", stamped - MINUTE), stamped),
            Arrival(signal_row("s-late", stamped), START + 10 * MINUTE),
        ],
        RunOptions(),
    )
    assert job.run(START).new_pairs == 1

    after_outage = job.run(START + MAX_CATCH_UP + 9 * DAY)

    assert (after_outage.new_pairs, after_outage.suppressed.too_late) == (0, 0)
    gap_record = job.read_gap(after_outage)
    assert (gap_record.new_pairs, gap_record.already_alerted) == (1, 1)
    assert job.read_gap(after_outage).new_pairs == 0


@pytest.mark.parametrize("lateness", [timedelta(hours=22, minutes=50), 3 * DAY])
def test_a_late_row_is_alerted_by_a_run_after_an_outage_as_long_as_the_catch_up(lateness: timedelta) -> None:
    job = Job(
        [Arrival(change_row("c", START - lateness), START - lateness)],
        [Arrival(signal_row("s", START - lateness + MINUTE), START + 2 * MINUTE)],
        RunOptions(lateness=lateness, max_catch_up=DAY),
    )
    job.run(START)

    record = job.run(START + DAY)

    assert (record.new_pairs, record.windows.gap) == (1, None)
