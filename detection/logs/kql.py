"""The KQL that is sent, printed and linked, composed from a rule folder.

Every query has the same form: the bounds of the windows, the connector's parsers and the rule's own queries,
each as a `let`, and a last statement with the result. A query never contains a value from a log row.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from detection.base.timestamps import LAST_YEAR, iso
from detection.logs.window import Window, Windows
from detection.rules.model import LogTable, Rule, Side

Bounds = Mapping[str, datetime]
BOUNDS = ("changes_after", "changes_until", "signals_after", "signals_until")  # the keys of `bounds`
HEALTH_COLUMNS = ("Side", "Rows", "Named", "Cut", "Newest")  # of the health query, a row for each side
# Of the coverage query: the number of runtime identities and rows by identity matching option ("" if none
# matches) and shape. The identity itself is only there if a mapping, which the query does not know, may still
# match it.
COVERAGE_COLUMNS = ("Option", "Shape", "Identity", "Identities", "Rows", "Actors")
ACTOR_COLUMNS = ("Kind", "Hour", "Events")  # of the queries for an actor and for addresses
# The depth of lists and objects before the actor in a cut bag; a schema of a tool has about seven levels.
CUT_DEPTH = 8
# No row is stamped so late. A run sets no other upper bound, so it can count the rows that are stamped after
# its `now`.
NEVER = datetime(LAST_YEAR, 1, 1, tzinfo=UTC)
# The shape of an identity. Hash-like are 32 and more hexadecimal digits (or a UUID), and the base64 of a
# digest.
_SHAPES = r"""case(
    isempty(Runtime), "empty",
    Runtime matches regex @"^[^@\s]+@[^@\s]+$", "e-mail",
    Runtime matches regex @"^([0-9a-f-]{32,128}|[0-9a-z+/_-]{43}|[0-9a-z+/_-]{22,86}={1,2})$", "hash-like",
    "name")"""


def bounds(windows: Windows) -> dict[str, datetime]:
    """The bounds of the stamp that the rule's queries refer to: greater than `after`, at most `until`.

    Log Analytics never stamps a row before its own time, so a lower bound on the stamp loses nothing; the own
    time decides afterwards. There is no upper bound: a row that is stamped after the window may have happened
    within it.
    """
    changes, signals = Window(windows.changes.after, None), Window(windows.signals.after, None)
    return narrow_bounds(narrow_bounds({}, "changes", changes), "signals", signals)


def narrow_bounds(values: Bounds, side: str, stamped: Window) -> dict[str, datetime]:
    """The bounds with a smaller window of stamps for one side."""
    return {**values, f"{side}_after": stamped.after, f"{side}_until": stamped.until or NEVER}


def queries(rule: Rule) -> dict[str, str]:
    """The queries of a run by name. `with_bounds` adds the bounds of both sides."""
    parsers = functions_of(rule)
    changes = f"let changes =\n{rule.changes_kql}\n;\n"
    signals = f"let signals =\n{rule.signals_kql}\n;\n"
    queries_by_name = {
        "changes": parsers + changes + _changes_with_keys(rule),
        # The semi-join: signals of actors without a change never leave Log Analytics.
        "signals": parsers + changes + signals + _signals_of_changers(rule),
        "health": parsers + "union\n" + ",\n".join(_health(rule, side) for side in rule.sequence.sides),
    }
    return queries_by_name | ({"coverage": parsers + _coverage(rule)} if has_coverage(rule) else {})


def actor_queries(rule: Rule, digest: str) -> dict[str, str]:
    """The queries for the changes of an actor, and for the actor's signals, by kind and hour.

    `digest` is the SHA-256 of the actor's name in hexadecimal digits: names from the logs are in no query.
    There is no query for signals that KQL cannot match with the actor (`mapping` and `none`).
    """
    sequence = rule.sequence
    parsers = functions_of(rule)
    is_actor = f'hash_sha256({sequence.changes.actor}) == "{digest}"'
    changes = f"let changes =\n{rule.changes_kql}\n| where {is_actor}\n;\n"
    texts = {"changes": f"{parsers}{changes}changes{_by_hour(sequence.changes)}"}
    if not any(option.kind in ("mapping", "none") for option in sequence.identity):
        signals = f"let signals =\n{rule.signals_kql}\n;\n"
        of_actor = _signals_of_changers(rule)
        texts["signals"] = f"{parsers}{changes}{signals}{of_actor}{_by_hour(sequence.signals)}"
    return texts


def address_queries(rule: Rule, digests: Sequence[str]) -> dict[str, str]:
    """The queries for the changes and the signals of all actors from addresses, by kind and hour.

    `digests` are the SHA-256 of the addresses in hexadecimal digits. A side without a column for addresses
    has no query.
    """
    digest_list = ", ".join(f'"{digest}"' for digest in digests)
    kql, texts = {"changes": rule.changes_kql, "signals": rule.signals_kql}, {}
    for name, side in rule.sequence.sides.items():
        columns = rule.entity_columns("IP", side)
        if columns:
            condition = " or ".join(f"hash_sha256({column}) in ({digest_list})" for column in columns)
            rows = f"let {name} =\n{kql[name]}\n| where {condition}\n;\n{name}"
            texts[name] = functions_of(rule) + rows + _by_hour(side)
    return texts


def _by_hour(side: Side) -> str:
    kind, hour, events = ACTOR_COLUMNS
    return (
        f"\n| summarize {events} = count() by {kind} = {side.kind}, {hour} = bin({side.time}, 1h)"
        f"\n| order by {hour} desc"
    )


def has_coverage(rule: Rule) -> bool:
    """Whether the rule has the expression for the actor of both sources, which the coverage query needs."""
    return all(side.actor_expression for side in rule.sequence.sides.values())


def with_bounds(query: str, values: Bounds) -> str:
    """The query with its bounds as `let` statements, as it is sent and can be pasted into the portal."""
    lets = "\n".join(f"let {name} = datetime({iso(value)});" for name, value in values.items())
    return f"{lets}\n{query}"


def with_parameters(query: str, values: Bounds) -> str:
    """The query with its bounds declared as parameters, for an engine that binds them."""
    declared = ", ".join(f"{name}:datetime" for name in values)
    return f"declare query_parameters({declared});\n{query}"


def unnamed_rows(rule: Rule, side_name: str, *, cut: bool) -> str:
    """KQL for the rows of a side's source in its window that name no actor: the cut rows, or the others."""
    side = rule.sequence.sides[side_name]
    is_cut = _is_cut(side, side.names_actor)
    condition = is_cut if cut else f"not({side.names_actor}) and not({is_cut})"
    lets = parsers_of(rule, side.source) + _member_functions(rule)
    return f"{lets}{_source_in_window(rule, side_name)}\n| where {condition}"


