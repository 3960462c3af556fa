"""As much as fits: a message is written, measured, and written again with less. Pure."""

from collections.abc import Callable


def fitting(most: int, render: Callable[[int], bytes], limit: int) -> bytes:
    """The message that shows as many of so many things as fit into a number of bytes, or none of them."""
    message = b""
    for shown in range(most, -1, -1):
        message = render(shown)
        if len(message) <= limit:
            break
    return message
