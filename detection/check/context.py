"""What the checks work with: the parts of the job, each made when it is first asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from detection.app import Clock, Job, open_table
from detection.logs.log_analytics.client import LogAnalytics, open_log_analytics
from detection.rules.loading import load_rule
from detection.rules.model import Rule
from detection.settings import Settings, settings_from
from detection.store.table import Table

# Rows of ours lie here in the incident table, never among those of a rule: no folder of a rule is called so.
CHECK_PARTITION = "~check"


@dataclass
class CheckContext:
    """The job as an environment describes it, part by part: what cannot be made raises ConfigurationError each time."""

    environment: Mapping[str, str]
    clock: Clock

    @cached_property
    def settings(self) -> Settings:
        """The settings."""
        return settings_from(self.environment)

    @cached_property
    def rules(self) -> list[Rule]:
        """The rules that run, with those that are off left out."""
        return [rule for name in self.settings.rules if (rule := load_rule(name)).enabled]

    @cached_property
    def table(self) -> Table:
        """The incident table."""
        return open_table(self.settings)

    @cached_property
    def job(self) -> Job:
        """The job."""
        return Job(self.settings, self.rules, self.table, self.clock)

    @cached_property
    def logs(self) -> LogAnalytics:
        """All workspaces as one, as a run asks them."""
        settings = self.settings
        return open_log_analytics(
            settings.LOG_ANALYTICS_WORKSPACE_ID,
            settings.LOG_ANALYTICS_ENDPOINT,
            settings.AZURE_CLIENT_ID,
            self.clock,
            inline=self.inline,
        )

    @cached_property
    def single_workspaces(self) -> dict[str, LogAnalytics]:
        """Each workspace by itself, by its id."""
        return self.logs.single_workspaces()

    @property
    def inline(self) -> bool:
        """Whether the connector's parsers are written into the queries."""
        return self.settings.PARSERS == "inline"
