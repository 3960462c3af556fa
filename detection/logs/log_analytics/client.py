"""The source in the cloud: Log Analytics workspaces, through the query API.

A run sends three queries at once: changes, signals, health. Only a complete answer counts. The API returns
200 for a partial answer (with `error` next to the rows), cuts off rows beyond its limits, and stops a query
that takes too long. Then the query is split into halves (reading.py).

Requests go through LogsQueryClient's `send_request`, as a stream. That uses the SDK's tokens and retries
without its parser: `query_workspace` takes ten times as long for large answers.

Several workspaces are read as one: the first is in the path, the others are in `workspaces` in the body.
Every table name then means the union of that table in all workspaces (azure-monitor-docs,
logs/api/cross-workspace-queries.md). Functions saved in a workspace are not found that way; the parsers need
not be, because the queries contain them.
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
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest
from azure.monitor.query import LogsQueryClient
from requests import ReadTimeout

from detection.base.azure_transport import MALFORMED_RESPONSE, Transport
from detection.base.errors import ConfigurationError, Incomplete, ServiceError, Unreachable
from detection.base.exchange import Exchange
from detection.base.sign_in import sign_in
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

# A query may take WAIT seconds, and may be sent again RETRIES times within the BUDGET of the reading. The
# three queries run at once: a reading ends after BUDGET + LONGEST_REQUEST at the latest.
WAIT = 120
READ_TIMEOUT = WAIT + 20
CONNECT_TIMEOUT = 10
LONGEST_REQUEST = CONNECT_TIMEOUT + READ_TIMEOUT  # seconds
RETRIES = 2
LONGEST_PAUSE = 60  # seconds; a Retry-After may ask for an hour, after which the next run has come
BLOCK = 2**20  # bytes that are read from the connection at a time

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
        limits: Limits = LIMITS,
    ) -> None:
        """Reads `workspaces` (Workspace IDs) through `client`. A reading keeps its `limits` by the `clock`.

        Without `tls` the client may send its token over plain http, to an emulator.

        Raises ConfigurationError if there is no workspace, or one has no valid Workspace ID.
        """
        if not workspaces:
            raise ConfigurationError("no workspace is given; set the Workspace ID of at least one workspace")
        try:
            workspace_ids = dict.fromkeys(str(UUID(workspace.strip())) for workspace in workspaces)
        except ValueError:  # the text is not shown: it may be a misplaced secret
            raise ConfigurationError(
                f"a workspace must be named by its Workspace ID: {NO_WORKSPACE}"
            ) from None
        self._main_workspace, *self._other_workspaces = workspace_ids
        self._client = client
        self._clock = clock
        self._tls = tls
        self._limits = replace(limits, max_signals_per_actor=max(limits.max_signals_per_actor, SLICE))
        # A query changes nothing, so the client may repeat its POST like a GET.
        self._options: Mapping[str, Any] = {"retry_on_methods": ["POST"], "enforce_https": tls}

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both sides and their health."""
        return self._reading(rule, windows, self._limits).logs()

    def read_raw(
        self, rule: Rule, windows: Windows, until: datetime, budget: float, requests: int
    ) -> RawLogs:
        """The rows of both sides that are stamped up to a moment: for reading the past."""
        limits = replace(self._limits, seconds=budget, requests=requests)
        return self._reading(rule, windows, limits, until).read_raw()

    def close(self) -> None:
        self._client.close()

    def single_workspaces(self) -> dict[str, "LogAnalytics"]:
        """Each workspace by itself, over the same client."""
        return {
            workspace: LogAnalytics(
                self._client,
                [workspace],
                self._clock,
                tls=self._tls,
                limits=self._limits,
            )
            for workspace in (self._main_workspace, *self._other_workspaces)
        }

    def run_query(self, name: str, query: str, seconds: float = BUDGET) -> AnswerTable:
        """The complete answer to a query, called `name` in errors, within a number of seconds.

        Raises QueryUnfinished if a smaller query may be answered, and else the errors of `read`.
        """
        body: dict[str, object] = {"query": query, "timespan": None}  # the query has its own bounds
        if self._other_workspaces:
            body["workspaces"] = self._other_workspaces
        request = HttpRequest(
            "POST", f"workspaces/{self._main_workspace}/query", json=body, headers={"Prefer": f"wait={WAIT}"}
        )
        try:
            with Exchange(seconds + LONGEST_REQUEST):  # the last attempt may begin after `seconds`
                response = self._response(name, request, seconds)
        except ReadTimeout as error:
            raise QueryUnfinished(
                Incomplete(f"{name}: the query API's answer did not end in time; {NEXT_RUN}")
            ) from error
        return parse_table(name, response, self._limits.rows)

    def _response(self, name: str, request: HttpRequest, seconds: float) -> QueryResponse:
        try:
            response = self._client.send_request(request, stream=True, timeout=seconds, **self._options)
        except ServiceResponseTimeoutError as error:
            raise QueryUnfinished(_no_answer(name, error)) from error
        except (AzureError, OSError, *MALFORMED_RESPONSE) as error:
            raise _no_answer(name, error) from error
        try:
            with response:
                return QueryResponse(response.status_code, response.read())
        except (AzureError, OSError, *MALFORMED_RESPONSE) as error:
            reason = f"{name}: the query API's answer breaks off ({type(error).__name__}); {NEXT_RUN}"
            raise QueryUnfinished(Incomplete(reason)) from error

    def _reading(
        self, rule: Rule, windows: Windows, limits: Limits, until: datetime | None = None
    ) -> Reading:
        return Reading(self.run_query, rule, windows, queries(rule), self._clock, limits, until)


