"""A key with more signals than are marked one by one."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Literal

import pytest

from detection.base.timestamps import iso
from detection.correlation.correlate import Chain
from detection.incidents.decide import Circumstances, Verdict, decide
from detection.incidents.floods import Flood, actor_digest, floods_of, merge_floods
from detection.incidents.key_state import KeyState
from detection.incidents.keys import Key
from detection.incidents.marks import signal_marks
from detection.logs.events import Event, Logs
from detection.logs.window import Window, Windows, plan_windows
from detection.messages.context import alert_context, digest_entry
from detection.messages.facts import lines
from detection.messages.native import native
from detection.messages.slack import slack
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import run
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable
from tests.support.builders import (
    ALICE,
    DAY,
    HOUR,
    RULE,
    START,
    account,
    chains,
    change,
    change_row,
    first_windows,
    grouped_by,
    logs,
    signal,
    signal_row,
    sliced,
)
from tests.support.examples import examples, many
from tests.support.world import (
    Arrival,
    Configuration,
    Crash,
    Faults,
    FaultyTable,
    LogStore,
    PairIds,
    Plan,
    row_of,
)
from tests.support.world.commit_witness import CommitWitness

LIMIT = 10
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
NOW = START + HOUR
ALICES = account(ALICE)
ANY_ALERT = grouped_by("AnyAlert")
BOB = "bob@example.com"
CAROL = "carol@example.com"


class GrowingLogs:
    """A log store that fills up: changes and signals by id, each with its actor and time."""

    def __init__(self) -> None:
        self.changes: dict[str, tuple[str, datetime]] = {"c": (ALICE, START)}
        self.signals: dict[str, tuple[str, datetime]] = {}
        self.max_signals_per_actor: int | None = None

    def read(self, rule: Rule, windows: Windows) -> Logs:
        changes = [change_row(ident, time, actor) for ident, (actor, time) in self.changes.items()]
        signals = [signal_row(ident, time, actor) for ident, (actor, time) in self.signals.items()]
        whole = logs(changes, signals, windows, rule)
        return sliced(whole, self.max_signals_per_actor) if self.max_signals_per_actor else whole

    def add(self, number: int, start: datetime = START, actor: str = ALICE) -> list[str]:
        """Adds signals of an actor, a second apart; returns their names."""
        names = [f"s{len(self.signals) + offset}" for offset in range(number)]
        self.signals |= {name: (actor, start + offset * SECOND) for offset, name in enumerate(names)}
        return names


@pytest.fixture
def log() -> GrowingLogs:
    return GrowingLogs()


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


def run_once(
    log: GrowingLogs, table: MemoryTable, now: datetime = NOW, rule: Rule = RULE
) -> tuple[RunRecord, list[Verdict]]:
    return run(
        rule, now, log, IncidentStore(table, rule.folder, f"run {now}"), RunOptions(flood_signals=LIMIT)
    )


def loaded_state(table: MemoryTable, key: Key = ALICES) -> KeyState:
    return IncidentStore(table, RULE.folder, "look").load([key])[key]


def flood(begin: datetime, end: datetime, actor: str = ALICE) -> Flood:
    return Flood(actor_digest(actor), begin, end)


def flood_of_signal(event: Event, begin: datetime, end: datetime, actor: str = ALICE) -> Flood:
    """The flood of a signal of an actor, over the changes from `begin` to `end`."""
    (mark,) = signal_marks(Chain(actor, [], [event], [], once=True))
    return Flood(mark, begin, end)


def circumstances() -> Circumstances:
    return Circumstances(RULE, first_windows(NOW), flood_signals=LIMIT)


def committed(changes: Sequence[Event], signals: Sequence[Event]) -> KeyState:
    """The state of a key after a decision on these events."""
    verdict = decide(chains(changes, signals), circumstances(), KeyState(account()))
    assert verdict
    return verdict.state


def alerted_pairs(verdicts: Iterable[Verdict]) -> list[PairIds]:
    pairs = (pair for verdict in verdicts for chain in verdict.new_pairs for pair in chain.pairs())
    return sorted((change.id, signal.id) for change, signal in pairs)


def test_as_many_signals_as_the_limit_are_marked_one_by_one(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(LIMIT)
    run_once(log, table)
    state = loaded_state(table)
    assert (len(state.signals), state.floods) == (LIMIT, ())


def test_one_more_is_a_flood_that_is_alerted_whole_in_one_alert(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(LIMIT + 1)
    record, (verdict,) = run_once(log, table)
    latest = START + timedelta(seconds=LIMIT)
    assert verdict.alert
    assert (record.new_pairs, verdict.alert.flood_until) == (LIMIT + 1, latest)
    assert (loaded_state(table).signals, loaded_state(table).floods) == ({}, (flood(START, latest),))


def test_alert_of_no_flood_does_not_speak_of_one(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(LIMIT)
    _, (verdict,) = run_once(log, table)
    assert verdict.alert
    assert verdict.alert.flood_until is None
    assert not any("High volume" in line for line in lines(verdict.alert, RULE))


def test_a_flood_is_alerted_once(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(3 * LIMIT)
    run_once(log, table)
    record, verdicts = run_once(log, table, NOW + MINUTE)
    assert (record.pairs, record.new_pairs, verdicts) == (3 * LIMIT, 0, [])


def test_rows_that_arrive_late_within_a_flood_count_as_alerted(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(3 * LIMIT)
    run_once(log, table)
    log.changes["late"] = ALICE, START + SECOND
    log.signals["late"] = ALICE, START + 2 * SECOND
    record, _ = run_once(log, table, NOW + MINUTE)
    assert record.new_pairs == 0


def test_signals_after_a_flood_are_alerted_and_marked_one_by_one(
    log: GrowingLogs, table: MemoryTable
) -> None:
    log.add(3 * LIMIT)
    run_once(log, table)
    log.add(2, start=NOW)
    record, _ = run_once(log, table, NOW + HOUR)
    assert (record.new_pairs, len(loaded_state(table).signals)) == (2, 2)


def test_a_key_never_keeps_more_marks_than_the_limit(log: GrowingLogs, table: MemoryTable) -> None:
    alerted_count = 0
    for hour in range(1, 20):
        log.add(4, start=START + hour * HOUR - MINUTE)
        alerted_count += run_once(log, table, START + hour * HOUR)[0].new_pairs
        assert len(loaded_state(table).signals) <= LIMIT
    assert alerted_count == 4 * 19


@pytest.mark.parametrize("max_signals_per_actor", [1, 7, 100])
def test_chunks_of_an_actor_are_each_alerted_once(
    log: GrowingLogs, table: MemoryTable, max_signals_per_actor: int
) -> None:
    log.add(5 * LIMIT)
    log.max_signals_per_actor = max_signals_per_actor
    record, verdicts = run_once(log, table)
    second_record, _ = run_once(log, table, NOW + MINUTE)
    assert (record.new_pairs, second_record.new_pairs) == (5 * LIMIT, 0)
    assert len(verdicts) == max(5 * LIMIT // max_signals_per_actor, 1) + (max_signals_per_actor == 7)
    assert len(loaded_state(table).signals) <= LIMIT


def test_a_late_signal_before_a_flood_alerts(log: GrowingLogs, table: MemoryTable) -> None:
    log.changes["earlier"] = ALICE, START - HOUR
    log.add(LIMIT + 1)
    run_once(log, table)
    log.signals["late"] = ALICE, START - SECOND
    _, verdicts = run_once(log, table, NOW + MINUTE)
    assert alerted_pairs(verdicts) == [("earlier", "late")]


def test_floods_stay_apart_and_a_late_signal_between_them_alerts(
    log: GrowingLogs, table: MemoryTable
) -> None:
    log.add(LIMIT + 1)
    run_once(log, table)
    log.add(LIMIT + 1, start=NOW)
    run_once(log, table, NOW + HOUR)
    log.signals["between"] = ALICE, START + 30 * MINUTE
    _, verdicts = run_once(log, table, NOW + HOUR + MINUTE)
    assert loaded_state(table).floods == (
        flood(START, START + LIMIT * SECOND),
        flood(NOW, NOW + LIMIT * SECOND),
    )
    assert alerted_pairs(verdicts) == [("c", "between")]


def test_a_flood_covers_no_signal_that_was_alerted_before_it(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(2)
    run_once(log, table)
    log.add(LIMIT, start=NOW)
    run_once(log, table, NOW + HOUR)
    assert (len(loaded_state(table).signals), loaded_state(table).floods) == (
        2,
        (flood(NOW, NOW + 9 * SECOND),),
    )
    record, _ = run_once(log, table, NOW + HOUR + MINUTE)
    assert record.new_pairs == 0


def test_a_late_change_in_a_flood_alerts_once_with_the_signals_marked_before(
    log: GrowingLogs, table: MemoryTable
) -> None:
    log.add(2)
    run_once(log, table)
    log.changes["late"] = ALICE, START
    log.add(LIMIT, start=NOW)
    record, _ = run_once(log, table, NOW + HOUR)
    assert record.new_pairs == 2 * LIMIT + 2
    assert run_once(log, table, NOW + HOUR + MINUTE)[0].new_pairs == 0


def test_no_further_actor_floods_once_the_other_signals_are_exactly_as_many_as_the_limit(
    log: GrowingLogs, table: MemoryTable
) -> None:
    log.changes["bob"] = BOB, START
    log.add(LIMIT)
    log.add(LIMIT + 1, actor=BOB)
    run_once(log, table, rule=ANY_ALERT)
    state = loaded_state(table, key=())
    assert state.floods == (flood(START, START + LIMIT * SECOND, BOB),)
    assert len(state.signals) == LIMIT


@pytest.mark.parametrize("max_signals_per_actor", [None, 7, 1_000])
@pytest.mark.parametrize("rule", [ANY_ALERT, grouped_by("Selected", "IP")], ids=["AnyAlert", "IP"])
def test_a_flood_of_an_actor_leaves_the_pairs_of_other_actors(
    log: GrowingLogs, table: MemoryTable, rule: Rule, max_signals_per_actor: int | None
) -> None:
    log.max_signals_per_actor = max_signals_per_actor
    log.changes |= {"bob": (BOB, START), "carol": (CAROL, START)}
    log.add(5 * LIMIT)
    log.add(2, actor=BOB)
    log.add(1, actor=CAROL)
    record, _ = run_once(log, table, rule=rule)
    assert record.new_pairs == 5 * LIMIT + 3
    log.signals["late"] = BOB, START + SECOND
    record, _ = run_once(log, table, NOW + MINUTE, rule)
    assert record.new_pairs == 1


def test_the_actor_with_the_most_signals_floods_first_then_the_next(
    log: GrowingLogs, table: MemoryTable
) -> None:
    log.changes |= {"bob": (BOB, START), "carol": (CAROL, START)}
    log.add(8, actor=BOB)
    log.add(4, actor=CAROL)
    log.add(7)
    _, (verdict,) = run_once(log, table, rule=ANY_ALERT)
    state = loaded_state(table, ())
    assert {flood.subject for flood in state.floods} == {actor_digest(BOB), actor_digest(ALICE)}
    assert len(state.signals) == 4
    assert verdict.alert
    assert (verdict.alert.actor, verdict.alert.flood_until) == (BOB, START + 7 * SECOND)
    assert verdict.pairs == 19


def test_a_signal_whose_mark_moves_to_a_later_day_counts_once() -> None:
    names = [f"s{number}" for number in range(LIMIT)]
    state = committed([change("c", START)], [signal(name, START) for name in names[2:]])
    moved = [signal(name, START + 20 * HOUR) for name in names]
    verdict = decide(chains([change("c", START)], moved), circumstances(), state)
    assert verdict
    assert (verdict.state.floods, alerted_pairs([verdict])) == ((), [("c", "s0"), ("c", "s1")])
    assert set(verdict.state.signals.values()) == {(START + 20 * HOUR).date()}


def test_marks_of_a_flooding_actor_move_to_a_later_day_in_the_next_part() -> None:
    state = committed([change("c", START)], [signal("s", START)])
    moved = signal("s", START + 20 * HOUR)
    events = [signal(f"n{number}", START + HOUR + number * SECOND) for number in range(LIMIT)]
    verdict = decide(chains([change("c", START)], [moved, *events]), circumstances(), state)
    assert verdict
    assert (verdict.has_more, len(verdict.state.floods), verdict.pairs) == (True, 1, LIMIT)
    second = decide(chains([change("c", START)], [moved, *events]), circumstances(), verdict.state)
    assert second
    assert (second.has_more, second.alert, [*second.state.signals.values()]) == (
        False,
        None,
        [moved.time.date()],
    )


def test_pairs_of_a_gap_before_a_flood_alert() -> None:
    state = replace(KeyState(account()), floods=(flood(START, NOW),))
    gap = replace(first_windows(NOW), signals=Window(START - 3 * DAY, START - DAY))
    pairs = chains([change("c", START - 2 * DAY)], [signal("s", START - 2 * DAY + HOUR)])
    verdict = decide(pairs, replace(circumstances(), windows=gap), state)
    assert verdict
    assert (verdict.pairs, verdict.state.floods) == (1, state.floods)


def test_a_flood_covers_no_time_of_a_gap_around_a_signal_that_was_marked_before() -> None:
    """A late change alerts with a marked signal in the gap; other signals of the gap are left to its reading."""
    gap_end = START + HOUR
    gap = Window(START - DAY, gap_end)
    state = committed([change("early", START)], [signal("marked", START + MINUTE)])
    late_changes = [change("late", START)]
    signals = [signal(f"s{number}", gap_end + number * SECOND) for number in range(1, LIMIT + 2)]
    marked_signal, unread_signal = signal("marked", START + MINUTE), signal("in-gap", START + 2 * MINUTE)

    windows = replace(first_windows(NOW), gap=gap)
    verdict = decide(
        chains(late_changes, [marked_signal, *signals]), replace(circumstances(), windows=windows), state
    )
    assert verdict
    assert verdict.pairs == len(signals) + 1
    assert set(verdict.state.floods) == {
        flood_of_signal(marked_signal, START, START),
        flood(signals[0].time, signals[-1].time),
    }
    assert verdict.alert
    assert verdict.alert.flood_until == signals[-1].time

    part = replace(first_windows(NOW), changes=gap, signals=Window(START - DAY, NOW))
    of_gap = decide(
        chains(late_changes, [marked_signal, unread_signal, *signals]),
        replace(circumstances(), windows=part),
        verdict.state,
    )
    assert of_gap
    assert alerted_pairs([of_gap]) == [("late", "in-gap")]


def flood_around_a_gap(gap: Window, marked_signal: Event, last_change: datetime) -> KeyState:
    """The state after a flood that alerted a signal in the gap, which was marked before, with a late change."""
    state = committed([change("early", START)], [marked_signal])
    assert gap.until
    signals = [signal(f"s{number}", gap.until + number * SECOND) for number in range(1, LIMIT + 2)]
    windows = replace(first_windows(NOW), gap=gap)
    late_changes = [change("late", START), change("last", last_change)]
    verdict = decide(
        chains(late_changes, [marked_signal, *signals]), replace(circumstances(), windows=windows), state
    )
    assert verdict
    assert verdict.state.floods
    return verdict.state


def test_a_flood_of_a_marked_signal_in_a_gap_covers_no_other_signal_of_its_moment() -> None:
    """Logs in whole seconds have many signals of one moment."""
    gap = Window(START - DAY, START + HOUR)
    marked_signal, unread_signal = signal("marked", START + MINUTE), signal("in-gap", START + MINUTE)
    state = flood_around_a_gap(gap, marked_signal, START)

    part = replace(first_windows(NOW), changes=gap, signals=Window(START - DAY, NOW))
    of_gap = decide(
        chains([change("late", START)], [marked_signal, unread_signal]),
        replace(circumstances(), windows=part),
        state,
    )
    assert of_gap
    assert alerted_pairs([of_gap]) == [("late", "in-gap")]


def test_a_flood_of_a_signal_covers_no_change_that_only_another_part_of_the_gap_reads() -> None:
    """A part alerts a marked signal that was delivered again under a time in the next part."""
    gap = Window(START - DAY, START + HOUR)
    marked_signal = signal("marked", START + 50 * MINUTE)
    state = flood_around_a_gap(gap, marked_signal, START + 10 * MINUTE)

    next_part = replace(first_windows(NOW), changes=gap, signals=Window(START - DAY, NOW))
    changes = [
        change("late", START),
        change("last", START + 10 * MINUTE),
        change("next", START + 40 * MINUTE),
    ]
    verdict = decide(chains(changes, [marked_signal]), replace(circumstances(), windows=next_part), state)
    assert verdict
    assert alerted_pairs([verdict]) == [("next", "marked")]


def test_more_floods_of_signals_than_a_head_holds_are_floods_of_their_moments() -> None:
    gap = Window(START - DAY, START + HOUR)
    marked = [signal(f"m{number}", START + number * SECOND) for number in range(3)]
    chain = chains([change("c", START)], marked)
    outside = replace(first_windows(NOW), gap=gap).new_signals()
    assert floods_of(ALICE, chain, outside, limit=3) == sorted(
        flood_of_signal(event, START, START) for event in marked
    )
    assert floods_of(ALICE, chain, outside, limit=2) == [flood(event.time, event.time) for event in marked]


def test_a_flood_covers_no_gap_that_an_earlier_run_recorded() -> None:
    gap = Window(START + HOUR, START + 2 * HOUR)
    before, in_gap = signal("before", START + MINUTE), signal("in-gap", START + 90 * MINUTE)
    signals = [signal(f"s{number}", START + 2 * HOUR + number * SECOND) for number in range(1, LIMIT + 2)]

    verdict = decide(
        chains([change("c", START)], [before, in_gap, *signals]),
        replace(circumstances(), open_gaps=[gap]),
        KeyState(account()),
    )
    assert verdict
    assert "in-gap" not in {signal_id for _, signal_id in alerted_pairs([verdict])}
    assert set(verdict.state.floods) == {
        flood(before.time, before.time),
        flood(signals[0].time, signals[-1].time),
    }
    assert verdict.alert
    assert verdict.alert.flood_until == signals[-1].time


def test_a_chunk_with_a_late_change_alerts_its_pairs_with_marked_signals_once() -> None:
    """A chunk shows some signals only: marking the change would lose its pairs in the chunks that follow."""
    early, late = signal("early", START + MINUTE), signal("late", START + HOUR)
    state = committed([change("c", START)], [early, late])
    changes = [change("c", START), change("new", START)]
    pairs: list[PairIds] = []
    for signals in ([early], [late], [early, late]):
        verdict = decide(
            chains(changes, signals), replace(circumstances(), is_chunk=len(signals) == 1), state
        )
        if verdict:
            state = verdict.state
            pairs += alerted_pairs([verdict])
    assert sorted(pairs) == [("new", "early"), ("new", "late")]


def test_floods_end_when_no_run_can_read_their_time(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(LIMIT + 1)
    floods = {}
    for day in range(8):
        now = NOW + day * DAY
        run_once(log, table, now)
        store = IncidentStore(table, RULE.folder, "look")
        store.watermark()
        floods[day] = (store.load([account()])[account()].floods, store.kept_since)
    assert all(
        bool(floods) == (kept_since is None or kept_since <= START + LIMIT * SECOND)
        for floods, kept_since in floods.values()
    )
    assert [bool(floods) for floods, _ in floods.values()][::7] == [True, False]


def test_a_flood_stays_while_a_run_can_read_its_last_signal(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(LIMIT + 1)
    run_once(log, table)
    store = IncidentStore(table, RULE.folder, "look")
    store.kept_since = START + LIMIT * SECOND
    assert store.load([account()])[account()].floods
    store.kept_since += SECOND
    assert not store.load([account()])[account()].floods


def test_a_flood_under_the_former_grouping_counts_as_alerted(log: GrowingLogs, table: MemoryTable) -> None:
    log.changes["bob"] = BOB, START
    log.add(LIMIT + 1)
    run_once(log, table)
    log.add(2, actor=BOB)
    log.signals["late"] = ALICE, START + 2 * SECOND
    _, verdicts = run_once(log, table, NOW + HOUR, ANY_ALERT)
    assert [change for change, _ in alerted_pairs(verdicts)] == ["bob", "bob"]


def test_marks_outside_a_flood_stay_valid_whatever_is_flooded_after_them(
    log: GrowingLogs, table: MemoryTable
) -> None:
    for hour in range(12):
        log.add(3, start=START + hour * HOUR)
        run_once(log, table, START + (hour + 1) * HOUR)
    assert loaded_state(table).floods
    assert run_once(log, table, START + 13 * HOUR)[0].new_pairs == 0


def test_floods_that_overlap_are_one_and_floods_of_two_actors_are_two() -> None:
    floods = [
        flood(START, NOW),
        flood(NOW, NOW + HOUR),
        flood(START + MINUTE, NOW, BOB),
        flood(NOW + 2 * HOUR, NOW + 3 * HOUR),
    ]
    assert set(merge_floods(floods)) == {
        flood(START, NOW + HOUR),
        flood(NOW + 2 * HOUR, NOW + 3 * HOUR),
        flood(START + MINUTE, NOW, BOB),
    }


def test_a_key_has_an_upper_bound_of_floods_and_the_closest_become_one() -> None:
    times = [START, START + MINUTE, START + DAY, START + DAY + SECOND]
    floods = [*(flood(time, time) for time in times), flood(START, START, BOB)]
    assert set(merge_floods(floods, limit=3)) == {
        flood(START, times[1]),
        flood(times[2], times[3]),
        flood(START, START, BOB),
    }


def test_floods_up_to_the_bound_stay_apart() -> None:
    floods = (flood(START, START), flood(NOW, NOW))
    assert merge_floods(floods, limit=2) == floods
    assert set(merge_floods([flood(START, START), flood(START, START, BOB)], limit=1)) == {
        flood(START, START),
        flood(START, START, BOB),
    }


def test_a_head_holds_as_many_floods_as_a_key_may_have(table: MemoryTable) -> None:
    floods = tuple(sorted(flood(START, START + SECOND, f"{number}") for number in range(20_000)))
    verdict = decide(chains([change("c", START)], [signal("s", START)]), circumstances(), KeyState(account()))
    assert verdict
    store = IncidentStore(table, RULE.folder, "run")
    store.commit([store.prepare(replace(verdict, state=replace(verdict.state, floods=floods)))])
    assert loaded_state(table).floods == floods


def test_every_format_says_so(log: GrowingLogs, table: MemoryTable) -> None:
    log.add(LIMIT + 1)
    _, (verdict,) = run_once(log, table)
    assert verdict.alert
    until = iso(START + timedelta(seconds=LIMIT))
    words = f"High volume: this alert covers everything of this actor up to {until}; later activity alerts separately"
    context = alert_context(verdict, RULE, plan_windows(NOW, None, RULE))
    assert f"  {words}" in lines(verdict.alert, RULE)
    assert words in slack(context).decode()
    assert f'"flood_until":"{until}"' in native(context).decode()
    assert digest_entry(verdict.alert, RULE).title.endswith(words)


# ------------------------------------------------------------------------------------------ random worlds of floods


@dataclass
class FloodWorld:
    """Several actors in one key, with an hourly run that dies now and then."""

    seed: int
    table: MemoryTable = field(default_factory=MemoryTable)
    alerted: Counter[PairIds] = field(default_factory=Counter)
    floods: list[tuple[Flood, datetime]] = field(default_factory=list)
    most_marks: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.limit = self.random.randint(1, 8)
        self.rule = self.random.choice((ANY_ALERT, grouped_by("Selected", "IP"), RULE))
        self.rows = [*self._rows("changes", 8), *self._rows("signals", 60)]

    def _rows(self, side: Literal["changes", "signals"], number: int) -> Iterator[Arrival]:
        actors = (ALICE, ALICE, ALICE, BOB, BOB, CAROL)
        for count in range(self.random.randint(2, number)):
            time = START + self.random.random() ** 2 * 2 * DAY
            delay = self.random.choice((MINUTE, 10 * MINUTE, self.random.random() * 22 * HOUR))
            yield Arrival(side, f"{side[0]}{count}", self.random.choice(actors), time, time, time + delay)

    def live(self) -> None:
        """Executes all runs, the last two without trouble."""
        rows = [(arrival, row_of(arrival, Configuration())) for arrival in self.rows]
        now, end = START, max(arrival.arrived for arrival in self.rows) + 3 * DAY
        while now < end:
            is_clean = now == START or end - now < 2 * DAY
            crash = None if is_clean or self.random.random() < 0.7 else self.random.randint(1, 4)
            faults = Faults(crash, crash_after=self.random.random() < 0.5)
            source = LogStore(Plan(now, now), rows, lambda: START, self.random.randint(1, self.limit))
            store = FloodStore(FaultyTable(self.table, faults), self, now)
            options = RunOptions(flood_signals=self.limit, events_per_part=self.random.choice((1, 3, 1_000)))
            with suppress(Crash):
                run(self.rule, now, source, store, options)
            now += HOUR * self.random.choice((1, 1, 1, 7))

    def lost(self) -> list[PairIds]:
        """The pairs that were not alerted, and that no flood covered before they could be read."""
        changes = [arrival for arrival in self.rows if arrival.side == "changes"]
        signals = [arrival for arrival in self.rows if arrival.side == "signals"]
        return [
            (change.id, signal.id)
            for change in changes
            for signal in signals
            if change.actor == signal.actor
            and change.time <= signal.time <= change.time + DAY
            and not self.alerted[change.id, signal.id]
            and not any(
                flood.subject == actor_digest(signal.actor)
                and flood.begin <= signal.time <= flood.end
                and read_at < max(change.arrived, signal.arrived)
                for flood, read_at in self.floods
            )
        ]


class FloodStore(CommitWitness):
    """A witness of alerted pairs, floods and marks."""

    page = 3

    def __init__(self, table: FaultyTable, world: FloodWorld, now: datetime) -> None:
        super().__init__(table, world.rule.folder, f"run {now}")
        self._world, self._now = world, now

    def load(self, keys: Iterable[Key]) -> dict[Key, KeyState]:
        states = super().load(keys)
        for state in states.values():
            self._world.most_marks = max(self._world.most_marks, len(state.signals))
        return states

    def note_commit(self, verdict: Verdict) -> None:
        self._world.alerted.update(alerted_pairs([verdict]))
        self._world.floods += [(flood, self._now) for flood in verdict.state.floods]


@many
def test_floods_of_several_actors_lose_only_pairs_that_they_cover_and_repeat_none() -> None:
    worlds = [FloodWorld(seed) for seed in range(examples(60, many=600))]
    for world in worlds:
        world.live()
    assert not [(world.seed, world.lost()) for world in worlds if world.lost()]
    assert not [world.seed for world in worlds if world.alerted and max(world.alerted.values()) > 1]
    assert not [world.seed for world in worlds if world.most_marks > world.limit]
    assert sum(bool(world.floods) for world in worlds) > len(worlds) / 2
