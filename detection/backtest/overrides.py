"""`--set key=value`: a setting of the environment or a key of rule.yaml, as if it had been written there.

A key of the rule may be given by its end, as long as only one key ends so: `within`, `groupingConfiguration.lookbackDuration`.
It is checked where it comes to stand, by whoever checks what is written there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from detection.base.errors import ConfigurationError
from detection.rules.model import RuleFile

# What a run's verdict depends on; the other settings say where it reads and whom it tells.
SETTINGS = ("ALLOWED_LATENESS", "MAX_CATCH_UP", "STORM_ALERTS", "FLOOD_SIGNALS")

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overrides:
    """What is set otherwise: settings by their names, values of rule.yaml by their whole keys."""

    settings: Mapping[str, str] = field(default_factory=dict)
    rule: Mapping[KeyPath, object] = field(default_factory=dict)

    def apply(self, document: object) -> object:
        """rule.yaml as read, with what is set otherwise."""
        for path, value in self.rule.items():
            document = _put(document, path, value)
        return document


def overrides(texts: Sequence[str]) -> Overrides:
    """The overrides that `key=value` texts name; of two for one key the last holds.

    Raises ConfigurationError for a text without a key, and for a key that there is not.
    """
    settings: dict[str, str] = {}
    rule: dict[KeyPath, object] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not key or not equals:
            raise ConfigurationError(
                f"--set {text!r} must be key=value, such as within=PT12H or STORM_ALERTS=5"
            )
        if key in SETTINGS:
            settings[key] = value
        else:
            rule[_full_path(key)] = _value(key, value)
    return Overrides(settings, rule)


def _full_path(key: str) -> KeyPath:
    """The key from the top of rule.yaml. Raises ConfigurationError when there is none such, or several."""
    parts = tuple(key.split("."))
    paths = list(
        dict.fromkeys(path for rule_key in _keys(RuleFile) for path in rule_key.paths_ending_in(parts))
    )
    if parts in paths or len(paths) == 1:
        return parts if parts in paths else paths[0]
    if paths:
        raise ConfigurationError(f"--set {key}: say which: {' or '.join(map('.'.join, paths))}")
    names = [".".join(rule_key.path) for rule_key in _keys(RuleFile)]
    suggestions = get_close_matches(
        key, [*SETTINGS, *names, *(name.rpartition(".")[2] for name in names)], n=3
    )
    hint = (
        f"did you mean {' or '.join(suggestions)}?"
        if suggestions
        else f"there are {', '.join(SETTINGS)}, and the keys in docs/rules.md"
    )
    raise ConfigurationError(f"--set {key}: there is no such setting or key of rule.yaml; {hint}")


@dataclass(frozen=True, slots=True)
class _RuleKey:
    """A key of rule.yaml; an open one has keys of the user's own below it."""

    path: KeyPath
    is_open: bool

    def paths_ending_in(self, parts: KeyPath) -> Iterator[KeyPath]:
        """The whole key that a part of it, from its end, stands for."""
        if self.path[-len(parts) :] == parts:
            yield self.path
        for cut in range(1, len(parts)) if self.is_open else ():
            if self.path[-cut:] == parts[:cut]:
                yield (*self.path, ".".join(parts[cut:]))  # a kind may have dots in it


def _keys(model: type[BaseModel], parent_path: KeyPath = ()) -> Iterator[_RuleKey]:
    for name, info in model.model_fields.items():
        path = (*parent_path, info.alias or name)
        yield _RuleKey(path, is_open=get_origin(info.annotation) is dict)
        for inner_model in _models(info.annotation):
            yield from _keys(inner_model, path)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """The parts that a value may be; those in a list have no keys."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _models(member)


def _value(key: str, text: str) -> object:
    """The value as YAML has it."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {key}: its value cannot be read as YAML") from error


def _put(document: Any, path: KeyPath, value: object) -> object:  # noqa: ANN401  # YAML has no narrower type
    """The document with a value at a place, which is made if it is not there."""
    if not path:
        return value
    mapping = document if isinstance(document, dict) else {}
    return {**mapping, path[0]: _put(mapping.get(path[0]), path[1:], value)}
