"""The logs of a range from Log Analytics, read once for all runs of the range. For the keyboard; not
deployed.

A query does not say when a row arrived, so a row counts as arrived when it was stamped. Log Analytics stamps
a row that arrives more than two days late at its arrival. A row that came less late than that, but after a
run, is visible to that run.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from detection.logs.history.past import ArrivedRow, PastLogs, RunRange
from detection.logs.log_analytics.client import LogAnalytics
from detection.rules.model import Rule

# No run waits for the result, so reading may take longer than in the job. The API takes 200 requests in 30
# seconds.
BUDGET = 3_600
REQUESTS = 2_000


@dataclass(frozen=True, slots=True)
class WorkspaceArchive:
    """One or more workspaces, read as one."""

    workspace: LogAnalytics

    def read(self, rule: Rule, runs: RunRange) -> PastLogs:
        """Everything that the runs of a range read. Raises the errors of Source.read."""
        raw_logs = self.workspace.read_raw(rule, runs.first_windows, runs.end, BUDGET, REQUESTS)
        raw_rows = {"changes": raw_logs.changes, "signals": raw_logs.signals}
        rows_by_side: dict[str, Iterable[ArrivedRow]] = {}
        for name, side in rule.sequence.sides.items():
            stamps = map(itemgetter(side.place_of(side.stamped)), raw_rows[name])
            rows_by_side[name] = map(ArrivedRow, map(datetime.fromisoformat, stamps), raw_rows[name])
        return PastLogs(rule, rows_by_side, raw_logs.health, raw_logs.rejected)
