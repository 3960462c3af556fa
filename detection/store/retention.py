"""Deletes marks that no run can read again, and records, alerts, incidents and silences at the end of their
retention.
"""

from datetime import datetime
from itertools import islice

from detection.base.json_types import type_adapter
from detection.incidents.incident import Incident
from detection.store.layout import day_of, delete_rows, joined, sortable, summary_row, whole_from
from detection.store.silence_list import SilenceList
from detection.store.table import Table

PURGED_PER_RUN = 5_000  # mark rows removed in one run, so that its work stays bounded
EXPIRED_PER_RUN = 1_000


def purge_marks(table: Table, rule: str, before: datetime, limit: int = PURGED_PER_RUN) -> int:
    """Deletes the marks of days that end before `before`, at most `limit` rows; returns how many.

    `before` is the start of the changes window of the *watermark*: an outage must not forget. A day more is
    kept, for a clock that goes back. `IncidentStore.finish` writes beforehand what will be left: no later run
    reads behind it, even if its settings ask for it.
    """
    removed = 0
    for entity in table.scan(rule, "p|", f"p|{day_of(whole_from(before))}"):
        _, day, digest = entity.row.split("|")
        prefix = f"k|{digest}|m|{day}|"
        rows = [marks.row for marks in islice(table.scan(rule, prefix, prefix + "~"), limit - removed)]
        delete_rows(table, rule, rows)
        removed += len(rows)
        if removed >= limit:
            break
        delete_rows(table, rule, [entity.row])
    return removed


def expire(table: Table, rule: str, before: datetime, limit: int = EXPIRED_PER_RUN) -> int:
    """Deletes run records, alerts, incidents and ended silences from before `before`, at most `limit` of
    each; returns how many rows.

    A key's newest incident stays, for its number makes the next incident's id.
    """
    records = table.scan(rule, "r|", f"r|{sortable(before)}")
    rows = [entity.row for entity in islice(records, limit)]
    for pointer in islice(table.scan(rule, "e|", f"e|{day_of(before)}"), limit):
        _, _, digest, commit, number = pointer.row.split("|")
        rows += [pointer.row, f"k|{digest}|a|{commit}"]
        newer = f"k|{digest}|i|{int(number) + 1:06}"
        old = table.get(rule, f"k|{digest}|i|{number}")
        if old and next(table.scan(rule, newer, f"k|{digest}|j"), None):
            incident = type_adapter(Incident).validate_json(joined(old.values))
            rows += [old.row, summary_row(digest, incident)]
    silences = SilenceList(table, rule).silences()
    rows += [f"q|{silence.name}" for silence in silences if silence.expires and silence.expires < before]
    delete_rows(table, rule, list(dict.fromkeys(rows)))
    return len(rows)
