"""Converts values to JSON and back.

The adapter of a type is built on first use: that takes milliseconds, every hour is a cold start, and a quiet
hour needs few adapters.
"""

from typing import Any, TypeVar

from pydantic import TypeAdapter

Type = TypeVar("Type")
_ADAPTERS: dict[object, TypeAdapter[Any]] = {}


def type_adapter(target_type: type[Type]) -> TypeAdapter[Type]:
    """The adapter of a type, built once per process."""
    if target_type not in _ADAPTERS:
        _ADAPTERS[target_type] = TypeAdapter(target_type)
    return _ADAPTERS[target_type]


def json_values(value: object) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """A record or an incident as plain JSON values."""
    return type_adapter(type(value)).dump_python(value, mode="json")
