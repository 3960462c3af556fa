"""Checks before the first run that a rule and the settings fit together.

A commit writes the marks of a key's new events, a row for each day, in the transaction of the alert. After
the longest catch-up the events may lie on every day of the windows. If their rows did not fit into a
transaction, every run after an outage would fail.
"""

from datetime import UTC, datetime, timedelta

from pydantic_core import to_jsonable_python

from detection.base.errors import ConfigurationError
from detection.logs.window import MAX_CATCH_UP, plan_windows
from detection.rules.model import Rule
from detection.settings import DESTINATIONS
from detection.store.table import OPERATIONS

DAY = timedelta(days=1)
# Rows of a commit besides marks: the head, the incident, its old and its new row in the list, the alert, and
# the alert's row for retention.
ALERT_ROWS = 6
# The marks of a part, 250,000 of 8 bytes, take at most three rows more than their days: a day whose marks do
# not fit into a row of 768,000 bytes has rows of its own for changes and for signals.
SPLIT_ROWS = 3
MARK_ROWS = OPERATIONS - ALERT_ROWS - SPLIT_ROWS - DESTINATIONS
# The lengths of the widest windows do not depend on the moments.
_NOW, _LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC), datetime(1900, 1, 1, tzinfo=UTC)


def require_commits_fit(
    rule: Rule, lateness: timedelta | None, max_catch_up: timedelta = MAX_CATCH_UP
) -> None:
    """Raises ConfigurationError if a commit after the longest catch-up may not fit into one transaction.

    The error names `within` and the settings that make the windows too long together.
    """
    widest = plan_windows(_NOW, _LONG_AGO, rule, lateness, max_catch_up)
    # Each day with marks has a row of them, and a row for their deletion. Signals follow their changes.
    most_days = -((widest.changes.after - _NOW) // DAY) + 1  # on which the events of such a window may lie
    rows = 2 * most_days
    if rows > MARK_ROWS:
        allowed = rule.allowed_lateness(lateness)
        raise ConfigurationError(
            f"{rule.folder}: `within` ({_iso(rule.sequence.within)}), MAX_CATCH_UP ({_iso(max_catch_up)}) "
            f"and ALLOWED_LATENESS ({_iso(allowed)}, at least queryPeriod less queryFrequency) are too long "
            f"together: a commit after an outage may have {rows} rows of marks, and {MARK_ROWS} fit into a "
            "transaction; shorten `within` in rule.yaml, MAX_CATCH_UP or ALLOWED_LATENESS"
        )


def _iso(duration: timedelta) -> str:
    return str(to_jsonable_python(duration))
