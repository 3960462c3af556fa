"""Beyond one instance, simulated: seconds of the slowest instance for each way to split the work.

Zipf's law distributes the signals, so a few actors have most of them. `large` measured the CPU time of a
signal, `scale` the CPU time and the table requests of an actor. The times of the services are assumptions,
because they cannot be measured outside Azure: 8 s for an answer of 250,000 rows, three of them at a time, and
6 ms for a table request.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.figures import FigureTable
from benchmarks.size import Size
from detection.base.deadlines import FUNCTION_TIMEOUT

CPU_PER_SIGNAL = 20e-6  # seconds for a new signal (large)
# For an actor with an alert (scale, 20,000 actors new): about twelve actors share a transaction.
REQUESTS_PER_PERSON = 1_574 / 20_000
CPU_PER_PERSON = 72.4 / 20_000  # seconds
REQUEST = 0.006  # seconds, of a table in the same region
ROWS_PER_ANSWER = 250_000
PARALLEL_QUERIES = 3
LATENCY = 8.0  # seconds for an answer of ROWS_PER_ANSWER, from the workspace to rows in memory
TIME_LIMIT = FUNCTION_TIMEOUT.total_seconds()
PEOPLE = 20_000
DRAWS = 20
SIGNALS = (1_000_000, 10_000_000, 50_000_000)


@dataclass(frozen=True, slots=True)
class Load:
    """The work of one instance in a run: signals, and people with an alert."""

    signals: float
    people: int

    @property
    def seconds(self) -> float:
        """The duration of the run, with reading and processing one after the other."""
        rounds = -(-max(self.signals, 1) // ROWS_PER_ANSWER) / PARALLEL_QUERIES
        seconds_per_person = CPU_PER_PERSON + REQUESTS_PER_PERSON * REQUEST
        return rounds * LATENCY + self.signals * CPU_PER_SIGNAL + self.people * seconds_per_person


def people(signals: int, random: Random) -> list[float]:
    """The signals of each person, in random order."""
    weights = [1 / rank for rank in range(1, PEOPLE + 1)]
    random.shuffle(weights)
    total = sum(weights)
    return [signals * weight / total for weight in weights]


def single_app(sizes: Sequence[float], _random: Random) -> list[Load]:
    """One app reads everything."""
    return [Load(sum(sizes), len(sizes))]


def workspaces(number: int) -> Callable[[Sequence[float], Random], list[Load]]:
    """One app for each workspace; all rows of a person are in one random workspace."""

    def split_load(sizes: Sequence[float], random: Random) -> list[Load]:
        parts: list[list[float]] = [[] for _ in range(number)]
        for size in sizes:
            random.choice(parts).append(size)
        return [Load(sum(part), len(part)) for part in parts]

    return split_load


def rules(number: int, apps: int) -> Callable[[Sequence[float], Random], list[Load]]:
    """Rules that each read a random fraction of the signals, on one app together or on one app each."""

    def split_load(sizes: Sequence[float], random: Random) -> list[Load]:
        shares = [random.uniform(0.1, 0.5) for _ in range(number)]
        loads = [Load(sum(sizes) * share, round(len(sizes) * share)) for share in shares]
        if apps == 1:
            return [Load(sum(load.signals for load in loads), sum(load.people for load in loads))]
        return loads

    return split_load


WAYS: Mapping[str, Callable[[Sequence[float], Random], list[Load]]] = {
    "one app, one rule": single_app,
    "4 workspaces, an app each": workspaces(4),
    "16 workspaces, an app each": workspaces(16),
    "6 rules on one app": rules(6, 1),
    "6 rules, an app each": rules(6, 6),
}


def tables(size: Size) -> dict[str, FigureTable]:
    """The slowest instance of each way, the mean of several draws; times over the limit are marked."""
    draws = 1 if size.toy else DRAWS
    rows = [
        [name, *(_seconds_text(_slowest(split_load, signals, draws)) for signals in SIGNALS)]
        for name, split_load in WAYS.items()
    ]
    title = f"beyond one instance, simulated: seconds of the slowest, mean of {draws} draws; ! beyond {TIME_LIMIT:.0f} s"
    return {"beyond": FigureTable(title, ("way", *(f"{signals:,} signals" for signals in SIGNALS)), rows)}


def _slowest(split_load: Callable[[Sequence[float], Random], list[Load]], signals: int, draws: int) -> float:
    random = Random(signals)
    longest = [
        max(load.seconds for load in split_load(people(signals, random), random)) for _ in range(draws)
    ]
    return sum(longest) / draws


def _seconds_text(seconds: float) -> str:
    return f"{seconds:,.0f}{' !' if seconds > TIME_LIMIT else ''}"
