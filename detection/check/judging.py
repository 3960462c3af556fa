"""What is to be made of what was found. Pure; all spans are timedeltas, all moments UTC."""

from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

from pydantic_core import from_json

from detection.check.finding import Finding, green, red, yellow
from detection.incidents.outbox import Dead, Queued
from detection.messages.text import inert, many
from detection.rule import KqlType, Rule
from detection.window import MAX_CATCH_UP

DAY = timedelta(days=1)
SILENT = DAY  # of a source: the job's own alarm goes by the same day
LOOKED_BACK = timedelta(days=7)  # for arrivals
CLOCK_YELLOW = timedelta(minutes=1)
CLOCK_RED = timedelta(
    minutes=15
)  # LONGEST_RUN in tell.py: runs whose clocks differ by more may take each other for dead
RUN_YELLOW, RUN_RED = 1.5, 2.5  # in units of queryFrequency; 2.5 hours raise the alarm "no complete run"
WAITING = timedelta(minutes=30)  # as the alarm on messages that wait

NUMBERS = {"int", "long", "real", "decimal"}  # a query takes one for the other

_CONNECTOR = "see the connector's page in Sentinel (Data connectors): is it connected, and does it collect?"
_NAMES = ("upn", "unique_name", "appid", "azp", "oid")  # the claims of an Entra token that say whose it is


class Arrivals(NamedTuple):
    """What a source holds since a moment: rows, the newest stamp, the longest delay and that of 99 in 100."""

    rows: int
    newest: datetime | None
    longest: timedelta | None = None
    most: timedelta | None = None


def span(length: timedelta) -> str:
    """A span as one says it: "40 s", "12 min", "5 h", "3 d"; never less than it is."""
    for unit, name in ((DAY, "d"), (timedelta(hours=1), "h"), (timedelta(minutes=1), "min")):
        if length >= 2 * unit:
            return f"{-(-length // unit)} {name}"
    return f"{max(0, ceil(length.total_seconds()))} s"


