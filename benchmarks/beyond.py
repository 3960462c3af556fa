"""Beyond one instance, simulated: how long the slowest instance takes when the work is cut in the ways there are.

Signals are laid to people by Zipf's law: a few have most of them. What a signal takes is what `large` measured. What the
services take is assumed, for neither can be measured outside of Azure: 8 s for an answer of 250,000 rows, of which
this job asks three at a time, and 6 ms for a table request.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.figures import FigureTable
from benchmarks.size import Size

CPU_PER_SIGNAL = 20e-6  # seconds for a signal that is new (large)
SECONDS_PER_PERSON = (
    2 * 0.006
)  # seconds for a person who is told of: two requests to a table in the same region
ROWS_PER_ANSWER = 250_000  # rows that are asked for at once
PARALLEL_QUERIES = 3  # questions at a time
LATENCY = 8.0  # seconds for an answer of so many rows, from the workspace to rows in memory
TIME_LIMIT = 600.0  # functionTimeout in host.json
PEOPLE = 20_000
DRAWS = 20
SIGNALS = (1_000_000, 10_000_000, 50_000_000)


@dataclass(frozen=True, slots=True)
class Load:
    """What one instance has to do in a run: signals, and people to tell of."""

    signals: float
    people: int

    @property
    def seconds(self) -> float:
        """How long it takes, the reading beside nothing."""
        rounds = -(-max(self.signals, 1) // ROWS_PER_ANSWER) / PARALLEL_QUERIES
        return rounds * LATENCY + self.signals * CPU_PER_SIGNAL + self.people * SECONDS_PER_PERSON


def people(signals: int, random: Random) -> list[float]:
    """Signals of each person, in no order."""
    weights = [1 / rank for rank in range(1, PEOPLE + 1)]
    random.shuffle(weights)
    total = sum(weights)
    return [signals * weight / total for weight in weights]


def single_app(sizes: Sequence[float], _random: Random) -> list[Load]:
    """One app reads everything."""
    return [Load(sum(sizes), len(sizes))]


def workspaces(number: int) -> Callable[[Sequence[float], Random], list[Load]]:
    """An app for each of so many workspaces; a person's rows are in one of them, by chance."""

    def split_load(sizes: Sequence[float], random: Random) -> list[Load]:
        parts: list[list[float]] = [[] for _ in range(number)]
        for size in sizes:
            random.choice(parts).append(size)
        return [Load(sum(part), len(part)) for part in parts]

    return split_load


def rules(number: int, apps: int) -> Callable[[Sequence[float], Random], list[Load]]:
    """So many rules that each read a share of the signals, by chance, on one app or on one each."""

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
    """The slowest instance of each way, the mean of some draws; a time over the limit of a run is marked."""
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
