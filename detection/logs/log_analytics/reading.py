"""One reading of the logs: three queries at once. A query whose answer is not complete is split into halves.

The coverage is a fourth query, sent when the first of the three has ended. Counts of different identities
cannot be added up from halves: if the answer is not complete, the coverage is not known. That is logged, and
detection goes on.

Halves are windows of the stamp, by which Log Analytics finds rows: every row is in exactly one of them. Rows
of one event with different stamps meet again before they become events.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, count

from detection.base.deadlines import READ_TIME
from detection.base.errors import Incomplete
from detection.base.timestamps import iso
from detection.logs.actors import ActorResolver, resolver_for
from detection.logs.coverage_query import count_coverage
from detection.logs.events import Events, Logs, Rejected, Row, SideHealth, to_events
from detection.logs.kql import COVERAGE_COLUMNS, HEALTH_COLUMNS, Bounds, bounds, narrow_bounds, with_bounds
from detection.logs.log_analytics.answers import ROW_LIMIT, AnswerTable
from detection.logs.log_analytics.cells import RowReader
from detection.logs.log_analytics.spill import SpillFile, collect
from detection.logs.log_analytics.splitting import QueryUnfinished, split_query
from detection.logs.window import Window, Windows
from detection.rules.model import Rule

UNREADABLE = "the API's answer is not valid JSON"  # why a row is rejected
BUDGET = READ_TIME.total_seconds()  # from the start of a reading, within which a query may be sent
# Of one reading. The API takes 200 requests in 30 seconds and 5 at a time from a caller (azure-monitor-docs,
# service-limits.md), so a reading with three at a time stays below both limits.
REQUESTS = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one reading: its seconds, its requests, and the rows at which the API cuts an answer.

    The signals of an actor who has more than `max_signals_per_actor` come in chunks.
    """

    seconds: float = BUDGET
    requests: int = REQUESTS
    rows: int = ROW_LIMIT
    max_signals_per_actor: int = ROW_LIMIT


LIMITS = Limits()

# Runs a named query within a number of seconds. Raises QueryUnfinished if a smaller query may be answered.
RunQuery = Callable[[str, str, float], AnswerTable]


@dataclass(frozen=True, slots=True)
class RawLogs:
    """All rows of a reading, with the rejected rows and the health."""

    changes: list[Row]
    signals: list[Row]
    rejected: Mapping[str, Rejected]
    health: Mapping[str, SideHealth]


