"""The runs of a range in sequence, on an empty incident store and with the code that runs in the cloud."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from detection.backtest.figures import BacktestFigures, Tally
from detection.correlation.detection import Detection
from detection.incidents.decide import Verdict
from detection.logs.source import Source
from detection.messages.context import DigestEntry
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.replay import PublishedComparison, Replayed, replay
from detection.store.outbox import Delivery
from detection.store.table import MemoryTable

# Yields the runs unchanged and shows the progress: runs, their number, a label.
ShowProgress = Callable[[Iterable[Replayed], int, str], Iterable[Replayed]]


@dataclass(slots=True)
class CountingRenderer:
    """Counts the messages that a job with one destination would have sent, and renders none."""

    messages: int = 0
    digests: int = 0

    def render_alert(self, _verdict: Verdict, _detection: Detection) -> Sequence[Delivery]:
        self.messages += 1
        return ()

    def render_digest(
        self, _digest_id: str, _began: datetime, _entries: Sequence[DigestEntry]
    ) -> Sequence[Delivery]:
        self.messages += 1
        self.digests += 1
        return ()

    def take_counts(self) -> tuple[int, int]:
        """The messages since the last call, and how many of them are digests."""
        counts = (self.messages, self.digests)
        self.messages = self.digests = 0
        return counts


def simulate(
    rule: Rule,
    source: Source,
    run_times: Sequence[datetime],
    options: RunOptions,
    label: str,
    show_progress: ShowProgress = lambda runs, _number, _label: runs,
    comparison: PublishedComparison | None = None,
) -> BacktestFigures:
    """The figures of the runs of a rule over logs of the past. Raises the errors of Source.read."""
    tally, renderer = Tally(), CountingRenderer()
    if rule.on_call.mode == "page":
        options = replace(options, render=renderer.render_alert, render_digest=renderer.render_digest)
    else:  # a rule that only observes sends no messages
        options = replace(options, storm_alerts=None)
    runs = replay(rule, source, run_times, MemoryTable(), options)
    for replayed in show_progress(runs, len(run_times), label):
        tally.add(replayed, *renderer.take_counts())
        if comparison:
            comparison.add(replayed)
    return tally.figures()
