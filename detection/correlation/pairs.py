"""Sets of very many pairs. A change reaches a range of signals, which is stored as bits."""

from collections import defaultdict

from detection.correlation.correlate import Chain

BLOCK = 1_024  # signals whose bits are in one integer


class SignalNumbers:
    """Numbers signals in the order in which they first occur."""

    def __init__(self) -> None:
        self._number_by_id: dict[str, int] = {}

    def number_of(self, signal_id: str) -> int:
        return self._number_by_id.setdefault(signal_id, len(self._number_by_id))


class PairSet:
    """A set of pairs by the ids of their events. Sets that are compared share their signal numbers."""

    def __init__(self, numbers: SignalNumbers) -> None:
        self._numbers = numbers
        self.bits: defaultdict[tuple[str, int], int] = defaultdict(int)

    def add(self, chain: Chain) -> None:
        """Adds every pair of a chain, range by range instead of pair by pair."""
        numbers = [self._numbers.number_of(signal.id) for signal in chain.signals]
        # For each position, the end of the range of consecutive numbers that it lies in.
        ends = list(range(1, len(numbers) + 1))
        for position in reversed(range(len(numbers) - 1)):
            if numbers[position + 1] == numbers[position] + 1:
                ends[position] = ends[position + 1]
        for change, span in zip(chain.changes, chain.spans, strict=True):
            position = span.start
            while position < span.stop:
                block, offset = divmod(numbers[position], BLOCK)
                size = min(ends[position], span.stop) - position
                size = min(size, BLOCK - offset)
                self.bits[change.id, block] |= ((1 << size) - 1) << offset
                position += size

    def __len__(self) -> int:
        return sum(bits.bit_count() for bits in self.bits.values())

    def count_without(self, excluded: "PairSet") -> int:
        """The number of pairs that are in this set and not in `excluded`."""
        return sum((bits & ~excluded.bits.get(place, 0)).bit_count() for place, bits in self.bits.items())
