"""The KQL that is sent, printed and linked, composed from a rule folder.

Every query is the same: the window's bounds, the connector's parsers and the rule's own queries, each as
a `let`, and one last line that says what is wanted. Values from log rows never enter a query.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from detection.base.timestamps import LAST_YEAR, iso
from detection.logs.window import Window, Windows
from detection.rules.model import LogTable, Rule

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
    return narrow_bounds(narrow_bounds({}, "changes", changes), "signals", signals)


def narrow_bounds(values: Bounds, side: str, stamped: Window) -> dict[str, datetime]:
    """The same bounds, but of one side only a slice of the stamps."""
    return {**values, f"{side}_after": stamped.after, f"{side}_until": stamped.until or NEVER}


def queries(rule: Rule, *, inline: bool = True) -> dict[str, str]:
    """What a run asks, by name; the bounds of both sides are left for `with_bounds` to say.

    Without `inline` the connector's parsers are not written into the query: the workspace has its own.
    """
    parsers = parsers_of(rule) if inline else ""
    changes = f"let changes =\n{rule.changes_kql}\n;\n"
    signals = f"let signals =\n{rule.signals_kql}\n;\n"
    queries_by_name = {
        "changes": parsers + changes + _changes_with_keys(rule),
        # The semi-join: signals of actors without a change never leave Log Analytics.
        "signals": parsers + changes + signals + _signals_of_changers(rule),
        "health": parsers + "union\n" + ",\n".join(_health(rule, side) for side in rule.sequence.sides),
    }
    return queries_by_name | ({"coverage": parsers + _coverage(rule)} if has_coverage(rule) else {})


def has_coverage(rule: Rule) -> bool:
    """Whether the rule says how both sources name somebody."""
    return all(side.actor_expression for side in rule.sequence.sides.values())


def with_bounds(query: str, values: Bounds) -> str:
    """The query with its bounds written in front, as it is sent and can be pasted into the portal."""
    lets = "\n".join(f"let {name} = datetime({iso(value)});" for name, value in values.items())
    return f"{lets}\n{query}"


def with_parameters(query: str, values: Bounds) -> str:
    """The query with its bounds declared as parameters, for an engine that binds them."""
    declared = ", ".join(f"{name}:datetime" for name in values)
    return f"declare query_parameters({declared});\n{query}"


def unnamed_rows(rule: Rule, side_name: str) -> str:
    """The rows of a side's source in its window that name no actor."""
    side = rule.sequence.sides[side_name]
    stamped = stamp_of(rule, side_name)
    return (
        parsers_of(rule)
        + f"{side.source}\n| where {_within(stamped, side_name)}\n| where not({side.names_actor})"
    )


def parsers_of(rule: Rule, source: str | None = None) -> str:
    """The connector's parsers, each as a `let`: all, or what a source is made of."""
    names = re.findall(r"\w+", f"{source} {rule.parsers.get(source, '')}") if source else rule.parsers
    return "".join(f"let {name} =\n{body}\n;\n" for name, body in rule.parsers.items() if name in names)


def _changes_with_keys(rule: Rule) -> str:
    """The changes that say who made them, with his keys."""
    actor = rule.sequence.changes.actor
    return f"changes | where isnotempty({actor})" + _keys(rule, actor)


def _keys(rule: Rule, actor: str) -> str:
    """The keys that the signals may know an actor by, as further columns."""
    sequence = rule.sequence
    steps = [
        step
        for number, option in enumerate(sequence.identity)
        for step in option.change_key_steps(sequence.key_columns(number)[0], actor)
    ]
    return "".join(f"\n| extend {step}" for step in steps)


def _signals_of_changers(rule: Rule) -> str:
    """The signals that may be of somebody who made a change."""
    sequence = rule.sequence
    metadata = sequence.signals.metadata
    drop_metadata = f"\n| project-away {metadata.column}" if metadata else ""
    if sequence.exact:
        actors = f"{_changes_with_keys(rule)} | distinct {sequence.changes.actor}"
        return f"signals | where {sequence.signals.actor} in (({actors})){drop_metadata}"
    keys = _signal_keys(rule, sequence.signals.actor, metadata.column if metadata else "")
    changers = f"let changers =\n{_changes_with_keys(rule)}\n;\n"
    extend_steps = "".join(f"\n| extend {key}" for key in keys)
    return f"{changers}signals{extend_steps}\n| where {_any_option(rule)}{drop_metadata}"


def _signal_keys(rule: Rule, user: str, metadata: str) -> list[str]:
    """The keys of signals that are not plainly their user."""
    pairs = {
        rule.sequence.key_columns(number)[1]: option.signal_key(user, metadata)
        for number, option in enumerate(rule.sequence.identity)
    }
    return [f"{column} = {key}" for column, key in pairs.items() if key]


