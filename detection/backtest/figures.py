"""What a series of runs told, counted: by day, by actor, by kind of change and of signal."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import date
from itertools import accumulate
from typing import Literal

from detection.correlation.correlate import Chain
from detection.correlation.output import truncate
from detection.correlation.suppressed import Suppressed
from detection.incidents.alert import Alert
from detection.runs.replay import Replayed

TOP = 20  # names of one kind that are listed


@dataclass(frozen=True, slots=True)
class NamedCount:
    """What falls to one name. An alert with several kinds counts for each of them; a pair counts once."""

    name: str
    alerts: int
    pairs: int


@dataclass(frozen=True, slots=True)
class TopCounts:
    """The names with the most alerts, and of how many they are the first."""

    total: int
    top: Sequence[NamedCount]


@dataclass(frozen=True, slots=True)
class DayFigures:
    """One day of runs (UTC). `messages` is what an on-call gets: one for each alert, or one digest of a storm."""

    day: date
    runs: int
    alerts: int
    pairs: int
    opened: int
    messages: int


@dataclass(frozen=True, slots=True)
class BacktestFigures:
    """What a series of runs told. `silenced` counts the pairs that each exclusion took, by its name.

    `suppressed` is the most that any run suppressed: many see the same row.
    """

    runs: int
    alerts: int
    pairs: int
    incidents: int
    messages: int
    digests: int
    suppressed: Suppressed
    silenced: Mapping[str, int]
    days: Sequence[DayFigures]
    severities: TopCounts
    actors: TopCounts
    changes: TopCounts
    signals: TopCounts

    @property
    def busiest(self) -> list[DayFigures]:
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
    suppressed: Suppressed = field(default_factory=lambda: Suppressed(0, 0, 0))

    def add(self, replayed: Replayed, messages: int, digests: int) -> None:
        """The next run, and how many messages came of it, digests among them."""
        day = self.days[replayed.record.windows.now.date()]
        self.runs += 1
        self.digests += digests
        self.silenced.update(replayed.record.silenced)
        suppressed, maximum = astuple(replayed.record.suppressed), astuple(self.suppressed)
        self.suppressed = Suppressed(*map(max, suppressed, maximum))
        day.update(runs=1, messages=messages)
        for verdict in replayed.verdicts:
            if verdict.alert:
                self._add_alert(verdict.alert, verdict.new_pairs, day)

    def figures(self) -> BacktestFigures:
        """What it comes to."""
        days = [
            DayFigures(day, *(counts[name] for name in ("runs", "alerts", "pairs", "opened", "messages")))
            for day, counts in sorted(self.days.items())
        ]
        return BacktestFigures(
            runs=self.runs,
            alerts=sum(day.alerts for day in days),
            pairs=sum(day.pairs for day in days),
            incidents=sum(day.opened for day in days),
            messages=sum(day.messages for day in days),
            digests=self.digests,
            suppressed=self.suppressed,
            silenced=dict(self.silenced),
            days=days,
            severities=_top_counts(self.severities),
            actors=_top_counts(self.actors),
            changes=_top_counts(self.changes),
            signals=_top_counts(self.signals),
        )

    def _add_alert(self, alert: Alert, chains: Sequence[Chain], day: Counter[str]) -> None:
        pairs = alert.counts.pairs
        day.update(alerts=1, pairs=pairs, opened=int(alert.action == "opened"))
        self.actors[alert.actor].update(alerts=1, pairs=pairs)
        self.severities[alert.severity].update(alerts=1, pairs=pairs)
        for kinds, counts, pairs_by_kind in (
            (alert.change_kinds, self.changes, _pairs_by_kind(chains, "change")),
            (alert.signal_kinds, self.signals, _pairs_by_kind(chains, "signal")),
        ):
            for kind in kinds:
                counts[kind].update(alerts=1, pairs=pairs_by_kind[kind])


def _top_counts(counts_by_name: Mapping[str, Counter[str]]) -> TopCounts:
    named_counts = [
        NamedCount(name, counts["alerts"], counts["pairs"]) for name, counts in counts_by_name.items()
    ]
    ordered = sorted(
        named_counts, key=lambda named_count: (-named_count.alerts, -named_count.pairs, named_count.name)
    )
    return TopCounts(len(ordered), ordered[:TOP])


def _pairs_by_kind(chains: Iterable[Chain], side: Literal["change", "signal"]) -> Counter[str]:
    """How many pairs fall to each kind."""
    counts: Counter[str] = Counter()
    for chain in chains:
        for kind, pairs in (
            _kind_of_each_pair(chain, side) if _has_repeats(chain) else _pairs_of_each_event(chain, side)
        ):
            counts[truncate(kind)] += pairs
    return counts


def _has_repeats(chain: Chain) -> bool:
    """Whether an event stands several times in a chain, and its pairs have to be looked at."""
    return chain.count() != sum(map(len, chain.spans))


def _kind_of_each_pair(chain: Chain, side: Literal["change", "signal"]) -> Iterator[tuple[str, int]]:
    return ((change.kind if side == "change" else signal.kind, 1) for change, signal in chain.pairs())


def _pairs_of_each_event(chain: Chain, side: Literal["change", "signal"]) -> Iterator[tuple[str, int]]:
    """Each event's kind and its number of pairs, from the spans alone: there may be millions of pairs."""
    if side == "change":
        return ((change.kind, len(span)) for change, span in zip(chain.changes, chain.spans, strict=True))
    steps = Counter(span.start for span in chain.spans)
    steps.subtract(span.stop for span in chain.spans)
    change_counts = accumulate(steps[position] for position in range(len(chain.signals)))
    return ((signal.kind, number) for signal, number in zip(chain.signals, change_counts, strict=True))
