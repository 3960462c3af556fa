"""Scripts in names: a Cyrillic а in a Latin name looks like an a, and the name like another person's.

A name mixes scripts unless Unicode's level "highly restrictive" allows the mixture (UTS 39, 5.2). Each word
of a name, the local part of an address and each label of its domain is looked at alone.
"""

import re
from collections.abc import Collection
from unicodedata import category, name, normalize

# The first word of a letter's Unicode name is its script, except for these letters.
_WORDS = {"CJK": "HAN", "IDEOGRAPHIC": "HAN", "HENTAIGANA": "HIRAGANA", "TURNED": "LATIN", "ROMAN": "LATIN"}
_COMMON = frozenset({"", "CARON", "MASU", "MODIFIER", "VEDIC", "VERTICAL"})  # of no script, or of several
_ALLOWED = (
    {"LATIN", "HAN", "HIRAGANA", "KATAKANA"},
    {"LATIN", "HAN", "BOPOMOFO"},
    {"LATIN", "HAN", "HANGUL"},
)
_AT, _DOTS, _SPACES = re.compile(r"[@\uff20]"), re.compile(r"[.\u3002\uff0e\uff61]"), re.compile(r"\s+")


def mixed_scripts(text: str) -> list[str]:
    """The scripts of the first part of a name or an address that mixes scripts; empty without such a part."""
    for part in _parts(text):
        scripts = set(filter(None, map(script_of, normalize("NFKC", part))))
        if len(scripts) > 1 and not any(scripts <= allowed for allowed in _ALLOWED):
            return sorted(script.capitalize() for script in scripts)
    return []


def script_of(char: str) -> str:
    """The script of a letter in capitals; empty for other characters, and for letters that several have."""
    if char.isascii():
        return "LATIN" if char.isalpha() else ""
    if not category(char).startswith("L"):
        return ""
    word = re.split("[ -]", name(char, ""), maxsplit=1)[0]
    return "" if word in _COMMON else _WORDS.get(word, word)


def _parts(text: str) -> Collection[str]:
    if text.isascii():
        return ()
    parts: list[str] = []
    for word in _SPACES.split(text):
        local_part, *domains = _AT.split(word)
        parts += [local_part, *(label for domain in domains for label in _DOTS.split(domain))]
    return parts
