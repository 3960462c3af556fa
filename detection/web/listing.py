"""The list of incidents: chosen, counted, and a page at a time. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from detection.incidents.grouping import Classification
from detection.incidents.keys import Key
from detection.job import KnownIncident
from detection.rule import SEVERITIES, Severity

PER_PAGE = 50
Chosen = Literal["open", "new", "acknowledged", "closed", "all"]
SEVERITIES_SHOWN = tuple(reversed(SEVERITIES))  # the worst first
STATUSES: tuple[Chosen, ...] = ("open", "new", "acknowledged", "closed", "all")


@dataclass(frozen=True, slots=True)
class Row:
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

    status: Chosen
    severity: Severity | None
    statuses: Mapping[Chosen, int]
    severities: Mapping[Severity, int]
    found: int
    page: int
    pages: int
    first: int
    incidents: Sequence[Row]


def listing(
    known: Sequence[KnownIncident], asked: Mapping[str, str], severities: Mapping[str, Severity]
) -> Listing:
    """The page that is asked for; what is asked wrongly counts as not asked. An incident from before it had a severity
    has that of its rule.
    """
    status: Chosen = next((one for one in STATUSES if one == asked.get("status")), "open")
    severity = next((one for one in SEVERITIES if one == asked.get("severity")), None)
    rows = [_row(one, severities) for one in known]
    of_status = [row for row in rows if _is(row, status)]
    chosen = [row for row in of_status if severity in (None, row.severity)]
    chosen.sort(key=lambda row: row.status == "closed")  # each part keeps its order
    pages = max(1, -(-len(chosen) // PER_PAGE))
    page = min(max(1, _number(asked.get("page", ""))), pages)
    begin = (page - 1) * PER_PAGE
    counted = Counter(row.severity for row in of_status)
    return Listing(
        status=status,
        severity=severity,
        statuses={one: sum(_is(row, one) for row in rows) for one in STATUSES},
        severities={one: counted[one] for one in SEVERITIES_SHOWN},
        found=len(chosen),
        page=page,
        pages=pages,
        first=begin + 1,
        incidents=chosen[begin : begin + PER_PAGE],
    )


def _row(known: KnownIncident, severities: Mapping[str, Severity]) -> Row:
    incident = known.incident
    return Row(
        id=incident.id,
        rule=known.rule,
        key=known.key,
        title=incident.title or ", ".join(value for _, value in known.key),
        severity=incident.severity or severities[known.rule],
        status=incident.status,
        classification=incident.classification,
        opened=incident.opened,
        updated=incident.updated,
        alerts=incident.alerts,
        pairs=incident.pairs,
    )


def _is(row: Row, status: Chosen) -> bool:
    return status in {"all", row.status} or (status == "open" and row.status != "closed")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 1
