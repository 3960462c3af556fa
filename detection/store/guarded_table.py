"""Guards of the port Table: limits that hold for every call of an invocation.

The functions host kills an invocation at its time-out, without a line or a record of the run. A call of a
table that does not answer takes most of a minute, and a run makes many calls.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import TypeVar

from detection.base.errors import ServiceError, Unreachable
from detection.base.timestamps import iso
from detection.store.table import PAGE, Entity, Operation, Table

Result = TypeVar("Result")
Guard = Callable[[], AbstractContextManager[None]]


class GuardedTable:
    """A table of which every call runs within a guard, and every step from row to row of a scan."""

    def __init__(self, table: Table, guard: Guard) -> None:
        self._table = table
        self._guard = guard

    def get(self, partition: str, row: str) -> Entity | None:
        with self._guard():
            return self._table.get(partition, row)

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        with self._guard():
            rows = self._table.scan(partition, start, end, page)
        return self._steps(rows)

    def names(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[str]:
        with self._guard():
            names = self._table.names(partition, start, end, page)
        return self._steps(names)

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        with self._guard():
            self._table.write(partition, operations)

    def date(self) -> datetime | None:
        return self._table.date()

    def _steps(self, results: Iterator[Result]) -> Iterator[Result]:
        while True:
            with self._guard():
                result = next(results, None)
            if result is None:
                return
            yield result


def circuit_breaker() -> Guard:
    """A guard that fails every call at once after a call that was Unreachable."""
    failures: list[Unreachable] = []

    @contextmanager
    def guard() -> Iterator[None]:
        if failures:
            raise failures[0]
        try:
            yield
        except Unreachable as error:
            failures.append(error)
            raise

    return guard


def time_limit(deadline: datetime | None, clock: Callable[[], datetime]) -> Guard:
    """A guard that refuses every call after a deadline with a ServiceError; None: no call."""

    @contextmanager
    def guard() -> Iterator[None]:
        if deadline:
            require_time(deadline, clock)
        yield

    return guard


def require_time(deadline: datetime, clock: Callable[[], datetime]) -> None:
    """Raises ServiceError after the deadline."""
    if clock() >= deadline:
        raise ServiceError(
            f"the run did not end by {iso(deadline)}, when its time was used up; the next run goes on from "
            "what is committed"
        )
