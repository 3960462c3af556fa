"""What a published query says: two sides, who joins them, and how long after the one the other may come."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from detection.base.errors import ConfigurationError
from detection.drafting.pieces import Piece, closing_bracket, split, without_comments

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|m|s|ms)")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
_NAME = r"([A-Za-z_]\w*)"


class Pipeline(NamedTuple):
    """Operators over a table or a parser function."""

    source: str
    operators: list[Piece]


@dataclass(frozen=True, slots=True)
class Query:
    """A query that was understood: the change comes first in time. `remarks` are about what was not."""

    changes: Pipeline
    signals: Pipeline
    change_actor: str
    signal_actor: str
    change_time: str | None
    signal_time: str | None
    within: timedelta | None
    output: Sequence[str]
    remarks: Sequence[str] = field(default_factory=list)


def parse_query(text: str) -> Query:
    """The two sides of a query. Raises ConfigurationError where it is not one join of two tabular sources."""
    *lets, main = split(Piece(without_comments(text), 1), ";") or [Piece("", 1)]
    let_values = dict(map(_read_let, lets))
    pipeline = _read_pipeline(main, let_values)
    joins = [index for index, operator in enumerate(pipeline.operators) if operator.keyword == "join"]
    if len(joins) != 1:
        raise ConfigurationError(f"the query has {len(joins)} joins at its top, and a draft needs just one")
    join = pipeline.operators[joins[0]]
    right_side, keys, remarks = _read_join(join, let_values)
    left_side = Pipeline(pipeline.source, pipeline.operators[: joins[0]])
    tail = _QueryTail(let_values)
    tail.read_operators(pipeline.operators[joins[0] + 1 :])
    actors = keys[0]
    changes, signals = left_side, right_side
    if (
        tail.earlier_time
        and _mentions_name(right_side, tail.earlier_time)
        and not _mentions_name(left_side, tail.earlier_time)
    ):
        changes, signals, actors = right_side, left_side, (actors[1], actors[0])
    if tail.earlier_time is None:
        remarks.append(
            "no condition says which of the two comes first: the left side of the join is taken for the change"
        )
    return Query(
        _inline_lets(changes, let_values),
        _inline_lets(signals, let_values),
        *actors,
        tail.earlier_time,
        tail.later_time,
        tail.within,
        tail.output,
        [*remarks, *tail.remarks],
    )


def parse_timespan(text: str, let_values: Mapping[str, Piece] | None = None) -> timedelta | None:
    """The timespan that a text such as 24h is, or that a `let` of that name holds; None where it is none."""
    text = text.strip().strip("()")
    if let_values and text in let_values:
        return parse_timespan(let_values[text].text)
    match = _SPAN.fullmatch(text)
    return timedelta(**{_UNITS[match[2]]: float(match[1])}) if match else None


def _read_let(piece: Piece) -> tuple[str, Piece]:
    match = re.match(rf"let\s+{_NAME}\s*=\s*", piece.text)
    if not match:
        raise ConfigurationError(f"line {piece.line} of the query is no `let`: {_shorten(piece)}")
    skipped = piece.text[: match.end()].count("\n")
    return match[1], Piece(piece.text[match.end() :].strip(), piece.line + skipped)


def _read_pipeline(piece: Piece, let_values: Mapping[str, Piece]) -> Pipeline:
    """The operators of a text, with those of the `let` that it starts from before them."""
    text = piece.text
    if text.startswith("(") and closing_bracket(text, 0) == len(text) - 1:
        return _read_pipeline(Piece(text[1:-1].strip(), piece.line + _lines_before(text[1:])), let_values)
    source, *operators = split(piece, r"\|")
    if source.text in let_values:
        base = _read_pipeline(
            let_values[source.text],
            {name: let_value for name, let_value in let_values.items() if name != source.text},
        )
        return Pipeline(base.source, [*base.operators, *operators])
    if not re.fullmatch(r"[A-Za-z_]\w*", source.text):
        raise ConfigurationError(f"line {source.line} of the query starts from no table: {_shorten(source)}")
    return Pipeline(source.text, operators)


def _lines_before(text: str) -> int:
    return text[: len(text) - len(text.lstrip())].count("\n")


def _read_join(
    join: Piece, let_values: Mapping[str, Piece]
) -> tuple[Pipeline, list[tuple[str, str]], list[str]]:
    """A join's right side, the columns that must be equal (left, right), and remarks."""
    options = re.match(r"((?:kind|hint\.\w+)\s*=\s*\w+\s+)*", join.arguments)
    text = join.arguments[options.end() :] if options else join.arguments
    kind = re.search(r"kind\s*=\s*(\w+)", options[0] if options else "")
    end = closing_bracket(text, 0) + 1 if text.startswith("(") else len(text.split(maxsplit=1)[0])
    on = re.match(r"\s*on\s+", text[end:])
    if not on:
        raise ConfigurationError(f"line {join.line} of the query: a join without `on`")
    right_side = _read_pipeline(Piece(text[:end].strip(), join.line), let_values)
    conditions = split(Piece(text[end + on.end() :], join.line), r",|\band\b")
    keys = [key for condition in conditions if (key := _equal_columns(condition.text))]
    if not keys:
        raise ConfigurationError(f"line {join.line} of the query: the join is on no two equal columns")
    remarks = [
        f"line {join.line}: only {keys[0][0]} == {keys[0][1]} is the actor; not taken over: {_shorten(condition)}"
        for condition in conditions[1:]
    ]
    if (kind[1] if kind else "innerunique") != "inner":
        remarks.append(f"line {join.line}: the join is not kind=inner; here every pair counts, as with inner")
    return right_side, keys, remarks


