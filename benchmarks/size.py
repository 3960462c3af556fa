"""The limit of the measured runs, from which every part derives its sizes."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """No run exceeds `max_rows` rows, signals or actors. A toy runs all code once, for no figures."""

    max_rows: int
    toy: bool = False

    def capped(self, numbers: Sequence[int]) -> list[int]:
        """The numbers, limited to `max_rows`, without repeats."""
        return list(dict.fromkeys(min(number, self.max_rows) for number in numbers))


FULL = Size(10_000_000)
TOY = Size(2, toy=True)
