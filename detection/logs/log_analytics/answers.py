"""Parses the responses of the query API into tables, or raises the reason why there is no complete answer.

`pydantic_core.from_json` reads half a million rows in half the memory of the standard library, because it
keeps equal short texts once (benchmarks/wire.py has the figures).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from detection.base.errors import ConfigurationError, Incomplete, ServiceError
from detection.base.surrogates import replace_lone_surrogates
from detection.logs.log_analytics.splitting import QueryUnfinished, UnreadableAnswer

ROW_LIMIT = 500_000  # of an answer; the API cuts off the rest
BATCH_ROWS = 10_000  # rows that are in memory in two forms at a time
NEXT_RUN = "the next run tries again"

# The sign-in authority of each cloud by its query endpoint, which is the audience of its tokens too.
AUTHORITIES = {
    "https://api.loganalytics.io": "login.microsoftonline.com",
    "https://api.loganalytics.azure.com": "login.microsoftonline.com",
    "https://api.loganalytics.us": "login.microsoftonline.us",
    "https://api.loganalytics.azure.cn": "login.chinacloudapi.cn",
}
NO_WORKSPACE = "check the Workspace ID, a GUID on the workspace's overview page"
_NO_ACCESS = (
    "give this identity the role Log Analytics Data Reader on every workspace; "
    "a new role takes up to an hour to work"
)
_WRONG_CLOUD = (
    "the endpoint does not accept this identity's token; "
    "use the endpoint of the identity's own cloud: " + ", ".join(AUTHORITIES)
)
# The API queries a table of the Basic or Auxiliary plan only through /search. Users report this code for it
# (grafana/grafana#89818, Azure/azure-sdk-for-go#24606); Microsoft's pages do not name it.
WRONG_PLAN = "UnsupportedApiQueryValidationError"
UNKNOWN_NAME = "SEM0100"
_HINTS = {
    UNKNOWN_NAME: "check that the rule's data connector is installed and has delivered its first rows",
    WRONG_PLAN: "put the rule's tables on the Analytics plan",
    "SyntaxError": "correct the rule's query, changes.kql or signals.kql",
    "PathNotFoundError": NO_WORKSPACE,
    "InsufficientAccessError": _NO_ACCESS,
    "InvalidAuthenticationToken": _WRONG_CLOUD,
    "InvalidAuthenticationTokenAudience": _WRONG_CLOUD,
}
_HINTS_BY_STATUS = {401: _WRONG_CLOUD, 403: _NO_ACCESS, 404: NO_WORKSPACE}


class QueryRefused(ConfigurationError):
    """The API refuses a query. `codes` are the API's codes from the outside in, `hint` is a remedy or ""."""

    def __init__(self, message: str, codes: Sequence[str], hint: str) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message, self.codes, self.hint = message, codes, hint


class QueryResponse(NamedTuple):
    """A response: its status and its body."""

    status: int
    content: bytes


@dataclass(slots=True)
class AnswerTable:
    """Rows as the API sends them, each removed when it is taken. `types` are the KQL types of columns."""

    columns: Sequence[str]
    rows: list[list[Any]]
    types: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def take_columns(self, column_names: Iterable[str]) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Takes the rows out of the table in batches, each as a list of the named columns.

        Raises ConfigurationError if a column is missing.
        """
        positions = {name: position for position, name in enumerate(self.columns)}
        missing = [name for name in column_names if name not in positions]
        if missing:
            raise ConfigurationError(
                f"the rule's query returns no column {', '.join(missing)}, which rule.yaml declares"
            )
        getters = [itemgetter(positions[name]) for name in column_names]
        self.rows.reverse()  # taking rows off the end of a list is cheap
        while self.rows:
            rows = self.rows[: -BATCH_ROWS - 1 : -1]
            del self.rows[-BATCH_ROWS:]
            yield [tuple(map(get, rows)) for get in getters]

    def take_rows(self, column_names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """As take_columns, row by row."""
        return chain.from_iterable(zip(*columns, strict=True) for columns in self.take_columns(column_names))


class _ApiError(BaseModel):
    """An error of the API. An inner error is more precise than its outer error."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    code: str | None = None
    message: str | None = None
    innererror: "_ApiError | None" = None
    details: list["_ApiError"] | None = None

    def nested_errors(self) -> Iterator["_ApiError"]:
        """This error and its inner errors, from the outside in."""
        yield self
        inner_error = self.innererror or next(iter(self.details or ()), None)
        if inner_error:
            yield from inner_error.nested_errors()

    def codes(self) -> list[str]:
        """The codes from the outside in."""
        return [error.code for error in self.nested_errors() if error.code]

    def __str__(self) -> str:
        """The codes and the innermost message, on one line of at most 400 characters."""
        messages = [" ".join(error.message.split()) for error in self.nested_errors() if error.message]
        return f"{' > '.join(self.codes())}: {messages[-1] if messages else ''}"[:400]


