"""A rule whose grouping was edited: what was told under its former keys is not told again under the new ones.

Memory belongs to keys. At the first runs after such an edit it is under the former ones, so a pair counts as
told if both its events are marked for the key that it had then; judging it marks them for its new key. When a
run with the new grouping was complete, everything in its windows is marked anew.
"""

from collections.abc import Callable, Iterator
from functools import cache

from detection.correlation.correlate import Chain
from detection.incidents.flood import after_flood
from detection.incidents.grouping import KeyState, mark, newly_marked
from detection.incidents.keys import Grouping, Key, split_by
from detection.rules.model import Rule


class Regrouping:
    """Tells what is new from what was told under a former grouping; each former key is recalled once."""

    def __init__(self, load: Callable[[Key], KeyState], former: Grouping, rule: Rule) -> None:
        self._load = cache(load)
        self._former = former
        self._rule = rule

    def not_yet_alerted(self, chain: Chain) -> Iterator[Chain]:
        """The pairs of a chain that were not told under their former keys, as chains."""
        for key, part in split_by(chain, self._former, self._rule):
            state = self._load(key)
            for later_part in after_flood([part], state.flood_until, self._rule):
                yield from newly_marked(later_part, state, _fully_marked(later_part, key), self._rule)


def _fully_marked(chain: Chain, key: Key) -> KeyState:
    """A memory in which every event of a chain is marked."""
    return KeyState(
        key, changes=frozenset(map(mark, chain.changes)), signals=frozenset(map(mark, chain.signals))
    )
