"""How large the measured runs may be. Every part is given one Size and derives its own sizes from it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """No run has more rows, signals or actors than `most`. A toy runs all code once and measures nothing of worth."""

    max_rows: int
    toy: bool = False

    def capped(self, numbers: Sequence[int]) -> list[int]:
        """The numbers, cut to the largest allowed; each once."""
        return list(dict.fromkeys(min(number, self.max_rows) for number in numbers))


FULL = Size(10_000_000)
TOY = Size(2, toy=True)
