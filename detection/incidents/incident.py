"""Incidents: what they hold, which one an alert joins, and what people do with them.

The rules are Sentinel's documented ones (azure-docs, sentinel/scheduled-rules-overview.md): alerts join the
key's incident up to `lookbackDuration` after its *first* alert, at most 150 of them; a closed incident is
never reopened, and the next incident names it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from detection.rules.model import Severity

ALERTS_PER_INCIDENT = 150  # Sentinel's limit (scheduled-rules-overview.md, "Alert grouping")
HISTORY_LIMIT = 100  # entries of an incident's history

Status = Literal["new", "acknowledged", "closed"]
Classification = Literal["true-positive", "benign", "false-positive", "undetermined"]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What a person did with an incident: `author`, `time` (UTC), and a note.

    With `self_declared` the author named themselves; otherwise a sign-in checked the name.
    """

    action: Literal["acknowledged", "silenced", "closed"]
    author: str
    time: datetime
    note: str = ""
    self_declared: bool = True


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts of one key that belong together; `number` counts the key's incidents in the table.

    Times are UTC. A closed incident has a classification and takes no more alerts. `history` is what people
    did with it, in order. `silenced` pairs of its key paged nobody while it was the newest. `title` is that
    of its newest alert, `severity` that of its worst.
    """

    id: str
    number: int
    opened: datetime
    updated: datetime
    alerts: int
    pairs: int
    predecessor: str | None
    status: Status = "new"
    classification: Classification | None = None
    history: tuple[HistoryEntry, ...] = ()
    silenced: int = 0
    title: str = ""
    severity: Severity | None = None


def acknowledged(
    incident: Incident, author: str, time: datetime, note: str = "", *, self_declared: bool = True
) -> Incident:
    """The acknowledged incident; it still takes alerts. A closed incident stays closed."""
    entry = HistoryEntry("acknowledged", author, time, note, self_declared)
    status = incident.status if incident.status == "closed" else "acknowledged"
    return replace(incident, status=status, history=(*incident.history, entry)[-HISTORY_LIMIT:])


def silenced(
    incident: Incident, author: str, time: datetime, note: str = "", *, self_declared: bool = True
) -> Incident:
    """The incident, with the silence of its actor in the history."""
    entry = HistoryEntry("silenced", author, time, note, self_declared)
    return replace(incident, history=(*incident.history, entry)[-HISTORY_LIMIT:])


def closed(
    incident: Incident,
    classification: Classification,
    author: str,
    time: datetime,
    note: str = "",
    *,
    self_declared: bool = True,
) -> Incident:
    """The closed incident; it takes no more alerts."""
    entry = HistoryEntry("closed", author, time, note, self_declared)
    return replace(
        incident,
        status="closed",
        classification=classification,
        history=(*incident.history, entry)[-HISTORY_LIMIT:],
    )


@dataclass(frozen=True, slots=True)
class RulePrecision:
    """The incidents of a rule, by how they were closed.

    `precision` is the share of true positives among the incidents closed as true positive, benign or false
    positive; None without any.
    """

    rule: str
    incidents: int
    open: int
    true_positive: int
    benign: int
    false_positive: int
    undetermined: int
    precision: float | None


def rule_precision(rule: str, incidents: Sequence[Incident]) -> RulePrecision:
    """How a rule stands by its incidents."""
    closed = Counter(incident.classification for incident in incidents if incident.status == "closed")
    decided = closed["true-positive"] + closed["benign"] + closed["false-positive"]
    return RulePrecision(
        rule=rule,
        incidents=len(incidents),
        open=sum(incident.status != "closed" for incident in incidents),
        true_positive=closed["true-positive"],
        benign=closed["benign"],
        false_positive=closed["false-positive"],
        undetermined=closed["undetermined"],
        precision=round(closed["true-positive"] / decided, 3) if decided else None,
    )
