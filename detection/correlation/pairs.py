"""Sets of pairs that may be very many: a change reaches a stretch of signals, and is kept with it as bits."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from detection.correlation.correlate import Chain

BLOCK = 1_024  # signals whose bits stand in one number


class SignalNumbers:
    """Gives every signal a number, in the order in which they are first seen."""

    def __init__(self) -> None:
        self._number_by_id: dict[str, int] = {}

    def number_of(self, signal_id: str) -> int:
        """The number of a signal by its id."""
        return self._number_by_id.setdefault(signal_id, len(self._number_by_id))


class PairSet:
    """A set of pairs, each by the ids of its events. Sets that are compared share their numbers."""

    def __init__(self, numbers: SignalNumbers) -> None:
        self._numbers = numbers
        self.bits: defaultdict[tuple[str, int], int] = defaultdict(int)

    def add(self, chain: Chain) -> None:
        """Adds every pair of a chain, without looking at each."""
        numbers = [self._numbers.number_of(signal.id) for signal in chain.signals]
        ends = _ends(numbers)
        for change, span in zip(chain.changes, chain.spans, strict=True):
            for start, count in _consecutive(numbers, ends, span):
                for block, bits in _blocks(start, count):
                    self.bits[change.id, block] |= bits

    def __len__(self) -> int:
        return sum(bits.bit_count() for bits in self.bits.values())

    def count_without(self, excluded: "PairSet") -> int:
        """How many pairs are in this set and not in the other."""
        return sum((bits & ~excluded.bits.get(place, 0)).bit_count() for place, bits in self.bits.items())


def _ends(numbers: Sequence[int]) -> list[int]:
    """For each place, the place behind the last number that follows on it one by one."""
    ends = list(range(1, len(numbers) + 1))
    for place in reversed(range(len(numbers) - 1)):
        if numbers[place + 1] == numbers[place] + 1:
            ends[place] = ends[place + 1]
    return ends


def _consecutive(numbers: Sequence[int], ends: Sequence[int], span: range) -> Iterator[tuple[int, int]]:
    """The numbers at a span of places as stretches: the first, and how many."""
    place = span.start
    while place < span.stop:
        end = min(ends[place], span.stop)
        yield numbers[place], end - place
        place = end


def _blocks(number: int, count: int) -> Iterator[tuple[int, int]]:
    """So many bits from a number on, block by block."""
    while count:
        block, offset = divmod(number, BLOCK)
        size = min(count, BLOCK - offset)
        yield block, ((1 << size) - 1) << offset
        number, count = number + size, count - size
