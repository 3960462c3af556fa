"""The quick checks, for the function `health`: one query per source and a few table requests.

`python -m detection check` also runs the checks that cost more, write or send.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import TypeAdapter

from detection.app import Clock
from detection.base.ncrontab import schedule_problem
from detection.base.timestamps import iso
from detection.check import storage
from detection.check.checklist import (
    Check,
    Finding,
    Level,
    catch_errors,
    error_finding,
    green,
    red,
    run_at_once,
    run_checks,
    yellow,
)
from detection.check.context import CheckContext
from detection.check.evaluation import SILENT_AFTER, evaluate_age, evaluate_unset_format
from detection.check.questions import newest_query
from detection.check.workspaces import parse_arrivals, sources_of
from detection.messages.text import plural

RETRY_FOR = 10.0  # seconds in which a query may be retried: the caller waits for the response
DEADLINE = 12.0  # seconds for the services to answer; with a cold start, the response comes within 15


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The response: the worst level of the findings, their time (ISO 8601, UTC) and the findings.

    `last_complete_runs` has the start of each rule's last complete run (ISO 8601, UTC); null before the first
    run, or where it cannot be read.
    """

    status: Level
    time: str
    last_complete_runs: Mapping[str, str | None]
    findings: Sequence[Finding]


HEALTH_REPORT = TypeAdapter(HealthReport)


def health(environment: Mapping[str, str], clock: Clock, seconds: float = DEADLINE) -> tuple[int, bytes]:
    """The HTTP status and the JSON body: 503 if a finding is red, else 200. No service is awaited for longer
    than `seconds`.

    The body contains no secret and no value of a setting.
    """
    context = CheckContext(environment, clock)
    findings = quick_findings(context, seconds)
    levels = {finding.level for finding in findings}
    status: Level = "red" if "red" in levels else "yellow" if "yellow" in levels else "green"
    runs = {name: iso(time) if time else None for name, time in context.last_complete_runs.items()}
    report = HealthReport(status, iso(clock()), runs, findings)
    return 503 if status == "red" else 200, HEALTH_REPORT.dump_json(report)


def quick_findings(context: CheckContext, seconds: float = DEADLINE) -> list[Finding]:
    """The findings of the quick checks: those that ask no service, then those that ask one, all at once."""
    root_causes: dict[str, str] = {}
    own_checks = [
        Check("settings", partial(check_settings, context)),
        Check("schedule", partial(check_schedule, context), ("settings",)),
        Check("rules", partial(check_rules, context), ("settings",)),
        Check("incident table", partial(check_table_is_set, context), ("settings",)),
        Check("destinations", partial(check_destinations, context), ("settings",)),
        Check("link key", partial(check_link_key, context), ("settings",)),
    ]
    findings = list(run_checks(own_checks, root_causes=root_causes))
    checks_by_service = {
        "The query API": [Check("logs", partial(check_newest_rows, context), ("rules",))],
        "The incident table": [
            Check("last runs", partial(storage.check_last_runs, context), ("rules", "incident table")),
            Check("outbox", partial(storage.check_outbox, context), ("rules", "incident table")),
            Check("silences", partial(storage.check_silences, context), ("rules", "incident table")),
        ],
    }
    return [*findings, *run_at_once(checks_by_service, root_causes, seconds)]


def check_newest_rows(context: CheckContext) -> Iterator[Finding]:
    """The age of the newest row of each source, over all workspaces together."""
    if context.settings.LOGS_DIR:
        yield green("logs", "The logs are files in LOGS_DIR.")
        return
    now, look_back = context.clock(), 2 * SILENT_AFTER
    for source in sources_of(context):
        name = f"newest row of {source.name}"
        with catch_errors(name) as findings:
            query = newest_query(source.rule, source.side, now - look_back)
            arrivals = parse_arrivals(context.logs.run_query(name, query, RETRY_FOR))
            findings.append(evaluate_age(name, arrivals, now, look_back))
        yield from findings


def check_settings(context: CheckContext) -> Iterator[Finding]:
    """All errors in the settings at once, without their values; also schedules that the host refuses."""
    names = type(context.settings).model_fields
    setting_count = sum(bool(context.environment.get(name, "").strip()) for name in names)
    yield green("settings", f"{plural(setting_count, 'setting')} set, all valid.")


def check_schedule(context: CheckContext) -> Iterator[Finding]:
    """A finding if the host starts `detect` less than once an hour."""
    if problem := schedule_problem(context.settings.DETECT_SCHEDULE):
        yield red("schedule", problem, "Set DETECT_SCHEDULE to a time of every hour, such as `0 5 * * * *`.")


def check_table_is_set(context: CheckContext) -> Iterator[Finding]:
    """An error if the settings name no incident table. The next checks read from it."""
    _ = context.table
    yield from ()


def check_rules(context: CheckContext) -> Iterator[Finding]:
    """Whether the rule folders are valid, each by itself."""
    for fault in context.rule_faults:
        yield error_finding(f"rule {fault.folder}", fault.error)
    if not context.rules:
        message = "No rule can run." if context.rule_faults else "Every rule is disabled."
        yield red("rules", message, "Set `enabled: true` in a rule, or name another in RULES.")
    else:
        mode_notes = {"page": "", "observe": " (observe: notifies no person)"}
        names = ", ".join(rule.folder + mode_notes[rule.on_call.mode] for rule in context.rules)
        yield green("rules", f"{plural(len(context.rules), 'rule')}: {names}.")


def check_destinations(context: CheckContext) -> Iterator[Finding]:
    """Whether the alerts of the rules reach a destination, and the destinations whose format is not set."""
    webhooks = context.settings.destinations
    if webhooks:
        yield from (evaluate_unset_format(webhook.name) for webhook in webhooks if not webhook.message_format)
        names = ", ".join(webhook.name for webhook in webhooks)
        yield green("destinations", f"{plural(len(webhooks), 'destination')}: {names}.")
    elif context.rule_faults or any(rule.on_call.mode == "page" for rule in context.rules):
        yield red(
            "destinations",
            "No destination is set: alerts stay in the incident table and notify no person.",
            "Set WEBHOOK_URL or WEBHOOKS, or `on_call: {mode: observe}` in every rule.",
        )
    else:
        yield green("destinations", "No destination is set, and every rule only observes.")


def check_link_key(context: CheckContext) -> Iterator[Finding]:
    """A finding if messages have no link to the page, because no key signs it."""
    settings = context.settings
    if settings.PAGE_URL and settings.destinations and not settings.LINK_KEY:
        yield yellow(
            "link key",
            "No key signs links: messages have none to the page, and an instance of the app refuses forms "
            "of another.",
            "Set LINK_KEY to random characters (`openssl rand -hex 32`); a deployment does so.",
        )
