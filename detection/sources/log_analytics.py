"""Logs in Log Analytics workspaces, asked through the query API. The source of the cloud.

A run asks three queries at once: changes, signals, health. An answer counts only if it is whole: the API
says 200 to a partial one (`error` beside the rows), and past its limits it cuts rows off.

The request goes through LogsQueryClient's `send_request`, which keeps the SDK's tokens and retries;
its `query_workspace` takes ten times as long over large answers.

Several workspaces are asked as one: the first in the path, the others as `workspaces` in the body. Every
bare table name then stands for the union of that table in all of them (azure-monitor-docs,
logs/api/cross-workspace-queries.md). Functions saved in a workspace are not looked up that way; the
parsers need not be, for they are written into the queries.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, DecodeError
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest, HttpResponse
from azure.monitor.query import LogsQueryClient
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from detection.errors import ConfigurationError, DataError, DetectionError, Incomplete, ServiceError
from detection.events import Events, Health, Logs, Rejected, Row, to_events
from detection.kql import HEALTH_COLUMNS, bounds, queries, with_bounds
from detection.rule import KqlType, Rule, Side
from detection.timestamps import FIRST_YEAR, LAST_YEAR
from detection.window import Window, Windows

ROW_LIMIT = 500_000  # of one answer; the API cuts off what is more

# A run has ten minutes, and needs the last of them to commit and to tell. A query may take WAIT seconds,
# the API's own default, and may begin again, RETRIES times, within its first BUDGET seconds. The three
# run side by side: reading ends after BUDGET + CONNECT_TIMEOUT + READ_TIMEOUT, 450 s, at the latest.
WAIT = 180
READ_TIMEOUT = WAIT + 20
CONNECT_TIMEOUT = 10
BUDGET = 240
RETRIES = 2
LONGEST_PAUSE = 60  # a Retry-After may ask for an hour; by then the next run has come

# The sign-in authority of each cloud by its query endpoint, which is the audience of its tokens too.
AUTHORITIES = {
    "https://api.loganalytics.io": "login.microsoftonline.com",
    "https://api.loganalytics.azure.com": "login.microsoftonline.com",
    "https://api.loganalytics.us": "login.microsoftonline.us",
    "https://api.loganalytics.azure.cn": "login.chinacloudapi.cn",
}
EMULATOR = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")

_NO_WORKSPACE = "check the Workspace ID, a GUID on the workspace's overview page"
_NO_ACCESS = (
    "give this identity the role Log Analytics Data Reader on every workspace; "
    "a new role takes up to an hour to work"
)
_WRONG_CLOUD = (
    "the endpoint does not take this identity's token; it must be the endpoint of the identity's own cloud: "
    + ", ".join(AUTHORITIES)
)
_HINTS = {
    "SEM0100": "is the rule's data connector installed in the workspace, and has it delivered its first rows?",
    "SyntaxError": "mend the rule's query, changes.kql or signals.kql",
    "PathNotFoundError": _NO_WORKSPACE,
    "InsufficientAccessError": _NO_ACCESS,
    "InvalidAuthenticationToken": _WRONG_CLOUD,
    "InvalidAuthenticationTokenAudience": _WRONG_CLOUD,
}
_HINTS_BY_STATUS = {401: _WRONG_CLOUD, 403: _NO_ACCESS, 404: _NO_WORKSPACE}
_NEXT_RUN = "the next run tries again"


class LogAnalytics:
    """One or more Log Analytics workspaces, read as one."""

    def __init__(
        self, client: LogsQueryClient, workspaces: Sequence[str], *, tls: bool = True, inline: bool = True
    ) -> None:
        """Without `tls` the client may send its token over plain http: to an emulator. Without `inline` the
        workspace's own parser functions are used.

        Raises ConfigurationError when there is no workspace, or one is not named by its Workspace ID.
        """
        if not workspaces:
            msg = "no workspace is given"
            raise ConfigurationError(msg)
        self._client = client
        self._inline = inline
        self._first, *self._others = dict.fromkeys(map(_workspace_id, workspaces))
        # A query changes nothing, so its POST may be repeated like a GET.
        self._options: Mapping[str, Any] = {"retry_on_methods": ["POST"], "enforce_https": tls}

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides and their health."""
        values = bounds(windows)
        asked = {
            name: with_bounds(query, values) for name, query in queries(rule, inline=self._inline).items()
        }
        with ThreadPoolExecutor(len(asked)) as together:
            answers = dict(zip(asked, together.map(self._ask, asked, asked.values()), strict=True))
        changes, no_changes = _side(rule, "changes", answers["changes"], windows.changes)
        signals, no_signals = _side(rule, "signals", answers["signals"], windows.signals)
        health = _health(answers["health"])
        return Logs(changes, signals, {**no_changes, **no_signals, **_unnamed(health)}, health)

    def close(self) -> None:
        """Closes the client's connections."""
        self._client.close()

    def _ask(self, name: str, query: str) -> "_Table":
        body: dict[str, object] = {"query": query, "timespan": None}  # the query bounds itself
        if self._others:
            body["workspaces"] = self._others
        request = HttpRequest(
            "POST", f"workspaces/{self._first}/query", json=body, headers={"Prefer": f"wait={WAIT}"}
        )
        return _answer(name, self._send(name, request))

    def _send(self, name: str, request: HttpRequest) -> HttpResponse:
        """The API's response, whatever its status. Messages name the type of an error: its text may hold URLs."""
        try:
            return self._client.send_request(request, **self._options)
        except (DecodeError, UnicodeDecodeError) as error:
            msg = f"{name}: the answer of the query API breaks off or is no JSON; {_NEXT_RUN}"
            raise Incomplete(msg) from error
        except ClientAuthenticationError as error:
            raise _no_token(error) from error
        except (AzureError, OSError) as error:
            cause = getattr(error, "inner_exception", None) or error
            msg = f"{name}: the query API did not answer ({type(cause).__name__}); {_NEXT_RUN}"
            raise ServiceError(msg) from error


