"""Templates of messages: JSON with Jinja expressions, which the native message fills in.

A template knows values, filters, `if`, `for` and `set`. It calls nothing, computes nothing, and reads no
attribute of a Python object. Its time and memory are bounded without a clock: a rendering processes WORK
characters and elements, a text has TEXT characters, and the message MESSAGE_BYTES bytes. Every value is
escaped for a JSON text.
"""

import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, Literal

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.filters import FILTERS, do_round
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic_core import from_json, to_json

from detection.base.errors import ConfigurationError
from detection.messages.text import escape_name
from detection.rules.loading import CONTENT

TEMPLATES = CONTENT / "templates"
SAMPLES = TEMPLATES / "samples.json"  # native messages, by which a template is checked
TEMPLATE_BYTES = 2**15
MESSAGE_BYTES = 2**16
WORK = 2_000_000  # characters and elements that filters, tests, comparisons and loops of a rendering process
TEXT = 2**18
DIGITS = 15  # behind the decimal point: 10 to the power of a large number takes hours
NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.Slice, nodes.Filter, nodes.Keyword, nodes.Test, nodes.If, nodes.For, nodes.Assign, nodes.CondExpr,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Dict, nodes.Pair, nodes.List,
    nodes.Tuple,
)  # fmt: skip
SAFE_FILTERS = (
    "d", "default", "first", "items", "last", "length", "list", "lower", "map", "reject", "rejectattr",
    "select", "selectattr", "sort", "trim", "truncate", "unique", "upper",
)  # fmt: skip


class TemplateFailure(Exception):
    """A template cannot be rendered. The text says why and contains no value from the logs."""


class JsonText(str):
    """A text that is JSON already."""

    __slots__ = ()


def render(file_name: str, message: bytes) -> bytes:
    """A template, filled in with a native message, as JSON bytes in ASCII. Raises TemplateFailure."""
    try:
        return _rendered(_source(file_name), from_json(message))
    except TemplateFailure:
        raise
    except OSError:
        raise TemplateFailure("the file cannot be read; put it into detection/content/templates") from None
    except TemplateSyntaxError as error:
        raise TemplateFailure(f"line {error.lineno}: {error.message}") from None
    except TemplateError as error:
        raise TemplateFailure(str(error.message)) from None
    except Exception as error:  # noqa: BLE001  # a filter on a value of another type; its text may have the value
        raise TemplateFailure(f"{type(error).__name__}: a filter does not fit its value") from None


def require_template(file_name: str, destination: str) -> None:
    """Raises ConfigurationError unless the template renders every sample."""
    try:
        for sample in from_json(SAMPLES.read_bytes()):
            render(file_name, to_json(sample))
    except TemplateFailure as error:
        raise ConfigurationError(
            f"settings: the format of destination {destination}, template:{file_name}: {error}"
        ) from None


def _source(file_name: str) -> str:
    content = (TEMPLATES / file_name).read_bytes()
    if len(content) > TEMPLATE_BYTES:
        raise TemplateFailure(f"the file has more than {TEMPLATE_BYTES:,} bytes; shorten it")
    return content.decode()


def _rendered(source: str, message: Mapping[str, object]) -> bytes:
    environment = _Environment()
    tree = environment.parse(source)
    _restrict(tree)
    template = environment.from_string(tree)
    chunks: list[str] = []
    size = 0
    for chunk in template.generate(message):
        size += len(chunk)
        if size > MESSAGE_BYTES:
            raise TemplateFailure(f"the message has more than {MESSAGE_BYTES:,} bytes; use truncate")
        chunks.append(chunk)
    try:
        rendered = from_json("".join(chunks))
    except ValueError as error:  # its text has a position and no value
        raise TemplateFailure(f"the message is not JSON: {error}") from None
    return to_json(rendered, ensure_ascii=True)


def _restrict(tree: nodes.Template) -> None:
    """Raises TemplateFailure for a part that templates do not have, and has the work of the others counted.

    Filters and tests count for themselves. A round of a loop counts as many elements as the loop has nodes.
    """
    for node in tree.find_all(nodes.Node):
        is_literal = isinstance(node, nodes.Literal) and getattr(node, "ctx", "load") == "load"
        if (
            not isinstance(node, NODES)
            or (isinstance(node, nodes.For) and node.recursive)
            # A literal of variables in a literal of variables would grow without bounds.
            or (is_literal and next(node.find_all(nodes.Name), None))
        ):
            raise TemplateFailure(f"line {node.lineno}: {type(node).__name__} is not available in a template")
    for node in list(tree.find_all(nodes.Node)):
        if isinstance(node, nodes.For):
            cost = sum(1 for _ in node.find_all(nodes.Node))
            node.iter = _filter(node.iter, "rounds", nodes.Const(cost, lineno=node.lineno))
        elif isinstance(node, nodes.Compare | nodes.Operand):
            node.expr = _filter(node.expr, "counted")
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            # Jinja does not leave slices to the environment.
            node.node = _filter(node.node, "counted")


