"""What keeps the noise down, and how much each of it removes: one more pass over the same past for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from detection.backtest.figures import BacktestFigures
from detection.rules.model import Rule
from detection.rules.silences import Silence
from detection.runs.commit import RunOptions


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The rule and the terms of the runs with one thing taken away that stands; or, `added`, with one that does not."""

    label: str
    rule: Rule
    options: RunOptions
    is_added: bool = False


@dataclass(frozen=True, slots=True)
class NoiseReduction:
    """How much one thing removes that keeps the noise down, the others in place. `stands`: it was in place in the runs."""

    removed_by: str
    in_place: bool
    messages: int
    alerts: int
    pairs: int


def what_ifs(
    rule: Rule, options: RunOptions, figures: BacktestFigures, silences: Sequence[Silence]
) -> Iterator[WhatIf]:
    """What is worth a look, given what the runs told: each by itself. A silence is looked at as if it never ended."""
    for silence in rule.exclusions:
        remaining_exclusions = tuple(exclusion for exclusion in rule.exclusions if exclusion is not silence)
        yield WhatIf(f"exclusion {silence.name}", _excluding(rule, remaining_exclusions), options)
    for silence in silences:
        permanent_silence = silence.model_copy(update={"expires": None, "lifted_by": ""})
        yield WhatIf(
            f"silence {silence.name}",
            _excluding(rule, (*rule.exclusions, permanent_silence)),
            options,
            is_added=True,
        )
    for kind, threshold in rule.sequence.threshold.items():
        remaining_thresholds = {
            other_kind: other_threshold
            for other_kind, other_threshold in rule.sequence.threshold.items()
            if other_kind != kind
        }
        sequence = rule.sequence.model_copy(update={"threshold": remaining_thresholds})
        yield WhatIf(
            f"threshold {kind}: {threshold}", rule.model_copy(update={"sequence": sequence}), options
        )
    if rule.on_call.mode == "observe":
        paging_mode = rule.on_call.model_copy(update={"mode": "page"})
        yield WhatIf("mode: observe", rule.model_copy(update={"on_call": paging_mode}), options)
    if figures.digests:
        yield WhatIf(
            f"digest of more than {options.storm_alerts} alerts", rule, replace(options, storm_alerts=None)
        )


def noise_reduction(
    what_if: WhatIf, variant_figures: BacktestFigures, figures: BacktestFigures
) -> NoiseReduction:
    """What it removes: what there is without it, less what there is with it."""
    without_figures, with_figures = (
        (figures, variant_figures) if what_if.is_added else (variant_figures, figures)
    )
    return NoiseReduction(
        what_if.label,
        not what_if.is_added,
        without_figures.messages - with_figures.messages,
        without_figures.alerts - with_figures.alerts,
        without_figures.pairs - with_figures.pairs,
    )


def _excluding(rule: Rule, exclusions: tuple[Silence, ...]) -> Rule:
    return rule.model_copy(update={"exclusions": exclusions})
