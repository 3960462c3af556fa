"""Logs in Log Analytics workspaces, asked through the query API. The source of the cloud.

A run asks three queries at once: changes, signals, health. An answer counts only if it is whole: the API
says 200 to a partial one (`error` beside the rows), past its limits it cuts rows off, and what takes too long
it breaks off. Then the same is asked in halves (reading.py).

The request goes through LogsQueryClient's `send_request`, as a stream: that keeps the SDK's tokens and retries,
and keeps the SDK from parsing the body too. Its `query_workspace` takes ten times as long over large answers.

Several workspaces are asked as one: the first in the path, the others as `workspaces` in the body. Every
bare table name then stands for the union of that table in all of them (azure-monitor-docs,
logs/api/cross-workspace-queries.md). Functions saved in a workspace are not looked up that way; the
parsers need not be, for they are written into the queries.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest, HttpResponse
from azure.monitor.query import LogsQueryClient

from detection.base.errors import ConfigurationError, DetectionError, Incomplete, ServiceError
from detection.logs.events import Logs
from detection.logs.kql import queries
from detection.logs.log_analytics.answers import (
    AUTHORITIES,
    NEXT_RUN,
    NO_WORKSPACE,
    AnswerTable,
    QueryResponse,
    parse_table,
)
from detection.logs.log_analytics.reading import BUDGET, LIMITS, Limits, RawLogs, Reading
from detection.logs.log_analytics.spill import SLICE
from detection.logs.log_analytics.splitting import QueryUnfinished
from detection.logs.window import Windows
from detection.rules.model import Rule

# A run has ten minutes (host.json), and needs the last of them to commit and to tell. A query may take WAIT
# seconds, and may begin again, RETRIES times, within the BUDGET of the reading. The three run side by side:
# reading ends after BUDGET + CONNECT_TIMEOUT + READ_TIMEOUT, 450 s, at the latest.
WAIT = 120
READ_TIMEOUT = WAIT + 20
CONNECT_TIMEOUT = 10
RETRIES = 2
LONGEST_PAUSE = 60  # a Retry-After may ask for an hour; by then the next run has come
BLOCK = 2**20  # bytes that are taken off the wire at a time

EMULATOR = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")


class LogAnalytics:
    """One or more Log Analytics workspaces, read as one."""

    def __init__(
        self,
        client: LogsQueryClient,
        workspaces: Sequence[str],
        clock: Callable[[], datetime],
        *,
        tls: bool = True,
        inline: bool = True,
        limits: Limits = LIMITS,
    ) -> None:
        """Without `tls` the client may send its token over plain http: to an emulator. Without `inline` the
        workspace's own parser functions are used. A reading keeps its `limits` by the `clock`.

        Raises ConfigurationError when there is no workspace, or one is not named by its Workspace ID.
        """
        if not workspaces:
            msg = "no workspace is given"
            raise ConfigurationError(msg)
        self._client = client
        self._clock = clock
        self._tls = tls
        self._inline = inline
        self._limits = replace(limits, max_signals_per_actor=max(limits.max_signals_per_actor, SLICE))
        self._main_workspace, *self._other_workspaces = dict.fromkeys(map(_workspace_id, workspaces))
        # A query changes nothing, so its POST may be repeated like a GET.
        self._options: Mapping[str, Any] = {"retry_on_methods": ["POST"], "enforce_https": tls}

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides and their health."""
        return self._reading(rule, windows, self._limits).logs()

    def read_raw(
        self, rule: Rule, windows: Windows, until: datetime, budget: float, requests: int
    ) -> RawLogs:
        """The rows of both sides that are stamped up to a moment, as they are: for a look at the past."""
        limits = replace(self._limits, seconds=budget, requests=requests)
        return self._reading(rule, windows, limits, until).read_raw()

    def close(self) -> None:
        """Closes the client's connections."""
        self._client.close()

    def single_workspaces(self) -> dict[str, "LogAnalytics"]:
        """Each workspace by itself, over the same client."""
        return {
            workspace: LogAnalytics(
                self._client,
                [workspace],
                self._clock,
                tls=self._tls,
                inline=self._inline,
                limits=self._limits,
            )
            for workspace in (self._main_workspace, *self._other_workspaces)
        }

    def run_query(self, name: str, query: str, seconds: float = BUDGET) -> AnswerTable:
        """The whole answer to a question, called `name` in errors; it may be sent again for so many seconds.

        Raises Unfinished where a smaller question may be answered, and else as `read`.
        """
        body: dict[str, object] = {"query": query, "timespan": None}  # the query bounds itself
        if self._other_workspaces:
            body["workspaces"] = self._other_workspaces
        request = HttpRequest(
            "POST", f"workspaces/{self._main_workspace}/query", json=body, headers={"Prefer": f"wait={WAIT}"}
        )
        return parse_table(name, _read_response(name, self._send(name, request, seconds)), self._limits.rows)

    def _reading(
        self, rule: Rule, windows: Windows, limits: Limits, until: datetime | None = None
    ) -> Reading:
        query_texts = queries(rule, inline=self._inline)
        return Reading(self.run_query, rule, windows, query_texts, self._clock, limits, until)

    def _send(self, name: str, request: HttpRequest, seconds: float) -> HttpResponse:
        """The API's response, whatever its status, with its body still on the way."""
        try:
            return self._client.send_request(request, stream=True, timeout=seconds, **self._options)
        except ClientAuthenticationError as error:
            raise _no_token(error) from error
        except ServiceResponseTimeoutError as error:
            raise QueryUnfinished(_no_answer(name, error)) from error
        except (AzureError, OSError) as error:
            raise _no_answer(name, error) from error


