"""A moment in a test file: as such, or as a duration from the moment of the case's run."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, TypeAdapter, ValidationInfo

from detection.base.timestamps import FIRST_YEAR, LAST_YEAR

_DURATION = TypeAdapter(timedelta)
_HELP = "write a moment with a zone, 2026-06-08T10:00:00Z, or a duration from the run, -PT3H"


def resolve_time(value: object, now: datetime) -> datetime:
    """The moment (UTC) that a value of a test file means in a case whose run is at `now`.

    Raises ValueError where it means none.
    """
    if isinstance(value, str) and re.match(r"[-+]?P", value):
        return now + _DURATION.validate_python(value)
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(parsed, datetime) or parsed.tzinfo is None:
        raise ValueError(_HELP)
    if not FIRST_YEAR <= parsed.year < LAST_YEAR:
        raise ValueError(f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    return parsed.astimezone(UTC)


def _resolve_in_case(value: object, info: ValidationInfo) -> datetime:
    return resolve_time(value, info.context["now"] if info.context else datetime.max.replace(tzinfo=UTC))


# Validated with the moment of the case's run as context: {"now": …}.
CaseTime = Annotated[datetime, BeforeValidator(_resolve_in_case)]
