"""One reading of the logs: three questions side by side, each asked in halves where its answer is not whole.

The coverage is a fourth, asked after the health. Different identities cannot be added up from halves: where there is
no whole answer, the coverage is not known, which is logged and no reason to detect nothing.

Slices are of the stamp, by which Log Analytics finds rows: every row is in exactly one of them. Rows of one
event that were stamped differently meet again before events are made of them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, count

from detection.bridges import Owners, assign_for
from detection.coverage import Coverage
from detection.errors import Incomplete
from detection.events import Events, Health, Logs, Rejected, Row, to_events
from detection.kql import COVERAGE_COLUMNS, HEALTH_COLUMNS, Bounds, bounds, narrowed, with_bounds
from detection.rule import Rule
from detection.sources.answer import ROW_LIMIT, Table
from detection.sources.cells import Rows
from detection.sources.coverage_query import FailedCoverage, counted, logged
from detection.sources.halving import in_halves
from detection.sources.hoard import Hoard, gathered
from detection.window import Window, Windows

BUDGET = 300  # seconds from the beginning of a reading, in which a question may be asked
# Of one reading. The API takes 200 in 30 seconds and 5 at a time from a caller (azure-monitor-docs,
# service-limits.md): three at a time and so few in all can never be too many.
REQUESTS = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one reading: its seconds, its requests, and the rows that the API cuts an answer at.

    An actor with more than `crowd` signals comes in pieces.
    """

    seconds: float = BUDGET
    requests: int = REQUESTS
    rows: int = ROW_LIMIT
    crowd: int = ROW_LIMIT


LIMITS = Limits()

# Asks a query, which may be sent again for so many seconds. Raises Unfinished where a smaller one may be answered.
Ask = Callable[[str, str, float], Table]


@dataclass(frozen=True, slots=True)
class Whole:
    """All rows of a reading, side by side, and what is said of them."""

    changes: list[Row]
    signals: list[Row]
    rejected: Mapping[str, Rejected]
    health: Mapping[str, Health]