def open_log_analytics(
    workspaces: Sequence[str],
    endpoint: str,
    client_id: str | None,
    clock: Callable[[], datetime],
    *,
    inline: bool = True,
    limits: Limits = LIMITS,
) -> LogAnalytics:
    """The workspaces behind a query endpoint, read as the managed identity `client_id`.

    Without one, as whoever is signed in here: the function's own identity, or Azure CLI at the keyboard.
    An http endpoint on this machine is an emulator and gets a made-up token. `clock`, `inline` and `limits` as in LogAnalytics.
    Raises ConfigurationError when the endpoint is of no known cloud, or a workspace is no Workspace ID.
    """
    origin = _origin(endpoint)
    client = LogsQueryClient(
        _credential(origin, client_id),
        endpoint=origin,
        audience=origin,
        connection_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        connection_data_block_size=BLOCK,
        retry_policy=_QueryRetryPolicy(retry_total=RETRIES),
    )
    return LogAnalytics(client, workspaces, clock, tls=not _is_emulator(origin), inline=inline, limits=limits)


def token_for(endpoint: str, client_id: str | None) -> str:
    """A token for the query API, to see whose it is.

    Raises ConfigurationError when signing in is refused, ServiceError when it is not possible now.
    """
    origin = _origin(endpoint)
    try:
        return _credential(origin, client_id).get_token(f"{origin}/.default").token
    except ClientAuthenticationError as error:
        raise _no_token(error) from error
    except (AzureError, OSError) as error:
        raise ServiceError(
            f"signing in for the query API failed ({type(error).__name__}); {NEXT_RUN}"
        ) from error


def _origin(endpoint: str) -> str:
    """The endpoint without what may stand behind it. Raises ConfigurationError when it is of no known cloud."""
    origin = endpoint.strip().lower().rstrip("/").removesuffix("/v1")
    if not _is_emulator(origin) and origin not in AUTHORITIES:
        msg = f"the query endpoint must be one of {', '.join(AUTHORITIES)}"
        raise ConfigurationError(msg)
    return origin


def _is_emulator(origin: str) -> bool:
    return EMULATOR.fullmatch(origin) is not None


# -------------------------------------------------------------------------------------------------------------- asking


class _QueryRetryPolicy(RetryPolicy[Any, Any]):
    """The SDK's retries, without sleeping for as long as the service likes. What took too long is asked in halves."""

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        return response.http_response.status_code != 504 and super().is_retry(settings, response)

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float | None:
        retry_after = super().get_retry_after(response)
        return None if retry_after is None else min(retry_after, LONGEST_PAUSE)


class _EmulatorToken:
    """A token for an emulator, which asks for one and does not look at it."""

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        return AccessToken("emulator", 2**33)


def _credential(origin: str, client_id: str | None) -> TokenCredential:
    if _is_emulator(origin):
        return _EmulatorToken()
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415  # slow to load

    if client_id:
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(authority=AUTHORITIES[origin])


def _workspace_id(text: str) -> str:
    """The Workspace ID as it stands in the path. What is none is not shown: it may be a secret gone astray."""
    try:
        return str(UUID(text.strip()))
    except ValueError:
        msg = f"a workspace must be named by its Workspace ID: {NO_WORKSPACE}"
        raise ConfigurationError(msg) from None


def _no_token(error: ClientAuthenticationError) -> DetectionError:
    """Signing in failed: refused, or (also where no credential is to be found) not possible now."""
    status = error.status_code
    if status is None or status == 429 or status >= 500:
        return ServiceError(
            f"no token for the query API could be had now ({type(error).__name__}): {NEXT_RUN}; "
            "in Azure the app needs a managed identity, at the keyboard use `az login`"
        )
    return ConfigurationError(
        f"signing in for the query API was refused ({status}): check the identity's client id and its cloud"
    )


def _read_response(name: str, response: HttpResponse) -> QueryResponse:
    """The response with its body. Raises Unfinished when it breaks off."""
    try:
        with response:
            return QueryResponse(response.status_code, response.read())
    except (AzureError, OSError) as error:
        msg = f"{name}: the answer of the query API breaks off ({type(error).__name__}); {NEXT_RUN}"
        raise QueryUnfinished(Incomplete(msg)) from error


def _no_answer(name: str, error: Exception) -> ServiceError:
    """Names the type of the error: its text may hold URLs."""
    cause = getattr(error, "inner_exception", None) or error
    return ServiceError(f"{name}: the query API did not answer ({type(cause).__name__}); {NEXT_RUN}")
