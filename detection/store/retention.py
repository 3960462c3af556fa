"""Deletes marks that no run can read again, and alerts, incidents, heads, records and silences at the end of
their retention.

Rows to delete have pointers that sort by day, so clean-up reads only what it deletes. Rows of several keys
share a transaction. A key's incidents and its head go only while the head is as it was read: a run that
commits the key at the same time wins.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import groupby, takewhile

from detection.incidents.incident import Incident
from detection.logs.window import Window
from detection.store.layout import (
    chunks,
    commit_of,
    commit_pointer,
    content_of,
    day_of,
    rows_of_marks,
    sortable,
    state_of,
    summary_row,
    whole_from,
)
from detection.store.silence_list import SilenceList
from detection.store.table import OPERATIONS, Conflict, Delete, Entity, Operation, Replace, Table

# Requests of a clean-up: two to read a key at the end of its retention, and one for each 100 rows to delete.
# 1,000 commits an hour take about 2,200, in some 20 seconds of the ten minutes that a run has.
REQUESTS = 3_000
# More commits take more requests, so that clean-up keeps up with any rate. The commits took two each.
REQUESTS_PER_COMMIT = 3
# Pointers and incidents of a key in one transaction, two rows each; the head and a pointer fit in, too.
_POINTERS, _INCIDENTS = 24, 25
_END_OF_DAYS = "~"  # sorts behind every day


def delete_old_rows(
    table: Table,
    rule: str,
    unread_before: datetime,
    expired_before: datetime,
    kept_windows: Sequence[Window] = (),
    limit: int = REQUESTS,
    *,
    daily: bool = True,
) -> bool:
    """Deletes the marks of days that end before `unread_before`, and all else of days before that of
    `expired_before`, in about `limit` requests. Returns whether it deleted everything.

    `unread_before` is the start of the changes window of the *watermark*: an outage must not forget. A day
    more is kept, for a clock that goes back. `IncidentStore.finish` writes beforehand what will be left: no
    later run reads behind it, even if its settings ask for it. Marks of days that intersect one of
    `kept_windows` stay. A key with marks stays, and is due again when these are deleted. A key with a flood
    stays while there are `kept_windows`: it may lie in them. A silence that may cover signals in them stays,
    too. Only the `daily` clean-up looks for records and silences, for a day adds few. Raises ServiceError.
    """
    transactions = _Transactions(table, rule, limit)
    _purge_marks(transactions, unread_before, kept_windows, expired_before)
    _expire_keys(transactions, expired_before, kept_windows)
    if daily:
        _expire_records(transactions, expired_before, kept_windows)
    return not transactions.are_used_up


class _Transactions:
    """Writes groups of operations, as many in a transaction as fit, and counts the requests of a clean-up."""

    def __init__(self, table: Table, rule: str, requests: int) -> None:
        self.table = table
        self.rule = rule
        self._remaining = requests
        self._operations: list[Operation] = []

    @property
    def are_used_up(self) -> bool:
        """Whether the clean-up must stop here; the next one goes on."""
        return self._remaining <= 0

    def scan(self, start: str, end: str) -> Iterator[Entity]:
        """The rows of a range of pointers or records, as long as requests remain."""
        return takewhile(lambda _: not self.are_used_up, self.table.scan(self.rule, start, end))

    def rows(self, start: str, end: str) -> Iterator[Entity]:
        """The rows of a short range, in one request."""
        self._remaining -= 1
        return self.table.scan(self.rule, start, end)

    def add(self, group: Sequence[Operation]) -> None:
        """Adds a group: all of it is written or nothing."""
        if len(self._operations) + len(group) > OPERATIONS:
            self.flush()
        self._operations += group

    def flush(self) -> None:
        """Writes what was added. Leaves it to the next clean-up if a run committed one of the keys."""
        if self._operations:
            self._remaining -= 1
            with suppress(Conflict):
                self.table.write(self.rule, self._operations)
        self._operations = []


def _purge_marks(
    transactions: _Transactions,
    before: datetime,
    kept_windows: Sequence[Window],
    expired_before: datetime,
) -> None:
    for start, end in _days_outside(kept_windows, day_of(whole_from(before))):
        for pointer in transactions.scan(f"p|{start}", f"p|{end}"):
            rows = rows_of_marks(pointer)
            group: list[Operation] = [Delete(row) for row in (pointer.row, *rows)]
            _, day, digest, commit = pointer.row.split("|")
            if day < day_of(expired_before):  # the marks may have kept the key: it is due
                group.append(commit_pointer(day, digest, int(commit)))
            transactions.add(group)
    transactions.flush()


def _days_outside(kept_windows: Sequence[Window], end: str) -> Iterator[tuple[str, str]]:
    """Ranges of days before the day `end` that intersect none of the windows."""
    start = ""
    for window in sorted(kept_windows, key=lambda window: window.after):
        if start < (kept_from := min(day_of(window.after), end)):
            yield start, kept_from
        kept_until = day_of(window.until + timedelta(days=1)) if window.until else _END_OF_DAYS
        start = max(start, kept_until)
    if start < end:
        yield start, end


def _expire_keys(transactions: _Transactions, before: datetime, kept_windows: Sequence[Window]) -> None:
    pointers = transactions.scan("e|", f"e|{day_of(before)}")
    pending = set[str]()  # keys with operations that may not be written yet: their rows cannot be read again
    for digest, pointers_of_key in groupby(pointers, lambda pointer: commit_of(pointer)[0]):
        for part in chunks(list(pointers_of_key), _POINTERS):
            if digest in pending:
                transactions.flush()
                pending.clear()
            pending.add(digest)
            transactions.add(
                _expired_of_key(transactions, digest, part, before, has_kept_windows=bool(kept_windows))
            )
    transactions.flush()


def _expired_of_key(
    transactions: _Transactions,
    digest: str,
    pointers: Sequence[Entity],
    before: datetime,
    *,
    has_kept_windows: bool,
) -> Sequence[Operation]:
    """Deletes the alerts of commits of a key, its old incidents, and the head if nothing else is left."""
    prefix, day = f"k|{digest}|", day_of(before)
    rows = {row.row: row for row in transactions.rows(f"{prefix}h", f"{prefix}j")}
    head = rows.pop(f"{prefix}h", None)
    incidents = [content_of(row, Incident) for row in rows.values()]
    old_incidents = [incident for incident in incidents if day_of(incident.updated) < day][:_INCIDENTS]
    operations: list[Operation] = []
    for incident in old_incidents:
        operations += [Delete(f"{prefix}i|{incident.number:06}"), Delete(summary_row(digest, incident))]
    for pointer in pointers:
        _, commit, number = commit_of(pointer)
        operations += [Delete(pointer.row), *([Delete(f"{prefix}a|{commit}")] if number else [])]
    if head is None:
        return operations
    state = state_of(head, ())
    if state.decided_at is None or day_of(state.decided_at) < day:
        # A first commit is numbered by its time, so a number that lies ahead could be issued again.
        is_number_ahead = state.commits >= before.timestamp()
        may_be_flooded = has_kept_windows and bool(state.floods)
        if len(old_incidents) < len(incidents) or is_number_ahead or may_be_flooded:
            operations.append(commit_pointer(day, digest, state.commits))  # the key is due again in a day
        elif next(transactions.rows(f"{prefix}m|", f"{prefix}n"), None) is None:
            return [*operations, Delete(head.row, head.version)]
    if old_incidents:  # a run that loaded them would write them again
        operations.append(Replace(head.row, head.values, head.version))
    return operations


def _expire_records(transactions: _Transactions, before: datetime, kept_windows: Sequence[Window]) -> None:
    """Deletes old records, and the silences that ended before all signals that can still be read."""
    for record in transactions.scan("r|", f"r|{sortable(before)}"):
        transactions.add([Delete(record.row)])
    before = min([before, *(window.after for window in kept_windows)])
    for silence in SilenceList(transactions.table, transactions.rule).silences():
        if silence.expires and silence.expires < before:
            transactions.add([Delete(f"q|{silence.name}")])
    transactions.flush()
