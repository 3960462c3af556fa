"""All checks in their order, for the keyboard; not deployed. health.py has the quick ones."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

from detection.base.errors import ConfigurationError
from detection.check import destinations, storage
from detection.check.checklist import Check
from detection.check.context import CheckContext
from detection.check.health import check_rules, check_settings
from detection.check.workspaces import WorkspaceChecks, check_folder

SendMode = Literal["nothing", "test", "canary"]


def all_checks(context: CheckContext, send_mode: SendMode = "nothing") -> Iterator[Check]:
    """All of them. What there is to check of the logs is known when the settings are."""
    yield Check("settings", partial(check_settings, context))
    yield Check("rules", partial(check_rules, context), ("settings",))
    yield from _log_checks(context)
    yield Check("incident table", partial(storage.check_incident_table, context), ("settings",))
    yield Check("last runs", partial(storage.check_last_runs, context), ("rules", "incident table"))
    yield Check("outbox", partial(storage.check_outbox, context), ("rules", "incident table"))
    match send_mode:
        case "nothing":
            yield Check("destinations", partial(destinations.list_destinations, context), ("settings",))
        case "test":
            yield Check("destinations", partial(destinations.send_tests, context), ("rules",))
        case "canary":
            yield Check("canary", partial(destinations.send_canary, context), ("rules", "incident table"))


def _log_checks(context: CheckContext) -> Iterator[Check]:
    """Of the workspaces, or of the folder that is read instead."""
    if _reads_folder(context):
        yield Check("logs", partial(check_folder, context), ("rules",))
        return
    workspace_checks = WorkspaceChecks(context)
    yield Check("token", workspace_checks.check_token, ("settings",))
    yield Check("workspace", workspace_checks.check_access, ("token",))
    yield Check("tables", workspace_checks.check_tables, ("rules", "workspace"))
    yield Check("sources", workspace_checks.check_sources, ("tables",))
    yield Check("queries", workspace_checks.check_queries, ("rules", "workspace"))
    yield Check("identities", workspace_checks.check_identities, ("queries",))
    yield Check("operators", workspace_checks.check_operators, ("workspace",))


def _reads_folder(context: CheckContext) -> bool:
    try:
        return context.settings.LOGS_DIR is not None
    except ConfigurationError:  # which the check of the settings has found by now
        return False
