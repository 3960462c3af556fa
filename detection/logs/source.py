"""The port Source: where the logs come from. Each implementation has its own folder or file."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from detection.logs.events import Logs
from detection.logs.window import Windows
from detection.rules.model import Rule


class Source(Protocol):
    """Reads both logs."""

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides of a rule in these windows, complete.

        Raises Incomplete if any part of the answer is missing, ConfigurationError if the source refuses the
        queries, ServiceError if it cannot answer now.
        """
        ...


def read_slices(source: Source, rule: Rule, windows: Windows) -> Iterator[Logs]:
    """The logs in slices that fit into memory: no actor is in two of them, and the first has the health of
    all.

    Everything has been read before the first slice comes. A slice is made when it is asked for: let go of the
    last one before that. Raises what Source.read raises.
    """
    whole = source.read(rule, windows)
    if not whole.slices:
        yield whole
        return
    rest = iter(whole.slices)
    logs: Logs | None = replace(whole, slices=())
    del whole
    while logs:
        yield replace(logs, is_slice=True)
        del logs  # before the next slice is made: memory follows the slice
        logs = next(rest, None)
