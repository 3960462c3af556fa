"""Each kind of call of a table, for tests of a table that fails; and a table that notices every call."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from detection.store.table import PAGE, Entity, MemoryTable, Operation, Put, Table


def read_row(table: Table) -> None:
    table.get("rule", "a")


def scan_rows(table: Table) -> None:
    list(table.scan("rule", "a", "b"))


def write_row(table: Table) -> None:
    table.write("rule", [Put("a", {})])


class NotifiedTable(MemoryTable, ABC):
    """A table in memory that runs `_call` before every read, scan and write."""

    @abstractmethod
    def _call(self) -> None: ...

    def get(self, partition: str, row: str) -> Entity | None:
        self._call()
        return super().get(partition, row)

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        self._call()
        return super().scan(partition, start, end, page)

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        self._call()
        super().write(partition, operations)
