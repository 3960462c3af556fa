"""Reads the first rows of a range in one request, for several scans of parts of the range."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from detection.store.table import PAGE, Entity, Operation, Table


class ReadAhead:
    """A table for one page: the first scan of a partition within the range (start <= row < end) reads the
    first `rows` of the range. These answer that scan and the later ones; the table answers what lies beyond.
    """

    def __init__(self, table: Table, start: str, end: str, rows: int) -> None:
        self._table = table
        self._start = start
        self._end = end
        self._rows = rows
        self._read: dict[str, tuple[Sequence[Entity], str]] = {}  # with the end of the range that is read

    def get(self, partition: str, row: str) -> Entity | None:
        return self._table.get(partition, row)

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        if start < self._start or end > self._end:
            yield from self._table.scan(partition, start, end, page)
            return
        entities, read_end = self._first_rows(partition)
        yield from (entity for entity in entities if start <= entity.row < end)
        if read_end < end:
            yield from self._table.scan(partition, max(start, read_end), end, page)

    def names(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[str]:
        return self._table.names(partition, start, end, page)

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        self._table.write(partition, operations)

    def date(self) -> datetime | None:
        return self._table.date()

    def _first_rows(self, partition: str) -> tuple[Sequence[Entity], str]:
        if partition not in self._read:
            scan = self._table.scan(partition, self._start, self._end, self._rows)
            entities = list(islice(scan, self._rows))
            is_whole = len(entities) < self._rows
            self._read[partition] = entities, self._end if is_whole else f"{entities[-1].row}!"
        return self._read[partition]