def open_log_analytics(
    workspaces: Sequence[str],
    endpoint: str,
    client_id: str | None,
    clock: Callable[[], datetime],
    *,
    limits: Limits = LIMITS,
) -> LogAnalytics:
    """The workspaces behind a query endpoint, read as the identity that `client_id` names in base/sign_in.py.

    An http endpoint on this machine is an emulator and gets a made-up token. `clock` and `limits`
    are those of LogAnalytics. Raises ConfigurationError if the endpoint belongs to no known cloud, or a
    Workspace ID is not valid.
    """
    origin = _origin(endpoint)
    client = LogsQueryClient(
        _credential(origin, client_id),
        endpoint=origin,
        audience=origin,
        transport=Transport(CONNECT_TIMEOUT, READ_TIMEOUT, LONGEST_PAUSE, BLOCK, streams=True),
        retry_policy=_QueryRetryPolicy(retry_total=RETRIES),
    )
    return LogAnalytics(client, workspaces, clock, tls=not _is_emulator(origin), limits=limits)


def token_for(endpoint: str, client_id: str | None) -> str:
    """A token for the query API, which shows whose identity it is.

    Raises ConfigurationError if sign-in is refused, ServiceError if it is not possible now.
    """
    origin = _origin(endpoint)
    return _credential(origin, client_id).get_token(f"{origin}/.default").token


def _origin(endpoint: str) -> str:
    """The endpoint without a path. Raises ConfigurationError if it belongs to no known cloud."""
    origin = endpoint.strip().lower().rstrip("/").removesuffix("/v1")
    if not _is_emulator(origin) and origin not in AUTHORITIES:
        raise ConfigurationError(f"the query endpoint must be one of {', '.join(AUTHORITIES)}")
    return origin


def _is_emulator(origin: str) -> bool:
    return EMULATOR.fullmatch(origin) is not None


class _QueryRetryPolicy(RetryPolicy[Any, Any]):
    """The SDK's retries, except for a query that took too long (504), which is split instead."""

    def is_retry(self, settings: dict[str, Any], response: PipelineResponse[Any, Any]) -> bool:
        return response.http_response.status_code != 504 and super().is_retry(settings, response)


class _EmulatorToken:
    """A token for an emulator, which requires a token and does not check it."""

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        return AccessToken("emulator", 2**33)


def _credential(origin: str, client_id: str | None) -> TokenCredential:
    return _EmulatorToken() if _is_emulator(origin) else sign_in(client_id, AUTHORITIES[origin])


def _no_answer(name: str, error: Exception) -> ServiceError:
    """The error for a missing response. Shows only the type of the cause: its text may contain URLs."""
    cause = getattr(error, "inner_exception", None) or error
    kind = Unreachable if isinstance(error, ServiceRequestError) else ServiceError  # no connection
    return kind(f"{name}: the query API did not answer ({type(cause).__name__}); {NEXT_RUN}")
