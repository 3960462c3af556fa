"""The job's own log lines, each one JSON object: what it did, and what it could not. No URL, no message, no secret.

    detection.run        a run of a rule, complete or failed
    detection.delivery   an attempt at a message that failed

docs/schemas/line.*.json describe them, docs/reliability.md says who reads them.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic_core import to_json

from detection.adapter import adapter
from detection.deliver import Attempt
from detection.record import RECORD, Failure, Record

LOG = logging.getLogger("detection")


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


def log_run(record: Record | Failure) -> None:
    """One line for a run; of a failed one an error."""
    level = logging.ERROR if isinstance(record, Failure) else logging.INFO
    _log(level, "detection.run", RECORD.dump_python(record, mode="json"))


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
        reason=outcome.dead or outcome.reason,
        created=delivery.created,
        due=due,
    )
    level = logging.WARNING if due else logging.ERROR
    _log(level, "detection.delivery", adapter(FailedDelivery).dump_python(failed, mode="json"))


def _log(level: int, event: str, values: dict[str, Any]) -> None:
    LOG.log(level, "%s", to_json({"event": event, **values}, ensure_ascii=True).decode())
