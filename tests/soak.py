"""`make soak`: random worlds with every dimension at once, on both processors, and the figures of the promise.

`make soak ARGS=500` runs fewer worlds; `make soak ARGS="--seed 123"` runs one world alone and prints its problems.
"""

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from time import monotonic

from tests.support.world import expected, live, published, random_world

WORLDS = 10_000
PROCESSES = 2
FIGURES = (
    "worlds",
    "runs",
    "crashes",
    "races",
    "incomplete",
    "refused",
    "skipped",
    "late",
    "purged",
    "digests",
    "floods",
    "gaps",
    "gap readings",
    "gap parts",
    "gaps read",
    "refused for another grouping",
    "gave up",
    "silences added",
    "silences lifted",
)
RESULTS = ("alerts", "pairs", "lost", "twice", "wrong", "wrong incident")
LIMITS = (
    "silenced",
    "in an open gap",
    "in a gap that was read",
    "covered by a flood",
    "unalerted by an edit",
    "twice by a new time outside a flood",
    "alerted after a silence by a new time",
    "published lost",
    "published again",
)


def soak_world(seed: int) -> tuple[int, Counter[str], list[str]]:
    """The figures and the problems of the world of a seed."""
    history = live(random_world(seed, size=1 + seed % 3))
    figures, pairs = history.figures, expected(history.world)
    times_by_pair = published(history.world, history.complete)
    figures["published lost"] = len(pairs) - sum(times_by_pair[pair] > 0 for pair in pairs)
    figures["published again"] = sum(max(0, times - 1) for times in times_by_pair.values())
    figures["wrong incident"] += sum(problem.startswith("wrong incident") for problem in history.problems)
    return seed, figures, history.problems


def print_figures(total: Counter[str]) -> None:
    """Prints the figures, edits by kind, and results."""
    edits = sorted(name for name in total if name.startswith("edits of "))
    for name in (*FIGURES, *edits, *RESULTS, *LIMITS):
        print(f"{name:>37} {total[name]:>12,}")


def main() -> int:
    """Runs the worlds. Returns 1 if the promise was broken in one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worlds", nargs="?", type=int, default=WORLDS)
    parser.add_argument("--seed", type=int, help="run the world of this seed alone")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    arguments = parser.parse_args()
    seeds = range(arguments.worlds) if arguments.seed is None else range(arguments.seed, arguments.seed + 1)
    began, total, broken = monotonic(), Counter[str](), 0
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        for done, (seed, figures, problems) in enumerate(pool.map(soak_world, seeds, chunksize=10), 1):
            total += figures
            broken += bool(problems)
            for problem in problems[:3]:
                print(f'world {seed}: {problem}; alone: make soak ARGS="--seed {seed}"', flush=True)
            if done % 500 == 0:
                print(f"{done:,} worlds, {broken} broken, {monotonic() - began:.0f} s", flush=True)
    print_figures(total)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