class _ResponseColumn(BaseModel):
    name: str
    type: str = ""


class _ResponseTable(BaseModel):
    name: str
    columns: list[_ResponseColumn]
    rows: list[Any]  # not validated: that would copy them


class _ResponseBody(BaseModel):
    tables: list[_ResponseTable] = []
    error: _ApiError | None = None


def parse_table(name: str, response: QueryResponse, limit: int = ROW_LIMIT) -> AnswerTable:
    """The complete answer to the query `name`, which must have fewer rows than the limit.

    Raises QueryUnfinished if a smaller query may be answered (UnreadableAnswer if the answer begins as JSON
    and is not), Incomplete if the answer is not complete either way, ServiceError if the service failed,
    ConfigurationError if the query is at fault.
    """
    status, body, is_torn = response.status, _ResponseBody(), False
    try:
        body = _ResponseBody.model_validate(_parse_json(response.content))
    except ValidationError:
        pass  # not a response body
    except ValueError:
        is_torn = response.content.lstrip().startswith(b"{")
    if status not in (200, 204):
        error = body.error or _ApiError()
        message = f"{name}: the query API answered {status} {error}".rstrip(": ")
        if status == 504:
            raise QueryUnfinished(ServiceError(f"{message}; {NEXT_RUN}"))
        if status in (408, 429) or not 400 <= status < 500:
            raise ServiceError(f"{message}; {NEXT_RUN}")
        hints = [_HINTS[code] for code in error.codes() if code in _HINTS]
        raise QueryRefused(message, error.codes(), hints[-1] if hints else _HINTS_BY_STATUS.get(status, ""))
    if is_torn:
        raise UnreadableAnswer(Incomplete(f"{name}: the query API's answer is not valid JSON; {NEXT_RUN}"))
    if body.error:
        raise QueryUnfinished(Incomplete(f"{name}: the query API answered in part: {body.error}; {NEXT_RUN}"))
    table = next((candidate for candidate in body.tables if candidate.name == "PrimaryResult"), None)
    if table is None:
        raise Incomplete(f"{name}: the query API answered {status} without a table of rows; {NEXT_RUN}")
    if set(map(type, table.rows)) - {list} or set(map(len, table.rows)) - {len(table.columns)}:
        raise QueryUnfinished(Incomplete(f"{name}: the query API's rows break off; {NEXT_RUN}"))
    if len(table.rows) >= limit:
        raise QueryUnfinished(
            Incomplete(f"{name}: the query API cuts answers at {limit:,} rows, and this answer has as many")
        )
    types = {column.name: column.type for column in table.columns}
    return AnswerTable([column.name for column in table.columns], table.rows, types)


def _parse_json(content: bytes) -> object:
    """The values of JSON text. U+FFFD replaces what no text can hold: lone surrogates and invalid UTF-8.

    Raises ValueError if the text is not JSON apart from that.
    """
    try:
        return from_json(content)
    except ValueError:
        repaired = replace_lone_surrogates(content)
    try:
        return from_json(repaired)
    except ValueError:
        return from_json(repaired.decode(errors="replace"))