def identity_in(token: str) -> str:
    """Whose an Entra token is, by its claims; nothing is verified, for it is only shown."""
    try:
        _, claims, _ = token.split(".")
        said = from_json(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        names = [f"{name} {inert(said[name])}" for name in _NAMES if said.get(name)]
    except (ValueError, AttributeError, TypeError):
        return "an emulator's token, which says nothing"
    tenant = f", tenant {inert(said['tid'])}" if said.get("tid") else ""
    return f"{names[0] if names else 'nobody it names'}{tenant}"


def judge_table(
    name: str,
    needed: Mapping[str, KqlType],
    found: Mapping[str, str],
    *,
    optional: bool,
) -> Finding:
    """A table that the query API answers, so one on the Analytics plan, beside the columns that the rules' KQL names."""
    missing = [column for column in needed if column not in found]
    other = [
        f"{column} is {found[column]} instead of {kind}"
        for column, kind in needed.items()
        if column in found and not _fits(found[column], kind)
    ]
    plan = "Analytics plan, for the query API answers it"
    if missing and not optional:
        return red(
            name,
            f"lacks {', '.join(missing)}; {plan}",
            "update the data connector: the rule's queries name these columns",
        )
    if other:
        return red(
            name,
            f"{', '.join(other)}; {plan}",
            "update the data connector: the rule's queries need these types",
        )
    return green(name, f"{many(len(needed) - len(missing), 'column')} needed, all there; {plan}")


def _fits(found: str, kind: KqlType) -> bool:
    return found == kind or {found, kind} <= NUMBERS


def judge_missing_table(name: str, *, optional: bool, elsewhere: bool) -> Finding:
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


def judge_plan(name: str) -> Finding:
    """A table that the query API refuses for its plan."""
    what = "is on the Basic or Auxiliary plan, which the query API does not answer"
    put = "`az monitor log-analytics workspace table update --plan Analytics …`"
    return red(name, what, f"put it on the Analytics plan: {put}")


def judge_age(name: str, found: Arrivals, now: datetime, looked_back: timedelta) -> Finding:
    """How old the newest row of a source is."""
    if found.newest is None:
        return red(
            name, f"no row in the last {span(looked_back)}", f"nothing can be found without it; {_CONNECTOR}"
        )
    age = now - found.newest
    what = f"{span(age)} ago, {many(found.rows, 'row')} in {span(looked_back)}"
    if age > SILENT:
        return yellow(name, what, f"has it stopped? {_CONNECTOR}")
    return green(name, what)


def usable_lateness(
    rule: Rule, lateness: timedelta | None, max_catch_up: timedelta = MAX_CATCH_UP
) -> timedelta:
    """How late a row may arrive and still be read by an ordinary run: what the windows really reach back."""
    if rule.sequence.windows == "query-period":
        return rule.lateness
    wanted = max(lateness or rule.lateness, rule.lateness)
    return min(wanted, max(max_catch_up, rule.query_period) - rule.query_frequency)


def judge_delay(name: str, found: Arrivals, usable: timedelta) -> Finding:
    """How long rows take to arrive, beside how late they may be."""
    longest, most = found.longest, found.most
    if longest is None or most is None:
        unsaid = "the service does not say when rows arrived"
        return yellow(name, unsaid if found.rows else "there are no rows to measure it by", "ask again later")
    what = (
        f"99 of 100 rows arrive within {span(most)}, all within {span(longest)}; {span(usable)} are allowed"
    )
    if longest >= usable:
        hours = -(-longest // timedelta(hours=1)) + 1
        enough = f"ALLOWED_LATENESS=PT{hours}H, and MAX_CATCH_UP above it"
        never = "(a rule with `windows: query-period` never sees them)"
        return red(name, what, f"rows later than that are missed: set {enough} {never}")
    if 2 * longest > usable:
        return yellow(name, what, "more than half of it is used up: think of a higher ALLOWED_LATENESS")
    return green(name, what)


def judge_operators(name: str, wrong: Sequence[str], number: int) -> Finding:
    """What the service says of the truth table."""
    if wrong:
        return red(
            name,
            f"{len(wrong)} of {number} lines of the truth table are answered otherwise: {'; '.join(wrong[:3])}",
            "the rules do not mean here what they say; report it with this line, and do not rely on the job until then",
        )
    return green(
        name,
        f"all {number} lines of the truth table of has, has_any and array_length are as the rules take them",
    )


def judge_clock(name: str, ahead: timedelta) -> Finding:
    """Our clock beside the service's: `ahead` of it, or behind where negative."""
    off = abs(ahead)
    what = f"{span(off)} {'ahead of' if ahead > timedelta(0) else 'behind'} the service's"
    if off > CLOCK_RED:
        return red(
            name,
            what,
            "set this machine's clock: windows end at a wrong moment, and runs may take each other for dead",
        )
    if off > CLOCK_YELLOW:
        return yellow(
            name,
            what,
            "set this machine's clock: rows are read that much late, or asked for before they are there",
        )
    return green(name, "less than a minute from the service's")


def judge_last_run(name: str, age: timedelta | None, rule: Rule) -> Finding:
    """How long ago a rule's last complete run was."""
    every, see = rule.query_frequency, "`python -m detection runs` says why"
    if age is None:
        return yellow(name, "no complete run yet", f"after the first hour: {see}")
    what = f"last complete run {span(age)} ago"
    if age > RUN_RED * every:
        return red(name, what, f"{see}; the next complete run reads what was missed, back to MAX_CATCH_UP")
    if age > RUN_YELLOW * every:
        return yellow(name, what, see)
    return green(name, what)


def judge_outbox(name: str, dead: Sequence[Dead], waiting: Sequence[Queued], now: datetime) -> Finding:
    """Messages that were given up, or have waited for long."""
    late = [one.delivery for one in waiting if now - one.delivery.created > WAITING]
    if dead:
        where = ", ".join(sorted({one.delivery.destination for one in dead}))
        return red(
            name,
            f"{many(len(dead), 'dead letter')} for {where}, the first: {inert(dead[0].reason)}",
            "mend the destination, then `python -m detection deliver --retry-dead`",
        )
    if late:
        where = ", ".join(sorted({one.destination for one in late}))
        oldest = span(now - min(one.created for one in late))
        return yellow(
            name,
            f"{many(len(late), 'message')} for {where} wait, the oldest for {oldest}",
            "is the receiver up?",
        )
    return green(name, f"no dead letter; {many(len(waiting), 'message')} on their way")
