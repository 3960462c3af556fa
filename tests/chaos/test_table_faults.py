"""The table service: gone and back, slow, failing, answering into the void, and answering in pages."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from detection.store.azure_table import open_table
from detection.store.layout import head_row
from detection.store.table import Delete, Put
from tests.chaos.scenarios import FAULT_HOUR, EnterFigures, chaos_only, enter, marked_parameters
from tests.chaos.stage import RULE, Stage, staged
from tests.chaos.table_proxy import (
    Fault,
    accepting,
    at_write,
    denying,
    failing,
    hanging,
    in_turn,
    losing_answers,
    losing_first_answers,
    misshaping,
    paging_without_end,
    proxying,
    refusing_writes,
    short_pages,
    slowing,
    throttling,
    throttling_calls,
)
from tests.support.azurite import Azurite, connection_string
from tests.support.builders import account
from tests.support.identity_endpoint import IdentityEndpoint
from tests.support.query_api import QueryApi
from tests.support.receiver import receiving

__all__ = ["enter"]
REQUESTS = 24  # at that hour; the last 13 are those of the delivery
STORM_CALLS = 11  # of a run in a storm, before it moves the watermark
WRITES = 11  # at that hour: three of its run, and for each of four messages a claim and a settlement
OUTAGE = 72  # hours
# For a run whose every call to the table takes 15 s. Its first 10 s are for queries: each may take 150 s.
RUN_TIME = timedelta(seconds=160)
NO_ANSWER = "failed (Service"  # the type of the SDK's error, for a request or a response, follows
EVER = range(1, 10**6)
RULES = ("openai-config-to-abuse", "openai-config-to-abuse-sentinel", "copilot-config-to-abuse")
# What the service says when it refuses an account key, and what the line of the failed run says then.
REFUSALS = {
    "AuthenticationFailed": "the account key is wrong",
    "AuthorizationFailure": "does not allow this network",
    "KeyBasedAuthenticationNotPermitted": "allows no account keys",
    "AccountIsDisabled": "AccountIsDisabled",
    "": "a proxy or firewall",
}


def _run_with_fault(stage: Stage, fault: Fault, *, fails: bool, cause: str = "") -> None:
    """One run with the fault; it must fail, and then a line names the cause, or it must not."""
    stage.runs(0, 1)
    stage.proxy.reset()
    stage.proxy.fault = fault
    assert stage.run(FAULT_HOUR, cause=cause) == fails
    stage.runs(FAULT_HOUR + 1)


@pytest.mark.parametrize(
    "status, code",
    [
        (503, "ServerBusy"),
        *(
            pytest.param(*error, marks=chaos_only)
            for error in ((500, "InternalError"), (500, "OperationTimedOut"), (504, "GatewayTimeout"))
        ),
    ],
)
def test_failing_for_a_moment(stage: Stage, enter: EnterFigures, status: int, code: str) -> None:
    """The client's own retries get over it."""
    _run_with_fault(stage, failing(range(4, 7), status, code), fails=False)
    enter("table: three errors", stage.evaluate())


@chaos_only
def test_pause_of_ten_minutes(stage: Stage, enter: EnterFigures) -> None:
    _run_with_fault(stage, throttling(4, 600), fails=False)
    durations = [line["seconds"] for line in stage.lines if line["event"] == "detection.run"]
    assert max(durations) < 30
    enter("table: a Retry-After of ten minutes", stage.evaluate())


@chaos_only
def test_run_ends_by_its_time_with_a_line_and_a_record(stage: Stage, enter: EnterFigures) -> None:
    stage.settings["STORM_ALERTS"] = "1"
    stage.runs(0, 1)
    stage.proxy.reset()
    stage.proxy.fault = throttling_calls(refusals=3, seconds=600)
    assert stage.run(FAULT_HOUR, cause="did not end by", run_time=RUN_TIME) == 1
    # The record of the failure follows and, if there is time, the first call of the delivery.
    assert 4 * (STORM_CALLS + 1) <= stage.proxy.requests <= 4 * (STORM_CALLS + 2)
    assert [failure.error for failure in stage.failures] == ["service"]
    stage.runs(FAULT_HOUR + 1)
    enter("table: a Retry-After at every call, until the run's time is over", stage.evaluate_storm())


