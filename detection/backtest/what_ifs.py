"""What keeps the noise down, and what would come without it: each taken away by itself, over the same past. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from detection.backtest.figures import Figures
from detection.rule import Rule
from detection.tell import Terms


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The rule and the terms of the runs without one thing that keeps the noise down."""

    without: str
    rule: Rule
    terms: Terms


@dataclass(frozen=True, slots=True)
class Removed:
    """How much more there would be without one thing that keeps the noise down."""

    by: str
    alerts: int
    pairs: int
    messages: int


def what_ifs(rule: Rule, terms: Terms, figures: Figures) -> Iterator[WhatIf]:
    """What is worth a look, given what the runs told with everything in place."""
    if figures.digests:
        yield WhatIf(f"the digest of storms (STORM_ALERTS={terms.storm})", rule, replace(terms, storm=None))


def removed(by: str, without: Figures, figures: Figures) -> Removed:
    """What one thing removes: what there is without it, less what there is with it."""
    return Removed(
        by,
        without.alerts - figures.alerts,
        without.pairs - figures.pairs,
        without.messages - figures.messages,
    )
