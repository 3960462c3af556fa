"""The record of a run: what a complete run did, or why a run failed. Records explain silence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import islice
from typing import Annotated, Literal

from pydantic import Discriminator, TypeAdapter

from detection.base.errors import ErrorKind
from detection.correlation.detection import Detection
from detection.correlation.suppressed import Suppressed, count_restamped
from detection.incidents.key_state import KeyState, own_pairs
from detection.logs.coverage import Coverage
from detection.logs.events import Rejected, SideHealth
from detection.logs.window import Window, Windows
from detection.rules.model import Rule
from detection.runs.commit import Committer
from detection.store.gaps import Gap

ALERTS_NAMED = 100  # of a run; a log line holds 32,768 characters (Application Insights, "Limits summary")
REASON = 1_000  # characters
ACTORS_COUNTED = 100  # digests of actors


@dataclass(frozen=True, slots=True)
class CoveredBySilences:
    """The new pairs that silences cover, without those of exclusions, and a digest of each of their first 100
    actors.

    A digest has 16 bits: enough to count the actors of several runs, too short to identify a person.
    """

    pairs: int
    actors: Sequence[str]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a complete run read, suppressed and alerted.

    The run began with `previous_watermark`; the lag is `windows.now` minus it. `alerts` counts the alerts,
    `alert_ids` names the first of them; `storm` says that a digest carried them. `silenced` counts the new
    pairs by the silence or exclusion that covers them, `already_alerted` the pairs that an earlier run
    alerted or silenced. In the mode `observe` incidents are kept and nothing is sent. `seconds` is the
    duration up to the last write. `coverage` is None if it could not be counted. `open_gaps` are the ids of
    the rule's gaps that are not read.
    """

    rule: str
    windows: Windows
    previous_watermark: datetime | None
    changes: int
    signals: int
    chains: int
    pairs: int
    new_pairs: int
    already_alerted: int
    suppressed: Suppressed
    health: Mapping[str, SideHealth]
    rejected: Mapping[str, Rejected]
    alerts: int
    alert_ids: Sequence[str]
    storm: bool
    seconds: float
    silenced: Mapping[str, int] = field(default_factory=dict)
    covered_by_silences: CoveredBySilences = CoveredBySilences(0, ())
    mode: Literal["page", "observe"] = "page"
    coverage: Coverage | None = None
    open_gaps: Sequence[str] = ()
    outcome: Literal["complete"] = "complete"


@dataclass(frozen=True, slots=True)
class RunFailure:
    """Why a run failed: `reason` is a sentence for the user. The next run reads again what this run did not
    commit.

    `rule` is empty if the settings are invalid, or if only the delivery of messages failed. `last_complete`
    is the watermark, None if it could not be read.
    """

    rule: str
    now: datetime
    error: ErrorKind
    reason: str
    last_complete: datetime | None
    seconds: float
    outcome: Literal["failed"] = "failed"


@dataclass(slots=True)
class RunStats:
    """What a run read and correlated, counted slice by slice."""

    rule: Rule
    windows: Windows
    is_empty: bool = True  # no slice is counted yet
    changes: int = 0
    signals: int = 0
    chains: int = 0
    pairs: int = 0
    restamped: int = 0
    too_late: int = 0
    in_future: int = 0
    below_threshold: int = 0
    health: Mapping[str, SideHealth] = field(default_factory=dict)
    rejected: Mapping[str, Rejected] = field(default_factory=dict)
    coverage: Coverage | None = None

    def add(self, detection: Detection, new_signals: Sequence[Window]) -> None:
        """Counts the next slice. The first has all changes and the health of all logs; later ones repeat
        changes. Unmarked signals alert in `new_signals`.
        """
        logs, chains = detection.logs, detection.chains
        is_first, self.is_empty = self.is_empty, False
        sides = (logs.changes, logs.signals) if is_first else (logs.signals,)
        self.too_late += sum(len(side.too_late) for side in sides)
        self.in_future += sum(len(side.in_future) for side in sides)
        if is_first:
            self.changes, self.health, self.rejected = len(logs.changes.in_window), logs.health, logs.rejected
            self.coverage = logs.coverage
        self.signals += len(logs.signals.in_window)
        self.chains += len(chains)
        self.below_threshold += detection.below_threshold
        # Pairs that are left to the reading of a gap, or of its next part, do not count.
        unmarked = KeyState(())
        self.pairs += sum(own_pairs(chain, new_signals, unmarked, self.rule).count() for chain in chains)
        self.restamped += count_restamped(logs, self.rule, self.windows)

    @property
    def suppressed(self) -> Suppressed:
        """What raised no alert, and why."""
        return Suppressed(self.restamped, self.too_late, self.in_future, self.below_threshold)

    def record(
        self,
        committer: Committer,
        watermark: datetime | None,
        open_gaps: Sequence[Gap],
        seconds: float,
    ) -> RunRecord:
        """The record of the run with these counts and commits, which began with this watermark."""
        new_pairs = sum(verdict.pairs for verdict in committer.verdicts)
        decided = new_pairs + sum(committer.silenced.values())
        pairs = max(self.pairs, decided)  # near a gap, some new pairs have signals outside the window
        alerts = [verdict.alert.alert for verdict in committer.verdicts if verdict.alert]
        return RunRecord(
            rule=self.rule.folder,
            windows=self.windows,
            previous_watermark=watermark,
            changes=self.changes,
            signals=self.signals,
            chains=self.chains,
            pairs=pairs,
            new_pairs=new_pairs,
            already_alerted=pairs - decided,
            suppressed=self.suppressed,
            health=self.health,
            rejected=self.rejected,
            alerts=len(alerts),
            alert_ids=alerts[:ALERTS_NAMED],
            storm=committer.draft is not None,
            seconds=seconds,
            silenced=dict(committer.silenced),
            covered_by_silences=CoveredBySilences(
                committer.silenced_by_actor.total(),
                [
                    blake2b(actor.encode(errors="replace"), digest_size=2).hexdigest()
                    for actor in islice(committer.silenced_by_actor, ACTORS_COUNTED)
                ],
            ),
            mode=self.rule.on_call.mode,
            coverage=self.coverage,
            open_gaps=[gap.id for gap in open_gaps],
        )


RECORD: TypeAdapter[RunRecord | RunFailure] = TypeAdapter(
    Annotated[RunRecord | RunFailure, Discriminator("outcome")]
)


def run_time(record: RunRecord | RunFailure) -> datetime:
    """The frozen `now` of the run."""
    return record.windows.now if isinstance(record, RunRecord) else record.now
