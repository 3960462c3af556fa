"""Lines for the alarms to be tried on: a real run's record, changed as a fault would change it, and written by the code that
writes the job's log.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from detection.app import open_job
from detection.base.errors import DetectionError
from detection.delivery.deliver import Attempt, Outcome
from detection.logs.window import Window, Windows
from detection.runs.record import RunFailure, RunRecord
from detection.settings import settings_from
from detection.store.outbox import DeadLetters, Delivery
from detection.store.table import MemoryTable
from detection.telemetry import LOG, log_attempt, log_dead_letters, log_run
from tests.regenerate import LOGS

NOW = datetime(2026, 6, 9, 14, 20, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LAST = NOW.replace(minute=5)  # the last run


@dataclass(frozen=True, slots=True)
class LoggedLine:
    """One log record: when it was written, and its whole message."""

    time: datetime
    message: str


@cache
def real_record() -> RunRecord:
    """The record of a run over the golden logs."""
    settings = settings_from({"LOGS_DIR": str(LOGS)})
    (record,) = open_job(settings, lambda: LAST, MemoryTable()).detect()
    return record


def complete_run(time: datetime, **changes: Any) -> LoggedLine:  # noqa: ANN401  # any field's
    """The line of a run that completes. `changes` replaces fields of its record, `health` those of each side."""
    record = real_record()
    windows = Windows(time, Window(time - 2 * DAY, time), Window(time - DAY, time), None)
    sides: Mapping[str, Mapping[str, Any]] = changes.pop("health", {})
    health_fields = {"rows": 1668, "named": 1582, "newest": time - 2 * MINUTE}
    health = {
        side: replace(side_health, **{**health_fields, **sides.get(side, {})})
        for side, side_health in record.health.items()
    }
    fields = {"windows": windows, "previous_watermark": time - HOUR, "health": health, **changes}
    return _line_of(time, lambda: log_run(replace(record, **fields)))


def failed_run(time: datetime, **changes: Any) -> LoggedLine:  # noqa: ANN401  # any field's
    """The line of a run that fails."""
    failure = RunFailure(real_record().rule, time, "service", "the query API did not answer", None, 1.3)
    return _line_of(time, lambda: log_run(replace(failure, **changes)))


def failed_delivery(time: datetime, created: datetime, due: datetime | None, attempt: int = 3) -> LoggedLine:
    """The line of an attempt that failed; given up, if no other is due."""
    message = Delivery("al_1_soc", "soc", "in_1", 1, b"{}", created=created, due=created, attempt=attempt)
    outcome = Outcome(500, dead_reason="" if due else "too old", reason="HTTP 500")
    return _line_of(time, lambda: log_attempt(Attempt(message, outcome, due)))


def dead_letters(time: datetime) -> LoggedLine:
    """The line of a delivery that leaves a dead letter."""
    return _line_of(time, lambda: log_dead_letters(DeadLetters(1, ["soc"], "HTTP 410")))


def hourly_runs(hours: int, until: datetime = NOW) -> list[LoggedLine]:
    """The lines of complete runs at five past every hour, the last ones before a moment."""
    last = until.replace(minute=5)
    return [complete_run(last - n * HOUR) for n in range(hours)]


def log_lines(time: datetime, call: Callable[[], object]) -> list[LoggedLine]:
    """What the job's logger is given during a call, whatever becomes of it."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    level = LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        call()
    except DetectionError:
        pass
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(level)
    return [LoggedLine(time, message) for message in messages]


def _line_of(time: datetime, write: Callable[[], object]) -> LoggedLine:
    (line,) = log_lines(time, write)
    return line
