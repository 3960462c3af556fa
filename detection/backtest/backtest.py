"""A backtest from its options to its result: read once, run hour by hour, and run again without what keeps the noise down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic_core import to_jsonable_python

from detection.backtest.figures import Figures
from detection.backtest.overrides import SETTINGS, overrides
from detection.backtest.simulation import Simulation, Watch
from detection.backtest.what_ifs import Removed, removed, what_ifs
from detection.events import Health, Rejected
from detection.replay import Beside, Comparison, moments
from detection.rule import Rule, load_rule
from detection.settings import Settings, settings_from
from detection.silences import Silence
from detection.sources.past import Archive, Range
from detection.tell import Terms
from detection.window import windows

# Where and how the workspace is read; beside SETTINGS all that is taken from the environment.
READ_BY = ("LOG_ANALYTICS_WORKSPACE_ID", "LOG_ANALYTICS_ENDPOINT", "PARSERS", "AZURE_CLIENT_ID")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be tried: a rule with the settings of its runs, and their moments."""

    rule: Rule
    published: Rule | None
    settings: Settings
    at: Sequence[datetime]
    overridden: Mapping[str, str]

    @property
    def terms(self) -> Terms:
        """The terms of every run, as the job has them with one destination."""
        return Terms(
            storm=self.settings.STORM_ALERTS,
            lateness=self.settings.ALLOWED_LATENESS,
            max_catch_up=self.settings.MAX_CATCH_UP,
            flood=self.settings.FLOOD_SIGNALS,
        )

    def runs(self, rule: Rule) -> Range:
        """The range of the runs, for one of the two rules."""
        begin = self.at[0]
        first = windows(begin, None, rule, self.settings.ALLOWED_LATENESS, self.settings.MAX_CATCH_UP)
        return Range(begin, self.at[-1], self.rule.query_frequency, first)


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a rule would have told: the object of `backtest --format json`.

    `first` and `last` are the moments of the runs at the ends (UTC); `settings` are all that decided, `overridden` those
    that were given for this backtest. `read` counts the rows of both sides that were held, `health` and `rejected` speak
    of the whole range. `published` is the published rule at the same moments, without a memory of its own.
    """

    rule: str
    name: str
    first: datetime
    last: datetime
    settings: Mapping[str, str]
    overridden: Mapping[str, str]
    read: Mapping[str, int]
    health: Mapping[str, Health]
    rejected: Mapping[str, Rejected]
    figures: Figures
    published_rule: str | None
    published: Comparison | None
    removed: Sequence[Removed]


def planned(
    rule: str, begin: datetime, end: datetime, sets: Sequence[str], environment: Mapping[str, str]
) -> Plan:
    """The plan of some options. Raises ConfigurationError naming what is wrong."""
    given = overrides(sets)
    taken = {name: value for name, value in environment.items() if name in (*SETTINGS, *READ_BY)}
    settings = settings_from({**taken, **given.settings})
    chosen = load_rule(rule, amend=given.amend)
    published = chosen.sequence.published
    return Plan(
        chosen,
        load_rule(published.rule) if published else None,
        settings,
        moments(begin, end, chosen.query_frequency),
        {**given.settings, **{".".join(path): str(value) for path, value in given.rule.items()}},
    )


def backtested(plan: Plan, archive: Archive, silences: Sequence[Silence], watch: Watch) -> Backtest:
    """The result of a plan over logs of the past, and what each silence would remove. Raises what Source.read raises."""
    past = archive.read(plan.rule, plan.runs(plan.rule))
    beside = None
    if plan.published:
        beside = Beside(plan.published, archive.read(plan.published, plan.runs(plan.published)))
    figures = Simulation(plan.rule, past, plan.at, plan.terms, watch).figures("the runs", beside)
    tried = [
        (one, Simulation(one.rule, past, plan.at, one.terms, watch).figures(one.what))
        for one in what_ifs(plan.rule, plan.terms, figures, silences)
    ]
    return Backtest(
        rule=plan.rule.folder,
        name=plan.rule.name,
        first=plan.at[0],
        last=plan.at[-1],
        settings=_settings(plan),
        overridden=plan.overridden,
        read=past.size(),
        health=past.health,
        rejected=past.rejected,
        figures=figures,
        published_rule=plan.published.folder if plan.published else None,
        published=beside.comparison() if beside else None,
        removed=[removed(one, told, figures) for one, told in tried],
    )


def _settings(plan: Plan) -> dict[str, str]:
    """All that decided, as one would write it."""
    rule, settings = plan.rule, plan.settings
    lateness = max(settings.ALLOWED_LATENESS or rule.lateness, rule.lateness)
    chosen: dict[str, object] = {
        "within": rule.sequence.within,
        "queryFrequency": rule.query_frequency,
        "groupingConfiguration.lookbackDuration": rule.grouping.lookback_duration,
        "minimum": ", ".join(f"{kind}: {least}" for kind, least in rule.sequence.minimum.items()) or "none",
        "exclusions": ", ".join(one.name for one in rule.exclusions) or "none",
        "on_call.mode": rule.on_call.mode,
        "ALLOWED_LATENESS": lateness,
        "MAX_CATCH_UP": settings.MAX_CATCH_UP,
        "STORM_ALERTS": settings.STORM_ALERTS,
        "FLOOD_SIGNALS": settings.FLOOD_SIGNALS,
    }
    return {name: _written(value) for name, value in chosen.items()}


def _written(value: object) -> str:
    """A value as the settings and rules here have it: a day is 24 hours in them."""
    if isinstance(value, timedelta) and value <= timedelta(days=1) and not value % timedelta(hours=1):
        return f"PT{value // timedelta(hours=1)}H"
    return str(to_jsonable_python(value))
