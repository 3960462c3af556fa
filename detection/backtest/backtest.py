"""A backtest from its options to its result: read once, run hour by hour, and run again without what keeps the noise down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic_core import to_jsonable_python

from detection.backtest.figures import BacktestFigures
from detection.backtest.overrides import SETTINGS, overrides
from detection.backtest.simulation import ShowProgress, Simulation
from detection.backtest.what_ifs import NoiseReduction, noise_reduction, what_ifs
from detection.logs.events import Rejected, SideHealth
from detection.logs.history.past import Archive, RunRange
from detection.logs.window import plan_windows
from detection.rules.loading import load_rule
from detection.rules.model import Rule
from detection.rules.silences import Silence
from detection.runs.commit import RunOptions
from detection.runs.replay import Comparison, PublishedComparison, run_times
from detection.settings import Settings, settings_from

# Where and how the workspace is read; beside SETTINGS all that is taken from the environment.
READ_BY = ("LOG_ANALYTICS_WORKSPACE_ID", "LOG_ANALYTICS_ENDPOINT", "PARSERS", "AZURE_CLIENT_ID")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be tried: a rule with the settings of its runs, and their moments."""

    rule: Rule
    published: Rule | None
    settings: Settings
    run_times: Sequence[datetime]
    overridden: Mapping[str, str]

    @property
    def options(self) -> RunOptions:
        """The terms of every run, as the job has them with one destination."""
        return RunOptions(
            storm_alerts=self.settings.STORM_ALERTS,
            lateness=self.settings.ALLOWED_LATENESS,
            max_catch_up=self.settings.MAX_CATCH_UP,
            flood_signals=self.settings.FLOOD_SIGNALS,
        )

    def run_range(self, rule: Rule) -> RunRange:
        """The range of the runs, for one of the two rules."""
        begin = self.run_times[0]
        first_windows = plan_windows(
            begin, None, rule, self.settings.ALLOWED_LATENESS, self.settings.MAX_CATCH_UP
        )
        return RunRange(begin, self.run_times[-1], self.rule.query_frequency, first_windows)


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a rule would have told: the object of `backtest --format json`.

    `first` and `last` are the moments of the runs at the ends (UTC); `settings` are all that decided, `overridden` those
    that were given for this backtest. `read` counts the rows of both sides that were held, `health` and `rejected` speak
    of the whole range. `published` is the published rule at the same moments, without a memory of its own.
    """

    rule: str
    name: str
    first_run: datetime
    last_run: datetime
    settings: Mapping[str, str]
    overridden: Mapping[str, str]
    row_counts: Mapping[str, int]
    health: Mapping[str, SideHealth]
    rejected: Mapping[str, Rejected]
    figures: BacktestFigures
    published_rule: str | None
    published: Comparison | None
    noise_reductions: Sequence[NoiseReduction]


def make_plan(
    rule_name: str, begin: datetime, end: datetime, assignments: Sequence[str], environment: Mapping[str, str]
) -> Plan:
    """The plan of some options. Raises ConfigurationError naming what is wrong."""
    chosen_overrides = overrides(assignments)
    setting_values = {name: value for name, value in environment.items() if name in (*SETTINGS, *READ_BY)}
    settings = settings_from({**setting_values, **chosen_overrides.settings})
    rule = load_rule(rule_name, transform=chosen_overrides.apply)
    published = rule.sequence.published
    return Plan(
        rule,
        load_rule(published.rule) if published else None,
        settings,
        run_times(begin, end, rule.query_frequency),
        {
            **chosen_overrides.settings,
            **{".".join(path): str(value) for path, value in chosen_overrides.rule.items()},
        },
    )


def run_backtest(
    plan: Plan, archive: Archive, silences: Sequence[Silence], show_progress: ShowProgress
) -> Backtest:
    """The result of a plan over logs of the past, and what each silence would remove. Raises what Source.read raises."""
    past_logs = archive.read(plan.rule, plan.run_range(plan.rule))
    comparison = None
    if plan.published:
        comparison = PublishedComparison(
            plan.published, archive.read(plan.published, plan.run_range(plan.published))
        )
    figures = Simulation(plan.rule, past_logs, plan.run_times, plan.options, show_progress).figures(
        "the runs", comparison
    )
    what_if_figures = [
        (
            what_if,
            Simulation(what_if.rule, past_logs, plan.run_times, what_if.options, show_progress).figures(
                what_if.label
            ),
        )
        for what_if in what_ifs(plan.rule, plan.options, figures, silences)
    ]
    return Backtest(
        rule=plan.rule.folder,
        name=plan.rule.name,
        first_run=plan.run_times[0],
        last_run=plan.run_times[-1],
        settings=_settings(plan),
        overridden=plan.overridden,
        row_counts=past_logs.row_counts(),
        health=past_logs.health,
        rejected=past_logs.rejected,
        figures=figures,
        published_rule=plan.published.folder if plan.published else None,
        published=comparison.comparison() if comparison else None,
        noise_reductions=[
            noise_reduction(what_if, variant_figures, figures) for what_if, variant_figures in what_if_figures
        ],
    )


def _settings(plan: Plan) -> dict[str, str]:
    """All that decided, as one would write it."""
    rule, settings = plan.rule, plan.settings
    lateness = max(settings.ALLOWED_LATENESS or rule.lateness, rule.lateness)
    effective_settings: dict[str, object] = {
        "within": rule.sequence.within,
        "queryFrequency": rule.query_frequency,
        "groupingConfiguration.lookbackDuration": rule.grouping.lookback_duration,
        "threshold": ", ".join(f"{kind}: {threshold}" for kind, threshold in rule.sequence.threshold.items())
        or "none",
        "exclusions": ", ".join(exclusion.name for exclusion in rule.exclusions) or "none",
        "on_call.mode": rule.on_call.mode,
        "ALLOWED_LATENESS": lateness,
        "MAX_CATCH_UP": settings.MAX_CATCH_UP,
        "STORM_ALERTS": settings.STORM_ALERTS,
        "FLOOD_SIGNALS": settings.FLOOD_SIGNALS,
    }
    return {name: _format_value(value) for name, value in effective_settings.items()}


def _format_value(value: object) -> str:
    """A value as the settings and rules here have it: a day is 24 hours in them."""
    if isinstance(value, timedelta) and value <= timedelta(days=1) and not value % timedelta(hours=1):
        return f"PT{value // timedelta(hours=1)}H"
    return str(to_jsonable_python(value))
