"""Bicep files read from Python, as far as checks need it: what they declare, with every expression worked out whose value
is known before a deployment. There is no compiler outside of Microsoft's own, so names are checked here too.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import tree_sitter
import tree_sitter_bicep

Value = Any  # a str, int, bool, None, list or dict as in JSON, an Unknown or an Either
Scope = Mapping[str, Value]

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
# The functions that the templates use; any other is taken for a slip of the pen.
FUNCTIONS = frozenset(
    [
        "cidrSubnet",
        "concat",
        "empty",
        "environment",
        "guid",
        "join",
        "last",
        "loadTextContent",
        "range",
        "replace",
        "resourceGroup",
        "split",
        "string",
        "subscription",
        "subscriptionResourceId",
        "tenant",
        "toLower",
        "trim",
        "union",
        "uniqueString",
        "readEnvironmentVariable",
    ]
)


class BicepError(Exception):
    """A file is not Bicep; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An expression whose value only the deployment knows."""

    text: str


@dataclass(frozen=True, slots=True)
class Either:
    """A choice that the deployment makes: one value or the other."""

    options: tuple[Value, Value]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter; `decorators` by name, with their argument (None if they take none)."""

    name: str
    type: str
    default: Value  # None: it has none
    required: bool
    decorators: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource, whole: one of a loop over a known list for each of its items."""

    symbol: str
    type: str
    version: str
    existing: bool
    condition: str  # on which it is deployed; empty if always
    body: dict[str, Value]
    where: str


@dataclass(frozen=True, slots=True)
class Module:
    """A module and what is handed to it."""

    symbol: str
    path: str
    params: dict[str, Value]
    where: str


@dataclass
class Template:
    """What a file declares, the names in it that nothing declares, and those that nothing uses."""

    path: Path
    parameters: dict[str, Parameter] = field(default_factory=dict)
    variables: dict[str, Value] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)
    undeclared: list[str] = field(default_factory=list)
    unused: set[str] = field(default_factory=set)  # parameters and variables


@cache
def load(path: Path) -> Template:
    """The template in a file. Raises BicepError."""
    return parse(path.read_text(encoding="utf-8"), path)


def parse(text: str, path: Path) -> Template:
    """The template in a text; `path` is where it says it is. Raises BicepError."""
    root = _PARSER.parse(text.encode()).root_node
    if root.has_error:
        raise BicepError(f"{path.name}:{_first_error(root)}: is not Bicep")
    reader = _Reader(Template(path))
    reader.read(root)
    return reader.template


def parameters_file(path: Path) -> tuple[str, dict[str, Value]]:
    """The template that a .bicepparam file is for, and its values. Raises BicepError.

    The grammar knows its `using`, but not a `param` with a value; it is a variable in all but name.
    """
    text = re.sub(r"^param ", "var ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    using = re.search(r"^using '(.+)'$", text, flags=re.MULTILINE)
    if using is None:
        raise BicepError(f"{path.name}: does not say using")
    return using[1], parse(text, path).variables


class _Reader:
    """Walks the tree of one file."""

    def __init__(self, template: Template) -> None:
        self.template = template

    def read(self, root: tree_sitter.Node) -> None:
        decorators: dict[str, Value] = {}
        for node in root.named_children:
            match node.type:
                case "decorators":
                    decorators = dict(map(self._decorator, node.named_children))
                    continue
                case "parameter_declaration":
                    self._parameter(node, decorators)
                case "variable_declaration":
                    name, value = node.named_children
                    self.template.variables[_text(name)] = self._value(value, {})
                case "resource_declaration":
                    self._resource(node, None)
                case "module_declaration":
                    self._module(node)
                case "output_declaration":
                    self.template.outputs[_text(node.named_children[0])] = self._value(
                        node.named_children[-1], {}
                    )
                case _:
                    pass
            decorators = {}
        self._check_names(root)

    def _decorator(self, node: tree_sitter.Node) -> tuple[str, Value]:
        call = node.named_children[0]
        arguments = _child(call, "arguments").named_children
        return _text(_child(call, "function")), self._value(arguments[0], {}) if arguments else None

    def _parameter(self, node: tree_sitter.Node, decorators: dict[str, Value]) -> None:
        name, kind, *default = node.named_children
        value = self._value(default[0], {}) if default else None
        self.template.parameters[_text(name)] = Parameter(
            _text(name), _text(kind), value, not default, decorators
        )

    def _resource(self, node: tree_sitter.Node, parent: Resource | None) -> None:
        symbol, kind = node.named_children[:2]
        name, _, version = _unquoted(kind).partition("@")
        existing = any(child.type == "existing" for child in node.children)
        for body, scope in self._bodies(node.named_children[-1]):
            resource = Resource(
                _text(symbol),
                f"{parent.type}/{name}" if parent else name,
                parent.version if parent else version,
                existing,
                _condition(node.named_children[-1]),
                self._object(body, scope),
                self._where(node),
            )
            self.template.resources.append(resource)
            for child in body.named_children:
                if child.named_children and child.named_children[0].type == "resource_declaration":
                    self._resource(child.named_children[0], resource)

    def _module(self, node: tree_sitter.Node) -> None:
        symbol, path = node.named_children[:2]
        for body, scope in self._bodies(node.named_children[-1]):
            params = self._object(body, scope).get("params", {})
            self.template.modules.append(Module(_text(symbol), _unquoted(path), params, self._where(node)))

    def _bodies(self, node: tree_sitter.Node) -> Iterator[tuple[tree_sitter.Node, Scope]]:
        """The object that is declared, once for every item of a known list that is looped over."""
        match node.type:
            case "if_statement":
                yield from self._bodies(node.named_children[-1])
            case "for_statement":
                body = _child(node, "body")
                for scope in self._items(node):
                    yield from ((inner, {**scope, **more}) for inner, more in self._bodies(body))
            case _:
                yield node, {}

    def _items(self, node: tree_sitter.Node) -> list[dict[str, Value]]:
        """The loop's variables for each turn; one turn with unknown ones if the list is not known."""
        names = [_text(one) for one in _loop_variables(node)]
        items = self._value(node.named_children[1], {})
        if not isinstance(items, list):
            return [{name: Unknown(name) for name in names}]
        return [dict(zip(names, (item, n), strict=False)) for n, item in enumerate(items)]

    def _object(self, node: tree_sitter.Node, scope: Scope) -> dict[str, Value]:
        pairs = [
            child.named_children for child in node.named_children if len(child.named_children) == 2
        ]  # a nested resource is one child
        return {
            _unquoted(key) if key.type == "string" else _text(key): self._value(value, scope)
            for key, value in pairs
        }

    def _value(self, node: tree_sitter.Node, scope: Scope) -> Value:  # noqa: PLR0911, PLR0912  # one line for each kind of node
        match node.type:
            case "string":
                return Unknown(_text(node)) if _has(node, "interpolation") else _unquoted(node)
            case "number":
                return int(_text(node))
            case "boolean":
                return _text(node) == "true"
            case "null":
                return None
            case "array":
                return [self._value(child, scope) for child in node.named_children if child.type != "comment"]
            case "object":
                return self._object(node, scope)
            case "for_statement":
                return [self._value(_child(node, "body"), {**scope, **turn}) for turn in self._items(node)]
            case "ternary_expression":
                options = (_child(node, "consequence"), _child(node, "alternative"))
                return Either((self._value(options[0], scope), self._value(options[1], scope)))
            case "identifier":
                return {**self.template.variables, **scope}.get(_text(node), Unknown(_text(node)))
            case "member_expression":
                owner = self._value(_child(node, "object"), scope)
                name = _text(_child(node, "property"))
                return owner[name] if isinstance(owner, dict) and name in owner else Unknown(_text(node))
            case "call_expression":
                return self._call(node, scope)
            case _:
                return Unknown(_text(node))

    def _call(self, node: tree_sitter.Node, scope: Scope) -> Value:
        arguments = [self._value(one, scope) for one in _child(node, "arguments").named_children]
        name = _text(_child(node, "function"))
        if name == "loadTextContent":
            return (self.template.path.parent / arguments[0]).read_text(encoding="utf-8")
        if name == "union" and all(isinstance(one, dict) for one in arguments):
            return {key: value for one in arguments for key, value in one.items()}
        return Unknown(_text(node))

    def _where(self, node: tree_sitter.Node) -> str:
        return f"{self.template.path.name}:{node.start_point.row + 1}"

    def _check_names(self, root: tree_sitter.Node) -> None:
        known, used = set(_declared(root)), set()
        for node in _all(root):
            if node.type != "identifier" or _in_decorator(node):
                continue
            called = (
                node.parent is not None and node.parent.type == "call_expression"
            )  # its arguments lie deeper
            if called or _is_use(node):
                used.add(_text(node))
                if _text(node) not in (FUNCTIONS if called else known):
                    self.template.undeclared.append(f"{self._where(node)}: {_text(node)}")
        self.template.unused = {*self.template.parameters, *self.template.variables} - used


