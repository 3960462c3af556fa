"""Splits a query whose answer is too large into halves of its window. Every row is in exactly one half.

The service does not say by how much a query is too large. So the first half that is answered sets the length
of the windows after it, and the rest of the window is not queried in vain again.
"""

from collections.abc import Callable, Iterator, Sized
from datetime import datetime, timedelta
from typing import TypeVar

from detection.base.errors import ServiceError
from detection.logs.window import Window

MIN_LENGTH = timedelta(seconds=1)
MIN_UNREADABLE_LENGTH = timedelta(microseconds=1)  # hardly any two rows have the same stamp
ROUNDING = timedelta(milliseconds=1)  # halves of halves differ by microseconds
# Log Analytics accepts stamps up to a day in the future (azure-monitor-docs, logs/log-standard-columns.md).
MAX_FUTURE = timedelta(days=1)

Answer = TypeVar("Answer", bound=Sized)


class QueryUnfinished(Exception):
    """The service did not finish a query, but may finish a smaller query. `failure` is for the user."""

    def __init__(self, failure: ServiceError) -> None:
        super().__init__(str(failure))
        self.failure = failure


class UnreadableAnswer(QueryUnfinished):
    """The service answered, but the answer is not JSON. Another window may have an answer that is."""


def split_query(
    query_window: Callable[[Window], Answer],
    full_window: Window,
    now: datetime,
    small_answer: int,
    skip: Callable[[Window], None] | None = None,
) -> Iterator[Answer]:
    """The answers to adjoining windows (after, until] that make up the full window, the earliest first.

    `query_window` may raise QueryUnfinished. After an answer with at most `small_answer` rows the next window
    may be twice as long. Raises the failure of a window that is too short to split. With `skip`, a window
    whose answer is unreadable is split down to a microsecond, so that it has a single row; then `skip` is
    called with it, and its row is missing from the answers. Raises the failure if an empty window has no
    readable answer either: then the service breaks every answer, and no row is at fault.
    """
    pending_windows, max_length = [full_window], _length(full_window, now)
    while pending_windows:
        window = pending_windows.pop()
        length, halves = _length(window, now), _halves(window, split_time_of(window, now))
        if halves and length > max_length + ROUNDING:
            pending_windows += halves
            continue
        try:
            answer = query_window(window)
        except QueryUnfinished as unfinished:
            if skip and not halves and window.until and isinstance(unfinished, UnreadableAnswer):
                halves = _halves(window, split_time_of(window, now, MIN_UNREADABLE_LENGTH))
                if not halves and _is_finished(query_window, Window(window.until, window.until)):
                    skip(window)
                    continue
            if not halves:
                raise unfinished.failure from unfinished
            if not isinstance(unfinished, UnreadableAnswer):  # which has no bearing on other windows
                max_length = max(_length(half, now) for half in halves)
            pending_windows += halves
            continue
        if len(answer) <= small_answer:
            max_length = max(max_length, 2 * length)
        yield answer
        del answer  # frees it before the next answer arrives


def _is_finished(query_window: Callable[[Window], object], window: Window) -> bool:
    try:
        query_window(window)
    except QueryUnfinished:
        return False
    return True


def split_time_of(window: Window, now: datetime, min_length: timedelta = MIN_LENGTH) -> datetime | None:
    """The moment at which a window is split, `now` if it has no end; None if it is too short."""
    if window.until:
        length = window.until - window.after
        return window.after + length / 2 if length > min_length else None
    end = next((end for end in (now, now + MAX_FUTURE) if end > window.after), None)
    return end and (split_time_of(Window(window.after, end), now) or end)


def _halves(window: Window, split_time: datetime | None) -> list[Window]:
    """The halves of a window, the earlier half last: windows are taken from the end. [] if it has none."""
    return [Window(split_time, window.until), Window(window.after, split_time)] if split_time else []


def _length(window: Window, now: datetime) -> timedelta:
    """The length of a window up to now: hardly any row is stamped in the future."""
    return max((window.until or now) - window.after, timedelta(0))
