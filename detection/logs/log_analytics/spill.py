"""Keeps rows on disk by actor, if there are more than memory should hold.

A pair is of one actor. So a slice with all rows of some actors gives the same chains as the whole, and memory
use follows the slice. If identity matching gives a row to several actors, these actors share a group name and
count as one actor here. The file has no name, so only this process reads it, and it is gone when the process
ends.
"""

import marshal
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from detection.logs.events import Row
from detection.rules.model import Side

SLICE = 250_000  # rows of a slice; more only if a single actor has more
BATCH = 100_000  # rows that are written together
BUCKETS = 256


class Slice(NamedTuple):
    """All rows of some actors, or a chunk: the next rows of an actor who has too many for a slice."""

    rows: list[Row]
    is_chunk: bool = False


@dataclass(slots=True)
class _Bucket:
    """The row counts of some actors, and the places of their rows in the file."""

    row_counts: Counter[str] = field(default_factory=Counter)
    parts: list[tuple[int, int]] = field(default_factory=list)  # offsets and sizes


@dataclass(slots=True)
class SpillFile:
    """Rows of a side by their actor (`actor_key`).

    An actor with more than `max_rows_per_actor` rows comes out in chunks of that size, in order of time.
    """

    side: Side
    max_rows_per_actor: int
    actor_key: Callable[[Row], str]
    _file: IO[bytes] = field(default_factory=TemporaryFile)
    _buckets: Sequence[_Bucket] = field(default_factory=lambda: [_Bucket() for _ in range(BUCKETS)])

    def __del__(self) -> None:
        self._file.close()

    def add(self, rows: list[Row]) -> None:
        """Adds the rows of an answer, stamped later than those before. Raises OSError if the disk is full."""
        actor_key, time_position = self.actor_key, self.side.place_of(self.side.time)
        rows.sort(key=lambda row: datetime.fromisoformat(row[time_position]))
        for batch in (rows[start : start + BATCH] for start in range(0, len(rows), BATCH)):
            rows_by_actor: dict[str, list[Row]] = {}
            for row in batch:
                rows_by_actor.setdefault(actor_key(row), []).append(row)
            rows_by_bucket: dict[int, list[Row]] = {}
            for actor, actor_rows in rows_by_actor.items():
                bucket_number = zlib.crc32(actor.encode()) % BUCKETS
                self._buckets[bucket_number].row_counts[actor] += len(actor_rows)
                rows_by_bucket.setdefault(bucket_number, []).extend(actor_rows)
            for bucket_number, bucket_rows in rows_by_bucket.items():
                compressed = zlib.compress(marshal.dumps(bucket_rows), level=1)
                part = (self._file.seek(0, 2), self._file.write(compressed))
                self._buckets[bucket_number].parts.append(part)

    def slices(self) -> Iterator[Slice]:
        """All rows, slice by slice. The rows of an actor are in the order in which they were added."""
        actor_key, slice_rows = self.actor_key, list[Row]()
        for bucket in self._buckets:
            large_actors = {
                actor for actor, row_count in bucket.row_counts.items() if row_count > self.max_rows_per_actor
            }
            other_count = sum(
                row_count for actor, row_count in bucket.row_counts.items() if actor not in large_actors
            )
            if slice_rows and len(slice_rows) + other_count > SLICE:
                yield Slice(slice_rows)
                slice_rows = []
            rows = self._read_rows(bucket)
            if large_actors:
                rows = (row for row in rows if actor_key(row) not in large_actors)
            slice_rows += rows
            for actor in large_actors:
                yield from self._chunks(row for row in self._read_rows(bucket) if actor_key(row) == actor)
        if slice_rows:
            yield Slice(slice_rows)

    def _chunks(self, rows: Iterator[Row]) -> Iterator[Slice]:
        """The rows of an actor in chunks, which end between two moments: an alert covers all up to then."""
        time_position, chunk = self.side.place_of(self.side.time), list[Row]()
        for row in rows:
            if len(chunk) >= self.max_rows_per_actor and row[time_position] != chunk[-1][time_position]:
                yield Slice(chunk, is_chunk=True)
                chunk = []
            chunk.append(row)
        yield Slice(chunk, is_chunk=True)

    def _read_rows(self, bucket: _Bucket) -> Iterator[Row]:
        for offset, size in bucket.parts:
            self._file.seek(offset)
            yield from marshal.loads(zlib.decompress(self._file.read(size)))  # noqa: S302  # own file


def collect(
    answers: Iterable[list[Row]],
    side: Side,
    max_rows_per_actor: int,
    actor_key: Callable[[Row], str] | None = None,
) -> "list[Row] | SpillFile":
    """All rows of some answers: a list of at most SLICE rows, else a file by `actor_key`, or by actor."""
    pending_rows: list[Row] = []
    spill: SpillFile | None = None
    for rows in answers:
        pending_rows += rows
        if len(pending_rows) > SLICE or spill:
            spill = spill or SpillFile(
                side, max_rows_per_actor, actor_key or itemgetter(side.place_of(side.actor))
            )
            spill.add(pending_rows)
            pending_rows = []
        del rows
    return spill or pending_rows
