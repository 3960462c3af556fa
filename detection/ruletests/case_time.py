"""Times in a test file: absolute, or relative to the run of the case."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, TypeAdapter

from detection.base.timestamps import FIRST_YEAR, LAST_YEAR

_DURATION = TypeAdapter(timedelta)


def resolve_time(written: object, now: datetime) -> datetime:
    """The time (UTC) that a test file gives, as a time or as a duration from the case's run at `now`.

    Raises ValueError for anything else.
    """
    if isinstance(written, str) and re.match(r"[-+]?P", written):
        return now + _DURATION.validate_python(written)
    time = datetime.fromisoformat(written) if isinstance(written, str) else written
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise ValueError("write a time with a zone, 2026-06-08T10:00:00Z, or a duration from the run, -PT3H")
    if not FIRST_YEAR <= time.year < LAST_YEAR:
        raise ValueError(f"the year must be between {FIRST_YEAR} and {LAST_YEAR - 1}")
    return time.astimezone(UTC)


# The validation context holds the time of the case's run: {"now": …}.
CaseTime = Annotated[
    datetime, BeforeValidator(lambda written, info: resolve_time(written, info.context["now"]))
]
