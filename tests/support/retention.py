"""One half of a clean-up at a time."""

from collections.abc import Sequence
from datetime import UTC, datetime

from detection.logs.window import Window
from detection.store.retention import REQUESTS, delete_old_rows
from detection.store.table import Table

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def purge_marks(
    table: Table, rule: str, before: datetime, kept_windows: Sequence[Window] = (), limit: int = REQUESTS
) -> int:
    """Deletes marks as a clean-up does; returns the number of rows of marks that it deleted."""
    marked = rows_of_marks(table, rule)
    delete_old_rows(table, rule, before, LONG_AGO, kept_windows, limit)
    return marked - rows_of_marks(table, rule)


def expire(table: Table, rule: str, before: datetime, kept_windows: Sequence[Window] = ()) -> None:
    """Deletes all rows but marks as a clean-up does."""
    delete_old_rows(table, rule, LONG_AGO, before, kept_windows)


def rows_of_marks(table: Table, rule: str) -> int:
    """The number of rows of marks."""
    return len(list(table.scan(rule, "m|", "m}")))
