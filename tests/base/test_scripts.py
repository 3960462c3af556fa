"""Scripts in names: the script of every letter is that of Unicode, and a name that mixes scripts is found."""

from unicodedata import category, name, normalize

import pytest

from detection.base.scripts import mixed_scripts, script_of
from tests.support import node

SCRIPTS = node.ROOT / "tests/support/scripts.mjs"
# Letters of a script's name that several scripts have, and marks of one that have another name.
EXCEPTIONS = {
    "ARABIC TATWEEL",
    "IDEOGRAPHIC CLOSING MARK",
    "JAVANESE PANGRANGKEP",
    "KATAKANA-HIRAGANA PROLONGED SOUND MARK",
    "MODIFIER LETTER CAPITAL BARRED B",
    "MODIFIER LETTER CAPITAL REVERSED N",
    "MODIFIER LETTER SMALL CAPITAL AA",
    "MODIFIER LETTER SMALL TURNED I",
    "OLD CHINESE ITERATION MARK",
    "VERTICAL IDEOGRAPHIC ITERATION MARK",
}


def test_script_of_a_letter_is_that_of_unicode() -> None:
    """For every letter that node's Unicode knows, too; a name compares scripts after NFKC."""
    letters = [
        char
        for char in map(chr, range(0x30000))
        if category(char).startswith("L") and bool(name(char, "")) and normalize("NFKC", char) == char
    ]
    answers = node.ask(SCRIPTS, "".join(letters))
    different = {
        name(char)
        for char, script in zip(letters, answers, strict=True)
        if script and script_of(char) != script.partition("_")[0].upper()
    }
    assert len(letters) > 40_000
    assert different <= EXCEPTIONS


@pytest.mark.parametrize(
    "text, scripts",
    [
        ("alice@example.com", []),
        ("\N{CYRILLIC SMALL LETTER A}lice@example.com", ["Cyrillic", "Latin"]),
        ("alice@ex\N{CYRILLIC SMALL LETTER A}mple.com", ["Cyrillic", "Latin"]),
        ("alice\uff20ex\N{CYRILLIC SMALL LETTER A}mple\u3002com", ["Cyrillic", "Latin"]),
        ("ivan.\N{CYRILLIC SMALL LETTER I}@example.com", ["Cyrillic", "Latin"]),
        ("gpt-4\N{GREEK SMALL LETTER OMICRON}", ["Greek", "Latin"]),
        ("Анна@example.com", []),
        ("alice@example.рф", []),
        ("Анна Smith", []),
        ("東京tower", []),
        ("とうキョウ東京", []),
        ("서울seoul", []),
        ("naïve", []),
        ("\N{MATHEMATICAL BOLD SMALL A}lice", []),
        ("", []),
        ("123 @ ...", []),
        ("\ud800\N{CYRILLIC SMALL LETTER A}", []),
    ],
)
def test_name_that_mixes_scripts_is_found_by_its_parts(text: str, scripts: list[str]) -> None:
    assert mixed_scripts(text) == scripts
