"""The incident index: what a rule has told, kept so that nothing is told twice and nothing is lost.

One partition per rule folder. Rows of a key share a prefix with the key's hash:

    k|<hash>|a|<commit>                      an alert
    k|<hash>|h                               head: the key, its commit number, who wrote it from what, its last flood
    k|<hash>|i|<number>                      an incident
    k|<hash>|m|<day>|<side>|<commit>|<part>  marks of that side's events of that day
    p|<day>|<hash>                           the key has marks of that day; they go when the day goes
    l|<opened>|<hash>|<number>               an incident as lists have it, those opened last first
    e|<day>|<hash>|<commit>|<number>         an alert of that day and its incident; they go when they are old
    q|<name>                                 a silence; it goes when its end is old
    r|<now>[|failed]                         the record of a run
    w                                        the watermark, how many runs were complete, what memory has kept

Every transaction of a key writes its head, whose version is the lock: of two runs that judge one key at
the same time, one commits and the other judges again. The watermark is the last write of a run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Literal

from detection.base.errors import ConfigurationError
from detection.base.timestamps import LAST_YEAR, iso, parse_time
from detection.base.type_adapter import type_adapter
from detection.correlation.output import truncate
from detection.incidents.alert import Alert
from detection.incidents.grouping import Incident, KeyState, Mark, Verdict
from detection.incidents.keys import Grouping, Key
from detection.rules.silences import Silence
from detection.store.digest_draft import DigestDraft, RenderDigest, publish_abandoned_digests
from detection.store.outbox import Delivery, queue
from detection.store.packing import ROW_SIZE, chunks, joined, split
from detection.store.table import (
    OPERATIONS,
    Conflict,
    Delete,
    Entity,
    Insert,
    Operation,
    Put,
    Replace,
    Table,
    Value,
)

SCHEMA = 1  # of the rows below; raised when an older version could misread them
PURGED_PER_RUN = 5_000  # mark rows removed in one run, so that its work stays bounded
EXPIRED_PER_RUN = 1_000
_MARK_BYTES = 8
_END_OF_TIME = datetime(LAST_YEAR, 1, 1, tzinfo=UTC)  # so that a later moment makes a smaller number


@dataclass(frozen=True, slots=True)
class IncidentSummary:
    """An incident as lists have it: with the values of its key cut, and without its history."""

    key: Key
    incident: Incident


class IncidentStore:
    """The index of one rule, for one run.

    `token` names the run, and with a number its reading of the logs: it is left with every commit, and by
    it one whose answer was lost is recognised.
    """

    def __init__(self, table: Table, rule: str, token: str) -> None:
        self._table = table
        self._partition = rule
        self._token = token
        self._readings = 1
        self._batches = 0
        self.kept_since: datetime | None = None  # memory is whole from here on; None: it has let nothing go
        self.grouping: Grouping | None = None  # by which the last complete run grouped
        self.run = 1  # one more than the runs that were complete when this one began
        self._watermark_row: Entity | None = None  # the watermark's row as this run has seen it

    @property
    def writer(self) -> str:
        """The name of this run's present reading of the logs."""
        return f"{self._token}.{self._readings}"

    def restart(self) -> str:
        """The run has read the logs again: what it commits from now on comes from that reading, which is named."""
        self._readings += 1
        return self.writer

    def watermark(self) -> datetime | None:
        """The frozen moment of the last complete run (UTC), or None before the first.

        Raises ConfigurationError when the table was written by a newer version of this job.
        """
        self._watermark_row = self._table.get(self._partition, "w")
        if self._watermark_row is None:
            return None
        schema = int(self._watermark_row.values["schema"])
        if schema > SCHEMA:
            msg = f"the incident table has schema {schema}, this version knows {SCHEMA}: update the job"
            raise ConfigurationError(msg)
        self.run = int(self._watermark_row.values["runs"]) + 1
        kept_text = self._watermark_row.values.get("kept")
        self.kept_since = parse_time(str(kept_text)) if kept_text else None
        self.grouping = type_adapter(Key).validate_json(str(self._watermark_row.values["grouping"]))
        return _watermark(self._watermark_row)

    def load(self, key: Key) -> KeyState:
        """All that is known of a key, in one scan."""
        prefix = _prefix(key)
        state = KeyState(key)
        marks: dict[str, set[Mark]] = {"changes": set(), "signals": set()}
        for entity in self._table.scan(self._partition, f"{prefix}h", f"{prefix}n"):
            kind, *rest = entity.row.removeprefix(prefix).split("|")
            if kind == "h":
                state = _state_of(entity, key)
            elif kind == "i":  # in the order of their numbers, so the newest stays
                state = replace(state, incident=type_adapter(Incident).validate_json(joined(entity.values)))
            elif int(rest[2]) > state.flood_commit or rest[1] == "changes":
                marks[rest[1]].update(_marks(entity.values))
        return replace(state, changes=frozenset(marks["changes"]), signals=frozenset(marks["signals"]))

    def commit(self, verdict: Verdict, messages: Sequence[Operation] = ()) -> None:
        """Commits a verdict with what tells it (deliveries, or a share of a batch), all of it or nothing.

        Raises Conflict when the key has changed since it was recalled: recall it and judge again.
        """
        state = verdict.state
        state = replace(state, writer=self.writer, run=self.run)
        try:
            self._table.write(self._partition, [*_operations(verdict, state), *messages])
        except Conflict:
            # It may have happened, and only the answer been lost on the way.
            head = self._table.get(self._partition, _prefix(state.key) + "h")
            if head is None or not _same_commit(_state_of(head, state.key), state):
                raise

    def new_draft(self, now: datetime) -> DigestDraft:
        """A new batch of this run, for alerts that are told together."""
        self._batches += 1
        token_hash = sha256(self._token.encode()).hexdigest()[:12]
        return DigestDraft(
            self._table, self._partition, f"{_sortable(now)}-{token_hash}-{self._batches}", now
        )

    def publish_abandoned_digests(self, before: datetime, render: RenderDigest) -> None:
        """Tells what runs from before a moment left in batches when they died."""
        publish_abandoned_digests(self._table, self._partition, before, render)

    def finish(self, now: datetime, record: bytes, grouping: Grouping, keep: datetime | None = None) -> None:
        """The last write of a complete run: its record, and the watermark, which only moves forward.

        `grouping` is how the run grouped. `keep` says from which day on memory stays whole: what `purge` of
        that moment leaves.
        """
        written: list[Operation] = [Put(f"r|{_sortable(now)}", split(record))]
        kept_since = _whole_from(keep) if keep else None
        kept_since = max(filter(None, (kept_since, self.kept_since)), default=None)
        values: dict[str, Value] = {"now": iso(now), "runs": self.run, "schema": SCHEMA}
        values["grouping"] = type_adapter(Key).dump_json(grouping).decode()
        values |= {"kept": iso(kept_since)} if kept_since else {}
        values["listed"] = True
        if self._watermark_row and "listed" not in self._watermark_row.values:
            self._list_earlier()
        if self._watermark_row is None:
            written.append(Insert("w", values))
        elif _watermark(self._watermark_row) < now:
            written.append(Replace("w", values, self._watermark_row.version))
        try:
            self._table.write(self._partition, written)
        except Conflict:  # another run finished in between; look again how far it came
            self.watermark()
            self.finish(now, record, grouping, keep)

    def incidents(self) -> Iterator[tuple[Key, Incident]]:
        """Every incident with its key, key by key."""
        key: Key = ()
        for entity in self._table.scan(self._partition, "k|", "k}"):
            kind = entity.row.split("|")[2]
            if kind == "h":
                key = type_adapter(Key).validate_json(joined(entity.values))
            elif kind == "i":
                yield key, type_adapter(Incident).validate_json(joined(entity.values))

    def summaries(self) -> Iterator[IncidentSummary]:
        """Every incident, those opened last first; of a version that kept no list, from the next run on."""
        for entity in self._table.scan(self._partition, "l|", "l}"):
            yield type_adapter(IncidentSummary).validate_json(joined(entity.values))

    def incident(self, name: str) -> tuple[Key, Incident, list[Alert]] | None:
        """An incident by its id, with its key and its alerts in the order of commits."""
        digest = self._digest_of(name)
        key: Key = ()
        incident: Incident | None = None
        alerts: list[Alert] = []
        for entity in self._table.scan(self._partition, f"k|{digest}|a", f"k|{digest}|j") if digest else ():
            kind, content = entity.row.split("|")[2], joined(entity.values)
            if kind == "h":
                key = type_adapter(Key).validate_json(content)
            elif kind == "a":
                alerts.append(type_adapter(Alert).validate_json(content))
            elif (candidate := type_adapter(Incident).validate_json(content)).id == name:
                incident = candidate
        return (key, incident, [alert for alert in alerts if alert.incident == name]) if incident else None

    def _digest_of(self, name: str) -> str | None:
        """The hash of an incident's key: by the list, or among all incidents where no run has listed them yet."""
        for entity in self._table.scan(self._partition, "l|", "l}"):
            if type_adapter(IncidentSummary).validate_json(joined(entity.values)).incident.id == name:
                return entity.row.split("|")[2]
        return next((_digest(key) for key, incident in self.incidents() if incident.id == name), None)

    def alerts(self) -> Iterator[Alert]:
        """Every alert, key by key in the order of commits."""
        for entity in self._table.scan(self._partition, "k|", "k}"):
            if entity.row.split("|")[2] == "a":
                yield type_adapter(Alert).validate_json(joined(entity.values))

    def records(self) -> list[bytes]:
        """The records of the runs that are kept, the oldest first."""
        return [joined(entity.values) for entity in self._table.scan(self._partition, "r|", "r}")]

    def _list_earlier(self) -> None:
        """Lists the incidents of a version that kept no list. What is listed by now is newer than what was read."""
        for key, incident in self.incidents():
            row, values = _summary_row(key, incident)
            with suppress(Conflict):
                self._table.write(self._partition, [Insert(row, values)])

    def note(self, now: datetime, record: bytes, kind: Literal["gap", "failed"]) -> None:
        """Keeps the record of a run that moves no watermark: one over a gap, or one that failed."""
        self._table.write(self._partition, [Put(f"r|{_sortable(now)}|{kind}", split(record))])

    def silences(self) -> list[Silence]:
        """Every silence that is kept, those that ended too."""
        rows = self._table.scan(self._partition, "q|", "q}")
        return [Silence.model_validate_json(joined(row.values)) for row in rows]

    def silence(self, silence: Silence) -> None:
        """Keeps a new silence. Raises Conflict when there is one of its name."""
        self._table.write(self._partition, [Insert(f"q|{silence.name}", split(_silence(silence)))])

    def lift(self, silence: Silence, author: str, now: datetime) -> None:
        """Ends a silence now; it is kept a while, for what it took."""
        ended = silence.model_copy(update={"expires": now, "lifted_by": author})
        self._table.write(self._partition, [Put(f"q|{silence.name}", split(_silence(ended)))])

    def update(
        self,
        key: Key,
        change: Callable[[Incident], Incident],
        messages: Callable[[Incident, int], Sequence[Delivery]] = lambda *_: (),
        number: int | None = None,
    ) -> None:
        """Writes an incident of a key as somebody has amended it, with the messages that say so: the newest, or the one
        of that number.

        Raises Conflict, as `commit` does.
        """
        state = self.load(key)  # before the incident is read, for its head is the lock of them all
        current = state.incident if number is None else self._numbered(key, number)
        if current is None:
            return
        incident = change(current)
        state = replace(state, commits=state.commits + 1, writer=self.writer)
        queued = map(queue, messages(incident, state.commits))
        self._table.write(self._partition, [_head(state), *_incident(state.key, incident), *queued])

    def _numbered(self, key: Key, number: int) -> Incident | None:
        entity = self._table.get(self._partition, f"{_prefix(key)}i|{number:06}")
        return type_adapter(Incident).validate_json(joined(entity.values)) if entity else None

    def purge(self, before: datetime, limit: int = PURGED_PER_RUN) -> int:
        """Removes the marks of days that end before the moment, at most `limit` rows; returns how many.

        `before` is where the changes window of the *watermark* begins: an outage must not forget.
        A day is kept on top, for a clock that goes back. `finish` says beforehand what will be left: no later
        run reads behind that, even if its settings ask for it.
        """
        last = f"p|{_day(_whole_from(before))}"
        removed = 0
        for entity in self._table.scan(self._partition, "p|", last):
            _, day, digest = entity.row.split("|")
            prefix = f"k|{digest}|m|{day}|"
            rows = [
                mark_row.row
                for mark_row in islice(
                    self._table.scan(self._partition, prefix, prefix + "~"), limit - removed
                )
            ]
            for chunk in chunks(rows, OPERATIONS):
                self._table.write(self._partition, [Delete(row) for row in chunk])
            removed += len(rows)
            if removed >= limit:
                break
            self._table.write(self._partition, [Delete(entity.row)])
        return removed

    def expire(self, before: datetime, limit: int = EXPIRED_PER_RUN) -> int:
        """Removes run records, alerts, incidents and ended silences from before the moment, at most `limit` of each; returns how many.

        A key's newest incident stays, for its number makes the next one's id.
        """
        records = self._table.scan(self._partition, "r|", f"r|{_sortable(before)}")
        rows = [entity.row for entity in islice(records, limit)]
        for pointer in islice(self._table.scan(self._partition, "e|", f"e|{_day(before)}"), limit):
            _, _, digest, commit, number = pointer.row.split("|")
            rows += [pointer.row, f"k|{digest}|a|{commit}"]
            newer = f"k|{digest}|i|{int(number) + 1:06}"
            old = self._table.get(self._partition, f"k|{digest}|i|{number}")
            if old and next(self._table.scan(self._partition, newer, f"k|{digest}|j"), None):
                incident = type_adapter(Incident).validate_json(joined(old.values))
                rows += [old.row, _place_in_list(digest, incident)]
        rows += [
            f"q|{silence.name}" for silence in self.silences() if silence.expires and silence.expires < before
        ]
        for chunk in chunks(list(dict.fromkeys(rows)), OPERATIONS):
            self._table.write(self._partition, [Delete(row) for row in chunk])
        return len(rows)


