"""Coverage: how many of the identities that signals name could be an actor of the audit log.

A rule pairs a change with the signals of the same actor. If callers do not send an identity that the audit
log knows, the rule finds nothing, which looks like a quiet day. Coverage tells the two apart.
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

# The matched fraction has fallen when it is less than half of its former average. With ten expected matches
# that happens by chance with a probability of 3 % (Poisson, fewer than 5 at a mean of 10); with fewer it
# proves nothing.
MIN_EXPECTED = 10

_SHAPE_WORDS: Mapping[Shape, str] = {
    "e-mail": "e-mails",
    "hash-like": "hash-like",
    "name": "names",
    "empty": "empty",
}
_SHAPE_HINTS: Mapping[Shape, str] = {
    "e-mail": "most are e-mails that the audit log does not name: add a mapping",
    "hash-like": "most look like hashes: add {hash: sha256}, or a mapping if they are salted",
    "name": "most are names, not e-mails: add local-part or a mapping, if they are people and not services",
    "empty": "most rows name no user",
}


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Counts of the different identities that match no actor of the audit log, and of their rows."""

    identities: int
    rows: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of the `identities` in the signals' source could be an actor of the changes' source.

    `matched` identities could be one of the `actors`; `matched_by` counts them by identity matching option.
    All counts are exact counts of different identities in the source's window. An identity that a mapping
    lists counts as matched, whether or not its actor was seen.

    `rows` counts all rows of the signals' source, `matched_rows` those of matched identities. `unmatched` is
    by shape; the shape "empty" does not count among `identities`.
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
        """The matched fraction of all identities, from 0 to 1; 1 if there are no identities."""
        return self.matched / self.identities if self.identities else 1.0


def parse_coverage(answer: Iterable[tuple[Any, ...]], rule: Rule) -> Coverage:
    """Reads the answer to the coverage query, whose columns are kql.COVERAGE_COLUMNS.

    Raises DataError if a row has a cell of the wrong type.
    """
    identities_by_option: Counter[str] = Counter()
    rows: Counter[tuple[str, Shape]] = Counter()
    identities: Counter[tuple[str, Shape]] = Counter()
    actors = 0
    for matched_option, shape, identity_text, identity_count, row_count, actor_count in answer:
        texts, numbers = (matched_option, identity_text), (identity_count, row_count, actor_count)
        if shape not in SHAPES or {*map(type, texts)} - {str, NoneType} or {*map(type, numbers)} != {int}:
            raise DataError(
                "coverage: the query's answer has a row that is not a count of identities; "
                "check actor_expression of both sides in rule.yaml"
            )
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
    """The coverage as a line for people."""
    if coverage is None:
        return "not known"
    unmatched_texts = [
        f"{counts.identities:,} {_SHAPE_WORDS[shape]}"
        for shape, counts in coverage.unmatched.items()
        if shape != "empty"
    ]
    if empty_counts := coverage.unmatched.get("empty"):
        unmatched_texts.append(f"{empty_counts.rows:,} of {coverage.rows:,} rows name no user")
    line = (
        f"{coverage.matched:,} of {coverage.identities:,} runtime identities could be one of "
        f"{coverage.actors:,} audit actors"
    )
    return f"{line}; unmatched: {', '.join(unmatched_texts)}" if unmatched_texts else line


def coverage_warning(coverage: Coverage | None, earlier_coverages: Sequence[Coverage] = ()) -> str | None:
    """The warning for a coverage, given those of earlier runs. Returns None if all is well.

    Warns if no runtime identity could be an audit actor, and if the matched fraction is less than half of its
    earlier average.
    """
    if coverage is None or not coverage.rows or not coverage.actors:
        return None
    blind_text = "your callers do not set user to the audit identity; this rule cannot see them"
    commonest_shape = max(coverage.unmatched, key=lambda shape: coverage.unmatched[shape].rows, default=None)
    hint = f" ({_SHAPE_HINTS[commonest_shape]}; see identity in docs/rules.md)" if commonest_shape else ""
    if not coverage.matched:
        return (
            f"none of {coverage.identities:,} runtime identities could be an audit actor: {blind_text}{hint}"
        )
    shares = [earlier_coverage.share for earlier_coverage in earlier_coverages if earlier_coverage.identities]
    usual_share = sum(shares) / len(shares) if shares else 0.0
    if usual_share * coverage.identities >= MIN_EXPECTED and coverage.share < usual_share / 2:
        return (
            f"only {coverage.share:.0%} of {coverage.identities:,} runtime identities could be "
            f"an audit actor, {usual_share:.0%} before: {blind_text}{hint}"
        )
    return None
