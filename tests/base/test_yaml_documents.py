"""YAML that would take all memory, overflow the stack or end in an error of Python is refused before it is built."""

import re
import tracemalloc
from pathlib import Path
from string import ascii_lowercase

import pytest
from typer.testing import CliRunner

from detection.backtest.overrides import overrides
from detection.base.errors import ConfigurationError
from detection.base.yaml_documents import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_document, read_document
from detection.cli.main import app
from detection.rules.loading import CONTENT
from tests.regenerate import ROOT

LETTERS = ascii_lowercase[:9]
# Nine levels of nine aliases: 400 million nodes.
BOMB = "".join(
    f"{name}: &{name} [{', '.join([f'*{LETTERS[place - 1]}' if place else 'z'] * 9)}]\n"
    for place, name in enumerate(LETTERS)
)
MERGE_BOMB = "a: &a {k: [1, 2, 3, 4, 5, 6, 7, 8, 9]}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{LETTERS[place]}'] * 9)}], {name}: 1}}\n"
    for place, name in enumerate(LETTERS[1:])
)
CHAIN = "".join(
    f"a{place}: &a{place} [{f'*a{place - 1}' if place else 1}]\n" for place in range(2 * MAX_DEPTH)
)


@pytest.mark.parametrize(
    "text, reason",
    [
        (BOMB, f"more than {MAX_NODES:,} nodes"),
        (MERGE_BOMB, f"more than {MAX_NODES:,} nodes"),
        (f"[{'1, ' * MAX_NODES}]", f"more than {MAX_NODES:,} nodes"),
        ("[" * 100_000, f"more than {MAX_DEPTH} levels"),
        ("[" * 100_000 + "]" * 100_000, f"more than {MAX_DEPTH} levels"),
        (CHAIN, f"more than {MAX_DEPTH} levels"),
        ("&a [*a]", "line 1: *a has no anchor before it"),
        ("- 1\n- *b", "line 2: *b has no anchor before it"),
        ("a: [1", "did not find expected ',' or ']'"),
        ("a: 2026-13-45", "month must be in 1..12"),
        ("1" * 5_000, "Exceeds the limit"),
        ("!!bool x", "does not fit its tag"),
        ("!!timestamp x", "does not fit its tag"),
        ("!!int ''", "does not fit its tag"),
        ("\x00", "control characters are not allowed"),
    ],
)
def test_text_beyond_the_bounds_is_refused_before_it_is_built(text: str, reason: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=re.escape(reason)):
            parse_document(text)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_aliases_and_merges_within_the_bounds_are_expanded() -> None:
    text = "a: &a {k: 1}\nb: {<<: *a, l: [*a, *a]}"
    assert parse_document(text) == {"a": {"k": 1}, "b": {"k": 1, "l": [{"k": 1}, {"k": 1}]}}


def test_levels_up_to_the_bound_are_read() -> None:
    parse_document("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    parse_document("[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1))
    with pytest.raises(ValueError, match="levels"):
        parse_document("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "content, reason",
    [(b"# " + b"x" * MAX_BYTES, "must not be larger than"), (b"\xff", "cannot be read as YAML")],
)
def test_file_beyond_the_bounds_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"a\.yaml: {reason}"):
        read_document(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.yaml: cannot be read as YAML: .*No such file"):
        read_document(tmp_path / "a.yaml")


def test_shipped_files_are_far_within_the_bounds() -> None:
    for path in CONTENT.rglob("*.yaml"):
        assert path.stat().st_size < MAX_BYTES / 20
        read_document(path)


def test_yaml_is_read_in_one_place_only() -> None:
    sources = (ROOT / "detection").rglob("*.py")
    loaders = [
        path.name
        for path in sources
        if re.search(r"\b(safe_load|yaml\.load|full_load|yaml\.parse)\b", path.read_text(encoding="utf-8"))
    ]
    assert loaders == ["yaml_documents.py"]


@pytest.mark.parametrize("text", [BOMB, "[" * 100_000], ids=["aliases", "depth"])
def test_draft_of_a_hostile_rule_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "published.yaml"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["new-rule", "--from", str(path), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, ConfigurationError)
    assert re.search(r"published\.yaml: cannot be read as YAML: line \d: more than", str(result.exception))


def test_override_beyond_the_bounds_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"--set within: .* is not YAML .*more than 50 levels"):
        overrides([f"within={'[' * 100}"])