def _equal_columns(condition: str) -> tuple[str, str] | None:
    equality = re.fullmatch(rf"\$(left|right)\.{_NAME}\s*==\s*\$(left|right)\.{_NAME}", condition)
    if equality and equality[1] != equality[3]:
        return (equality[2], equality[4]) if equality[1] == "left" else (equality[4], equality[2])
    shared_name = re.fullmatch(_NAME, condition)
    return (shared_name[1], shared_name[1]) if shared_name else None


@dataclass(slots=True)
class _QueryTail:
    """What stands behind the join: the time between the two, and what is returned."""

    let_values: Mapping[str, Piece]
    earlier_time: str | None = None
    later_time: str | None = None
    within: timedelta | None = None
    output: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def read_operators(self, operators: Sequence[Piece]) -> None:
        """Takes in operator after operator."""
        for operator in operators:
            if operator.keyword == "where":
                for condition in split(Piece(operator.arguments, operator.line), r"\band\b"):
                    if not self._read_condition(condition.text):
                        self.remarks.append(
                            f"line {condition.line}: not understood: where {_shorten(condition)}"
                        )
            elif operator.keyword == "project":
                self.output = [name for name, _ in named_expressions(operator)]
            elif operator.keyword not in {"order", "sort"}:
                self.remarks.append(f"line {operator.line}: not understood: {_shorten(operator)}")

    def _read_condition(self, text: str) -> bool:
        """Takes in a condition on the times of the two."""
        flat = re.sub(r"[()\s]", "", text)
        for pattern, earlier, later in _ORDERS:
            match = re.fullmatch(pattern, flat)
            if not match:
                continue
            length = parse_timespan(match["span"], self.let_values) if "span" in match.groupdict() else None
            if "span" in match.groupdict() and length is None:
                return False
            self.earlier_time, self.later_time = match[earlier], match[later]
            self.within = length or self.within
            return True
        return False


# Conditions without blanks and brackets, and which of their names is the earlier, which the later time.
_ORDERS = (
    (r"(?P<b>\w+)between(?P<a>\w+)\.\.(?P=a)\+(?P<span>\w+)", "a", "b"),
    (r"(?P<a>\w+)between(?P<b>\w+)-(?P<span>\w+)\.\.(?P=b)", "a", "b"),
    (r"(?P<b>[A-Za-z_]\w*)-(?P<a>[A-Za-z_]\w*)between0[a-z]+\.\.(?P<span>\w+)", "a", "b"),
    (r"(?P<b>[A-Za-z_]\w*)-(?P<a>[A-Za-z_]\w*)<=?(?P<span>\w+)", "a", "b"),
    (r"(?P<b>[A-Za-z_]\w*)<=?(?P<a>[A-Za-z_]\w*)\+(?P<span>\w+)", "a", "b"),
    (r"(?P<a>[A-Za-z_]\w*)<=?(?P<b>[A-Za-z_]\w*)", "a", "b"),
    (r"(?P<b>[A-Za-z_]\w*)>=?(?P<a>[A-Za-z_]\w*)", "a", "b"),
)


def named_expressions(operator: Piece) -> Iterator[tuple[str, str]]:
    """The columns of a `project` or an `extend`: (name, expression)."""
    for column in split(Piece(operator.arguments, operator.line), ","):
        match = re.match(rf"{_NAME}\s*=(?!=)\s*", column.text)
        yield (match[1], column.text[match.end() :]) if match else (column.text, column.text)


def _mentions_name(side: Pipeline, name: str) -> bool:
    return any(re.search(rf"\b{name}\b", operator.text) for operator in side.operators)


def _inline_lets(side: Pipeline, let_values: Mapping[str, Piece]) -> Pipeline:
    """The side with the values of plain `let`s in their places: a rule's query has none of its own."""
    values = {
        name: let_value.text
        for name, let_value in let_values.items()
        if not split(let_value, r"\|")[1:] and name != side.source
    }
    return Pipeline(
        side.source,
        [Piece(_replace_names(values, operator.text), operator.line) for operator in side.operators],
    )


def _replace_names(values: Mapping[str, str], text: str) -> str:
    for name, value in reversed([*values.items()]):
        pattern = rf"(?<![.\w]){name}\b(?!\s*=[^=])"
        text = re.sub(pattern, value.replace("\\", r"\\"), text)
    return text


def _shorten(piece: Piece) -> str:
    """A piece as one short line."""
    flat = " ".join(piece.text.split())
    return flat if len(flat) <= 100 else flat[:100] + "…"
