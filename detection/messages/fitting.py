"""As much as fits: a message is written, measured, and written again with less. Pure."""

from collections.abc import Callable, Iterable
from typing import TypeVar

Variant = TypeVar("Variant")


def render_to_fit(variants: Iterable[Variant], render: Callable[[Variant], bytes], limit: int) -> bytes:
    """The message in the first of some ways, each with less in it, that fits into a number of bytes; else in the last."""
    message = b""
    for variant in variants:
        message = render(variant)
        if len(message) <= limit:
            break
    return message


def decreasing_counts(count: int) -> range:
    """So many things, and then fewer and fewer, down to none."""
    return range(count, -1, -1)
