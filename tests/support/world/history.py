"""What came of a world: its runs, and what the table took of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import count
from typing import NamedTuple

from detection.incidents.floods import Flood, actor_digest
from detection.incidents.incident import Incident
from detection.incidents.keys import Key
from detection.logs.events import Row
from detection.store.gaps import Gap
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable
from tests.support.world.doubles import LogStore
from tests.support.world.scenario import Arrival, Configuration, Mute, PairIds, World
from tests.support.world.views import EVER, Candidate, Execution, Reading


class CommittedFlood(NamedTuple):
    """From the commit `number` on, a flood of a key counts as alerted; `reading` saw what the flood alerted."""

    flood: Flood
    key: Key
    execution: Execution
    reading: Reading
    number: int

    def is_of(self, actor: str) -> bool:
        """Whether all signals of an actor flooded."""
        return self.flood.subject == actor_digest(actor)

    def is_of_signal(self, signal_id: str, actor: str) -> bool:
        """Whether a signal of an actor flooded, by the model's own reading of marks."""
        text = f"{len(actor)}\0{actor}{signal_id}"
        return self.flood.subject == blake2b(text.encode(), digest_size=8).digest()

    def times_of(self, pair: Candidate) -> Sequence[datetime]:
        """The own times of the pair's event that this flood covers by time: none of another subject."""
        actor = pair.change.arrival.actor
        if self.is_of_signal(pair.signal.arrival.id, actor):
            return pair.change.times
        return pair.signal.times if self.is_of(actor) else ()

    def holds(self, time: datetime) -> bool:
        """Whether a time lies in it."""
        return self.flood.begin <= time <= self.flood.end


class WrittenAlert(NamedTuple):
    """An alert that the table took."""

    id: str
    incident: str
    key: Key
    pairs: Sequence[PairIds]
    pair_count: int
    time: datetime
    configuration: Configuration


@dataclass(slots=True)
class Ledger:
    """What came of one rule: its runs, and what the table took of them.

    `mutes` are the states of its silences, each with the number of the moment from which it held. `gaps` are
    its gaps by id, as they were last, and `gap_marks_from` the start of the marks that each keeps.
    """

    folder: str
    executions: list[Execution] = field(default_factory=list)
    alerted_pairs: Counter[PairIds] = field(default_factory=Counter)
    alerts: list[WrittenAlert] = field(default_factory=list)
    floods: list[CommittedFlood] = field(default_factory=list)
    gaps: dict[str, Gap] = field(default_factory=dict)
    gap_marks_from: dict[str, datetime] = field(default_factory=dict)
    mutes: list[tuple[int, tuple[Mute, ...]]] = field(default_factory=lambda: [(0, ())])
    closed: dict[str, Incident] = field(default_factory=dict)
    watermark: datetime | None = None
    marks_from: datetime = EVER


@dataclass(slots=True)
class History:
    """What came of a world. `complete` are the moments of its complete runs, `latest_clock` is the latest `now`
    of a run, `latest_moment` the time by the table's clock, `latest_read` the latest moment that a run had read
    when it wrote or ended.
    """

    world: World
    table: MemoryTable = field(init=False)
    ledgers: dict[str, Ledger] = field(init=False)
    complete: list[datetime] = field(default_factory=list)
    latest_clock: datetime = EVER
    latest_moment: datetime = EVER
    latest_read: datetime = EVER
    figures: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    numbers: "count[int]" = field(default_factory=lambda: count(1))
    silencings_done: int = 0
    rows: dict[tuple[str, ...], list[tuple[Arrival, Row]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.table = MemoryTable(lambda: self.latest_moment)
        self.ledgers = {folder: Ledger(folder) for folder in self.world.folders}

    def note_read(self, log_store: LogStore) -> None:
        """What a run read before it wrote or ended can be read by all later runs."""
        for reading in log_store.readings:
            self.latest_read = max(self.latest_read, reading.changes_at, reading.signals_at)

    @property
    def alerted_pairs(self) -> Counter[PairIds]:
        """How often each pair was alerted, by the rules of the world together."""
        return sum((ledger.alerted_pairs for ledger in self.ledgers.values()), Counter[PairIds]())

    @property
    def store(self) -> IncidentStore:
        """The incident store of the first rule, as a reader from outside sees it."""
        return IncidentStore(self.table, self.world.folders[0], "looking")
