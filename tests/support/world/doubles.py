"""The log store of a world as a source, and a table whose writes fail as planned."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from itertools import islice
from random import Random

from detection.base.errors import Incomplete
from detection.incidents.decide import FLOOD
from detection.logs.events import Event, Logs, Row
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.store.table import PAGE, Conflict, Delete, Entity, Operation, Put, Table
from tests.support.builders import change_row, logs, signal_row, sliced
from tests.support.world.identity import belongs, name_of
from tests.support.world.scenario import UNEDITED, Arrival, Configuration, Faults, Plan, SideName
from tests.support.world.views import Reading

SLICED = 0.3  # of the readings come in slices
PAGES = 50  # a scan that a race can interrupt returns at most this number of rows at once


class Crash(BaseException):
    """The process is gone: no handler of the code under test may see it as an error to be handled."""


class LogStore:
    """The log store, as a Source: it holds what has arrived by the moment of reading. `readings` notes each."""

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[tuple[Arrival, Row]],
        latest_read: Callable[[], datetime],
        max_signals_per_actor: int = FLOOD,
        configuration: Configuration = UNEDITED,
    ) -> None:
        """Time does not run backwards: a run can read what another had read before it wrote."""
        self.readings: list[Reading] = []
        self._plan = plan
        self._rows = rows
        self._latest_read = latest_read
        self._max_signals_per_actor = max_signals_per_actor
        self._configuration = configuration
        self._order = Random(f"{plan.moment}")

    def read(self, rule: Rule, windows: Windows) -> Logs:
        if self._plan.incomplete:
            raise Incomplete("the answer was cut")
        reading = Reading(
            windows,
            changes_at=max(self._plan.moment + self._plan.changes_later, self._latest_read()),
            signals_at=max(self._plan.moment + self._plan.signals_later, self._latest_read()),
            is_sliced=self._order.random() < SLICED,
        )
        self.readings.append(reading)
        changes = self._answer("changes", windows.changes.after, reading.changes_at)
        signals = self._answer("signals", windows.signals.after, reading.signals_at)
        whole = logs([row for _, row in changes], [row for _, row in signals], windows, rule)
        if not reading.is_sliced:
            return whole
        return sliced(whole, self._max_signals_per_actor, self._group_names(changes, signals))

    def _answer(self, side: SideName, after: datetime, time: datetime) -> list[tuple[Arrival, Row]]:
        answer = [
            (arrival, row)
            for arrival, row in self._rows
            if arrival.side == side and arrival.stamped > after and arrival.arrived <= time
        ]
        self._order.shuffle(answer)  # a log store promises no order
        return answer

    def _group_names(
        self, changes: Sequence[tuple[Arrival, Row]], signals: Sequence[tuple[Arrival, Row]]
    ) -> Callable[[Event], str]:
        """Names the slice of an event. Actors who share a signal share a slice."""
        actors = sorted({change.actor for change, _ in changes})
        group_by_actor = {actor: actor for actor in actors}
        callers = {(signal.actor, signal.employee): signal for signal, _ in signals}
        owners_by_caller = {
            caller: [actor for actor in actors if belongs(signal, actor, self._configuration)]
            for caller, signal in callers.items()
        }
        for _ in actors:  # n actors that are linked in a line take n rounds
            for owners in filter(None, owners_by_caller.values()):
                group = min(group_by_actor[owner] for owner in owners)
                group_by_actor |= dict.fromkeys(owners, group)
        groups = {change.id: group_by_actor[change.actor] for change, _ in changes}
        for signal, _ in signals:
            owners = owners_by_caller[signal.actor, signal.employee]
            groups[signal.id] = group_by_actor[owners[0]] if owners else signal.actor
        return lambda event: groups[event.id]


def row_of(arrival: Arrival, configuration: Configuration) -> Row:
    """The row as the rule's query returns it: with the key columns of the options behind the others."""
    if arrival.side == "changes":
        change = change_row(
            arrival.id, arrival.time, arrival.actor, stamped=arrival.stamped, ip=arrival.ip, kind=arrival.kind
        )
        named = [option for option in configuration.identity if option in ("sha256", "base64", "local-part")]
        return (*change, *(name_of(arrival.actor, option) for option in named))
    signal = signal_row(
        arrival.id,
        arrival.time,
        arrival.actor,
        stamped=arrival.stamped,
        kind=arrival.kind,
        model=arrival.model,
    )
    keys = {"metadata": arrival.employee, "base64": arrival.actor}
    return (*signal, *(keys[option] for option in configuration.identity if option in keys))


def _is_conditional(operation: Operation) -> bool:
    """Whether the operation is a conflict when the client sends it again."""
    return not isinstance(operation, Put) and (
        not isinstance(operation, Delete) or operation.version is not None
    )


class FaultyTable:
    """A table whose writes fail as planned, and whose scans are not snapshots: pages are read one by one.

    `rows_written` are the rows, by partition, that were written in this run, whatever the caller heard.
    `on_write` is called with the rows of each write that took effect.
    """

    def __init__(
        self,
        table: Table,
        faults: Faults,
        race: Callable[[], object] | None = None,
        race_at: int = 1,
    ) -> None:
        self._table = table
        self._faults = faults
        self._race = race
        self._race_at = race_at if race else 0
        self._accesses = 0
        self._writes = 0
        self.effects = 0
        self.rows_written = set[tuple[str, str]]()
        self.on_write: Callable[[Collection[str]], object] = len
        self.figures = Counter[str]()

    def get(self, partition: str, row: str) -> Entity | None:
        self._access()
        return self._table.get(partition, row)

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        while True:
            # A page is cut short where the race comes between: right after its first row.
            cut = 1 if self._accesses < self._race_at else min(page, PAGES)
            self._access()
            rows = list(islice(self._table.scan(partition, start, end), cut))
            yield from rows
            if len(rows) < cut:
                return
            start = rows[-1].row + "\0"

    def names(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[str]:
        return (entity.row for entity in self.scan(partition, start, end, page))

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        self._access()
        self._writes += 1
        dies = self._writes == self._faults.crash
        if dies and not self._faults.crash_after:
            raise Crash
        try:
            self._table.write(partition, operations)
        except Conflict:
            self.figures["conflicts"] += 1
            raise
        self.effects += 1
        self.rows_written |= {(partition, operation.row) for operation in operations}
        self.on_write([operation.row for operation in operations])
        deleted = sum(isinstance(operation, Delete) for operation in operations)
        self.figures["purged"] += deleted
        if dies:
            raise Crash
        if self._writes in self._faults.lost and any(map(_is_conditional, operations)):
            self.figures["unheard"] += 1
            raise Conflict("it was written, the answer was lost, and the client wrote again")

    def date(self) -> datetime | None:
        return self._table.date()

    def _access(self) -> None:
        self._accesses += 1
        if self._race and self._accesses == self._race_at:
            self._race()
