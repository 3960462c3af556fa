"""The evidence of an alert, for the page of its incident: its events in time and its newest pairs.

The size of evidence is bounded, whatever the events contain: it shares a transaction with its alert.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from operator import attrgetter

from pydantic_core import to_json

from detection.correlation.correlate import Chain, Pair
from detection.correlation.output import OutputRow, RowWriter, truncate_row
from detection.logs.events import Event, without_duplicates
from detection.logs.window import Windows
from detection.rules.model import Rule

QUARTER = 15 * 60  # seconds
KINDS = 12  # kinds of a side that are counted separately; the other kinds are counted together
OTHER_KINDS = "other"
KIND = 100  # characters of a kind
PAIRS = 50
VALUE = 300  # characters of one value in a pair
PAIRS_BYTES = 64 * 2**10  # of all pairs as JSON; a row takes 1 MiB
_kind_of = attrgetter("kind")


@dataclass(frozen=True, slots=True)
class Histogram:
    """Events by kind and quarter of an hour.

    `kinds[kind][n]` events are in the n-th quarter after `begin` (UTC).
    """

    begin: datetime
    kinds: Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The changes and signals of an alert in time, and its newest pairs first, with long values cut."""

    changes: Histogram
    signals: Histogram
    pairs: list[OutputRow]  # of any other sequence pydantic serializes every element in Python


def evidence(new_pairs: Sequence[Chain], rule: Rule, windows: Windows) -> Evidence:
    """The evidence of an alert for the pairs of these chains; there is at least one pair."""
    output = RowWriter(rule)
    rows = [truncate_row(output.row(pair, windows.now), VALUE) for pair in newest_pairs(new_pairs, PAIRS)]
    sizes = accumulate(len(to_json(row)) for row in rows)
    return Evidence(
        changes=histogram(without_duplicates([event for chain in new_pairs for event in chain.changes])),
        signals=histogram(without_duplicates([event for chain in new_pairs for event in chain.signals])),
        pairs=[row for row, size in zip(rows, sizes, strict=True) if size <= PAIRS_BYTES],
    )


def histogram(events: Collection[Event]) -> Histogram:
    """The events by kind and quarter of an hour; there is at least one event."""
    totals = Counter(map(_kind_of, events))
    names = {kind: kind[:KIND] for kind, _ in totals.most_common(KINDS)}
    times: dict[str, list[datetime]] = {}
    for event in events:
        times.setdefault(names.get(event.kind, OTHER_KINDS), []).append(event.time)
    earliest, latest = min(map(min, times.values())), max(map(max, times.values()))
    begin = datetime.fromtimestamp(int(earliest.timestamp()) // QUARTER * QUARTER, UTC)
    length = timedelta(seconds=QUARTER)
    ends = [begin + number * length for number in range(1, (latest - begin) // length + 2)]
    return Histogram(begin, {name: dict(_by_quarter(sorted(times[name]), ends)) for name in sorted(times)})


def _by_quarter(times: Sequence[datetime], ends: Iterable[datetime]) -> Iterator[tuple[int, int]]:
    """The quarters of an hour, by their ends, that have some of the ordered times, each with their number."""
    before = 0
    for quarter, end in enumerate(ends):
        up_to = bisect_left(times, end, before)
        if up_to > before:
            yield quarter, up_to - before
            before = up_to


def newest_pairs(new_pairs: Sequence[Chain], limit: int) -> list[Pair]:
    """The newest pairs of some chains, the latest signal first.

    In a chain that counts pairs of the same ids once, the latest of them is the pair.
    """
    newest: list[Pair] = []
    for chain in new_pairs:
        newest_of_chain: dict[object, Pair] = {}
        for change, signal in chain.newest_pairs():
            identity = (change.id, signal.id) if chain.once else len(newest_of_chain)
            newest_of_chain.setdefault(identity, (change, signal))
            if len(newest_of_chain) == limit:
                break
        newest = sorted([*newest, *newest_of_chain.values()], key=pair_times, reverse=True)[:limit]
    return newest


def pair_times(pair: Pair) -> tuple[datetime, datetime]:
    """The times of a pair's signal and change, the order of pairs."""
    change, signal = pair
    return signal.time, change.time
