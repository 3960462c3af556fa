"""What the chaos tests share: how a scenario is entered in the table of figures, and which of them are long."""

from collections.abc import Callable
from dataclasses import asdict

import pytest

from tests.chaos.stage import Figures

FAULTY = (
    3  # the hour of the run with the fault; two hours after the last one before it, it has the most to tell
)
long = pytest.mark.chaos  # left to `make chaos`

# Enters a scenario's figures under the name of its fault; the promises must have been kept.
Enter = Callable[[str, Figures], None]


@pytest.fixture
def enter(record_property: Callable[[str, object], None]) -> Enter:
    def entered(fault: str, figures: Figures) -> None:
        record_property("chaos", (fault, asdict(figures)))
        assert not figures.broken, figures

    return entered


def some(values: range, short: tuple[int, ...]) -> list[object]:
    """Parameters: a few of them always, all in `make chaos`."""
    return [value if value in short else pytest.param(value, marks=long) for value in values]
