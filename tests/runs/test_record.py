"""The record of a run: what it counted, how long it took, and with which watermark it began."""

from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b

import pytest

from detection.correlation.suppressed import Suppressed
from detection.logs.coverage import Coverage
from detection.logs.events import Logs, Rejected, SideHealth
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.rules.silences import parse_silence
from detection.runs.commit import RunOptions
from detection.runs.record import CoveredBySilences, RunRecord
from detection.runs.run import run
from detection.store.incident_store import IncidentStore
from detection.store.silence_list import SilenceList
from detection.store.table import MemoryTable
from tests.support.builders import DAY, HOUR, RULE, START, change_row, logs, signal_row, sliced

ANN, BEN = "ann@example.com", "ben@example.com"
OLD = START - 9 * DAY
HEALTH = {"changes": SideHealth(5, 4, START)}
COVERAGE = Coverage(rows=6, matched_rows=6, identities=2, matched=2, actors=2)
REJECTED = {"time": Rejected(1, "row 3")}


class TwoActors:
    """A change of each of two actors, and three signals after them; rows outside the windows; a re-stamped pair.

    With `is_sliced` every run gets a slice for each actor.
    """

    def __init__(self, *, is_sliced: bool = False) -> None:
        self._is_sliced = is_sliced

    def read(self, rule: Rule, windows: Windows) -> Logs:  # the port's
        """The same rows for every run."""
        changes = [
            change_row("c1", START, ANN),
            change_row("c2", START, BEN),
            change_row("c-old", OLD, ANN),
            change_row("c-new", START + DAY, BEN),
        ]
        signals = [
            signal_row("s1", START, ANN),
            signal_row("s2", START, ANN),
            signal_row("s3", START, BEN),
            signal_row("s-ann", OLD, ANN, stamped=START),
            signal_row("s-ben", OLD, BEN, stamped=START),
            signal_row("s-new", START + DAY, BEN),
        ]
        whole = replace(
            logs(changes, signals, windows, rule), health=HEALTH, rejected=REJECTED, coverage=COVERAGE
        )
        return sliced(whole) if self._is_sliced else whole


def record_at(
    now: datetime, table: MemoryTable, options: RunOptions, rule: Rule = RULE, *, is_sliced: bool = False
) -> RunRecord:
    store = IncidentStore(table, rule.folder, f"run of {now}")
    return run(rule, now, TwoActors(is_sliced=is_sliced), store, options)[0]


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


@pytest.mark.parametrize("is_sliced", [False, True])
def test_record_counts_all_slices_and_the_state_of_the_logs_once(*, is_sliced: bool) -> None:
    record = record_at(START + HOUR, MemoryTable(), RunOptions(), is_sliced=is_sliced)
    assert (record.changes, record.signals, record.chains, record.pairs, record.new_pairs) == (2, 3, 2, 3, 3)
    assert record.suppressed == Suppressed(restamped=2, too_late=3, in_future=2)
    assert (record.health, record.rejected, record.coverage) == (HEALTH, REJECTED, COVERAGE)


def test_record_counts_changes_below_the_threshold_in_all_slices() -> None:
    sequence = RULE.sequence.model_copy(update={"threshold": {"content_filter": 3}})
    rule = RULE.model_copy(update={"sequence": sequence})
    record = record_at(START + HOUR, MemoryTable(), RunOptions(), rule, is_sliced=True)
    assert (record.pairs, record.suppressed.below_threshold) == (0, 3)


def test_record_counts_silenced_pairs_by_silence_and_the_actors_of_silences_without_their_names() -> None:
    table = MemoryTable()
    values = {"owner": "carol", "reason": "x", "begins": START, "expires": START + HOUR}
    SilenceList(table, RULE.folder).add(parse_silence({"name": "quiet", "actor": ANN, **values}))
    exclusion = parse_silence({"name": "robot", "actor": BEN, **values, "expires": None})
    rule = RULE.model_copy(update={"exclusions": (exclusion,)})

    record = record_at(START + HOUR, table, RunOptions(), rule)

    assert record.silenced == {"quiet": 2, "robot": 1}
    assert (record.pairs, record.new_pairs, record.already_alerted, record.alerts) == (3, 0, 0, 0)
    digest = blake2b(ANN.encode(), digest_size=2).hexdigest()
    assert record.covered_by_silences == CoveredBySilences(2, [digest])


def test_record_of_more_alerts_than_the_limit_says_that_a_digest_carried_them() -> None:
    storms = [
        record_at(START + HOUR, MemoryTable(), RunOptions(storm_alerts=limit)).storm for limit in (1, 2)
    ]
    assert storms == [True, False]
