"""Pauses Python's cycle collector: rows have no cycles, and it would scan half a million rows repeatedly."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """For creating very many rows, which then takes half the time. Not for a whole run: requests leave
    cycles.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
