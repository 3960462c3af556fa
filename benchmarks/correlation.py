"""Correlation alone: from events to chains, in plain Python. The events come in random order."""

import gc
import random
import sys
import time
from datetime import UTC, datetime, timedelta

from detection.correlate import correlate
from detection.events import Event

BEGIN = datetime(2026, 6, 8, tzinfo=UTC)
ACTORS = 5_000
WITHIN = timedelta(hours=24)


def events(number: int, prefix: str, seed: int) -> list[Event]:
    """So many events of one day, spread over the actors."""
    chance = random.Random(seed)
    return [
        Event(
            f"{prefix}{at}",
            BEGIN + timedelta(seconds=chance.randrange(86_400)),
            f"user{chance.randrange(ACTORS)}@example.com",
            prefix,
            (),
        )
        for at in range(number)
    ]


def main() -> None:
    """Prints seconds (the best of three) and pairs for so many signals and changes."""
    signals, changes = events(int(sys.argv[1]), "signal", 1), events(int(sys.argv[2]), "change", 2)
    best, pairs = float("inf"), 0
    for _ in range(3):
        gc.collect()
        began = time.perf_counter()
        chains = correlate(changes, signals, WITHIN, once=True)
        best = min(best, time.perf_counter() - began)
        pairs = sum(len(span) for chain in chains for span in chain.spans)
    print(f"{best:.3f} {pairs}")


main()
