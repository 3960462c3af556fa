"""Kinds of which a change must reach enough: undecided till then, told as a whole after, and never lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from detection.correlation.correlate import Chain
from detection.correlation.detection import Detection, correlate_logs, detect_at
from detection.correlation.thresholds import split_by_threshold
from detection.logs.events import Event, Logs
from detection.logs.window import Windows, plan_windows
from detection.rules.model import Rule
from detection.rules.silences import Silence, parse_silence
from detection.runs.record import RunRecord
from detection.runs.run import run
from detection.store.incident_store import IncidentStore
from detection.store.silence_list import SilenceList
from detection.store.table import MemoryTable
from tests.support.builders import (
    DAY,
    HOUR,
    RULE,
    START,
    chains,
    change,
    change_row,
    first_windows,
    logs,
    signal,
    signal_row,
    sliced,
)


def with_thresholds(**threshold: int) -> Rule:
    """The default rule with a minimum per kind."""
    return RULE.model_copy(update={"sequence": RULE.sequence.model_copy(update={"threshold": threshold})})


THREE_LENGTHS = with_thresholds(length=3)


def decided_pairs(candidates: list[Chain], rule: Rule = THREE_LENGTHS) -> tuple[set[tuple[str, str]], int]:
    """The pairs of changes that reach their threshold, by id, and the number of the other pairs."""
    reaching, below = split_by_threshold(candidates, rule)
    detection = Detection(rule, first_windows(), logs([], [], first_windows()), reaching, below)
    return {
        (change.id, signal.id) for chain in reaching for change, signal in chain.pairs()
    }, detection.below_threshold


def lengths(number: int, begin: datetime = START, name: str = "s") -> list[Event]:
    return [signal(f"{name}{n}", begin + n * HOUR / 10, kind="length") for n in range(number)]


def test_too_few_of_a_kind_are_undecided() -> None:
    assert decided_pairs(chains([change("c", START)], lengths(2))) == (set(), 2)


def test_enough_of_a_kind_are_all_decided() -> None:
    candidates = chains([change("c", START)], lengths(3))
    assert decided_pairs(candidates) == ({("c", "s0"), ("c", "s1"), ("c", "s2")}, 0)


def test_other_kinds_are_decided_at_once() -> None:
    candidates = chains([change("c", START)], [signal("f", START), signal("s", START, kind="length")])
    assert decided_pairs(candidates) == ({("c", "f")}, 1)


def test_kind_in_capitals_counts_too() -> None:
    candidates = chains([change("c", START)], [signal(f"s{n}", START, kind="LENGTH") for n in range(3)])
    assert len(decided_pairs(candidates)[0]) == 3


def test_signals_of_two_changes_far_apart_do_not_add_up() -> None:
    changes = [change("c1", START - DAY - HOUR), change("c2", START)]
    candidates = chains(changes, [*lengths(2, START - HOUR * 2, "a"), *lengths(2, START, "b")])
    assert decided_pairs(candidates) == (set(), 4)


def test_threshold_belongs_to_the_change() -> None:
    changes = [change("early", START), change("late", START + HOUR / 5)]
    pairs, below = decided_pairs(chains(changes, lengths(3)))
    assert pairs == {("early", "s0"), ("early", "s1"), ("early", "s2")}
    assert below == 1


def test_change_that_reaches_fewer_is_below_although_another_change_reaches_more() -> None:
    changes = [change("c1", START), change("c2", START + 20 * HOUR)]
    signals = [
        signal("s1", START + 21 * HOUR, kind="length"),
        signal("s2", START + 40 * HOUR, kind="length"),
    ]
    pairs, below = decided_pairs(chains(changes, signals), with_thresholds(length=2))
    assert (pairs, below) == ({("c2", "s1"), ("c2", "s2")}, 1)


def test_signal_that_occurs_twice_counts_once() -> None:
    repeated = [*lengths(2), signal("s1", START + HOUR, kind="length")]
    assert decided_pairs(chains([change("c", START)], repeated))[0] == set()


def test_signal_that_occurs_twice_pairs_once_past_the_threshold() -> None:
    repeated = [*lengths(3), signal("s1", START + HOUR, kind="length")]
    reaching, _ = split_by_threshold(chains([change("c", START)], repeated), THREE_LENGTHS)
    assert [chain.count() for chain in reaching] == [3]


def test_without_a_minimum_everything_is_decided() -> None:
    candidates = chains([change("c", START)], lengths(1))
    assert decided_pairs(candidates, RULE) == ({("c", "s0")}, 0)
    assert decided_pairs(candidates, with_thresholds(length=1)) == ({("c", "s0")}, 0)


hours = st.integers(0, 60)
kinds = st.sampled_from(["length", "content_filter"])


@given(st.lists(hours, max_size=5), st.lists(st.tuples(hours, kinds), max_size=12), st.integers(1, 4))
def test_what_is_decided_is_what_a_plain_reading_says(
    changed: list[int], signalled: list[tuple[int, str]], threshold: int
) -> None:
    changes = [change(f"c{n}", START + hour * HOUR) for n, hour in enumerate(changed)]
    signals = [signal(f"s{n}", START + hour * HOUR, kind=kind) for n, (hour, kind) in enumerate(signalled)]
    pairs = [
        (change_event, signal_event)
        for change_event in changes
        for signal_event in signals
        if change_event.time <= signal_event.time <= change_event.time + DAY
    ]
    reached = {
        change_event.id: {
            signal_event.id
            for paired_change, signal_event in pairs
            if paired_change is change_event and signal_event.kind == "length"
        }
        for change_event in changes
    }
    plain = {
        (change_event.id, signal_event.id)
        for change_event, signal_event in pairs
        if signal_event.kind != "length" or len(reached[change_event.id]) >= threshold
    }

    assert decided_pairs(chains(changes, signals), with_thresholds(length=threshold))[0] == plain


@dataclass(frozen=True)
class HourlyLog:
    """A change, and answers cut for length at some moments after it."""

    moments: Sequence[datetime] = tuple(START + n * HOUR for n in range(5))

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """What had happened by then."""
        past = (moment for moment in self.moments if windows.signals.after < moment <= windows.now)
        rows = (signal_row(f"s {moment}", moment, kind="length") for moment in past)
        return logs([change_row("c", START)], rows, windows, rule)


def run_hourly(log: HourlyLog, begin: datetime, runs: int) -> tuple[list[int], list[int]]:
    """How many pairs hourly runs alert, and how many are of a change below its threshold."""
    table, new_pairs, suppressed = MemoryTable(), [], []
    for hour in range(runs):
        now = begin + hour * HOUR
        record, _ = run(THREE_LENGTHS, now, log, IncidentStore(table, THREE_LENGTHS.folder, f"run of {now}"))
        new_pairs.append(record.new_pairs)
        suppressed.append(record.suppressed.below_threshold)
    return new_pairs, suppressed


def test_undecided_signals_are_told_together_once_there_are_enough() -> None:
    assert run_hourly(HourlyLog(), START, 5) == ([0, 0, 3, 1, 1], [1, 2, 0, 0, 0])


def test_signals_at_both_ends_of_a_changes_reach_are_counted_together() -> None:
    minute = HOUR / 60
    ends = HourlyLog((START + 2 * minute, START + DAY - 2 * minute, START + DAY - minute))
    new_pairs, _ = run_hourly(ends, START + 5 * minute, 26)
    assert sum(new_pairs) == 3


def test_matches_counts_what_is_undecided() -> None:
    detection = detect_at(THREE_LENGTHS, START + HOUR, HourlyLog())
    assert (list(detection.rows()), detection.below_threshold) == ([], 2)


@dataclass(frozen=True)
class Arrivals:
    """Rows with the time at which each can first be read."""

    changes: Sequence[tuple[str, datetime]]
    signals: Sequence[tuple[str, datetime, datetime]]

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """The rows that had arrived by then and lie in the windows."""
        changes = [
            change_row(name, time)
            for name, time in self.changes
            if windows.changes.after < time <= windows.now
        ]
        signals = [
            signal_row(name, time, kind="length")
            for name, time, arrived in self.signals
            if windows.signals.after < time and arrived <= windows.now
        ]
        return logs(changes, signals, windows, rule)


def alerted_pairs(
    arrivals: Arrivals, rules: Sequence[Rule], silences: Sequence[Silence] = ()
) -> tuple[list[tuple[str, str]], list[RunRecord]]:
    """The pairs that hourly runs alert, each with the next rule; the last rule stays. And the runs' records."""
    table, pairs, records = MemoryTable(), list[tuple[str, str]](), []
    for silence in silences:
        SilenceList(table, RULE.folder).add(silence)
    for hour in range(60):
        rule, now = rules[min(hour, len(rules) - 1)], START + hour * HOUR
        record, verdicts = run(rule, now, arrivals, IncidentStore(table, rule.folder, f"run of {now}"))
        records.append(record)
        pairs += [
            (change.id, signal.id)
            for verdict in verdicts
            for chain in verdict.new_pairs
            for change, signal in chain.pairs()
        ]
    return pairs, records


