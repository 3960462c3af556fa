"""The list of incidents: its query, filters, counts and pages."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar, get_args
from zoneinfo import ZoneInfo

from detection.base.errors import ConfigurationError
from detection.base.timestamps import DATE, iso, parse_moment, parse_time
from detection.desk import Desk, IncidentDetail, RuleSilence
from detection.incidents.incident import Classification, Status
from detection.incidents.keys import Key
from detection.messages.text import escape_name
from detection.rules.model import SEVERITIES, Severity
from detection.store.incident_list import POSITION, Count, Matches, Selection
from detection.store.layout import DamagedRow, IncidentSummary

Choice = TypeVar("Choice", bound=str)
Parsed = TypeVar("Parsed")
PER_PAGE = 50
EXPORTED = 1_000  # incidents of an export
MAX_TEXT = 200  # characters of a filter
REFRESH = (10, 3_600)  # seconds
ExportFormat = Literal["csv", "json"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
CLASSIFICATIONS: tuple[Classification, ...] = get_args(Classification)
# The fields of the filter form.
FILTER_FIELDS = ("q", "actor", "rule", "classification", "since", "until", "tz", "refresh")
FIELDS = ("status", "severity", "after", "format", *FILTER_FIELDS)
StatusFilter = Literal["open", "new", "acknowledged", "closed", "all"]
SEVERITIES_SHOWN = tuple(reversed(SEVERITIES))  # the most severe first
STATUSES: Mapping[StatusFilter, tuple[Status, ...]] = {
    "open": ("new", "acknowledged"),
    "new": ("new",),
    "acknowledged": ("acknowledged",),
    "closed": ("closed",),
    "all": ("new", "acknowledged", "closed"),
}


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident in the list. Title and numbers are those of all its alerts, `updated` is the time of the
    last alert (UTC). `acknowledged_by` acknowledged it last, `assignee` is to work on it,
    `actor` is that of the newest alert. `acts` counts what people did.
    """

    id: str
    rule: str
    key: Key
    title: str
    severity: Severity
    status: Status
    classification: Classification | None
    opened: datetime
    updated: datetime
    alerts: int
    acts: int
    pairs: int
    changes: int
    signals: int
    actor: str
    acknowledged_by: str
    assignee: str


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """A silence or exclusion, in lists one that has not ended. `criteria` are patterns; times are UTC."""

    rule: str
    kind: Literal["silence", "exclusion"]
    name: str
    state: str
    period: str
    criteria: Mapping[str, str]
    owner: str
    reason: str
    begins: datetime | None
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class GapRow:
    """An open gap: signals in (`after`, `until`] of which the job has read those up to `read_until`."""

    rule: str
    id: str
    after: datetime
    until: datetime
    read_until: datetime | None
    command: str


