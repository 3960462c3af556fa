"""The search of all output for secrets finds what it should."""

import subprocess
import sys

import pytest

from tests.regenerate import ROOT
from tests.support.receiver import HIDDEN

WAYS = {
    "printed": "print(HIDDEN)",
    "logged at the lowest level": "logging.getLogger('some.library').debug('POST %s', HIDDEN)",
    "written by a process": "subprocess.run(['echo', HIDDEN], check=True)",
    "in a fixture": "",
    "never": "print('nothing to see')",
}
TESTS = f"""
import logging, subprocess, pytest
HIDDEN = '{HIDDEN}'

@pytest.fixture
def careless():
    yield
    print(HIDDEN)
"""
TEST = """
{fixtures}
def test_{number}():
    {statement}
"""


@pytest.fixture(scope="module")
def leaky_output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of tests that let a secret out, a test for each way."""
    folder = tmp_path_factory.mktemp("leaky")
    tests = (
        TEST.format(
            number=number,
            statement=statement or "pass",
            fixtures="" if statement else "@pytest.mark.usefixtures('careless')",
        )
        for number, statement in enumerate(WAYS.values())
    )
    (folder / "test_leaky.py").write_text(TESTS + "".join(tests))
    options = ["-q", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    command = [sys.executable, "-m", "pytest", *options, str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("way", WAYS)
def test_secret_fails_the_test_that_lets_it_out(leaky_output: str, way: str) -> None:
    message = f"test_leaky.py::test_{list(WAYS).index(way)} printed or logged a webhook's URL"
    assert (message in leaky_output) == (way != "never")


def test_tests_that_let_a_secret_out_pass_otherwise(leaky_output: str) -> None:
    assert f"{len(WAYS)} passed, {len(WAYS) - 1} errors" in leaky_output