def _operations(verdict: Verdict, state: KeyState) -> list[Operation]:
    operations = [_head(state)]
    if state.incident and (verdict.alert or verdict.silenced):
        operations += _incident(state.key, state.incident)
    if state.incident and verdict.alert:
        row = f"{_prefix(state.key)}a|{state.commits:010}"
        operations.append(Insert(row, split(type_adapter(Alert).dump_json(verdict.alert))))
        day = _day(state.incident.updated)
        pointer = f"e|{day}|{_digest(state.key)}|{state.commits:010}|{state.incident.number:06}"
        operations.append(Put(pointer, {}))
    return [*operations, *_mark_operations(verdict)]


def _head(state: KeyState) -> Operation:
    row = _prefix(state.key) + "h"
    values: dict[str, Value] = {
        "commits": state.commits,
        "writer": state.writer,
        "run": state.run,
        "decided_at": iso(state.decided_at) if state.decided_at else "",
        "latest_signal": iso(state.latest_signal) if state.latest_signal else "",
        "flood_until": iso(state.flood_until) if state.flood_until else "",
        "flood_commit": state.flood_commit,
        **split(type_adapter(Key).dump_json(state.key)),
    }
    return Insert(row, values) if state.version is None else Replace(row, values, state.version)


def _state_of(head: Entity, key: Key) -> KeyState:
    """What the head alone says of a key."""
    decided_at, latest_signal, flood_until = (
        str(head.values.get(name, "")) for name in ("decided_at", "latest_signal", "flood_until")
    )
    return KeyState(
        key,
        commits=int(head.values["commits"]),
        writer=str(head.values["writer"]),
        run=int(head.values["run"]),
        decided_at=parse_time(decided_at) if decided_at else None,
        latest_signal=parse_time(latest_signal) if latest_signal else None,
        flood_until=parse_time(flood_until) if flood_until else None,
        flood_commit=int(head.values.get("flood_commit", 0)),
        version=head.version,
    )


