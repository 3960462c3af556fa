"""Exported logs in a folder, where a workspace would be."""

from collections.abc import Iterator

from detection.app import open_source
from detection.check.context import CheckContext
from detection.check.evaluation import duration_text
from detection.check.finding import Finding, green, yellow
from detection.logs.window import plan_windows
from detection.messages.text import plural


def check_folder(context: CheckContext) -> Iterator[Finding]:
    """Whether the folder's files can be read by the rules, and what a run would see of them now."""
    now = context.clock()
    for rule in context.rules:
        health_by_side = (
            open_source(context.settings, rule, context.clock)
            .read(rule, plan_windows(now, None, rule))
            .health
        )
        for side, side_health in health_by_side.items():
            name = f"{side} of {rule.folder}"
            if side_health.newest is None:
                yield yellow(
                    name,
                    "read; no row in the windows of a run now",
                    "exports are old: `matches --at` asks at their time",
                )
            else:
                yield green(
                    name,
                    f"read; {plural(side_health.rows, 'row')} in the windows of a run now, the newest {duration_text(now - side_health.newest)} ago",
                )
    message = (
        "logs come from LOGS_DIR: there is no token, plan, arrival, operator or clock of a service to ask for"
    )
    yield green("workspace", message)
