"""A pair as a row and as a line, and the reasons why it goes beyond the published rule."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection.base.timestamps import iso
from detection.correlation.correlate import Pair
from detection.correlation.output import (
    MAX_VALUE_LENGTH,
    BeyondReasons,
    RowWriter,
    output_columns,
    truncate,
    truncate_row,
)
from detection.logs.events import Event
from detection.rules.model import Rule
from tests.support.builders import (
    ALICE,
    DAY,
    HOUR,
    RULE,
    START,
    TICK,
    change,
    change_row,
    signal,
    signal_row,
    with_cells,
)

NOW = START + DAY
CHANGES, SIGNALS = RULE.sequence.sides.values()
OUTSIDE = "outside_published_window"


def rule_with(**update: object) -> Rule:
    return RULE.model_copy(update={"sequence": RULE.sequence.model_copy(update=update)})


UNDERIVED = rule_with(published=None)


def change_stamped(time: datetime, *stamps: datetime, beyond: str = '["",""]') -> Event:
    """A change whose rows have these stamps; its own time by default."""
    row = with_cells(change_row("c", time), CHANGES, ConfigBeyond=beyond)
    rows = [with_cells(row, CHANGES, ConfigStamped=iso(stamp)) for stamp in stamps or (time,)]
    return change("c", time)._replace(row=rows[0], copies=tuple(rows[1:]))


def signal_stamped(time: datetime, *stamps: datetime, beyond: str = '[""]') -> Event:
    """A signal whose rows have these stamps; its own time by default."""
    row = with_cells(signal_row("s", time), SIGNALS, AbuseBeyond=beyond)
    rows = [with_cells(row, SIGNALS, AbuseStamped=iso(stamp)) for stamp in stamps or (time,)]
    return signal("s", time)._replace(row=rows[0], copies=tuple(rows[1:]))


# ------------------------------------------------------------------------------------------------------------ rows


def test_row_has_the_columns_of_output_in_their_order_and_then_the_reasons() -> None:
    row = RowWriter(RULE).row((change("c", START), signal("s", START + HOUR)), START + HOUR)

    assert list(row.items()) == [
        ("ConfigTime", "2026-03-02T10:00:00Z"),
        ("ConfigEvent", "api_key.created"),
        ("ActorEmail", ALICE),
        ("ConfigIp", "203.0.113.7"),
        ("AbuseTime", "2026-03-02T11:00:00Z"),
        ("ModelName", "gpt-4o-2024-08-06"),
        ("EventFinishReasons", ["content_filter"]),
        ("EventRequestId", "req_s"),
        ("ConfigId", "c"),
        ("AbuseId", "s"),
        ("Beyond", []),
    ]
    assert list(row) == output_columns(RULE)


def test_row_names_the_reasons_of_the_pair() -> None:
    pair = (change_stamped(START, beyond='["api_key_actor",""]'), signal("s", NOW))
    assert RowWriter(RULE).row(pair, NOW)["Beyond"] == ["api_key_actor", OUTSIDE]


def test_row_of_a_rule_that_derives_from_no_other_has_no_reasons() -> None:
    row = RowWriter(UNDERIVED).row((change("c", START), signal("s", NOW)), NOW)
    assert list(row) == list(RULE.sequence.output) == output_columns(UNDERIVED)


@pytest.mark.parametrize(
    "column, cell, expected",
    [
        ("AbuseStamped", "2026-03-02T10:00:00.1230000Z", "2026-03-02T10:00:00.123000Z"),
        ("AbuseStamped", "", None),
        ("AbuseStamped", None, None),
        ("EventFinishReasons", None, None),
        ("EventFinishReasons", '{"a": [1, null]}', {"a": [1, None]}),
        ("EventFinishReasons", '["cut', '["cut'),
        ("ModelName", "null", "null"),
        ("ModelName", None, None),
    ],
)
def test_cell_is_written_by_the_type_of_its_column(column: str, cell: object, expected: object) -> None:
    rule = rule_with(output=(*RULE.sequence.output, "AbuseStamped"), published=None)
    event = signal("s", START)._replace(row=with_cells(signal_row("s", START), SIGNALS, **{column: cell}))
    pair = (change("c", START), event)

    assert RowWriter(rule).row(pair, NOW)[column] == expected
    (line,) = RowWriter(rule).lines([pair], NOW)
    assert json.loads(line)[column] == expected


# ----------------------------------------------------------------------------------------------------------- lines


def test_line_is_compact_json_in_ascii() -> None:
    pair = (change("c", START), signal("é", START + HOUR))
    (line,) = RowWriter(rule_with(output=("ConfigTime", "AbuseId", "ConfigId"))).lines([pair], NOW)
    expected = (
        f'"ConfigTime":"2026-03-02T10:00:00Z","AbuseId":"\\u00e9","ConfigId":"c","Beyond":["{OUTSIDE}"]'
    )
    assert line == f"{{{expected}}}"


hours = st.integers(-3, 30).map(lambda number: START + number * HOUR)
stamp_lists = st.lists(hours, max_size=2)
changes = st.builds(
    lambda time, stamps, beyond: change_stamped(time, *stamps, beyond=beyond),
    hours,
    stamp_lists,
    st.sampled_from(('["",""]', '["api_key_actor","role_change_in_update"]')),
)
signals = st.builds(
    lambda time, stamps, beyond: signal_stamped(time, *stamps, beyond=beyond),
    hours,
    stamp_lists,
    st.sampled_from(('[""]', '["finish_reason_missing"]')),
)
outputs = st.permutations(RULE.sequence.output)


@given(st.lists(changes, min_size=1, max_size=3), st.lists(signals, min_size=1, max_size=3), outputs)
def test_lines_are_the_rows_in_any_order_of_columns(
    changes: list[Event], signals: list[Event], output: Sequence[str]
) -> None:
    pairs = [(change_event, signal_event) for change_event in changes for signal_event in signals]
    for published in (RULE.sequence.published, None):
        writer = RowWriter(rule_with(output=tuple(output), published=published))
        lines = [json.loads(line, object_pairs_hook=list) for line in writer.lines(pairs, NOW)]
        assert lines == [list(writer.row(pair, NOW).items()) for pair in pairs]


def test_lines_of_events_that_exist_only_for_their_pair_are_not_mixed_up() -> None:
    def pairs() -> Iterator[Pair]:
        for number in range(100):
            yield change(f"c{number}", START), signal(f"s{number}", START)

    ids = [(row["ConfigId"], row["AbuseId"]) for row in map(json.loads, RowWriter(RULE).lines(pairs(), NOW))]
    assert ids == [(f"c{number}", f"s{number}") for number in range(100)]


class CountedRow(tuple[Any, ...]):
    """A row that counts how often its cells, and those of all others, are read."""

    __slots__ = ()
    reads = 0

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401  # as a tuple's
        CountedRow.reads += 1
        return super().__getitem__(place)


def test_event_is_serialized_once_however_many_pairs_it_is_in() -> None:
    changed = change("c", START)._replace(row=CountedRow(change_row("c", START)))
    signalled = signal("s", START)._replace(row=CountedRow(signal_row("s", START)))
    lines = RowWriter(UNDERIVED).lines([(changed, signalled)] * 3, NOW)
    assert [CountedRow.reads for _ in lines] == [len(RULE.sequence.output)] * 3


# --------------------------------------------------------------------------------------------------------- reasons


def reasons(change_event: Event, signal_event: Event, rule: Rule = RULE) -> tuple[str, ...]:
    return BeyondReasons(rule).reasons((change_event, signal_event), NOW)


@pytest.mark.parametrize("after, expected", [(timedelta(), (OUTSIDE,)), (TICK, ())])
def test_change_at_the_edge_of_the_published_window_is_outside(
    after: timedelta, expected: tuple[str, ...]
) -> None:
    assert reasons(change_stamped(NOW - DAY + after), signal_stamped(NOW)) == expected


@pytest.mark.parametrize(
    "change_beyond, signal_beyond, expected",
    [
        ('["api_key_actor",""]', '[""]', ("api_key_actor",)),
        ('["",""]', '["finish_reason_missing"]', ("finish_reason_missing",)),
        ('["","role_change_in_update"]', '["b","a"]', ("role_change_in_update", "b", "a")),
        ("{}", "null", ()),
        ('"a"', "[]", ()),
    ],
)
def test_reasons_are_those_of_the_change_and_then_those_of_the_signal(
    change_beyond: str, signal_beyond: str, expected: tuple[str, ...]
) -> None:
    pair = change_stamped(NOW, beyond=change_beyond), signal_stamped(NOW, beyond=signal_beyond)
    assert reasons(*pair) == expected


def test_side_whose_query_returns_no_reasons_has_none() -> None:
    rule = rule_with(changes=CHANGES.model_copy(update={"beyond": None}))
    pair = change_stamped(NOW, beyond='["api_key_actor"]'), signal_stamped(NOW, beyond='["a"]')
    assert reasons(*pair, rule) == ("a",)


EDGE = NOW - DAY


@pytest.mark.parametrize(
    "change_stamps, signal_stamps, is_inside",
    [
        ([EDGE], [NOW], False),
        ([EDGE + TICK], [NOW], True),
        ([EDGE + TICK], [EDGE + TICK], True),
        ([EDGE + 2 * TICK], [EDGE + TICK], False),
        ([EDGE + TICK], [EDGE + TICK + DAY], True),
        ([EDGE + TICK], [EDGE + 2 * TICK + DAY], False),
        ([EDGE, EDGE + TICK], [NOW], True),
        ([NOW], [NOW - HOUR, NOW], True),
        ([NOW], [NOW - HOUR, NOW - TICK], False),
    ],
)
def test_restamped_pair_is_inside_if_any_of_its_stamps_are_in_the_window_and_in_order(
    change_stamps: list[datetime], signal_stamps: list[datetime], *, is_inside: bool
) -> None:
    pair = change_stamped(EDGE - HOUR, *change_stamps), signal_stamped(EDGE, *signal_stamps)
    assert reasons(*pair) == (() if is_inside else (OUTSIDE,))


def test_stamps_decide_if_only_the_change_is_restamped() -> None:
    assert reasons(change_stamped(EDGE, NOW - HOUR), signal_stamped(NOW)) == ()


def test_stamps_decide_if_only_a_copy_of_the_change_is_restamped() -> None:
    assert reasons(change_stamped(EDGE, EDGE, NOW - HOUR), signal_stamped(NOW)) == ()


def test_stamps_decide_if_only_the_signal_is_restamped() -> None:
    assert reasons(change_stamped(NOW - HOUR), signal_stamped(NOW, NOW - 2 * HOUR)) == (OUTSIDE,)


# --------------------------------------------------------------------------------------------------------- lengths


def test_value_is_cut_after_the_longest_length() -> None:
    longest = "a" * MAX_VALUE_LENGTH
    assert truncate(longest) == longest
    assert truncate(longest + "b") == longest + "…"


def test_row_is_cut_by_the_text_of_its_values() -> None:
    row = {"text": "abcd", "list": ["a", "b"], "number": 12_345, "short": [1], "none": None}
    expected = {"text": "abcd", "list": "['a'…", "number": "1234…", "short": [1], "none": None}
    assert truncate_row(row, 4) == expected
