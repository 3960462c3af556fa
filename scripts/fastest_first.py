"""A pytest plugin for scripts/mutants.py: the tests that took least time run first.

A fault that a fast test notices then costs no slow test. mutmut names the tests of a mutant in no order.
"""

import json
from pathlib import Path

import pytest


@pytest.hookimpl(trylast=True)  # after tests/conftest.py has put its slow files first
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the tests by the durations that mutmut measured, if it has."""
    durations = Path("mutmut-stats.json")
    if durations.exists():
        seconds = json.loads(durations.read_text(encoding="utf-8"))["duration_by_test"]
        items.sort(key=lambda test: seconds.get(test.nodeid, 0.0))
