"""The rows of a rule at a moment: their order, and the slices that they come from."""

import json
from pathlib import Path

import pytest

from detection.correlation.detection import Detection, correlate_logs, detect, detect_at
from detection.logs.events import Logs, Row
from detection.logs.window import Windows, plan_windows
from detection.rules.model import Rule
from tests.support.builders import (
    ALICE,
    HOUR,
    RULE,
    START,
    change_row,
    first_windows,
    logs,
    signal_row,
    sliced,
)
from tests.support.matching_rules import rule_with_options

NOW = START + 4 * HOUR
BOB = "bob@example.com"
CHANGES = [
    change_row("c2", START, BOB),
    change_row("c1", START),
    change_row("c3", START + HOUR),
]
SIGNALS = [
    signal_row("s2", START + 2 * HOUR),
    signal_row("s3", START + 3 * HOUR),
    signal_row("s1", START + 2 * HOUR),
    signal_row("s4", START + 2 * HOUR, BOB),
    signal_row("s5", START, kind="length"),
]
NEWEST_FIRST = [
    *(("c3", signal) for signal in ("s3", "s2", "s1")),
    ("c2", "s4"),
    *(("c1", signal) for signal in ("s3", "s2", "s1", "s5")),
]
WINDOWS = first_windows(NOW)


class SlicedLogs:
    """A source that hands over a slice for each actor, or all at once."""

    def __init__(self, *, is_sliced: bool) -> None:
        self._is_sliced = is_sliced

    def read(self, rule: Rule, windows: Windows) -> Logs:
        whole = logs(CHANGES, SIGNALS, windows, rule)
        return sliced(whole) if self._is_sliced else whole


def ids(detection: Detection) -> list[tuple[object, object]]:
    return [(row["ConfigId"], row["AbuseId"]) for row in detection.rows()]


@pytest.mark.parametrize("is_sliced", [False, True])
def test_rows_come_from_the_newest_change_and_its_newest_signal_on_and_equal_times_by_id(
    *, is_sliced: bool
) -> None:
    detection = detect(RULE, WINDOWS, SlicedLogs(is_sliced=is_sliced))
    assert ids(detection) == NEWEST_FIRST
    assert list(map(json.loads, detection.lines())) == list(detection.rows())


def test_reasons_of_a_row_are_those_at_the_end_of_the_windows() -> None:
    later = first_windows(NOW + 21 * HOUR)
    for windows, beyond in ((WINDOWS, []), (later, ["outside_published_window"])):
        detection = correlate_logs(logs(CHANGES[1:2], SIGNALS[:1], windows), RULE, windows)
        (row,) = detection.rows()
        (line,) = detection.lines()
        assert row["Beyond"] == json.loads(line)["Beyond"] == beyond


@pytest.mark.parametrize("is_sliced", [False, True])
def test_pairs_of_changes_below_the_threshold_are_counted_and_are_not_rows(*, is_sliced: bool) -> None:
    sequence = RULE.sequence.model_copy(update={"threshold": {"length": 2, "content_filter": 2}})
    rule = RULE.model_copy(update={"sequence": sequence})

    detection = detect(rule, WINDOWS, SlicedLogs(is_sliced=is_sliced))

    assert ids(detection) == [pair for pair in NEWEST_FIRST if pair not in {("c2", "s4"), ("c1", "s5")}]
    assert detection.below_threshold == 2


def test_rule_on_its_own_has_the_windows_of_a_first_run() -> None:
    detection = detect_at(RULE, NOW, SlicedLogs(is_sliced=False))
    assert detection.windows == plan_windows(NOW, None, RULE)
    assert ids(detection) == NEWEST_FIRST


def repeated_pair(rule: Rule, signal: Row) -> Detection:
    return correlate_logs(logs([change_row("c", START)], [signal, signal], WINDOWS, rule), rule, WINDOWS)


@pytest.mark.parametrize("duplicates, count", [("once", 1), ("keep", 2)])
def test_rule_says_whether_a_row_that_the_log_has_twice_pairs_twice(duplicates: str, count: int) -> None:
    sequence = RULE.sequence.model_copy(update={"duplicates": duplicates})
    detection = repeated_pair(RULE.model_copy(update={"sequence": sequence}), signal_row("s", START))
    assert len(list(detection.rows())) == sum(chain.count() for chain in detection.chains) == count


def test_signals_belong_to_the_actors_that_identity_matching_finds(tmp_path: Path) -> None:
    rule = rule_with_options(tmp_path, "[{mapping: users.csv}]")
    actors = ("ann@example.com", BOB, ALICE)
    changes = [change_row(f"c of {actor}", START, actor) for actor in actors]
    signals = [signal_row("s1", START, "shared-desk"), signal_row("s2", START, "salted-b0b")]

    detection = correlate_logs(logs(changes, signals, WINDOWS, rule), rule, WINDOWS)

    assert {chain.actor: [event.id for event in chain.signals] for chain in detection.chains} == {
        "ann@example.com": ["s1"],
        BOB: ["s1", "s2"],
    }
