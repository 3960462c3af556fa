"""The logs of a range from Log Analytics, asked once for all its runs. For the keyboard, not deployed.

A query does not say when a row arrived, so every row counts from its stamp. What arrived more than two days late was
stamped then; what came later than a run, but not so late, is seen by that run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from detection.events import Row
from detection.rule import Rule, Side
from detection.sources.log_analytics import LogAnalytics
from detection.sources.past import Arrival, Past, Range

# Nobody's run waits for it, so it may take longer than a reading of the job. The API takes 200 requests in 30 seconds.
BUDGET = 3_600
REQUESTS = 2_000


@dataclass(frozen=True, slots=True)
class PastWorkspace:
    """One or more workspaces, read as one."""

    workspace: LogAnalytics

    def read(self, rule: Rule, runs: Range) -> Past:
        """All that the runs of a range read. Raises what Source.read raises."""
        whole = self.workspace.rows(rule, runs.first, runs.end, BUDGET, REQUESTS)
        sides = rule.sequence.sides
        arrivals = {
            "changes": _stamped(whole.changes, sides["changes"]),
            "signals": _stamped(whole.signals, sides["signals"]),
        }
        return Past(rule, arrivals, whole.health, whole.rejected)


def _stamped(rows: list[Row], side: Side) -> Iterator[Arrival]:
    return (Arrival(datetime.fromisoformat(row[side.at(side.stamped)]), row) for row in rows)
