"""Read a published query: the two sides of its join, the actor, and the time between change and signal."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from detection.base.errors import ConfigurationError
from detection.drafting.pieces import Piece, closing_bracket, split, without_comments

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|m|s|ms)")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
_NAME = r"([A-Za-z_]\w*)"


class QuerySide(NamedTuple):
    """Operators over a table or a parser function, and the columns with the actor and the time."""

    source: str
    operators: list[Piece]
    actor: str = ""
    time: str | None = None

    def mentions(self, name: str) -> bool:
        return any(re.search(rf"\b{name}\b", operator.text) for operator in self.operators)


@dataclass(frozen=True, slots=True)
class Query:
    """A query that was read: changes come before signals. `remarks` name the parts that could not be read."""

    changes: QuerySide
    signals: QuerySide
    within: timedelta | None
    output: Sequence[str]
    remarks: Sequence[str]


def parse_query(text: str) -> Query:
    """Read a query. Raises ConfigurationError unless it is one join of two tabular sources."""
    *lets, main = split(Piece(without_comments(text), 1), ";") or [Piece("", 1)]
    let_values = {}
    for let in lets:
        match = re.match(rf"let\s+{_NAME}\s*=\s*", let.text)
        if not match:
            raise ConfigurationError(f"line {let.line} of the query is not a `let` statement: {let}")
        let_values[match[1]] = let.part(match.end())
    whole = _read_pipeline(main, let_values)
    left_side, right_side, tail, remarks = _read_join(whole, let_values)
    earlier, later, within, output = "", "", None, list[str]()
    for operator in tail:
        if operator.keyword == "where":
            for condition in split(Piece(operator.arguments, operator.line), r"\band\b"):
                flat = re.sub(r"[()\s]", "", condition.text)
                match = next((match for pattern in _ORDERS if (match := re.fullmatch(pattern, flat))), None)
                span = match.groupdict().get("span") if match else None
                limit = parse_timespan(span, let_values) if span else None
                if match and (limit or not span):
                    earlier, later, within = match["a"], match["b"], limit or within
                else:
                    remarks.append(f"line {condition.line}: not understood: where {condition}")
        elif operator.keyword == "project":
            output = [name for name, _ in named_expressions(operator)]
        elif operator.keyword not in {"order", "sort"}:
            remarks.append(f"line {operator.line}: not understood: {operator}")
    changes, signals = left_side, right_side
    if earlier:
        if right_side.mentions(earlier) and not left_side.mentions(earlier):
            changes, signals = right_side, left_side
        changes, signals = changes._replace(time=earlier), signals._replace(time=later)
    else:
        remarks.append("no condition orders the two times; the left side of the join became the change")
    return Query(
        _inline_lets(changes, let_values), _inline_lets(signals, let_values), within, output, remarks
    )


def parse_timespan(text: str, let_values: Mapping[str, Piece] | None = None) -> timedelta | None:
    """The timespan of a literal such as 24h, or of a `let` with such a literal; None for any other text."""
    text = text.strip().strip("()")
    if let_values and text in let_values:
        return parse_timespan(let_values[text].text)
    match = _SPAN.fullmatch(text)
    return timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else None


def named_expressions(operator: Piece) -> Iterator[tuple[str, str]]:
    """The columns of a `project` or an `extend`: (name, expression)."""
    for column in split(Piece(operator.arguments, operator.line), ","):
        match = re.match(rf"{_NAME}\s*=(?!=)\s*", column.text)
        yield (match[1], column.text[match.end() :]) if match else (column.text, column.text)


def _read_pipeline(piece: Piece, let_values: Mapping[str, Piece]) -> QuerySide:
    """The operators of a text, preceded by those of the `let` that it starts from."""
    if piece.text.startswith("(") and closing_bracket(piece.text) == len(piece.text) - 1:
        return _read_pipeline(piece.part(1, -1), let_values)
    source, *operators = split(piece, r"\|")
    if source.text in let_values:
        other_lets = {name: let_value for name, let_value in let_values.items() if name != source.text}
        base = _read_pipeline(let_values[source.text], other_lets)
        return QuerySide(base.source, [*base.operators, *operators])
    if not re.fullmatch(_NAME, source.text):
        raise ConfigurationError(f"line {source.line} of the query does not start from a table: {source}")
    return QuerySide(source.text, operators)


def _read_join(
    whole: QuerySide, let_values: Mapping[str, Piece]
) -> tuple[QuerySide, QuerySide, list[Piece], list[str]]:
    """The left and the right side of the join, each with its actor, the operators after it, and remarks."""
    joins = [place for place, operator in enumerate(whole.operators) if operator.keyword == "join"]
    if len(joins) != 1:
        raise ConfigurationError(
            f"the query has {len(joins)} joins at its top level; a draft needs exactly one"
        )
    join = whole.operators[joins[0]]
    options = re.match(r"(?:(?:kind|hint\.\w+)\s*=\s*\w+\s+)*", join.arguments)
    text = join.arguments[options.end() :] if options else join.arguments
    end = closing_bracket(text) + 1 if text.startswith("(") else len(text.split(maxsplit=1)[0])
    on = re.match(r"\s*on\s+", text[end:])
    if not on:
        raise ConfigurationError(
            f"line {join.line} of the query: the join has no `on`; name its columns there"
        )
    conditions = split(Piece(text[end + on.end() :], join.line), r",|\band\b")
    keys = []
    for condition in conditions:
        equality = re.fullmatch(
            rf"\$(left|right)\.{_NAME}\s*==\s*\$(?!\1)(left|right)\.{_NAME}", condition.text
        )
        if equality:
            keys.append((equality[2], equality[4]) if equality[1] == "left" else (equality[4], equality[2]))
        elif re.fullmatch(_NAME, condition.text):
            keys.append((condition.text, condition.text))
    if not keys:
        raise ConfigurationError(
            f"line {join.line} of the query: the join needs two equal columns in its `on`"
        )
    left_actor, right_actor = keys[0]
    remarks = [
        f"line {join.line}: {left_actor} == {right_actor} became the actor; dropped: {condition}"
        for condition in conditions[1:]
    ]
    if not re.search(r"kind\s*=\s*inner\b", options[0] if options else ""):
        remarks.append(f"line {join.line}: the join is not kind=inner; the job pairs as an inner join does")
    right_side = _read_pipeline(Piece(text[:end].strip(), join.line), let_values)
    left_side = QuerySide(whole.source, whole.operators[: joins[0]], left_actor)
    return left_side, right_side._replace(actor=right_actor), whole.operators[joins[0] + 1 :], remarks


# Conditions without blanks and brackets; `a` is the earlier time, `b` the later.
_ORDERS = (
    r"(?P<b>\w+)between(?P<a>\w+)\.\.(?P=a)\+(?P<span>\w+)",
    r"(?P<a>\w+)between(?P<b>\w+)-(?P<span>\w+)\.\.(?P=b)",
    r"(?P<b>[A-Za-z_]\w*)-(?P<a>[A-Za-z_]\w*)between0[a-z]+\.\.(?P<span>\w+)",
    r"(?P<b>[A-Za-z_]\w*)-(?P<a>[A-Za-z_]\w*)<=?(?P<span>\w+)",
    r"(?P<b>[A-Za-z_]\w*)<=?(?P<a>[A-Za-z_]\w*)\+(?P<span>\w+)",
    r"(?P<a>[A-Za-z_]\w*)<=?(?P<b>[A-Za-z_]\w*)",
    r"(?P<b>[A-Za-z_]\w*)>=?(?P<a>[A-Za-z_]\w*)",
)


def _inline_lets(side: QuerySide, let_values: Mapping[str, Piece]) -> QuerySide:
    """The side with the values of scalar `let`s inserted, because a rule's query has no `let`."""
    operators = side.operators
    for name, let_value in reversed(list(let_values.items())):
        if len(split(let_value, r"\|")) > 1 or name == side.source:
            continue
        pattern, text = rf"(?<![.\w]){name}\b(?!\s*=[^=])", let_value.text.replace("\\", r"\\")
        operators = [Piece(re.sub(pattern, text, operator.text), operator.line) for operator in operators]
    return side._replace(operators=operators)