def functions_of(rule: Rule) -> str:
    """The functions that the rule's queries may call, each as a `let`."""
    return parsers_of(rule) + _member_functions(rule)


def parsers_of(rule: Rule, source: str | None = None) -> str:
    """The connector's parsers, each as a `let`: all of them, or those that a source uses. Empty if the
    workspace has them saved as functions.
    """
    if rule.saved_parsers:
        return ""
    names = re.findall(r"\w+", f"{source} {rule.parsers.get(source, '')}") if source else rule.parsers
    return "".join(f"let {name} =\n{body}\n;\n" for name, body in rule.parsers.items() if name in names)


def _member_functions(rule: Rule) -> str:
    """KQL functions `<key>_of`, each as a `let`: the actor's member of a bag, also if the bag is cut.

    Only the top level of a cut bag counts, because callers write its nested values. So the expression matches
    from the beginning, past whole texts, lists and objects. The service writes bags without white space.
    """
    text = r'"(?:[^"\\]|\\.)*"'
    flat = rf'[^"{{}}\[\]]|{text}'
    nested = flat
    for _ in range(CUT_DEPTH):
        nested = rf"{flat}|[{{\[](?:{nested})*[}}\]]"
    functions = ""
    for key in dict.fromkeys(side.cut.key for side in rule.sequence.sides.values() if side.cut):
        member = f'tostring(bag["{key}"])'
        pattern = rf'^\{{(?:{nested})*?"{key}":({text})'
        functions += f"""let {key}_of = (bag: dynamic) {{
iff(isnotempty({member}), {member}, iff(gettype(bag) == "string",
    tostring(parse_json(extract(@'{pattern}', 1, tostring(bag)))), ""))
}};
"""
    return functions


def _is_cut(side: Side, is_named: str) -> str:
    """KQL for whether a row of the side's source names no actor because its bag is cut."""
    # DuckDB evaluates both sides of `and`, but only the branch of `iff` that it needs.
    return f'iff({is_named}, false, gettype({side.cut.column}) == "string")' if side.cut else "false"


def _source_in_window(rule: Rule, side_name: str) -> str:
    stamped = stamp_of(rule, side_name)
    return (
        f"{rule.sequence.sides[side_name].source}\n"
        f"| where {stamped} > {side_name}_after and {stamped} <= {side_name}_until"
    )


def _changes_with_keys(rule: Rule) -> str:
    """The changes that name an actor, with the actor's keys."""
    actor = rule.sequence.changes.actor
    return f"changes | where isnotempty({actor})" + _change_keys(rule, actor)


def _change_keys(rule: Rule, actor: str) -> str:
    """Further columns with the keys by which signals may name an actor."""
    sequence = rule.sequence
    return "".join(
        f"\n| extend {step}"
        for number, option in enumerate(sequence.identity)
        for step in option.change_key_steps(sequence.key_columns(number)[0], actor)
    )


