"""Bytes of any length in a row: as properties b0, b1, …, for one property may not hold them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from detection.store.table import Value

Content = TypeVar("Content")
PROPERTY_SIZE = 64_000  # of the 64 KiB that a property may have; a whole number of 8-byte marks
ROW_SIZE = 12 * PROPERTY_SIZE  # of the 1 MiB that a row may have; the emulator counts it in base64


def split(content: bytes | bytearray) -> dict[str, Value]:
    """The properties that hold the bytes; at most ROW_SIZE fit into one row."""
    return {f"b{number}": bytes(part) for number, part in enumerate(chunks(content, PROPERTY_SIZE))}


def joined(values: Mapping[str, Value]) -> bytes:
    """The bytes that `split` made properties of, among others or not."""
    parts = (values.get(f"b{number}") for number in range(len(values)))
    return b"".join(part for part in parts if isinstance(part, bytes))


def chunks(content: Sequence[Content], size: int) -> Iterator[Sequence[Content]]:
    """The content in parts of at most `size` items."""
    return (content[at : at + size] for at in range(0, len(content), size))
