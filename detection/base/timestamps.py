"""Moments and durations as text: ISO 8601, always UTC."""

from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from detection.base.errors import ConfigurationError

_DURATION = TypeAdapter(timedelta)
FIRST_YEAR, LAST_YEAR = 2000, 2100  # a time outside is an error: a unit mixed up, a field not set


def iso(moment: datetime) -> str:
    """The moment as ISO 8601 in UTC with `Z`; a fraction (six digits) only when it is not zero."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """The moment that an ISO 8601 text names, in UTC.

    Raises ConfigurationError when the text is not a time or names no zone.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        msg = f"{text!r} is not a time with a zone; write it like 2026-06-08T10:00:00Z"
        raise ConfigurationError(msg)
    if not FIRST_YEAR <= parsed.year < LAST_YEAR:
        msg = f"{text!r} is not between the years {FIRST_YEAR} and {LAST_YEAR}"
        raise ConfigurationError(msg)
    return parsed.astimezone(UTC)


def parse_duration(text: str) -> timedelta:
    """The span that an ISO 8601 duration such as PT1H or P1D names.

    Raises ConfigurationError when it is none, or is not longer than nothing.
    """
    try:
        parsed = _DURATION.validate_python(text) if text.startswith("P") else timedelta(0)
    except ValidationError:
        parsed = timedelta(0)
    if parsed <= timedelta(0):
        msg = f"{text!r} is not a duration; write it like PT1H or P1D"
        raise ConfigurationError(msg)
    return parsed
