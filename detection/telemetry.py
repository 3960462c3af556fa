"""The job's own log lines: what it did, and what it could not.

    detection.run         a run of a rule, complete or failed
    detection.delivery    an attempt at a message that failed
    detection.late        a run that its timer starts later than it was due
    detection.heartbeat   a heartbeat that failed
    detection.coverage    a coverage that could not be counted, by detection/logs/log_analytics/reading.py

docs/schemas/line.*.json describe them, docs/reliability.md says who reads them.
"""

import logging
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from detection.base.json_types import type_adapter
from detection.base.log_event import LOG as LOG  # noqa: PLC0414  # whoever listens has it from here
from detection.base.log_event import log_event
from detection.delivery.deliver import Attempt
from detection.runs.record import RECORD, RunFailure, RunRecord


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """An attempt that failed: `again` at `due`, or `dead`. `status` is the HTTP status where there was an answer."""

    outcome: Literal["again", "dead"]
    id: str
    destination: str
    incident: str
    attempt: int
    status: int | None
    reason: str
    created: datetime
    due: datetime | None


@dataclass(frozen=True, slots=True)
class LateRun:
    """The timer starts a run at `now`, later than it was due. The run reads what it missed."""

    now: datetime


@dataclass(frozen=True, slots=True)
class FailedHeartbeat:
    """The heartbeat after a complete run failed; `error` is the kind of error, whose text holds the URL."""

    error: str


def log_run(record: RunRecord | RunFailure) -> None:
    """One line for a run; of a failed one an error."""
    level = logging.ERROR if isinstance(record, RunFailure) else logging.INFO
    log_event(level, "detection.run", RECORD.dump_python(record, mode="json"))


def log_attempt(attempt: Attempt) -> None:
    """One line for an attempt that failed; an error when it was the last."""
    delivery, outcome, due = attempt.delivery, attempt.outcome, attempt.next_due
    if outcome.sent:
        return
    failed = FailedDelivery(
        outcome="again" if due else "dead",
        id=delivery.id,
        destination=delivery.destination,
        incident=delivery.incident,
        attempt=delivery.attempt,
        status=outcome.status,
        reason=outcome.dead_reason or outcome.reason,
        created=delivery.created,
        due=due,
    )
    level = logging.WARNING if due else logging.ERROR
    log_event(level, "detection.delivery", type_adapter(FailedDelivery).dump_python(failed, mode="json"))


def log_late(now: datetime) -> None:
    """A warning for a run that is past due."""
    log_event(logging.WARNING, "detection.late", asdict(LateRun(now)))


def log_heartbeat(error: Exception) -> None:
    """A warning for a heartbeat that failed."""
    log_event(logging.WARNING, "detection.heartbeat", asdict(FailedHeartbeat(type(error).__name__)))