def test_signal_that_arrives_late_alerts_for_each_change_that_reaches_enough() -> None:
    early, late = START + HOUR / 6, START + 20 * HOUR
    second_signal = START + 40 * HOUR
    arrivals = Arrivals(
        [("c1", early), ("c2", late)],
        [
            ("s1", START + 21 * HOUR, START + 21 * HOUR),
            ("s2", second_signal, second_signal + 10 * HOUR),
        ],
    )
    pairs, records = alerted_pairs(arrivals, [with_thresholds(length=2)])
    assert sorted(pairs) == [("c2", "s1"), ("c2", "s2")]
    assert [records[hour].suppressed.below_threshold for hour in (20, 21)] == [0, 2]
    assert (records[50].pairs, records[50].new_pairs) == (2, 2)


def test_threshold_that_is_set_repeats_no_pair() -> None:
    arrivals = Arrivals([("c", START)], [(f"s{n}", START + n * HOUR, START + n * HOUR) for n in range(6)])
    pairs, records = alerted_pairs(arrivals, [RULE, RULE, RULE, with_thresholds(length=7)])
    assert sorted(pairs) == [("c", f"s{n}") for n in range(6)]
    # The pairs of a change that stays past the threshold count as pairs, not as below the threshold.
    counts = [
        (record.pairs, record.new_pairs, record.already_alerted, record.suppressed.below_threshold)
        for record in records[:8]
    ]
    assert counts == [(n + 1, 1, n, 0) for n in range(6)] + [(6, 0, 6, 0)] * 2