@dataclass(slots=True)
class Reading:
    """Asks a rule's queries within the limits, by a clock.

    With `until` nothing is asked that is stamped later: for a look at the past, where nobody waits for what comes late.
    """

    ask: Ask
    rule: Rule
    windows: Windows
    queries: Mapping[str, str]
    clock: Callable[[], datetime]
    limits: Limits
    until: datetime | None = None
    _began: datetime = field(init=False)
    _asked: Iterator[int] = field(default_factory=lambda: count(1))
    _rejected: dict[str, Rejected] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def logs(self) -> Logs:
        """Both sides and their health, complete; many signals come in slices."""
        with ThreadPoolExecutor(3) as together:
            others_asked = together.submit(lambda: (self._health(), self._coverage()))
            changes_asked = together.submit(self._all, "changes")
            signals_asked = together.submit(self._signals, changes_asked)
        changes = self._events("changes", changes_asked.result())
        signals, (health, coverage) = signals_asked.result(), others_asked.result()
        covered = logged(coverage)
        rejected = {**self._rejected, **_unnamed(health)}
        if isinstance(signals, Hoard):
            rest = self._slices(signals, changes)
            return Logs(changes, Events(()), rejected, health, rest=rest, coverage=covered)
        return Logs(changes, self._events("signals", signals), rejected, health, coverage=covered)

    def rows(self) -> "Whole":
        """The rows of both sides as they are, all in memory, and their health."""
        with ThreadPoolExecutor(3) as together:
            health_asked = together.submit(self._health)
            changes_asked, signals_asked = (
                together.submit(self._all, name) for name in ("changes", "signals")
            )
        health = health_asked.result()
        return Whole(
            changes_asked.result(), signals_asked.result(), {**self._rejected, **_unnamed(health)}, health
        )

    def _signals(self, changes: Future[list[Row]]) -> list[Row] | Hoard:
        """The signals of actors with a change; over bridges it takes the changes to say whose they are."""
        side, answers = self.rule.sequence.signals, self._answers("signals")
        if self.rule.sequence.exact:
            return gathered(answers, side, self.limits.crowd)
        owners = Owners(self.rule, changes.result())
        owned = ([row for row in rows if owners.of(row)] for rows in answers)
        return gathered(owned, side, self.limits.crowd, owners.groups())

    def _all(self, name: str) -> list[Row]:
        return list(chain.from_iterable(self._answers(name)))

    def _answers(self, name: str) -> Iterator[list[Row]]:
        """The sound rows of a side, answer by answer; the others are counted."""
        rows = Rows(self.rule.sequence.sides[name])
        whole = Window(bounds(self.windows)[f"{name}_after"], self.until)

        def ask(stamped: Window) -> Table:
            return self._ask(name, narrowed(bounds(self.windows), name, stamped))

        yield from map(rows.list_of, in_halves(ask, whole, self.windows.now, self.limits.rows // 4))
        self._rejected.update({f"{name}, {why}": one for why, one in rows.rejected.items()})

    def _health(self) -> dict[str, Health]:
        lower = {side: bounds(self.windows)[f"{side}_after"] for side in self.rule.sequence.sides}

        def ask(stamped: Window) -> Table:
            values: Bounds = {}
            for side, after in lower.items():
                values = narrowed(values, side, Window(max(after, stamped.after), stamped.until))
            return self._ask("health", values)

        whole = Window(min(lower.values()), self.until)
        return _health(in_halves(ask, whole, self.windows.now, self.limits.rows))

    def _coverage(self) -> Coverage | FailedCoverage | None:
        if "coverage" not in self.queries:
            return None
        values = bounds(self.windows)
        return counted(lambda: self._ask("coverage", values).take_rows(COVERAGE_COLUMNS), self.rule)

    def _ask(self, name: str, values: Bounds) -> Table:
        limits = self.limits
        remaining = limits.seconds - (self.clock() - self._began).total_seconds()
        if remaining <= 0 or next(self._asked) > limits.requests:
            allowed = f"{limits.seconds:.0f} seconds and {limits.requests} requests"
            raise Incomplete(f"{name}: not all could be read in {allowed}; see docs/scale.md")
        return self.ask(name, with_bounds(self.queries[name], values), remaining)

    def _events(self, name: str, rows: list[Row]) -> Events:
        window = self.windows.changes if name == "changes" else self.windows.signals
        once = self.rule.sequence.duplicates == "once"
        return to_events(rows, self.rule.sequence.sides[name], window, once=once)

    def _slices(self, hoard: Hoard, changes: Events) -> Iterator[Logs]:
        for one in hoard.slices():
            signals = self._events("signals", one.rows)
            yield Logs(_of(changes, self._actors(changes, signals)), signals, piece=one.piece)
            del one, signals  # before the next are made

    def _actors(self, changes: Events, signals: Events) -> set[str]:
        """Whose the signals are."""
        assign = assign_for(self.rule)
        if assign is None:
            return {event.actor for event in signals.read}
        return {actor for actor, _ in assign(changes.read, signals.read)}


def _of(events: Events, actors: Collection[str]) -> Events:
    """The events of some actors."""
    parts = (events.inside, events.too_late, events.waiting)
    return Events(*([event for event in part if event.actor in actors] for part in parts))


def _health(answers: Iterator[Table]) -> dict[str, Health]:
    """What the slices say, put together."""
    found: dict[str, Health] = {}
    for columns in chain.from_iterable(answer.take(HEALTH_COLUMNS) for answer in answers):
        for side, rows, named, newest in zip(*columns, strict=True):
            here = Health(rows, named, datetime.fromisoformat(newest) if newest else None)
            found[side] = _together(found[side], here) if side in found else here
    return found


def _together(one: Health, other: Health) -> Health:
    newest = max(filter(None, (one.newest, other.newest)), default=None)
    return Health(one.rows + other.rows, one.named + other.named, newest)


def _unnamed(health: Mapping[str, Health]) -> dict[str, Rejected]:
    """The rows in the windows that name no actor."""
    return {
        f"{side}, no actor": Rejected(one.rows - one.named, "in the workspace")
        for side, one in health.items()
        if one.named < one.rows
    }
