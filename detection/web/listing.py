"""The list of incidents: filters, counts and pages."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from detection.desk import ActiveSilence, IncidentDetail
from detection.incidents.incident import Classification
from detection.incidents.keys import Key
from detection.rules.model import SEVERITIES, Rule, Severity
from detection.store.gaps import Gap

PER_PAGE = 50
StatusFilter = Literal["open", "new", "acknowledged", "closed", "all"]
SEVERITIES_SHOWN = tuple(reversed(SEVERITIES))  # the most severe first
STATUSES: tuple[StatusFilter, ...] = ("open", "new", "acknowledged", "closed", "all")


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident in the list. Its title is that of its newest alert; times are UTC."""

    id: str
    rule: str
    key: Key
    title: str
    severity: Severity
    status: Literal["new", "acknowledged", "closed"]
    classification: Classification | None
    opened: datetime
    updated: datetime
    alerts: int
    pairs: int


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """A silence or exclusion that has not ended. `criteria` are patterns; times are UTC."""

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
class Listing:
    """A page of the filtered incidents: open ones before closed ones, and the newest first.

    `status_counts` counts all incidents, `severity_counts` those of the chosen status. `total` is the number
    of filtered incidents on all pages; `first_number` is the number of the first incident on this page, from
    1. `silences` are those in force or scheduled, exclusions too.
    `gaps` are those that are not read.
    """

    status: StatusFilter
    severity: Severity | None
    status_counts: Mapping[StatusFilter, int]
    severity_counts: Mapping[Severity, int]
    total: int
    page: int
    pages: int
    first_number: int
    incidents: Sequence[IncidentRow]
    silences: Sequence[SilenceRow]
    gaps: Sequence[GapRow]


def listing(
    details: Sequence[IncidentDetail],
    query: Mapping[str, str],
    severities: Mapping[str, Severity],
    actives: Sequence[ActiveSilence],
    open_gaps: Sequence[tuple[Rule, Gap]],
    now: datetime,
) -> Listing:
    """The page that a query selects, with silences and open gaps. Ignores fields that are not valid.

    `severities` are those of the rules, for an incident that has none of its own.
    """
    status: StatusFilter = next((choice for choice in STATUSES if choice == query.get("status")), "open")
    severity = next((level for level in SEVERITIES if level == query.get("severity")), None)
    rows = [
        IncidentRow(
            id=detail.incident.id,
            rule=detail.rule,
            key=detail.key,
            title=detail.incident.title or ", ".join(value for _, value in detail.key),
            severity=detail.incident.severity or severities[detail.rule],
            status=detail.incident.status,
            classification=detail.incident.classification,
            opened=detail.incident.opened,
            updated=detail.incident.updated,
            alerts=detail.incident.alerts,
            pairs=detail.incident.pairs,
        )
        for detail in details
    ]
    rows_of_status = [row for row in rows if _has_status(row, status)]
    chosen = [row for row in rows_of_status if severity in (None, row.severity)]
    chosen.sort(key=lambda row: row.status == "closed")  # a stable sort: the newest stay first
    pages = max(1, -(-len(chosen) // PER_PAGE))
    number = query.get("page", "")
    page = min(max(1, int(number)), pages) if re.fullmatch(r"[0-9]{1,6}", number) else 1
    begin = (page - 1) * PER_PAGE
    counts = Counter(row.severity for row in rows_of_status)
    return Listing(
        status=status,
        severity=severity,
        status_counts={choice: sum(_has_status(row, choice) for row in rows) for choice in STATUSES},
        severity_counts={level: counts[level] for level in SEVERITIES_SHOWN},
        total=len(chosen),
        page=page,
        pages=pages,
        first_number=begin + 1,
        incidents=chosen[begin : begin + PER_PAGE],
        silences=[
            SilenceRow(
                rule=active.rule,
                kind=active.kind,
                name=active.silence.name,
                state=active.silence.state(now),
                period=active.silence.period,
                criteria=active.silence.criteria,
                owner=active.silence.owner,
                reason=active.silence.reason,
                begins=active.silence.begins,
                expires=active.silence.expires,
            )
            for active in actives
        ],
        gaps=[
            GapRow(rule.folder, gap.id, gap.after, gap.until, gap.read_until, gap.command)
            for rule, gap in open_gaps
        ],
    )


def _has_status(row: IncidentRow, status: StatusFilter) -> bool:
    return status in {"all", row.status} or (status == "open" and row.status != "closed")
