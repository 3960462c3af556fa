"""The query API: every error, half an answer, no answer. The run fails whole, and the next one makes up for it."""

import json
import time
from collections.abc import Callable

import pytest

from tests.chaos.scenarios import FAULT_HOUR, EnterFigures, chaos_only, enter, marked_parameters
from tests.chaos.stage import Stage
from tests.support.query_api import DROPPED, ApiRequest, Reply, bad_argument, error, partial, reply

__all__ = ["enter"]
RequestFilter = Callable[[ApiRequest], bool]

HTML = {"Content-Type": "text/html"}
# Facts of the query API's documentation (azure-monitor-docs, logs/api/errors.md and timeouts.md).
# Each with what the line of the failed run must say of it.
ERRORS = {
    "400 semantic error": (
        bad_argument("SemanticError", "A semantic error occurred.", ("SEM0100", "no table")),
        "400 BadArgumentError > SemanticError",
    ),
    "400 syntax error": (bad_argument("SyntaxError", "Syntax Error"), "400 BadArgumentError > SyntaxError"),
    "401 no authorization": (error(401, "AuthenticationFailed", "Authentication failed."), "401 Auth"),
    "403 no access": (error(403, "InsufficientAccessError", "insufficient access"), "403 Insufficient"),
    "403 wrong audience": (
        error(403, "InvalidAuthenticationTokenAudience", "wrong audience"),
        "403 InvalidAuthenticationTokenAudience",
    ),
    "404 no workspace": (
        error(404, "PathNotFoundError", "The requested path does not exist"),
        "404 PathNotFoundError",
    ),
    "429 without Retry-After": (error(429, "ThrottledError", "throttled"), "429 ThrottledError"),
    "429 with Retry-After": (
        Reply(429, b"{}", {"Content-Type": "application/json", "Retry-After": "1"}),
        "answered 429",
    ),
    "500": (error(500, "InternalServerError", "something went wrong"), "500 InternalServerError"),
    "503": (error(503, "ServiceUnavailable", "not now"), "503 ServiceUnavailable"),
    "504": (error(504, "GatewayTimeout", "Unable to unzip response"), "504 GatewayTimeout"),
    "502 as HTML": (Reply(502, b"<html>Bad gateway</html>", HTML), "answered 502"),
    "504 as HTML": (Reply(504, b"<html>Gateway timeout</html>", HTML), "answered 504"),
    "200 without a body": (Reply(200), "200 without a table"),
    "200 as HTML": (Reply(200, b"<html>Welcome</html>", HTML), "200 without a table"),
    # Halved like an answer with a broken row.
    "200 broken off": (
        Reply(200, b'{"tables": [{"name": "PrimaryResult", "columns": [], "ro'),
        "answer is not valid JSON",
    ),
    "200 without a table": (reply({"tables": []}), "200 without a table"),
    "204": (Reply(204), "204 without a table"),
    "connection dropped": (DROPPED, "did not answer"),
}
BUSY, BUSY_CAUSE = ERRORS["503"]
MOST_REQUESTS = 200  # of a rule, where answers are halved
MOST_BROKEN = 110  # of these, where every answer is broken
FILTERS: dict[str, RequestFilter] = {
    "all": lambda _: True,
    "changes": lambda request: _query_kind(request) == "changes",
    "signals": lambda request: _query_kind(request) == "signals",
    "health": lambda request: _query_kind(request) == "health",
}


def _query_kind(request: ApiRequest) -> str:
    if "summarize Rows" in request.query:
        return "health"
    if "summarize Identities" in request.query:
        return "coverage"
    return "signals" if "let signals =" in request.query else "changes"


def _run_with_fault(stage: Stage, cause: str, *, hasty: bool = False) -> None:
    """One run with the fault, which must fail, tell nothing and leave a record, and then those without."""
    sent_before = len(stage.receiver.requests)
    assert stage.run(FAULT_HOUR, cause=cause, hasty=hasty) == 1
    assert stage.figures.fault.requests["query API"] <= MOST_REQUESTS
    assert len(stage.receiver.requests) == sent_before
    (failure,) = stage.failures
    assert (failure.error in ("configuration", "service"), failure.last_complete is not None) == (True, True)
    assert [line["outcome"] for line in stage.lines if line["event"] == "detection.run"][-1] == "failed"
    stage.runs(FAULT_HOUR + 1)


@pytest.mark.parametrize(
    "name",
    marked_parameters(ERRORS, always=("403 no access",), slow=("200 without a body", "502 as HTML")),
)
def test_error(stage: Stage, enter: EnterFigures, name: str) -> None:
    stage.runs(0, 1)
    answer, cause = ERRORS[name]
    stage.api.fault = lambda _: answer
    _run_with_fault(stage, cause)
    assert stage.figures.fault.requests["query API"] <= MOST_BROKEN
    enter("query API: an error or no answer", stage.evaluate())


@pytest.mark.parametrize("target", marked_parameters(("signals", "changes", "health"), always=("signals",)))
def test_one_side_is_answered_and_the_other_not(stage: Stage, enter: EnterFigures, target: str) -> None:
    stage.runs(0, 1)
    stage.api.fault = lambda request: BUSY if FILTERS[target](request) else None
    _run_with_fault(stage, f"{target}: the query API answered {BUSY_CAUSE}")
    enter("query API: one side complete, the other not", stage.evaluate())


@pytest.mark.parametrize(
    "target", marked_parameters(("signals", "changes", "all"), always=(), slow=("signals",))
)
def test_partial_answer(stage: Stage, enter: EnterFigures, target: str) -> None:
    """200, with the half of the rows and an error beside them."""
    stage.runs(0, 1)

    def cut(request: ApiRequest) -> Reply | None:
        if not FILTERS[target](request):
            return None
        body = json.loads(stage.api.answer(request.query).body)
        rows = body["tables"][0]["rows"]
        body["tables"][0]["rows"] = rows[: len(rows) // 2]
        return reply(partial(body))

    stage.api.fault = cut
    _run_with_fault(stage, "PartialError")
    enter("query API: a partial answer", stage.evaluate())


@chaos_only
def test_no_answer_in_time(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)

    def hang(_request: ApiRequest) -> Reply | None:
        time.sleep(3)
        return None

    stage.api.fault = hang
    _run_with_fault(stage, "did not answer", hasty=True)
    enter("query API: no answer in time", stage.evaluate())


@chaos_only
def test_failing_for_half_a_day(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    stage.api.fault = lambda _: BUSY
    for hour in range(2, 14):
        assert stage.run(hour, cause=BUSY_CAUSE) == 1
    stage.runs(14, 15)
    enter("query API: twelve failed runs in a row", stage.evaluate())
