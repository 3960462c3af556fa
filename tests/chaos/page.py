"""The tables in docs/reliability.md that are made from code."""

import re
from collections.abc import Callable, Mapping

from tests.chaos import peers, published

TABLES: Mapping[str, Callable[[], str]] = {"deliveries": peers.table, "published": published.table}
_BLOCK = re.compile(
    r"(?P<begin><!-- made: (?P<name>\w+) -->\n)(?P<table>.*?)(?P<end><!-- end -->)", re.DOTALL
)


def page(text: str) -> str:
    """The page with its tables made anew."""
    return _BLOCK.sub(lambda found: found["begin"] + TABLES[found["name"]]() + found["end"], text)


def table_in(text: str, name: str) -> str:
    """A table as the page has it."""
    return next(found["table"] for found in _BLOCK.finditer(text) if found["name"] == name)
