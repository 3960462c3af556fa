"""KQL text, taken apart where nothing is nested: no grammar, but it knows texts, comments and brackets."""

import re
from collections.abc import Iterator
from typing import NamedTuple

# A text in any of Kusto's quotes (behind an @ a backslash is one), a comment, or any other character.
_TOKEN = re.compile(
    r"""(?P<text>@"[^"]*"|@'[^']*'|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|```.*?```)|(?P<comment>//[^\n]*)|(?P<other>.)""",
    re.DOTALL,
)


class Piece(NamedTuple):
    """A part of a query, and the line on which it begins, counted from 1."""

    text: str
    line: int

    @property
    def keyword(self) -> str:
        """Its first word: of an operator its name."""
        match = re.match(r"[\w-]+", self.text)
        return match[0] if match else ""

    @property
    def arguments(self) -> str:
        """What follows the first word."""
        return self.text[len(self.keyword) :].strip()


def split(piece: Piece, separator: str) -> list[Piece]:
    """The parts between a separator that stands outside of texts, comments and brackets; no part is empty."""
    parts, begin = [], 0
    for position, end in _separators(piece.text, separator):
        parts.append(_part(piece, begin, position))
        begin = end
    parts.append(_part(piece, begin, len(piece.text)))
    return [part for part in parts if part.text]


def without_comments(text: str) -> str:
    """The text with its comments blanked out: every line stays where it is."""
    return "".join("" if token["comment"] else token[0] for token in _TOKEN.finditer(text))


def without_texts(text: str) -> str:
    """The text with the texts in it emptied."""
    return "".join('""' if token["text"] else token[0] for token in _TOKEN.finditer(text))


def closing_bracket(text: str, opening: int) -> int:
    """The place of the bracket that closes the one at `opening`; the end of the text where none does."""
    depth = 0
    for position, char in _characters(text):
        depth += (char in "([{") - (char in ")]}") if position >= opening else 0
        if position >= opening and depth == 0:
            return position
    return len(text)


def _separators(text: str, separator: str) -> Iterator[tuple[int, int]]:
    pattern = re.compile(separator)
    depth, end = 0, 0
    for position, char in _characters(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and position >= end and (match := pattern.match(text, position)):
            end = match.end()
            yield position, end


def _characters(text: str) -> Iterator[tuple[int, str]]:
    return ((token.start(), token[0]) for token in _TOKEN.finditer(text) if token["other"])


def _part(piece: Piece, begin: int, end: int) -> Piece:
    text = piece.text[begin:end]
    before = piece.text[: begin + len(text) - len(text.lstrip())]
    return Piece(text.strip(), piece.line + before.count("\n"))
