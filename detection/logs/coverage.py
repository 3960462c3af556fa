"""Coverage: how many of those who are named at runtime could be somebody of the audit log.

A rule pairs a change with signals of the same actor. Where the callers name nobody whom the audit log knows, it
stays silent and looks healthy; this is what tells the two apart.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal, get_args

from detection.base.errors import DataError
from detection.rules.model import Rule

Shape = Literal["e-mail", "hash-like", "name", "empty"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

# A share has fallen when it is less than half of what it was. By chance that happens to a count of which ten were to
# be expected with a probability of 3 % (Poisson, fewer than 5 at a mean of 10); fewer say nothing.
MIN_EXPECTED = 10

_SHAPE_WORDS: Mapping[Shape, str] = {
    "e-mail": "e-mails",
    "hash-like": "hash-like",
    "name": "names",
    "empty": "empty",
}
_SHAPE_HINTS: Mapping[Shape, str] = {
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
    matched_by: Mapping[str, int] = field(default_factory=dict)
    unmatched: Mapping[Shape, Unmatched] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The matched of all identities, from 0 to 1; of none, 1."""
        return self.matched / self.identities if self.identities else 1.0


def parse_coverage(answer: Iterable[tuple[Any, ...]], rule: Rule) -> Coverage:
    """The coverage that the rows of the coverage query say, as kql.COVERAGE_COLUMNS has them.

    Raises DataError when they say none.
    """
    identities_by_option: Counter[str] = Counter()
    rows: Counter[tuple[str, Shape]] = Counter()
    identities: Counter[tuple[str, Shape]] = Counter()
    actors = 0
    for matched_option, shape, identity_text, identity_count, row_count, actor_count in answer:
        texts, numbers = (matched_option, identity_text), (identity_count, row_count, actor_count)
        if shape not in SHAPES or {*map(type, texts)} - {str, NoneType} or {*map(type, numbers)} != {int}:
            raise DataError("coverage: the query's answer holds a row that counts no identities")
        option_name = matched_option or ("mapping" if identity_text in rule.emails_by_user else "")
        rows[option_name, shape] += row_count
        identities[option_name, shape] += identity_count
        identities_by_option[option_name] += identity_count
        actors = actor_count
    unmatched = {
        shape: Unmatched(identities["", shape], rows["", shape]) for shape in SHAPES if rows["", shape]
    }
    matched = identities_by_option.total() - identities_by_option.pop("", 0)
    return Coverage(
        rows=rows.total(),
        matched_rows=sum(row_count for (option_name, _), row_count in rows.items() if option_name),
        identities=matched
        + sum(counts.identities for shape, counts in unmatched.items() if shape != "empty"),
        matched=matched,
        actors=actors,
        matched_by=dict(identities_by_option),
        unmatched=unmatched,
    )


def coverage_text(coverage: Coverage | None) -> str:
    """The coverage in a line."""
    if coverage is None:
        return "not known"
    unmatched_texts = [
        f"{counts.identities:,} {_SHAPE_WORDS[shape]}"
        for shape, counts in coverage.unmatched.items()
        if shape != "empty"
    ]
    empty_counts = coverage.unmatched.get("empty")
    unmatched_texts += (
        [f"{empty_counts.rows:,} of {coverage.rows:,} rows name nobody"] if empty_counts else []
    )
    line = f"{coverage.matched:,} of {coverage.identities:,} runtime identities could be one of {coverage.actors:,} audit actors"
    return f"{line}; unmatched: {', '.join(unmatched_texts)}" if unmatched_texts else line


def coverage_warning(coverage: Coverage | None, earlier_coverages: Sequence[Coverage] = ()) -> str | None:
    """What is to be said of a coverage beside those of earlier runs; None: nothing.

    It warns when nobody at runtime could be anybody of the audit log, and when the share of those who could is less
    than half of what it was on average.
    """
    if coverage is None or not coverage.rows or not coverage.actors:
        return None
    blind_text = "your callers do not set user to the audit identity; this rule cannot see them"
    commonest_shape = max(coverage.unmatched, key=lambda shape: coverage.unmatched[shape].rows, default=None)
    hint = (
        f" (most say {_SHAPE_HINTS[commonest_shape]}; see identity in docs/rules.md)"
        if commonest_shape
        else ""
    )
    if not coverage.matched:
        return (
            f"none of {coverage.identities:,} runtime identities could be an audit actor: {blind_text}{hint}"
        )
    shares = [earlier_coverage.share for earlier_coverage in earlier_coverages if earlier_coverage.identities]
    usual_share = sum(shares) / len(shares) if shares else 0.0
    if usual_share * coverage.identities >= MIN_EXPECTED and coverage.share < usual_share / 2:
        return (
            f"only {coverage.share:.0%} of {coverage.identities:,} runtime identities could be an audit actor, "
            f"{usual_share:.0%} before: {blind_text}{hint}"
        )
    return None
