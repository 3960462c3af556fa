"""The figures of a series of runs: by day, by severity, by actor, by kind of change and of signal."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import date
from itertools import accumulate
from typing import Literal

from detection.correlation.correlate import Chain
from detection.correlation.output import truncate
from detection.correlation.suppressed import Suppressed
from detection.runs.replay import Replayed

TOP = 20  # names in a table


@dataclass(frozen=True, slots=True)
class NamedCount:
    """The alerts and pairs of a name. An alert counts for each of its kinds, a pair for one."""

    name: str
    alerts: int
    pairs: int


@dataclass(frozen=True, slots=True)
class TopCounts:
    """The names with the most alerts, at most 20. `total` counts all names."""

    total: int
    top: Sequence[NamedCount]


@dataclass(frozen=True, slots=True)
class DayFigures:
    """A day of runs (UTC). `opened` counts incidents; `messages` counts alerts sent alone, and digests."""

    day: date
    runs: int
    alerts: int
    pairs: int
    opened: int
    messages: int


@dataclass(frozen=True, slots=True)
class BacktestFigures:
    """The figures of a series of runs. `silenced` counts the pairs that each exclusion suppressed, by its
    name.

    `suppressed` has the largest numbers of any run: several runs read the same row, so a sum would count it
    again.
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
        """The days with the most messages, at most three, the busiest first."""
        noisy = [day for day in self.days if day.messages]
        return sorted(noisy, key=lambda day: (-day.messages, day.day))[:3]


@dataclass(slots=True)
class Tally:
    """Adds up runs. It keeps no run, so a long backtest needs little memory."""

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
        """Adds a run with the number of its messages, and how many of those are digests."""
        day = self.days[replayed.record.windows.now.date()]
        self.runs += 1
        self.digests += digests
        self.silenced.update(replayed.record.silenced)
        suppressed, maximum = astuple(replayed.record.suppressed), astuple(self.suppressed)
        self.suppressed = Suppressed(*map(max, suppressed, maximum))
        day.update(runs=1, messages=messages)
        for verdict in replayed.verdicts:
            if not verdict.alert:
                continue
            alert, pairs = verdict.alert, verdict.alert.counts.pairs
            day.update(alerts=1, pairs=pairs, opened=int(alert.action == "opened"))
            self.actors[alert.actor].update(alerts=1, pairs=pairs)
            self.severities[alert.severity].update(alerts=1, pairs=pairs)
            for kinds, counts, pairs_by_kind in (
                (alert.change_kinds, self.changes, _pairs_by_kind(verdict.new_pairs, "change")),
                (alert.signal_kinds, self.signals, _pairs_by_kind(verdict.new_pairs, "signal")),
            ):
                for kind in kinds:
                    counts[kind].update(alerts=1, pairs=pairs_by_kind[kind])

    def figures(self) -> BacktestFigures:
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


def _top_counts(counts_by_name: Mapping[str, Counter[str]]) -> TopCounts:
    rows = [NamedCount(name, counts["alerts"], counts["pairs"]) for name, counts in counts_by_name.items()]
    rows.sort(key=lambda row: (-row.alerts, -row.pairs, row.name))
    return TopCounts(len(rows), rows[:TOP])


def _pairs_by_kind(chains: Iterable[Chain], side: Literal["change", "signal"]) -> Counter[str]:
    """The number of pairs by kind of a side.

    It is computed from the spans, for a chain may have millions of pairs. Only where an event is in a chain
    several times do the spans count more than the pairs; then each pair counts.
    """
    counts: Counter[str] = Counter()
    for chain in chains:
        if chain.count() != sum(map(len, chain.spans)):
            counts.update(
                truncate((change if side == "change" else signal).kind) for change, signal in chain.pairs()
            )
            continue
        if side == "change":
            numbers: Iterable[int] = map(len, chain.spans)
        else:
            steps = Counter(span.start for span in chain.spans)
            steps.subtract(span.stop for span in chain.spans)
            numbers = accumulate(steps[position] for position in range(len(chain.signals)))
        events = chain.changes if side == "change" else chain.signals
        for event, number in zip(events, numbers, strict=True):
            counts[truncate(event.kind)] += number
    return counts
