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

from detection.base.errors import Incomplete
from detection.logs.actors import ActorResolver, resolver_for
from detection.logs.coverage import Coverage
from detection.logs.coverage_query import FailedCoverage, log_failed_coverage, query_coverage
from detection.logs.events import Events, Logs, Rejected, Row, SideHealth, to_events
from detection.logs.kql import COVERAGE_COLUMNS, HEALTH_COLUMNS, Bounds, bounds, narrow_bounds, with_bounds
from detection.logs.log_analytics.answers import ROW_LIMIT, AnswerTable
from detection.logs.log_analytics.cells import RowReader
from detection.logs.log_analytics.spill import SpillFile, collect
from detection.logs.log_analytics.splitting import split_query
from detection.logs.window import Window, Windows
from detection.rules.model import Rule

BUDGET = 300  # seconds from the beginning of a reading, in which a question may be asked
# Of one reading. The API takes 200 in 30 seconds and 5 at a time from a caller (azure-monitor-docs,
# service-limits.md): three at a time and so few in all can never be too many.
REQUESTS = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one reading: its seconds, its requests, and the rows that the API cuts an answer at.

    An actor with more than `max_signals_per_actor` signals comes in pieces.
    """

    seconds: float = BUDGET
    requests: int = REQUESTS
    rows: int = ROW_LIMIT
    max_signals_per_actor: int = ROW_LIMIT


LIMITS = Limits()

# Asks a query, which may be sent again for so many seconds. Raises Unfinished where a smaller one may be answered.
RunQuery = Callable[[str, str, float], AnswerTable]


@dataclass(frozen=True, slots=True)
class RawLogs:
    """All rows of a reading, side by side, and what is said of them."""

    changes: list[Row]
    signals: list[Row]
    rejected: Mapping[str, Rejected]
    health: Mapping[str, SideHealth]


@dataclass(slots=True)
class Reading:
    """Asks a rule's queries within the limits, by a clock.

    With `until` nothing is asked that is stamped later: for a look at the past, where nobody waits for what comes late.
    """

    run_query: RunQuery
    rule: Rule
    windows: Windows
    queries: Mapping[str, str]
    clock: Callable[[], datetime]
    limits: Limits
    until: datetime | None = None
    _began: datetime = field(init=False)
    _request_numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _rejected: dict[str, Rejected] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def logs(self) -> Logs:
        """Both sides and their health, complete; many signals come in slices."""
        with ThreadPoolExecutor(3) as executor:
            health_future = executor.submit(lambda: (self._health(), self._coverage()))
            changes_future = executor.submit(self._all_rows, "changes")
            signals_future = executor.submit(self._signals, changes_future)
        changes = self._events("changes", changes_future.result())
        signals, (health, coverage) = signals_future.result(), health_future.result()
        counted_coverage = log_failed_coverage(coverage)
        rejected = {**self._rejected, **_unnamed(health)}
        if isinstance(signals, SpillFile):
            slices = self._slices(signals, changes)
            return Logs(changes, Events(()), rejected, health, slices=slices, coverage=counted_coverage)
        return Logs(changes, self._events("signals", signals), rejected, health, coverage=counted_coverage)

    def read_raw(self) -> "RawLogs":
        """The rows of both sides as they are, all in memory, and their health."""
        with ThreadPoolExecutor(3) as executor:
            health_future = executor.submit(self._health)
            changes_future, signals_future = (
                executor.submit(self._all_rows, name) for name in ("changes", "signals")
            )
        health = health_future.result()
        return RawLogs(
            changes_future.result(), signals_future.result(), {**self._rejected, **_unnamed(health)}, health
        )

    def _signals(self, changes_future: Future[list[Row]]) -> list[Row] | SpillFile:
        """The signals of actors with a change; over bridges it takes the changes to say whose they are."""
        side, answers = self.rule.sequence.signals, self._answers("signals")
        if self.rule.sequence.exact:
            return collect(answers, side, self.limits.max_signals_per_actor)
        resolver = ActorResolver(self.rule, changes_future.result())
        resolved_rows = ([row for row in rows if resolver.resolve(row)] for rows in answers)
        return collect(resolved_rows, side, self.limits.max_signals_per_actor, resolver.group_names())

    def _all_rows(self, name: str) -> list[Row]:
        return list(chain.from_iterable(self._answers(name)))

    def _answers(self, name: str) -> Iterator[list[Row]]:
        """The sound rows of a side, answer by answer; the others are counted."""
        reader = RowReader(self.rule.sequence.sides[name])
        full_window = Window(bounds(self.windows)[f"{name}_after"], self.until)

        def query_window(window: Window) -> AnswerTable:
            return self._query(name, narrow_bounds(bounds(self.windows), name, window))

        yield from map(
            reader.read_all, split_query(query_window, full_window, self.windows.now, self.limits.rows // 4)
        )
        self._rejected.update(
            {f"{name}, {reason}": rejected_rows for reason, rejected_rows in reader.rejected.items()}
        )

    def _health(self) -> dict[str, SideHealth]:
        lower_bounds = {side: bounds(self.windows)[f"{side}_after"] for side in self.rule.sequence.sides}

        def query_window(window: Window) -> AnswerTable:
            parameters: Bounds = {}
            for side, after in lower_bounds.items():
                parameters = narrow_bounds(parameters, side, Window(max(after, window.after), window.until))
            return self._query("health", parameters)

        full_window = Window(min(lower_bounds.values()), self.until)
        return _health(split_query(query_window, full_window, self.windows.now, self.limits.rows))

    def _coverage(self) -> Coverage | FailedCoverage | None:
        if "coverage" not in self.queries:
            return None
        parameters = bounds(self.windows)
        return query_coverage(
            lambda: self._query("coverage", parameters).take_rows(COVERAGE_COLUMNS), self.rule
        )

    def _query(self, name: str, parameters: Bounds) -> AnswerTable:
        limits = self.limits
        remaining = limits.seconds - (self.clock() - self._began).total_seconds()
        if remaining <= 0 or next(self._request_numbers) > limits.requests:
            allowed = f"{limits.seconds:.0f} seconds and {limits.requests} requests"
            raise Incomplete(f"{name}: not all could be read in {allowed}; see docs/scale.md")
        return self.run_query(name, with_bounds(self.queries[name], parameters), remaining)

    def _events(self, name: str, rows: list[Row]) -> Events:
        window = self.windows.changes if name == "changes" else self.windows.signals
        once = self.rule.sequence.duplicates == "once"
        return to_events(rows, self.rule.sequence.sides[name], window, once=once)

    def _slices(self, spill: SpillFile, changes: Events) -> Iterator[Logs]:
        for row_slice in spill.slices():
            signals = self._events("signals", row_slice.rows)
            yield Logs(
                _events_of_actors(changes, self._actors(changes, signals)),
                signals,
                is_chunk=row_slice.is_chunk,
            )
            del row_slice, signals  # before the next are made

    def _actors(self, changes: Events, signals: Events) -> set[str]:
        """Whose the signals are."""
        resolve = resolver_for(self.rule)
        if resolve is None:
            return {event.actor for event in signals.all_events}
        return {actor for actor, _ in resolve(changes.all_events, signals.all_events)}


def _events_of_actors(events: Events, actors: Collection[str]) -> Events:
    """The events of some actors."""
    parts = (events.in_window, events.too_late, events.in_future)
    return Events(*([event for event in part if event.actor in actors] for part in parts))


def _health(answers: Iterator[AnswerTable]) -> dict[str, SideHealth]:
    """What the slices say, put together."""
    health_by_side: dict[str, SideHealth] = {}
    for columns in chain.from_iterable(answer.take_columns(HEALTH_COLUMNS) for answer in answers):
        for side, rows, named, newest in zip(*columns, strict=True):
            slice_health = SideHealth(rows, named, datetime.fromisoformat(newest) if newest else None)
            health_by_side[side] = (
                _add_health(health_by_side[side], slice_health) if side in health_by_side else slice_health
            )
    return health_by_side


def _add_health(health: SideHealth, slice_health: SideHealth) -> SideHealth:
    newest = max(filter(None, (health.newest, slice_health.newest)), default=None)
    return SideHealth(health.rows + slice_health.rows, health.named + slice_health.named, newest)


def _unnamed(health: Mapping[str, SideHealth]) -> dict[str, Rejected]:
    """The rows in the windows that name no actor."""
    return {
        f"{side}, no actor": Rejected(side_health.rows - side_health.named, "in the workspace")
        for side, side_health in health.items()
        if side_health.named < side_health.rows
    }
