"""Rows that one query must keep apart stand in different years: the same days, down to the weekday, in another lane."""

from collections.abc import Iterable
from dataclasses import dataclass

from detection.base.timestamps import FIRST_YEAR, LAST_YEAR

CYCLE = 400  # years, after which the Gregorian calendar repeats itself
SHORT_CYCLE = 28  # years, after which it does where no century ends between: from 2000 to 2099
LAST_DATETIME_YEAR = 9999  # the last year of one


@dataclass(frozen=True, slots=True)
class CalendarShift:
    """How lanes follow each other: from the year `first` on, `short` of them by the short cycle in each long one."""

    first_year: int
    lanes_per_cycle: int

    @classmethod
    def for_years(cls, stamp_years: Iterable[int]) -> "CalendarShift":
        """The most lanes that there can be for rows that are stamped in these years."""
        years = {*stamp_years} or {FIRST_YEAR}
        earliest, latest = min(years), max(years)
        return cls(
            earliest, (LAST_YEAR - 1 - latest) // SHORT_CYCLE + 1 if latest - earliest < SHORT_CYCLE else 1
        )

    @property
    def lane_count(self) -> int:
        """How many there are."""
        return (LAST_DATETIME_YEAR - LAST_YEAR) // CYCLE * self.lanes_per_cycle

    def offset_years(self, lane: int) -> int:
        """By how many years a lane lies later."""
        long_cycle, short_cycle = divmod(lane, self.lanes_per_cycle)
        return long_cycle * CYCLE + short_cycle * SHORT_CYCLE

    def lane_of(self, year: int) -> int:
        """The lane to which a year belongs."""
        long_cycle, remaining_years = divmod(year - self.first_year, CYCLE)
        return long_cycle * self.lanes_per_cycle + min(
            remaining_years // SHORT_CYCLE, self.lanes_per_cycle - 1
        )


def years_earlier(text: str, years: int) -> str:
    """A time as ISO 8601 text, so many years earlier."""
    return f"{int(text[:4]) - years:04}{text[4:]}"
