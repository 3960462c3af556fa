"""All checks in order, for the keyboard; not deployed. health.py has the quick ones."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

from detection.base.errors import ConfigurationError
from detection.base.sign_in import TENANT_IGNORED, is_tenant_ignored
from detection.check import destinations, storage
from detection.check.checklist import Check, Finding, red, yellow
from detection.check.context import CheckContext
from detection.check.health import check_link_key, check_rules, check_schedule, check_settings
from detection.check.page import check_page
from detection.check.workspaces import WorkspaceChecks, check_folder
from detection.messages.text import escape_line
from detection.settings import misspelt_settings

SendMode = Literal["nothing", "test", "canary"]


def all_checks(context: CheckContext, send_mode: SendMode = "nothing") -> Iterator[Check]:
    """All checks. The checks of the logs depend on whether the settings name a workspace or a folder."""
    yield Check("settings", partial(check_settings, context))
    yield Check("setting names", partial(check_setting_names, context))
    yield Check("schedule", partial(check_schedule, context), ("settings",))
    yield Check("rules", partial(check_rules, context), ("settings",))
    try:
        reads_folder = context.settings.LOGS_DIR is not None
    except ConfigurationError:  # the check of the settings reports it
        reads_folder = False
    if reads_folder:
        yield Check("logs", partial(check_folder, context), ("rules",))
    else:
        workspace_checks = WorkspaceChecks(context)
        yield Check("token", workspace_checks.check_token, ("settings",))
        yield Check("workspace", workspace_checks.check_access, ("token",))
        yield Check("tables", workspace_checks.check_tables, ("rules", "workspace"))
        yield Check("sources", workspace_checks.check_sources, ("tables",))
        yield Check("queries", workspace_checks.check_queries, ("rules", "workspace"))
        yield Check("identities", workspace_checks.check_identities, ("queries",))
        yield Check("operators", workspace_checks.check_operators, ("workspace",))
        yield Check("alarms", partial(destinations.check_alarms, context), ("settings",))
    yield Check("link key", partial(check_link_key, context), ("settings",))
    yield Check("incident table", partial(storage.check_incident_table, context), ("settings",))
    yield Check("last runs", partial(storage.check_last_runs, context), ("rules", "incident table"))
    yield Check("outbox", partial(storage.check_outbox, context), ("rules", "incident table"))
    yield Check("silences", partial(storage.check_silences, context), ("rules", "incident table"))
    yield Check("page", partial(check_page, context), ("settings",))
    match send_mode:
        case "nothing":
            yield Check("destinations", partial(destinations.list_destinations, context), ("settings",))
        case "test":
            yield Check("destinations", partial(destinations.send_tests, context), ("rules",))
        case "canary":
            yield Check("canary", partial(destinations.send_canary, context), ("rules", "incident table"))


def check_setting_names(context: CheckContext) -> Iterator[Finding]:
    """A finding for each variable that nearly has the name of a setting, and for a tenant that is ignored."""
    for variable, name in misspelt_settings(context.environment).items():
        message = f"{escape_line(variable)} is not a setting and is ignored; {name} is not set."
        yield red(f"setting {escape_line(variable)}", message, f"Rename it to {name}, or unset it.")
    if is_tenant_ignored(context.environment):
        remedy = "Unset it, or set AZURE_CLIENT_SECRET to sign in as a service principal."
        yield yellow("setting AZURE_TENANT_ID", f"{TENANT_IGNORED}.", remedy)
