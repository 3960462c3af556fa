"""The life of a gap: an outage longer than MAX_CATCH_UP records it, readings alert what is new in it, part by part,
and every pair is alerted once.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

import pytest

from detection.base.deadlines import LONGEST_RUN
from detection.base.errors import ServiceError
from detection.incidents.decide import Verdict
from detection.logs.events import Logs, Row
from detection.logs.window import MAX_CATCH_UP, Window, Windows
from detection.messages.context import DigestEntry
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import read_gap, run
from detection.store.gaps import GAP_KEPT, Gap, GapList
from detection.store.incident_store import IncidentStore
from detection.store.layout import day_of
from detection.store.outbox import Delivery, Outbox
from detection.store.table import PAGE, Conflict, Entity, MemoryTable
from tests.support.builders import DAY, HOUR, RULE, START, change_row, logs, signal_row
from tests.support.world import Crash, Faults, FaultyTable
from tests.support.world.commit_witness import CommitWitness

MINUTE = timedelta(minutes=1)
WORLDS = 60
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


def with_threshold(signals: int, within: timedelta = RULE.sequence.within) -> Rule:
    threshold = {"content_filter": signals} if signals > 1 else {}
    sequence = RULE.sequence.model_copy(update={"threshold": threshold, "within": within})
    return RULE.model_copy(update={"sequence": sequence})


class Store(CommitWitness):
    """The store of a run, which notes every pair that it has alerted."""

    def __init__(self, table: FaultyTable, token: str, alerted: Counter[tuple[str, str]]) -> None:
        super().__init__(table, RULE.folder, token)
        self._alerted = alerted

    def note_commit(self, verdict: Verdict) -> None:
        pairs = (pair for chain in verdict.new_pairs for pair in chain.pairs())
        self._alerted.update((change.id, signal.id) for change, signal in pairs)


class Job:
    """Runs over the rows, on one table. A `crash` is the number of the write that the process dies at."""

    def __init__(
        self,
        changes: Sequence[Arrival],
        signals: Sequence[Arrival],
        options: RunOptions,
        rule: Rule = RULE,
    ) -> None:
        self._source, self._options, self._rule = ArrivedLogs(changes, signals), options, rule
        self.table = MemoryTable()
        self.alerted = Counter[tuple[str, str]]()

    def run(self, now: datetime, crash: int | None = None) -> RunRecord:
        return run(self._rule, now, self._source, self._store(now, crash), self._options)[0]

    def read_gap(
        self, now: datetime, crash: int | None = None, number: int = 0, gap: Gap | None = None
    ) -> list[RunRecord]:
        """Reads a gap as it was listed; by default the oldest open gap."""
        gap, store = gap or self.gaps.open_gaps()[number], self._store(now, crash)
        return list(read_gap(self._rule, gap, lambda: now, self._source, store, self._options))

    @property
    def gaps(self) -> GapList:
        return GapList(self.table, RULE.folder)

    def marked_days(self) -> set[str]:
        return {row.row.split("|")[1] for row in self.table.scan(RULE.folder, "p|", "p}")}

    def _store(self, now: datetime, crash: int | None) -> Store:
        table = FaultyTable(self.table, Faults(crash=crash))
        return Store(table, f"{now.isoformat()} {crash}", self.alerted)


def at(time: datetime, name: str, row: Callable[..., Row], delay: timedelta = MINUTE) -> Arrival:
    return Arrival(row(name, time), time + delay)


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
    back = START + MAX_CATCH_UP + 9 * DAY

    after_outage = job.run(back)

    assert (after_outage.new_pairs, after_outage.suppressed.too_late) == (0, 0)
    [gap] = job.gaps.open_gaps()
    assert Window(gap.after, gap.until) == after_outage.windows.gap
    assert after_outage.open_gaps == [gap.id] == job.run(back + HOUR).open_gaps
    [gap_record] = job.read_gap(back + HOUR)
    assert (gap_record.new_pairs, gap_record.already_alerted, gap_record.open_gaps) == (1, 1, [])
    assert job.run(back + 2 * HOUR).open_gaps == []


OUTAGE = 6 * DAY  # with a catch-up of a day, most of it becomes a gap
BACK = START + OUTAGE
DAILY = RunOptions(max_catch_up=DAY)  # so the gap is read in parts of a day


def story() -> tuple[list[Arrival], list[Arrival]]:
    """A change and a signal an hour after it, on each day of the outage."""
    days = [START + number * DAY for number in range(6)]
    changes = [at(day, f"c{number}", change_row) for number, day in enumerate(days)]
    signals = [at(day + HOUR, f"s{number}", signal_row) for number, day in enumerate(days)]
    return changes, signals


def outage(rule: Rule = RULE) -> Job:
    """The job after an outage that left a gap."""
    job = Job(*story(), DAILY, rule)
    job.run(START)
    job.run(BACK)
    return job


def test_a_gap_is_read_in_parts_whose_ends_are_recorded() -> None:
    job = outage()
    [gap] = job.gaps.gaps()

    records = job.read_gap(BACK + HOUR)

    assert {record.previous_watermark for record in records} == {BACK}
    ends = [record.windows.changes.until for record in records]
    assert len(ends) > 3
    assert ends[:-1] == [gap.after + number * DAY for number in range(1, len(ends))]
    [closed_gap] = job.gaps.gaps()
    assert (closed_gap.state, closed_gap.read_until, closed_gap.closed) == ("read", gap.until, BACK + HOUR)
    assert job.alerted == {(f"c{number}", f"s{number}"): 1 for number in range(6)}


@pytest.mark.parametrize("crash", range(1, 7))
def test_a_reading_that_is_killed_and_repeated_after_midnight_alerts_nothing_twice(crash: int) -> None:
    job = outage()
    with pytest.raises(Crash):
        job.read_gap(BACK + HOUR, crash)
    alerted = job.alerted.total()
    for hours in (20, 44, 68):  # each run purges once a day
        job.run(BACK + hours * HOUR)

    records = job.read_gap(BACK + 70 * HOUR)

    assert job.alerted == {(f"c{number}", f"s{number}"): 1 for number in range(6)}
    assert sum(record.new_pairs for record in records) == 6 - alerted


def test_marks_of_a_gap_are_deleted_once_it_is_read() -> None:
    job = outage()
    [gap] = job.gaps.gaps()
    with pytest.raises(Crash):
        job.read_gap(BACK + HOUR, 4)
    for days in range(1, 5):
        job.run(BACK + days * DAY)
    store = IncidentStore(job.table, RULE.folder, "look")
    store.watermark()
    assert day_of(START) in job.marked_days()
    assert store.kept_since
    assert store.keeps_marks_of(gap.until, gap.until)
    assert not store.keeps_marks_of(gap.marks.after, gap.marks.after)

    job.read_gap(BACK + 4 * DAY + HOUR)
    job.run(BACK + 5 * DAY)

    store.watermark()
    assert day_of(START) not in job.marked_days()
    assert not store.keeps_marks_of(gap.until, gap.until)


def test_the_same_key_may_be_read_again_right_after_its_last_run() -> None:
    late = BACK - DAY
    changes, signals = story()
    job = Job([*changes, at(late, "c-new", change_row)], [*signals, at(BACK, "s-new", signal_row)], DAILY)
    job.run(START)
    job.run(BACK + MINUTE)
    assert job.alerted["c-new", "s-new"] == 1

    assert len(job.read_gap(BACK + 2 * MINUTE)) > 1


@pytest.mark.parametrize("support", [-2 * HOUR, 2 * HOUR], ids=["before", "after"])
def test_signals_before_and_after_a_gap_count_towards_thresholds(support: timedelta) -> None:
    end = START - RULE.lateness if support < timedelta(0) else BACK - DAY - RULE.lateness
    change_time, signal_time = end - 3 * HOUR, end - support / 2
    job = Job(
        [at(change_time, "c", change_row)],
        [at(end + support, "support", signal_row), at(signal_time, "s", signal_row, DAY)],
        DAILY,
        with_threshold(2),
    )
    job.run(START)
    job.run(BACK)
    if job.gaps.open_gaps():
        job.read_gap(BACK + HOUR)

    assert job.alerted == {("c", "support"): 1, ("c", "s"): 1}


def test_pairs_that_are_left_to_another_reading_are_not_counted_as_alerted() -> None:
    end = BACK - DAY - RULE.lateness
    changes = [at(end + hours * HOUR, f"c{hours}", change_row) for hours in (-26, -3)]
    signals = [at(end + hours * HOUR, f"s{hours}", signal_row) for hours in (-25, -1, 1)]
    job = Job(changes, signals, DAILY)
    job.run(START)

    record = job.run(BACK)
    part_records = job.read_gap(BACK + HOUR)

    assert (record.pairs, record.new_pairs, record.already_alerted) == (1, 1, 0)
    assert sum(part.new_pairs for part in part_records) == 2
    # The last part reads the pair of the part before it again.
    assert [part.already_alerted for part in part_records] == [*[0] * (len(part_records) - 1), 1]


def test_a_late_change_alerts_with_marked_signals_on_both_sides_of_a_gaps_end() -> None:
    back = START + DAY + 10 * HOUR
    end = back - DAY - RULE.lateness  # of the gap, before the last run before the outage
    job = Job(
        [at(end - 4 * HOUR, "c", change_row), at(end - 3 * HOUR, "c-late", change_row, 22 * HOUR)],
        [at(end - 2 * HOUR, "s-before", signal_row), at(end + 2 * HOUR, "s-after", signal_row)],
        DAILY,
    )
    job.run(START)
    assert job.alerted == {("c", "s-before"): 1, ("c", "s-after"): 1}

    job.run(back)
    assert [gap.until for gap in job.gaps.open_gaps()] == [end]
    job.read_gap(back + HOUR)

    pairs = [(change, signal) for change in ("c", "c-late") for signal in ("s-before", "s-after")]
    assert job.alerted == dict.fromkeys(pairs, 1)


def test_a_run_after_a_gap_was_recorded_leaves_its_signals_to_the_reading_with_all_their_changes() -> None:
    end = BACK - DAY - RULE.lateness  # of the gap; the second run reads from a day before it on
    job = Job(
        [at(end - 26 * HOUR, "c-early", change_row), at(end - 3 * HOUR, "c", change_row)],
        [at(end - 2 * HOUR, "s-gap", signal_row), at(end + 2 * HOUR, "s-after", signal_row)],
        DAILY,
        with_threshold(2, within=2 * DAY),
    )
    job.run(START)

    assert job.run(BACK).new_pairs == 2
    record = job.run(BACK + HOUR)
    assert (record.new_pairs, record.already_alerted) == (0, 1)
    job.read_gap(BACK + 2 * HOUR)

    pairs = [(change, signal) for change in ("c-early", "c") for signal in ("s-gap", "s-after")]
    assert job.alerted == dict.fromkeys(pairs, 1)


def test_a_gap_that_is_read_before_an_earlier_gap_leaves_the_signals_of_that_gap_to_its_reading() -> None:
    first_end, second_end = (START + days * DAY - RULE.lateness for days in (2, 4))
    job = Job(
        [at(first_end - 30 * HOUR, "c-early", change_row), at(first_end - 3 * HOUR, "c", change_row)],
        [
            at(first_end - 2 * HOUR, "s-first", signal_row),
            at(first_end + 2 * HOUR, "s-between", signal_row),
            at(second_end - 4 * HOUR, "s-second", signal_row),
        ],
        DAILY,
        with_threshold(1, within=2 * DAY),
    )
    job.run(START)
    job.run(START + 3 * DAY)
    job.run(START + 5 * DAY)
    assert [gap.until for gap in job.gaps.open_gaps()] == [first_end, second_end]

    job.read_gap(START + 5 * DAY + HOUR, number=1)
    job.read_gap(START + 5 * DAY + 2 * HOUR)

    pairs = [("c-early", "s-first"), ("c-early", "s-between"), ("c", "s-first"), ("c", "s-between")]
    assert job.alerted == dict.fromkeys([*pairs, ("c", "s-second")], 1)


def test_two_outages_leave_two_gaps_and_each_is_read_once() -> None:
    job = outage()
    job.run(BACK + 6 * DAY)

    assert len({gap.id for gap in job.gaps.open_gaps()}) == 2
    job.read_gap(BACK + 7 * DAY)
    assert len(job.gaps.open_gaps()) == 1
    job.read_gap(BACK + 7 * DAY)
    assert [gap.state for gap in job.gaps.gaps()] == ["read", "read"]
    assert set(job.alerted.values()) == {1}


def render_digest(draft: str, began: datetime, entries: Sequence[DigestEntry]) -> list[Delivery]:
    body = json.dumps([entry.alert for entry in entries]).encode()
    return [Delivery(draft, "soc", draft, 1, body, began, began)]


@pytest.mark.parametrize("crash", [None, *range(1, 8)])
def test_alerts_of_a_gap_reading_are_in_a_digest_even_if_the_reading_died(crash: int | None) -> None:
    job = Job(*story(), replace(DAILY, storm_alerts=0, render_digest=render_digest))
    job.run(START)
    job.run(BACK)
    with suppress(Crash):
        job.read_gap(BACK + HOUR, crash)
    job.run(BACK + HOUR + LONGEST_RUN + MINUTE)

    deliveries = [queued.delivery for queued in Outbox(job.table, RULE.folder).waiting("soc")]
    alerts = Counter(alert for delivery in deliveries for alert in json.loads(delivery.body))
    assert alerts == dict.fromkeys(alerts, 1)
    assert len(alerts) == job.alerted.total()  # each alert here has one pair


def test_a_gap_that_is_not_read_is_abandoned_and_then_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    job = outage()
    days = GAP_KEPT // DAY + 2
    for day in range(1, days, 10):
        job.run(BACK + day * DAY)
    assert "detection.gap" not in caplog.text
    job.run(BACK + days * DAY)
    job.run(BACK + (days + 1) * DAY)

    gap = job.gaps.gaps()[0]

    assert gap.state == "abandoned"
    assert f'"gap":"{gap.id}"' in caplog.text
    assert gap.closed
    for day in range(0, 92, 7):
        job.run(gap.closed + (day + 7) * DAY)
    assert gap.id not in [later.id for later in job.gaps.gaps()]


def test_a_gap_is_abandoned_when_it_is_older_than_90_days_at_the_watermark_of_a_run() -> None:
    job = outage()

    states: list[str] = []
    for days in range(3):
        job.run(BACK + GAP_KEPT + days * DAY)
        states.append(job.gaps.gaps()[0].state)

    assert states == ["open", "open", "abandoned"]


def test_a_closed_gap_is_forgotten_when_retention_has_passed_at_the_watermark_of_a_run() -> None:
    job = outage()
    job.read_gap(BACK + HOUR)
    [gap] = job.gaps.gaps()
    assert gap.closed

    is_stored: list[bool] = []
    for days in range(3):
        job.run(gap.closed + DAILY.retention + days * DAY)
        is_stored.append(gap.id in [stored.id for stored in job.gaps.gaps()])

    assert is_stored == [True, True, False]


def test_a_run_that_dies_before_its_last_write_records_no_gap() -> None:
    job = Job(*story(), DAILY)
    job.run(START)
    for crash in range(1, 20):
        try:
            job.run(BACK, crash)
        except Crash:
            assert job.gaps.gaps() == []
        else:
            break
    assert len(job.gaps.gaps()) == 1


class FailingDeletes(MemoryTable):
    """A table that cannot be scanned for marks."""

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        if start == "p|":
            raise ServiceError("the table did not answer")
        return super().scan(partition, start, end, page)


def test_a_failed_clean_up_is_logged_and_the_run_is_complete(caplog: pytest.LogCaptureFixture) -> None:
    job = Job(*story(), DAILY)
    job.table = FailingDeletes()
    job.run(START)

    record = job.run(BACK)

    assert record.open_gaps
    assert '"event":"detection.clean_up"' in caplog.text
    assert "the table did not answer" in caplog.text


def test_two_readings_of_a_gap_at_once_close_it_once() -> None:
    job = outage()
    [gap] = job.gaps.gaps()
    job.read_gap(BACK + HOUR)
    store = IncidentStore(job.table, RULE.folder, "the slower reading")

    store.finish_part(replace(gap, read_until=gap.until).close("read", BACK), BACK, b"{}")

    with pytest.raises(Conflict):
        store.finish_part(replace(gap, read_until=gap.until + HOUR), BACK, b"{}")


def test_a_gap_that_another_reading_has_read_since_it_was_listed_is_not_read_again() -> None:
    job = outage()
    [listed] = job.gaps.open_gaps()
    job.read_gap(BACK + HOUR)
    for days in range(1, 5):  # deletes the gap's marks
        job.run(BACK + days * DAY)

    assert job.read_gap(BACK + 4 * DAY + HOUR, gap=listed) == []

    assert set(job.alerted.values()) == {1}


# ----------------------------------------------------------------------------------------------------- random worlds


def random_job(random: Random, number: int) -> tuple[Job, set[tuple[str, str]]]:
    """A job over random rows of a week and a half, and the pairs that it must alert."""
    threshold, within = 1 + number % 3, random.choice((1, 2, 3)) * DAY
    actors = [f"actor{actor}@example.com" for actor in range(random.randint(1, 3))]
    events: dict[str, list[tuple[str, datetime, str]]] = {"c": [], "s": []}
    sides: dict[str, list[Arrival]] = {"c": [], "s": []}
    for side, row in (("c", change_row), ("s", signal_row)):
        for ident in range(random.randint(10, 60)):
            name, actor = f"{side}{ident}", random.choice(actors)
            time = START + random.random() * 10 * DAY
            delay = random.choice([MINUTE, random.random() * (RULE.lateness - HOUR)])
            events[side].append((name, time, actor))
            sides[side].append(Arrival(row(name, time, actor), time + delay))
    expected: set[tuple[str, str]] = set()
    for change, begin, actor in events["c"]:
        reached = [
            signal
            for signal, time, owner in events["s"]
            if owner == actor and begin <= time <= begin + within
        ]
        if len(reached) >= threshold:
            expected |= {(change, signal) for signal in reached}
    return Job(sides["c"], sides["s"], DAILY, with_threshold(threshold, within)), expected


@pytest.mark.parametrize("number", range(WORLDS))
def test_every_pair_around_a_gap_is_alerted_once_in_random_worlds(number: int) -> None:
    random = Random(number)
    job, expected = random_job(random, number)
    now, end = START, START + 12 * DAY
    outages = [START + random.random() * 8 * DAY for _ in range(2)]
    while now < end:
        if any(begin <= now < begin + 3 * DAY for begin in outages):
            if random.random() < 0.3:
                with suppress(Crash):
                    job.run(now, random.randint(1, 6))
        else:
            job.run(now)
            if job.gaps.open_gaps() and random.random() < 0.1:
                with suppress(Crash):
                    job.read_gap(now + MINUTE, random.choice([None, *range(1, 8)]), random.choice((0, -1)))
        now += random.choice([HOUR, 5 * HOUR])
    while job.gaps.open_gaps():
        job.read_gap(end)
        end += DAY

    assert job.alerted == dict.fromkeys(expected, 1)


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