@chaos_only
def test_table_that_never_answers_is_asked_once(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    stage.proxy.reset()
    stage.proxy.fault = hanging(2)
    stage.settings["RULES"] = ",".join(RULES)
    assert stage.run(FAULT_HOUR, cause=NO_ANSWER, hasty=True) == 1
    assert stage.proxy.requests == 3  # a call and its two repetitions
    failed = [(line["rule"], line["error"]) for line in stage.lines if line.get("outcome") == "failed"]
    assert sorted(failed) == [(rule, "service") for rule in sorted(RULES)]
    del stage.settings["RULES"]
    stage.runs(FAULT_HOUR + 1)
    enter("table: no answer", stage.evaluate())


@pytest.mark.parametrize("first_request", marked_parameters(range(1, REQUESTS + 1), always=(4,)))
def test_failing_from_then_on(stage: Stage, enter: EnterFigures, first_request: int) -> None:
    """A line names the cause also if the run is complete and only its messages cannot be sent."""
    fault = failing(range(first_request, 10**6), 503, "ServerBusy")
    _run_with_fault(stage, fault, fails=True, cause="503 ServerBusy")
    enter("table: busy from a request on", stage.evaluate())


@pytest.mark.parametrize("number", marked_parameters(range(1, REQUESTS + 1), always=(5,), slow=(9,)))
def test_one_answer_is_lost(stage: Stage, enter: EnterFigures, number: int) -> None:
    """The client repeats the request, which now says 409, 412 or 404."""
    _run_with_fault(stage, losing_answers(range(number, number + 1)), fails=False)
    enter("table: an answer is lost after success", stage.evaluate())


@pytest.mark.parametrize("first_request", marked_parameters(range(1, REQUESTS + 1), always=(), slow=(6,)))
def test_every_answer_is_lost_from_then_on(stage: Stage, enter: EnterFigures, first_request: int) -> None:
    _run_with_fault(stage, losing_answers(range(first_request, 10**6)), fails=True, cause=NO_ANSWER)
    enter("table: all answers lost after success", stage.evaluate())


@chaos_only
def test_every_first_answer_is_lost(stage: Stage, enter: EnterFigures) -> None:
    _run_with_fault(stage, losing_first_answers(), fails=False)
    enter("table: every answer lost at the first attempt", stage.evaluate())


@chaos_only
def test_slow(stage: Stage, enter: EnterFigures) -> None:
    _run_with_fault(stage, slowing(0.5), fails=False)
    enter("table: half a second an answer", stage.evaluate())


def test_pages_of_two_rows_and_empty_ones_between(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    for hour in range(FAULT_HOUR, FAULT_HOUR + 3):
        stage.proxy.fault = short_pages()
        assert stage.run(hour) == 0
    stage.runs(FAULT_HOUR + 3)
    enter("table: empty pages with a continuation", stage.evaluate())


@pytest.mark.parametrize("first_request", marked_parameters((1, 3), always=(3,)))
def test_empty_pages_without_end(stage: Stage, enter: EnterFigures, first_request: int) -> None:
    _run_with_fault(stage, paging_without_end(first_request), fails=True, cause="empty pages")
    enter("table: empty pages without end", stage.evaluate())


# ------------------------------------------------------------------------------ what the table service should not say


@pytest.mark.parametrize("write", marked_parameters(range(1, WRITES + 1), always=(3,), slow=(7,)))
def test_transaction_is_accepted_and_not_executed(stage: Stage, enter: EnterFigures, write: int) -> None:
    fault = accepting(range(write, write + 1))
    _run_with_fault(stage, fault, fails=True, cause="0 results for a transaction")
    enter("table: a transaction accepted, not executed", stage.evaluate())


@pytest.mark.parametrize(
    "body", [b"{}", pytest.param(b"[]", marks=chaos_only), pytest.param(b"null", marks=chaos_only)]
)
@pytest.mark.parametrize("first_request", marked_parameters((1, 2, 4, 6), always=(4,)))
def test_body_has_the_wrong_shape(stage: Stage, enter: EnterFigures, first_request: int, body: bytes) -> None:
    _run_with_fault(stage, misshaping(range(first_request, 10**6), body), fails=True, cause="cannot read")
    enter("table: 200 with a body of the wrong shape", stage.evaluate())


@pytest.mark.parametrize("code", marked_parameters(REFUSALS, always=("AuthorizationFailure",)))
def test_access_is_refused(stage: Stage, enter: EnterFigures, code: str) -> None:
    stage.runs(0, 1)
    stage.proxy.reset()
    stage.proxy.fault = failing(EVER, 403, code)
    assert stage.run(FAULT_HOUR, cause=REFUSALS[code]) == 1
    # The watermark, again for the line of the failure, its record, and the outbox.
    assert stage.proxy.requests == 4
    assert ("key is wrong or replaced" in stage.reasons) == (code == "AuthenticationFailed")
    assert [line["error"] for line in stage.lines if line.get("outcome") == "failed"] == ["configuration"]
    stage.runs(FAULT_HOUR + 1)
    enter("table: 403, by the error code", stage.evaluate())


@pytest.mark.parametrize("number", marked_parameters(range(1, REQUESTS + 1), always=(4,)))
def test_row_is_denied_once(stage: Stage, enter: EnterFigures, number: int) -> None:
    """A read says once that there is no row. The run may fail, or read it again."""
    stage.runs(0, 1)
    stage.proxy.reset()
    stage.proxy.fault = denying(number)
    assert stage.run(FAULT_HOUR) == 0 or stage.reasons
    assert stage.proxy.requests <= 2 * REQUESTS
    stage.runs(FAULT_HOUR + 1)
    enter("table: a row denied once", stage.evaluate())


def test_every_write_conflicts_though_no_other_run_writes(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    stage.proxy.reset()
    stage.proxy.fault = refusing_writes()
    assert stage.run(FAULT_HOUR, cause="contradict each other") == 1
    assert stage.proxy.requests <= REQUESTS
    stage.runs(FAULT_HOUR + 1)
    enter("table: every write conflicts", stage.evaluate())


@pytest.mark.parametrize("requests", [1, pytest.param(10**6, marks=chaos_only)])
def test_watermark_is_denied_after_an_outage(stage: Stage, enter: EnterFigures, requests: int) -> None:
    stage.runs(0, 1)
    stage.proxy.reset()
    stage.proxy.fault = failing(range(1, requests + 1), 404, "TableNotFound")
    cause = "did not return it" if requests == 1 else "404 TableNotFound"
    assert stage.run(OUTAGE, cause=cause) == 1
    stage.runs(OUTAGE + 1, OUTAGE + 1)
    enter("table: the watermark denied after an outage", stage.evaluate(last_hour=OUTAGE + 1))


def test_head_of_a_key_is_restored_from_an_earlier_hour(stage: Stage, enter: EnterFigures) -> None:
    table, row = open_table(stage.connection, stage.table, None), head_row(account())
    stage.runs(0, 0)
    head = table.get(RULE.folder, row)
    assert head
    stage.runs(1, FAULT_HOUR)
    table.write(RULE.folder, [Put(row, head.values)])
    sent_before = len(stage.receiver.requests)
    assert stage.run(FAULT_HOUR + 1, cause=row) == 1
    assert stage.figures.fault.requests["table"] <= 2 * REQUESTS
    assert len(stage.receiver.requests) > sent_before  # of all other keys
    table.write(RULE.folder, [Delete(row)])  # as the reason says
    stage.runs(FAULT_HOUR + 2)
    # The head names its key's newest incident: without it the next alert opens another.
    enter("table: a key's head from an earlier hour", stage.evaluate(), limits={"wrong_incident": 1})


# ------------------------------------------------------------------------------------------------------- gone and back


@pytest.fixture
def azurite(tmp_path: Path) -> Iterator[Azurite]:
    """An Azurite of this test's own, which keeps its tables in files."""
    with Azurite(tmp_path / "azurite") as server:
        yield server


@pytest.fixture
def stage_of_its_own(
    azurite: Azurite, api: QueryApi, identity: IdentityEndpoint, tmp_path: Path
) -> Iterator[Stage]:
    connection = connection_string(azurite.port)
    with (
        proxying(azurite.port) as proxy,
        receiving() as receiver,
        staged(proxy, api, identity, receiver, tmp_path, connection) as stage,
    ):
        yield stage


@pytest.mark.parametrize("after", [pytest.param(False, marks=chaos_only), True], ids=["before", "after"])
@pytest.mark.parametrize("write", marked_parameters(range(1, WRITES + 1, 2), always=(), slow=(3,)))
def test_stopped_in_the_middle_of_a_run_and_back_for_the_next(
    stage_of_its_own: Stage, azurite: Azurite, enter: EnterFigures, write: int, after: bool
) -> None:
    stage = stage_of_its_own
    stage.runs(0, 1)
    stage.proxy.reset()
    stage.proxy.fault = at_write(write, azurite.stop, after=after)
    assert stage.run(FAULT_HOUR, cause=NO_ANSWER) == 1
    azurite.start()
    stage.runs(FAULT_HOUR + 1)
    enter("table: Azurite stopped, back an hour later", stage.evaluate())


@chaos_only
@pytest.mark.parametrize("write", range(1, WRITES + 1, 4))
def test_restarted_in_the_middle_of_a_run(
    stage_of_its_own: Stage, azurite: Azurite, enter: EnterFigures, write: int
) -> None:
    """It is back before the client has given up on the answer, which is lost."""
    stage = stage_of_its_own

    def restart() -> None:
        azurite.stop()
        azurite.start()

    _run_with_fault(stage, in_turn(at_write(write, restart, after=True)), fails=False)
    enter("table: Azurite restarted within a run", stage.evaluate())
