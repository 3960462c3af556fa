"""Coverage: how many of those who are named at runtime could be somebody of the audit log. Pure.

A rule pairs a change with signals of the same actor. Where the callers name nobody whom the audit log knows, it
stays silent and looks healthy; this is what tells the two apart.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal, get_args

from detection.errors import DataError
from detection.rule import Rule

Shape = Literal["e-mail", "hash-like", "name", "empty"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

# A share has fallen when it is less than half of what it was. By chance that happens to a count of which ten were to
# be expected with a probability of 3 % (Poisson, fewer than 5 at a mean of 10); fewer say nothing.
EXPECTED = 10

_MANY: Mapping[Shape, str] = {
    "e-mail": "e-mails",
    "hash-like": "hash-like",
    "name": "names",
    "empty": "empty",
}
_HINTS: Mapping[Shape, str] = {
    "e-mail": "e-mails that the audit log does not name: bridge them by a mapping",
    "hash-like": "what looks like hashes: bridge them by {hash: sha256}, or by a mapping if they are salted",
    "name": "names that are no e-mails: bridge them by local-part or a mapping, if people and no services use them",
    "empty": "nothing at all",
}


@dataclass(frozen=True, slots=True)
class Unmatched:
    """How many different identities nobody of the audit log could be, and how many rows have them."""

    identities: int
    rows: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of the `identities` that the signals' source names in its window, how many could be one of the `actors` whom the
    changes' source names in its own: `matched`, and by which bridge. All are different ones, counted exactly.

    `rows` are all of the signals' source, signals or not, `matched_rows` those of the matched. `unmatched` are by shape;
    the empty one counts among no identities. What a mapping names counts as matched, whether it was seen or not.
    """

    rows: int
    matched_rows: int
    identities: int
    matched: int
    actors: int
    bridges: Mapping[str, int] = field(default_factory=dict)
    unmatched: Mapping[Shape, Unmatched] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The matched of all identities, from 0 to 1; of none, 1."""
        return self.matched / self.identities if self.identities else 1.0


def coverage(answer: Iterable[tuple[Any, ...]], rule: Rule) -> Coverage:
    """The coverage that the rows of the coverage query say, as kql.COVERAGE_COLUMNS has them.

    Raises DataError when they say none.
    """
    bridges: Counter[str] = Counter()
    rows: Counter[tuple[str, Shape]] = Counter()
    identities: Counter[tuple[str, Shape]] = Counter()
    actors = 0
    for said, shape, identity, count, seen, named in answer:
        texts, numbers = (said, identity), (count, seen, named)
        if shape not in SHAPES or {*map(type, texts)} - {str, NoneType} or {*map(type, numbers)} != {int}:
            raise DataError("coverage: the query's answer holds a row that counts no identities")
        bridge = said or ("mapping" if identity in rule.mapped else "")
        rows[bridge, shape] += seen
        identities[bridge, shape] += count
        bridges[bridge] += count
        actors = named
    unmatched = {
        shape: Unmatched(identities["", shape], rows["", shape]) for shape in SHAPES if rows["", shape]
    }
    matched = bridges.total() - bridges.pop("", 0)
    return Coverage(
        rows=rows.total(),
        matched_rows=sum(seen for (bridge, _), seen in rows.items() if bridge),
        identities=matched + sum(one.identities for shape, one in unmatched.items() if shape != "empty"),
        matched=matched,
        actors=actors,
        bridges=dict(bridges),
        unmatched=unmatched,
    )


def in_words(now: Coverage | None) -> str:
    """The coverage in a line."""
    if now is None:
        return "not known"
    others = [
        f"{one.identities:,} {_MANY[shape]}" for shape, one in now.unmatched.items() if shape != "empty"
    ]
    empty = now.unmatched.get("empty")
    others += [f"{empty.rows:,} of {now.rows:,} rows name nobody"] if empty else []
    line = f"{now.matched:,} of {now.identities:,} runtime identities could be one of {now.actors:,} audit actors"
    return f"{line}; unmatched: {', '.join(others)}" if others else line


def warning(now: Coverage | None, before: Sequence[Coverage] = ()) -> str | None:
    """What is to be said of a coverage beside those of earlier runs; None: nothing.

    It warns when nobody at runtime could be anybody of the audit log, and when the share of those who could is less
    than half of what it was on average.
    """
    if now is None or not now.rows or not now.actors:
        return None
    blind = "your callers do not set user to the audit identity; this rule cannot see them"
    mostly = max(now.unmatched, key=lambda shape: now.unmatched[shape].rows, default=None)
    hint = f" (most say {_HINTS[mostly]}; see identity in docs/rules.md)" if mostly else ""
    if not now.matched:
        return f"none of {now.identities:,} runtime identities could be an audit actor: {blind}{hint}"
    earlier = [one.share for one in before if one.identities]
    usual = sum(earlier) / len(earlier) if earlier else 0.0
    if usual * now.identities >= EXPECTED and now.share < usual / 2:
        return (
            f"only {now.share:.0%} of {now.identities:,} runtime identities could be an audit actor, "
            f"{usual:.0%} before: {blind}{hint}"
        )
    return None
