"""What a rule's incidents turned out to be. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from detection.incidents.grouping import Incident


@dataclass(frozen=True, slots=True)
class Standing:
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


def standing(rule: str, incidents: Sequence[Incident]) -> Standing:
    """How a rule stands by its incidents."""
    closed = Counter(one.classification for one in incidents if one.status == "closed")
    judged = closed["true-positive"] + closed["benign"] + closed["false-positive"]
    return Standing(
        rule=rule,
        incidents=len(incidents),
        open=sum(one.status != "closed" for one in incidents),
        true_positive=closed["true-positive"],
        benign=closed["benign"],
        false_positive=closed["false-positive"],
        undetermined=closed["undetermined"],
        precision=round(closed["true-positive"] / judged, 3) if judged else None,
    )
