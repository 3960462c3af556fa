"""What keeps the noise down, and how much each of it removes: one more pass over the same past for each. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from detection.backtest.figures import Figures
from detection.rule import Rule
from detection.silences import Silence
from detection.tell import Terms


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The rule and the terms of the runs with one thing taken away that stands; or, `added`, with one that does not."""

    what: str
    rule: Rule
    terms: Terms
    added: bool = False


@dataclass(frozen=True, slots=True)
class Removed:
    """How much one thing removes that keeps the noise down, the others in place. `stands`: it was in place in the runs."""

    by: str
    stands: bool
    messages: int
    alerts: int
    pairs: int


def what_ifs(rule: Rule, terms: Terms, figures: Figures, silences: Sequence[Silence]) -> Iterator[WhatIf]:
    """What is worth a look, given what the runs told: each by itself. A silence is looked at as if it never ended."""
    for one in rule.exclusions:
        others = tuple(other for other in rule.exclusions if other is not one)
        yield WhatIf(f"exclusion {one.name}", _excluding(rule, others), terms)
    for one in silences:
        never = one.model_copy(update={"expires": None, "lifted_by": ""})
        yield WhatIf(f"silence {one.name}", _excluding(rule, (*rule.exclusions, never)), terms, added=True)
    for kind, least in rule.sequence.minimum.items():
        left = {other: number for other, number in rule.sequence.minimum.items() if other != kind}
        sequence = rule.sequence.model_copy(update={"minimum": left})
        yield WhatIf(f"minimum {kind}: {least}", rule.model_copy(update={"sequence": sequence}), terms)
    if rule.on_call.mode == "observe":
        paging = rule.on_call.model_copy(update={"mode": "page"})
        yield WhatIf("mode: observe", rule.model_copy(update={"on_call": paging}), terms)
    if figures.digests:
        yield WhatIf(f"digest of more than {terms.storm} alerts", rule, replace(terms, storm=None))


def removed(what: WhatIf, tried: Figures, figures: Figures) -> Removed:
    """What it removes: what there is without it, less what there is with it."""
    without, there = (figures, tried) if what.added else (tried, figures)
    return Removed(
        what.what,
        not what.added,
        without.messages - there.messages,
        without.alerts - there.alerts,
        without.pairs - there.pairs,
    )


def _excluding(rule: Rule, exclusions: tuple[Silence, ...]) -> Rule:
    return rule.model_copy(update={"exclusions": exclusions})
