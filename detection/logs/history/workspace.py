"""The logs of a range from Log Analytics, asked once for all its runs. For the keyboard, not deployed.

A query does not say when a row arrived, so every row counts from its stamp. What arrived more than two days late was
stamped then; what came later than a run, but not so late, is seen by that run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from detection.logs.events import Row
from detection.logs.history.past import ArrivedRow, PastLogs, RunRange
from detection.logs.log_analytics.client import LogAnalytics
from detection.rules.model import Rule, Side

# Nobody's run waits for it, so it may take longer than a reading of the job. The API takes 200 requests in 30 seconds.
BUDGET = 3_600
REQUESTS = 2_000


@dataclass(frozen=True, slots=True)
class WorkspaceArchive:
    """One or more workspaces, read as one."""

    workspace: LogAnalytics

    def read(self, rule: Rule, runs: RunRange) -> PastLogs:
        """All that the runs of a range read. Raises what Source.read raises."""
        raw_logs = self.workspace.read_raw(rule, runs.first_windows, runs.end, BUDGET, REQUESTS)
        sides = rule.sequence.sides
        rows_by_side = {
            "changes": _arrived_rows(raw_logs.changes, sides["changes"]),
            "signals": _arrived_rows(raw_logs.signals, sides["signals"]),
        }
        return PastLogs(rule, rows_by_side, raw_logs.health, raw_logs.rejected)


def _arrived_rows(rows: list[Row], side: Side) -> Iterator[ArrivedRow]:
    return (ArrivedRow(datetime.fromisoformat(row[side.place_of(side.stamped)]), row) for row in rows)
