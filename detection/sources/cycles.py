"""Rows that one query must keep apart stand in different years: the same days, down to the weekday, in another lane. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from detection.timestamps import FIRST_YEAR, LAST_YEAR

CYCLE = 400  # years, after which the Gregorian calendar repeats itself
SHORT_CYCLE = 28  # years, after which it does where no century ends between: from 2000 to 2099
LAST_DATETIME = 9999  # the last year of one


@dataclass(frozen=True, slots=True)
class Calendar:
    """How lanes follow each other: from the year `first` on, `short` of them by the short cycle in each long one."""

    first: int
    short: int

    @classmethod
    def of(cls, stamped: Iterable[int]) -> "Calendar":
        """The most lanes that there can be for rows that are stamped in these years."""
        years = {*stamped} or {FIRST_YEAR}
        first, last = min(years), max(years)
        return cls(first, (LAST_YEAR - 1 - last) // SHORT_CYCLE + 1 if last - first < SHORT_CYCLE else 1)

    @property
    def lanes(self) -> int:
        """How many there are."""
        return (LAST_DATETIME - LAST_YEAR) // CYCLE * self.short

    def shift(self, lane: int) -> int:
        """By how many years a lane lies later."""
        long, short = divmod(lane, self.short)
        return long * CYCLE + short * SHORT_CYCLE

    def lane(self, year: int) -> int:
        """The lane to which a year belongs."""
        long, rest = divmod(year - self.first, CYCLE)
        return long * self.short + min(rest // SHORT_CYCLE, self.short - 1)


def years_earlier(text: str, years: int) -> str:
    """A time as ISO 8601 text, so many years earlier."""
    return f"{int(text[:4]) - years:04}{text[4:]}"
