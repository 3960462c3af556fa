"""The KQL that is sent, printed and linked, composed from a rule folder. Pure text.

Every query is the same: the window's bounds, the connector's parsers and the rule's own queries, each as
a `let`, and one last line that says what is wanted. Values from log rows never enter a query.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from detection.rule import Rule
from detection.timestamps import iso
from detection.window import Window, Windows

Bounds = Mapping[str, datetime]
HEALTH_COLUMNS = ("Side", "Rows", "Named", "Newest")  # of the health query, a row for each side


def bounds(windows: Windows) -> dict[str, datetime]:
    """The lower bounds that the rule's queries refer to. Log Analytics never stamps a row before its
    own time, so a lower bound on the stamp loses nothing; the own time decides afterwards.
    """
    return {"changes_after": windows.changes.after, "signals_after": windows.signals.after}


_ANY = Window(datetime.min.replace(tzinfo=UTC), None)
BOUNDS = (*bounds(Windows(_ANY.after, _ANY, _ANY, None)),)  # by name, in the order in which they are said


def queries(rule: Rule, *, inline: bool = True) -> dict[str, str]:
    """What a run asks, by name; `changes_after` and `signals_after` are left for `with_bounds` to say.

    Without `inline` the connector's parsers are not written into the query: the workspace has its own.
    """
    sides = rule.sequence.sides
    parsers = _parsers(rule) if inline else ""
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
    stamped = _stamped(rule, side)
    return (
        _parsers(rule)
        + f"{chosen.source}\n| where {stamped} > {side}_after\n| where not({chosen.names_actor})"
    )


def _parsers(rule: Rule) -> str:
    return "".join(f"let {name} =\n{body}\n;\n" for name, body in rule.parsers.items())


def _health(rule: Rule, side: str) -> str:
    chosen = rule.sequence.sides[side]
    stamped = _stamped(rule, side)
    return f"""(
{chosen.source}
| where {stamped} > {side}_after
| summarize Rows = count(), Named = countif({chosen.names_actor}), Newest = max({stamped})
| extend Side = "{side}"
)"""


def _stamped(rule: Rule, side: str) -> str:
    """The column that the side's tables are stamped by: its source, or those whose names its parser speaks."""
    source = rule.sequence.sides[side].source
    spoken = re.findall(r"\w+", rule.parsers.get(source, source))
    return next(table.stamped for name, table in rule.tables.items() if name in spoken)
