"""The parts of the job that the checks use, each created on first use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from detection.app import Clock, Job, load_rules, open_table
from detection.logs.log_analytics.client import LogAnalytics, open_log_analytics
from detection.rules.loading import RuleFault
from detection.rules.model import Rule
from detection.settings import Settings, settings_from
from detection.store.outbox import Outbox, table_outbox
from detection.store.table import Table

# The partition of the incident table that the checks write to. No rule folder has this name.
CHECK_PARTITION = "~check"


@dataclass
class CheckContext:
    """The job that an environment describes. Raises ConfigurationError for a part that cannot be created."""

    environment: Mapping[str, str]
    clock: Clock
    # The time of each rule's last complete run, UTC; None before the first, or where it cannot be read. The
    # check of the last runs fills it.
    last_complete_runs: dict[str, datetime | None] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        return settings_from(self.environment)

    @property
    def rules(self) -> list[Rule]:
        """The rules that run; disabled rules are left out."""
        return self._loaded_rules[0]

    @property
    def rule_faults(self) -> list[RuleFault]:
        return self._loaded_rules[1]

    @cached_property
    def table(self) -> Table:
        return open_table(self.settings)

    @cached_property
    def job(self) -> Job:
        return Job(self.settings, self.rules, self.table, self.clock, rule_faults=self.rule_faults)

    @cached_property
    def outbox(self) -> Outbox:
        """The outbox of all rules of the table, also of rules that do not run."""
        return table_outbox(self.table, self.job.folders)

    @cached_property
    def logs(self) -> LogAnalytics:
        """A client that queries all workspaces at once, as a run does."""
        settings = self.settings
        return open_log_analytics(
            settings.LOG_ANALYTICS_WORKSPACE_ID,
            settings.LOG_ANALYTICS_ENDPOINT,
            settings.AZURE_CLIENT_ID,
            self.clock,
        )

    @cached_property
    def single_workspaces(self) -> dict[str, LogAnalytics]:
        return self.logs.single_workspaces()

    @cached_property
    def _loaded_rules(self) -> tuple[list[Rule], list[RuleFault]]:
        return load_rules(self.settings)
