"""The port Table: a key-value table with optimistic locking, as Azure Table Storage has it.

A row is in a partition and holds plain values. A write is one transaction within a partition: all or nothing.
The service's limits are checked here, for every implementation, because the emulator does not enforce them
(learn.microsoft.com, "Understanding the Table service data model" and "Performing entity group
transactions").
"""

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from threading import Lock
from typing import Protocol

from detection.base.errors import ServiceError

Value = str | int | bool | bytes

MAX_CONFLICTS = 3  # in a row, over a lock that stays the same
OPERATIONS = 100
PAGE = 1_000  # the most rows that a request returns
REQUEST_BYTES = 4 * 2**20
ENTITY_BYTES = 2**20
PROPERTY_BYTES = 64 * 2**10
PROPERTIES = 252
KEY_BYTES = 2**10
RESERVED = ("PartitionKey", "RowKey", "Timestamp")
_FORBIDDEN_IN_KEYS = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_OPERATION_OVERHEAD = 1_024  # headers and framing of one operation in the batch, generously


class Conflict(ServiceError):
    """A row has changed since the writer read it; nothing was written."""


class ConflictCount:
    """Counts conflicts over a lock that stays the same: no other process won them, and no retry helps.

    `lock` is the version of the locking row, or other content that every winner changes.
    """

    def __init__(self, lock: object) -> None:
        self._lock = lock
        self._conflicts = 0

    def is_exceeded(self, lock: object) -> bool:
        """Counts a conflict, after which the lock was read again. Returns whether to give up."""
        self._conflicts = self._conflicts + 1 if lock == self._lock else 0
        self._lock = lock
        return self._conflicts >= MAX_CONFLICTS


@dataclass(frozen=True, slots=True)
class Entity:
    """A stored row: its key, the store's version token, its values, the service's time (UTC) of its last
    write (None if the table has no clock), and its partition.
    """

    row: str
    version: str
    values: Mapping[str, Value]
    written: datetime | None = None
    partition: str = ""


@dataclass(frozen=True, slots=True)
class Insert:
    """Writes a row that must not exist."""

    row: str
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Replace:
    """Replaces a row that must still have this version."""

    row: str
    values: Mapping[str, Value]
    version: str


