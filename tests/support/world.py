"""A model world for the promise of the product: every pair is told exactly once, whatever goes wrong.

Changes and signals happen, and their rows arrive in a log store up to the lateness later. The real run,
with the real index on the real table in memory, is executed about once an hour, and things go wrong:
runs are skipped for an hour or for days, get half an answer, die between two writes, race each other,
do not hear that a write succeeded, wake up on a clock that went back. What was told is what the table
took; what should have been told is a nested loop over all events by their own time. Every alert must be in
exactly one message, its own or a digest.
"""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from random import Random
from typing import Literal, NamedTuple

from detection.base.errors import ConfigurationError, Incomplete, ServiceError
from detection.base.timestamps import MAX_CLOCK_LEAD
from detection.correlation.detection import Detection
from detection.incidents.decide import EVENTS_PER_PART, FLOOD, Verdict
from detection.incidents.floods import Flood, actor_digest
from detection.incidents.incident import ALERTS_PER_INCIDENT, Incident
from detection.incidents.keys import Key
from detection.logs.events import Logs, Row
from detection.logs.window import Windows
from detection.messages.context import DigestEntry
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.run import run
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.outbox import Delivery, Outbox
from detection.store.table import Conflict, Delete, Entity, MemoryTable, Operation, Table
from tests.support.builders import (
    DAY,
    HOUR,
    RULE,
    TICK,
    account,
    change_row,
    closed_at_start,
    logs,
    signal_row,
    sliced,
)

WITHIN = RULE.sequence.within
SLICED = 0.3  # of the readings come in slices
PAGES = 50  # a scan that a race can interrupt hands out at most so many rows at once

SideName = Literal["changes", "signals"]
PairIds = tuple[str, str]
EVER = datetime(2000, 1, 1, tzinfo=UTC)


class Crash(BaseException):
    """The process is gone: no handler of the code under test may see it as an error to be handled."""


