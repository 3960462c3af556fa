"""The list of incidents: chosen, counted, and a page at a time."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from detection.desk import IncidentDetail
from detection.incidents.grouping import Classification
from detection.incidents.keys import Key
from detection.rules.model import SEVERITIES, Severity

PER_PAGE = 50
StatusFilter = Literal["open", "new", "acknowledged", "closed", "all"]
SEVERITIES_SHOWN = tuple(reversed(SEVERITIES))  # the worst first
STATUSES: tuple[StatusFilter, ...] = ("open", "new", "acknowledged", "closed", "all")


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """An incident in the list. It is called what its newest alert is; times are UTC."""

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
class Listing:
    """One page of the chosen incidents, those opened last first, with open ones before closed ones.

    `statuses` counts all incidents, whatever is chosen; `severities` those of the chosen status. `found` are chosen in all,
    `first` is the number of the first that is shown.
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


def listing(
    details: Sequence[IncidentDetail], query: Mapping[str, str], severities: Mapping[str, Severity]
) -> Listing:
    """The page that is asked for; what is asked wrongly counts as not asked. An incident from before it had a severity
    has that of its rule.
    """
    status: StatusFilter = next((choice for choice in STATUSES if choice == query.get("status")), "open")
    severity = next((level for level in SEVERITIES if level == query.get("severity")), None)
    rows = [_row(detail, severities) for detail in details]
    rows_of_status = [row for row in rows if _has_status(row, status)]
    chosen = [row for row in rows_of_status if severity in (None, row.severity)]
    chosen.sort(key=lambda row: row.status == "closed")  # each part keeps its order
    pages = max(1, -(-len(chosen) // PER_PAGE))
    page = min(max(1, _number(query.get("page", ""))), pages)
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
    )


def _row(detail: IncidentDetail, severities: Mapping[str, Severity]) -> IncidentRow:
    incident = detail.incident
    return IncidentRow(
        id=incident.id,
        rule=detail.rule,
        key=detail.key,
        title=incident.title or ", ".join(value for _, value in detail.key),
        severity=incident.severity or severities[detail.rule],
        status=incident.status,
        classification=incident.classification,
        opened=incident.opened,
        updated=incident.updated,
        alerts=incident.alerts,
        pairs=incident.pairs,
    )


def _has_status(row: IncidentRow, status: StatusFilter) -> bool:
    return status in {"all", row.status} or (status == "open" and row.status != "closed")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 1