def _same_commit(state: KeyState, expected: KeyState) -> bool:
    return (state.writer, state.commits) == (expected.writer, expected.commits)


def _incident(key: Key, incident: Incident) -> list[Operation]:
    """What writes an incident, among the rows of its key and in the list."""
    row = f"{_prefix(key)}i|{incident.number:06}"
    return [Put(row, split(type_adapter(Incident).dump_json(incident))), Put(*_summary_row(key, incident))]


def _summary_row(key: Key, incident: Incident) -> tuple[str, Mapping[str, Value]]:
    """An incident's row in the list."""
    summary = IncidentSummary(
        tuple((name, truncate(value)) for name, value in key), replace(incident, history=())
    )
    return _place_in_list(_digest(key), incident), split(type_adapter(IncidentSummary).dump_json(summary))


def _place_in_list(digest: str, incident: Incident) -> str:
    """Where an incident stands in the list, for ever: when it was opened does not change."""
    remaining = (_END_OF_TIME - incident.opened) // timedelta(microseconds=1)
    return f"l|{remaining:016}|{digest}|{incident.number:06}"


def _silence(silence: Silence) -> bytes:
    return silence.model_dump_json(exclude_defaults=True).encode()


def _mark_operations(verdict: Verdict) -> Iterator[Operation]:
    state = verdict.state
    by_day: dict[tuple[str, str], bytearray] = {}
    for side, marked in (("changes", verdict.change_marks), ("signals", verdict.signal_marks)):
        for key, event in marked.items():
            by_day.setdefault((_day(event.time), side), bytearray()).extend(key)
    for (day, side), marks in by_day.items():
        for part, chunk in enumerate(chunks(marks, ROW_SIZE)):
            yield Insert(
                f"{_prefix(state.key)}m|{day}|{side}|{state.commits:010}|{part}", split(bytes(chunk))
            )
    for day in {day for day, _ in by_day}:
        yield Put(f"p|{day}|{_digest(state.key)}", {})


def _marks(values: Mapping[str, Value]) -> Iterator[Mark]:
    marks = joined(values)
    return (marks[at : at + _MARK_BYTES] for at in range(0, len(marks), _MARK_BYTES))


def _prefix(key: Key) -> str:
    return f"k|{_digest(key)}|"


def _digest(key: Key) -> str:
    """Keys hold hostile text of any length; their hash can always be a row's name."""
    return sha256(type_adapter(Key).dump_json(key)).hexdigest()[:32]


def _whole_from(before: datetime) -> datetime:
    """The beginning of the first day whose marks a purge leaves."""
    return (before - timedelta(days=1)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _day(time: datetime) -> str:
    return time.astimezone(UTC).date().isoformat()


def _sortable(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def _watermark(entity: Entity) -> datetime:
    return parse_time(str(entity.values["now"]))
