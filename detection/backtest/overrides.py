"""`--set key=value`: overrides a setting of the environment or a key of rule.yaml.

The end of a key is enough if no other key has it: `within`, `groupingConfiguration.lookbackDuration`.
Settings and rule.yaml are validated after the overrides, as usual.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from detection.base.errors import ConfigurationError
from detection.base.yaml_documents import parse_document
from detection.rules.model import RuleFile

# The settings that affect alerts. The other settings name services and destinations.
SETTINGS = ("ALLOWED_LATENESS", "MAX_CATCH_UP", "STORM_ALERTS", "FLOOD_SIGNALS")

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overrides:
    """Overridden settings by name, and overridden values of rule.yaml by full key."""

    settings: Mapping[str, str] = field(default_factory=dict)
    rule: Mapping[KeyPath, object] = field(default_factory=dict)

    def apply(self, document: object) -> object:
        """The document of rule.yaml with the overrides."""
        for path, value in self.rule.items():
            document = _put(document, path, value)
        return document


def overrides(texts: Sequence[str]) -> Overrides:
    """The overrides of `key=value` texts. The last of several texts for a key counts.

    Raises ConfigurationError if a text has no key or no `=`, a key is unknown or ambiguous, or a value is not
    YAML.
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
            try:
                rule[_full_path(key)] = parse_document(value)
            except ValueError as error:
                raise ConfigurationError(
                    f"--set {key}: {value!r} is not YAML ({error}); write it as in rule.yaml"
                ) from error
    return Overrides(settings, rule)


def _full_path(key: str) -> KeyPath:
    """The full key of rule.yaml for its end. Raises ConfigurationError if no key or several keys have it."""
    parts = tuple(key.split("."))
    paths = list(
        dict.fromkeys(path for rule_key in _keys(RuleFile) for path in rule_key.paths_ending_in(parts))
    )
    if parts in paths or len(paths) == 1:
        return parts if parts in paths else paths[0]
    if paths:
        raise ConfigurationError(f"--set {key} is ambiguous; use {' or '.join(map('.'.join, paths))}")
    names = [".".join(rule_key.path) for rule_key in _keys(RuleFile)]
    suggestions = get_close_matches(
        key, [*SETTINGS, *names, *(name.rpartition(".")[2] for name in names)], n=3
    )
    hint = (
        f"did you mean {' or '.join(suggestions)}?"
        if suggestions
        else f"use {', '.join(SETTINGS)} or a key in docs/rules.md"
    )
    raise ConfigurationError(f"--set {key}: there is no such setting or key of rule.yaml; {hint}")


@dataclass(frozen=True, slots=True)
class _RuleKey:
    """A key of rule.yaml. Below an open key there are keys that the author of the rule chooses."""

    path: KeyPath
    is_open: bool

    def paths_ending_in(self, parts: KeyPath) -> Iterator[KeyPath]:
        """The full keys that end in these parts: at most one, or more below an open key."""
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
    """The models that a value may have. Values in a list have no keys."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _models(member)


def _put(document: Any, path: KeyPath, value: object) -> object:  # noqa: ANN401  # YAML has no narrower type
    """The document with a value at a path. Mappings on the path are created if they are missing."""
    if not path:
        return value
    mapping = document if isinstance(document, dict) else {}
    return {**mapping, path[0]: _put(mapping.get(path[0]), path[1:], value)}
