"""Table requests, bytes and seconds of runs of unusual size, on Azurite.

A proxy in front of Azurite counts requests and bytes; a second run without it gives the seconds. The source
returns rows from memory, so the seconds are those of correlation, alerts and the table. Azurite scans a whole
partition to find a row; the real service does not. The largest case therefore uses a table in memory and
counts its calls: its seconds are the job's own, and the real service adds some milliseconds a request.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from time import monotonic

from benchmarks.figures import FigureTable
from benchmarks.processes import MeasurementFailed
from benchmarks.size import Size
from detection.delivery.rendering import digest_renderer, message_renderer
from detection.logs.events import Logs, Row
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.record import RunRecord
from detection.runs.run import run
from detection.settings import settings_from
from detection.store.azure_table import open_table
from detection.store.incident_store import IncidentStore
from detection.store.table import PAGE, Entity, MemoryTable, Operation, Table
from tests.chaos.table_proxy import TableProxy, proxying
from tests.support.azurite import connection_string, new_name, running
from tests.support.builders import RULE, change_row, logs, signal_row

NOW = datetime(2026, 6, 9, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
WEBHOOKS = settings_from({"WEBHOOK_URL": "https://soc.example/hook"}).destinations
_tokens = count()


@dataclass(frozen=True, slots=True)
class RowSource:
    """The port Source over rows in memory."""

    changes: Sequence[Row]
    signals: Sequence[Row]

    def read(self, rule: Rule, windows: Windows) -> Logs:
        return logs(self.changes, self.signals, windows, rule)


MeasuredRun = Callable[[Table], RunRecord]


def run_at(table: Table, now: datetime, source: RowSource) -> RunRecord:
    """One run with messages to one destination."""
    options = RunOptions(message_renderer(WEBHOOKS), digest_renderer(WEBHOOKS, RULE), storm_alerts=20)
    return run(RULE, now, source, IncidentStore(table, RULE.folder, f"run {next(_tokens)}"), options)[0]


def run_of(source: RowSource, now: datetime = NOW) -> MeasuredRun:
    """A run over these rows."""
    return lambda table: run_at(table, now, source)


def one_actor(signals: int) -> RowSource:
    """One change, and signals in the hours after it."""
    begin = NOW - 20 * HOUR
    step = timedelta(seconds=19 * 3600 / signals)
    return RowSource(
        [change_row("c", begin)],
        [signal_row(f"s{number}", begin + (number + 1) * step) for number in range(signals)],
    )


def many_actors(actors: int, day: datetime = NOW, signals: int = 2, prefix: str = "actor") -> RowSource:
    """Actors with a change and a few signals each."""
    actor_names = [f"{prefix}-{number}@example.com" for number in range(actors)]
    begin = day - 2 * HOUR
    return RowSource(
        [change_row(f"c{day:%d}{actor}", begin, actor) for actor in actor_names],
        [
            signal_row(f"s{day:%d}{signal_number}{actor}", begin + signal_number * MINUTE, actor)
            for actor in actor_names
            for signal_number in range(signals)
        ],
    )


def last_alert(number: int) -> MeasuredRun:
    """The last of a number of runs, nine minutes apart, each with a new signal of the same actor."""
    return lambda table: run_at(table, NOW - HOUR + number * 9 * MINUTE, _signals_of(number))


def alerts_before(number: int, table: Table) -> None:
    """Makes the runs before `last_alert`."""
    for earlier in range(1, number):
        last_alert(earlier)(table)


def _signals_of(runs: int) -> RowSource:
    begin = NOW - HOUR
    return RowSource(
        [change_row("c", begin)],
        [signal_row(f"s{number}", begin + number * 9 * MINUTE) for number in range(1, runs + 1)],
    )


def month(days: int, actors: int, table: Table) -> None:
    """Makes a run a day with an alert for every actor."""
    for ago in range(days, 0, -1):
        day = NOW - timedelta(days=ago)
        run_at(table, day, many_actors(actors, day))


@dataclass(frozen=True, slots=True)
class Case:
    """The run to measure, the content of the table before it, and whether the table is in memory."""

    name: str
    run_case: MeasuredRun
    prepare: Callable[[Table], object] = lambda _: None
    in_memory: bool = False


def cases(size: Size) -> Iterator[Case]:
    """Every case within the size."""
    later, quiet = NOW + HOUR, "… the hour after, nothing new"
    for number in size.capped((1_000, 100_000, 200_000)):
        yield Case(f"one actor, {number:,} new signals", run_of(one_actor(number)))
    single_actor = one_actor(min(200_000, size.max_rows))
    yield Case(quiet, run_of(single_actor, later), run_of(single_actor))
    for number in size.capped((20, 100, 500)):
        yield Case(f"{number:,} actors, all new", run_of(many_actors(number)))
    actors = many_actors(min(500, size.max_rows))
    yield Case(quiet, run_of(actors, later), run_of(actors))
    alerts = min(150, size.max_rows)
    yield Case(f"alert {alerts} of an incident", last_alert(alerts), partial(alerts_before, alerts))
    days, daily = min(30, size.max_rows), min(20, size.max_rows)
    prepare_month = partial(month, days, daily)
    yield Case(
        f"{days} days with {daily} alerts each, then a quiet run", run_of(RowSource([], [])), prepare_month
    )
    yield Case(f"… then a run with {daily} actors, all new", run_of(many_actors(daily)), prepare_month)
    many_actor_source = many_actors(min(5_000, size.max_rows))
    yield Case(
        f"{len(many_actor_source.changes):,} actors, all new, in memory",
        run_of(many_actor_source),
        in_memory=True,
    )
    yield Case(quiet, run_of(many_actor_source, later), run_of(many_actor_source), in_memory=True)


class CountingTable:
    """Counts the requests that the service would get; a scan takes one for each page of a thousand rows."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.requests = self.writes = 0

    def get(self, partition: str, row: str) -> Entity | None:
        self.requests += 1
        return self._table.get(partition, row)

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        self.requests += 1
        for number, entity in enumerate(self._table.scan(partition, start, end, page), 1):
            self.requests += number % page == 1 and number > 1
            yield entity

    def names(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[str]:
        return (entity.row for entity in self.scan(partition, start, end, page))

    def write(self, partition: str, operations: Sequence[Operation]) -> None:
        self.requests += 1
        self.writes += 1
        self._table.write(partition, operations)

    def date(self) -> datetime | None:
        return self._table.date()


def tables(size: Size) -> dict[str, FigureTable]:
    """Every case, on Azurite or in memory."""
    with running() as port, proxying(port) as proxy:
        rows = [
            _in_memory(case) if case.in_memory else _on_azurite(case, port, proxy) for case in cases(size)
        ]
    columns = ("run", "pairs", "alerts", "requests", "writes", "MiB sent", "MiB read", "wall s")
    return {"volume": FigureTable("requests to the table in one run", columns, rows)}


def _in_memory(case: Case) -> list[str]:
    table = MemoryTable()
    case.prepare(table)
    counting_table = CountingTable(table)
    began = monotonic()
    record = case.run_case(counting_table)
    return _row(case, record, counting_table, ("", ""), monotonic() - began)


def _on_azurite(case: Case, port: int, proxy: TableProxy) -> list[str]:
    """Counts the requests of a run through the proxy and times a second run without it."""
    counted_name, timed_name = (new_name() for _ in range(2))
    case.prepare(open_table(connection_string(port), counted_name, None))
    proxy.reset()
    record = case.run_case(open_table(connection_string(proxy.port), counted_name, None))
    if proxy.refused:
        raise MeasurementFailed(f"{case.name}: {proxy.refused}")
    case.prepare(open_table(connection_string(port), timed_name, None))
    began = monotonic()
    case.run_case(open_table(connection_string(port), timed_name, None))
    seconds = monotonic() - began
    sizes = (f"{proxy.bytes_sent / 2**20:.2f}", f"{proxy.bytes_received / 2**20:.2f}")
    return _row(case, record, proxy, sizes, seconds)


def _row(
    case: Case,
    record: RunRecord,
    request_counter: CountingTable | TableProxy,
    sizes: tuple[str, str],
    seconds: float,
) -> list[str]:
    counts = (record.new_pairs, record.alerts, request_counter.requests, request_counter.writes)
    return [case.name, *(f"{count:,}" for count in counts), *sizes, f"{seconds:.1f}"]
