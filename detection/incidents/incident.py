"""Incidents: what they hold, which one an alert joins, and what people do with them.

The rules are Sentinel's documented ones (azure-docs, sentinel/scheduled-rules-overview.md): alerts join the
key's incident up to `lookbackDuration` after its *first* alert, at most 150 of them; no alert joins an
incident that was closed, and the next incident names it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from detection.base.errors import ConfigurationError
from detection.incidents.extent import Extent
from detection.rules.model import Severity

ALERTS_PER_INCIDENT = 150  # Sentinel's limit (scheduled-rules-overview.md, "Alert grouping")
ADDRESSES = 10  # of an incident
HISTORY_LIMIT = 100  # entries of an incident's history

Action = Literal["acknowledged", "assigned", "commented", "silenced", "closed", "reopened"]
Status = Literal["new", "acknowledged", "closed"]
Classification = Literal["true-positive", "benign", "false-positive", "undetermined"]


class ActRefused(ConfigurationError):
    """The state of an incident or a silence does not allow an act. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What a person did with an incident: `author`, `time` (UTC), and a note.

    With `self_declared` the author named themselves; otherwise a sign-in checked the name. Closing sets
    `classification`; closing again and reopening replace `former_classification`. Assigning sets `assignee`.
    `request` is the id of the request that the entry comes from.
    """

    action: Action
    author: str
    time: datetime
    note: str = ""
    self_declared: bool = True
    classification: Classification | None = None
    former_classification: Classification | None = None
    request: str = ""
    assignee: str = ""

    @property
    def action_text(self) -> str:
        """The action with what it changed, in words."""
        text = f"{self.action} as {self.classification}" if self.classification else self.action
        text += f" to {self.assignee}" if self.assignee else ""
        is_replaced = self.former_classification not in (None, self.classification)
        return f"{text}, before: {self.former_classification}" if is_replaced else text


@dataclass(frozen=True, slots=True)
class Incident:
    """Alerts of one key that belong together; `number` counts the key's incidents in the table.

    Times are UTC. A closed incident has a classification. `history` is what people did with it, in order: the
    last HISTORY_LIMIT acts, before which the oldest comments go. `acts` counts all that they did. `silenced`
    pairs of its key paged nobody while it was the newest. `title` and the numbers of `changes` and `signals`
    are those of all its alerts, whose events are its `extent`; `severity` is that of the worst. `reopened`
    says that it was closed once. `acknowledged_by` acknowledged it last, `assignee` is to work on it; an
    empty text is no person. `actor` is that of the newest alert, `addresses` are the newest of its alerts'
    addresses. `digests` are the ids of the digests that name its alerts.
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
    acts: int = 0
    reopened: bool = False
    changes: int = 0
    signals: int = 0
    acknowledged_by: str = ""
    assignee: str = ""
    actor: str = ""
    addresses: tuple[str, ...] = ()
    extent: Extent | None = None
    digests: tuple[str, ...] = ()

    @property
    def takes_alerts(self) -> bool:
        """Whether alerts may join it: it was never closed."""
        return self.status != "closed" and not self.reopened

    def with_act(self, act: HistoryEntry) -> "Incident":
        """The incident after an act, which becomes the last entry of its history.

        Closing again replaces the classification. A reopened incident is an acknowledged one without a
        classification. Raises ActRefused for acknowledging a closed incident, and for reopening one that is
        not closed.
        """
        incident, former_classification = self, None
        match act.action:
            case "acknowledged":
                if self.status == "closed":
                    raise ActRefused(f"{self.id} is closed: reopen it before you acknowledge it")
                incident = replace(self, status="acknowledged", acknowledged_by=act.author)
            case "assigned":
                incident = replace(self, assignee=act.assignee)
            case "closed":
                former_classification = self.classification
                incident = replace(self, status="closed", classification=act.classification)
            case "reopened":
                if self.status != "closed":
                    raise ActRefused(f"{self.id} is not closed: only a closed incident can be reopened")
                former_classification = self.classification
                incident = replace(self, status="acknowledged", classification=None, reopened=True)
            case "commented" | "silenced":
                pass
        entry = replace(act, former_classification=former_classification)
        return replace(incident, history=(*self._history_with_room(), entry), acts=self.acts + 1)

    def _history_with_room(self) -> tuple[HistoryEntry, ...]:
        """The history with room for an entry. A full history loses its oldest comment, else its first act."""
        if len(self.history) < HISTORY_LIMIT:
            return self.history
        comments = (number for number, entry in enumerate(self.history) if entry.action == "commented")
        dropped = next(comments, 0)
        return self.history[:dropped] + self.history[dropped + 1 :]


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
