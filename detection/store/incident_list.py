"""The incidents and alerts of rules, for people and pages: nothing here decides what a run alerts.

The list has a row for each incident, in the order in which people read them: open ones first, then the most
severe, then those with the latest alert. The name of a row has its place in that order, its severity and its
status, so a page is a range of rows, and counts need only names (layout.py).
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import chain, islice, takewhile
from typing import NamedTuple, Protocol

from detection.incidents.alert import Alert
from detection.incidents.incident import Incident, Status
from detection.incidents.keys import Key
from detection.rules.model import SEVERITIES, Severity
from detection.store.layout import (
    DamagedRow,
    IncidentSummary,
    OnDamage,
    commit_of,
    content_of,
    day_of,
    gap_row,
    head_row,
    incident_of,
    incident_row,
    keyed_incident,
    moment_rank,
    newest_incident,
    raise_damage,
    readable,
    section_of,
    severity_rank,
    summary_of,
)
from detection.store.read_ahead import ReadAhead
from detection.store.table import PAGE, Entity, Table

LATEST = 20  # incidents of a key that are searched for a successor
MAX_COUNTED = PAGE  # incidents of a count: the names of a request
ROWS_AHEAD = 250  # gaps, silences and incidents in the first request of a page
HEAD_ROWS = 200  # of the list that its first page reads in any case, for counts
MAX_FILTERED = 1_000  # rows that a page looks through for incidents that form no range of the list
FILTERED_ROWS = 250  # of a request for such incidents
POSITION = re.compile(r"[01]\|[0-9]\|[0-9]{16}\|[A-Za-z0-9_-]{1,64}\|[a-z]{1,16}")
_LIST = "l|"
_WHOLE_LIST = ("l|0|", "l|1}")


class Matches(Protocol):
    """Whether an incident of a rule is selected, by its summary."""

    def __call__(self, rule: str, summary: IncidentSummary) -> bool: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """The incidents of the list that have one of the statuses, the severity (None: any severity) and their
    latest alert in [since, until), UTC. With `matches`, only those whose summaries match.
    """

    statuses: Collection[Status]
    severity: Severity | None = None
    since: datetime | None = None
    until: datetime | None = None
    matches: Matches | None = None

    @property
    def ranges(self) -> Sequence[tuple[str, str]]:
        """The first row and the end of each range of the list with such incidents, in the list's order."""
        sections = sorted(set(map(section_of, self.statuses)))
        if self.severity is None and not (self.since or self.until):
            return [(f"l|{sections[0]}|", f"l|{sections[-1]}}}")]
        ranks = [severity_rank(self.severity)] if self.severity else range(len(SEVERITIES) + 1)
        newest, oldest = self._moments
        return [
            (f"l|{section}|{rank}|{newest}", f"l|{section}|{rank}|{oldest}}}")
            for section in sections
            for rank in ranks
        ]

    @property
    def end(self) -> str:
        """The end of the last range."""
        return self.ranges[-1][1]

    @property
    def has_whole_sections(self) -> bool:
        """Whether every incident in the ranges is selected."""
        return self.matches is None and ("new" in self.statuses) == ("acknowledged" in self.statuses)

    @property
    def _moments(self) -> tuple[str, str]:
        """Where the times of the latest alert begin and end in row names: the newest are first."""
        newest = f"{moment_rank(self.until)}}}" if self.until else ""
        return newest, moment_rank(self.since) if self.since else "9" * 16

    def includes(self, row: str) -> bool:
        """Whether the incident of a row of the list may be selected, by the row's name."""
        _, _, rank, moment, _, status = row.split("|")
        newest, oldest = self._moments
        return (
            status in self.statuses
            and (self.severity is None or rank == str(severity_rank(self.severity)))
            and newest <= moment <= oldest
        )


@dataclass(frozen=True, slots=True)
class Count:
    """A number of incidents; if it is not exact, there may be more."""

    number: int
    exact: bool


