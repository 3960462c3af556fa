"""What a rule's incidents turned out to be."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from detection.incidents.grouping import Incident


@dataclass(frozen=True, slots=True)
class RulePrecision:
    """The incidents of a rule, by how they were closed.

    `precision` is the share of true positives among those that were judged; None where none was.
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
    judged = closed["true-positive"] + closed["benign"] + closed["false-positive"]
    return RulePrecision(
        rule=rule,
        incidents=len(incidents),
        open=sum(incident.status != "closed" for incident in incidents),
        true_positive=closed["true-positive"],
        benign=closed["benign"],
        false_positive=closed["false-positive"],
        undetermined=closed["undetermined"],
        precision=round(closed["true-positive"] / judged, 3) if judged else None,
    )
