"""As much as fits: a message is written, measured, and written again with less. Pure."""

from collections.abc import Callable, Iterable
from typing import TypeVar

Less = TypeVar("Less")


def fitting(ways: Iterable[Less], render: Callable[[Less], bytes], limit: int) -> bytes:
    """The message in the first of some ways, each with less in it, that fits into a number of bytes; else in the last."""
    message = b""
    for way in ways:
        message = render(way)
        if len(message) <= limit:
            break
    return message


def fewer(most: int) -> range:
    """So many things, and then fewer and fewer, down to none."""
    return range(most, -1, -1)
