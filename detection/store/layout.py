"""The rows of the incident table: their names, and how content becomes their properties.

One partition per rule folder. <hash> is that of a key, <incident> an incident's id:

    a|<incident>|<commit>                    an alert
    e|<day>|<hash>|<commit>|<incident>       a commit of that day, and the incident of its alert, if it has an
                                             alert; retention goes by it
    h|<hash>                                 head: the key, its commit number, its writer, its floods, its
                                             newest incident
    i|<incident>                             an incident, with its key
    j|<until>                                a gap: its id, which is the minute of its end
    k|<name>                                 a silence
    l|<closed>|<severity>|<updated>|<incident>|<status>  an incident's summary, in the order of the list: open
                                             ones first, then the most severe, then those with the latest
                                             alert (incident_list.py)
    m|<hash>|<day>|<commit>|<part>           marks of events of that day
    p|<day>|<hash>|<commit>                  the commit marked events of that day; deleted with the marks
    r|<now>[|failed|gap]                     the record of a run
    s|<draft>|<number>                       entries of a digest draft (digest_draft.py)
    u|<digest>                               a grouping whose marks are kept (groupings.py)
    w                                        watermark, number of complete runs, start of whole marks,
                                             whether the rule is in ~rules, whether it has gaps, whether
                                             clean-up has more to do, time of its last run with a threshold

Heads, and marks, each form a range of their own: those of many keys are read in few requests (key_rows.py).
Gaps, silences and the list form one range: a page of the list shows them together (read_ahead.py).
The outbox of a rule is in the same partition (outbox.py); the partition ~rules lists the rules.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import NoReturn, TypeVar

from detection.base.errors import ConfigurationError, ServiceError
from detection.base.json_types import type_adapter
from detection.base.timestamps import LAST_YEAR, MAX_CLOCK_LEAD, iso, parse_time
from detection.correlation.output import truncate
from detection.incidents.alert import Alert
from detection.incidents.decide import Verdict
from detection.incidents.floods import Flood
from detection.incidents.incident import Incident, Status
from detection.incidents.key_state import KeyState, marks_by_day
from detection.incidents.keys import Key
from detection.incidents.marks import Mark
from detection.rules.model import SEVERITIES, Severity
from detection.store.table import OPERATIONS, Delete, Entity, Insert, Operation, Put, Replace, Table, Value

SCHEMA = 2  # of these rows; raised when an older version could misread them
PROPERTY_SIZE = 64_000  # of the 64 KiB that a property may have; a whole number of 8-byte marks
ROW_SIZE = 12 * PROPERTY_SIZE  # of the 1 MiB that a row may have; the emulator counts it in base64
_MARK_BYTES = 8
_FLOOD = struct.Struct(">8sqq")  # the subject; begin and end in microseconds since _EPOCH
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_END_OF_TIME = datetime(LAST_YEAR, 1, 1, tzinfo=UTC)  # so that a later time makes a smaller number

Content = TypeVar("Content")


class DamagedRow(ServiceError):
    """A row of the table is not as this job wrote it. Its error names the row and the remedy."""

    def __init__(self, row: Entity, error: Exception) -> None:
        self.rule, self.row = row.partition, row.row
        super().__init__(
            f"row {row.row} in the partition {row.partition} of the incident table cannot be read "
            f"({type(error).__name__}): another program changed it, or it was restored in part. Restore the "
            "row, or delete it if no copy has it; docs/table.md says for each row which loss that is"
        )


OnDamage = Callable[[DamagedRow], object]  # receives the error of a row that a list leaves out


def raise_damage(error: DamagedRow) -> NoReturn:
    """Leaves no row out: the list fails."""
    raise error


@dataclass(frozen=True, slots=True)
class IncidentSummary:
    """An incident as lists show it: with the values of its key truncated, and without its history
    and its extent.
    """

    key: Key
    incident: Incident


def split(content: bytes | bytearray, name: str = "b") -> dict[str, Value]:
    """Bytes as properties b0, b1, …, for one property may not hold them; at most ROW_SIZE fit into a row."""
    return {f"{name}{number}": bytes(part) for number, part in enumerate(chunks(content, PROPERTY_SIZE))}


def joined(values: Mapping[str, Value], name: str = "b") -> bytes:
    """The bytes that `split` made properties of; other properties may stand next to them."""
    parts = (values.get(f"{name}{number}") for number in range(len(values)))
    return b"".join(part for part in parts if isinstance(part, bytes))


def parse_row(row: Entity, parse: Callable[[Entity], Content]) -> Content:
    """The content of a row. All rows are parsed through here. Raises DamagedRow if `parse` fails."""
    try:
        return parse(row)
    except (ValueError, LookupError, TypeError, OverflowError, struct.error, ConfigurationError) as error:
        raise DamagedRow(row, error) from None


def content_of(row: Entity, content_type: type[Content]) -> Content:
    """The content of a row that holds JSON. Raises DamagedRow."""
    return parse_row(row, lambda row: type_adapter(content_type).validate_json(joined(row.values)))


def readable(
    rows: Iterable[Entity], parse: Callable[[Entity], Content], on_damage: OnDamage
) -> Iterator[Content]:
    """The content of rows, without the damaged rows, whose errors go to `on_damage`."""
    for row in rows:
        try:
            content = parse(row)
        except DamagedRow as error:
            on_damage(error)
        else:
            yield content


def time_of(row: Entity, name: str) -> datetime:
    """The time (UTC) in a property of a row. Raises DamagedRow."""
    return parse_row(row, lambda row: parse_time(str(row.values[name])))


def chunks(content: Sequence[Content], size: int) -> Iterator[Sequence[Content]]:
    """The content in parts of at most `size` elements."""
    return (content[at : at + size] for at in range(0, len(content), size))


def delete_rows(table: Table, partition: str, rows: Sequence[str]) -> None:
    """Deletes rows, in as many transactions as they need. Raises ServiceError."""
    for chunk in chunks(rows, OPERATIONS):
        table.write(partition, [Delete(row) for row in chunk])


def key_digest(key: Key) -> str:
    """Keys hold hostile text of any length; their hash can always be part of a row's name."""
    return sha256(type_adapter(Key).dump_json(key)).hexdigest()[:32]