def _filter(node: nodes.Node, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    """The environment of one rendering, which counts its work."""

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_escape, trim_blocks=True, lstrip_blocks=True)
        self._work = 0
        own: dict[str, Callable[..., object]] = {
            "counted": lambda value: value, "e": _html, "escape": _html, "join": _join, "named": escape_name,
            "number": "{:,}".format, "replace": _replace, "round": _round, "tojson": _to_json,
        }  # fmt: skip
        filters: dict[str, Callable[..., object]] = {name: FILTERS[name] for name in SAFE_FILTERS} | own
        self.filters = {name: self._bounded(function) for name, function in filters.items()}
        self.filters["rounds"] = self._rounds
        tests: dict[str, Any] = self.tests  # Jinja gives them no types
        self.tests = {name: self._bounded(function) for name, function in tests.items()}
        self.globals = {}

    def getattr(self, obj: object, attribute: str) -> object:
        """A member of an object, such as `data.title`, or of `loop`."""
        if isinstance(obj, LoopContext):
            return super().getattr(obj, attribute)
        if isinstance(obj, Mapping) and attribute in obj:
            return self._member(obj[attribute])
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: object, argument: object) -> object:
        """A member of an object or an element of a list; the name may come from the logs."""
        self._count(1)
        try:
            return self._member(obj[argument])  # type: ignore[index]  # or TypeError
        except (LookupError, TypeError):
            return self.undefined("the message has no such member")

    def _member(self, value: object) -> object:
        """A value, of which a text counts: the filters sort and map read the members of many elements."""
        self._count(len(value) if isinstance(value, str) else 1)
        return value

    def _rounds(self, iterable: Iterable[object], cost: int) -> list[object]:
        """The elements of a loop, whose rounds cost so much work each."""
        rounds = list(iterable)
        self._count(len(rounds) * cost)
        return rounds

    def _bounded(self, function: Callable[..., object]) -> Callable[..., object]:
        """A filter or a test that counts its arguments and its result. A text has TEXT characters."""

        @wraps(function)
        def bounded(*arguments: object, **options: object) -> object:
            self._count_values((*arguments, *options.values()))
            result = function(*arguments, **options)
            if isinstance(result, Iterator):
                result = list(result)
            if isinstance(result, str):
                _require_length(len(result))
            self._count_values((result,))
            return result

        return bounded

    def _count_values(self, values: Iterable[object]) -> None:
        """Counts values with all that is in them. An object counts as often as a list or an object has it."""
        for value in values:
            match value:
                case str():
                    self._count(1 + len(value))
                case dict():
                    self._count(1)
                    self._count_values(value)
                    self._count_values(value.values())
                case list() | tuple():
                    self._count(1)
                    self._count_values(value)
                case _:
                    self._count(1)

    def _count(self, work: int) -> None:
        self._work += work
        if self._work > WORK:
            raise TemplateFailure(
                f"it processes more than {WORK:,} characters and elements; use fewer loops and filters"
            )


def _escape(value: object) -> str:
    """A value as a part of a JSON text: escaped, and without quotes around it. Null is empty."""
    if isinstance(value, JsonText | Undefined):
        return str(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return to_json(value).decode()[1:-1]
    if isinstance(value, bool | int | float):
        return to_json(value).decode()
    raise TemplateFailure("a list or an object is no text; write it with the filter tojson")


def _require_length(length: int) -> None:
    if length > TEXT:
        raise TemplateFailure(f"a text has more than {TEXT:,} characters; use truncate")


def _html(value: object) -> str:
    """Escaped for HTML, which some receivers read in texts."""
    return html.escape(str(value))


def _join(values: Iterable[object], separator: str = "") -> str:
    texts = list(map(str, values))
    _require_length(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


def _replace(value: object, former: str, new: str) -> str:
    text = str(value)
    _require_length(len(text) + text.count(former) * len(new))
    return text.replace(former, new)


def _round(value: float, digits: int = 0, method: Literal["common", "ceil", "floor"] = "common") -> float:
    if not -DIGITS <= digits <= DIGITS:
        raise TemplateFailure(f"round has more than {DIGITS} digits")
    return do_round(value, digits, method)


def _to_json(value: object) -> JsonText:
    return JsonText(to_json(value).decode())
