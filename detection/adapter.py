"""How values become JSON and JSON values again, made for a type when it is first asked for.

Making it takes milliseconds, every hour is a cold start, and a quiet hour needs few of them.
"""

from typing import Any, TypeVar

from pydantic import TypeAdapter

Type = TypeVar("Type")
_MADE: dict[object, TypeAdapter[Any]] = {}


def adapter(of: type[Type]) -> TypeAdapter[Type]:
    """The adapter of a type; always the same."""
    if of not in _MADE:
        _MADE[of] = TypeAdapter(of)
    return _MADE[of]
