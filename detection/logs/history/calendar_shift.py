"""Rows that a query must keep apart lie in different years: the same days, down to the weekday, in another
lane.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from detection.base.timestamps import FIRST_YEAR, LAST_YEAR

CYCLE = 400  # years after which the Gregorian calendar repeats
SHORT_CYCLE = 28  # years after which it repeats within 2000 to 2099, where no century ends
LAST_DATETIME_YEAR = 9999  # the last year that a datetime can have


@dataclass(frozen=True, slots=True)
class CalendarShift:
    """The years of the lanes. Each cycle holds `lanes_per_cycle` lanes, SHORT_CYCLE years apart."""

    first_year: int
    lanes_per_cycle: int

    @classmethod
    def for_years(cls, stamp_years: Iterable[int]) -> "CalendarShift":
        """As many lanes as possible for rows that are stamped in these years."""
        years = {*stamp_years} or {FIRST_YEAR}
        earliest, latest = min(years), max(years)
        return cls(
            earliest, (LAST_YEAR - 1 - latest) // SHORT_CYCLE + 1 if latest - earliest < SHORT_CYCLE else 1
        )

    @property
    def lane_count(self) -> int:
        return (LAST_DATETIME_YEAR - LAST_YEAR) // CYCLE * self.lanes_per_cycle

    def offset_years(self, lane: int) -> int:
        """The years by which a lane lies later than the first lane."""
        long_cycle, short_cycle = divmod(lane, self.lanes_per_cycle)
        return long_cycle * CYCLE + short_cycle * SHORT_CYCLE

    def lane_of(self, year: int) -> int:
        """The lane that a year belongs to."""
        long_cycle, remaining_years = divmod(year - self.first_year, CYCLE)
        return long_cycle * self.lanes_per_cycle + min(
            remaining_years // SHORT_CYCLE, self.lanes_per_cycle - 1
        )


def years_earlier(text: str, years: int) -> str:
    """An ISO 8601 time, moved back by a number of years."""
    return f"{int(text[:4]) - years:04}{text[4:]}"