@dataclass(slots=True)
class Reading:
    """Runs a rule's queries within the limits.

    With `until` it reads no row that is stamped later: for reading the past, where no late row is awaited.
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
    # The last error of each unfinished query, as text: an exception keeps its answer in memory.
    _unfinished: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def logs(self) -> Logs:
        """Both sides and their health, complete. Too many signals for memory come in slices."""

        def read_signals() -> list[Row] | SpillFile:
            side, answers = self.rule.sequence.signals, self._answers("signals")
            if self.rule.sequence.exact:
                return collect(answers, side, self.limits.max_signals_per_actor)
            resolver = ActorResolver(self.rule, changes_future.result())
            resolved_rows = ([row for row in rows if resolver.resolve(row)] for rows in answers)
            return collect(resolved_rows, side, self.limits.max_signals_per_actor, resolver.group_names())

        with ThreadPoolExecutor(3) as executor:
            health_future = executor.submit(self._health)
            changes_future = executor.submit(self._all_rows, "changes")
            signals_future = executor.submit(read_signals)
            coverage_future = executor.submit(self._coverage_rows) if "coverage" in self.queries else None
        changes = self._events("changes", changes_future.result())
        signals, health = signals_future.result(), health_future.result()
        coverage = count_coverage(coverage_future.result, self.rule) if coverage_future else None
        rejected = {**self._rejected, **_unnamed(health)}
        if isinstance(signals, SpillFile):
            slices = self._slices(signals, changes)
            return Logs(changes, Events(()), rejected, health, slices=slices, coverage=coverage)
        return Logs(changes, self._events("signals", signals), rejected, health, coverage=coverage)

    def read_raw(self) -> RawLogs:
        """The rows of both sides, all in memory, and their health."""
        with ThreadPoolExecutor(3) as executor:
            health_future = executor.submit(self._health)
            changes_future, signals_future = (
                executor.submit(self._all_rows, name) for name in ("changes", "signals")
            )
        health = health_future.result()
        return RawLogs(
            changes_future.result(), signals_future.result(), {**self._rejected, **_unnamed(health)}, health
        )

    def _all_rows(self, name: str) -> list[Row]:
        return list(chain.from_iterable(self._answers(name)))

    def _answers(self, name: str) -> Iterator[list[Row]]:
        """The valid rows of a side, answer by answer. Counts the rejected rows at the end.

        A row whose answer is unreadable even alone is rejected: it would fail every run that reads it.
        """
        reader = RowReader(self.rule.sequence.sides[name])
        full_window = Window(bounds(self.windows)[f"{name}_after"], self.until)

        def query_window(window: Window) -> AnswerTable:
            return self._query(name, narrow_bounds(bounds(self.windows), name, window))

        def skip_window(window: Window) -> None:
            reader.reject(UNREADABLE, f"stamped {iso(window.until or self.windows.now)}")

        small_answer = self.limits.rows // 4
        yield from map(
            reader.read_all,
            split_query(query_window, full_window, self.windows.now, small_answer, skip_window),
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
        answers = split_query(query_window, full_window, self.windows.now, self.limits.rows)
        health_by_side: dict[str, SideHealth] = {}
        for side, rows, named, cut, newest_text in chain.from_iterable(
            answer.take_rows(HEALTH_COLUMNS) for answer in answers
        ):
            previous = health_by_side.get(side, SideHealth(0, 0, None))
            newest = datetime.fromisoformat(newest_text) if newest_text else None
            health_by_side[side] = SideHealth(
                previous.rows + rows,
                previous.named + named,
                max(filter(None, (previous.newest, newest)), default=None),
                previous.cut + cut,
            )
        return health_by_side

    def _coverage_rows(self) -> Iterator[Row]:
        return self._query("coverage", bounds(self.windows)).take_rows(COVERAGE_COLUMNS)

    def _query(self, name: str, parameters: Bounds) -> AnswerTable:
        limits = self.limits
        remaining = limits.seconds - (self.clock() - self._began).total_seconds()
        if remaining <= 0 or next(self._request_numbers) > limits.requests:
            cause = f" ({self._unfinished[name]})" if name in self._unfinished else ""
            raise Incomplete(
                f"{name}: could not read everything in {limits.seconds:.0f} seconds "
                f"and {limits.requests} requests{cause}; see docs/scale.md"
            )
        try:
            return self.run_query(name, with_bounds(self.queries[name], parameters), remaining)
        except QueryUnfinished as unfinished:
            self._unfinished[name] = str(unfinished)
            raise

    def _events(self, name: str, rows: list[Row]) -> Events:
        window = self.windows.changes if name == "changes" else self.windows.signals
        once = self.rule.sequence.duplicates == "once"
        return to_events(rows, self.rule.sequence.sides[name], window, once=once)

    def _slices(self, spill: SpillFile, changes: Events) -> Iterator[Logs]:
        """Logs with the signals of each slice, and the changes of the slice's actors."""
        resolve = resolver_for(self.rule)
        for row_slice in spill.slices():
            signals = self._events("signals", row_slice.rows)
            if resolve:
                actors = {actor for actor, _ in resolve(changes.all_events, signals.all_events)}
            else:
                actors = {event.actor for event in signals.all_events}
            parts = (changes.in_window, changes.too_late, changes.in_future)
            slice_changes = Events(*([event for event in part if event.actor in actors] for part in parts))
            yield Logs(slice_changes, signals, is_chunk=row_slice.is_chunk)
            del row_slice, signals, slice_changes  # before the next slice is made


def _unnamed(health: Mapping[str, SideHealth]) -> dict[str, Rejected]:
    """The rows in the windows that name no actor."""
    return {
        f"{side}, {reason}": Rejected(count, "in the workspace")
        for side, side_health in health.items()
        for reason, count in side_health.unnamed().items()
    }
