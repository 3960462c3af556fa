"""What is too much for one answer is asked for in halves of its window, so that every row is in exactly one. Pure.

The service does not say how much too much a question is. So the first half that is answered says how wide
the windows after it may be, and the rest is not asked for in vain again and again.
"""

from collections.abc import Callable, Iterator, Sized
from datetime import datetime, timedelta
from typing import TypeVar

from detection.errors import ServiceError
from detection.window import Window

NARROWEST = timedelta(seconds=1)
ROUNDING = timedelta(milliseconds=1)  # halves of halves differ by microseconds
AHEAD = timedelta(
    days=1
)  # a stamp may lie so far in the future (azure-monitor-docs, logs/log-standard-columns.md)

Answer = TypeVar("Answer", bound=Sized)


class Unfinished(Exception):
    """A question that the service did not finish; a smaller one it may. `failure` is what the user is told."""

    def __init__(self, failure: ServiceError) -> None:
        super().__init__(str(failure))
        self.failure = failure


def in_halves(ask: Callable[[Window], Answer], whole: Window, now: datetime, few: int) -> Iterator[Answer]:
    """The answers to adjoining windows (after, until] that make up the whole, the earliest first.

    `ask` may raise Unfinished. After an answer of at most `few` items the next window may be twice as wide.
    Raises the failure of a window that cannot be halved any more.
    """
    pending, widest = [whole], _length(whole, now)
    while pending:
        window = pending.pop()
        length, cut = _length(window, now), middle(window, now)
        halves = [Window(cut, window.until), Window(window.after, cut)] if cut else []  # taken from the end
        if halves and length > widest + ROUNDING:
            pending += halves
            continue
        try:
            answer = ask(window)
        except Unfinished as unfinished:
            if not halves:
                raise unfinished.failure from unfinished
            pending += halves
            continue
        if window != whole:
            widest = 2 * length if len(answer) <= few else length
        yield answer
        del answer  # whoever took it may be done with it before the next one comes


def middle(window: Window, now: datetime) -> datetime | None:
    """Where a window is cut in two; None where it is as narrow as can be. One without an end is first cut at `now`."""
    if window.until:
        length = window.until - window.after
        return window.after + length / 2 if length > NARROWEST else None
    end = next((end for end in (now, now + AHEAD) if end > window.after), None)
    return end and (middle(Window(window.after, end), now) or end)


def _length(window: Window, now: datetime) -> timedelta:
    """What is stamped ahead of now counts for nothing: hardly anything is."""
    return max((window.until or now) - window.after, timedelta(0))
