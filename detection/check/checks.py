"""All checks in their order, for the keyboard; not deployed. health.py has the quick ones."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

from detection.check import basics, destinations, keeping
from detection.check.bench import Bench
from detection.check.folder import folder
from detection.check.order import Check
from detection.check.workspaces import Workspaces
from detection.errors import ConfigurationError

Sending = Literal["nothing", "test", "canary"]


def checks(bench: Bench, sending: Sending = "nothing") -> Iterator[Check]:
    """All of them. What there is to check of the logs is known when the settings are."""
    yield Check("settings", partial(basics.settings, bench))
    yield Check("rules", partial(basics.rules, bench), ("settings",))
    yield from _of_logs(bench)
    yield Check("incident table", partial(keeping.storage, bench), ("settings",))
    yield Check("last runs", partial(keeping.last_runs, bench), ("rules", "incident table"))
    yield Check("outbox", partial(keeping.outbox, bench), ("rules", "incident table"))
    match sending:
        case "nothing":
            yield Check("destinations", partial(destinations.listed, bench), ("settings",))
        case "test":
            yield Check("destinations", partial(destinations.sent, bench), ("rules",))
        case "canary":
            yield Check("canary", partial(destinations.canary, bench), ("rules", "incident table"))


def _of_logs(bench: Bench) -> Iterator[Check]:
    """Of the workspaces, or of the folder that is read instead."""
    if _in_folder(bench):
        yield Check("logs", partial(folder, bench), ("rules",))
        return
    asked = Workspaces(bench)
    yield Check("token", asked.token, ("settings",))
    yield Check("workspace", asked.reach, ("token",))
    yield Check("tables", asked.tables, ("rules", "workspace"))
    yield Check("sources", asked.sources, ("tables",))
    yield Check("queries", asked.queries, ("rules", "workspace"))
    yield Check("operators", asked.operators, ("workspace",))


def _in_folder(bench: Bench) -> bool:
    try:
        return bench.settings.LOGS_DIR is not None
    except ConfigurationError:  # which the check of the settings has found by now
        return False