@dataclass(frozen=True, slots=True)
class RuleFaultRow:
    """A rule that cannot run. `text` says why; its incidents are in the list, without their evidence."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class RowFault:
    """A row of the incident table that cannot be read. `text` says why, and the remedy."""

    rule: str
    row: str
    text: str


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters of the list; null: any. `search` is words that an incident contains, `actor` a part of a name,
    both in lower or upper case. The latest alert is in [`since`, `until`), UTC.
    """

    search: str | None = None
    actor: str | None = None
    rule: str | None = None
    classification: Classification | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def matches(self) -> Matches | None:
        """The filters that a row's name cannot answer; None without such a filter."""
        if not (self.search or self.actor or self.classification):
            return None

        def matches(rule: str, summary: IncidentSummary) -> bool:
            incident, names = summary.incident, [text for _, text in summary.key]
            people = [incident.actor, *names]
            texts = [incident.id, incident.title, rule, *people, *incident.addresses]
            texts += [incident.acknowledged_by, incident.assignee]
            text = "\n".join(texts).casefold()
            return (
                self.classification in (None, incident.classification)
                and (self.actor or "").casefold() in "\n".join(people).casefold()
                and all(word in text for word in (self.search or "").casefold().split())
            )

        return matches


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The query of the list. `texts` are its valid fields as typed, without the key; `problems` says why the
    other fields are ignored.

    `zone` is the time zone that people read times in next to UTC; None: UTC alone. `refresh` is the number of
    seconds after which a browser loads the page again; 0: never.
    """

    status: StatusFilter
    severity: Severity | None
    filters: Filters
    after: str
    zone: ZoneInfo | None
    refresh: int
    export: ExportFormat | None
    texts: Mapping[str, str]
    problems: Mapping[str, str]

    @property
    def selection(self) -> Selection:
        """The incidents of the list that it selects, in every rule."""
        filters = self.filters
        return Selection(STATUSES[self.status], self.severity, filters.since, filters.until, filters.matches)


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the filtered incidents: open ones first, then the most severe, then those with the latest
    alert.

    `status_counts` counts the incidents of the rule and the dates, `severity_counts` those of the chosen
    status; with a filter that reads incidents (`search`, `actor`, `classification`) nothing is counted.
    `after` is the position that the page follows, `next` that of its end; it is null if no more incidents
    follow.
    `silences` are those in force or scheduled, exclusions too. `gaps` are those that are not read.
    `rule_faults` are the rules that cannot run, and `row_faults` the damaged rows that the page leaves out.
    """

    status: StatusFilter
    severity: Severity | None
    filters: Filters
    status_counts: Mapping[StatusFilter, Count]
    severity_counts: Mapping[Severity, Count]
    after: str | None
    next: str | None
    incidents: Sequence[IncidentRow]
    silences: Sequence[SilenceRow]
    gaps: Sequence[GapRow]
    rule_faults: Sequence[RuleFaultRow]
    row_faults: Sequence[RowFault]


def list_query(fields: Mapping[str, str], desk: Desk, now: datetime) -> ListQuery:
    """The query of the list that the fields of an address mean. Empty fields are left out."""
    texts = {
        name: text.strip() if name in FILTER_FIELDS else text
        for name, text in fields.items()
        if text.strip() and name != "code"
    }
    problems = {
        name: f"is not known; the fields are {', '.join(FIELDS)}" for name in texts if name not in FIELDS
    }

    def parsed(name: str, parse: Callable[[str], Parsed], requirement: str) -> Parsed | None:
        if name not in texts:
            return None
        try:
            return parse(texts[name])
        except (ConfigurationError, ValueError, LookupError, OSError, OverflowError):
            problems[name] = requirement
            return None

    def choice(name: str, choices: Sequence[Choice]) -> Choice | None:
        requirement = f"must be one of {', '.join(choices)}"
        return parsed(name, lambda text: choices[choices.index(text)], requirement)

    text_limit = f"must have at most {MAX_TEXT} characters"
    refresh_limit = f"must be a number of seconds from {REFRESH[0]} to {REFRESH[1]:,}"
    time_form = "must be a date, an ISO 8601 time with a zone, or now-7d"
    zone = parsed("tz", _zone, "must be a name of the time zone database, such as Europe/Berlin")
    classification = choice("classification", CLASSIFICATIONS)
    filters = Filters(
        search=parsed("q", _short_text, text_limit),
        actor=parsed("actor", _short_text, text_limit),
        rule=choice("rule", desk.folders),
        classification=classification,
        since=parsed("since", lambda text: _moment(text, zone, now), time_form),
        until=parsed("until", lambda text: _moment(text, zone, now, is_end=True), time_form),
    )
    return ListQuery(
        status=choice("status", tuple(STATUSES)) or ("closed" if classification else "open"),
        severity=choice("severity", SEVERITIES_SHOWN),
        filters=filters,
        after=parsed("after", _position, "must be the `next` of a page") or "",
        zone=zone,
        refresh=parsed("refresh", _refresh, refresh_limit) or 0,
        export=choice("format", EXPORT_FORMATS),
        texts={name: text for name, text in texts.items() if name not in problems},
        problems=problems,
    )


