"""The effect of each noise reduction, each from one more pass over the logs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from detection.backtest.figures import BacktestFigures
from detection.rules.model import Rule
from detection.rules.silences import Silence
from detection.runs.commit import RunOptions


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A variant of the runs: without one noise reduction or, if `is_added`, with one more."""

    label: str
    rule: Rule
    options: RunOptions
    is_added: bool = False


@dataclass(frozen=True, slots=True)
class NoiseReduction:
    """The messages, alerts and pairs that a noise reduction removes, with all others in place.

    `in_place` says that it was in place in the runs. A silence is not: its effect is that of a silence
    without an end.
    """

    removed_by: str
    in_place: bool
    messages: int
    alerts: int
    pairs: int


def what_ifs(
    rule: Rule, options: RunOptions, figures: BacktestFigures, silences: Sequence[Silence]
) -> Iterator[WhatIf]:
    """A variant for each noise reduction of the runs, and for each silence as if it were always in force."""
    for silence in rule.exclusions:
        remaining_exclusions = tuple(exclusion for exclusion in rule.exclusions if exclusion is not silence)
        yield WhatIf(f"exclusion {silence.name}", _excluding(rule, remaining_exclusions), options)
    for silence in silences:
        permanent_silence = silence.model_copy(update={"begins": None, "expires": None, "lifted_by": ""})
        yield WhatIf(
            f"silence {silence.name}",
            _excluding(rule, (*rule.exclusions, permanent_silence)),
            options,
            is_added=True,
        )
    for kind, threshold in rule.sequence.threshold.items():
        remaining_thresholds = {
            name: number for name, number in rule.sequence.threshold.items() if name != kind
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
    """The figures without the noise reduction, less those with it."""
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
