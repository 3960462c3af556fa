"""What the query API sends over the wire becomes a table, or the reason why there is none.

Half a million rows are read by `pydantic_core.from_json`: it keeps each of the short texts that stand in many
rows once, and so takes half the memory of the standard library (benchmarks/wire.py has the figures).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json

from detection.base.errors import ConfigurationError, Incomplete, ServiceError
from detection.base.gc_paused import gc_paused
from detection.logs.log_analytics.splitting import QueryUnfinished

ROW_LIMIT = 500_000  # of one answer; the API cuts off what is more
BATCH_ROWS = 10_000  # rows that are in two forms at once
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
    "the endpoint does not take this identity's token; it must be the endpoint of the identity's own cloud: "
    + ", ".join(AUTHORITIES)
)
# A table of the Basic or Auxiliary plan answers the API's /search alone. The code is as users report it
# (grafana/grafana#89818, Azure/azure-sdk-for-go#24606); Microsoft's pages do not name it.
WRONG_PLAN = "UnsupportedApiQueryValidationError"
UNKNOWN_NAME = "SEM0100"
_HINTS = {
    UNKNOWN_NAME: "is the rule's data connector installed in the workspace, and has it delivered its first rows?",
    WRONG_PLAN: "put the rule's tables on the Analytics plan",
    "SyntaxError": "mend the rule's query, changes.kql or signals.kql",
    "PathNotFoundError": NO_WORKSPACE,
    "InsufficientAccessError": _NO_ACCESS,
    "InvalidAuthenticationToken": _WRONG_CLOUD,
    "InvalidAuthenticationTokenAudience": _WRONG_CLOUD,
}
_HINTS_BY_STATUS = {401: _WRONG_CLOUD, 403: _NO_ACCESS, 404: NO_WORKSPACE}


class QueryRefused(ConfigurationError):
    """The API refuses a question: what it `said`, its `codes` from the outside in, and a `hint` where there is one."""

    def __init__(self, message: str, codes: Sequence[str], hint: str) -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message, self.codes, self.hint = message, codes, hint


class QueryResponse(NamedTuple):
    """A response: its status and its body."""

    status: int
    content: bytes


@dataclass(slots=True)
class AnswerTable:
    """Rows as the API sends them; each is taken out once."""

    columns: Sequence[str]
    rows: list[list[Any]]

    def __len__(self) -> int:
        return len(self.rows)

    def take_columns(self, column_names: Iterable[str]) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The wanted columns of some rows at a time, column by column; what was taken is gone from the table.

        Raises ConfigurationError when a column is not there.
        """
        positions = {name: position for position, name in enumerate(self.columns)}
        missing = [name for name in column_names if name not in positions]
        if missing:
            msg = f"the rule's query returns no column {', '.join(missing)}, which rule.yaml declares"
            raise ConfigurationError(msg)
        getters = [itemgetter(positions[name]) for name in column_names]
        self.rows.reverse()  # the end of a list is what can be taken off it
        while self.rows:
            rows = self.rows[: -BATCH_ROWS - 1 : -1]
            del self.rows[-BATCH_ROWS:]
            yield [tuple(map(get, rows)) for get in getters]

    def take_rows(self, column_names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
        """The same, row by row."""
        return chain.from_iterable(zip(*columns, strict=True) for columns in self.take_columns(column_names))


@gc_paused()
def parse_table(name: str, response: QueryResponse, limit: int = ROW_LIMIT) -> AnswerTable:
    """The whole answer to the query `name`, which has fewer rows than the limit.

    Raises Unfinished when a smaller question may be answered, Incomplete when there is no whole answer
    either way, ServiceError when the service failed, ConfigurationError when the question is at fault.
    """
    if response.status not in (200, 204):
        raise _failure(name, response)
    body = _parse_body(response.content)
    if body.error:
        raise QueryUnfinished(Incomplete(f"{name}: the query API answered in part: {body.error}"))
    table = next((candidate for candidate in body.tables if candidate.name == "PrimaryResult"), None)
    if table is None:
        msg = f"{name}: the query API answered {response.status} without a table of rows; {NEXT_RUN}"
        raise Incomplete(msg)
    if set(map(type, table.rows)) - {list} or set(map(len, table.rows)) - {len(table.columns)}:
        msg = f"{name}: the query API's rows break off; {NEXT_RUN}"
        raise QueryUnfinished(Incomplete(msg))
    if len(table.rows) >= limit:
        msg = f"{name}: the query API cuts answers at {limit:,} rows, and this one has as many"
        raise QueryUnfinished(Incomplete(msg))
    return AnswerTable([column.name for column in table.columns], table.rows)


class _ApiError(BaseModel):
    """An error of the API; the inner ones say more precisely what the outer one says."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    code: str | None = None
    message: str | None = None
    innererror: "_ApiError | None" = None
    details: list["_ApiError"] | None = None

    def nested_errors(self) -> Iterator["_ApiError"]:
        """From the outside in."""
        yield self
        inner_error = self.innererror or next(iter(self.details or ()), None)
        if inner_error:
            yield from inner_error.nested_errors()

    def codes(self) -> list[str]:
        """The codes from the outside in."""
        return [error.code for error in self.nested_errors() if error.code]

    def __str__(self) -> str:
        """The codes and the innermost message, on one line of bearable length."""
        messages = [" ".join(error.message.split()) for error in self.nested_errors() if error.message]
        return f"{' > '.join(self.codes())}: {messages[-1] if messages else ''}"[:400]


class _ResponseColumn(BaseModel):
    name: str


class _ResponseTable(BaseModel):
    name: str
    columns: list[_ResponseColumn]
    rows: list[Any]  # not looked into: that would copy them


class _ResponseBody(BaseModel):
    tables: list[_ResponseTable] = []
    error: _ApiError | None = None


def _parse_body(content: bytes) -> _ResponseBody:
    """The body of an answer; of what is none, one without anything in it."""
    try:
        return _ResponseBody.model_validate(from_json(content))
    except ValueError:
        return _ResponseBody()


def _failure(name: str, response: QueryResponse) -> Exception:
    status = response.status
    error = _parse_body(response.content).error or _ApiError()
    message = f"{name}: the query API answered {status} {error}".rstrip(": ")
    if status == 504:
        return QueryUnfinished(ServiceError(f"{message}; {NEXT_RUN}"))
    if status in (408, 429) or not 400 <= status < 500:
        return ServiceError(f"{message}; {NEXT_RUN}")
    hints = [_HINTS[code] for code in error.codes() if code in _HINTS]
    hint = hints[-1] if hints else _HINTS_BY_STATUS.get(status, "")
    return QueryRefused(message, error.codes(), hint)