def _short_text(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise ValueError(text)
    return text


def _position(text: str) -> str:
    if not POSITION.fullmatch(text):
        raise ValueError(text)
    return text


def _refresh(text: str) -> int:
    if not (re.fullmatch(r"[0-9]{1,4}", text) and REFRESH[0] <= int(text) <= REFRESH[1]):
        raise ValueError(text)
    return int(text)


def _zone(text: str) -> ZoneInfo:
    # ZoneInfo opens a file of that name, and finds directories too.
    if not re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", text):
        raise ValueError(text)
    return ZoneInfo(text)


def _moment(text: str, zone: ZoneInfo | None, now: datetime, *, is_end: bool = False) -> datetime:
    """The time (UTC) that a text means; a date means its beginning, or its end, in the zone or UTC."""
    if not DATE.fullmatch(text):
        return parse_moment(text, now)
    day = datetime.fromisoformat(text) + timedelta(days=int(is_end))
    return parse_time(day.replace(tzinfo=zone or UTC).isoformat())


def listing(desk: Desk, query: ListQuery, now: datetime, size: int = PER_PAGE) -> Listing:
    """The page that a query selects, with silences and open gaps. Raises ServiceError."""
    filters, status, severity = query.filters, query.status, query.severity
    matches = filters.matches
    damages: list[DamagedRow] = []
    desk = desk.for_list(query.after)
    page = desk.incident_page(
        query.selection, size, query.after, filters.rule, damages.append, is_counted=bool(query.texts)
    )

    def count(statuses: Sequence[Status], level: Severity | None = None) -> Count:
        if matches:
            return Count(0, exact=False)
        return page.head.count(Selection(statuses, level, filters.since, filters.until))

    return Listing(
        status=status,
        severity=severity,
        filters=filters,
        status_counts={choice: count(statuses) for choice, statuses in STATUSES.items()},
        severity_counts={level: count(STATUSES[status], level) for level in SEVERITIES_SHOWN},
        after=query.after or None,
        next=page.end,
        incidents=[incident_row(detail, desk) for detail in page.incidents],
        silences=[silence_row(active, now) for active in desk.active_silences(damages.append)],
        gaps=[
            GapRow(folder, gap.id, gap.after, gap.until, gap.read_until, gap.command)
            for folder, gap in desk.open_gaps(damages.append)
        ],
        rule_faults=[RuleFaultRow(fault.folder, fault.text) for fault in desk.rule_faults],
        row_faults=row_faults(damages),
    )


def row_faults(damages: Sequence[DamagedRow]) -> list[RowFault]:
    """Damaged rows as lists show them."""
    return [RowFault(error.rule, error.row, str(error)) for error in damages]


def silence_row(rule_silence: RuleSilence, now: datetime) -> SilenceRow:
    """A silence or exclusion of a rule as lists show it."""
    silence = rule_silence.silence
    return SilenceRow(
        rule=rule_silence.rule,
        kind=rule_silence.kind,
        name=silence.name,
        state=silence.state(now),
        period=silence.period,
        criteria=silence.criteria,
        owner=silence.owner,
        reason=silence.reason,
        begins=silence.begins,
        expires=silence.expires,
    )


def incident_row(detail: IncidentDetail, desk: Desk) -> IncidentRow:
    """An incident as lists show it."""
    incident = detail.incident
    return IncidentRow(
        id=incident.id,
        rule=detail.rule,
        key=detail.key,
        title=incident.title or ", ".join(escape_name(value) for _, value in detail.key),
        severity=incident.severity or desk.rule_or_placeholder(detail.rule).severity,
        status=incident.status,
        classification=incident.classification,
        opened=incident.opened,
        updated=incident.updated,
        alerts=incident.alerts,
        acts=incident.acts,
        pairs=incident.pairs,
        changes=incident.changes,
        signals=incident.signals,
        actor=incident.actor,
        acknowledged_by=incident.acknowledged_by,
        assignee=incident.assignee,
    )


def export_rows(page: Listing) -> list[dict[str, object]]:
    """The incidents of a page as rows of EXPORT_COLUMNS; times are ISO 8601 in UTC."""
    return [
        {
            name: iso(value) if isinstance(value, datetime) else value
            for name, value in asdict(incident).items()
        }
        | {"key": ", ".join(text for _, text in incident.key)}
        for incident in page.incidents
    ]


EXPORT_COLUMNS = [field.name for field in fields(IncidentRow)]
