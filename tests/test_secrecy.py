"""The search of all output for secrets finds what it should."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.receiver import HIDDEN
from tests.regenerate import ROOT

WAYS = {
    "printed": "print(HIDDEN)",
    "logged at the lowest level": "logging.getLogger('some.library').debug('POST %s', HIDDEN)",
    "written by a process": "subprocess.run(['echo', HIDDEN], check=True)",
    "in a fixture": "fixture",
}


def _outcome(folder: Path, statement: str) -> str:
    """How a test fares that does something with a secret."""
    file = folder / "test_one.py"
    inside, after = ("pass", "print(HIDDEN)") if statement == "fixture" else (statement, "pass")
    file.write_text(
        f"import logging, subprocess, pytest\nHIDDEN = '{HIDDEN}'\n"
        f"@pytest.fixture\ndef f():\n    yield\n    {after}\n"
        f"def test_one(f):\n    {inside}\n"
    )
    options = ["-q", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    command = [sys.executable, "-m", "pytest", *options, str(file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("way", WAYS)
def test_secret_fails_the_test_that_lets_it_out(tmp_path: Path, way: str) -> None:
    assert "printed or logged a webhook's URL" in _outcome(tmp_path, WAYS[way])


def test_output_without_a_secret_passes(tmp_path: Path) -> None:
    assert "1 passed" in _outcome(tmp_path, "print('nothing to see')")
