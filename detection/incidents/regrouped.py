"""A rule whose grouping was edited: what was told under its former keys is not told again under the new ones.

Memory belongs to keys. At the first runs after such an edit it is under the former ones, so a pair counts as
told if both its events are marked for the key that it had then; judging it marks them for its new key. When a
run with the new grouping was complete, everything in its windows is marked anew.
"""

from collections.abc import Callable, Iterator
from functools import cache

from detection.correlate import Chain
from detection.incidents.flood import after_flood
from detection.incidents.grouping import Memory, mark, newly_marked
from detection.incidents.keys import Grouping, Key, split_by
from detection.rule import Rule


class Regrouped:
    """Tells what is new from what was told under a former grouping; each former key is recalled once."""

    def __init__(self, recall: Callable[[Key], Memory], former: Grouping, rule: Rule) -> None:
        self._recall = cache(recall)
        self._former = former
        self._rule = rule

    def untold(self, one: Chain) -> Iterator[Chain]:
        """The pairs of a chain that were not told under their former keys, as chains."""
        for key, part in split_by(one, self._former, self._rule):
            memory = self._recall(key)
            for left in after_flood([part], memory.flood, self._rule):
                yield from newly_marked(left, memory, _all_of(left, key), self._rule)


def _all_of(one: Chain, key: Key) -> Memory:
    """A memory in which every event of a chain is marked."""
    return Memory(key, changes=frozenset(map(mark, one.changes)), signals=frozenset(map(mark, one.signals)))
