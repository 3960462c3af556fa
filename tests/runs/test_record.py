"""The record of a run: what it counted, how long it took, and with which watermark it began."""

from datetime import datetime, timedelta

from detection.logs.events import Logs
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import run
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable
from tests.support.builders import HOUR, RULE, START, change_row, logs, signal_row


class TwoActors:
    """A change of each of two actors, and three signals after them."""

    def read(self, rule: Rule, windows: Windows) -> Logs:  # the port's
        """The same rows for every run."""
        changes = [change_row("c1", START, "ann@example.com"), change_row("c2", START, "ben@example.com")]
        signals = [
            signal_row("s1", START, "ann@example.com"),
            signal_row("s2", START, "ann@example.com"),
            signal_row("s3", START, "ben@example.com"),
        ]
        return logs(changes, signals, windows, rule)


def record_at(now: datetime, table: MemoryTable, options: RunOptions) -> RunRecord:
    return run(RULE, now, TwoActors(), IncidentStore(table, RULE.folder, f"run of {now}"), options)[0]


def test_record_has_the_seconds_from_the_start_to_the_end_of_the_run_by_its_clock() -> None:
    times = iter([START, START + timedelta(seconds=90)])
    options = RunOptions(clock=lambda: next(times))
    assert record_at(START + HOUR, MemoryTable(), options).seconds == 90
    assert record_at(START + HOUR, MemoryTable(), RunOptions()).seconds == 0


def test_record_counts_what_was_read_and_what_became_of_it() -> None:
    table = MemoryTable()
    alerting, quiet = (record_at(START + hours * HOUR, table, RunOptions()) for hours in (1, 2))
    for record, new_pairs in ((alerting, 3), (quiet, 0)):
        assert (record.changes, record.signals, record.chains, record.pairs) == (2, 3, 2, 3)
        assert (record.new_pairs, record.already_alerted) == (new_pairs, 3 - new_pairs)
    assert (alerting.alerts, len(set(alerting.alert_ids)), alerting.storm) == (2, 2, False)
    assert (quiet.alerts, quiet.alert_ids, quiet.open_gaps) == (0, [], [])
    assert (alerting.previous_watermark, quiet.previous_watermark) == (None, START + HOUR)


def test_record_of_more_alerts_than_the_limit_says_that_a_digest_carried_them() -> None:
    storms = [
        record_at(START + HOUR, MemoryTable(), RunOptions(storm_alerts=limit)).storm for limit in (1, 2)
    ]
    assert storms == [True, False]
