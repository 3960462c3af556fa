"""What is to be made of what was found. All spans are timedeltas, all moments UTC."""

from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

from pydantic_core import from_json

from detection.check.checklist import Finding, green, red, yellow
from detection.logs.coverage import Coverage, coverage_text, coverage_warning
from detection.logs.window import MAX_CATCH_UP
from detection.messages.text import escape_line, plural
from detection.rules.model import KqlType, Rule
from detection.store.outbox import DeadLetter, Queued

DAY = timedelta(days=1)
SILENT_AFTER = DAY  # of a source: the job's own alarm goes by the same day
LOOK_BACK = timedelta(days=7)  # for arrivals
CLOCK_YELLOW = timedelta(minutes=1)
CLOCK_RED = timedelta(
    minutes=15
)  # LONGEST_RUN in tell.py: runs whose clocks differ by more may take each other for dead
RUN_YELLOW, RUN_RED = 1.5, 2.5  # in units of queryFrequency; 2.5 hours raise the alarm "no complete run"
MAX_WAIT = timedelta(minutes=30)  # as the alarm on messages that wait

NUMBER_TYPES = {"int", "long", "real", "decimal"}  # a query takes one for the other

_CONNECTOR = "see the connector's page in Sentinel (Data connectors): is it connected, and does it collect?"
_NAME_CLAIMS = (
    "upn",
    "unique_name",
    "appid",
    "azp",
    "oid",
)  # the claims of an Entra token that say whose it is


class SourceArrivals(NamedTuple):
    """What a source holds since a moment: rows, the newest stamp, the longest delay and that of 99 in 100."""

    rows: int
    newest: datetime | None
    longest_delay: timedelta | None = None
    percentile_99: timedelta | None = None


def duration_text(duration: timedelta) -> str:
    """A span as one says it: "40 s", "12 min", "5 h", "3 d"; never less than it is."""
    for unit, name in ((DAY, "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min")):
        if duration >= 2 * unit:
            return f"{-(-duration // unit)} {name}"
    return f"{max(0, ceil(duration.total_seconds()))} s"


