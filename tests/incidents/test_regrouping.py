"""A rule whose grouping is edited: every pair is alerted once, under its former key or its new key.

Runs fail on the way, edits are reverted, and two versions of a rule run at once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import permutations, product
from random import Random
from typing import Literal, NamedTuple

import pytest

from detection.base.deadlines import LONGEST_RUN
from detection.base.errors import ServiceError
from detection.incidents.decide import EVENTS_PER_PART, Verdict
from detection.incidents.keys import grouping_of
from detection.logs.events import Logs, Row
from detection.logs.source import Source
from detection.logs.window import MAX_CATCH_UP, Windows
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import read_gap, run
from detection.store.gaps import GapList
from detection.store.groupings import groupings_of, name_grouping
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable, Table
from tests.support.builders import (
    DAY,
    HOUR,
    RULE,
    START,
    TICK,
    change_row,
    grouped_by,
    logs,
    signal_row,
    sliced,
)
from tests.support.examples import examples, many
from tests.support.world import Crash, Faults, FaultyTable, PairIds
from tests.support.world.commit_witness import CommitWitness

GROUPINGS = {
    "account": grouped_by("Selected", "Account"),
    "ip": grouped_by("Selected", "IP"),
    "both": grouped_by("Selected", "Account", "IP"),
    "all": grouped_by("AllEntities"),
    "none": grouped_by("AnyAlert"),
}
ACTORS, ADDRESSES, MODELS = ("a@example.com", "b@example.com"), ("192.0.2.1", "192.0.2.2"), ("gpt-4o", "o3")
MINUTE = timedelta(minutes=1)
EDITS = [
    ("account", "ip"),
    ("ip", "both"),
    ("both", "all"),
    ("all", "none"),
    ("none", "account"),
    ("all", "account"),
]
WORLDS = examples(60, many=400)
WRITES = range(1, 9)  # of a run whose key has several parts
IN_PARTS = RunOptions(events_per_part=3)
NO_FAULTS = Faults()


class HourlyLogs:
    """Two actors, each with two changes from different addresses and signals of two models; every hour there is more."""

    def read(self, rule: Rule, windows: Windows) -> Logs:
        hours = int((windows.now - START) / HOUR)
        changes = [
            change_row(f"c{hour}{actor}", START + hour * HOUR, actor, ip=ADDRESSES[hour % 2])
            for hour in range(hours)
            for actor in ACTORS
        ]
        signals = [
            signal_row(f"s{hour}{actor}{model}", START + hour * HOUR + HOUR / 2, actor, model=model)
            for hour in range(hours)
            for actor in ACTORS
            for model in MODELS
        ]
        return logs(changes, signals, windows, rule)


class WitnessedStore(CommitWitness):
    """Counts the pairs of every commit that took effect, also of runs that failed later."""

    page = 3

    def __init__(self, table: FaultyTable, token: str, alerted_pairs: Counter[PairIds]) -> None:
        super().__init__(table, RULE.folder, token)
        self._alerted_pairs = alerted_pairs
        self.commits = 0

    def note_commit(self, verdict: Verdict) -> None:
        self.commits += 1
        self._alerted_pairs.update(
            (change.id, signal.id) for chain in verdict.new_pairs for change, signal in chain.pairs()
        )


Outcome = Literal["complete", "died", "failed"]


@dataclass
class Job:
    """Runs over logs, each of a version of the rule, on one table."""

    source: Source = field(default_factory=HourlyLogs)
    table: MemoryTable = field(default_factory=MemoryTable)
    alerted_pairs: Counter[PairIds] = field(default_factory=Counter)
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    records: list[RunRecord] = field(default_factory=list)

    def run(
        self,
        rule: Rule,
        now: datetime,
        faults: Faults = NO_FAULTS,
        rival: tuple[Rule, datetime] | None = None,
        rival_at: int = 1,
        options: RunOptions = IN_PARTS,
    ) -> Outcome:
        """A run; another run of `rival` comes right before its access number `rival_at` to the table."""
        table = FaultyTable(
            self.table, faults, (lambda: self.run(*rival)) if rival else None, race_at=rival_at
        )
        store = WitnessedStore(table, f"run {len(self.outcomes)} {now} {bool(rival)}", self.alerted_pairs)
        outcome: Outcome = "complete"
        try:
            self.records.append(run(rule, now, self.source, store, options)[0])
        except Crash:
            outcome = "died"
        except ServiceError as error:
            outcome = "failed"
            self.failures.append(str(error))
            assert not store.commits
        self.outcomes.append(outcome)
        return outcome

    def hourly(self, rules: Sequence[Rule], first_hour: int = 1) -> None:
        """A run every hour, each of a rule."""
        for hour, rule in enumerate(rules, first_hour):
            assert self.run(rule, START + hour * HOUR) == "complete"

    def assert_every_pair_is_alerted_once(self, hours: int) -> None:
        """Every pair of the hourly logs up to that hour."""
        pairs = sum(range(1, hours + 1)) * len(ACTORS) * len(MODELS)
        assert (len(self.alerted_pairs), set(self.alerted_pairs.values())) == (pairs, {1})


# ------------------------------------------------------------------------------------------- edits between runs


@pytest.mark.parametrize("events_per_part", [1_000, 1])
@pytest.mark.parametrize("before, after", list(permutations(GROUPINGS, 2)))
def test_each_pair_is_alerted_once_whatever_grouping_follows(
    before: str, after: str, events_per_part: int
) -> None:
    job = Job()
    for hour, name in enumerate((before, before, after, after, before), 1):
        job.run(GROUPINGS[name], START + hour * HOUR, options=RunOptions(events_per_part=events_per_part))
    job.assert_every_pair_is_alerted_once(5)


@pytest.mark.parametrize("crash_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("before, after", EDITS)
def test_edit_that_is_reverted_after_its_run_failed_repeats_nothing(
    before: str, after: str, write: int, crash_after: bool
) -> None:
    job = Job()
    job.hourly([GROUPINGS[before]] * 2)
    job.run(GROUPINGS[after], START + 3 * HOUR, Faults(write, crash_after))
    job.hourly([GROUPINGS[before]] * 2, first_hour=4)
    job.assert_every_pair_is_alerted_once(5)


@pytest.mark.parametrize("crash_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", WRITES)
def test_first_run_that_failed_under_another_grouping_is_not_repeated(write: int, crash_after: bool) -> None:
    job = Job()
    job.run(GROUPINGS["ip"], START + HOUR, Faults(write, crash_after))
    job.hourly([RULE] * 2, first_hour=2)
    job.assert_every_pair_is_alerted_once(3)


@pytest.mark.parametrize("crashes", list(product((2, 4), (3, 5))))
@pytest.mark.parametrize("names", list(permutations(("account", "all", "none"))), ids="-".join)
def test_second_edit_before_a_run_was_complete_repeats_nothing(
    names: tuple[str, str, str], crashes: tuple[int, int]
) -> None:
    earliest, second, third = (GROUPINGS[name] for name in names)
    job = Job()
    job.hourly([earliest])
    job.run(second, START + 2 * HOUR, Faults(crashes[0], crash_after=True))
    job.run(third, START + 3 * HOUR, Faults(crashes[1], crash_after=True))
    job.hourly([third, earliest, second], first_hour=4)
    job.assert_every_pair_is_alerted_once(6)


def test_order_of_the_entities_in_the_rule_is_no_edit() -> None:
    reordered = RULE.model_copy(update={"entity_mappings": RULE.entity_mappings[::-1]})
    assert grouping_of(reordered) == grouping_of(RULE)
    all_entities = GROUPINGS["all"].model_copy(update={"entity_mappings": RULE.entity_mappings[::-1]})
    assert grouping_of(all_entities) == grouping_of(GROUPINGS["all"])


# -------------------------------------------------------------------------------------------- two versions at once


@pytest.mark.parametrize("apart", [timedelta(), 7 * MINUTE, -7 * MINUTE], ids=str)
@pytest.mark.parametrize("access", range(1, 26))
@pytest.mark.parametrize(
    "rule, rival", [("account", "ip"), ("ip", "account"), ("none", "all"), ("all", "none")]
)
def test_of_two_versions_at_once_one_fails_and_commits_nothing(
    rule: str, rival: str, access: int, apart: timedelta
) -> None:
    job, now = Job(), START + 3 * HOUR
    job.hourly([GROUPINGS[rule], GROUPINGS[rule]])

    job.run(GROUPINGS[rule], now, rival=(GROUPINGS[rival], now + apart), rival_at=access)

    assert "failed" in job.outcomes
    job.hourly([GROUPINGS[rival], GROUPINGS[rule]], first_hour=4)
    job.assert_every_pair_is_alerted_once(5)


@pytest.mark.parametrize("access", range(1, 12))
def test_of_two_versions_on_an_empty_table_one_fails(access: int) -> None:
    job, now = Job(), START + HOUR

    job.run(RULE, now, rival=(GROUPINGS["none"], now), rival_at=access)

    assert "failed" in job.outcomes
    job.hourly([GROUPINGS["none"], RULE], first_hour=2)
    job.assert_every_pair_is_alerted_once(3)


def test_failure_names_both_groupings_and_says_that_the_next_run_tries_again() -> None:
    job = Job()
    job.hourly([RULE])

    assert job.run(GROUPINGS["none"], START + HOUR + LONGEST_RUN - TICK) == "failed"
    assert job.run(GROUPINGS["none"], START + HOUR + LONGEST_RUN) == "complete"

    (failure,) = job.failures
    assert failure == (
        "this run groups alerts into one incident; the run of 2026-03-02T11:00:00Z, which may still be at work, "
        "groups them by Account (ActorEmail). Nothing was committed, and the next run tries again; do not run "
        "two versions of a rule at once"
    )


def test_run_by_a_slow_clock_does_not_commit_next_to_another_grouping() -> None:
    job = Job()
    job.hourly([RULE])

    assert job.run(GROUPINGS["none"], START) == "failed"


def test_rival_by_a_slow_clock_is_seen() -> None:
    """Its time is older than the longest run, but its row was written after this run began."""
    job, now = Job(), START + 2 * HOUR
    table = FaultyTable(
        job.table, Faults(), lambda: name_grouping(job.table, RULE.folder, (), START, []), race_at=3
    )
    store = IncidentStore(table, RULE.folder, "run")

    with pytest.raises(ServiceError, match="groups them into one incident"):
        run(RULE, now, HourlyLogs(), store)


# -------------------------------------------------------------------------------------------- the groupings' rows


def times_of_groupings(table: Table) -> list[datetime]:
    return sorted(named.time for named in groupings_of(table.scan(RULE.folder, "u|", "u}")))


def test_time_of_a_grouping_never_moves_back() -> None:
    table, grouping = MemoryTable(), grouping_of(RULE)

    later = name_grouping(table, RULE.folder, grouping, START + HOUR, [])
    name_grouping(table, RULE.folder, grouping, START, [])  # has not seen the row
    name_grouping(table, RULE.folder, grouping, START, later)
    assert times_of_groupings(table) == [START + HOUR]


def test_run_that_has_not_seen_its_groupings_row_moves_its_time_on() -> None:
    table, grouping = MemoryTable(), grouping_of(RULE)

    name_grouping(table, RULE.folder, grouping, START, [])
    name_grouping(table, RULE.folder, grouping, START + HOUR, [])

    assert times_of_groupings(table) == [START + HOUR]


@pytest.mark.parametrize("write", [1, 2])
def test_grouping_whose_answer_was_lost_is_named(write: int) -> None:
    table, grouping = MemoryTable(), grouping_of(RULE)
    faulty_table = FaultyTable(table, Faults(lost=frozenset({write})))

    named = name_grouping(faulty_table, RULE.folder, grouping, START, [])
    named = name_grouping(faulty_table, RULE.folder, grouping, START + HOUR, named)

    assert [entry.time for entry in named] == times_of_groupings(table) == [START + HOUR]


def test_former_grouping_is_forgotten_with_its_marks() -> None:
    job = Job()
    job.hourly([GROUPINGS["ip"], GROUPINGS["ip"], RULE])
    hours = 3
    while len(times_of_groupings(job.table)) > 1 and hours < 24 * 9:
        hours += 1
        job.run(RULE, START + hours * HOUR)

    assert 3 * 24 < hours < 24 * 9  # marks are kept so long
    marked_keys = {entity.row.split("|")[2] for entity in job.table.scan(RULE.folder, "p|", "p}")}
    heads = list(job.table.scan(RULE.folder, "h|", "h}"))
    assert (len(marked_keys), len(heads)) == (len(ACTORS), len(ACTORS) + len(ADDRESSES))


# ------------------------------------------------------------------------------------------ thresholds, gaps, floods


class Arrival(NamedTuple):
    """A row of a side, and the moment from which it can be read."""

    side: Literal["changes", "signals"]
    id: str
    actor: str
    kind: str
    time: datetime
    arrived: datetime
    row: Row


def arrival_of_change(
    ident: str, time: datetime, actor: str, ip: str, delay: timedelta = timedelta()
) -> Arrival:
    row = change_row(ident, time, actor, ip=ip)
    return Arrival("changes", ident, actor, "api_key.created", time, time + delay, row)


def arrival_of_signal(
    ident: str, time: datetime, actor: str, model: str, kind: str = "length", delay: timedelta = timedelta()
) -> Arrival:
    row = signal_row(ident, time, actor, model=model, kind=kind)
    return Arrival("signals", ident, actor, kind, time, time + delay, row)


@dataclass
class ArrivedLogs:
    """The rows that have arrived by the moment of a run; every second reading comes in slices."""

    rows: Sequence[Arrival]
    readings: int = 0

    def read(self, rule: Rule, windows: Windows) -> Logs:
        self.readings += 1
        changes, signals = (
            [
                arrival.row
                for arrival in self.rows
                if arrival.side == side and arrival.arrived <= windows.now and arrival.time > window.after
            ]
            for side, window in (("changes", windows.changes), ("signals", windows.signals))
        )
        whole = logs(changes, signals, windows, rule)
        return whole if self.readings % 2 else sliced(whole)


def with_threshold(rule: Rule, length: int) -> Rule:
    sequence = rule.sequence.model_copy(update={"threshold": {"length": length}})
    return rule.model_copy(update={"sequence": sequence})


def two_models(actor: str = ACTORS[0]) -> list[Arrival]:
    """A change, and a signal an hour after it, each of another model than the one before."""
    return [
        arrival_of_change("c", START, actor, ADDRESSES[0]),
        *(arrival_of_signal(f"s{n}", START + n * HOUR, actor, MODELS[n % 2]) for n in range(1, 6)),
    ]


@pytest.mark.parametrize("before, after", list(product(GROUPINGS, GROUPINGS)))
def test_change_stays_past_its_threshold_whatever_grouping_follows(before: str, after: str) -> None:
    rules = [GROUPINGS[before], with_threshold(GROUPINGS[after], 9)]
    job = Job(ArrivedLogs(two_models()))
    job.hourly([rules[0], rules[0], *[rules[1]] * 4])
    assert job.alerted_pairs == {("c", f"s{n}"): 1 for n in range(1, 6)}


@pytest.mark.parametrize("write", range(1, 5))
def test_threshold_and_grouping_that_are_edited_and_reverted_together_repeat_and_lose_nothing(
    write: int,
) -> None:
    job = Job(ArrivedLogs(two_models()))
    job.hourly([GROUPINGS["all"]] * 2)
    job.run(with_threshold(GROUPINGS["none"], 2), START + 3 * HOUR, Faults(write))
    job.hourly([with_threshold(GROUPINGS["all"], 9)] * 3, first_hour=4)
    assert job.alerted_pairs == {("c", f"s{n}"): 1 for n in range(1, 6)}


def test_pairs_of_a_gap_that_were_alerted_under_a_former_grouping_are_not_repeated() -> None:
    late = START - 10 * MINUTE
    rows = [
        arrival_of_change("c", late - HOUR, ACTORS[0], ADDRESSES[0]),
        arrival_of_signal("s-in-time", late - MINUTE, ACTORS[0], MODELS[0]),
        arrival_of_signal("s-late", late, ACTORS[0], MODELS[0], delay=HOUR),
    ]
    job = Job(ArrivedLogs(rows))
    back = START + MAX_CATCH_UP + 9 * DAY
    job.run(GROUPINGS["ip"], START)
    job.run(GROUPINGS["all"], back)
    [gap] = GapList(job.table, RULE.folder).gaps()

    store = WitnessedStore(FaultyTable(job.table, Faults()), "gap", job.alerted_pairs)
    assert list(read_gap(RULE, gap, lambda: back + HOUR, job.source, store))

    assert job.alerted_pairs == {("c", "s-in-time"): 1, ("c", "s-late"): 1}


def test_pairs_of_a_former_flood_are_not_repeated() -> None:
    job = Job(ArrivedLogs(two_models()))
    for hour, rule in enumerate((GROUPINGS["ip"], GROUPINGS["ip"], GROUPINGS["ip"], RULE, RULE), 1):
        job.run(rule, START + hour * HOUR, options=RunOptions(flood_signals=2))
    assert job.alerted_pairs == {("c", f"s{n}"): 1 for n in range(1, 6)}


# ----------------------------------------------------------------------------------------------------- random worlds


class Figures(NamedTuple):
    """What came of a random world."""

    pairs: int
    lost: int
    twice: int
    edits: int
    outcomes: Counter[str]


def random_rows(random: Random) -> list[Arrival]:
    """Changes and signals of two days, of which some arrive up to the lateness late."""
    rows: list[Arrival] = []
    for number in range(random.randint(4, 24)):
        actor, time = random.choice(ACTORS), START + random.random() * 40 * HOUR
        delay = random.choice((0.0, 0.0, 0.0, random.random(), 1.0)) * RULE.lateness
        if random.random() < 0.35:
            rows.append(arrival_of_change(f"c{number}", time, actor, random.choice(ADDRESSES), delay))
        else:
            kind = random.choice(("length", "content_filter"))
            rows.append(arrival_of_signal(f"s{number}", time, actor, random.choice(MODELS), kind, delay))
    return rows


def random_times(random: Random) -> list[datetime]:
    """The times of runs until everything has arrived; the last two are an hour apart."""
    hours = [0.0]
    while hours[-1] < 40 + RULE.lateness / HOUR + 1:
        hours.append(hours[-1] + random.choice((0.1, 1, 1, 1, 1, 2, 5, 20)))
    return [START + hour * HOUR for hour in (*hours, hours[-1] + 1, hours[-1] + 2)]


def random_faults(random: Random) -> Faults:
    lost = frozenset(random.randint(1, 6) for _ in range(random.choice((0, 0, 3))))
    return Faults(random.choice((None, *range(1, 8))), random.random() < 0.5, lost)


def signals_by_change(rows: Sequence[Arrival], windows: Windows) -> dict[tuple[str, str], set[str]]:
    """The signals of each kind that each change reaches, among the rows that a run could read."""
    read = [arrival for arrival in rows if arrival.arrived <= windows.now]
    changes = [row for row in read if row.side == "changes" and row.time > windows.changes.after]
    signals = [row for row in read if row.side == "signals" and row.time > windows.signals.after]
    reached: dict[tuple[str, str], set[str]] = {}
    for change, signal in product(changes, signals):
        in_reach = change.time <= signal.time <= change.time + RULE.sequence.within
        if in_reach and change.actor == signal.actor:
            reached.setdefault((change.id, signal.kind), set()).add(signal.id)
    return reached


def live_random_world(seed: int) -> Figures:
    """Runs of a rule whose grouping and threshold are edited and reverted; some fail, some are two at once."""
    random = Random(seed)
    rows, times = random_rows(random), random_times(random)
    kinds = {row.id: row.kind for row in rows}
    job, required, edits = Job(ArrivedLogs(rows)), set[PairIds](), 0
    thresholds = random.choice(((1,), (2, 3)))  # a threshold is set, and then edited
    name, threshold = random.choice(list(GROUPINGS)), random.choice((1, *thresholds))
    edit_chance, fault_chance = random.choice((0.05, 0.3, 0.7)), random.choice((0.0, 0.2, 0.6))
    for now in times:
        if random.random() < edit_chance:
            name, threshold, edits = random.choice(list(GROUPINGS)), random.choice(thresholds), edits + 1
        is_clean = now >= times[-2]
        rule, rival_rule = (
            with_threshold(GROUPINGS[key], threshold) for key in (name, random.choice(list(GROUPINGS)))
        )
        faults = random_faults(random) if random.random() < fault_chance and not is_clean else NO_FAULTS
        rival = (rival_rule, now) if random.random() < 0.1 and not is_clean else None
        options = RunOptions(events_per_part=random.choice((EVENTS_PER_PART, 3, 1)))
        marked = {(change, kinds[signal]) for change, signal in job.alerted_pairs}
        complete = len(job.records)
        job.run(rule, now, faults, rival, random.randint(1, 12), options)
        assert len(job.records) > complete or not is_clean
        for record in job.records[complete:]:
            for (change, kind), signals in signals_by_change(rows, record.windows).items():
                if kind != "length" or len(signals) >= threshold or (change, kind) in marked:
                    required |= {(change, signal) for signal in signals}
    return Figures(
        len(required),
        len(required - job.alerted_pairs.keys()),
        sum(times - 1 for times in job.alerted_pairs.values()),
        edits,
        Counter(job.outcomes),
    )


@many
def test_random_edits_of_the_grouping_lose_and_repeat_nothing() -> None:
    figures = {seed: live_random_world(seed) for seed in range(WORLDS)}
    broken = {seed: world for seed, world in figures.items() if world.lost or world.twice}
    assert not broken, f"{len(broken)} of {WORLDS} worlds; {list(broken.items())[:5]}"
    outcomes = sum((world.outcomes for world in figures.values()), Counter[str]())
    assert min(outcomes[outcome] for outcome in ("complete", "died", "failed")) > WORLDS / 4, outcomes
