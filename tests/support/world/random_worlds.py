"""The world of a seed: what happens in it, with every dimension at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import get_args

from detection.incidents.decide import EVENTS_PER_PART, FLOOD
from detection.incidents.incident import ALERTS_PER_INCIDENT
from tests.support.builders import DAY, HOUR, RULE, TICK, Method
from tests.support.world.identity import name_of
from tests.support.world.scenario import (
    Arrival,
    Configuration,
    Edit,
    EditKind,
    Faults,
    Mute,
    OptionName,
    Plan,
    Silencing,
    World,
)

WITHIN = RULE.sequence.within
SECOND_RULE = "second-rule"
ACTORS = ("alice@example.com", "bob@example.com", "alice@example.org", "dave@example.com")
ADDRESSES = ("203.0.113.7", "203.0.113.9", "198.51.100.2", "::ffff:203.0.113.7")
RETIMED = 52 * HOUR  # less than the shortest life of a mark: lateness, `within` of 6 hours, a day, an hour
MODELS = ("gpt-4o", "gpt-4.1", "o3")
KINDS = ("api_key.created", "role.updated")
LATENESSES = (RULE.lateness, RULE.lateness, RULE.lateness, 30 * HOUR, 3 * DAY)
CATCH_UPS = (14 * DAY, 2 * DAY, DAY, 6 * HOUR)
# Lists of identity matching options. Most worlds match exactly.
IDENTITIES: tuple[tuple[OptionName, ...], ...] = (
    ("exact",),
    ("exact", "sha256"),
    ("base64", "exact"),
    ("exact", "metadata"),
    ("local-part", "exact"),
    ("mapping", "exact"),
    ("none",),
    ("exact", "sha256", "base64", "metadata", "local-part", "mapping"),
)
# Lines of users.csv: two people share a user.
LINES = ((ACTORS[0], "shared"), (ACTORS[1], "shared"), (ACTORS[2], "u3"), (ACTORS[3], "shared"))
CRITERIA: tuple[tuple[tuple[str, str], ...], ...] = (
    (("actor", ACTORS[0]),),
    (("actor", "*@example.org"),),
    (("address", "203.0.113.0/24"),),
    (("address", "203.0.113.7"), ("change", "role.*")),
    (("change", "api_key.created"), ("signal", "length")),
    (("signal", "content_*"), ("actor", "b*")),
    (("model", "gpt-*"),),
)
GROUPINGS: tuple[tuple[Method, tuple[str, ...]], ...] = (
    ("Selected", ("Account",)),
    ("Selected", ("Account",)),
    ("Selected", ("Account", "CloudApplication")),
    ("Selected", ("IP",)),
    ("Selected", ("CloudApplication",)),
    ("AllEntities", ()),
    ("AnyAlert", ()),
)


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


EDIT_KINDS: tuple[EditKind, ...] = (*get_args(EditKind), "threshold", "grouping")
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
    configuration = _configuration(random)
    ticks = _ticks(start, start + length + configuration.lateness, random)
    folders = (RULE.folder, SECOND_RULE)[: random.choice((1, 1, 2))]
    is_flooded = random.random() < 0.3
    edits = [edit for folder in folders for edit in _edits(ticks, configuration, folder, random)]
    silencings = [silencing for folder in folders for silencing in _silencings(ticks, folder, random)]
    rows = _rows(ticks, length, configuration, size, random)
    plans: list[Plan] = []
    skipped = 0
    for folder in folders:
        plans_of_rule, skipped_of_rule = _plans(ticks, rows, folder, random)
        plans += plans_of_rule
        skipped += skipped_of_rule
    plans += _second_versions([edit for edit in edits if edit.kind == "grouping"], plans, random)
    plans.sort(key=lambda plan: plan.moment)
    # A gap may be read after the last runs of a rule, and that reading may die: only a run publishes its digest.
    last = plans[-1].moment + HOUR
    plans += [Plan(last, last, folder=folder) for folder in folders]
    return World(
        f"world {seed}",
        rows,
        [_raced(plan, folders, random) for plan in plans],
        skipped,
        storm=random.choice((None, None, 0, 1, 2)),
        flood=random.randint(2, 8) if is_flooded else FLOOD,
        retention=random.choice((90, 90, 4, 6)) * DAY,
        configuration=configuration,
        edits=sorted(edits, key=lambda edit: edit.moment),
        silencings=sorted(silencings, key=lambda silencing: silencing.moment),
    )


def _configuration(random: Random) -> Configuration:
    method, entities = random.choice(GROUPINGS)
    return Configuration(
        threshold=random.choice((1, 1, 1, 2)),
        identity=random.choice((IDENTITIES[0], random.choice(IDENTITIES))),
        mapping=LINES[: random.randint(1, len(LINES))],
        method=method,
        entities=entities,
        lateness=random.choice(LATENESSES),
        max_catch_up=random.choice(CATCH_UPS),
    )


def _edits(
    ticks: Sequence[datetime],
    configuration: Configuration,
    folder: str,
    random: Random,
) -> Iterator[Edit]:
    """Edits of a rule, some of them reverted; some come between a run and another that races it."""
    former = configuration
    moments = sorted(random.choices(ticks, k=random.choice((0, 0, 1, 2, 4, 6))))
    if moments and random.random() < 0.5:
        moments[0] = ticks[0]
    for moment in moments:
        kind: EditKind = random.choice(EDIT_KINDS)
        is_reverted = configuration != former and random.random() < 0.25
        former, configuration = (
            configuration,
            former if is_reverted else _changed(kind, configuration, random),
        )
        edited = moment + random.choice((0, 0, 0, 3)) * timedelta(minutes=1)
        yield Edit(edited, configuration, kind, folder)
        if kind == "grouping" and random.random() < 0.5:  # and again, before the next run
            configuration = _changed(kind, configuration, random)
            yield Edit(edited + timedelta(minutes=4), configuration, kind, folder)


def _changed(kind: EditKind, configuration: Configuration, random: Random) -> Configuration:
    match kind:
        case "threshold":
            return replace(configuration, threshold=random.choice((1, 2, 2, 3, 4)))
        case "lateness":
            return replace(configuration, lateness=random.choice(LATENESSES))
        case "catch-up":
            return replace(configuration, max_catch_up=random.choice(CATCH_UPS))
        case "exclusions":
            criteria = random.sample(CRITERIA, random.randint(0, 2))
            mutes = tuple(Mute(f"exclusion-{number}", criterion) for number, criterion in enumerate(criteria))
            return replace(configuration, exclusions=mutes)
        case "within":
            return replace(configuration, within=random.choice((6 * HOUR, DAY, DAY, 2 * DAY)))
        case "identity":
            return replace(configuration, identity=random.choice(IDENTITIES))
        case "mapping":
            lines = tuple(random.sample(LINES, random.randint(1, len(LINES))))
            return replace(configuration, mapping=lines)
        case "grouping":
            method, entities = random.choice(GROUPINGS)
            threshold = random.choice((configuration.threshold, configuration.threshold, 1, 4))
            return replace(configuration, method=method, entities=entities, threshold=threshold)


def _silencings(ticks: Sequence[datetime], folder: str, random: Random) -> list[Silencing]:
    """Silences that people add; some begin in the past, and some are lifted before their end."""
    silencings: list[Silencing] = []
    for number in range(random.choice((0, 0, 1, 2, 3))):
        added = random.choice(ticks) + random.choice((0, 3)) * timedelta(minutes=1)
        begins = added - random.choice((timedelta(), timedelta(), HOUR, DAY))
        expires = added + random.choice((HOUR, 12 * HOUR, 3 * DAY))
        mute = Mute(f"silence-{number}", random.choice(CRITERIA), begins, expires)
        silencings.append(Silencing(added, mute, folder=folder))
        if random.random() < 0.5:
            lifted = added + random.random() * (expires - added)
            silencings.append(Silencing(lifted, mute, lifts=True, folder=folder))
    return silencings


def _flood(seed: int, start: datetime, random: Random) -> World:
    """More parts than an incident may have alerts."""
    rows = [Arrival("changes", "c", "a", start, start, start)]
    for number in range(ALERTS_PER_INCIDENT + 20):
        time = start + number * timedelta(seconds=random.randrange(1, 20))
        rows.append(Arrival("signals", f"s{number}", "a", time, time, time))
    ticks = [start + HOUR * number for number in range(5)]
    weather = WEATHER[1]
    plans = [replace(_faulty(tick, weather, random), limit=random.choice((1, 2))) for tick in ticks]
    return World(f"world {seed}", rows, [Plan(start, start), *plans, *_clean(ticks[-1])])


def _ticks(start: datetime, end: datetime, random: Random) -> list[datetime]:
    """When runs should be: every hour, more or less."""
    jitter = random.choice((0, 0, 60, 600))
    hours = int((end - start) / HOUR) + 2
    return [start + HOUR * hour + timedelta(seconds=random.uniform(0, jitter)) for hour in range(hours)]


def _rows(
    ticks: Sequence[datetime], length: timedelta, configuration: Configuration, size: int, random: Random
) -> list[Arrival]:
    lateness = configuration.lateness
    actors = ACTORS[: random.randint(1, 4)]
    forms = random.choice((("exact",), IDENTITIES[-1]))  # how callers name themselves
    later = random.choice((1, random.random())) * RETIMED
    start, end = ticks[0] - lateness, ticks[0] + length
    times: dict[str, list[datetime]] = {actor: [] for actor in actors}
    addresses, models = (random.sample(names, random.randint(1, 3)) for names in (ADDRESSES, MODELS))
    rows: list[Arrival] = []
    for number in range(random.randint(2, 14) * size):
        actor = random.choice(actors)
        time = _some_time(start - DAY, end, ticks, times[actor], random)
        times[actor].append(time)
        kind, address = random.choice(KINDS), random.choice(addresses)
        event = Arrival("changes", f"c{number}", actor, time, time, time, kind, ip=address)
        rows += _arrivals(event, ticks, lateness, later, random)
    for number in range(random.randint(3, 40) * size):
        actor = random.choice(actors)
        time = _some_time(start - HOUR, end, ticks, times[actor], random)
        kind, model = random.choice(("content_filter", "length")), random.choice(models)
        event = Arrival("signals", f"s{number}", actor, time, time, time, kind, model=model)
        rows += _arrivals(_named(event, random.choice(forms), random), ticks, lateness, later, random)
    return rows


def _named(signal: Arrival, form: OptionName, random: Random) -> Arrival:
    """The signal as its caller names the actor."""
    actor = signal.actor
    match form:
        case "metadata":
            return replace(signal, actor="app", employee=random.choice((actor, actor, random.choice(ACTORS))))
        case "mapping":
            return replace(signal, actor=random.choice(LINES)[1])
        case _:
            return replace(signal, actor=name_of(actor, form))


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
    event: Arrival, ticks: Sequence[datetime], lateness: timedelta, later: timedelta, random: Random
) -> Iterator[Arrival]:
    """The rows of one event: one, or now and then more, for connectors deliver at least once.

    A row without the vendor's own time has its stamp as its time: delivered again, it has a new time, often
    `later` than the first, as the others.
    """
    has_time = random.random() < 0.8
    for number in range(random.choice((1, 1, 1, 1, 1, 1, 1, 2, 3))):
        arrived = event.time + _delay(event.time, ticks, lateness, random)
        if has_time or number == 0:
            stamped = random.choice((event.time, event.time, event.time, arrived))
            yield replace(event, stamped=stamped, arrived=arrived)
        else:  # soon enough for the marks of the first row to be there
            time = event.time + random.choice((later, random.random() * RETIMED))
            yield replace(event, time=time, stamped=time, arrived=time)


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


def _plans(
    ticks: Sequence[datetime], rows: Sequence[Arrival], folder: str, random: Random
) -> tuple[list[Plan], int]:
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
            # A catch-up run takes long, and so it is raced more often than others.
            late = tick - plans[-1].moment > 6 * HOUR and weather is not CALM
            race = max(weather.race, 0.4) if late else weather.race
            plans.append(_faulty(tick, replace(weather, race=race), random))
    # An outage may reach beyond the last arrival, and then everything is alerted late.
    end = max([last_arrival, ticks[0], *(end for _, end in outages)])
    ahead = random.choice((0, 0, 0, 8)) * timedelta(
        minutes=1
    )  # the clock of this rule's runs after the first
    plans = [plans[0], *(replace(plan, now=max(plan.now, plan.moment + ahead)) for plan in plans[1:])]
    plans += _gap_readings(outages, ticks, weather, random)
    plans.sort(key=lambda plan: plan.moment)
    plans += _clean(end)
    if random.random() < 0.7:
        plans += [Plan(end + 3 * HOUR, end + 3 * HOUR, gap=0) for _ in range(4)]
    return [replace(plan, folder=folder) for plan in plans], skipped


def _gap_readings(
    outages: Sequence[tuple[datetime, datetime]],
    ticks: Sequence[datetime],
    weather: Weather,
    random: Random,
) -> Iterator[Plan]:
    """People read the gaps of outages: soon or days later, between two runs; a reading may fail as runs do."""
    for _, end in outages:
        for _ in range(random.choice((0, 1, 2, 3))):
            delay = random.choice((HOUR, 2 * HOUR, random.random() * 4 * DAY))
            moment = end + delay + random.choice((0, 0, 20)) * timedelta(minutes=1)
            if moment <= ticks[-1]:
                yield replace(_faulty(moment, weather, random), gap=random.randrange(10))


def _second_versions(edits: Sequence[Edit], plans: Sequence[Plan], random: Random) -> Iterator[Plan]:
    """Runs of rules whose grouping was just edited, soon after the last run with the former grouping."""
    for edit in edits:
        last = max(plan.moment for plan in plans if plan.folder == edit.folder)
        if random.random() < 0.8 and edit.moment < last - 3 * HOUR:
            moment = edit.moment + random.choice((1, 2, 10, 20)) * timedelta(minutes=1)
            yield replace(_faulty(moment, random.choice(WEATHER[:2]), random), folder=edit.folder)


def _raced(plan: Plan, folders: Sequence[str], random: Random) -> Plan:
    """The plan; a run that races it is of either rule, and may be the reading of a gap."""
    if plan.race is None:
        return plan
    gap = random.randrange(10) if random.random() < (0.1 if plan.gap is None else 0.5) else None
    return replace(plan, race=replace(plan.race, folder=random.choice((plan.folder, *folders)), gap=gap))


def _clean(after: datetime) -> list[Plan]:
    return [Plan(moment, moment) for moment in (after + HOUR, after + 2 * HOUR)]


def _faulty(tick: datetime, weather: Weather, random: Random) -> Plan:
    plan = _troubled(tick, weather, random)
    if random.random() < weather.race:
        apart = timedelta(minutes=random.choice((0, 0, 7, -7)))
        racing_plan = _troubled(tick + apart, weather, random)
        plan = replace(plan, race=racing_plan, race_at=random.randint(1, random.choice((3, 10, 30))))
    if random.random() < weather.close:
        plan = replace(plan, close=random.randrange(100))
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
