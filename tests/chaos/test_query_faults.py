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
ERRORS = {
    "400 semantic error": bad_argument(
        "SemanticError", "A semantic error occurred.", ("SEM0100", "no table")
    ),
    "400 syntax error": bad_argument("SyntaxError", "Syntax Error"),
    "401 no authorization": error(401, "AuthenticationFailed", "Authentication failed."),
    "403 no access": error(403, "InsufficientAccessError", "insufficient access"),
    "403 wrong audience": error(403, "InvalidAuthenticationTokenAudience", "wrong audience"),
    "404 no workspace": error(404, "PathNotFoundError", "The requested path does not exist"),
    "429 without Retry-After": error(429, "ThrottledError", "throttled"),
    "429 with Retry-After": Reply(429, b"{}", {"Content-Type": "application/json", "Retry-After": "1"}),
    "500": error(500, "InternalServerError", "something went wrong"),
    "503": error(503, "ServiceUnavailable", "not now"),
    "504": error(504, "GatewayTimeout", "Unable to unzip response"),
    "502 as HTML": Reply(502, b"<html>Bad gateway</html>", HTML),
    "504 as HTML": Reply(504, b"<html>Gateway timeout</html>", HTML),
    "200 without a body": Reply(200),
    "200 as HTML": Reply(200, b"<html>Welcome</html>", HTML),
    "200 broken off": Reply(200, b'{"tables": [{"name": "PrimaryResult", "columns": [], "ro'),
    "200 without a table": reply({"tables": []}),
    "204": Reply(204),
    "connection dropped": DROPPED,
}
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


def _run_with_fault(stage: Stage, *, hasty: bool = False) -> None:
    """One run with the fault, which must fail, tell nothing and leave a record, and then those without."""
    sent_before = len(stage.receiver.requests)
    assert stage.run(FAULT_HOUR, hasty=hasty) == 1
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
    stage.api.fault = lambda _: ERRORS[name]
    _run_with_fault(stage)
    enter("query API: an error or no answer", stage.evaluate())


@pytest.mark.parametrize("target", marked_parameters(("signals", "changes", "health"), always=("signals",)))
def test_one_side_is_answered_and_the_other_not(stage: Stage, enter: EnterFigures, target: str) -> None:
    stage.runs(0, 1)
    stage.api.fault = lambda request: ERRORS["503"] if FILTERS[target](request) else None
    _run_with_fault(stage)
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
    _run_with_fault(stage)
    enter("query API: a partial answer", stage.evaluate())


@chaos_only
def test_no_answer_in_time(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)

    def hang(_request: ApiRequest) -> Reply | None:
        time.sleep(3)
        return None

    stage.api.fault = hang
    _run_with_fault(stage, hasty=True)
    enter("query API: no answer in time", stage.evaluate())


@chaos_only
def test_failing_for_half_a_day(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    stage.api.fault = lambda _: ERRORS["503"]
    for hour in range(2, 14):
        assert stage.run(hour) == 1
    stage.runs(14, 15)
    enter("query API: twelve failed runs in a row", stage.evaluate())
