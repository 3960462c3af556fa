"""Sets of pairs that may be very many: a change reaches a stretch of signals, and is kept with it as bits. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from detection.correlate import Chain

BLOCK = 1_024  # signals whose bits stand in one number


class Numbers:
    """Gives every signal a number, in the order in which they are first seen."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, ident: str) -> int:
        """The number of a signal by its id."""
        return self._known.setdefault(ident, len(self._known))


class Pairs:
    """A set of pairs, each by the ids of its events. Sets that are compared share their numbers."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self.bits: defaultdict[tuple[str, int], int] = defaultdict(int)

    def add(self, chain: Chain) -> None:
        """Adds every pair of a chain, without looking at each."""
        numbers = [self._numbers.of(signal.id) for signal in chain.signals]
        ends = _ends(numbers)
        for change, span in zip(chain.changes, chain.spans, strict=True):
            for first, count in _stretches(numbers, ends, span):
                for block, bits in _blocks(first, count):
                    self.bits[change.id, block] |= bits

    def __len__(self) -> int:
        return sum(bits.bit_count() for bits in self.bits.values())

    def without(self, other: "Pairs") -> int:
        """How many pairs are in this set and not in the other."""
        return sum((bits & ~other.bits.get(place, 0)).bit_count() for place, bits in self.bits.items())


def _ends(numbers: Sequence[int]) -> list[int]:
    """For each place, the place behind the last number that follows on it one by one."""
    ends = list(range(1, len(numbers) + 1))
    for at in reversed(range(len(numbers) - 1)):
        if numbers[at + 1] == numbers[at] + 1:
            ends[at] = ends[at + 1]
    return ends


def _stretches(numbers: Sequence[int], ends: Sequence[int], span: range) -> Iterator[tuple[int, int]]:
    """The numbers at a span of places as stretches: the first, and how many."""
    at = span.start
    while at < span.stop:
        end = min(ends[at], span.stop)
        yield numbers[at], end - at
        at = end


def _blocks(first: int, count: int) -> Iterator[tuple[int, int]]:
    """So many bits from a number on, block by block."""
    while count:
        block, start = divmod(first, BLOCK)
        some = min(count, BLOCK - start)
        yield block, ((1 << some) - 1) << start
        first, count = first + some, count - some
