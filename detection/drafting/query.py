"""What a published query says: two sides, who joins them, and how long after the one the other may come. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from detection.drafting.pieces import Piece, closing, split, without_comments
from detection.errors import ConfigurationError

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


def understood(text: str) -> Query:
    """The two sides of a query. Raises ConfigurationError where it is not one join of two tabular sources."""
    *lets, main = split(Piece(without_comments(text), 1), ";") or [Piece("", 1)]
    named = dict(map(_let, lets))
    pipeline = _pipeline(main, named)
    joins = [at for at, one in enumerate(pipeline.operators) if one.word == "join"]
    if len(joins) != 1:
        raise ConfigurationError(f"the query has {len(joins)} joins at its top, and a draft needs just one")
    join = pipeline.operators[joins[0]]
    right, keys, remarks = _join(join, named)
    left = Pipeline(pipeline.source, pipeline.operators[: joins[0]])
    after = _After(named)
    after.read(pipeline.operators[joins[0] + 1 :])
    actors = keys[0]
    changes, signals = left, right
    if after.earlier and _mentions(right, after.earlier) and not _mentions(left, after.earlier):
        changes, signals, actors = right, left, (actors[1], actors[0])
    if after.earlier is None:
        remarks.append(
            "no condition says which of the two comes first: the left side of the join is taken for the change"
        )
    return Query(
        _inlined(changes, named),
        _inlined(signals, named),
        *actors,
        after.earlier,
        after.later,
        after.within,
        after.output,
        [*remarks, *after.remarks],
    )


def span(text: str, named: Mapping[str, Piece] | None = None) -> timedelta | None:
    """The timespan that a text such as 24h is, or that a `let` of that name holds; None where it is none."""
    text = text.strip().strip("()")
    if named and text in named:
        return span(named[text].text)
    found = _SPAN.fullmatch(text)
    return timedelta(**{_UNITS[found[2]]: float(found[1])}) if found else None


def _let(piece: Piece) -> tuple[str, Piece]:
    found = re.match(rf"let\s+{_NAME}\s*=\s*", piece.text)
    if not found:
        raise ConfigurationError(f"line {piece.line} of the query is no `let`: {_shown(piece)}")
    skipped = piece.text[: found.end()].count("\n")
    return found[1], Piece(piece.text[found.end() :].strip(), piece.line + skipped)


def _pipeline(piece: Piece, named: Mapping[str, Piece]) -> Pipeline:
    """The operators of a text, with those of the `let` that it starts from before them."""
    text = piece.text
    if text.startswith("(") and closing(text, 0) == len(text) - 1:
        return _pipeline(Piece(text[1:-1].strip(), piece.line + _lines_before(text[1:])), named)
    source, *operators = split(piece, r"\|")
    if source.text in named:
        base = _pipeline(
            named[source.text], {name: one for name, one in named.items() if name != source.text}
        )
        return Pipeline(base.source, [*base.operators, *operators])
    if not re.fullmatch(r"[A-Za-z_]\w*", source.text):
        raise ConfigurationError(f"line {source.line} of the query starts from no table: {_shown(source)}")
    return Pipeline(source.text, operators)


def _lines_before(text: str) -> int:
    return text[: len(text) - len(text.lstrip())].count("\n")


def _join(join: Piece, named: Mapping[str, Piece]) -> tuple[Pipeline, list[tuple[str, str]], list[str]]:
    """A join's right side, the columns that must be equal (left, right), and remarks."""
    options = re.match(r"((?:kind|hint\.\w+)\s*=\s*\w+\s+)*", join.rest)
    text = join.rest[options.end() :] if options else join.rest
    kind = re.search(r"kind\s*=\s*(\w+)", options[0] if options else "")
    end = closing(text, 0) + 1 if text.startswith("(") else len(text.split(maxsplit=1)[0])
    on = re.match(r"\s*on\s+", text[end:])
    if not on:
        raise ConfigurationError(f"line {join.line} of the query: a join without `on`")
    right = _pipeline(Piece(text[:end].strip(), join.line), named)
    conditions = split(Piece(text[end + on.end() :], join.line), r",|\band\b")
    keys = [key for one in conditions if (key := _key(one.text))]
    if not keys:
        raise ConfigurationError(f"line {join.line} of the query: the join is on no two equal columns")
    remarks = [
        f"line {join.line}: only {keys[0][0]} == {keys[0][1]} is the actor; not taken over: {_shown(one)}"
        for one in conditions[1:]
    ]
    if (kind[1] if kind else "innerunique") != "inner":
        remarks.append(f"line {join.line}: the join is not kind=inner; here every pair counts, as with inner")
    return right, keys, remarks


def _key(condition: str) -> tuple[str, str] | None:
    both = re.fullmatch(rf"\$(left|right)\.{_NAME}\s*==\s*\$(left|right)\.{_NAME}", condition)
    if both and both[1] != both[3]:
        return (both[2], both[4]) if both[1] == "left" else (both[4], both[2])
    one = re.fullmatch(_NAME, condition)
    return (one[1], one[1]) if one else None


@dataclass(slots=True)
class _After:
    """What stands behind the join: the time between the two, and what is returned."""

    named: Mapping[str, Piece]
    earlier: str | None = None
    later: str | None = None
    within: timedelta | None = None
    output: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def read(self, operators: Sequence[Piece]) -> None:
        """Takes in operator after operator."""
        for one in operators:
            if one.word == "where":
                for condition in split(Piece(one.rest, one.line), r"\band\b"):
                    if not self._condition(condition.text):
                        self.remarks.append(
                            f"line {condition.line}: not understood: where {_shown(condition)}"
                        )
            elif one.word == "project":
                self.output = [name for name, _ in items(one)]
            elif one.word not in {"order", "sort"}:
                self.remarks.append(f"line {one.line}: not understood: {_shown(one)}")

    def _condition(self, text: str) -> bool:
        """Takes in a condition on the times of the two."""
        flat = re.sub(r"[()\s]", "", text)
        for pattern, earlier, later in _ORDERS:
            found = re.fullmatch(pattern, flat)
            if not found:
                continue
            length = span(found["span"], self.named) if "span" in found.groupdict() else None
            if "span" in found.groupdict() and length is None:
                return False
            self.earlier, self.later = found[earlier], found[later]
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


def items(operator: Piece) -> Iterator[tuple[str, str]]:
    """The columns of a `project` or an `extend`: (name, expression)."""
    for one in split(Piece(operator.rest, operator.line), ","):
        found = re.match(rf"{_NAME}\s*=(?!=)\s*", one.text)
        yield (found[1], one.text[found.end() :]) if found else (one.text, one.text)


def _mentions(side: Pipeline, name: str) -> bool:
    return any(re.search(rf"\b{name}\b", one.text) for one in side.operators)


def _inlined(side: Pipeline, named: Mapping[str, Piece]) -> Pipeline:
    """The side with the values of plain `let`s in their places: a rule's query has none of its own."""
    values = {
        name: one.text for name, one in named.items() if not split(one, r"\|")[1:] and name != side.source
    }
    return Pipeline(side.source, [Piece(_with(values, one.text), one.line) for one in side.operators])


def _with(values: Mapping[str, str], text: str) -> str:
    for name, value in reversed([*values.items()]):
        named = rf"(?<![.\w]){name}\b(?!\s*=[^=])"
        text = re.sub(named, value.replace("\\", r"\\"), text)
    return text


def _shown(piece: Piece) -> str:
    """A piece as one short line."""
    flat = " ".join(piece.text.split())
    return flat if len(flat) <= 100 else flat[:100] + "…"
