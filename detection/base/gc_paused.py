"""Work without Python's collector of cycles: rows have none, and it would look through half a million again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """For the making of very many rows, which it halves. Not for a whole run: what requests leave behind has cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
