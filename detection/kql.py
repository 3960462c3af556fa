"""The KQL that is sent, printed and linked, composed from a rule folder. Pure text.

Every query is the same: the window's bounds, the connector's parsers and the rule's own queries, each as
a `let`, and one last line that says what is wanted. Values from log rows never enter a query.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from detection.rule import Rule, Table
from detection.timestamps import LAST_YEAR, iso
from detection.window import Window, Windows

Bounds = Mapping[str, datetime]
BOUNDS = ("changes_after", "changes_until", "signals_after", "signals_until")  # as `bounds` has them
HEALTH_COLUMNS = ("Side", "Rows", "Named", "Newest")  # of the health query, a row for each side
# No row is stamped so late. A run sets no other upper bound: what is stamped ahead of its moment waits, and is counted.
NEVER = datetime(LAST_YEAR, 1, 1, tzinfo=UTC)


def bounds(windows: Windows) -> dict[str, datetime]:
    """The bounds that the rule's queries refer to, of the stamp: after the one, up to and including the other.

    Log Analytics never stamps a row before its own time, so a lower bound on the stamp loses nothing; the own
    time decides afterwards. A row that is stamped later than a window ends may have happened within it.
    """
    changes, signals = Window(windows.changes.after, None), Window(windows.signals.after, None)
    return narrowed(narrowed({}, "changes", changes), "signals", signals)


def narrowed(values: Bounds, side: str, stamped: Window) -> dict[str, datetime]:
    """The same bounds, but of one side only a slice of the stamps."""
    return {**values, f"{side}_after": stamped.after, f"{side}_until": stamped.until or NEVER}


def queries(rule: Rule, *, inline: bool = True) -> dict[str, str]:
    """What a run asks, by name; the bounds of both sides are left for `with_bounds` to say.

    Without `inline` the connector's parsers are not written into the query: the workspace has its own.
    """
    sides = rule.sequence.sides
    parsers = parsers_of(rule) if inline else ""
    changes = f"let changes =\n{rule.changes_kql}\n;\n"
    signals = f"let signals =\n{rule.signals_kql}\n;\n"
    named = f"changes | where isnotempty({sides['changes'].actor})"
    actors = f"{named} | distinct {sides['changes'].actor}"
    return {
        "changes": parsers + changes + named,
        # The semi-join: signals of actors without a change never leave Log Analytics.
        "signals": parsers + changes + signals + f"signals | where {sides['signals'].actor} in (({actors}))",
        "health": parsers + "union\n" + ",\n".join(_health(rule, side) for side in sides),
    }


def with_bounds(query: str, values: Bounds) -> str:
    """The query with its bounds written in front, as it is sent and can be pasted into the portal."""
    lets = "\n".join(f"let {name} = datetime({iso(value)});" for name, value in values.items())
    return f"{lets}\n{query}"


def with_parameters(query: str, values: Bounds) -> str:
    """The query with its bounds declared as parameters, for an engine that binds them."""
    declared = ", ".join(f"{name}:datetime" for name in values)
    return f"declare query_parameters({declared});\n{query}"


def unnamed(rule: Rule, side: str) -> str:
    """The rows of a side's source in its window that name no actor."""
    chosen = rule.sequence.sides[side]
    stamped = stamp_of(rule, side)
    return (
        parsers_of(rule)
        + f"{chosen.source}\n| where {_within(stamped, side)}\n| where not({chosen.names_actor})"
    )


def parsers_of(rule: Rule, source: str | None = None) -> str:
    """The connector's parsers, each as a `let`: all, or what a source is made of."""
    spoken = re.findall(r"\w+", f"{source} {rule.parsers.get(source, '')}") if source else rule.parsers
    return "".join(f"let {name} =\n{body}\n;\n" for name, body in rule.parsers.items() if name in spoken)


def _health(rule: Rule, side: str) -> str:
    chosen = rule.sequence.sides[side]
    stamped = stamp_of(rule, side)
    return f"""(
{chosen.source}
| where {_within(stamped, side)}
| summarize Rows = count(), Named = countif({chosen.names_actor}), Newest = max({stamped})
| extend Side = "{side}"
)"""


def _within(stamped: str, side: str) -> str:
    return f"{stamped} > {side}_after and {stamped} <= {side}_until"


def stamp_of(rule: Rule, side: str) -> str:
    """The column that the side's tables are stamped by."""
    return next(table.stamped for table in tables_of(rule, side).values())


def tables_of(rule: Rule, side: str) -> dict[str, Table]:
    """The tables that a side reads: its source, or those whose names its parser speaks."""
    source = rule.sequence.sides[side].source
    spoken = re.findall(r"\w+", rule.parsers.get(source, source))
    return {name: table for name, table in rule.tables.items() if name in spoken}
