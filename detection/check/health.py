"""The quick checks, for the function `health`: each time one query for each source, and a few table requests.

Left out is what costs more, writes, or sends: `python -m detection check` has all of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import TypeAdapter

from detection.app import Clock
from detection.base.timestamps import iso
from detection.check import storage
from detection.check.checklist import Check, Finding, Level, green, red, run_check, run_checks
from detection.check.context import CheckContext
from detection.check.evaluation import SILENT_AFTER, evaluate_age
from detection.check.questions import newest_query
from detection.check.workspaces import RuleSource, parse_arrivals, sources_of
from detection.messages.text import plural

RETRY_FOR = 30.0  # seconds in which a question may be sent again; whoever asks waits for the answer


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The answer: the worst of the findings, when they were made (ISO 8601, UTC), and all of them."""

    status: Level
    time: str
    findings: Sequence[Finding]


HEALTH_REPORT = TypeAdapter(HealthReport)


def health(environment: Mapping[str, str], clock: Clock) -> tuple[int, bytes]:
    """The HTTP status and the JSON body: 200 unless something is red, then 503. No secret and no setting's value is in it."""
    findings = quick_findings(CheckContext(environment, clock))
    report = HealthReport(worst_level(findings), iso(clock()), findings)
    return 503 if report.status == "red" else 200, HEALTH_REPORT.dump_json(report)


def quick_findings(context: CheckContext) -> list[Finding]:
    """The findings of the quick checks."""
    return list(run_checks(_quick_checks(context)))


def worst_level(findings: Sequence[Finding]) -> Level:
    """The worst level among them."""
    levels = {finding.level for finding in findings}
    return "red" if "red" in levels else "yellow" if "yellow" in levels else "green"


def _quick_checks(context: CheckContext) -> Iterator[Check]:
    yield Check("settings", partial(check_settings, context))
    yield Check("rules", partial(check_rules, context), ("settings",))
    yield Check("logs", partial(_check_logs, context), ("rules",))
    yield Check("last runs", partial(storage.check_last_runs, context), ("rules",))
    yield Check("outbox", partial(storage.check_outbox, context), ("rules",))


def _check_logs(context: CheckContext) -> Iterator[Finding]:
    """The newest row of each source, in all workspaces together."""
    if context.settings.LOGS_DIR:
        yield green("logs", "exported ones, in a folder")
        return
    for source in sources_of(context):
        name = f"newest row of {source.name}"
        yield from run_check(name, partial(_check_newest_row, context, source, name))


def _check_newest_row(context: CheckContext, source: RuleSource, name: str) -> Iterator[Finding]:
    now = context.clock()
    query = newest_query(source.rule, source.side, now - 2 * SILENT_AFTER, inline=context.inline)
    yield evaluate_age(
        name, parse_arrivals(context.logs.run_query(name, query, RETRY_FOR)), now, 2 * SILENT_AFTER
    )


def check_settings(context: CheckContext) -> Iterator[Finding]:
    """All that is wrong with the settings at once; no value is shown."""
    settings = context.settings
    setting_count = sum(
        name in context.environment and bool(context.environment[name].strip())
        for name in type(settings).model_fields
    )
    yield green("settings", f"{setting_count} set, all valid")


def check_rules(context: CheckContext) -> Iterator[Finding]:
    """Whether the rule folders are sound."""
    if not context.rules:
        yield red("rules", "every rule is off", "set `enabled: true` in one, or RULES to another")
    else:
        mode_notes = {"page": "", "observe": " (only observes: pages nobody)"}
        names = ", ".join(rule.folder + mode_notes[rule.on_call.mode] for rule in context.rules)
        yield green("rules", f"{plural(len(context.rules), 'rule')}: {names}")
