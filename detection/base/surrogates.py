r"""Lone surrogates: half of a character, as `\ud83d` in JSON text. No Unicode text can hold it.

A caller of an API may send such an escape, and JSON writers pass it on. JSON parsers refuse all of the text
for it.
"""

import re

_ESCAPES = re.compile(
    rb"(?:\\\\)+"  # escaped backslashes: what follows them is text, not an escape
    rb"|\\u(?:[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|([dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def replace_lone_surrogates(json_text: bytes) -> bytes:
    """JSON text in which U+FFFD replaces every escape of a lone surrogate. Pairs stay as they are."""
    return _ESCAPES.sub(lambda match: rb"\ufffd" if match[1] else match[0], json_text)
