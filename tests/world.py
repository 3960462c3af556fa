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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from random import Random
from typing import Literal, NamedTuple

from detection.errors import Incomplete, ServiceError
from detection.events import Logs, Row
from detection.incidents.batch import Share
from detection.incidents.flood import FLOOD
from detection.incidents.grouping import ALERTS_PER_INCIDENT, EVENTS_PER_PART, Incident, Verdict
from detection.incidents.index import Index
from detection.incidents.keys import Key
from detection.incidents.outbox import Delivery, Outbox
from detection.incidents.table import Conflict, Delete, Entity, MemoryTable, Operation, Table
from detection.matches import Matches
from detection.rule import Rule
from detection.run import run
from detection.tell import Terms
from detection.window import Windows
from tests.builders import (
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
Told = tuple[str, str]


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

    def row(self) -> Row:
        """The row as the rule's query returns it."""
        build = change_row if self.side == "changes" else signal_row
        return build(self.id, self.time, self.actor, stamped=self.stamped)


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


# ------------------------------------------------------------------------------------- the log store and the table


class Store:
    """The log store, as a Source: it holds what has arrived by the moment of reading."""

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[tuple[Arrival, Row]],
        seen: Callable[[], datetime],
        crowd: int = FLOOD,
    ) -> None:
        """Time does not run backwards: what was `seen` before a write can be read after it."""
        self._crowd = crowd
        self._plan = plan
        self._rows = rows
        self._seen = seen
        self._order = Random(f"{plan.moment}")
        self.read_at: datetime | None = None
        self.read_from: datetime | None = None

    def read(self, rule: Rule, windows: Windows) -> Logs:
        if self._plan.incomplete:
            raise Incomplete("the answer was cut")
        changes_at = max(self._plan.moment + self._plan.changes_later, self._seen())
        signals_at = max(self._plan.moment + self._plan.signals_later, self._seen())
        self.read_at = max(changes_at, signals_at)
        self.read_from = min(changes_at, signals_at)
        whole = logs(
            self._answer("changes", windows.changes.after, changes_at),
            self._answer("signals", windows.signals.after, signals_at),
            windows,
            rule,
        )
        return sliced(whole, self._crowd) if self._order.random() < SLICED else whole

    def _answer(self, side: SideName, after: datetime, at: datetime) -> list[Row]:
        rows = [
            row for one, row in self._rows if one.side == side and one.stamped > after and one.arrived <= at
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

    def scan(self, partition: str, first: str, last: str) -> Iterator[Entity]:
        while True:
            # A page is cut short where the race comes between: right after its first row.
            cut = 1 if self._accesses < self._race_at else PAGES
            self._access()
            page = list(islice(self._table.scan(partition, first, last), cut))
            yield from page
            if len(page) < cut:
                return
            first = page[-1].row + "\0"

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
        deleted = sum(isinstance(one, Delete) for one in operations)
        self.figures["purged"] += deleted
        if dies:
            raise Crash
        if self._writes in self._faults.lost and deleted < len(operations):
            self.figures["unheard"] += 1
            raise Conflict("it was written, the answer was lost, and the client wrote again")

    def _access(self) -> None:
        self._accesses += 1
        if self._race and self._accesses == self._race_at:
            self._race()


class Flood(NamedTuple):
    """From a commit on, everything of a key up to `until` counts as told; it had read what was there `at` a moment."""

    key: Key
    until: datetime
    at: datetime


@dataclass(slots=True)
class History:
    """What came of a world. `complete` are the moments of its complete runs, `peak` the latest clock, `read`
    the latest moment that a run had seen when it wrote or ended.
    """

    world: World
    table: MemoryTable = field(default_factory=MemoryTable)
    told: Counter[Told] = field(default_factory=Counter)
    complete: list[datetime] = field(default_factory=list)
    peak: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    read: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    figures: Counter[str] = field(default_factory=Counter)
    closed: dict[str, Incident] = field(default_factory=dict)
    floods: list[Flood] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def saw(self, store: Store) -> None:
        """Something follows from what was read of the store."""
        self.read = max(self.read, store.read_at or self.read)

    @property
    def index(self) -> Index:
        """The index as somebody looks at it from outside."""
        return Index(self.table, RULE.folder, "looking")


class WitnessedIndex(Index):
    """The real index, and a witness of what the table really took: an answer may be lost, the row is there."""

    def __init__(self, table: FaultyTable, token: str, history: History, store: Store) -> None:
        super().__init__(table, RULE.folder, token)
        self._witnessed = table
        self._history = history
        self._store = store

    def commit(self, verdict: Verdict, telling: Sequence[Operation] = ()) -> None:
        before = self._witnessed.effects
        try:
            super().commit(verdict, telling)
        finally:
            if self._witnessed.effects > before:
                self._history.saw(self._store)
                pairs = (pair for chain in verdict.told for pair in chain.pairs())
                self._history.told.update((change.id, signal.id) for change, signal in pairs)
                memory = verdict.memory
                if memory.flood and not verdict.signal_marks and self._store.read_from:
                    flood = Flood(memory.key, memory.flood, self._store.read_from)
                    self._history.floods.append(flood)


# --------------------------------------------------------------------------------------------------------- living it


def live(world: World) -> History:
    """Executes every run of a world and checks the incidents on the way."""
    history = History(world)
    rows = [(one, one.row()) for one in world.rows]
    before = 0
    for number, plan in enumerate(world.plans):
        _execute(history, plan, rows, f"run {number}")
        if history.told.total() != before:
            before = history.told.total()
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
    store = Store(plan, rows, lambda: history.read, history.world.flood)
    index = WitnessedIndex(table, token, history, store)
    terms = Terms(
        _alone,
        _together,
        history.world.storm,
        history.world.lateness,
        part=plan.limit,
        flood=history.world.flood,
    )
    history.figures["runs"] += 1
    history.peak = max(history.peak, plan.now)
    try:
        run(RULE, plan.now, store, index, terms)
    except Crash:
        history.figures["crashes"] += 1
    except Incomplete:
        history.figures["incomplete"] += 1
    except ServiceError as error:
        history.figures["gave up"] += 1
        if plan.clean:
            history.problems.append(f"{token} gave up: {error}")
    else:
        history.complete.append(plan.now)
    finally:
        history.figures.update(table.figures)
        history.saw(store)


def _alone(verdict: Verdict, found: Matches) -> list[Delivery]:
    """The message of one alert: in this world, its name."""
    assert verdict.alert
    now, alert = found.windows.now, verdict.alert
    return [_message(alert.incident, verdict.memory.commits, [alert.alert], now)]


def _together(batch: str, began: datetime, shares: Sequence[Share]) -> list[Delivery]:
    """The message of several: their names."""
    return [_message(f"digest {batch}", 1, [share.alert for share in shares], began)]


def _message(line: str, commit: int, alerts: Sequence[str], now: datetime) -> Delivery:
    return Delivery(f"{line} {commit}", "soc", line, commit, json.dumps(alerts).encode(), now, now)


def _close(history: History, actor: str) -> None:
    history.index.amend(account(actor), closed_at_start)
    incident = history.index.recall(account(actor)).incident
    if incident:
        history.closed[incident.id] = incident


# ------------------------------------------------------------------------------------------------------ judging it


def expected(world: World) -> set[Told]:
    """The pairs of all that happened, by own time, except signals from before the first run's window."""
    first = world.plans[0].now - HOUR - world.lateness
    changes = {(one.id, one.actor, one.time) for one in world.rows if one.side == "changes"}
    signals = {(one.id, one.actor, one.time) for one in world.rows if one.side == "signals"}
    return {
        (change, signal)
        for change, actor, changed in changes
        for signal, other, signalled in signals
        if actor == other and changed <= signalled <= changed + WITHIN and signalled > first
    }


def published(world: World, complete: Sequence[datetime]) -> Counter[Told]:
    """How often the published rule would have told each pair of `expected`: at every complete run it returns
    what has arrived, with both sides by stamp in the past day, and it remembers nothing.
    """
    wanted = expected(world)
    moments = sorted(complete)
    runs: dict[Told, set[int]] = {}
    changes = [one for one in world.rows if one.side == "changes"]
    signals = [one for one in world.rows if one.side == "signals"]
    for left in changes:
        for right in signals:
            pair = (left.id, right.id)
            if pair in wanted and left.stamped <= right.stamped <= left.stamped + WITHIN:
                first = bisect_left(moments, max(left.arrived, right.arrived))
                last = bisect_left(moments, left.stamped + DAY)
                runs.setdefault(pair, set()).update(range(first, last))
    return Counter({pair: len(seen) for pair, seen in runs.items()})


def _problems(history: History) -> list[str]:
    """What contradicts the promise, in words; nothing if it was kept."""
    return [*_pair_problems(history), *_message_problems(history)]


def _message_problems(history: History) -> list[str]:
    """Every alert is in one message, and nothing is left of the batches but their seals."""
    messages = [one.delivery for one in Outbox(history.table, RULE.folder).waiting("soc")]
    history.figures["digests"] += sum(one.incident.startswith("digest") for one in messages)
    told = sorted(name for one in messages for name in json.loads(one.body))
    rows = history.table.scan(RULE.folder, "s|", "s}")
    problems = ["a share is left behind"] * any("sealed" not in row.values for row in rows)
    if told != sorted(alert.alert for alert in history.index.alerts()):
        problems.append("an alert is in no message, or in two")
    return problems


def _pair_problems(history: History) -> list[str]:
    """Every pair is told once, and the incidents add up."""
    wanted = expected(history.world)
    wanted -= {pair for pair in wanted - history.told.keys() if _came_after_a_flood(history, pair)}
    alerts = list(history.index.alerts())
    written = sum(alert.counts.pairs for alert in alerts)
    incidents = {incident.id: (key, incident) for key, incident in history.index.incidents()}
    history.figures.update(
        worlds=1,
        floods=len(history.floods),
        covered=len(expected(history.world)) - len(wanted),
        late=sum(one.arrived - one.time > HOUR for one in history.world.rows),
        pairs=len(wanted),
        alerts=len(alerts),
        lost=len(wanted - history.told.keys()),
        twice=sum(times - 1 for times in history.told.values()),
    )
    problems = [f"lost {pair}" for pair in sorted(wanted - history.told.keys())]
    problems += [f"told {pair}, which is none" for pair in sorted(history.told.keys() - wanted)]
    problems += [f"told {pair} {times} times" for pair, times in history.told.items() if times > 1]
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


def _came_after_a_flood(history: History, pair: Told) -> bool:
    """Whether a flood had come over a pair before both its events could be read."""
    change, signal = (
        [one for one in history.world.rows if (one.side, one.id) == (side, ident)]
        for side, ident in zip(("changes", "signals"), pair, strict=True)
    )
    there = max(min(one.arrived for one in rows) for rows in (change, signal))
    return any(
        flood.key == account(signal[0].actor) and flood.until >= signal[0].time and flood.at < there
        for flood in history.floods
    )


def _incident_problems(history: History) -> list[str]:
    """What contradicts the rules of incidents at this moment."""
    problems: list[str] = []
    by_key: dict[Key, list[Incident]] = {}
    for key, incident in history.index.incidents():
        by_key.setdefault(key, []).append(incident)
    for key, incidents in by_key.items():
        accepting = [
            one
            for one in incidents
            if one.status == "new" and history.peak <= one.opened + DAY and one.alerts < ALERTS_PER_INCIDENT
        ]
        if len(accepting) > 1:
            problems.append(f"{len(accepting)} incidents of {key} accept alerts")
        if any(one.alerts > ALERTS_PER_INCIDENT for one in incidents):
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
    back: float
    close: float


CALM = Weather(0, 0, 0, 0, 0, 0, 0)
WEATHER = (
    CALM,
    Weather(skip=0.05, incomplete=0.05, crash=0.05, race=0.05, lost=0.05, back=0.02, close=0.02),
    Weather(skip=0.3, incomplete=0.1, crash=0.2, race=0.2, lost=0.2, back=0.05, close=0.05),
    Weather(skip=0.6, incomplete=0.2, crash=0.5, race=0.5, lost=0.5, back=0.1, close=0.1),
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
    return World(f"world {seed}", rows, plans, skipped, lateness, storm)


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
        event = Arrival("signals", f"s{number}", actor, time, time, time)
        rows += _arrivals(event, ticks, lateness, random)
    return rows


def _some_time(
    first: datetime, last: datetime, ticks: Sequence[datetime], others: Sequence[datetime], random: Random
) -> datetime:
    """Any time, or one at an edge: of another event's reach, of a run's windows, of a day."""
    anywhere = first + random.random() * (last - first)
    nudge = random.choice((-TICK, timedelta(), timedelta(), TICK))
    match random.randrange(8):
        case 0 | 1 if others:
            time = random.choice(others) + random.choice((timedelta(), WITHIN, WITHIN)) + nudge
        case 2 | 3 if others:
            time = random.choice(others) + random.uniform(0, 1.1) * WITHIN
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
    return min(max(time, first), last)


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
            wanted = random.choice(ticks) + random.choice((-TICK, timedelta(), TICK)) - time
            return wanted if timedelta() <= wanted <= lateness else lateness / 2
        case _:
            return timedelta(seconds=random.expovariate(1 / 300)) % lateness


def _plans(ticks: Sequence[datetime], rows: Sequence[Arrival], random: Random) -> tuple[list[Plan], int]:
    """A clean first run, faulty ones until everything has arrived, and clean ones at the end."""
    last = max(one.arrived for one in rows)
    weather = random.choice(WEATHER)
    outages = [
        (begin, begin + timedelta(days=random.uniform(0.2, 5)))
        for begin in random.choices(ticks, k=random.choice((0, 0, 1, 2)))
    ]
    plans = [Plan(ticks[0], ticks[0])]
    skipped = 0
    for tick in ticks[1:]:
        if tick > last:
            break
        if random.random() < weather.skip or any(begin < tick < end for begin, end in outages):
            skipped += 1
        else:
            # What catches up takes long, and so it is raced more than others.
            late = tick - plans[-1].moment > 6 * HOUR and weather is not CALM
            race = max(weather.race, 0.4) if late else weather.race
            plans.append(_faulty(tick, replace(weather, race=race), rows, random))
    # An outage may reach beyond the last arrival, and then everything is told late.
    end = max([last, ticks[0], *(end for _, end in outages)])
    return [*plans, *_clean(end)], skipped


def _clean(after: datetime) -> list[Plan]:
    return [Plan(moment, moment) for moment in (after + HOUR, after + 2 * HOUR)]


def _faulty(tick: datetime, weather: Weather, rows: Sequence[Arrival], random: Random) -> Plan:
    plan = _troubled(tick, weather, random)
    if random.random() < weather.race:
        apart = timedelta(minutes=random.choice((0, 0, 7, -7)))
        other = _troubled(tick + apart, weather, random)
        plan = replace(plan, race=other, race_at=random.randint(1, random.choice((3, 10, 30))))
    if random.random() < weather.close:
        plan = replace(plan, close=random.choice(rows).actor)
    return plan


def _troubled(tick: datetime, weather: Weather, random: Random) -> Plan:
    def chance(of: float) -> bool:
        return random.random() < of

    crash = random.randint(1, random.choice((2, 6))) if chance(weather.crash) else None
    lost = frozenset(random.randint(1, 6) for _ in range(3)) if chance(weather.lost) else frozenset()
    return Plan(
        moment=tick,
        now=tick - HOUR if chance(weather.back) else tick,
        incomplete=chance(weather.incomplete),
        limit=random.choice((EVENTS_PER_PART, EVENTS_PER_PART, 3, 1)),
        faults=Faults(crash, chance(0.5), lost),
        changes_later=timedelta(seconds=random.choice((0, 0, 1, 90, 300))),
        signals_later=timedelta(seconds=random.choice((0, 0, 1, 90, 300))),
    )
