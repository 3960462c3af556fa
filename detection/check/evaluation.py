"""Turn measurements into findings. All durations are timedeltas, all times UTC."""

from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

from pydantic_core import from_json

from detection.base.timestamps import MAX_CLOCK_LEAD, iso
from detection.check.checklist import Finding, green, red, yellow
from detection.desk import RuleSilence
from detection.logs.coverage import Coverage, coverage_text, coverage_warning
from detection.messages.text import escape_line, plural
from detection.rules.model import KqlType, Rule
from detection.store.gaps import GAP_KEPT, Gap
from detection.store.outbox import DeadLetter, Queued

DAY = timedelta(days=1)
SILENT_AFTER = DAY  # of a source: the job's alarm has the same limit
LOOK_BACK = timedelta(days=7)  # of the query for arrivals
CLOCK_YELLOW = timedelta(minutes=1)
RUN_YELLOW, RUN_RED = 1.5, 2.5  # times queryFrequency; 2.5 hours raise the alarm "no complete run"
SHARED_WITHIN = timedelta(hours=3)  # a rule with a later run, which this app does not run, may run elsewhere
MAX_WAIT = timedelta(minutes=30)  # the alarm on waiting messages has the same limit
MAX_NAMED = 10  # silences in a finding
MAX_COUNTED = 1_000  # messages, per destination: each is read as a whole

NUMBER_TYPES = {"int", "long", "real", "decimal"}  # a query accepts any of them for another

_CONNECTOR = (
    "Check on the connector's page in Sentinel (Data connectors) that it is connected and collects data."
)
# The claims of an Entra token that name its identity.
_NAME_CLAIMS = ("upn", "unique_name", "appid", "azp", "oid")


class SourceArrivals(NamedTuple):
    """The rows of a source in a period: number, newest stamp, longest and 99th percentile delay."""

    rows: int
    newest: datetime | None
    longest_delay: timedelta | None = None
    percentile_99: timedelta | None = None


def duration_text(duration: timedelta) -> str:
    """A duration in words: "40 s", "12 min", "5 h", "3 d". It is rounded up."""
    for unit, name in ((DAY, "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min")):
        if duration >= 2 * unit:
            return f"{-(-duration // unit)} {name}"
    return f"{max(0, ceil(duration.total_seconds()))} s"