def open_log_analytics(
    workspaces: Sequence[str], endpoint: str, client_id: str | None, *, inline: bool = True
) -> LogAnalytics:
    """The workspaces behind a query endpoint, read as the managed identity `client_id`.

    Without one, as whoever is signed in here: the function's own identity, or Azure CLI at the keyboard.
    An http endpoint on this machine is an emulator and gets a made-up token.
    Raises ConfigurationError when the endpoint is of no known cloud, or a workspace is no Workspace ID.
    """
    origin = endpoint.strip().lower().rstrip("/").removesuffix("/v1")
    emulator = EMULATOR.fullmatch(origin) is not None
    if not emulator and origin not in AUTHORITIES:
        msg = f"the query endpoint must be one of {', '.join(AUTHORITIES)}"
        raise ConfigurationError(msg)
    client = LogsQueryClient(
        _EmulatorToken() if emulator else _credential(AUTHORITIES[origin], client_id),
        endpoint=origin,
        audience=origin,
        connection_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retry_policy=_Retries(retry_total=RETRIES, timeout=BUDGET),
    )
    return LogAnalytics(client, workspaces, tls=not emulator, inline=inline)


# -------------------------------------------------------------------------------------------------------------- asking


class _Retries(RetryPolicy[Any, Any]):
    """The SDK's retries, without sleeping for as long as the service likes."""

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float | None:
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, LONGEST_PAUSE)


class _EmulatorToken:
    """A token for an emulator, which asks for one and does not look at it."""

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        return AccessToken("emulator", 2**33)


def _credential(authority: str, client_id: str | None) -> TokenCredential:
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415  # slow to load

    if client_id:
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(authority=authority)


def _workspace_id(text: str) -> str:
    """The Workspace ID as it stands in the path. What is none is not shown: it may be a secret gone astray."""
    try:
        return str(UUID(text.strip()))
    except ValueError:
        msg = f"a workspace must be named by its Workspace ID: {_NO_WORKSPACE}"
        raise ConfigurationError(msg) from None


def _no_token(error: ClientAuthenticationError) -> DetectionError:
    """Signing in failed: refused, or (also where no credential is to be found) not possible now."""
    status = error.status_code
    if status is None or status == 429 or status >= 500:
        return ServiceError(
            f"no token for the query API could be had now ({type(error).__name__}): {_NEXT_RUN}; "
            "in Azure the app needs a managed identity, at the keyboard use `az login`"
        )
    return ConfigurationError(
        f"signing in for the query API was refused ({status}): check the identity's client id and its cloud"
    )


# ------------------------------------------------------------------------------------------------------------- answers


