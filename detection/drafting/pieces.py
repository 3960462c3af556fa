"""Split KQL text at its top level. This is not a parser: it only knows texts, comments and brackets."""

import re
from typing import NamedTuple

# A text in any of Kusto's quotes (after an @, a backslash is a plain character), a comment, or a character.
_TOKEN = re.compile(
    r"""(?P<text>@"[^"]*"|@'[^']*'|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|```.*?```)"""
    r"|(?P<comment>//[^\n]*)|(?P<other>.)",
    re.DOTALL,
)


class Piece(NamedTuple):
    """A part of a query, and the line on which it begins, counted from 1."""

    text: str
    line: int

    @property
    def keyword(self) -> str:
        """The first word: the name of an operator."""
        match = re.match(r"[\w-]+", self.text)
        return match[0] if match else ""

    @property
    def arguments(self) -> str:
        return self.text[len(self.keyword) :].strip()

    def part(self, begin: int, end: int | None = None) -> "Piece":
        """The text between two positions, without surrounding blanks."""
        text = self.text[begin:end]
        lines_before = self.text[: begin + len(text) - len(text.lstrip())].count("\n")
        return Piece(text.strip(), self.line + lines_before)

    def __str__(self) -> str:
        """The text in one short line."""
        flat = " ".join(self.text.split())
        return flat if len(flat) <= 100 else flat[:100] + "…"


def split(piece: Piece, separator: str) -> list[Piece]:
    """The parts between separators outside of texts, comments and brackets. No part is empty."""
    pattern, parts, begin, depth = re.compile(separator), list[Piece](), 0, 0
    for token in _TOKEN.finditer(piece.text):
        if not token["other"] or token.start() < begin:
            continue
        depth += (token[0] in "([{") - (token[0] in ")]}")
        if depth == 0 and (match := pattern.match(piece.text, token.start())):
            parts.append(piece.part(begin, match.start()))
            begin = match.end()
    parts.append(piece.part(begin))
    return [part for part in parts if part.text]


def without_comments(text: str) -> str:
    """The text with its comments removed; all lines stay."""
    return "".join("" if token["comment"] else token[0] for token in _TOKEN.finditer(text))


def without_texts(text: str) -> str:
    return "".join('""' if token["text"] else token[0] for token in _TOKEN.finditer(text))


def closing_bracket(text: str) -> int:
    """The position of the bracket that closes the first character; the end of the text if there is none."""
    depth = 0
    for token in _TOKEN.finditer(text):
        if token["other"]:
            depth += (token[0] in "([{") - (token[0] in ")]}")
            if depth == 0:
                return token.start()
    return len(text)
