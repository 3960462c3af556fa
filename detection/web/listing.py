"""The list of incidents: filters, counts and pages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from detection.desk import Desk
from detection.incidents.incident import Classification, Status
from detection.incidents.keys import Key
from detection.messages.text import escape_name
from detection.rules.model import SEVERITIES, Severity
from detection.store.incident_list import POSITION, Count, Selection

PER_PAGE = 50
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
    last alert (UTC). `acknowledged_by` acknowledged it last, `assignee` is to work on it.
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
    pairs: int
    changes: int
    signals: int
    acknowledged_by: str
    assignee: str


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
class RuleFaultRow:
    """A rule that cannot run. `text` says why; its incidents are in the list, without their evidence."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the filtered incidents: open ones first, then the most severe, then those with the latest
    alert.

    `status_counts` counts all incidents, `severity_counts` those of the chosen status. `after` is the
    position that the page follows, `next` that of its end; it is null if no more incidents follow.
    `silences` are those in force or scheduled, exclusions too. `gaps` are those that are not read.
    `rule_faults` are the rules that cannot run.
    """

    status: StatusFilter
    severity: Severity | None
    status_counts: Mapping[StatusFilter, Count]
    severity_counts: Mapping[Severity, Count]
    after: str | None
    next: str | None
    incidents: Sequence[IncidentRow]
    silences: Sequence[SilenceRow]
    gaps: Sequence[GapRow]
    rule_faults: Sequence[RuleFaultRow]


def problems_of_query(query: Mapping[str, str]) -> list[str]:
    """What `listing` ignores in a query."""
    checks: Mapping[str, tuple[Callable[[str], object], str]] = {
        "status": (lambda text: text in STATUSES, f"must be one of {', '.join(STATUSES)}"),
        "severity": (lambda text: text in SEVERITIES, f"must be one of {', '.join(SEVERITIES_SHOWN)}"),
        "after": (POSITION.fullmatch, "must be the `next` of a page"),
        "code": (lambda _: True, ""),  # the function's key
    }
    unknown = f"is not known; the fields are {', '.join(checks)}"
    return [
        f"{name} {checks[name][1] if name in checks else unknown}"
        for name, text in query.items()
        if name not in checks or not checks[name][0](text)
    ]


def listing(desk: Desk, query: Mapping[str, str], now: datetime) -> Listing:
    """The page that a query selects, with silences and open gaps. Ignores fields that are not valid.

    Raises ServiceError.
    """
    status: StatusFilter = next((choice for choice in STATUSES if choice == query.get("status")), "open")
    severity = next((level for level in SEVERITIES if level == query.get("severity")), None)
    position = query.get("after", "")
    after = position if POSITION.fullmatch(position) else ""
    page = desk.incident_page(Selection(STATUSES[status], severity), PER_PAGE, after)
    return Listing(
        status=status,
        severity=severity,
        status_counts={choice: page.head.count(Selection(statuses)) for choice, statuses in STATUSES.items()},
        severity_counts={
            level: page.head.count(Selection(STATUSES[status], level)) for level in SEVERITIES_SHOWN
        },
        after=after or None,
        next=page.end,
        incidents=[
            IncidentRow(
                id=detail.incident.id,
                rule=detail.rule,
                key=detail.key,
                title=detail.incident.title or ", ".join(escape_name(value) for _, value in detail.key),
                severity=detail.incident.severity or desk.rule_or_placeholder(detail.rule).severity,
                status=detail.incident.status,
                classification=detail.incident.classification,
                opened=detail.incident.opened,
                updated=detail.incident.updated,
                alerts=detail.incident.alerts,
                pairs=detail.incident.pairs,
                changes=detail.incident.changes,
                signals=detail.incident.signals,
                acknowledged_by=detail.incident.acknowledged_by,
                assignee=detail.incident.assignee,
            )
            for detail in page.incidents
        ],
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
            for active in desk.active_silences()
        ],
        gaps=[
            GapRow(rule.folder, gap.id, gap.after, gap.until, gap.read_until, gap.command)
            for rule, gap in desk.open_gaps()
        ],
        rule_faults=[RuleFaultRow(fault.folder, fault.text) for fault in desk.rule_faults],
    )
