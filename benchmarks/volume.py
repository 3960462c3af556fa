"""What runs of unusual size cost in the table: requests, bytes and seconds, on Azurite.

    python -m benchmarks.volume

Requests and bytes are counted by a proxy before Azurite, seconds are of a second run without it. The logs are given as
rows, so what is timed is correlation, judging and the table. Azurite looks at every row of a partition to find one; the
real service does not. So the largest case has a table in memory, of which the calls are counted: what remains is the
job's own time, to which the real service adds some milliseconds a request.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from time import monotonic

from detection.events import Logs, Row
from detection.incidents.azure_table import open_table
from detection.incidents.index import Index
from detection.incidents.table import Entity, MemoryTable, Operation, Table
from detection.record import Record
from detection.rendering import digest_for, render_for
from detection.rule import Rule
from detection.run import run
from detection.settings import settings_from
from detection.tell import Terms
from detection.window import Windows
from tests.azurite import connection_string, new_name, running
from tests.builders import RULE, change_row, logs, signal_row
from tests.chaos.table_proxy import TableProxy, proxying

NOW = datetime(2026, 6, 9, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
WEBHOOKS = settings_from({"WEBHOOK_URL": "https://soc.example/hook"}).destinations
_tokens = count()


@dataclass(frozen=True, slots=True)
class Rows:
    """The port Source over rows that are at hand."""

    changes: Sequence[Row]
    signals: Sequence[Row]

    def read(self, rule: Rule, windows: Windows) -> Logs:
        return logs(self.changes, self.signals, windows, rule)


Scene = Callable[[Table], Record]


def at(table: Table, now: datetime, source: Rows) -> Record:
    """One run with messages to one destination."""
    terms = Terms(render_for(WEBHOOKS), digest_for(WEBHOOKS, RULE), storm=20)
    return run(RULE, now, source, Index(table, RULE.folder, f"run {next(_tokens)}"), terms)[0]


def run_of(source: Rows, now: datetime = NOW) -> Scene:
    """One run over some rows."""
    return lambda table: at(table, now, source)


def one_actor(signals: int) -> Rows:
    """One change, and so many signals in the hours after it."""
    begin = NOW - 20 * HOUR
    step = timedelta(seconds=19 * 3600 / signals)
    return Rows(
        [change_row("c", begin)], [signal_row(f"s{n}", begin + (n + 1) * step) for n in range(signals)]
    )


def many_actors(actors: int, day: datetime = NOW, signals: int = 2) -> Rows:
    """So many people, each with a change and a few signals."""
    people = [f"actor-{number}@example.com" for number in range(actors)]
    begin = day - 2 * HOUR
    return Rows(
        [change_row(f"c{day:%d}{one}", begin, one) for one in people],
        [signal_row(f"s{day:%d}{n}{one}", begin + n * MINUTE, one) for one in people for n in range(signals)],
    )


def last_of_150(table: Table) -> Record:
    """The 150th run, each of which has one new signal of the same actor, nine minutes apart."""
    return at(table, NOW - HOUR + 150 * 9 * MINUTE, _signals_of(150))


def first_149(table: Table) -> None:
    """The runs before it."""
    for number in range(1, 150):
        at(table, NOW - HOUR + number * 9 * MINUTE, _signals_of(number))


def _signals_of(runs: int) -> Rows:
    begin = NOW - HOUR
    return Rows(
        [change_row("c", begin)], [signal_row(f"s{n}", begin + n * 9 * MINUTE) for n in range(1, runs + 1)]
    )


def month(table: Table) -> None:
    """Thirty days, on each of which twenty people are told of."""
    for days in range(30, 0, -1):
        then = NOW - timedelta(days=days)
        at(table, then, many_actors(20, then))


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured, what is in the table before, and whether it is Azurite's."""

    name: str
    scene: Scene
    before: Callable[[Table], object] = lambda _: None
    in_memory: bool = False


def cases() -> Iterator[Case]:
    """Every size that is measured."""
    later = NOW + HOUR
    for signals in (1_000, 100_000, 200_000):
        yield Case(f"one actor, {signals:,} new signals", run_of(one_actor(signals)))
    yield Case("… the hour after, nothing new", run_of(one_actor(200_000), later), run_of(one_actor(200_000)))
    for actors in (20, 100, 500):
        yield Case(f"{actors:,} actors, all new", run_of(many_actors(actors)))
    yield Case("… the hour after, nothing new", run_of(many_actors(500), later), run_of(many_actors(500)))
    yield Case("the 150th alert of an incident", last_of_150, first_149)
    yield Case("a month: the first run of a day", run_of(Rows([], [])), month)
    yield Case("… and one with 20 actors, all new", run_of(many_actors(20)), month)
    yield Case("5,000 actors, all new, in memory", run_of(many_actors(5_000)), in_memory=True)
    yield Case(
        "… the hour after, nothing new",
        run_of(many_actors(5_000), later),
        run_of(many_actors(5_000)),
        in_memory=True,
    )


class Counted:
    """A table whose calls are counted as the service would be asked: a scan has pages of a thousand rows."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.requests = self.writes = 0

    def get(self, partition: str, row: str) -> Entity | None:
        self.requests += 1
        return self._table.get(partition, row)

    def scan(self, partition: str, first: str, last: str) -> Iterator[Entity]:
        self.requests += 1
        for number, entity in enumerate(self._table.scan(partition, first, last), 1):
            self.requests += number % 1_000 == 0
            yield entity

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        self.requests += 1
        self.writes += 1
        self._table.write(partition, operations)


def measure(case: Case, port: int, proxy: TableProxy) -> str:
    """A row of the table."""
    if case.in_memory:
        table = MemoryTable()
        case.before(table)
        counted = Counted(table)
        began = monotonic()
        record = case.scene(counted)
        return _row(case, record, counted, ("", ""), monotonic() - began)
    first, second = (new_name() for _ in range(2))
    case.before(open_table(connection_string(port), first, None))
    proxy.reset()
    record = case.scene(open_table(connection_string(proxy.port), first, None))
    assert not proxy.refused, proxy.refused
    case.before(open_table(connection_string(port), second, None))
    began = monotonic()
    case.scene(open_table(connection_string(port), second, None))
    seconds = monotonic() - began
    sizes = (f"{proxy.bytes_sent / 2**20:.2f}", f"{proxy.bytes_received / 2**20:.2f}")
    return _row(case, record, proxy, sizes, seconds)


def _row(
    case: Case, record: Record, asked: Counted | TableProxy, sizes: tuple[str, str], seconds: float
) -> str:
    counts = f"{record.new_pairs:>9,} {record.told:>7,} {asked.requests:>9,} {asked.writes:>7,}"
    return f"{case.name:<34} {counts} {sizes[0]:>9} {sizes[1]:>9} {seconds:>8.1f}"


def main() -> None:
    """Prints the table, row by row."""
    print(
        f"{'':<34} {'pairs':>9} {'alerts':>7} {'requests':>9} {'writes':>7} {'MiB sent':>9} {'MiB read':>9} {'seconds':>8}"
    )
    with running() as port, proxying(port) as proxy:
        for case in cases():
            print(measure(case, port, proxy), flush=True)


if __name__ == "__main__":
    main()