@dataclass(frozen=True, slots=True)
class Put:
    """Writes a row, whether it exists or not."""

    row: str
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes a row, which may be missing. With a version, the row must exist and have that version."""

    row: str
    version: str | None = None


Operation = Insert | Replace | Put | Delete


class Table(Protocol):
    """A table of partitions of rows. Every call may raise ServiceError."""

    def get(self, partition: str, row: str) -> Entity | None:
        """One row, or None."""
        ...

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        """The rows with start <= key < end, in the order of their keys.

        A request returns at most `page` of them, and the next one is made when the caller asks for more.
        """
        ...

    def names(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[str]:
        """The keys of the rows that `scan` returns. A request is small: the service keeps the values."""
        ...

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        """One transaction: all operations or none. Raises Conflict when a row has changed."""
        ...

    def date(self) -> datetime | None:
        """The service's time (UTC) when it last responded; None if the table has no clock, or has not
        responded yet. Sends nothing: a caller that needs the present time calls it right after a request.
        """
        ...


class MemoryTable:
    """A table in memory: for the demo, replays and tests. Safe for threads. It has no clock unless a caller
    passes in a clock.
    """

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self._clock = clock
        self._partitions: dict[str, _Partition] = {}
        self._versions = count(1)
        self._lock = Lock()

    def get(self, partition: str, row: str) -> Entity | None:
        return self._rows_of(partition).rows.get(row)

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:  # noqa: ARG002  # no requests
        with self._lock:
            entities = self._rows_of(partition).between(start, end)
        yield from entities

    def names(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[str]:
        return (entity.row for entity in self.scan(partition, start, end, page))

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        check(partition, operations)
        with self._lock:
            rows = self._rows_of(partition)
            for operation in operations:
                current = rows.rows.get(operation.row)
                if isinstance(operation, Insert) and current:
                    raise Conflict(f"row {operation.row} exists already")
                version = operation.version if isinstance(operation, Replace | Delete) else None
                if version and (current is None or current.version != version):
                    raise Conflict(f"row {operation.row} has changed")
            for operation in operations:
                if isinstance(operation, Delete):
                    rows.remove(operation.row)
                else:
                    version = f"v{next(self._versions)}"
                    rows.put(Entity(operation.row, version, dict(operation.values), self.date(), partition))

    def date(self) -> datetime | None:
        return self._clock() if self._clock else None

    def _rows_of(self, partition: str) -> "_Partition":
        return self._partitions.setdefault(partition, _Partition())


class _Partition:
    """Rows by key, and the keys in their order."""

    def __init__(self) -> None:
        self.rows: dict[str, Entity] = {}
        self._keys: list[str] = []

    def put(self, entity: Entity) -> None:
        if entity.row not in self.rows:
            insort(self._keys, entity.row)
        self.rows[entity.row] = entity

    def remove(self, row: str) -> None:
        if self.rows.pop(row, None):
            del self._keys[bisect_left(self._keys, row)]

    def between(self, start: str, end: str) -> list[Entity]:
        return [
            self.rows[key]
            for key in self._keys[bisect_left(self._keys, start) : bisect_left(self._keys, end)]
        ]


def check(partition: str, operations: Sequence[Operation]) -> None:
    """Raises ValueError, naming the limit, where the real service would refuse: a bug of the caller."""
    rows = [operation.row for operation in operations]
    _require(
        0 < len(rows) <= OPERATIONS, f"{len(rows)} operations in a transaction; 1 to {OPERATIONS} are allowed"
    )
    _require(len(set(rows)) == len(rows), "a transaction has a row twice")
    for key in (partition, *rows):
        fits = _stored_bytes(key) <= KEY_BYTES and not _FORBIDDEN_IN_KEYS.search(key)
        _require(fits, f"{key[:80]!r} cannot be a key")
    sizes = [size_of(operation) for operation in operations]
    _require(sum(sizes) <= REQUEST_BYTES, f"a transaction of {sum(sizes)} bytes; {REQUEST_BYTES} are allowed")


def size_of(operation: Operation) -> int:
    """The most bytes that an operation takes in the request. Raises ValueError as `check` does."""
    if isinstance(operation, Delete):
        return _OPERATION_OVERHEAD
    _require(len(operation.values) <= PROPERTIES, f"{operation.row} has {len(operation.values)} properties")
    stored, sent = 0, _OPERATION_OVERHEAD
    for name, value in operation.values.items():
        _require(bool(re.fullmatch(r"[A-Za-z_]\w{0,254}", name, re.ASCII)), f"{name!r} cannot be a property")
        _require(name not in RESERVED, f"{name!r} is the service's own property")
        _require(
            not isinstance(value, int) or -(2**63) <= value < 2**63,
            f"{operation.row}.{name} is beyond 64 bits",
        )
        size = _stored_bytes(value)
        _require(
            size <= PROPERTY_BYTES, f"{operation.row}.{name} takes {size} bytes; {PROPERTY_BYTES} are allowed"
        )
        stored += size + 2 * len(name) + 8
        sent += 2 * len(name) + 40  # the property and its type, in JSON
        if isinstance(value, bytes):
            sent += 4 * -(-len(value) // 3)  # in base64
        else:
            sent += 6 * len(value) if isinstance(value, str) else 24
    _require(stored <= ENTITY_BYTES, f"{operation.row} takes {stored} bytes; {ENTITY_BYTES} are allowed")
    return sent


def _stored_bytes(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-16-le"))
    return len(value) if isinstance(value, bytes) else 8


def _require(condition: bool, requirement: str) -> None:  # noqa: FBT001  # reads as an assertion
    if not condition:
        raise ValueError(requirement)
