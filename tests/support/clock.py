"""A clock that tests move."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass
class Clock:
    """A clock that stands still until somebody sleeps, or for `tick` at every look."""

    now: datetime
    tick: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        self.now += self.tick
        return self.now

    def sleep(self, seconds: float) -> None:
        """Moves the clock on at once."""
        self.now += timedelta(seconds=seconds)
