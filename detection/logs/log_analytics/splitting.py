"""What is too much for one answer is asked for in halves of its window, so that every row is in exactly one.

The service does not say how much too much a question is. So the first half that is answered says how wide
the windows after it may be, and the rest is not asked for in vain again and again.
"""

from collections.abc import Callable, Iterator, Sized
from datetime import datetime, timedelta
from typing import TypeVar

from detection.base.errors import ServiceError
from detection.logs.window import Window

MIN_LENGTH = timedelta(seconds=1)
ROUNDING = timedelta(milliseconds=1)  # halves of halves differ by microseconds
MAX_FUTURE = timedelta(
    days=1
)  # a stamp may lie so far in the future (azure-monitor-docs, logs/log-standard-columns.md)

Answer = TypeVar("Answer", bound=Sized)


class QueryUnfinished(Exception):
    """A question that the service did not finish; a smaller one it may. `failure` is what the user is told."""

    def __init__(self, failure: ServiceError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def split_query(
    query_window: Callable[[Window], Answer], full_window: Window, now: datetime, small_answer: int
) -> Iterator[Answer]:
    """The answers to adjoining windows (after, until] that make up the whole, the earliest first.

    `ask` may raise Unfinished. After an answer of at most `few` items the next window may be twice as wide.
    Raises the failure of a window that cannot be halved any more.
    """
    pending_windows, max_length = [full_window], _length(full_window, now)
    while pending_windows:
        window = pending_windows.pop()
        length, split_time = _length(window, now), split_time_of(window, now)
        halves = (
            [Window(split_time, window.until), Window(window.after, split_time)] if split_time else []
        )  # taken from the end
        if halves and length > max_length + ROUNDING:
            pending_windows += halves
            continue
        try:
            answer = query_window(window)
        except QueryUnfinished as unfinished:
            if not halves:
                raise unfinished.failure from unfinished
            pending_windows += halves
            continue
        if window != full_window:
            max_length = 2 * length if len(answer) <= small_answer else length
        yield answer
        del answer  # whoever took it may be done with it before the next one comes


def split_time_of(window: Window, now: datetime) -> datetime | None:
    """Where a window is cut in two; None where it is as narrow as can be. One without an end is first cut at `now`."""
    if window.until:
        length = window.until - window.after
        return window.after + length / 2 if length > MIN_LENGTH else None
    end = next((end for end in (now, now + MAX_FUTURE) if end > window.after), None)
    return end and (split_time_of(Window(window.after, end), now) or end)


def _length(window: Window, now: datetime) -> timedelta:
    """What is stamped ahead of now counts for nothing: hardly anything is."""
    return max((window.until or now) - window.after, timedelta(0))