def head_row(key: Key) -> str:
    """The name of a key's head."""
    return f"h|{key_digest(key)}"


def incident_row(name: str) -> str:
    """The name of the row of the incident with that id."""
    return f"i|{name}"


def silence_row(name: str) -> str:
    """The name of the row of a silence."""
    return f"k|{name}"


def gap_row(name: str) -> str:
    """The name of the row of the gap with that id."""
    return f"j|{name}"


def day_of(time: datetime) -> str:
    """The day of a time in UTC, as in row names."""
    return time.astimezone(UTC).date().isoformat()


def sortable(time: datetime) -> str:
    """A time in UTC as text that sorts by time."""
    return time.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def whole_from(before: datetime) -> datetime:
    """The beginning of the first day whose marks a purge up to `before` keeps: a day more, for clocks that go
    back.
    """
    return (before - timedelta(days=1)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def watermark_of(entity: Entity) -> datetime:
    """The time that a watermark's row holds; if a clock was ahead, the time at which the row was written."""
    watermark = time_of(entity, "now")
    return min(watermark, entity.written or watermark)


def head_operation(state: KeyState) -> Operation:
    """Writes a key's head; fails with Conflict where the head is not the one that `state` was loaded with."""
    row = head_row(state.key)
    values: dict[str, Value] = {
        "commits": state.commits,
        "writer": state.writer,
        "run": state.run,
        "decided_at": iso(state.decided_at) if state.decided_at else "",
        "incident": state.incident.id if state.incident else "",
        **split(type_adapter(Key).dump_json(state.key)),
        **split(b"".join(map(_flood_bytes, state.floods)), "floods"),
    }
    return Insert(row, values) if state.version is None else Replace(row, values, state.version)


def state_of(head: Entity, key: Key) -> KeyState:
    """The state of a key as its head has it: without marks and incident. Raises DamagedRow."""
    return parse_row(head, lambda head: _parse_head(head, key))


def _parse_head(head: Entity, key: Key) -> KeyState:
    decided_at = str(head.values.get("decided_at", ""))
    # An earlier version let a clock be days ahead: without an end, each run would read up to that time.
    latest_decision = head.written + MAX_CLOCK_LEAD if head.written else _END_OF_TIME
    return KeyState(
        key,
        commits=int(head.values["commits"]),
        writer=str(head.values["writer"]),
        run=int(head.values["run"]),
        decided_at=min(parse_time(decided_at), latest_decision) if decided_at else None,
        floods=tuple(map(_flood_of, _FLOOD.iter_unpack(joined(head.values, "floods")))),
        version=head.version,
    )


def newest_incident(head: Entity) -> str:
    """The id of a key's newest incident as its head has it; "": none. Raises DamagedRow."""
    return parse_row(head, lambda head: str(head.values["incident"]))


def _flood_bytes(flood: Flood) -> bytes:
    return _FLOOD.pack(flood.subject, *((time - _EPOCH) // _MICROSECOND for time in (flood.begin, flood.end)))


def _flood_of(fields: tuple[bytes, int, int]) -> Flood:
    subject, begin, end = fields
    return Flood(subject, _EPOCH + begin * _MICROSECOND, _EPOCH + end * _MICROSECOND)


def commit_operations(verdict: Verdict, state: KeyState) -> Iterator[Operation]:
    """Writes a verdict: the head, the incident, the alert, the marks."""
    digest, commit = key_digest(state.key), f"{state.commits:010}"
    yield head_operation(state)
    if state.incident and (verdict.alert or verdict.silenced):
        yield from incident_operations(state.key, state.incident, state.stored_incident)
    if state.incident and verdict.alert:
        alert_row = f"a|{state.incident.id}|{commit}"
        yield Insert(alert_row, split(type_adapter(Alert).dump_json(verdict.alert)))
        yield commit_pointer(day_of(state.incident.updated), digest, state.commits, state.incident.id)
    elif state.decided_at:
        yield commit_pointer(day_of(state.decided_at), digest, state.commits)
    days: dict[str, dict[str, bytearray]] = {}
    for side, events in (("changes", verdict.change_marks), ("signals", verdict.signal_marks)):
        for date_, marks in marks_by_day(events):
            sides = days.setdefault(date_.isoformat(), {"changes": bytearray(), "signals": bytearray()})
            sides[side] += b"".join(marks)
    for day, sides in days.items():
        rows = list(_rows_of_day(sides))
        for part, values in enumerate(rows):
            yield Insert(_mark_row(digest, day, commit, part), values)
        yield Put(f"p|{day}|{digest}|{commit}", {"parts": len(rows)})


def _rows_of_day(sides: Mapping[str, bytearray]) -> Iterator[dict[str, Value]]:
    """The marks of a day as the properties of rows: of both sides in one row, where they fit into a row."""
    if sum(map(len, sides.values())) <= ROW_SIZE:
        yield {name: value for side, marks in sides.items() for name, value in split(marks, side).items()}
        return
    for side, marks in sides.items():
        for part in chunks(marks, ROW_SIZE):
            yield split(bytes(part), side)


def commit_pointer(day: str, digest: str, commit: int, incident: str = "") -> Operation:
    """The row by which retention finds a commit. `incident` is that of its alert; without an alert ""."""
    return Put(f"e|{day}|{digest}|{commit:010}|{incident}", {})


def commit_of(pointer: Entity) -> tuple[str, str, str]:
    """The digest of the key, the commit, and the incident of its alert ("": no alert) of a row `e|…`.

    Raises DamagedRow.
    """

    def parse(pointer: Entity) -> tuple[str, str, str]:
        _, _, digest, commit, incident = pointer.row.split("|")
        return digest, commit, incident

    return parse_row(pointer, parse)


def rows_of_marks(pointer: Entity) -> list[str]:
    """The names of the rows of marks that a row `p|…` points to. Raises DamagedRow."""

    def parse(pointer: Entity) -> list[str]:
        _, day, digest, commit = pointer.row.split("|")
        return [_mark_row(digest, day, commit, part) for part in range(int(pointer.values["parts"]))]

    return parse_row(pointer, parse)


def _mark_row(digest: str, day: str, commit: str, part: int) -> str:
    return f"m|{digest}|{day}|{commit}|{part}"


def marks_of(row: Entity) -> tuple[str, date, list[Mark], list[Mark]]:
    """The digest of the key, the day, and the marks of changes and of signals of a row of marks.

    Raises DamagedRow.
    """

    def parse(row: Entity) -> tuple[str, date, list[Mark], list[Mark]]:
        _, digest, day, *_ = row.row.split("|")
        changes, signals = joined(row.values, "changes"), joined(row.values, "signals")
        if not (changes or signals) or len(changes) % _MARK_BYTES or len(signals) % _MARK_BYTES:
            raise ValueError("not marks")
        return digest, date.fromisoformat(day), _marks(changes), _marks(signals)

    return parse_row(row, parse)


def _marks(content: bytes) -> list[Mark]:
    return [content[at : at + _MARK_BYTES] for at in range(0, len(content), _MARK_BYTES)]


def incident_operations(key: Key, incident: Incident, former: Incident | None) -> Iterator[Operation]:
    """Writes an incident, with its key and in the list. `former` is an incident as the table has it: if it is
    this incident, it may have another place in the list.
    """
    content = split(type_adapter(Incident).dump_json(incident))
    yield Put(incident_row(incident.id), {**content, **split(type_adapter(Key).dump_json(key), "key")})
    short_key = tuple((name, truncate(text)) for name, text in key)
    summary = IncidentSummary(short_key, replace(incident, history=(), extent=None))
    row = summary_row(incident)
    yield Put(row, split(type_adapter(IncidentSummary).dump_json(summary, exclude_defaults=True)))
    if former and former.id == incident.id and (former_row := summary_row(former)) != row:
        yield Delete(former_row)


def incident_of(row: Entity) -> Incident:
    """The incident that a row holds. Raises DamagedRow."""
    return content_of(row, Incident)


def keyed_incident(row: Entity) -> tuple[Key, Incident]:
    """The incident that a row holds, with its key. Raises DamagedRow."""
    key = parse_row(row, lambda row: type_adapter(Key).validate_json(joined(row.values, "key")))
    return key, incident_of(row)


def summary_row(incident: Incident) -> str:
    """The name of an incident's row in the list. It sorts by the first parts; the status at its end is for
    filters and counts.
    """
    rank = severity_rank(incident.severity) if incident.severity else len(SEVERITIES)
    place = f"{section_of(incident.status)}|{rank}|{moment_rank(incident.updated)}"
    return f"l|{place}|{incident.id}|{incident.status}"


def moment_rank(moment: datetime) -> str:
    """The rank of a time (UTC) in the list, the newest first."""
    return f"{(_END_OF_TIME - moment) // _MICROSECOND:016}"


def section_of(status: Status) -> int:
    """The section of the list that has incidents of a status: 0 the open ones, 1 the closed ones."""
    return int(status == "closed")


def severity_rank(severity: Severity) -> int:
    """The rank of a severity in the list, 0 the most severe."""
    return SEVERITIES[::-1].index(severity)


def summary_of(row: Entity) -> IncidentSummary:
    """The summary that a row of the list holds. Raises DamagedRow."""
    return content_of(row, IncidentSummary)
