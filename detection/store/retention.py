"""Deletes marks that no run can read again, and alerts, incidents, heads, records and silences at the end of
their retention.

Rows to delete have pointers that sort by day, so clean-up reads only what it deletes. Rows of several keys
share a transaction. A key's incidents and its head go only while the head is as it was read: a run that
commits the key at the same time wins.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain as joined
from itertools import takewhile

from detection.incidents.incident import Incident
from detection.logs.window import Window
from detection.store.key_rows import rows_of_keys
from detection.store.layout import (
    commit_of,
    commit_pointer,
    day_of,
    incident_of,
    incident_row,
    newest_incident,
    rows_of_marks,
    silence_row,
    sortable,
    state_of,
    summary_row,
    whole_from,
)
from detection.store.silence_list import SilenceList
from detection.store.table import OPERATIONS, Conflict, Delete, Entity, Operation, Replace, Table

# Requests of a clean-up: at most three to read a key at the end of its retention (its head, an incident, its
# marks), and one for each 100 rows to delete. They take some 30 seconds of the time that a run has.
REQUESTS = 3_000
# More commits take more requests, so that clean-up keeps up with any rate.
REQUESTS_PER_COMMIT = 4
# Pointers of a key in one transaction: each with its alert, and an incident with its row in the list. The
# newest incident, the head and a pointer fit in, too.
_POINTERS = 24
_KEYS, _REQUESTS_PER_KEY = 100, 3  # read at a time, for all keys or for each if they lie far apart
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

    @property
    def keys_at_once(self) -> int:
        """How many keys to read next."""
        return max(min(self._remaining // _REQUESTS_PER_KEY, _KEYS), 1)

    def scan(self, start: str, end: str) -> Iterator[Entity]:
        """The rows of a range of pointers or records, as long as requests remain."""
        return takewhile(lambda _: not self.are_used_up, self.table.scan(self.rule, start, end))

    def rows(self, kind: str, digests: Iterable[str]) -> Iterator[Entity]:
        """The rows of some keys or incidents."""
        return rows_of_keys(self._scan_page, kind, digests)

    def _scan_page(self, start: str, end: str, page: int) -> Iterator[Entity]:
        self._remaining -= 1
        return self.table.scan(self.rule, start, end, page)

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
    while pointers_by_key := _batch(pointers, transactions.keys_at_once):
        heads = {head.row.split("|")[1]: head for head in transactions.rows("h", pointers_by_key)}
        newest = {digest: newest_incident(head) for digest, head in heads.items()}
        names = {
            digest: {*(commit_of(pointer)[2] for pointer in pointers), newest.get(digest, "")} - {""}
            for digest, pointers in pointers_by_key.items()
        }
        rows = transactions.rows("i", set(joined.from_iterable(names.values())))
        incidents = {incident.id: incident for incident in map(incident_of, rows)}
        marked = {row.row.split("|")[1] for row in transactions.rows("m", heads)}
        for digest, pointers_of_key in pointers_by_key.items():
            key = _DueKey(
                digest,
                pointers_of_key,
                heads.get(digest),
                [incidents[name] for name in names[digest] if name in incidents],
                has_marks=digest in marked,
            )
            transactions.add(key.operations(before, has_kept_windows=bool(kept_windows)))
        transactions.flush()  # before rows of the same key are read again


def _batch(pointers: Iterator[Entity], keys: int) -> dict[str, list[Entity]]:
    """The next pointers by the digest of their key, for some keys."""
    batch: dict[str, list[Entity]] = {}
    for pointer in pointers:
        pointers_of_key = batch.setdefault(commit_of(pointer)[0], [])
        pointers_of_key.append(pointer)
        if len(batch) == keys or len(pointers_of_key) == _POINTERS:
            break
    return batch


@dataclass(frozen=True, slots=True)
class _DueKey:
    """A key with commits at the end of their retention: the pointers to these, and what else it has."""

    digest: str
    pointers: Sequence[Entity]
    head: Entity | None
    incidents: Sequence[Incident]
    has_marks: bool

    def operations(self, before: datetime, *, has_kept_windows: bool) -> Sequence[Operation]:
        """Deletes the alerts of the commits, old incidents, and the head if nothing else is left."""
        day, head = day_of(before), self.head
        old_incidents = [incident for incident in self.incidents if day_of(incident.updated) < day]
        operations: list[Operation] = []
        for incident in old_incidents:
            operations += [Delete(incident_row(incident.id)), Delete(summary_row(incident))]
        for pointer in self.pointers:
            _, commit, name = commit_of(pointer)
            operations += [Delete(pointer.row), *([Delete(f"a|{name}|{commit}")] if name else [])]
        if head is None:
            return operations
        state = state_of(head, ())
        if state.decided_at is None or day_of(state.decided_at) < day:
            # A first commit is numbered by its time, so a number that lies ahead could be issued again.
            is_number_ahead = state.commits >= before.timestamp()
            may_be_flooded = has_kept_windows and bool(state.floods)
            if len(old_incidents) < len(self.incidents) or is_number_ahead or may_be_flooded:
                operations.append(commit_pointer(day, self.digest, state.commits))  # due again in a day
            elif not self.has_marks:
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
            transactions.add([Delete(silence_row(silence.name))])
    transactions.flush()
