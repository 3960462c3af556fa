"""Exported logs in a folder, where a workspace would be."""

from collections.abc import Iterator

from detection.check.bench import Bench
from detection.check.finding import Finding, green, yellow
from detection.check.judging import span
from detection.job import open_source
from detection.messages.text import many
from detection.window import windows


def folder(bench: Bench) -> Iterator[Finding]:
    """Whether the folder's files can be read by the rules, and what a run would see of them now."""
    now = bench.clock()
    for rule in bench.rules:
        health = open_source(bench.settings, rule, bench.clock).read(rule, windows(now, None, rule)).health
        for side, found in health.items():
            name = f"{side} of {rule.folder}"
            if found.newest is None:
                yield yellow(
                    name,
                    "read; no row in the windows of a run now",
                    "exports are old: `matches --at` asks at their time",
                )
            else:
                yield green(
                    name,
                    f"read; {many(found.rows, 'row')} in the windows of a run now, the newest {span(now - found.newest)} ago",
                )
    what = (
        "logs come from LOGS_DIR: there is no token, plan, arrival, operator or clock of a service to ask for"
    )
    yield green("workspace", what)
