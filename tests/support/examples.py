"""How many examples a test takes: few in `make test`, many in `make test-slow`, which runs tests marked `many` again."""

import os

import pytest

_MANY = bool(os.environ.get("MANY_EXAMPLES"))
many = pytest.mark.many


def examples(few: int, many: int) -> int:
    """The number of examples that a test marked `many` takes here."""
    return many if _MANY else few
