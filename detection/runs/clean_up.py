"""Deletes rows after a complete run, once a day. A failure is logged: the run stays complete."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from detection.base.errors import ServiceError
from detection.base.json_types import json_values
from detection.base.log_event import log_event
from detection.base.timestamps import iso
from detection.logs.window import Windows
from detection.messages.text import plural
from detection.store.gaps import GAP_KEPT, Gap, GapList
from detection.store.groupings import forget_groupings
from detection.store.incident_store import IncidentStore
from detection.store.outbox import Outbox
from detection.store.retention import REQUESTS, REQUESTS_PER_COMMIT, delete_old_rows


@dataclass(frozen=True, slots=True)
class CleanUpProblem:
    """The clean-up after a complete run of `rule` failed, and the next day's repeats it; or it deleted
    messages that were never sent.
    """

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class AbandonedGap:
    """A gap of `rule` that nobody read in time. Its pairs will not be alerted."""

    rule: str
    gap: str
    after: datetime
    until: datetime


def clean_up(
    store: IncidentStore, former: Windows, retention: timedelta, commits: int, *, daily: bool
) -> None:
    """Abandons old gaps; deletes marks that no run and no open gap needs, and rows older than `retention`.

    `former` are the windows of the watermark that the run began with. Deletion goes by them: a run that
    overtook another must not take its marks away, and an outage must not forget. The run made `commits`.
    """
    now, marks_before = former.now, former.changes.after
    try:
        kept_windows = [gap.marks for gap in _abandon(store, now)]
        is_done = delete_old_rows(
            store.table,
            store.rule,
            marks_before,
            now - retention,
            kept_windows,
            max(REQUESTS, REQUESTS_PER_COMMIT * commits),
            daily=daily,
        )
        if not is_done:
            store.note_backlog()
        if daily:
            forget_groupings(
                store.table, store.rule, min([marks_before, *(window.after for window in kept_windows)])
            )
            GapList(store.table, store.rule).delete(
                [gap for gap in store.gaps if gap.closed and gap.closed < now - retention]
            )
            _expire_dead_letters(store, now - retention)
    except ServiceError as error:
        log_event(logging.WARNING, "detection.clean_up", asdict(CleanUpProblem(store.rule, str(error))))


def _expire_dead_letters(store: IncidentStore, before: datetime) -> None:
    """Deletes old dead letters: they hold what their alerts held, which are gone by now."""
    if number := Outbox(store.table, store.rule).delete_dead_letters(before):
        letters = plural(number, "dead letter")
        reason = f"{letters} from before {iso(before)} deleted: the alerts have expired, too"
        log_event(logging.WARNING, "detection.clean_up", asdict(CleanUpProblem(store.rule, reason)))


def _abandon(store: IncidentStore, now: datetime) -> Sequence[Gap]:
    """Abandons the gaps that have been open for too long; returns those that stay open."""
    old = [gap for gap in store.open_gaps if gap.recorded < now - GAP_KEPT]
    for gap in old:
        GapList(store.table, store.rule).write(gap.close("abandoned", now))
        abandoned = AbandonedGap(store.rule, gap.id, gap.after, gap.until)
        log_event(logging.WARNING, "detection.gap", json_values(abandoned))
    return [gap for gap in store.open_gaps if gap not in old]
