"""Timer schedules as the Functions host reads them: NCRONTAB with five or six fields.

Source: CrontabFieldImpl.cs of NCrontab; CronSchedule.cs of azure-webjobs-sdk-extensions. An interval
(hh:mm:ss) is refused, because it needs an App Service plan
(https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#timespan). The host disables a
function whose schedule it refuses, and says so in its own log only. No error shows the text of a schedule.
"""

import calendar
import re
from typing import NamedTuple

_MONTHS = [month.lower() for month in calendar.month_name[1:]]  # in English: the process sets no locale
_DAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
_NUMBER, _STEP = re.compile(r"[0-9]{1,9}"), re.compile(r"[+-]?[0-9]{1,9}")


class _Field(NamedTuple):
    name: str
    lowest: int
    highest: int
    words: list[str]

    def number(self, text: str) -> int:
        """A number, or the first word that begins with the text, without regard to case."""
        if _NUMBER.fullmatch(text):
            return int(text)
        numbers = [self.lowest + n for n, word in enumerate(self.words) if word.startswith(text.lower())]
        if not text or not numbers:
            raise ValueError(f"its {self.name} must be numbers{' or names' if self.words else ''}")
        return numbers[0]

    def values(self, text: str) -> frozenset[int]:
        """The values of `*`, `a`, `a-b`, `a,b` and steps; `a/n` goes on to the highest, `b-a` is `a-b`."""
        values: set[int] = set()
        for part in text.split(","):
            base, slash, step = part.partition("/")
            if slash and not _STEP.fullmatch(step):
                raise ValueError(f"the step of its {self.name} must be a number")
            begin, dash, end = base.partition("-")
            if base == "*":
                low, high = self.lowest, self.highest
            else:
                low = self.number(begin)
                high = self.number(end) if dash else self.highest if slash else low
            low, high = sorted((low, high))
            if not self.lowest <= low <= high <= self.highest:
                raise ValueError(f"its {self.name} must be within {self.lowest} to {self.highest}")
            values.update(range(low, high + 1, max(1, int(step or 1))))
        return frozenset(values)

    @property
    def size(self) -> int:
        return self.highest - self.lowest + 1


_FIELDS = (
    _Field("seconds", 0, 59, []),
    _Field("minutes", 0, 59, []),
    _Field("hours", 0, 23, []),
    _Field("days", 1, 31, []),
    _Field("months", 1, 12, _MONTHS),
    _Field("weekdays", 0, 6, _DAYS),
)


def parse_schedule(text: str) -> tuple[frozenset[int], ...]:
    """The values of the seconds, minutes, hours, days, months and weekdays (0 is Sunday).

    Raises ValueError with the reason why the host refuses the schedule.
    """
    texts = [field_text for field_text in text.split(" ") if field_text]
    if len(texts) == 5:
        texts.insert(0, "0")
    if len(texts) != 6:
        raise ValueError(
            "must have five or six fields, such as `0 5 * * * *` (an interval needs an App Service plan)"
        )
    return tuple(field.values(field_text) for field, field_text in zip(_FIELDS, texts, strict=True))


def schedule_problem(text: str) -> str:
    """The reason why a timer with this schedule does not start at least once an hour, or an empty text.

    The host refuses the schedule, which also holds for an empty text, or runs are more than an hour apart.
    """
    try:
        schedule = parse_schedule(text)
    except ValueError as error:
        return f"The host refuses this schedule and disables the function: {error}."
    # With every hour of every day, runs are at most an hour apart. An hour that is left out makes it more.
    missing = [
        field.name
        for field, values in zip(_FIELDS[2:], schedule[2:], strict=True)
        if len(values) < field.size
    ]
    return f"Runs are more than an hour apart: some {', '.join(missing)} are left out." if missing else ""