def _signals_of_changers(rule: Rule) -> str:
    """The signals that may belong to an actor with a change."""
    sequence = rule.sequence
    changes, signals = sequence.changes, sequence.signals
    drop_metadata = f"\n| project-away {signals.metadata.column}" if signals.metadata else ""
    if sequence.exact:
        actors = f"{_changes_with_keys(rule)} | distinct {changes.actor}"
        return f"signals | where {signals.actor} in (({actors})){drop_metadata}"
    if any(option.kind in ("mapping", "none") for option in sequence.identity):
        # KQL cannot express these options, so the job matches the signals. The query only drops what is
        # stamped before the first change: no stamp is earlier than its row's own time.
        condition = f"{signals.stamped} >= toscalar(changers | summarize min({changes.time}))"
    else:
        condition = "\n    or ".join(
            f"{signal_column} in (({_distinct('changers', change_column)}))"
            for change_column, signal_column in map(sequence.key_columns, range(len(sequence.identity)))
        )
    keys = _signal_keys(rule, signals.actor, signals.metadata.column if signals.metadata else "")
    extend_steps = "".join(f"\n| extend {key}" for key in keys)
    changers = f"let changers =\n{_changes_with_keys(rule)}\n;\n"
    return f"{changers}signals{extend_steps}\n| where {condition}{drop_metadata}"


def _signal_keys(rule: Rule, user: str, metadata: str) -> list[str]:
    """The keys of signals that are not simply their user, as KQL assignments."""
    pairs = {
        rule.sequence.key_columns(number)[1]: option.signal_key(user, metadata)
        for number, option in enumerate(rule.sequence.identity)
    }
    return [f"{column} = {key}" for column, key in pairs.items() if key]


def _distinct(table: str, column: str) -> str:
    return f"{table} | where isnotempty({column}) | distinct {column}"


def _health(rule: Rule, side_name: str) -> str:
    """The health of one side. A row is named if one of the rule's options can match its identity."""
    side, options = rule.sequence.sides[side_name], rule.sequence.identity
    is_named = side.names_actor
    if side_name == "signals" and options[0].kind == "none":
        is_named = "true"
    elif side_name == "signals" and side.metadata:
        keys = [
            option.signal_key("", f"({side.metadata.source})")
            for option in options
            if option.kind == "metadata"
        ]
        is_named = " or ".join([is_named, *(f"isnotempty({key})" for key in keys)])
    return f"""(
{_source_in_window(rule, side_name)}
| summarize Rows = count(), Named = countif({is_named}), Cut = countif({_is_cut(side, is_named)}),
    Newest = max({stamp_of(rule, side_name)})
| extend Side = "{side_name}"
)"""


def _coverage(rule: Rule) -> str:
    """Counts the runtime identities in the signals' source by the first option that leads to an actor."""
    sequence, options = rule.sequence, rule.sequence.identity
    changes, signals = sequence.changes, sequence.signals
    keys = _signal_keys(rule, "Runtime", f"({signals.metadata.source})" if signals.metadata else "")
    extend_steps = "".join(f"\n| extend {key}" for key in keys)
    group_columns = ", ".join(["Runtime", *(key.partition(" = ")[0] for key in keys)])
    has_mapping = any(option.kind == "mapping" for option in options)
    identity_column = 'iff(isempty(Option), Runtime, "")' if has_mapping else '""'
    cases = ""
    for number, option in enumerate(options):
        change_column, signal_column = sequence.key_columns(number)
        change_column = "Actor" if change_column == changes.actor else change_column
        signal_column = "Runtime" if signal_column == signals.actor else signal_column
        if option.kind != "mapping":
            cases += f'\n    {signal_column} in (({_distinct("actors", change_column)})), "{option.name}",'
    first_option = f'case({cases}\n    "")' if cases else '""'
    if options[0].kind == "none":
        first_option = '"none"'
    return f"""let actors =
{_source_in_window(rule, "changes")}
| summarize by Actor = {changes.actor_expression}
| where isnotempty(Actor){_change_keys(rule, "Actor")}
;
{_source_in_window(rule, "signals")}
| extend Runtime = {signals.actor_expression}{extend_steps}
| summarize Seen = count() by {group_columns}
| extend Option = {first_option}, Shape = {_SHAPES}
| extend Identity = {identity_column}
| summarize Identities = count(), Rows = sum(Seen) by Option, Shape, Identity
| extend Actors = toscalar(actors | count)"""


def stamp_of(rule: Rule, side: str) -> str:
    """The column with the stamp of the side's tables."""
    return next(table.stamped for table in tables_of(rule, side).values())


def tables_of(rule: Rule, side: str) -> dict[str, LogTable]:
    """The tables that a side reads: its source, or the tables that its parser mentions."""
    source = rule.sequence.sides[side].source
    names = re.findall(r"\w+", rule.parsers.get(source, source))
    return {name: table for name, table in rule.tables.items() if name in names}
