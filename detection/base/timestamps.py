"""Times and durations as text: ISO 8601, always in UTC."""

import re
from datetime import UTC, datetime, timedelta

from pydantic import TypeAdapter, ValidationError

from detection.base.errors import ConfigurationError

_DURATION = TypeAdapter(timedelta)
_SHORT_DURATION = re.compile(r"(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FROM_NOW = re.compile(r"now(?:(?P<sign>[+-])(?P<duration>.+))?")
FIRST_YEAR, LAST_YEAR = 2000, 2100  # a time outside this range is an error, such as a wrong unit
MAX_CLOCK_LEAD = timedelta(minutes=10)  # less than LONGEST_RUN in deadlines.py


def iso(moment: datetime) -> str:
    """A time as ISO 8601 in UTC with `Z`; with a fraction (six digits) only if it is not zero."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """Parses an ISO 8601 time. Returns it in UTC.

    Raises ConfigurationError if the text is not a time, names no zone, or is outside the years 2000 to 2099.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise ConfigurationError(f"{text!r} is not a time with a zone; write it like 2026-06-08T10:00:00Z")
    if not FIRST_YEAR <= parsed.year < LAST_YEAR:
        raise ConfigurationError(f"{text!r} must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
    return parsed.astimezone(UTC)


def parse_moment(text: str, now: datetime) -> datetime:
    """Parses a time at the keyboard: as parse_time, a date (its start in UTC), `now`, or `now-2h`.

    Raises ConfigurationError as parse_time and parse_duration do.
    """
    if match := _FROM_NOW.fullmatch(text):
        offset = parse_duration(match["duration"]) if match["duration"] else timedelta(0)
        return now.replace(microsecond=0) + (-offset if match["sign"] == "-" else offset)
    return parse_time(f"{text}T00:00:00Z" if DATE.fullmatch(text) else text)


def iso_duration(text: str) -> str:
    """The ISO 8601 form of a short duration: `8h`, `30m`, `2d`, `1h30m`. Other texts stay as they are."""
    match = _SHORT_DURATION.fullmatch(text)
    if match is None:
        return text
    days, *times = (part.upper() if part else "" for part in match.groups())
    return f"P{days}T{''.join(times)}".removesuffix("T")


def parse_duration(text: str) -> timedelta:
    """Parses a duration: `8h`, `30m`, `2d`, or ISO 8601 such as PT1H or P1D.

    Raises ConfigurationError if the text is not a duration, or the duration is not positive.
    """
    text_in_iso = iso_duration(text)
    try:
        parsed = _DURATION.validate_python(text_in_iso) if text_in_iso.startswith("P") else timedelta(0)
    except ValidationError:
        parsed = timedelta(0)
    if parsed <= timedelta(0):
        raise ConfigurationError(f"{text!r} is not a duration; write it like 8h, 30m or 2d")
    return parsed


def refuse_fast_clock(now: datetime, service_time: datetime | None) -> None:
    """Raises ConfigurationError if `now` is at least MAX_CLOCK_LEAD ahead of the table service's time (UTC).

    None means that the table has no clock of its own.
    """
    if service_time and now - service_time >= MAX_CLOCK_LEAD:
        raise ConfigurationError(
            f"the clock of this machine says {iso(now)}, which is {now - service_time} ahead of the table "
            "service: set the clock, then run again"
        )
