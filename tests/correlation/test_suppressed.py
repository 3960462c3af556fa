"""How many pairs only exist because Log Analytics stamped a row again."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.correlation.suppressed import Suppressed, count_restamped, count_suppressed
from detection.logs.events import Event, Row
from detection.rules.model import Rule, Side
from tests.support.builders import (
    ALICE,
    DAY,
    HOUR,
    RULE,
    START,
    TICK,
    change_row,
    first_windows,
    logs,
    signal_row,
    with_cells,
)
from tests.support.matching_rules import rule_with_options

NOW = START + 3 * DAY
EDGE = NOW - DAY  # of the published query's window
OLD = NOW - 4 * DAY
BOB = "bob@example.com"
WINDOWS = first_windows(NOW)


def changed(ident: str, time: datetime, stamped: datetime | None = None, actor: str = ALICE) -> Row:
    return change_row(ident, time, actor, stamped=stamped)


def signalled(ident: str, time: datetime, stamped: datetime | None = None, actor: str = ALICE) -> Row:
    return signal_row(ident, time, actor, stamped=stamped)


def restamped(changes: Iterable[Row], signals: Iterable[Row], rule: Rule = RULE) -> int:
    return count_restamped(logs(changes, signals, WINDOWS, rule), rule, WINDOWS)


def test_old_signal_that_is_stamped_after_a_recent_change_is_counted() -> None:
    assert restamped([changed("c", NOW - HOUR)], [signalled("s", OLD, NOW)]) == 1


def test_old_change_that_is_stamped_before_a_recent_signal_is_counted() -> None:
    assert restamped([changed("c", OLD, NOW - HOUR)], [signalled("s", NOW)]) == 1


def test_pair_that_exists_by_own_times_too_is_not_counted() -> None:
    changes = [changed("c", NOW - 2 * HOUR, NOW - HOUR)]
    assert restamped(changes, [signalled("s", NOW - HOUR, NOW), signalled("s-old", OLD, NOW)]) == 1


def test_pair_of_another_actor_is_not_counted() -> None:
    assert restamped([changed("c", NOW - HOUR, actor=BOB)], [signalled("s", OLD, NOW)]) == 0


def test_rule_that_derives_from_no_other_counts_nothing() -> None:
    underived = RULE.model_copy(update={"sequence": RULE.sequence.model_copy(update={"published": None})})
    assert restamped([changed("c", NOW - HOUR)], [signalled("s", OLD, NOW)], underived) == 0


@pytest.mark.parametrize(
    "change_stamp, signal_stamp, count",
    [
        (EDGE, NOW, 0),
        (EDGE + TICK, NOW, 1),
        (EDGE + TICK, EDGE + TICK, 1),
        (EDGE + 2 * TICK, EDGE + TICK, 0),
        (NOW, NOW, 1),
        (NOW, NOW + TICK, 0),
    ],
)
def test_published_window_holds_its_end_and_not_its_beginning(
    change_stamp: datetime, signal_stamp: datetime, count: int
) -> None:
    assert restamped([changed("c", change_stamp)], [signalled("s", OLD, signal_stamp)]) == count


def test_rows_that_the_published_query_does_not_return_are_not_counted() -> None:
    change, signal = changed("c", NOW - HOUR), signalled("s", OLD, NOW)
    changes, signals = RULE.sequence.sides.values()
    assert restamped([with_cells(change, changes, ConfigBeyond='["api_key_actor"]')], [signal]) == 0
    assert restamped([change], [with_cells(signal, signals, AbuseBeyond='["finish_reason_missing"]')]) == 0


def test_row_that_came_again_under_another_stamp_counts_by_both_stamps() -> None:
    signals = [signalled("s", OLD), signalled("s", OLD, NOW)]
    assert restamped([changed("c", NOW - HOUR)], signals) == 1
    assert restamped([changed("c", OLD), changed("c", OLD, NOW - HOUR)], [signalled("s", NOW)]) == 1


actors = st.sampled_from((ALICE, BOB))
# Own times and stamps that meet at the edges of both windows, and in between.
times = st.builds(
    lambda hours, ticks: NOW + hours * HOUR + ticks * TICK,
    st.sampled_from((-60, -48, -47, -24, -23, -12, -1, 0)),
    st.integers(-1, 1),
)


def rows_of(build: Callable[..., Row]) -> st.SearchStrategy[list[Row]]:
    idents = st.sampled_from("abc")
    return st.lists(st.builds(build, idents, times, st.none() | times, actors), max_size=5)


@given(rows_of(changed), rows_of(signalled))
def test_count_is_that_of_a_nested_loop(change_rows: list[Row], signal_rows: list[Row]) -> None:
    read = logs(change_rows, signal_rows, WINDOWS)
    pairs = [
        (change, signal)
        for change in read.changes.all_events
        for signal in read.signals.all_events
        if change.actor == signal.actor
    ]

    def stamps(event: Event, side: Side) -> list[datetime]:
        place = side.place_of(side.stamped)
        return [datetime.fromisoformat(row[place]) for row in (event.row, *event.copies)]

    def is_pair(change: datetime, signal: datetime, after: datetime) -> bool:
        return after < change <= signal <= min(NOW, change + DAY)

    published = {
        (change.id, signal.id)
        for change, signal in pairs
        for change_stamp in stamps(change, RULE.sequence.changes)
        for signal_stamp in stamps(signal, RULE.sequence.signals)
        if is_pair(change_stamp, signal_stamp, EDGE)
    }
    actual = {
        (change.id, signal.id)
        for change, signal in pairs
        if is_pair(change.time, signal.time, EDGE - DAY) and signal.time > EDGE
    }
    assert count_restamped(read, RULE, WINDOWS) == len(published - actual)


@pytest.mark.parametrize(
    "changes, signals, count",
    [
        ([changed("c1", NOW - HOUR, actor="ann@example.com"), changed("c2", NOW - HOUR, actor=BOB)], OLD, 2),
        ([changed("c1", OLD, NOW - HOUR, "ann@example.com"), changed("c2", NOW - HOUR, actor=BOB)], NOW, 1),
        ([changed("c", NOW - HOUR, actor=ALICE)], OLD, 0),
    ],
    ids=["restamped signal", "restamped change", "signal of other actors"],
)
def test_signal_counts_for_each_actor_that_identity_matching_finds(
    tmp_path: Path, changes: Sequence[Row], signals: datetime, count: int
) -> None:
    rule = rule_with_options(tmp_path, "[{mapping: users.csv}]")
    assert restamped(changes, [signalled("s", signals, NOW, "shared-desk")], rule) == count


def test_suppressed_are_counted_by_reason() -> None:
    late, future = NOW - 3 * DAY, NOW + HOUR
    changes = [changed("c", NOW - HOUR), *(changed(f"late{n}", late) for n in range(2)), changed("f", future)]
    signals = [signalled("s", late, NOW), *(signalled(f"f{n}", future) for n in range(3))]

    suppressed = count_suppressed(logs(changes, signals, WINDOWS), RULE, WINDOWS, below_threshold=5)

    assert suppressed == Suppressed(restamped=1, too_late=3, in_future=4, below_threshold=5)
    assert count_suppressed(logs([], [], WINDOWS), RULE, WINDOWS) == Suppressed(0, 0, 0, 0)
