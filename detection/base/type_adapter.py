"""How values become JSON and JSON values again, made for a type when it is first asked for.

Making it takes milliseconds, every hour is a cold start, and a quiet hour needs few of them.
"""

from typing import Any, TypeVar

from pydantic import TypeAdapter

Type = TypeVar("Type")
_ADAPTERS: dict[object, TypeAdapter[Any]] = {}


def type_adapter(target_type: type[Type]) -> TypeAdapter[Type]:
    """The adapter of a type; always the same."""
    if target_type not in _ADAPTERS:
        _ADAPTERS[target_type] = TypeAdapter(target_type)
    return _ADAPTERS[target_type]
