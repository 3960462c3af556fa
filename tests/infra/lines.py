"""Lines for the alarms to be tried on: a real run's record, changed as a fault would change it, and written by the code that
writes the job's log.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from detection.deliver import Attempt, Outcome
from detection.errors import DetectionError
from detection.incidents.outbox import Delivery
from detection.job import open_job
from detection.record import Failure, Record
from detection.report import LOG, log_attempt, log_run
from detection.settings import settings_from
from detection.window import Window, Windows
from tests.regenerate import LOGS

NOW = datetime(2026, 6, 9, 14, 20, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LAST = NOW.replace(minute=5)  # the last run


@dataclass(frozen=True, slots=True)
class Line:
    """One log record: when it was written, and its whole message."""

    at: datetime
    message: str


@cache
def real_record() -> Record:
    """The record of a run over the golden logs."""
    settings = settings_from({"LOGS_DIR": str(LOGS)})
    (record,) = open_job(settings, lambda: LAST).detect()
    return record


def complete(at: datetime, *, gap: Window | None = None, **changes: Any) -> Line:  # noqa: ANN401  # any field's
    """The line of a run that completes. `changes` replaces fields of its record, `health` those of each side."""
    plain = real_record()
    windows = Windows(at, Window(at - 2 * DAY, at), Window(at - DAY, at), gap)
    sides: Mapping[str, Mapping[str, Any]] = changes.pop("health", {})
    full = {"rows": 1668, "named": 1582, "newest": at - 2 * MINUTE}
    health = {side: replace(one, **{**full, **sides.get(side, {})}) for side, one in plain.health.items()}
    fields = {"windows": windows, "previous": at - HOUR, "health": health, **changes}
    return _written(at, lambda: log_run(replace(plain, **fields)))


def failed(at: datetime, **changes: Any) -> Line:  # noqa: ANN401  # any field's
    """The line of a run that fails."""
    plain = Failure(real_record().rule, at, "service", "the query API did not answer", None, 1.3)
    return _written(at, lambda: log_run(replace(plain, **changes)))


def delivery(at: datetime, created: datetime, due: datetime | None, attempt: int = 3) -> Line:
    """The line of an attempt that failed; given up, if no other is due."""
    message = Delivery("al_1_soc", "soc", "in_1", 1, b"{}", created=created, due=created, attempt=attempt)
    outcome = Outcome(500, dead="" if due else "too old", reason="HTTP 500")
    return _written(at, lambda: log_attempt(Attempt(message, outcome, due)))


def hourly(hours: int, until: datetime = NOW) -> list[Line]:
    """The lines of complete runs at five past every hour, the last ones before a moment."""
    last = until.replace(minute=5)
    return [complete(last - n * HOUR) for n in range(hours)]


def logged(at: datetime, call: Callable[[], object]) -> list[Line]:
    """What the job's logger is given during a call, whatever becomes of it."""
    kept: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: kept.append(record.getMessage())  # type: ignore[method-assign]
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
    return [Line(at, message) for message in kept]


def _written(at: datetime, write: Callable[[], object]) -> Line:
    (line,) = logged(at, write)
    return line