def _any_option(rule: Rule) -> str:
    """Whether a signal may be of a changer. A bridge that cannot be said in a query leaves that to the job, and
    keeps only what was stamped after the first change: no stamp is earlier than its row's own time.
    """
    sequence = rule.sequence
    if any(option.kind in ("mapping", "none") for option in sequence.identity):
        return f"{sequence.signals.stamped} >= toscalar(changers | summarize min({sequence.changes.time}))"
    keys = (sequence.key_columns(number) for number, _ in enumerate(sequence.identity))
    return "\n    or ".join(
        f"{signal_column} in (({_distinct('changers', change_column)}))"
        for change_column, signal_column in keys
    )


def _distinct(table: str, column: str) -> str:
    return f"{table} | where isnotempty({column}) | distinct {column}"


def _health(rule: Rule, side_name: str) -> str:
    side = rule.sequence.sides[side_name]
    stamped = stamp_of(rule, side_name)
    return f"""(
{side.source}
| where {_within(stamped, side_name)}
| summarize Rows = count(), Named = countif({_named_condition(rule, side_name)}), Newest = max({stamped})
| extend Side = "{side_name}"
)"""


def _named_condition(rule: Rule, side_name: str) -> str:
    """Whether a row of a side's source says who it is of, in a way that the rule's bridges take."""
    side, options = rule.sequence.sides[side_name], rule.sequence.identity
    if side_name == "changes" or rule.sequence.exact:
        return side.names_actor
    if options[0].kind == "none":
        return "true"
    metadata = [
        option.signal_key("", f"({side.metadata.source})")
        for option in options
        if side.metadata and option.kind == "metadata"
    ]
    return " or ".join([side.names_actor, *(f"isnotempty({key})" for key in metadata)])


# What an identity looks like: 32 and more hexadecimal digits (a UUID's dashes among them), or the base64 of a digest.
_SHAPES = r"""case(
    isempty(Runtime), "empty",
    Runtime matches regex @"^[^@\s]+@[^@\s]+$", "e-mail",
    Runtime matches regex @"^([0-9a-f-]{32,128}|[0-9a-z+/_-]{43}|[0-9a-z+/_-]{22,86}={1,2})$", "hash-like",
    "name")"""


def _coverage(rule: Rule) -> str:
    """Which of the runtime identities in the signals' source could be of somebody whom the changes' source names."""
    sequence, options = rule.sequence, rule.sequence.identity
    changes, signals = sequence.changes, sequence.signals
    keys = _signal_keys(rule, "Runtime", f"({signals.metadata.source})" if signals.metadata else "")
    extend_steps = "".join(f"\n| extend {key}" for key in keys)
    group_columns = ", ".join(["Runtime", *(key.partition(" = ")[0] for key in keys)])
    identity_column = (
        'iff(isempty(Bridge), Runtime, "")' if any(option.kind == "mapping" for option in options) else '""'
    )
    return f"""let actors =
{changes.source}
| where {_within(stamp_of(rule, "changes"), "changes")}
| summarize by Actor = {changes.actor_expression}
| where isnotempty(Actor){_keys(rule, "Actor")}
;
{signals.source}
| where {_within(stamp_of(rule, "signals"), "signals")}
| extend Runtime = {signals.actor_expression}{extend_steps}
| summarize Seen = count() by {group_columns}
| extend Bridge = {_first_option(rule)}, Shape = {_SHAPES}
| extend Identity = {identity_column}
| summarize Identities = count(), Rows = sum(Seen) by Bridge, Shape, Identity
| extend Actors = toscalar(actors | count)"""


def _first_option(rule: Rule) -> str:
    """The name of the first bridge over which an identity could be of an actor."""
    sequence = rule.sequence
    if sequence.identity[0].kind == "none":
        return '"none"'
    cases = ""
    for number, option in enumerate(sequence.identity):
        change_column, signal_column = sequence.key_columns(number)
        change_column = "Actor" if change_column == sequence.changes.actor else change_column
        signal_column = "Runtime" if signal_column == sequence.signals.actor else signal_column
        if option.kind != "mapping":
            cases += f'\n    {signal_column} in (({_distinct("actors", change_column)})), "{option.name}",'
    return f'case({cases}\n    "")' if cases else '""'


def _within(stamped: str, side: str) -> str:
    return f"{stamped} > {side}_after and {stamped} <= {side}_until"


def stamp_of(rule: Rule, side: str) -> str:
    """The column that the side's tables are stamped by."""
    return next(table.stamped for table in tables_of(rule, side).values())


def tables_of(rule: Rule, side: str) -> dict[str, LogTable]:
    """The tables that a side reads: its source, or those whose names its parser speaks."""
    source = rule.sequence.sides[side].source
    names = re.findall(r"\w+", rule.parsers.get(source, source))
    return {name: table for name, table in rule.tables.items() if name in names}
