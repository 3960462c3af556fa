"""The mutants that are named as equivalent are mutants of this code."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MUTANTS = yaml.safe_load((ROOT / "tests" / "equivalent_mutants.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def code() -> str:
    """The package on one line with single spaces, as the mutants are written."""
    return " ".join(
        " ".join(path.read_text(encoding="utf-8").split()) for path in ROOT.glob("detection/**/*.py")
    )


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant["removed"][:40])
def test_removed_line_of_an_equivalent_mutant_is_in_the_code(code: str, mutant: dict[str, str]) -> None:
    assert mutant["removed"] in code
    assert mutant["added"] != mutant["removed"]
