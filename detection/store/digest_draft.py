"""Alerts that one message tells together: each leaves its share with its commit, and a digest is made of them.

    s|<batch>|<number>       a share, numbered from 1; the row behind the last one is the seal

A batch belongs to one run, which inserts its rows one behind the other. The seal is inserted in the same way, in
one transaction with the digest's deliveries: whoever seals a batch has seen all its shares, and a run that was
thought dead cannot add another. So a run may die anywhere in a storm; the next one seals what it left.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from detection.base.json_types import type_adapter
from detection.base.timestamps import iso, parse_time
from detection.messages.context import DigestEntry
from detection.store.layout import chunks, joined, split
from detection.store.outbox import Delivery, queue
from detection.store.table import OPERATIONS, Conflict, Delete, Entity, Insert, Table

END_ROW_KEPT = timedelta(days=1)  # by then, a run whose batch was sealed over its head has long ended


# Writes the digest of some shares, one message for each destination.
RenderDigest = Callable[[str, datetime, Sequence[DigestEntry]], Sequence[Delivery]]


class DigestDraft:
    """One run's batch; `began` is that run's moment. Every call may raise ServiceError."""

    def __init__(self, table: Table, rule: str, name: str, began: datetime) -> None:
        self._table = table
        self._rule = rule
        self._next = 1
        self.name = name
        self.began = began

    def operation(self, entry: DigestEntry) -> Insert:
        """What puts the next share into the batch, in the transaction of its alert."""
        return Insert(
            self._row(self._next),
            {"began": iso(self.began), **split(type_adapter(DigestEntry).dump_json(entry))},
        )

    def entry_committed(self) -> None:
        """The share was committed; the next one goes behind it."""
        self._next += 1

    def is_published(self) -> bool:
        """Whether another run has sealed it: nobody else writes behind its last share."""
        return self._table.get(self._rule, self._row(self._next)) is not None

    def publish(self, render: RenderDigest) -> None:
        """Ends the batch: its digest goes into the outbox, once, whoever else tries to seal it."""
        rows = self._rows()
        while rows and not _is_end(rows[-1]):
            digest = render(self.name, self.began, [_entry(row) for row in rows])
            last = Insert(self._row(len(rows) + 1), {"began": iso(self.began), "published": True})
            try:
                self._table.write(self._rule, [last, *map(queue, digest)])
            except Conflict:  # a share or another's seal came before it, or its answer was lost
                rows = self._rows()
            else:
                break
        self._clear([row.row for row in rows if not _is_end(row)])

    def _rows(self) -> list[Entity]:
        return list(self._table.scan(self._rule, self._row(0), f"s|{self.name}}}"))

    def _clear(self, rows: Sequence[str]) -> None:
        """The digest has what they said."""
        for chunk in chunks(rows, OPERATIONS):
            self._table.write(self._rule, [Delete(row) for row in chunk])

    def _row(self, number: int) -> str:
        return f"s|{self.name}|{number:06}"


def publish_abandoned_digests(table: Table, rule: str, before: datetime, render: RenderDigest) -> None:
    """Seals the batches of runs from before a moment, which must be so long ago that none of them is at work."""
    for name, rows in _drafts(table, rule):
        began = parse_time(str(rows[0].values["began"]))
        if began >= before:
            continue
        if len(rows) > 1 or not _is_end(rows[0]):
            DigestDraft(table, rule, name, began).publish(render)
        elif began < before - END_ROW_KEPT:
            table.write(rule, [Delete(rows[0].row)])


def _drafts(table: Table, rule: str) -> Iterator[tuple[str, list[Entity]]]:
    rows = list(table.scan(rule, "s|", "s}"))
    for name, draft_rows in groupby(rows, key=lambda row: row.row.split("|")[1]):
        yield name, list(draft_rows)


def _is_end(row: Entity) -> bool:
    return "published" in row.values


def _entry(row: Entity) -> DigestEntry:
    return type_adapter(DigestEntry).validate_json(joined(row.values))