# -------------------------------------------------------------------------------------------------- what happens


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row of the log store: what happened, and when it could first be read."""

    side: SideName
    id: str
    actor: str
    time: datetime
    stamped: datetime
    arrived: datetime
    kind: str = "content_filter"

    def row(self) -> Row:
        """The row as the rule's query returns it."""
        if self.side == "changes":
            return change_row(self.id, self.time, self.actor, stamped=self.stamped)
        return signal_row(self.id, self.time, self.actor, stamped=self.stamped, kind=self.kind)


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong with the writes of one run; they are counted from 1.

    `crash` dies before or after that write takes effect; `lost` writes take effect without an answer.
    """

    crash: int | None = None
    crash_after: bool = False
    lost: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: at `moment` the clock says `now`.

    The store is read a little after that: the changes and the signals each so much later. `race` is
    another whole run, executed just before the `race_at`-th access to the table. A run that anything
    is wrong with, or that is raced, may give up with a ServiceError; any other must complete.
    """

    moment: datetime
    now: datetime
    incomplete: bool = False
    limit: int = EVENTS_PER_PART
    faults: Faults = Faults()
    changes_later: timedelta = timedelta()
    signals_later: timedelta = timedelta()
    race: "Plan | None" = None
    race_at: int = 1
    close: str | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong with it."""
        return not (self.incomplete or self.race or self.faults.crash or self.faults.lost)


@dataclass(frozen=True, slots=True)
class World:
    """All that happens: rows, runs, and how often a run was skipped that should have been.

    `thresholds` are edits of the rule: the least number of signals that a change must reach, and since when.
    The first run and the last two are never faulty. No row arrives more than `lateness` late. More than
    `storm` alerts in a run are told in one digest; `flood` signals of a key are remembered one by one.
    """

    name: str
    rows: Sequence[Arrival]
    plans: Sequence[Plan]
    skipped: int = 0
    lateness: timedelta = RULE.lateness
    storm: int | None = None
    flood: int = FLOOD
    thresholds: Sequence[tuple[datetime, int]] = ()

    def threshold_at(self, moment: datetime) -> int:
        """The threshold in force at a moment: each holds from its time on, and before the first there is none."""
        return next((number for begin, number in reversed(self.thresholds) if begin <= moment), 1)


# ------------------------------------------------------------------------------------- the log store and the table


class LogStore:
    """The log store, as a Source: it holds what has arrived by the moment of reading."""

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[tuple[Arrival, Row]],
        latest_read: Callable[[], datetime],
        max_signals_per_actor: int = FLOOD,
    ) -> None:
        """Time does not run backwards: what was `seen` before a write can be read after it."""
        self._max_signals_per_actor = max_signals_per_actor
        self._plan = plan
        self._rows = rows
        self._latest_read = latest_read
        self._order = Random(f"{plan.moment}")
        self.read_at: datetime | None = None
        self.read_from: datetime | None = None

    def read(self, rule: Rule, windows: Windows) -> Logs:
        if self._plan.incomplete:
            raise Incomplete("the answer was cut")
        changes_at = max(self._plan.moment + self._plan.changes_later, self._latest_read())
        signals_at = max(self._plan.moment + self._plan.signals_later, self._latest_read())
        self.read_at = max(changes_at, signals_at)
        self.read_from = min(changes_at, signals_at)
        whole = logs(
            self._answer("changes", windows.changes.after, changes_at),
            self._answer("signals", windows.signals.after, signals_at),
            windows,
            rule,
        )
        return sliced(whole, self._max_signals_per_actor) if self._order.random() < SLICED else whole

    def _answer(self, side: SideName, after: datetime, time: datetime) -> list[Row]:
        rows = [
            row
            for arrival, row in self._rows
            if arrival.side == side and arrival.stamped > after and arrival.arrived <= time
        ]
        self._order.shuffle(rows)  # a log store promises no order
        return rows


class FaultyTable:
    """A table whose writes fail as planned, and whose scans are not snapshots: pages are read one by one."""

    def __init__(
        self,
        table: Table,
        faults: Faults,
        race: Callable[[], object] | None = None,
        race_at: int = 1,
    ) -> None:
        self._table = table
        self._faults = faults
        self._race = race
        self._race_at = race_at if race else 0
        self._accesses = 0
        self._writes = 0
        self.effects = 0
        self.figures = Counter[str]()

    def get(self, partition: str, row: str) -> Entity | None:
        self._access()
        return self._table.get(partition, row)

    def scan(self, partition: str, start: str, end: str) -> Iterator[Entity]:
        while True:
            # A page is cut short where the race comes between: right after its first row.
            cut = 1 if self._accesses < self._race_at else PAGES
            self._access()
            page = list(islice(self._table.scan(partition, start, end), cut))
            yield from page
            if len(page) < cut:
                return
            start = page[-1].row + "\0"

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        self._access()
        self._writes += 1
        dies = self._writes == self._faults.crash
        if dies and not self._faults.crash_after:
            raise Crash
        try:
            self._table.write(partition, operations)
        except Conflict:
            self.figures["conflicts"] += 1
            raise
        self.effects += 1
        deleted = sum(isinstance(operation, Delete) for operation in operations)
        self.figures["purged"] += deleted
        if dies:
            raise Crash
        if self._writes in self._faults.lost and deleted < len(operations):
            self.figures["unheard"] += 1
            raise Conflict("it was written, the answer was lost, and the client wrote again")

    def date(self) -> datetime | None:
        return self._table.date()

    def _access(self) -> None:
        self._accesses += 1
        if self._race and self._accesses == self._race_at:
            self._race()


class FloodCommit(NamedTuple):
    """From a commit on, a flood of a key covers signals; the run had read what was there at `read_at`."""

    key: Key
    flood: Flood
    read_at: datetime


class Reading(NamedTuple):
    """A complete run: what it read up to which moment, and its threshold."""

    windows: Windows
    read_from: datetime
    threshold: int


@dataclass(slots=True)
class History:
    """What came of a world. `complete` are the moments of its complete runs, `latest_clock` is the latest `now`
    of a run, `latest_moment` the time by the table's clock, `latest_read` the latest moment that a run had seen
    when it wrote or ended.
    """

    world: World
    table: MemoryTable = field(init=False)
    alerted_pairs: Counter[PairIds] = field(default_factory=Counter)
    complete: list[datetime] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    latest_clock: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    latest_moment: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    latest_read: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    figures: Counter[str] = field(default_factory=Counter)
    closed: dict[str, Incident] = field(default_factory=dict)
    floods: dict[tuple[Key, Flood], FloodCommit] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = MemoryTable(lambda: self.latest_moment)

    def note_read(self, log_store: LogStore) -> None:
        """Something follows from what was read of the store."""
        self.latest_read = max(self.latest_read, log_store.read_at or self.latest_read)

    @property
    def store(self) -> IncidentStore:
        """The index as somebody looks at it from outside."""
        return IncidentStore(self.table, RULE.folder, "looking")


class WitnessedStore(IncidentStore):
    """The real index, and a witness of what the table really took: an answer may be lost, the row is there."""

    def __init__(self, table: FaultyTable, token: str, history: History, log_store: LogStore) -> None:
        super().__init__(table, RULE.folder, token)
        self._faulty_table = table
        self._history = history
        self._log_store = log_store

    def commit(self, verdict: Verdict, messages: Iterable[Operation] = ()) -> None:
        before = self._faulty_table.effects
        try:
            super().commit(verdict, messages)
        finally:
            if self._faulty_table.effects > before:
                self._history.note_read(self._log_store)
                pairs = (pair for chain in verdict.new_pairs for pair in chain.pairs())
                self._history.alerted_pairs.update((change.id, signal.id) for change, signal in pairs)
                state = verdict.state
                for flood in state.floods:
                    assert self._log_store.read_from
                    commit = FloodCommit(state.key, flood, self._log_store.read_from)
                    self._history.floods.setdefault((state.key, flood), commit)


# --------------------------------------------------------------------------------------------------------- living it


def live(world: World) -> History:
    """Executes every run of a world and checks the incidents on the way."""
    history = History(world)
    rows = [(arrival, arrival.row()) for arrival in world.rows]
    before = 0
    for number, plan in enumerate(world.plans):
        _execute(history, plan, rows, f"run {number}")
        if history.alerted_pairs.total() != before:
            before = history.alerted_pairs.total()
            history.problems += _incident_problems(history)
        if plan.close:
            _close(history, plan.close)
    history.figures["skipped"] += world.skipped
    history.problems += _problems(history)
    return history


def _execute(history: History, plan: Plan, rows: Sequence[tuple[Arrival, Row]], token: str) -> None:
    def race() -> None:
        assert plan.race is not None
        history.figures["races"] += 1
        _execute(history, plan.race, rows, f"{token} race")

    table = FaultyTable(history.table, plan.faults, race if plan.race else None, plan.race_at)
    log_store = LogStore(plan, rows, lambda: history.latest_read, history.world.flood)
    store = WitnessedStore(table, token, history, log_store)
    options = RunOptions(
        _render_alert,
        _render_digest,
        history.world.storm,
        history.world.lateness,
        events_per_part=plan.limit,
        flood_signals=history.world.flood,
    )
    history.figures["runs"] += 1
    history.latest_moment = max(history.latest_moment, plan.moment)
    is_refused = plan.now - history.latest_moment >= MAX_CLOCK_LEAD
    if not is_refused:
        history.latest_clock = max(history.latest_clock, plan.now)
    threshold = history.world.threshold_at(plan.moment)
    sequence = RULE.sequence.model_copy(update={"threshold": {"length": threshold}})
    rule = RULE.model_copy(update={"sequence": sequence}) if threshold > 1 else RULE
    try:
        record, _ = run(rule, plan.now, log_store, store, options)
    except Crash:
        history.figures["crashes"] += 1
    except ConfigurationError:
        history.figures["refused"] += 1
        if not is_refused:
            raise
    except Incomplete:
        history.figures["incomplete"] += 1
    except ServiceError as error:
        history.figures["gave up"] += 1
        if plan.clean:
            history.problems.append(f"{token} gave up: {error}")
    else:
        history.complete.append(plan.now)
        assert log_store.read_from
        history.readings.append(Reading(record.windows, log_store.read_from, threshold))
        if is_refused:
            history.problems.append(f"{token} ran by a clock that is {plan.now - plan.moment} ahead")
    finally:
        history.figures.update(table.figures)
        history.note_read(log_store)


def _render_alert(verdict: Verdict, detection: Detection) -> list[Delivery]:
    """The message of one alert: in this world, its name."""
    assert verdict.alert
    now, alert = detection.windows.now, verdict.alert
    return [_message(alert.incident, verdict.state.commits, [alert.alert], now)]


def _render_digest(draft_id: str, began: datetime, entries: Sequence[DigestEntry]) -> list[Delivery]:
    """The message of several: their names."""
    return [_message(f"digest {draft_id}", 1, [entry.alert for entry in entries], began)]


def _message(queue_key: str, commit: int, alerts: Sequence[str], now: datetime) -> Delivery:
    return Delivery(f"{queue_key} {commit}", "soc", queue_key, commit, json.dumps(alerts).encode(), now, now)


def _close(history: History, actor: str) -> None:
    history.store.update(account(actor), closed_at_start)
    incident = history.store.load(account(actor)).incident
    if incident:
        history.closed[incident.id] = incident


# ------------------------------------------------------------------------------------------------------ judging it


def expected(world: World, window_start: datetime | None = None) -> set[PairIds]:
    """The pairs of all that happened, by own time, except signals from before the first run's window, or from before
    another moment.
    """
    window_start = window_start or world.plans[0].now - HOUR - world.lateness
    changes = {
        (arrival.id, arrival.actor, arrival.time) for arrival in world.rows if arrival.side == "changes"
    }
    signals = {
        (arrival.id, arrival.actor, arrival.time) for arrival in world.rows if arrival.side == "signals"
    }
    return {
        (change, signal)
        for change, actor, change_time in changes
        for signal, signal_actor, signal_time in signals
        if actor == signal_actor
        and change_time <= signal_time <= change_time + WITHIN
        and signal_time > window_start
    }


def promised(history: History) -> set[PairIds]:
    """The pairs of `expected` whose change had reached enough signals when a complete run read all of them."""
    if not history.world.thresholds:
        return expected(history.world)
    pairs = expected(history.world, EVER)
    arrived: dict[tuple[SideName, str], datetime] = {}
    times: dict[tuple[SideName, str], datetime] = {}
    for arrival in history.world.rows:
        key = arrival.side, arrival.id
        arrived[key] = min(arrival.arrived, arrived.get(key, arrival.arrived))
        times[key] = arrival.time
    kinds = {arrival.id: arrival.kind for arrival in history.world.rows if arrival.side == "signals"}
    reached: dict[tuple[str, str], set[str]] = {}
    for change, signal in pairs:
        reached.setdefault((change, kinds[signal]), set()).add(signal)
    wanted: set[PairIds] = set()
    for reading in history.readings:
        for (change, kind), signals in reached.items():
            if (
                arrived["changes", change] > reading.read_from
                or times["changes", change] <= reading.windows.changes.after
            ):
                continue
            read = {signal for signal in signals if arrived["signals", signal] <= reading.read_from}
            read = {
                signal
                for signal in read
                if reading.windows.signals.after < times["signals", signal] <= reading.windows.now
            }
            if len(read) >= (reading.threshold if kind == "length" else 1):
                wanted |= {(change, signal) for signal in read}
    return wanted


def published(world: World, complete: Sequence[datetime]) -> Counter[PairIds]:
    """How often the published rule would have told each pair of `expected`: at every complete run it returns
    what has arrived, with both sides by stamp in the past day, and it remembers nothing.
    """
    wanted = expected(world)
    moments = sorted(complete)
    runs: dict[PairIds, set[int]] = {}
    changes = [arrival for arrival in world.rows if arrival.side == "changes"]
    signals = [arrival for arrival in world.rows if arrival.side == "signals"]
    for change in changes:
        for signal in signals:
            pair = (change.id, signal.id)
            if pair in wanted and change.stamped <= signal.stamped <= change.stamped + WITHIN:
                first_run = bisect_left(moments, max(change.arrived, signal.arrived))
                end_run = bisect_left(moments, change.stamped + DAY)
                runs.setdefault(pair, set()).update(range(first_run, end_run))
    return Counter({pair: len(run_numbers) for pair, run_numbers in runs.items()})


def _problems(history: History) -> list[str]:
    """What contradicts the promise, in words; nothing if it was kept."""
    return [*_pair_problems(history), *_message_problems(history)]


def _message_problems(history: History) -> list[str]:
    """Every alert is in one message, and nothing is left of the batches but their seals."""
    messages = [queued.delivery for queued in Outbox(history.table, RULE.folder).waiting("soc")]
    history.figures["digests"] += sum(delivery.incident.startswith("digest") for delivery in messages)
    alert_names = sorted(name for delivery in messages for name in json.loads(delivery.body))
    rows = history.table.scan(RULE.folder, "s|", "s}")
    problems = ["a share is left behind"] * any("published" not in row.values for row in rows)
    if alert_names != sorted(
        alert.alert for alert in IncidentList(history.store.table, history.store.rule).alerts()
    ):
        problems.append("an alert is in no message, or in two")
    return problems


def _pair_problems(history: History) -> list[str]:
    """Every pair is told once, and the incidents add up."""
    wanted = promised(history)
    if history.world.thresholds:  # a run that was cut short may have alerted more
        wanted |= expected(history.world, EVER) & history.alerted_pairs.keys()
    wanted -= {pair for pair in wanted - history.alerted_pairs.keys() if _came_after_a_flood(history, pair)}
    alerts = list(IncidentList(history.store.table, history.store.rule).alerts())
    written = sum(alert.counts.pairs for alert in alerts)
    incidents = {
        incident.id: (key, incident)
        for key, incident in IncidentList(history.store.table, history.store.rule).incidents()
    }
    history.figures.update(
        worlds=1,
        floods=len(history.floods),
        covered=0 if history.world.thresholds else len(expected(history.world)) - len(wanted),
        below_threshold=len(expected(history.world) - wanted) if history.world.thresholds else 0,
        threshold_edits=len(history.world.thresholds),
        late=sum(arrival.arrived - arrival.time > HOUR for arrival in history.world.rows),
        pairs=len(wanted),
        alerts=len(alerts),
        lost=len(wanted - history.alerted_pairs.keys()),
        twice=sum(times - 1 for times in history.alerted_pairs.values()),
    )
    problems = [f"lost {pair}" for pair in sorted(wanted - history.alerted_pairs.keys())]
    problems += [f"told {pair}, which is none" for pair in sorted(history.alerted_pairs.keys() - wanted)]
    problems += [f"told {pair} {times} times" for pair, times in history.alerted_pairs.items() if times > 1]
    if written != len(wanted):
        problems.append(f"alerts of {written} pairs in the table, {len(wanted)} are expected")
    for alert in alerts:
        if alert.incident not in incidents or dict(incidents[alert.incident][0]) != alert.key:
            problems.append(f"{alert.alert} belongs to no incident of its key")
    if len({alert.alert for alert in alerts}) < len(alerts):
        problems.append("two alerts have one id")
    for name, (_, incident) in incidents.items():
        own = [alert for alert in alerts if alert.incident == name]
        if (len(own), sum(alert.counts.pairs for alert in own)) != (incident.alerts, incident.pairs):
            problems.append(f"the numbers of incident {name} do not add up")
        if name in history.closed and incident != history.closed[name]:
            problems.append(f"{name} changed after it was closed")
    return problems


def _came_after_a_flood(history: History, pair: PairIds) -> bool:
    """Whether a flood had come over a pair before both its events could be read."""
    change, signal = (
        [arrival for arrival in history.world.rows if (arrival.side, arrival.id) == (side, ident)]
        for side, ident in zip(("changes", "signals"), pair, strict=True)
    )
    readable_from = max(min(arrival.arrived for arrival in rows) for rows in (change, signal))
    return any(
        commit.key == account(signal[0].actor)
        and commit.flood.actor == actor_digest(signal[0].actor)
        and commit.flood.begin <= signal[0].time <= commit.flood.end
        and commit.read_at < readable_from
        for commit in history.floods.values()
    )


def _incident_problems(history: History) -> list[str]:
    """What contradicts the rules of incidents at this moment."""
    problems: list[str] = []
    incidents_by_key: dict[Key, list[Incident]] = {}
    for key, incident in IncidentList(history.store.table, history.store.rule).incidents():
        incidents_by_key.setdefault(key, []).append(incident)
    for key, incidents in incidents_by_key.items():
        accepting = [
            incident
            for incident in incidents
            if incident.status == "new"
            and history.latest_clock <= incident.opened + DAY
            and incident.alerts < ALERTS_PER_INCIDENT
        ]
        if len(accepting) > 1:
            problems.append(f"{len(accepting)} incidents of {key} accept alerts")
        if any(incident.alerts > ALERTS_PER_INCIDENT for incident in incidents):
            problems.append(f"an incident of {key} has too many alerts")
        if any(later.predecessor != earlier.id for earlier, later in pairwise(incidents)):
            problems.append(f"an incident of {key} does not name its predecessor")
    return problems


# ----------------------------------------------------------------------------------------------------- random worlds


@dataclass(frozen=True, slots=True)
class Weather:
    """How likely things go wrong in a world, per run."""

    skip: float
    incomplete: float
    crash: float
    race: float
    lost: float
    clock: float
    close: float


CLOCK_ERRORS = (-HOUR, timedelta(minutes=8), 3 * DAY)
CALM = Weather(0, 0, 0, 0, 0, 0, 0)
WEATHER = (
    CALM,
    Weather(skip=0.05, incomplete=0.05, crash=0.05, race=0.05, lost=0.05, clock=0.02, close=0.02),
    Weather(skip=0.3, incomplete=0.1, crash=0.2, race=0.2, lost=0.2, clock=0.05, close=0.05),
    Weather(skip=0.6, incomplete=0.2, crash=0.5, race=0.5, lost=0.5, clock=0.1, close=0.1),
)


def random_world(seed: int, size: int = 1) -> World:
    """The world of a seed; the same seed and size give the same world."""
    random = Random(seed)
    start = datetime(2026, 3, 1, tzinfo=UTC) + random.randrange(86_400) * timedelta(seconds=1)
    if random.random() < 0.005:
        return _flood(seed, start, random)
    length = timedelta(days=random.uniform(2.5, 5))
    lateness = random.choice((RULE.lateness, RULE.lateness, RULE.lateness, 3 * DAY))
    ticks = _ticks(start, start + length + lateness, random)
    rows = _rows(ticks, length, lateness, size, random)
    plans, skipped = _plans(ticks, rows, random)
    storm = random.choice((None, None, 0, 1, 2))
    edits = random.choice((0, 0, 0, 1, 2, 4))
    begins = sorted([ticks[0], *random.choices(ticks, k=edits)])[:edits]
    thresholds = tuple((begin, random.choice((1, 2, 2, 3, 4))) for begin in begins)
    return World(f"world {seed}", rows, plans, skipped, lateness, storm, thresholds=thresholds)


def _flood(seed: int, start: datetime, random: Random) -> World:
    """More parts than an incident may have alerts."""
    rows = [Arrival("changes", "c", "a", start, start, start)]
    for number in range(ALERTS_PER_INCIDENT + 20):
        time = start + number * timedelta(seconds=random.randrange(1, 20))
        rows.append(Arrival("signals", f"s{number}", "a", time, time, time))
    ticks = [start + HOUR * number for number in range(5)]
    weather = WEATHER[1]
    plans = [replace(_faulty(tick, weather, rows, random), limit=random.choice((1, 2))) for tick in ticks]
    return World(f"world {seed}", rows, [Plan(start, start), *plans, *_clean(ticks[-1])])


def _ticks(start: datetime, end: datetime, random: Random) -> list[datetime]:
    """When runs should be: every hour, more or less."""
    jitter = random.choice((0, 0, 60, 600))
    hours = int((end - start) / HOUR) + 2
    return [start + HOUR * hour + timedelta(seconds=random.uniform(0, jitter)) for hour in range(hours)]


def _rows(
    ticks: Sequence[datetime], length: timedelta, lateness: timedelta, size: int, random: Random
) -> list[Arrival]:
    actors = [f"{name}@example.com" for name in ("alice", "bob", "carol", "dave")][: random.randint(1, 4)]
    start, end = ticks[0] - lateness, ticks[0] + length
    times: dict[str, list[datetime]] = {actor: [] for actor in actors}
    rows: list[Arrival] = []
    for number in range(random.randint(2, 14) * size):
        actor = random.choice(actors)
        time = _some_time(start - DAY, end, ticks, times[actor], random)
        times[actor].append(time)
        event = Arrival("changes", f"c{number}", actor, time, time, time)
        rows += _arrivals(event, ticks, lateness, random)
    for number in range(random.randint(3, 40) * size):
        actor = random.choice(actors)
        time = _some_time(start - HOUR, end, ticks, times[actor], random)
        kind = random.choice(("content_filter", "length"))
        event = Arrival("signals", f"s{number}", actor, time, time, time, kind)
        rows += _arrivals(event, ticks, lateness, random)
    return rows


def _some_time(
    earliest: datetime,
    latest: datetime,
    ticks: Sequence[datetime],
    event_times: Sequence[datetime],
    random: Random,
) -> datetime:
    """Any time, or one at an edge: of another event's reach, of a run's windows, of a day."""
    anywhere = earliest + random.random() * (latest - earliest)
    nudge = random.choice((-TICK, timedelta(), timedelta(), TICK))
    match random.randrange(8):
        case 0 | 1 if event_times:
            time = random.choice(event_times) + random.choice((timedelta(), WITHIN, WITHIN)) + nudge
        case 2 | 3 if event_times:
            time = random.choice(event_times) + random.uniform(0, 1.1) * WITHIN
        case 4:
            time = (
                random.choice(ticks) - random.choice((timedelta(), HOUR, RULE.lateness, DAY, 2 * DAY)) + nudge
            )
        case 5:
            time = anywhere.replace(hour=0, minute=0, second=0, microsecond=0) + nudge
        case 6:
            time = anywhere.replace(microsecond=0)
        case _:
            time = anywhere
    return min(max(time, earliest), latest)


def _arrivals(
    event: Arrival, ticks: Sequence[datetime], lateness: timedelta, random: Random
) -> Iterator[Arrival]:
    """The rows of one event: one, or now and then more, for connectors deliver at least once."""
    for _ in range(random.choice((1, 1, 1, 1, 1, 1, 1, 2, 3))):
        arrived = event.time + _delay(event.time, ticks, lateness, random)
        stamped = random.choice((event.time, event.time, event.time, arrived))
        yield replace(event, stamped=stamped, arrived=arrived)


def _delay(time: datetime, ticks: Sequence[datetime], lateness: timedelta, random: Random) -> timedelta:
    match random.randrange(7):
        case 0:
            return timedelta()
        case 1:
            return lateness
        case 2:
            return lateness - TICK
        case 3:
            return random.random() * lateness
        case 4:
            # To arrive just when a run looks.
            delay = random.choice(ticks) + random.choice((-TICK, timedelta(), TICK)) - time
            return delay if timedelta() <= delay <= lateness else lateness / 2
        case _:
            return timedelta(seconds=random.expovariate(1 / 300)) % lateness


def _plans(ticks: Sequence[datetime], rows: Sequence[Arrival], random: Random) -> tuple[list[Plan], int]:
    """A clean first run, faulty ones until everything has arrived, and clean ones at the end."""
    last_arrival = max(arrival.arrived for arrival in rows)
    weather = random.choice(WEATHER)
    outages = [
        (begin, begin + timedelta(days=random.uniform(0.2, 5)))
        for begin in random.choices(ticks, k=random.choice((0, 0, 1, 2)))
    ]
    plans = [Plan(ticks[0], ticks[0])]
    skipped = 0
    for tick in ticks[1:]:
        if tick > last_arrival:
            break
        if random.random() < weather.skip or any(begin < tick < end for begin, end in outages):
            skipped += 1
        else:
            # What catches up takes long, and so it is raced more than others.
            late = tick - plans[-1].moment > 6 * HOUR and weather is not CALM
            race = max(weather.race, 0.4) if late else weather.race
            plans.append(_faulty(tick, replace(weather, race=race), rows, random))
    # An outage may reach beyond the last arrival, and then everything is told late.
    end = max([last_arrival, ticks[0], *(end for _, end in outages)])
    return [*plans, *_clean(end)], skipped


def _clean(after: datetime) -> list[Plan]:
    return [Plan(moment, moment) for moment in (after + HOUR, after + 2 * HOUR)]


def _faulty(tick: datetime, weather: Weather, rows: Sequence[Arrival], random: Random) -> Plan:
    plan = _troubled(tick, weather, random)
    if random.random() < weather.race:
        apart = timedelta(minutes=random.choice((0, 0, 7, -7)))
        racing_plan = _troubled(tick + apart, weather, random)
        plan = replace(plan, race=racing_plan, race_at=random.randint(1, random.choice((3, 10, 30))))
    if random.random() < weather.close:
        plan = replace(plan, close=random.choice(rows).actor)
    return plan


def _troubled(tick: datetime, weather: Weather, random: Random) -> Plan:
    def chance(likelihood: float) -> bool:
        return random.random() < likelihood

    crash = random.randint(1, random.choice((2, 6))) if chance(weather.crash) else None
    lost = frozenset(random.randint(1, 6) for _ in range(3)) if chance(weather.lost) else frozenset()
    return Plan(
        moment=tick,
        now=tick + random.choice(CLOCK_ERRORS) if chance(weather.clock) else tick,
        incomplete=chance(weather.incomplete),
        limit=random.choice((EVENTS_PER_PART, EVENTS_PER_PART, 3, 1)),
        faults=Faults(crash, chance(0.5), lost),
        changes_later=timedelta(seconds=random.choice((0, 0, 1, 90, 300))),
        signals_later=timedelta(seconds=random.choice((0, 0, 1, 90, 300))),
    )
