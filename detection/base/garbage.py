"""Sets how often Python's cycle collector runs."""

import gc

# Objects after which it runs, and the factors of its older generations.
THRESHOLDS = (50_000, 10, 10)


def collect_garbage_rarely() -> None:
    """For a process that keeps very many rows, from now on: rows have no cycles, and the collector would scan
    half a million of them repeatedly. Requests leave few cycles, a few megabytes until they are collected.
    """
    gc.set_threshold(*THRESHOLDS)