def token_identity(token: str) -> str:
    """Whose an Entra token is, by its claims; nothing is verified, for it is only shown."""
    try:
        _, claims, _ = token.split(".")
        claim_values = from_json(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        names = [
            f"{name} {escape_line(claim_values[name])}" for name in _NAME_CLAIMS if claim_values.get(name)
        ]
    except (ValueError, AttributeError, TypeError):
        return "an emulator's token, which says nothing"
    tenant = f", tenant {escape_line(claim_values['tid'])}" if claim_values.get("tid") else ""
    return f"{names[0] if names else 'nobody it names'}{tenant}"


def evaluate_table(
    name: str,
    needed: Mapping[str, KqlType],
    types_by_column: Mapping[str, str],
    *,
    optional: bool,
) -> Finding:
    """A table that the query API answers, so one on the Analytics plan, beside the columns that the rules' KQL names."""
    missing = [column for column in needed if column not in types_by_column]
    mismatches = [
        f"{column} is {types_by_column[column]} instead of {kind}"
        for column, kind in needed.items()
        if column in types_by_column and not _types_match(types_by_column[column], kind)
    ]
    plan = "Analytics plan, for the query API answers it"
    if missing and not optional:
        return red(
            name,
            f"lacks {', '.join(missing)}; {plan}",
            "update the data connector: the rule's queries name these columns",
        )
    if mismatches:
        return red(
            name,
            f"{', '.join(mismatches)}; {plan}",
            "update the data connector: the rule's queries need these types",
        )
    return green(name, f"{plural(len(needed) - len(missing), 'column')} needed, all there; {plan}")


def _types_match(actual: str, expected: KqlType) -> bool:
    return actual == expected or {actual, expected} <= NUMBER_TYPES


def evaluate_missing_table(name: str, *, optional: bool, elsewhere: bool) -> Finding:
    """A table that a workspace does not know; `elsewhere` another one of those that are read does."""
    if optional:
        return green(name, "not there, and need not be")
    if elsewhere:
        return yellow(
            name, "not there, but in another workspace", "leave this workspace out, or connect it too"
        )
    return red(
        name, "there is no such table", f"connect the data source, and wait for its first rows; {_CONNECTOR}"
    )


def evaluate_plan(name: str) -> Finding:
    """A table that the query API refuses for its plan."""
    message = "is on the Basic or Auxiliary plan, which the query API does not answer"
    command = "`az monitor log-analytics workspace table update --plan Analytics …`"
    return red(name, message, f"put it on the Analytics plan: {command}")


def evaluate_age(name: str, arrivals: SourceArrivals, now: datetime, look_back: timedelta) -> Finding:
    """How old the newest row of a source is."""
    if arrivals.newest is None:
        return red(
            name,
            f"no row in the last {duration_text(look_back)}",
            f"nothing can be found without it; {_CONNECTOR}",
        )
    age = now - arrivals.newest
    message = f"{duration_text(age)} ago, {plural(arrivals.rows, 'row')} in {duration_text(look_back)}"
    if age > SILENT_AFTER:
        return yellow(name, message, f"has it stopped? {_CONNECTOR}")
    return green(name, message)


def usable_lateness(
    rule: Rule, lateness: timedelta | None, max_catch_up: timedelta = MAX_CATCH_UP
) -> timedelta:
    """How late a row may arrive and still be read by an ordinary run: what the windows really reach back."""
    if rule.sequence.windows == "query-period":
        return rule.lateness
    allowed = max(lateness or rule.lateness, rule.lateness)
    return min(allowed, max(max_catch_up, rule.query_period) - rule.query_frequency)


def evaluate_delay(name: str, arrivals: SourceArrivals, allowed_lateness: timedelta) -> Finding:
    """How long rows take to arrive, beside how late they may be."""
    longest_delay, percentile_99 = arrivals.longest_delay, arrivals.percentile_99
    if longest_delay is None or percentile_99 is None:
        reason = "the service does not say when rows arrived"
        return yellow(
            name, reason if arrivals.rows else "there are no rows to measure it by", "ask again later"
        )
    message = f"99 of 100 rows arrive within {duration_text(percentile_99)}, all within {duration_text(longest_delay)}; {duration_text(allowed_lateness)} are allowed"
    if longest_delay >= allowed_lateness:
        hours = -(-longest_delay // timedelta(hours=1)) + 1
        settings_text = f"ALLOWED_LATENESS=PT{hours}H, and MAX_CATCH_UP above it"
        exception_note = "(a rule with `windows: query-period` never sees them)"
        return red(name, message, f"rows later than that are missed: set {settings_text} {exception_note}")
    if 2 * longest_delay > allowed_lateness:
        return yellow(name, message, "more than half of it is used up: think of a higher ALLOWED_LATENESS")
    return green(name, message)


def evaluate_operators(name: str, wrong_lines: Sequence[str], line_count: int) -> Finding:
    """What the service says of the truth table."""
    if wrong_lines:
        return red(
            name,
            f"{len(wrong_lines)} of {line_count} lines of the truth table are answered otherwise: {'; '.join(wrong_lines[:3])}",
            "the rules do not mean here what they say; report it with this line, and do not rely on the job until then",
        )
    return green(
        name,
        f"all {line_count} lines of the truth table of has, has_any and array_length are as the rules take them",
    )


def evaluate_clock(name: str, offset: timedelta) -> Finding:
    """Our clock beside the service's: `ahead` of it, or behind where negative."""
    deviation = abs(offset)
    message = f"{duration_text(deviation)} {'ahead of' if offset > timedelta(0) else 'behind'} the service's"
    if deviation > CLOCK_RED:
        return red(
            name,
            message,
            "set this machine's clock: windows end at a wrong moment, and runs may take each other for dead",
        )
    if deviation > CLOCK_YELLOW:
        return yellow(
            name,
            message,
            "set this machine's clock: rows are read that much late, or asked for before they are there",
        )
    return green(name, "less than a minute from the service's")


def evaluate_last_run(name: str, age: timedelta | None, rule: Rule) -> Finding:
    """How long ago a rule's last complete run was."""
    interval, hint = rule.query_frequency, "`python -m detection runs` says why"
    if age is None:
        return yellow(name, "no complete run yet", f"after the first hour: {hint}")
    message = f"last complete run {duration_text(age)} ago"
    if age > RUN_RED * interval:
        return red(
            name, message, f"{hint}; the next complete run reads what was missed, back to MAX_CATCH_UP"
        )
    if age > RUN_YELLOW * interval:
        return yellow(name, message, hint)
    return green(name, message)


def evaluate_coverage(name: str, coverage: Coverage | None) -> Finding:
    """How many of those who are named at runtime could be somebody of the audit log."""
    warning_text = coverage_warning(coverage)
    if warning_text:
        return yellow(name, warning_text, "say in the rule who is who: docs/rules.md, identity")
    return green(name, coverage_text(coverage))


def evaluate_outbox(
    name: str, dead_letters: Sequence[DeadLetter], queue: Sequence[Queued], now: datetime
) -> Finding:
    """Messages that were given up, or have waited for long."""
    late_deliveries = [queued.delivery for queued in queue if now - queued.delivery.created > MAX_WAIT]
    if dead_letters:
        destination_names = ", ".join(
            sorted({dead_letter.delivery.destination for dead_letter in dead_letters})
        )
        return red(
            name,
            f"{plural(len(dead_letters), 'dead letter')} for {destination_names}, the first: {escape_line(dead_letters[0].reason)}",
            "mend the destination, then `python -m detection deliver --retry-dead`",
        )
    if late_deliveries:
        destination_names = ", ".join(sorted({delivery.destination for delivery in late_deliveries}))
        longest_wait = duration_text(now - min(delivery.created for delivery in late_deliveries))
        return yellow(
            name,
            f"{plural(len(late_deliveries), 'message')} for {destination_names} wait, the oldest for {longest_wait}",
            "is the receiver up?",
        )
    return green(name, f"no dead letter; {plural(len(queue), 'message')} on their way")
