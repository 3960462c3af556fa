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
# Of the coverage query: how many runtime identities and rows there are by bridge ("" if there is none) and shape. The
# identity itself is there only where a mapping, which the query does not know, may still have it.
COVERAGE_COLUMNS = ("Bridge", "Shape", "Identity", "Identities", "Rows", "Actors")
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
    parsers = parsers_of(rule) if inline else ""
    changes = f"let changes =\n{rule.changes_kql}\n;\n"
    signals = f"let signals =\n{rule.signals_kql}\n;\n"
    asked = {
        "changes": parsers + changes + _changers(rule),
        # The semi-join: signals of actors without a change never leave Log Analytics.
        "signals": parsers + changes + signals + _of_changers(rule),
        "health": parsers + "union\n" + ",\n".join(_health(rule, side) for side in rule.sequence.sides),
    }
    return asked | ({"coverage": parsers + _coverage(rule)} if has_coverage(rule) else {})


def has_coverage(rule: Rule) -> bool:
    """Whether the rule says how both sources name somebody."""
    return all(side.who for side in rule.sequence.sides.values())


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


def _changers(rule: Rule) -> str:
    """The changes that say who made them, with his keys."""
    actor = rule.sequence.changes.actor
    return f"changes | where isnotempty({actor})" + _keys(rule, actor)


def _keys(rule: Rule, actor: str) -> str:
    """The keys that the signals may know an actor by, as further columns."""
    sequence = rule.sequence
    steps = [
        step
        for number, bridge in enumerate(sequence.identity)
        for step in bridge.of_change(sequence.keys(number)[0], actor)
    ]
    return "".join(f"\n| extend {step}" for step in steps)


def _of_changers(rule: Rule) -> str:
    """The signals that may be of somebody who made a change."""
    sequence = rule.sequence
    metadata = sequence.signals.metadata
    unread = f"\n| project-away {metadata.column}" if metadata else ""
    if sequence.exact:
        actors = f"{_changers(rule)} | distinct {sequence.changes.actor}"
        return f"signals | where {sequence.signals.actor} in (({actors})){unread}"
    keys = _signal_keys(rule, sequence.signals.actor, metadata.column if metadata else "")
    changers = f"let changers =\n{_changers(rule)}\n;\n"
    extended = "".join(f"\n| extend {key}" for key in keys)
    return f"{changers}signals{extended}\n| where {_any_bridge(rule)}{unread}"


def _signal_keys(rule: Rule, user: str, metadata: str) -> list[str]:
    """The keys of signals that are not plainly their user."""
    pairs = {
        rule.sequence.keys(number)[1]: bridge.of_signal(user, metadata)
        for number, bridge in enumerate(rule.sequence.identity)
    }
    return [f"{column} = {key}" for column, key in pairs.items() if key]


def _any_bridge(rule: Rule) -> str:
    """Whether a signal may be of a changer. A bridge that cannot be said in a query leaves that to the job, and
    keeps only what was stamped after the first change: no stamp is earlier than its row's own time.
    """
    sequence = rule.sequence
    if any(bridge.kind in ("mapping", "none") for bridge in sequence.identity):
        return f"{sequence.signals.stamped} >= toscalar(changers | summarize min({sequence.changes.time}))"
    keys = (sequence.keys(number) for number, _ in enumerate(sequence.identity))
    return "\n    or ".join(f"{theirs} in (({_distinct('changers', ours)}))" for ours, theirs in keys)


def _distinct(table: str, column: str) -> str:
    return f"{table} | where isnotempty({column}) | distinct {column}"


def _health(rule: Rule, side: str) -> str:
    chosen = rule.sequence.sides[side]
    stamped = stamp_of(rule, side)
    return f"""(
{chosen.source}
| where {_within(stamped, side)}
| summarize Rows = count(), Named = countif({_named(rule, side)}), Newest = max({stamped})
| extend Side = "{side}"
)"""


def _named(rule: Rule, side: str) -> str:
    """Whether a row of a side's source says who it is of, in a way that the rule's bridges take."""
    chosen, bridges = rule.sequence.sides[side], rule.sequence.identity
    if side == "changes" or rule.sequence.exact:
        return chosen.names_actor
    if bridges[0].kind == "none":
        return "true"
    metadata = [
        one.of_signal("", f"({chosen.metadata.source})")
        for one in bridges
        if chosen.metadata and one.kind == "metadata"
    ]
    return " or ".join([chosen.names_actor, *(f"isnotempty({key})" for key in metadata)])


# What an identity looks like: 32 and more hexadecimal digits (a UUID's dashes among them), or the base64 of a digest.
_SHAPES = r"""case(
    isempty(Runtime), "empty",
    Runtime matches regex @"^[^@\s]+@[^@\s]+$", "e-mail",
    Runtime matches regex @"^([0-9a-f-]{32,128}|[0-9a-z+/_-]{43}|[0-9a-z+/_-]{22,86}={1,2})$", "hash-like",
    "name")"""


def _coverage(rule: Rule) -> str:
    """Which of the runtime identities in the signals' source could be of somebody whom the changes' source names."""
    sequence, bridges = rule.sequence, rule.sequence.identity
    changes, signals = sequence.changes, sequence.signals
    keys = _signal_keys(rule, "Runtime", f"({signals.metadata.source})" if signals.metadata else "")
    extended = "".join(f"\n| extend {key}" for key in keys)
    together = ", ".join(["Runtime", *(key.partition(" = ")[0] for key in keys)])
    unknown = 'iff(isempty(Bridge), Runtime, "")' if any(one.kind == "mapping" for one in bridges) else '""'
    return f"""let actors =
{changes.source}
| where {_within(stamp_of(rule, "changes"), "changes")}
| summarize by Actor = {changes.who}
| where isnotempty(Actor){_keys(rule, "Actor")}
;
{signals.source}
| where {_within(stamp_of(rule, "signals"), "signals")}
| extend Runtime = {signals.who}{extended}
| summarize Seen = count() by {together}
| extend Bridge = {_first_bridge(rule)}, Shape = {_SHAPES}
| extend Identity = {unknown}
| summarize Identities = count(), Rows = sum(Seen) by Bridge, Shape, Identity
| extend Actors = toscalar(actors | count)"""


def _first_bridge(rule: Rule) -> str:
    """The name of the first bridge over which an identity could be of an actor."""
    sequence = rule.sequence
    if sequence.identity[0].kind == "none":
        return '"none"'
    cases = ""
    for number, bridge in enumerate(sequence.identity):
        ours, theirs = sequence.keys(number)
        ours = "Actor" if ours == sequence.changes.actor else ours
        theirs = "Runtime" if theirs == sequence.signals.actor else theirs
        if bridge.kind != "mapping":
            cases += f'\n    {theirs} in (({_distinct("actors", ours)})), "{bridge.name}",'
    return f'case({cases}\n    "")' if cases else '""'


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
