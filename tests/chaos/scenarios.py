"""What the chaos tests share: how a scenario is entered in the table of figures, and where each runs."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import asdict
from typing import Protocol

import pytest

from tests.chaos.stage import ScenarioFigures

FAULT_HOUR = (
    3  # the hour of the run with the fault; two hours after the last one before it, it has the most to tell
)
# `make test` has a scenario of each kind, `make test-slow` some more, and `make chaos` all.
slow_only = pytest.mark.slow
chaos_only = pytest.mark.chaos

NONE: Mapping[str, int] = {}


class EnterFigures(Protocol):
    """Enters a scenario's figures under the name of its fault.

    The promises must have been kept, except for the counts in `limits`, which docs/reliability.md names as limits.
    """

    def __call__(self, fault: str, figures: ScenarioFigures, limits: Mapping[str, int] = NONE) -> None: ...


@pytest.fixture
def enter(record_property: Callable[[str, object], None]) -> EnterFigures:
    def entered(fault: str, figures: ScenarioFigures, limits: Mapping[str, int] = NONE) -> None:
        record_property("chaos", (fault, asdict(figures)))
        assert figures.broken == limits, figures

    return entered


def marked_parameters(
    values: Iterable[object], always: Container[object], slow: Container[object] = ()
) -> list[object]:
    """Parameters: a few of them in `make test`, some more in `make test-slow`, all in `make chaos`."""
    return [
        value if value in always else pytest.param(value, marks=slow_only if value in slow else chaos_only)
        for value in values
    ]
