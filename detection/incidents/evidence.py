"""What is kept of an alert for the page of its incident: how its events lie in time, and its newest pairs.

It is bounded, however many events there are and whatever stands in them: the alert's transaction must take it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import nlargest
from itertools import chain as flatten
from itertools import islice

from pydantic_core import to_json

from detection.base.timestamps import iso
from detection.correlation.correlate import Chain, Pair
from detection.correlation.output import OutputRow, RowWriter, truncate_row
from detection.logs.events import Event, without_duplicates
from detection.logs.window import Windows
from detection.rules.model import Rule

QUARTER = 15 * 60  # seconds
KINDS = 12  # of a side that are told apart; the rest is counted together
OTHER_KINDS = "other"
KIND = 100  # characters of a kind
PAIRS = 50
VALUE = 300  # characters of one value in a pair
PAIRS_BYTES = 64 * 2**10  # as JSON; of the 1 MiB that a row may have


@dataclass(frozen=True, slots=True)
class Histogram:
    """Events by kind and quarter of an hour: `kinds[kind][n]` of them in the n-th quarter after `begin` (ISO 8601)."""

    begin: str
    kinds: Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The changes and signals of an alert in time, its newest pairs as rows with long values cut, the latest first."""

    changes: Histogram
    signals: Histogram
    pairs: Sequence[OutputRow]


def evidence(new_pairs: Sequence[Chain], rule: Rule, windows: Windows) -> Evidence:
    """What is kept of the pairs of some chains, at least one."""
    output = RowWriter(rule)
    rows = (truncate_row(output.row(pair, windows.now), VALUE) for pair in newest_pairs(new_pairs, PAIRS))
    return Evidence(
        changes=histogram(without_duplicates([event for chain in new_pairs for event in chain.changes])),
        signals=histogram(without_duplicates([event for chain in new_pairs for event in chain.signals])),
        pairs=list(_rows_that_fit(rows)),
    )


def histogram(events: Collection[Event]) -> Histogram:
    """The events by kind and quarter of an hour; there is at least one."""
    common = Counter(event.kind for event in events).most_common(KINDS)
    names = {kind: kind[:KIND] for kind, _ in common}
    quarters = Counter(
        (names.get(event.kind, OTHER_KINDS), int(event.time.timestamp()) // QUARTER) for event in events
    )
    begin = min(quarter for _, quarter in quarters)
    kinds: dict[str, dict[int, int]] = {}
    for (kind, quarter), number in sorted(quarters.items()):
        kinds.setdefault(kind, {})[quarter - begin] = number
    return Histogram(iso(datetime.fromtimestamp(begin * QUARTER, UTC)), kinds)


def newest_pairs(new_pairs: Sequence[Chain], limit: int) -> list[Pair]:
    """The newest pairs of some chains, the latest signal first."""
    return nlargest(
        limit, flatten.from_iterable(islice(_newest(chain), limit) for chain in new_pairs), key=_when
    )


def _newest(chain: Chain) -> Iterator[Pair]:
    """A chain's pairs from the newest back; where a pair of ids is one pair, it stands there once, as the latest."""
    return _distinct(chain.newest_pairs()) if chain.once else chain.newest_pairs()


def _distinct(pairs: Iterator[Pair]) -> Iterator[Pair]:
    pair_ids: set[tuple[str, str]] = set()
    for change, signal in pairs:
        if (change.id, signal.id) not in pair_ids:
            pair_ids.add((change.id, signal.id))
            yield change, signal


def _when(pair: Pair) -> tuple[object, object]:
    change, signal = pair
    return signal.time, change.time


def _rows_that_fit(rows: Iterable[OutputRow]) -> Iterator[OutputRow]:
    """As many of the rows as fit."""
    size = 0
    for row in rows:
        size += len(to_json(row))
        if size > PAIRS_BYTES:
            return
        yield row
