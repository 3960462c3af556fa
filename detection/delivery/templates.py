"""Templates of messages: JSON with Jinja expressions, which the native message fills in.

A template knows values, filters, `if`, `for` and `set`. It calls nothing, computes nothing, and reads no
attribute of a Python object, so a template and a log end in bounded time and memory: the loops have LOOPS
rounds together, a text has TEXT characters, and the message MESSAGE_BYTES bytes. Every value is escaped for a
JSON text.
"""

import html
from collections.abc import Callable, Iterable, Mapping
from functools import wraps

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, nodes
from jinja2.filters import FILTERS
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic_core import from_json, to_json

from detection.base.errors import ConfigurationError
from detection.rules.loading import CONTENT

TEMPLATES = CONTENT / "templates"
SAMPLES = TEMPLATES / "samples.json"  # native messages, by which a template is checked
TEMPLATE_BYTES = 2**15
MESSAGE_BYTES = 2**16
LOOPS = 10_000
TEXT = 2**18
NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.Slice, nodes.Filter, nodes.Keyword, nodes.Test, nodes.If, nodes.For, nodes.Assign, nodes.CondExpr,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Dict, nodes.Pair, nodes.List,
    nodes.Tuple,
)  # fmt: skip
SAFE_FILTERS = (
    "d", "default", "first", "items", "last", "length", "list", "lower", "map", "reject", "rejectattr",
    "round", "select", "selectattr", "sort", "trim", "truncate", "unique", "upper",
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
    """Raises TemplateFailure for a part that templates do not have, and counts the rounds of loops."""
    for node in tree.find_all(nodes.Node):
        is_literal = isinstance(node, nodes.Literal) and getattr(node, "ctx", "load") == "load"
        if (
            not isinstance(node, NODES)
            or (isinstance(node, nodes.For) and node.recursive)
            # A literal of variables in a literal of variables would grow without bounds.
            or (is_literal and next(node.find_all(nodes.Name), None))
        ):
            raise TemplateFailure(f"line {node.lineno}: {type(node).__name__} is not available in a template")
    for loop in list(tree.find_all(nodes.For)):
        loop.iter = nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    """The environment of one rendering, which counts the rounds of its loops."""

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_escape, trim_blocks=True, lstrip_blocks=True)
        self._rounds = 0
        own = {"e": _html, "escape": _html, "join": _join, "replace": _replace, "tojson": _to_json}
        filters = {name: FILTERS[name] for name in SAFE_FILTERS} | own
        self.filters = {name: _bounded(function) for name, function in filters.items()}
        self.filters["counted"] = self._counted
        self.globals = {}

    def getattr(self, obj: object, attribute: str) -> object:
        """A member of an object, such as `data.title`, or of `loop`."""
        if isinstance(obj, LoopContext):
            return super().getattr(obj, attribute)
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: object, argument: object) -> object:
        """A member of an object or an element of a list; the name may come from the logs."""
        try:
            return obj[argument]  # type: ignore[index]
        except (LookupError, TypeError):
            return self.undefined("the message has no such member")

    def _counted(self, iterable: Iterable[object]) -> list[object]:
        rounds = list(iterable)
        self._rounds += len(rounds)
        if self._rounds > LOOPS:
            raise TemplateFailure(f"the loops have more than {LOOPS:,} rounds")
        return rounds


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


def _bounded(function: Callable[..., object]) -> Callable[..., object]:
    """A filter whose result has at most TEXT characters."""

    @wraps(function)
    def bounded(*arguments: object, **options: object) -> object:
        result = function(*arguments, **options)
        if isinstance(result, str):
            _require_length(len(result))
        return result

    return bounded


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


def _to_json(value: object) -> JsonText:
    return JsonText(to_json(value).decode())
