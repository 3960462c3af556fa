"""Digests of many alerts: each alert's commit adds an entry to a draft, and one message is made of the draft.

    s|<draft>|<number>       entries of a transaction, numbered from 1; the row after the last ends the draft

A draft belongs to one run, which inserts its rows one after the other. The end is inserted in the same way,
in one transaction with the digest's deliveries: a run that publishes a draft has seen all its entries, and a
run that was thought dead cannot add another. So a run may die anywhere in a storm; the next run publishes its
draft.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from detection.base.errors import ServiceError
from detection.base.json_types import type_adapter
from detection.base.timestamps import iso
from detection.messages.context import DigestEntry
from detection.store.layout import content_of, delete_rows, split, time_of
from detection.store.outbox import Delivery, queue
from detection.store.table import Conflict, ConflictCount, Delete, Entity, Insert, Put, Table

FIRST_DRAFT = "s|"
END_ROW_KEPT = timedelta(days=1)  # by then, a run whose draft another run published has ended

# Writes the digest of a draft's entries, one message for each destination.
RenderDigest = Callable[[str, datetime, Sequence[DigestEntry]], Sequence[Delivery]]


class DigestDraft:
    """The draft of one run; `began` is the `now` of that run. Every call may raise ServiceError."""

    def __init__(self, table: Table, rule: str, name: str, began: datetime) -> None:
        self._table = table
        self._rule = rule
        self._next = 1
        self.name = name
        self.began = began

    def operation(self, entries: Sequence[DigestEntry]) -> Insert:
        """Adds the next row, in the transaction of its alerts."""
        content = type_adapter(tuple[DigestEntry, ...]).dump_json(tuple(entries))
        return Insert(self._row(self._next), {"began": iso(self.began), **split(content)})

    def row_committed(self) -> None:
        """Counts a row as committed; the next row gets the next number."""
        self._next += 1

    def is_published(self) -> bool:
        """Whether another run has published the draft: no other row is written after its last one."""
        return self._table.get(self._rule, self._row(self._next)) is not None

    def publish(self, render: RenderDigest) -> None:
        """Ends the draft and puts its digest into the outbox: once, even if several runs try."""
        rows = self._rows()
        conflicts = ConflictCount(len(rows))
        while rows and not _is_end(rows[-1]):
            entries = [entry for row in rows for entry in content_of(row, tuple[DigestEntry, ...])]
            digest = render(self.name, self.began, entries)
            last = Insert(self._row(len(rows) + 1), {"began": iso(self.began), "published": True})
            try:
                # The end row is the lock. A partly restored table may have the deliveries without it.
                deliveries = [Put(row.row, row.values) for row in map(queue, digest)]
                self._table.write(self._rule, [last, *deliveries])
            except Conflict:  # an entry or another run's end row came first, or an answer was lost
                rows = self._rows()
                if conflicts.is_exceeded(len(rows)):
                    raise ServiceError(
                        f"the digest draft {self.name} of {self._rule} cannot be published, though no other "
                        "run does: what the table service stores and returns contradict each other"
                    ) from None
            else:
                break
        delete_rows(self._table, self._rule, [row.row for row in rows if not _is_end(row)])

    def _rows(self) -> list[Entity]:
        return list(self._table.scan(self._rule, self._row(0), f"s|{self.name}}}"))

    def _row(self, number: int) -> str:
        return f"s|{self.name}|{number:06}"


def publish_abandoned_digests(
    table: Table, rule: str, before: datetime, render: RenderDigest, rows: Iterable[Entity] | None = None
) -> None:
    """Publishes the drafts of runs that began before `before`: so long ago that none of them can still be at
    work. `rows` are the rows of all drafts; without them they are read.
    """
    all_rows = table.scan(rule, FIRST_DRAFT, "s}") if rows is None else rows
    for name, draft_rows in groupby(all_rows, key=lambda row: row.row.split("|")[1]):
        first_row, *later_rows = draft_rows
        began = time_of(first_row, "began")
        if began >= before:
            continue
        if later_rows or not _is_end(first_row):
            DigestDraft(table, rule, name, began).publish(render)
        elif began < before - END_ROW_KEPT:
            table.write(rule, [Delete(first_row.row)])


def _is_end(row: Entity) -> bool:
    return "published" in row.values
