"""The cost of runs of unusual size in the table: requests, bytes and seconds, on Azurite.

A proxy before Azurite counts requests and bytes; the seconds are those of a second run without it. The source hands the rows
over as they are, so the seconds are those of correlation, alerts and the table. Azurite looks at every row of a partition
to find one; the real service does not. So the largest case has a table in memory and counts its calls: its seconds are
the job's own, and the real service adds some milliseconds a request.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from time import monotonic

from benchmarks.figures import Figures
from benchmarks.processes import Failed
from benchmarks.size import Size
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
    """One change, and a number of signals in the hours after it."""
    begin = NOW - 20 * HOUR
    step = timedelta(seconds=19 * 3600 / signals)
    return Rows(
        [change_row("c", begin)], [signal_row(f"s{n}", begin + (n + 1) * step) for n in range(signals)]
    )


def many_actors(actors: int, day: datetime = NOW, signals: int = 2) -> Rows:
    """A number of actors, each with a change and a few signals."""
    people = [f"actor-{number}@example.com" for number in range(actors)]
    begin = day - 2 * HOUR
    return Rows(
        [change_row(f"c{day:%d}{one}", begin, one) for one in people],
        [signal_row(f"s{day:%d}{n}{one}", begin + n * MINUTE, one) for one in people for n in range(signals)],
    )


def last_alert(number: int) -> Scene:
    """The last of so many runs, each of which has a new signal of the same actor, nine minutes apart."""
    return lambda table: at(table, NOW - HOUR + number * 9 * MINUTE, _signals_of(number))


def alerts_before(number: int, table: Table) -> None:
    """The runs before it."""
    for earlier in range(1, number):
        last_alert(earlier)(table)


def _signals_of(runs: int) -> Rows:
    begin = NOW - HOUR
    return Rows(
        [change_row("c", begin)], [signal_row(f"s{n}", begin + n * 9 * MINUTE) for n in range(1, runs + 1)]
    )


def month(days: int, actors: int, table: Table) -> None:
    """Days with an alert for every actor."""
    for ago in range(days, 0, -1):
        day = NOW - timedelta(days=ago)
        at(table, day, many_actors(actors, day))


@dataclass(frozen=True, slots=True)
class Case:
    """The run to measure, the content of the table before it, and whether the table is in memory."""

    name: str
    scene: Scene
    before: Callable[[Table], object] = lambda _: None
    in_memory: bool = False


def cases(size: Size) -> Iterator[Case]:
    """Every size that is measured."""
    later, quiet = NOW + HOUR, "… the hour after, nothing new"
    for number in size.cut((1_000, 100_000, 200_000)):
        yield Case(f"one actor, {number:,} new signals", run_of(one_actor(number)))
    most = one_actor(min(200_000, size.most))
    yield Case(quiet, run_of(most, later), run_of(most))
    for number in size.cut((20, 100, 500)):
        yield Case(f"{number:,} actors, all new", run_of(many_actors(number)))
    actors = many_actors(min(500, size.most))
    yield Case(quiet, run_of(actors, later), run_of(actors))
    alerts = min(150, size.most)
    yield Case(f"alert {alerts} of an incident", last_alert(alerts), partial(alerts_before, alerts))
    days, daily = min(30, size.most), min(20, size.most)
    before = partial(month, days, daily)
    yield Case(f"{days} days with {daily} alerts each, then a quiet run", run_of(Rows([], [])), before)
    yield Case(f"… then a run with {daily} actors, all new", run_of(many_actors(daily)), before)
    crowd = many_actors(min(5_000, size.most))
    yield Case(f"{len(crowd.changes):,} actors, all new, in memory", run_of(crowd), in_memory=True)
    yield Case(quiet, run_of(crowd, later), run_of(crowd), in_memory=True)


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


def tables(size: Size) -> dict[str, Figures]:
    """Every case, on Azurite or in memory."""
    with running() as port, proxying(port) as proxy:
        rows = [
            _in_memory(case) if case.in_memory else _on_azurite(case, port, proxy) for case in cases(size)
        ]
    columns = ("run", "pairs", "alerts", "requests", "writes", "MiB sent", "MiB read", "wall s")
    return {"volume": Figures("requests to the table in one run", columns, rows)}


def _in_memory(case: Case) -> list[str]:
    table = MemoryTable()
    case.before(table)
    counted = Counted(table)
    began = monotonic()
    record = case.scene(counted)
    return _row(case, record, counted, ("", ""), monotonic() - began)


def _on_azurite(case: Case, port: int, proxy: TableProxy) -> list[str]:
    """Counts the requests of a run through the proxy, and times a second run without it."""
    first, second = (new_name() for _ in range(2))
    case.before(open_table(connection_string(port), first, None))
    proxy.reset()
    record = case.scene(open_table(connection_string(proxy.port), first, None))
    if proxy.refused:
        raise Failed(f"{case.name}: {proxy.refused}")
    case.before(open_table(connection_string(port), second, None))
    began = monotonic()
    case.scene(open_table(connection_string(port), second, None))
    seconds = monotonic() - began
    sizes = (f"{proxy.bytes_sent / 2**20:.2f}", f"{proxy.bytes_received / 2**20:.2f}")
    return _row(case, record, proxy, sizes, seconds)


def _row(
    case: Case, record: Record, asked: Counted | TableProxy, sizes: tuple[str, str], seconds: float
) -> list[str]:
    counts = (record.new_pairs, record.told, asked.requests, asked.writes)
    return [case.name, *(f"{count:,}" for count in counts), *sizes, f"{seconds:.1f}"]