class _Error(BaseModel):
    """An error of the API; the inner ones say more precisely what the outer one says."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    code: str | None = None
    message: str | None = None
    innererror: "_Error | None" = None
    details: list["_Error"] | None = None

    def chain(self) -> Iterator["_Error"]:
        """From the outside in."""
        yield self
        inner = self.innererror or next(iter(self.details or ()), None)
        if inner:
            yield from inner.chain()

    def codes(self) -> list[str]:
        """The codes from the outside in."""
        return [one.code for one in self.chain() if one.code]

    def __str__(self) -> str:
        """The codes and the innermost message, on one line of bearable length."""
        messages = [" ".join(one.message.split()) for one in self.chain() if one.message]
        return f"{' > '.join(self.codes())}: {messages[-1] if messages else ''}"[:400]


class _Column(BaseModel):
    name: str


class _Table(BaseModel):
    """Rows as the API sends them."""

    name: str
    columns: list[_Column]
    rows: list[list[Any]]

    def select(self, wanted: Iterable[str]) -> list[Iterator[Any]]:
        """The wanted columns, whatever their order in the answer.

        Raises ConfigurationError when one is not there.
        """
        places = {column.name: place for place, column in enumerate(self.columns)}
        missing = [name for name in wanted if name not in places]
        if missing:
            msg = f"the rule's query returns no column {', '.join(missing)}, which rule.yaml declares"
            raise ConfigurationError(msg)
        return [map(itemgetter(places[name]), self.rows) for name in wanted]


class _Body(BaseModel):
    tables: list[_Table] = []
    error: _Error | None = None


def _answer(name: str, response: HttpResponse) -> _Table:
    """The whole answer to one query, or an error."""
    if response.status_code not in (200, 204):
        raise _failure(name, response)
    try:
        body = _Body.model_validate_json(response.content)
    except ValidationError:
        body = _Body()
    if body.error:
        msg = f"{name}: the query API answered in part: {body.error}"
        raise Incomplete(msg)
    table = next((one for one in body.tables if one.name == "PrimaryResult"), None)
    if table is None or any(len(row) != len(table.columns) for row in table.rows):
        msg = f"{name}: the query API answered {response.status_code} without a table of rows; {_NEXT_RUN}"
        raise Incomplete(msg)
    if len(table.rows) >= ROW_LIMIT:
        msg = f"{name}: the query API cuts answers at {ROW_LIMIT:,} rows, and this one has as many"
        raise Incomplete(msg)
    return table


def _failure(name: str, response: HttpResponse) -> DetectionError:
    status = response.status_code
    try:
        error = _Body.model_validate_json(response.content).error or _Error()
    except ValidationError:
        error = _Error()
    said = f"{name}: the query API answered {status} {error}".rstrip(": ")
    if status in (408, 429) or not 400 <= status < 500:
        return ServiceError(f"{said}; {_NEXT_RUN}")
    hints = [_HINTS[code] for code in error.codes() if code in _HINTS]
    hint = hints[-1] if hints else _HINTS_BY_STATUS.get(status, "")
    return ConfigurationError(f"{said}; {hint}" if hint else said)


# ---------------------------------------------------------------------------------------------------------------- rows


class _Sound(NamedTuple):
    """Rows that say when they happened, and by reason those that do not."""

    rows: list[Row]
    rejected: dict[str, Rejected]


def _side(rule: Rule, name: str, table: _Table, window: Window) -> tuple[Events, dict[str, Rejected]]:
    side = rule.sequence.sides[name]
    sound = _sound(_rows(table, side.columns), side)
    events = to_events(sound.rows, side, window, once=rule.sequence.duplicates == "once")
    return events, {f"{name}, {why}": one for why, one in sound.rejected.items()}


def _rows(table: _Table, columns: Mapping[str, KqlType]) -> Iterator[Row]:
    """The declared columns of the answer's rows, each cell as `Row` has it."""
    read = zip(columns.items(), table.select(columns), strict=True)
    return zip(*(_cells(name, kind, sent) for (name, kind), sent in read), strict=True)


def _cells(name: str, kind: KqlType, sent: Iterator[Any]) -> Iterator[Any]:
    if kind == "string":
        return map(partial(_string, name), sent)
    return map(_dynamic, sent) if kind == "dynamic" else sent


def _string(name: str, value: object) -> str:
    """Text; Kusto's strings have no null."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    msg = f"{name}: the answer has a value that is no text where rule.yaml declares a string"
    raise DataError(msg)


def _dynamic(value: object) -> str | None:
    """JSON text, which the API sends; a value sent as such becomes it, and text that is none a JSON string."""
    if isinstance(value, str) and value:
        try:
            return None if from_json(value, allow_inf_nan=False) is None else value
        except ValueError:
            pass
    elif value in (None, ""):
        return None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _sound(rows: Iterable[Row], side: Side) -> _Sound:
    times = {column: side.at(column) for column in (side.time, side.stamped)}
    ident = side.at(side.id)
    sound = _Sound([], {})
    for row in rows:
        problem = ""
        for column, place in times.items():
            problem = problem or _problem(column, row[place])
        if not problem:
            sound.rows.append(row)
            continue
        known = sound.rejected.get(problem, Rejected(0, row[ident] or "a row without an id"))
        sound.rejected[problem] = Rejected(known.count + 1, known.first)
    return sound


def _problem(column: str, time: object) -> str:
    """What is wrong with a time, in the words that exported logs have for it; nothing is the usual case."""
    if time in (None, ""):
        return f"{column}: no time"
    try:
        moment = datetime.fromisoformat(str(time))  # of seven digits the last is dropped
    except ValueError:
        return f"{column}: not a time"
    if moment.tzinfo is None:
        return f"{column}: time without a zone"
    return "" if FIRST_YEAR <= moment.year < LAST_YEAR else f"{column}: absurd time"


def _health(table: _Table) -> dict[str, Health]:
    return {
        side: Health(rows, named, datetime.fromisoformat(newest) if newest else None)
        for side, rows, named, newest in zip(*table.select(HEALTH_COLUMNS), strict=True)
    }


def _unnamed(health: Mapping[str, Health]) -> dict[str, Rejected]:
    """The rows in the windows that name no actor."""
    return {
        f"{side}, no actor": Rejected(one.rows - one.named, "in the workspace")
        for side, one in health.items()
        if one.named < one.rows
    }