def test_threshold_that_is_removed_loses_no_pair() -> None:
    arrivals = Arrivals([("c", START)], [(f"s{n}", START + n * HOUR, START + n * HOUR) for n in range(3)])
    pairs, _ = alerted_pairs(arrivals, [with_thresholds(length=5)] * 20 + [RULE])
    assert sorted(pairs) == [("c", f"s{n}") for n in range(3)]


def test_threshold_that_is_removed_for_some_runs_loses_no_pair_of_a_signal_that_was_alerted_before() -> None:
    # c1 reaches s1, which alerted because of c0, and s2. The run that first reads s2 has no threshold: it
    # marks c1, and must find its pair with s1, too.
    c1 = START + HOUR / 2
    s2 = c1 + DAY - HOUR / 10
    signals = [("s0", START + HOUR / 5, START + HOUR), ("s1", c1 + HOUR / 10, START + HOUR)]
    arrivals = Arrivals([("c0", START), ("c1", c1)], [*signals, ("s2", s2, START + 25 * HOUR)])
    two = with_thresholds(length=2)
    pairs, _ = alerted_pairs(arrivals, [two] * 25 + [RULE] * 2 + [two])
    assert sorted(pairs) == [("c0", "s0"), ("c0", "s1"), ("c1", "s1"), ("c1", "s2")]


def test_signals_are_read_as_far_back_as_changes_until_the_last_threshold_is_out_of_view() -> None:
    times = [(hours, START - hours * HOUR) for hours in (46, 47, 48)]
    after = {
        hours: plan_windows(START, START - HOUR, RULE, threshold_until=time).signals.after
        for hours, time in times
    }
    assert after == {46: START - 2 * DAY, 47: START - 2 * DAY, 48: START - DAY}


def test_chunks_of_an_actor_count_as_enough_signals() -> None:
    windows = first_windows(START + HOUR)
    signals = [signal_row(f"s{n}", START + n * HOUR / 10, kind="length") for n in range(5)]
    whole = sliced(logs([change_row("c", START)], signals, windows), max_signals_per_actor=2)
    detections = [correlate_logs(part, THREE_LENGTHS, windows) for part in whole.slices]
    assert len(detections) == 3
    assert [detection.below_threshold for detection in detections] == [0, 0, 0]


def test_silenced_signals_count_towards_the_threshold() -> None:
    arrivals = Arrivals([("c", START)], [(f"s{n}", START + n * HOUR, START + n * HOUR) for n in range(3)])
    values = {"name": "quiet", "owner": "carol", "reason": "x", "signal": "length", "begins": START}
    quiet = parse_silence({**values, "expires": START + 2 * HOUR})
    pairs, records = alerted_pairs(arrivals, [THREE_LENGTHS], [quiet])
    assert pairs == [("c", "s2")]
    assert [dict(record.silenced) for record in records[:4]] == [{}, {}, {"quiet": 2}, {}]
