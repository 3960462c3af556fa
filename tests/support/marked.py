"""Tables of the pages that code makes: they stand between `<!-- made: NAME -->` and `<!-- end -->`."""

import re
from collections.abc import Callable, Mapping

_BLOCK = re.compile(
    r"(?P<begin><!-- made: (?P<name>[\w-]+) -->\n)(?P<table>.*?)(?P<end><!-- end -->)", re.DOTALL
)


def filled(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """The page with these tables made anew; it keeps all others."""
    return _BLOCK.sub(
        lambda block: (
            block["begin"] + tables[block["name"]]() + block["end"] if block["name"] in tables else block[0]
        ),
        text,
    )


def tables_in(text: str) -> dict[str, str]:
    """The tables by name, as the page has them."""
    return {block["name"]: block["table"] for block in _BLOCK.finditer(text)}
