"""The record of a run: what a complete one saw and did, or why one failed. With it, silence is explained. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Discriminator, TypeAdapter

from detection.correlate import Chain
from detection.coverage import Coverage
from detection.errors import ErrorKind
from detection.events import Health, Logs, Rejected
from detection.rule import Rule
from detection.window import Windows
from detection.withheld import HeldBack, count_restamped

ALERTS_NAMED = 100  # of a run; a log line holds 32,768 characters (Application Insights, "Limits summary")
REASON = 1_000  # characters


@dataclass(frozen=True, slots=True)
class Record:
    """What a complete run saw and did.

    `previous` is the watermark that it began with: the lag is `windows.now` less it. `told` counts the alerts, of which
    the first are named; `storm` says that a digest told them. `silenced` counts the new pairs that page nobody by the
    silence or exclusion that took them; `told_before` those that were told or silenced earlier. In the mode `observe`
    incidents are kept, and nobody is paged. `seconds` passed up to its last write. `coverage` is missing where it could not
    be counted.
    """

    rule: str
    windows: Windows
    previous: datetime | None
    changes: int
    signals: int
    chains: int
    pairs: int
    new_pairs: int
    told_before: int
    held_back: HeldBack
    health: Mapping[str, Health]
    rejected: Mapping[str, Rejected]
    told: int
    alerts: Sequence[str]
    storm: bool
    seconds: float
    silenced: Mapping[str, int] = field(default_factory=dict)
    mode: Literal["page", "observe"] = "page"
    coverage: Coverage | None = None
    outcome: Literal["complete"] = "complete"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run failed: `reason` is one sentence for the user. Nothing was told by halves, and the next run makes up for it.

    `rule` is empty where the settings did not get so far; `last_complete` is the watermark, where it could be read.
    """

    rule: str
    now: datetime
    error: ErrorKind
    reason: str
    last_complete: datetime | None
    seconds: float
    outcome: Literal["failed"] = "failed"


@dataclass(slots=True)
class Seen:
    """What one reading held, counted slice by slice."""

    rule: Rule
    windows: Windows
    slices: int = 0
    changes: int = 0
    signals: int = 0
    chains: int = 0
    pairs: int = 0
    restamped: int = 0
    too_late: int = 0
    waiting: int = 0
    below_minimum: int = 0
    health: Mapping[str, Health] = field(default_factory=dict)
    rejected: Mapping[str, Rejected] = field(default_factory=dict)
    coverage: Coverage | None = None

    def add(self, logs: Logs, chains: Sequence[Chain], undecided: int = 0) -> None:
        """Counts the next slice. The first has all changes and what is said of the whole; its followers have changes again."""
        first = not self.slices
        self.slices += 1
        sides = (logs.changes, logs.signals) if first else (logs.signals,)
        self.too_late += sum(len(side.too_late) for side in sides)
        self.waiting += sum(len(side.waiting) for side in sides)
        if first:
            self.changes, self.health, self.rejected = len(logs.changes.inside), logs.health, logs.rejected
            self.coverage = logs.coverage
        self.signals += len(logs.signals.inside)
        self.chains += len(chains)
        self.below_minimum += undecided
        self.pairs += sum(chain.count() for chain in chains)
        self.restamped += count_restamped(logs, self.rule, self.windows)

    @property
    def held_back(self) -> HeldBack:
        """What is not told, and why."""
        return HeldBack(self.restamped, self.too_late, self.waiting, self.below_minimum)


RECORD: TypeAdapter[Record | Failure] = TypeAdapter(Annotated[Record | Failure, Discriminator("outcome")])


def moment_of(record: Record | Failure) -> datetime:
    """The frozen moment of the run."""
    return record.windows.now if isinstance(record, Record) else record.now
