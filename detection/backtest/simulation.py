"""The runs of a range, one after the other on a fresh memory, by the line that runs in the cloud. Pure but for what it is given."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from detection.backtest.figures import Figures, Tally
from detection.incidents.batch import Share
from detection.incidents.grouping import Verdict
from detection.incidents.outbox import Delivery
from detection.incidents.table import MemoryTable
from detection.matches import Matches
from detection.replay import Beside, Replayed, replay
from detection.rule import Rule
from detection.sources import Source
from detection.tell import Terms

# Hands the runs on, and shows how far they are.
Watch = Callable[[Iterable[Replayed], int, str], Iterable[Replayed]]


@dataclass(slots=True)
class OnCall:
    """Counts the messages instead of writing them: what the line itself would have sent to one destination."""

    messages: int = 0
    digests: int = 0

    def alert(self, _verdict: Verdict, _found: Matches) -> Sequence[Delivery]:
        """A message of its own."""
        self.messages += 1
        return ()

    def digest(self, _batch: str, _began: datetime, _shares: Sequence[Share]) -> Sequence[Delivery]:
        """One message for many alerts."""
        self.messages += 1
        self.digests += 1
        return ()

    def told(self) -> tuple[int, int]:
        """The messages since last asked, and the digests among them."""
        since = (self.messages, self.digests)
        self.messages = self.digests = 0
        return since


@dataclass(frozen=True, slots=True)
class Simulation:
    """Runs of a rule at some moments over what was read."""

    rule: Rule
    source: Source
    at: Sequence[datetime]
    terms: Terms
    watch: Watch = field(default=lambda runs, _number, _what: runs)

    def figures(self, what: str, beside: Beside | None = None) -> Figures:
        """What the runs tell. Raises what Source.read raises."""
        tally, oncall = Tally(), OnCall()
        terms = replace(self.terms, storm=None)  # as a rule has them that only observes
        if self.rule.on_call.mode == "page":
            terms = replace(self.terms, render=oncall.alert, digest=oncall.digest)
        runs = replay(self.rule, self.source, self.at, MemoryTable(), terms)
        for one in self.watch(runs, len(self.at), what):
            tally.add(one, *oncall.told())
            if beside:
                beside.add(one)
        return tally.figures()
