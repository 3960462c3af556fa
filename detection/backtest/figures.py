"""What a series of runs told, counted: by day, by actor, by kind of change and of signal. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import date
from itertools import accumulate
from typing import Literal

from detection.correlate import Chain
from detection.incidents.alert import Alert
from detection.replay import Replayed
from detection.rows import shown
from detection.withheld import HeldBack

TOP = 20  # names of one kind that are listed


@dataclass(frozen=True, slots=True)
class Share:
    """What falls to one name. An alert with several kinds counts for each of them; a pair counts once."""

    name: str
    alerts: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Shares:
    """The names with the most alerts, and of how many they are the first."""

    of: int
    first: Sequence[Share]


@dataclass(frozen=True, slots=True)
class Day:
    """One day of runs (UTC). `messages` is what an on-call gets: one for each alert, or one digest of a storm."""

    day: date
    runs: int
    alerts: int
    pairs: int
    opened: int
    messages: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a series of runs told. `silenced` counts the pairs that each exclusion took, by its name.

    `held_back` is the most that any one of them held back: many see the same row.
    """

    runs: int
    alerts: int
    pairs: int
    incidents: int
    messages: int
    digests: int
    held_back: HeldBack
    silenced: Mapping[str, int]
    days: Sequence[Day]
    severities: Shares
    actors: Shares
    changes: Shares
    signals: Shares

    @property
    def busiest(self) -> list[Day]:
        """The days with the most messages, at most three, the worst first."""
        noisy = [day for day in self.days if day.messages]
        return sorted(noisy, key=lambda day: (-day.messages, day.day))[:3]


@dataclass(slots=True)
class Tally:
    """Counts run by run, and keeps nothing of what it has counted."""

    runs: int = 0
    digests: int = 0
    days: defaultdict[date, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    actors: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    changes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    signals: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    severities: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    silenced: Counter[str] = field(default_factory=Counter)
    held_back: HeldBack = field(default_factory=lambda: HeldBack(0, 0, 0))

    def add(self, one: Replayed, messages: int, digests: int) -> None:
        """The next run, and how many messages came of it, digests among them."""
        day = self.days[one.record.windows.now.date()]
        self.runs += 1
        self.digests += digests
        self.silenced.update(one.record.silenced)
        held, most = astuple(one.record.held_back), astuple(self.held_back)
        self.held_back = HeldBack(*map(max, held, most))
        day.update(runs=1, messages=messages)
        for verdict in one.told:
            if verdict.alert:
                self._take(verdict.alert, verdict.told, day)

    def figures(self) -> Figures:
        """What it comes to."""
        days = [
            Day(day, *(counts[name] for name in ("runs", "alerts", "pairs", "opened", "messages")))
            for day, counts in sorted(self.days.items())
        ]
        return Figures(
            runs=self.runs,
            alerts=sum(day.alerts for day in days),
            pairs=sum(day.pairs for day in days),
            incidents=sum(day.opened for day in days),
            messages=sum(day.messages for day in days),
            digests=self.digests,
            held_back=self.held_back,
            silenced=dict(self.silenced),
            days=days,
            severities=_shares(self.severities),
            actors=_shares(self.actors),
            changes=_shares(self.changes),
            signals=_shares(self.signals),
        )

    def _take(self, alert: Alert, told: Sequence[Chain], day: Counter[str]) -> None:
        pairs = alert.counts.pairs
        day.update(alerts=1, pairs=pairs, opened=int(alert.action == "opened"))
        self.actors[alert.actor].update(alerts=1, pairs=pairs)
        self.severities[alert.severity].update(alerts=1, pairs=pairs)
        for kinds, counts, by_kind in (
            (alert.change_kinds, self.changes, _pairs_by(told, "change")),
            (alert.signal_kinds, self.signals, _pairs_by(told, "signal")),
        ):
            for kind in kinds:
                counts[kind].update(alerts=1, pairs=by_kind[kind])


def _shares(counted: Mapping[str, Counter[str]]) -> Shares:
    all_of_them = [Share(name, counts["alerts"], counts["pairs"]) for name, counts in counted.items()]
    ordered = sorted(all_of_them, key=lambda one: (-one.alerts, -one.pairs, one.name))
    return Shares(len(ordered), ordered[:TOP])


def _pairs_by(told: Iterable[Chain], side: Literal["change", "signal"]) -> Counter[str]:
    """How many pairs fall to each kind."""
    counts: Counter[str] = Counter()
    for chain in told:
        for kind, pairs in _repeated(chain, side) if _repeats(chain) else _reached(chain, side):
            counts[shown(kind)] += pairs
    return counts


def _repeats(chain: Chain) -> bool:
    """Whether an event stands several times in a chain, and its pairs have to be looked at."""
    return chain.count() != sum(map(len, chain.spans))


def _repeated(chain: Chain, side: Literal["change", "signal"]) -> Iterator[tuple[str, int]]:
    return ((change.kind if side == "change" else signal.kind, 1) for change, signal in chain.pairs())


def _reached(chain: Chain, side: Literal["change", "signal"]) -> Iterator[tuple[str, int]]:
    """Each event's kind and its number of pairs, from the spans alone: there may be millions of pairs."""
    if side == "change":
        return ((change.kind, len(span)) for change, span in zip(chain.changes, chain.spans, strict=True))
    steps = Counter(span.start for span in chain.spans)
    steps.subtract(span.stop for span in chain.spans)
    reaching = accumulate(steps[place] for place in range(len(chain.signals)))
    return ((signal.kind, number) for signal, number in zip(chain.signals, reaching, strict=True))