def _condition(node: tree_sitter.Node) -> str:
    return _text(node.named_children[0])[1:-1] if node.type == "if_statement" else ""


def _declared(root: tree_sitter.Node) -> Iterator[str]:
    """Every name that a file gives to something."""
    for node in _all(root):
        if node.type.endswith("_declaration"):
            yield _text(node.named_children[0])
        elif node.type == "for_statement":
            yield from map(_text, _loop_variables(node))


def _is_use(node: tree_sitter.Node) -> bool:
    """Whether an identifier stands for a value: not a key, not a name that is being given, not a nested resource's."""
    parent = node.parent
    assert parent is not None
    first = parent.named_children[0] == node
    match parent.type:
        case "object_property":
            return not first
        case "for_statement":
            return node not in _loop_variables(parent)
        case "type" | "nullable_type":
            return False
        case "resource_expression":
            return first
        case kind:
            return not (first and kind.endswith("_declaration"))


def _loop_variables(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    first = node.named_children[0]
    return list(first.named_children) if first.type == "for_loop_parameters" else [first]


def _in_decorator(node: tree_sitter.Node | None) -> bool:
    while node is not None and node.type != "decorator":
        node = node.parent
    return node is not None


def _all(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    yield node
    for child in node.named_children:
        yield from _all(child)


def _first_error(root: tree_sitter.Node) -> int:
    return min(
        node.start_point.row + 1 for node in _all(root) if node.is_error or node.is_missing or node.has_error
    )


def _has(node: tree_sitter.Node, kind: str) -> bool:
    return any(child.type == kind for child in node.named_children)


def _child(node: tree_sitter.Node, name: str) -> tree_sitter.Node:
    child = node.child_by_field_name(name)
    assert child is not None, f"{node.type} has no {name}"
    return child


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode()


def _unquoted(node: tree_sitter.Node) -> str:
    """The content of a string; what is interpolated in it stays as it is written."""
    text = _text(node)
    if text.startswith("'''"):
        return text[3:-3]
    return re.sub(
        r"\\(['\\$nrt])",
        lambda found: str(ast.literal_eval(f"'{found[0]}'")) if found[1] in "nrt'\\" else "$",
        text[1:-1],
    )
