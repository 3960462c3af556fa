"""Sets of pairs as bits say the same as sets of pairs."""

from datetime import timedelta
from random import Random

import pytest

from detection.correlation.correlate import Chain
from detection.correlation.pairs import BLOCK, PairSet, SignalNumbers
from tests.support.builders import START, chains, change, signal

SECOND = timedelta(seconds=1)


def random_chains(chance: Random, signals: int) -> list[Chain]:
    """Changes and signals of two actors; the same ids come again in other calls."""
    actors = [f"{name}@example.com" for name in ("ann", "ben")]
    return chains(
        [
            change(f"c{number}", START + chance.randrange(200) * 600 * SECOND, chance.choice(actors))
            for number in chance.sample(range(12), 8)
        ],
        [
            signal(f"s{number}", START + chance.randrange(90_000) * SECOND, chance.choice(actors))
            for number in chance.sample(range(2 * signals), signals)
        ],
    )


@pytest.mark.parametrize("signals", [5, 200, 2 * BLOCK])
@pytest.mark.parametrize("seed", range(5))
def test_bits_count_what_sets_count(seed: int, signals: int) -> None:
    chance, numbers = Random(seed), SignalNumbers()
    bits = [PairSet(numbers), PairSet(numbers)]
    sets: list[set[tuple[str, str]]] = [set(), set()]
    for _ in range(3):
        for pair_set, id_pairs in zip(bits, sets, strict=True):
            for chain in random_chains(chance, signals):
                pair_set.add(chain)
                id_pairs.update((change.id, signal.id) for change, signal in chain.pairs())

    assert [len(pairs) for pairs in bits] == [len(pairs) for pairs in sets]
    assert bits[0].count_without(bits[1]) == len(sets[0] - sets[1]) > 0
    assert bits[1].count_without(bits[0]) == len(sets[1] - sets[0])


def test_hundreds_of_millions_of_pairs_are_not_looked_at_one_by_one() -> None:
    changes = [change(f"c{number}", START + number * SECOND) for number in range(2_000)]
    signals = [signal(f"s{number}", START + 3_000 * SECOND) for number in range(100_000)]
    pairs = PairSet(SignalNumbers())
    for chain in chains(changes, signals):
        pairs.add(chain)

    assert len(pairs) == 200_000_000
