"""The job's own log lines.

    detection.run           a run of a rule, complete or failed; without a rule: settings or a delivery failed
    detection.delivery      a failed attempt to deliver a message
    detection.dead_letters  how many dead letters there are; a zero once the last is gone
    detection.late          a run that its timer starts too late
    detection.heartbeat     a failed heartbeat
    detection.setting       a variable that nearly has the name of a setting
    detection.coverage      a failed coverage query, logged by detection/logs/coverage_query.py
    detection.clean_up      a failed clean-up after a complete run, logged by detection/runs/clean_up.py
    detection.gap           a gap that is abandoned unread, logged by detection/runs/clean_up.py

docs/schemas/line.*.json describe the lines, and docs/reliability.md their readers.
"""

import logging
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from detection.base.json_types import type_adapter
from detection.base.log_event import LOG as LOG  # noqa: PLC0414  # exported for listeners
from detection.base.log_event import log_event
from detection.delivery.deliver import Attempt
from detection.runs.record import RECORD, RunFailure, RunRecord
from detection.store.outbox import DeadLetters


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """A failed attempt: the message is sent `again` at `due`, or `dead`.

    `status` is the HTTP status, None if there was no answer.
    """

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
    """The timer starts a run at `now`, later than it was due. The run reads everything since the last run."""

    now: datetime


@dataclass(frozen=True, slots=True)
class FailedHeartbeat:
    """The heartbeat after a complete run failed.

    `error` is the HTTP status, the type of an error, whose text would contain the URL, or the text of an
    error of this project.
    """

    error: str


@dataclass(frozen=True, slots=True)
class MisspeltSetting:
    """The environment has a `variable` that is not a setting, and nearly has the name of the `setting`."""

    variable: str
    setting: str


def log_run(record: RunRecord | RunFailure) -> None:
    """Logs a run: a line of the level INFO, or ERROR if the run failed."""
    level = logging.ERROR if isinstance(record, RunFailure) else logging.INFO
    log_event(level, "detection.run", RECORD.dump_python(record, mode="json"))


def log_attempt(attempt: Attempt) -> None:
    """Logs a failed attempt: a line of the level WARNING, or ERROR if it was the last attempt."""
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


def log_dead_letters(letters: DeadLetters) -> None:
    """Logs the dead letters that there are: a line of the level ERROR, or INFO if there are none any more."""
    level = logging.ERROR if letters.number else logging.INFO
    log_event(level, "detection.dead_letters", asdict(letters))


def log_late(now: datetime) -> None:
    """Logs a warning for a run that is past due."""
    log_event(logging.WARNING, "detection.late", asdict(LateRun(now)))


def log_heartbeat(reason: str) -> None:
    """Logs a warning for a failed heartbeat."""
    log_event(logging.WARNING, "detection.heartbeat", asdict(FailedHeartbeat(reason)))


def log_misspelt_setting(variable: str, setting: str) -> None:
    """Logs a warning for a variable that nearly has the name of a setting."""
    log_event(logging.WARNING, "detection.setting", asdict(MisspeltSetting(variable, setting)))
