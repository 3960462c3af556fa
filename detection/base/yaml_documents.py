"""YAML with bounds on its bytes, its depth, and its nodes with every alias expanded.

Ten lists of ten aliases each are half a kilobyte of text and ten billion nodes.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

from detection.base.errors import ConfigurationError

MAX_BYTES = 2**20
MAX_DEPTH = 50
MAX_NODES = 100_000

# libyaml is several times as fast; PyYAML's wheels include it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_document(path: Path) -> object:
    """The document in a YAML file, in UTF-8. Raises ConfigurationError that names the file."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigurationError(f"{path}: must not be larger than {MAX_BYTES:,} bytes")
        return parse_document(content.decode())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: cannot be read as YAML: {error}") from error


def parse_document(text: str) -> object:
    """The document that a text of YAML holds. Raises ValueError that says where the text is wrong."""
    try:
        _require_bounds(text)
        document: object = yaml.load(text, _LOADER)  # noqa: S506  # a safe loader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except (LookupError, AttributeError, TypeError) as error:  # PyYAML's for `!!bool x` and `!!timestamp x`
        raise ValueError(f"a value does not fit its tag ({type(error).__name__})") from error
    return document


@dataclass(slots=True)
class _Size:
    """Nodes and levels of a node, with every alias in it expanded."""

    nodes: int = 1
    depth: int = 1
    anchor: str | None = None


def _require_bounds(text: str) -> None:
    """Counts before anything is built. Raises ValueError that names the line."""
    open_nodes: list[_Size] = []
    sizes_by_anchor: dict[str, _Size] = {}
    for event in yaml.parse(text, _LOADER):
        location = f"line {event.start_mark.line + 1}" if event.start_mark else "the end"
        if isinstance(event, yaml.CollectionEndEvent):
            size = open_nodes.pop()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes_by_anchor:
                raise ValueError(
                    f"{location}: *{event.anchor} has no anchor before it, or is inside of its own"
                )
            size = sizes_by_anchor[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            size = _Size(anchor=event.anchor)
        else:
            continue
        if len(open_nodes) + size.depth > MAX_DEPTH:
            raise ValueError(f"{location}: more than {MAX_DEPTH} levels")
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append(size)
            continue
        if size.anchor:
            sizes_by_anchor[size.anchor] = size
        if open_nodes:
            parent = open_nodes[-1]
            parent.nodes += size.nodes
            parent.depth = max(parent.depth, size.depth + 1)
            if parent.nodes > MAX_NODES:
                raise ValueError(f"{location}: more than {MAX_NODES:,} nodes, aliases expanded")