def token_identity(token: str) -> str:
    """The identity that an Entra token names in its claims, for display; the token is not verified."""
    try:
        _, claims, _ = token.split(".")
        claim_values = from_json(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        names = [
            f"{name} {escape_line(claim_values[name])}" for name in _NAME_CLAIMS if claim_values.get(name)
        ]
    except (ValueError, AttributeError, TypeError):
        return "The token comes from an emulator and names no identity."
    tenant = f", tenant {escape_line(claim_values['tid'])}" if claim_values.get("tid") else ""
    return f"Signed in as {names[0] if names else 'an unnamed identity'}{tenant}."


def evaluate_table(
    name: str,
    needed: Mapping[str, KqlType],
    types_by_column: Mapping[str, str],
    *,
    optional: bool,
) -> Finding:
    """A table's columns, compared with the columns that the rules' KQL names.

    The query API answered for the table, so the table is on the Analytics plan.
    """
    missing = [column for column in needed if column not in types_by_column]
    mismatches = [
        f"{column} is {types_by_column[column]} instead of {kind}"
        for column, kind in needed.items()
        if types_by_column.get(column, kind) != kind and not {types_by_column[column], kind} <= NUMBER_TYPES
    ]
    if missing and not optional:
        remedy = "Update the data connector: the rules' queries name these columns."
        return red(name, f"Lacks {', '.join(missing)}.", remedy)
    if mismatches:
        remedy = "Update the data connector: the rules' queries need these types."
        return red(name, f"{', '.join(mismatches)}.", remedy)
    optional_note = "; the others are optional" if missing else ""
    count = f"{len(needed) - len(missing)} of {plural(len(needed), 'needed column')}"
    return green(name, f"Has {count}{optional_note}. On the Analytics plan.")


def evaluate_missing_table(name: str, *, optional: bool, elsewhere: bool) -> Finding:
    """A table that a workspace does not have. `elsewhere`: another workspace that is read has it."""
    if optional:
        return green(name, "Missing, but optional.")
    if elsewhere:
        remedy = "Connect the data source here, or remove the workspace from LOG_ANALYTICS_WORKSPACE_ID."
        return yellow(name, "Missing here, present in another workspace.", remedy)
    return red(name, "Missing.", f"Connect the data source and wait for its first rows. {_CONNECTOR}")


def evaluate_plan(name: str) -> Finding:
    """A table that the query API refuses because of its plan."""
    message = "On the Basic or Auxiliary plan, which the query API refuses."
    command = "`az monitor log-analytics workspace table update --plan Analytics …`"
    return red(name, message, f"Move the table to the Analytics plan: {command}")


def evaluate_age(name: str, arrivals: SourceArrivals, now: datetime, look_back: timedelta) -> Finding:
    period = f"the last {duration_text(look_back)}"
    if arrivals.newest is None:
        return red(name, f"No row in {period}.", f"The rules need this source to find anything. {_CONNECTOR}")
    age = now - arrivals.newest
    message = f"{duration_text(age)} old; {plural(arrivals.rows, 'row')} in {period}."
    if age > SILENT_AFTER:
        return yellow(name, message, f"The source may have stopped. {_CONNECTOR}")
    return green(name, message)


def usable_lateness(rule: Rule, lateness: timedelta | None) -> timedelta:
    """How late a row may arrive so that an ordinary run still reads it, given the windows of the rule."""
    return rule.lateness if rule.sequence.windows == "query-period" else rule.allowed_lateness(lateness)


def evaluate_delay(name: str, arrivals: SourceArrivals, allowed_lateness: timedelta) -> Finding:
    """How long rows take to arrive, compared with the allowed lateness."""
    longest_delay, percentile_99 = arrivals.longest_delay, arrivals.percentile_99
    if longest_delay is None or percentile_99 is None:
        message = (
            "The service does not report arrival times." if arrivals.rows else "There are no rows to measure."
        )
        return yellow(name, message, "Run the check again later.")
    message = (
        f"Slowest row took {duration_text(longest_delay)} to arrive, 99 of 100 rows at most "
        f"{duration_text(percentile_99)}; the limit is {duration_text(allowed_lateness)}."
    )
    if longest_delay >= allowed_lateness:
        hours = -(-longest_delay // timedelta(hours=1)) + 1
        return red(
            name,
            message,
            f"Later rows are missed. Set ALLOWED_LATENESS=PT{hours}H. "
            "A rule with `windows: query-period` misses them whatever the setting.",
        )
    if 2 * longest_delay > allowed_lateness:
        return yellow(name, message, "Consider raising ALLOWED_LATENESS.")
    return green(name, message)


def evaluate_cut(name: str, count: int, column: str, look_back: timedelta) -> Finding:
    """Rows that name no actor because Log Analytics cut a column. `count` is at least 1."""
    message = (
        f"{plural(count, 'row')} in the last {duration_text(look_back)} without an actor, "
        f"because {column} was cut at 64 KB."
    )
    return yellow(
        name, message, "The rules miss these. Have callers send fewer or shorter tools and metadata."
    )


def evaluate_operators(name: str, wrong_lines: Sequence[str], line_count: int) -> Finding:
    """How the service answered the truth table."""
    if wrong_lines:
        return red(
            name,
            f"{len(wrong_lines)} of {line_count} lines of the truth table are wrong: "
            f"{'; '.join(wrong_lines[:3])}.",
            "The rules do not work as written in this workspace. Report this finding, and do not rely on the "
            "job until it is resolved.",
        )
    return green(
        name, f"All {line_count} lines of the truth table of has, has_any and array_length are right."
    )


def evaluate_clock(name: str, offset: timedelta) -> Finding:
    """This machine's clock compared with the service's; a positive offset means that it is ahead."""
    deviation = abs(offset)
    message = (
        f"{duration_text(deviation)} {'ahead of' if offset > timedelta(0) else 'behind'} the service's clock."
    )
    if deviation >= MAX_CLOCK_LEAD:
        remedy = "Runs and deliveries fail." if offset > timedelta(0) else "Alerts are late."
        return red(name, message, f"Set this machine's clock. {remedy}")
    if deviation > CLOCK_YELLOW:
        remedy = "Rows are read late, or requested before they exist."
        return yellow(name, message, f"Set this machine's clock. {remedy}")
    return green(name, "Within a minute of the service's clock.")


def evaluate_last_run(name: str, age: timedelta | None, rule: Rule) -> Finding:
    """How long ago a rule's last complete run was."""
    interval, hint = rule.query_frequency, "`python -m detection runs` shows why."
    if age is None:
        return yellow(name, "No complete run yet.", f"If the job has been deployed for over an hour, {hint}")
    message = f"Last complete run {duration_text(age)} ago."
    if age > RUN_RED * interval:
        return red(
            name, message, f"{hint} The next complete run reads the missed time, back to MAX_CATCH_UP."
        )
    if age > RUN_YELLOW * interval:
        return yellow(name, message, hint)
    return green(name, message)


def evaluate_gaps(name: str, gaps: Sequence[Gap]) -> list[Finding]:
    """The open gaps of a rule, or else those that were abandoned. Without either there is no finding."""
    open_gaps = [gap.title for gap in gaps if gap.is_open]
    abandoned = [f"{iso(gap.after)} to {iso(gap.until)}" for gap in gaps if gap.state == "abandoned"]
    if open_gaps:
        remedy = f"Read it: {GAP_KEPT.days} days after it was recorded, a gap is abandoned."
        return [yellow(name, f"{'; '.join(open_gaps)}.", remedy)]
    if abandoned:
        remedy = "The job no longer reads it. Look at that time with `python -m detection backtest`."
        return [yellow(name, f"Abandoned unread: {'; '.join(abandoned)}.", remedy)]
    return []


def evaluate_former_rule(name: str, folder: str, age: timedelta) -> Finding:
    """A rule of the table that this app does not run, and whose last complete run is this old."""
    message = f"{folder} is not among RULES, but completed a run {duration_text(age)} ago."
    remedy = (
        "If another app runs it, give that app its own INCIDENT_TABLE: each would send the other's messages."
    )
    return yellow(name, message, remedy)


def evaluate_coverage(name: str, coverage: Coverage | None) -> Finding:
    """How many of the identities at runtime match an actor of the audit log."""
    if warning_text := coverage_warning(coverage):
        return yellow(name, warning_text, "Map the identities in the rule: see docs/rules.md, identity.")
    return green(name, coverage_text(coverage))


def evaluate_outbox(
    name: str,
    dead_letters: Sequence[DeadLetter],
    queue: Sequence[Queued],
    now: datetime,
    destinations: Collection[str],
) -> Finding:
    """Deliveries that failed for good, whose destination the settings do not name, or that wait too long."""
    stranded = [queued.delivery for queued in queue if queued.delivery.destination not in destinations]
    late_deliveries = [queued.delivery for queued in queue if now - queued.delivery.created > MAX_WAIT]
    if dead_letters:
        names = ", ".join(sorted({dead_letter.delivery.destination for dead_letter in dead_letters}))
        reason = escape_line(dead_letters[0].reason)
        return red(
            name,
            f"{_count_text(dead_letters, 'dead letter')} for {names}, the first: {reason}.",
            "Fix the destination, then run `python -m detection deliver --retry-dead`.",
        )
    if stranded:
        names = ", ".join(sorted({delivery.destination for delivery in stranded}))
        return red(
            name,
            f"{_count_text(stranded, 'message')} waiting for {names}, which the settings do not name.",
            "Name the destination in WEBHOOKS again: its messages are then sent.",
        )
    if late_deliveries:
        names = ", ".join(sorted({delivery.destination for delivery in late_deliveries}))
        longest_wait = duration_text(now - min(delivery.created for delivery in late_deliveries))
        message = (
            f"{_count_text(late_deliveries, 'message')} waiting for {names}, the oldest for {longest_wait}."
        )
        return yellow(name, message, "Check whether the receiver is up and its format is set.")
    return green(name, f"No dead letters; {_count_text(queue, 'message')} waiting.")


def _count_text(messages: Sequence[object], noun: str) -> str:
    """The number of messages; with MAX_COUNTED of them there may be more."""
    text = plural(len(messages), noun)
    return f"at least {text}" if len(messages) >= MAX_COUNTED else text


def evaluate_unset_format(destination: str) -> Finding:
    """A destination whose format is not set, at an address that serves workflows of any kind."""
    return red(
        f"destination {destination}",
        "Its format is not set, and its address serves workflows of any kind. Its messages wait.",
        "Set WEBHOOK_FORMAT (in WEBHOOKS: `format`): `teams` if the workflow posts to Teams, else `native`.",
    )


def evaluate_silences(name: str, actives: Sequence[RuleSilence]) -> Finding:
    """The silences and exclusions that have not ended. They are deliberate, so the finding is green."""
    if not actives:
        return green(name, "No silence or exclusion is in force.")
    titles = "; ".join(active.title for active in actives[:MAX_NAMED])
    unnamed = len(actives) - MAX_NAMED
    return green(name, f"In force: {titles}{f'; and {unnamed:,} more' if unnamed > 0 else ''}.")
