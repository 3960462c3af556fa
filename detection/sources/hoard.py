"""More rows than memory should hold are kept on disk by actor: what belongs together comes out together.

A pair is of one actor. So a slice that has all the rows of some actors is judged as the whole would be, and
memory follows the slice. Where bridges give one row to several actors, these share a name and count as one here. The file has no name and is gone with the process.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from pydantic_core import from_json, to_json

from detection.events import Row
from detection.rule import Side

SLICE = 250_000  # rows that come out together; more only where one actor has more by himself
BATCH = 100_000  # rows that go to disk together
BUCKETS = 256


class Slice(NamedTuple):
    """All rows of some actors. Or a `piece`: the next rows of one who has too many, and more of his follow."""

    rows: list[Row]
    piece: bool = False


class _Part(NamedTuple):
    place: int
    size: int


@dataclass(slots=True)
class _Bucket:
    """Some actors, and where their rows are."""

    actors: Counter[str] = field(default_factory=Counter)
    parts: list[_Part] = field(default_factory=list)


@dataclass(slots=True)
class Hoard:
    """Rows of a side by the name of their actor. One with more than `most` of them comes out in pieces of that size, in
    order of time.
    """

    side: Side
    most: int
    name: Callable[[Row], str]
    _file: IO[bytes] = field(default_factory=TemporaryFile)
    _buckets: Sequence[_Bucket] = field(default_factory=lambda: [_Bucket() for _ in range(BUCKETS)])

    def __del__(self) -> None:
        self._file.close()

    def add(self, rows: list[Row]) -> None:
        """Takes in the rows of one answer, which must be stamped later than those before. Raises OSError when the disk is full."""
        name, time = self.name, self.side.at(self.side.time)
        rows.sort(key=lambda row: datetime.fromisoformat(row[time]))
        for batch in (rows[at : at + BATCH] for at in range(0, len(rows), BATCH)):
            together: dict[int, list[Row]] = {}
            for row in batch:
                together.setdefault(zlib.crc32(name(row).encode()) % BUCKETS, []).append(row)
            for number, some in together.items():
                bucket = self._buckets[number]
                bucket.actors.update(map(name, some))
                bucket.parts.append(self._write(some))

    def slices(self) -> Iterator[Slice]:
        """All rows, slice by slice; those of an actor in the order in which they came."""
        name, together = self.name, list[Row]()
        for bucket in self._buckets:
            crowds = {actor for actor, rows in bucket.actors.items() if rows > self.most}
            others = sum(rows for actor, rows in bucket.actors.items() if actor not in crowds)
            if together and len(together) + others > SLICE:
                yield Slice(together)
                together = []
            together += (row for row in self._rows(bucket) if name(row) not in crowds)
            for actor in crowds:
                yield from self._pieces(row for row in self._rows(bucket) if name(row) == actor)
        if together:
            yield Slice(together)

    def _pieces(self, rows: Iterator[Row]) -> Iterator[Slice]:
        """What happened at one moment is not cut in two: up to there, everything is to be told."""
        time, piece = self.side.at(self.side.time), list[Row]()
        for row in rows:
            if len(piece) >= self.most and row[time] != piece[-1][time]:
                yield Slice(piece, piece=True)
                piece = []
            piece.append(row)
        yield Slice(piece)

    def _write(self, rows: Sequence[Row]) -> _Part:
        packed = zlib.compress(to_json(rows), level=1)
        return _Part(self._file.seek(0, 2), self._file.write(packed))

    def _rows(self, bucket: _Bucket) -> Iterator[Row]:
        for part in bucket.parts:
            self._file.seek(part.place)
            yield from map(tuple, from_json(zlib.decompress(self._file.read(part.size))))


def gathered(
    answers: Iterable[list[Row]], side: Side, most: int, name: Callable[[Row], str] | None = None
) -> "list[Row] | Hoard":
    """All rows of some answers, in memory if there are no more than SLICE of them; `name` as in Hoard, or the actor's own."""
    held: list[Row] = []
    hoard: Hoard | None = None
    for rows in answers:
        held += rows
        if len(held) > SLICE or hoard:
            hoard = hoard or Hoard(side, most, name or itemgetter(side.at(side.actor)))
            hoard.add(held)
            held = []
        del rows
    return hoard or held