@dataclass(frozen=True, slots=True)
class ListHead:
    """The names of the first rows of the list. `whole`: the list has no other rows."""

    rows: Sequence[str]
    whole: bool

    def count(self, selection: Selection) -> Count:
        """The number of selected incidents: exact if the rows go beyond the last of them."""
        exact = self.whole or max(self.rows, default="") >= selection.end
        return Count(sum(map(selection.includes, self.rows)), exact)


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of the list: summaries with their rules. `end` is its position if more may follow."""

    summaries: Sequence[tuple[str, IncidentSummary]]
    end: str | None
    head: ListHead


class _Row(NamedTuple):
    """A row of the list, with its rule."""

    name: str
    rule: str
    entity: Entity


def page_table(table: Table, position: str = "") -> Table:
    """The table for reading the page after a position: gaps and silences, and the first rows of the list if
    there is no position, come in one request of each rule.
    """
    return ReadAhead(table, gap_row(""), _LIST if position else _WHOLE_LIST[1], ROWS_AHEAD)


def read_page(
    table: Table,
    rules: Sequence[str],
    selection: Selection,
    size: int,
    position: str = "",
    on_damage: OnDamage = raise_damage,
    *,
    is_counted: bool = True,
) -> ListPage:
    """The next `size` selected incidents after a position of the list of several rules.

    A position (POSITION) is the `end` of a page; its row may be gone. A page looks through MAX_FILTERED rows
    at most, so it may have fewer incidents, or none, and still an end. `on_damage` receives the error of each
    row that it leaves out because it is damaged. Unless it `is_counted`, the head of the first page has the
    rows that the page read, and no more. Raises ServiceError.
    """
    # The list is read beyond the selection from its beginning on: a short list is then whole, and counted.
    is_beginning = not position and selection.ranges[0][0] == _WHOLE_LIST[0]
    ranges = [_WHOLE_LIST] if is_beginning else selection.ranges
    ahead = max(size, HEAD_ROWS) if is_beginning else size
    page = min(ahead + 1, PAGE) if selection.has_whole_sections else FILTERED_ROWS
    rows = chain.from_iterable(
        _rows(table, rules, start, end, position, page, on_damage) for start, end in ranges
    )
    first_rows = list(islice(rows, ahead + 1))
    is_whole = is_beginning and len(first_rows) <= ahead
    if is_whole or (is_beginning and not is_counted):
        head = ListHead([row.name for row in first_rows], is_whole)
    else:
        head = _head(table, rules)

    summaries: list[tuple[str, IncidentSummary]] = []
    selectable = takewhile(lambda row: row.name < selection.end, chain(first_rows, rows))
    for number, row in enumerate(selectable):
        entities = [row.entity] if selection.includes(row.name) else []
        selected = [
            (row.rule, summary)
            for summary in readable(entities, summary_of, on_damage)
            if selection.matches is None or selection.matches(row.rule, summary)
        ]
        if number == MAX_FILTERED or (selected and len(summaries) == size):
            return ListPage(summaries, position, head)
        summaries += selected
        position = row.name.removeprefix(_LIST)
    return ListPage(summaries, None, head)


def _rows(
    table: Table, rules: Sequence[str], start: str, end: str, position: str, page: int, on_damage: OnDamage
) -> Iterator[_Row]:
    """The rows in a range after a position, of all rules in the order of the list."""
    begin = max(start, f"{_LIST}{position}!") if position else start

    def rows_of(rule: str) -> Iterator[_Row]:
        for entity in table.scan(rule, begin, end, page):
            if _is_place(entity.row):
                yield _Row(entity.row, rule, entity)
            else:
                on_damage(DamagedRow(entity, ValueError()))

    return merge(*map(rows_of, rules), key=lambda row: row.name) if begin < end else iter(())


def _is_place(row: str) -> bool:
    """Whether a row of the list is named as this job names them."""
    return bool(POSITION.fullmatch(row.removeprefix(_LIST)))


def _head(table: Table, rules: Sequence[str]) -> ListHead:
    names = merge(*(table.names(rule, *_WHOLE_LIST, MAX_COUNTED) for rule in rules))
    rows = list(islice(names, MAX_COUNTED))
    return ListHead(list(filter(_is_place, rows)), whole=len(rows) < MAX_COUNTED)


@dataclass(frozen=True, slots=True)
class IncidentList:
    """Reads what runs of a rule committed. Every call may raise ServiceError."""

    table: Table
    rule: str

    def incidents(self, on_damage: OnDamage = raise_damage) -> Iterator[tuple[Key, Incident]]:
        """Every incident with its key, in the order of ids."""
        return readable(self._rows("i"), keyed_incident, on_damage)

    def incident(
        self, name: str, on_damage: OnDamage = raise_damage
    ) -> tuple[Key, Incident, list[Alert]] | None:
        """An incident by its id, with its key and its alerts in the order of commits; None without such an
        incident.
        """
        entity = self.table.get(self.rule, incident_row(name))
        if entity is None:
            return None
        alerts = self.table.scan(self.rule, f"a|{name}|", f"a|{name}}}")
        return (*keyed_incident(entity), list(readable(alerts, _alert, on_damage)))

    def without_alerts(self, name: str) -> Incident | None:
        """An incident by its id; None without such an incident."""
        entity = self.table.get(self.rule, incident_row(name))
        return incident_of(entity) if entity else None

    def successor(self, key: Key, name: str) -> Incident | None:
        """The incident of a key that follows the incident of that id; None if it is the newest, or more than
        LATEST incidents followed.
        """
        head = self.table.get(self.rule, head_row(key))
        newer = self.without_alerts(newest_incident(head)) if head else None
        for _ in range(LATEST):
            if newer is None or newer.id == name:
                return None
            if newer.predecessor == name:
                return newer
            newer = self.without_alerts(newer.predecessor) if newer.predecessor else None
        return None

    def ids(self, prefix: str) -> Iterator[str]:
        """The ids of incidents that begin with a prefix, in their order."""
        names = self.table.names(self.rule, incident_row(prefix), incident_row(f"{prefix}}}"))
        return (name.removeprefix(incident_row("")) for name in names)

    def alerts(self) -> Iterator[Alert]:
        """Every alert, incident by incident in the order of commits."""
        return map(_alert, self._rows("a"))

    def alerts_since(self, moment: datetime, on_damage: OnDamage = raise_damage) -> Iterator[Alert]:
        """The alerts from a moment (UTC) on, day by day; their days are in rows of their own."""
        pointers = self.table.scan(self.rule, f"e|{day_of(moment)}", "e}")
        rows = (
            row
            for _, commit, incident in readable(pointers, commit_of, on_damage)
            if incident and (row := self.table.get(self.rule, f"a|{incident}|{commit}"))
        )
        return (alert for alert in readable(rows, _alert, on_damage) if alert.time >= moment)

    def _rows(self, kind: str) -> Iterator[Entity]:
        return self.table.scan(self.rule, f"{kind}|", f"{kind}}}")


def _alert(entity: Entity) -> Alert:
    return content_of(entity, Alert)
