"""Sets of pairs as bits say the same as sets of pairs."""

from datetime import timedelta
from random import Random

import pytest

from detection.correlate import Chain
from detection.pairs import BLOCK, Numbers, Pairs
from tests.builders import START, chains, change, signal

SECOND = timedelta(seconds=1)


def some_chains(chance: Random, signals: int) -> list[Chain]:
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
    chance, numbers = Random(seed), Numbers()
    bits = [Pairs(numbers), Pairs(numbers)]
    sets: list[set[tuple[str, str]]] = [set(), set()]
    for _ in range(3):
        for one, other in zip(bits, sets, strict=True):
            for chain in some_chains(chance, signals):
                one.add(chain)
                other.update((left.id, right.id) for left, right in chain.pairs())

    assert [len(one) for one in bits] == [len(one) for one in sets]
    assert bits[0].without(bits[1]) == len(sets[0] - sets[1]) > 0
    assert bits[1].without(bits[0]) == len(sets[1] - sets[0])


def test_hundreds_of_millions_of_pairs_are_not_looked_at_one_by_one() -> None:
    changes = [change(f"c{number}", START + number * SECOND) for number in range(2_000)]
    signals = [signal(f"s{number}", START + 3_000 * SECOND) for number in range(100_000)]
    pairs = Pairs(Numbers())
    for chain in chains(changes, signals):
        pairs.add(chain)

    assert len(pairs) == 200_000_000
