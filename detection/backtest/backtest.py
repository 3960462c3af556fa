"""A backtest: runs a rule hour by hour over logs that are read once, then without each noise reduction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic_core import to_jsonable_python

from detection.backtest.figures import BacktestFigures
from detection.backtest.overrides import SETTINGS, overrides
from detection.backtest.simulation import ShowProgress, simulate
from detection.backtest.what_ifs import NoiseReduction, noise_reduction, what_ifs
from detection.base.garbage import collect_garbage_rarely
from detection.logs.events import Rejected, SideHealth
from detection.logs.history.past import Archive, RunRange
from detection.logs.window import plan_windows
from detection.rules.loading import load_rule
from detection.rules.model import Rule
from detection.rules.silences import Silence
from detection.runs.commit import RunOptions
from detection.runs.limits import require_commits_fit
from detection.runs.replay import Comparison, PublishedComparison, run_times
from detection.settings import Settings, settings_from

# How the workspace is read. A backtest takes these and SETTINGS from the environment, and nothing else.
READ_BY = ("LOG_ANALYTICS_WORKSPACE_ID", "LOG_ANALYTICS_ENDPOINT", "PARSERS", "AZURE_CLIENT_ID")


@dataclass(frozen=True, slots=True)
class Plan:
    """A rule, the settings of its runs, and the moments of the runs (UTC)."""

    rule: Rule
    published: Rule | None
    settings: Settings
    run_times: Sequence[datetime]
    overridden: Mapping[str, str]

    @property
    def options(self) -> RunOptions:
        """The options of every run: those of the job with one destination."""
        return RunOptions(
            storm_alerts=self.settings.STORM_ALERTS,
            lateness=self.settings.ALLOWED_LATENESS,
            max_catch_up=self.settings.MAX_CATCH_UP,
            flood_signals=self.settings.FLOOD_SIGNALS,
        )

    def effective_settings(self) -> dict[str, str]:
        """The settings and rule keys that affect alerts, as text."""
        rule, settings = self.rule, self.settings
        thresholds = (f"{kind}: {threshold}" for kind, threshold in rule.sequence.threshold.items())
        effective_settings = {
            "within": rule.sequence.within,
            "queryFrequency": rule.query_frequency,
            "groupingConfiguration.lookbackDuration": rule.grouping.lookback_duration,
            "threshold": ", ".join(thresholds) or "none",
            "exclusions": ", ".join(exclusion.name for exclusion in rule.exclusions) or "none",
            "on_call.mode": rule.on_call.mode,
            "ALLOWED_LATENESS": rule.allowed_lateness(settings.ALLOWED_LATENESS),
            "MAX_CATCH_UP": settings.MAX_CATCH_UP,
            "STORM_ALERTS": settings.STORM_ALERTS,
            "FLOOD_SIGNALS": settings.FLOOD_SIGNALS,
        }
        # Hours up to a day stay hours, as in the documentation: PT24H, not P1D.
        hour, day = timedelta(hours=1), timedelta(days=1)
        return {
            name: f"PT{value // hour}H"
            if isinstance(value, timedelta) and value <= day and not value % hour
            else str(to_jsonable_python(value))
            for name, value in effective_settings.items()
        }

    def run_range(self, rule: Rule) -> RunRange:
        """The range of the runs, for the rule or for the published rule."""
        begin = self.run_times[0]
        first_windows = plan_windows(
            begin, None, rule, self.settings.ALLOWED_LATENESS, self.settings.MAX_CATCH_UP
        )
        return RunRange(begin, self.run_times[-1], self.rule.query_frequency, first_windows)


@dataclass(frozen=True, slots=True)
class Backtest:
    """The result of a backtest, and the object of `backtest --format json`.

    `first_run` and `last_run` are moments of runs (UTC). `settings` are all settings and rule keys that
    affect alerts, `overridden` those that `--set` changed. `row_counts` counts the rows of each side that the
    runs could use; `health` and `rejected` cover all rows of the range. `published` compares the published
    rule, which ran at the same moments and has no dedup marks.
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
    """The plan for the options of the command. Raises ConfigurationError if an option is not valid."""
    chosen_overrides = overrides(assignments)
    setting_values = {name: value for name, value in environment.items() if name in (*SETTINGS, *READ_BY)}
    settings = settings_from({**setting_values, **chosen_overrides.settings})
    saved_parsers = {"saved_parsers": settings.has_saved_parsers}
    rule = load_rule(rule_name, transform=chosen_overrides.apply).model_copy(update=saved_parsers)
    require_commits_fit(rule, settings.ALLOWED_LATENESS, settings.MAX_CATCH_UP)
    published = rule.sequence.published
    return Plan(
        rule,
        load_rule(published.rule).model_copy(update=saved_parsers) if published else None,
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
    """Runs a plan over the logs, and again for each noise reduction. Raises the errors of Source.read."""
    collect_garbage_rarely()
    past_logs = archive.read(plan.rule, plan.run_range(plan.rule))
    comparison = None
    if plan.published:
        comparison = PublishedComparison(
            plan.published, archive.read(plan.published, plan.run_range(plan.published))
        )
    times = plan.run_times
    figures = simulate(plan.rule, past_logs, times, plan.options, "the runs", show_progress, comparison)
    noise_reductions = []
    for what_if in what_ifs(plan.rule, plan.options, figures, silences):
        variant = simulate(what_if.rule, past_logs, times, what_if.options, what_if.label, show_progress)
        noise_reductions.append(noise_reduction(what_if, variant, figures))
    return Backtest(
        rule=plan.rule.folder,
        name=plan.rule.name,
        first_run=plan.run_times[0],
        last_run=plan.run_times[-1],
        settings=plan.effective_settings(),
        overridden=plan.overridden,
        row_counts=past_logs.row_counts(),
        health=past_logs.health,
        rejected=past_logs.rejected,
        figures=figures,
        published_rule=plan.published.folder if plan.published else None,
        published=comparison.comparison() if comparison else None,
        noise_reductions=noise_reductions,
    )
