"""The table service: gone and back, slow, failing, answering into the void, and answering in pages."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azurite import Azurite, connection_string
from tests.chaos.scenarios import FAULTY, Enter, enter, in_lanes, long
from tests.chaos.stage import Stage, staged
from tests.chaos.table_proxy import Fault, at_write, failing, lost, proxying, short_pages, slow
from tests.query_api import QueryApi
from tests.receiver import receiving

__all__ = ["enter"]
REQUESTS = 27  # of the run of that hour
EVER = range(1, 10**6)


def _play(stage: Stage, fault: Fault, *, fails: bool, patient: bool = False) -> None:
    """One run with the fault; it must fail, or must not."""
    stage.runs(0, 1)
    stage.proxy.reset()
    stage.proxy.fault = fault
    assert stage.run(FAULTY, patient=patient) == fails
    stage.runs(FAULTY + 1)


@pytest.mark.parametrize(
    "status, code",
    [
        (503, "ServerBusy"),
        *(
            pytest.param(*error, marks=long)
            for error in ((500, "InternalError"), (500, "OperationTimedOut"), (504, "GatewayTimeout"))
        ),
    ],
)
def test_failing_for_a_moment(stage: Stage, enter: Enter, status: int, code: str) -> None:
    """The client's own retries get over it."""
    _play(stage, failing(range(4, 7), status, code), fails=False)
    enter("table: three errors", stage.judge())


@pytest.mark.parametrize("first", in_lanes(range(1, REQUESTS), always=(4,)))
def test_failing_from_then_on(stage: Stage, enter: Enter, first: int) -> None:
    _play(stage, failing(range(first, 10**6), 503, "ServerBusy"), fails=True)
    enter("table: busy from a request on", stage.judge())


@pytest.mark.parametrize("number", in_lanes(range(1, REQUESTS), always=(5,), slow=(9,)))
def test_one_answer_is_lost(stage: Stage, enter: Enter, number: int) -> None:
    """The client repeats the request, which now says 409, 412 or 404."""
    _play(stage, lost(range(number, number + 1)), fails=False)
    enter("table: an answer is lost after success", stage.judge())


@pytest.mark.parametrize("first", in_lanes(range(1, REQUESTS), always=(), slow=(6,)))
def test_every_answer_is_lost_from_then_on(stage: Stage, enter: Enter, first: int) -> None:
    _play(stage, lost(range(first, 10**6)), fails=True)
    enter("table: all answers lost after success", stage.judge())


@long
def test_every_second_answer_is_lost(stage: Stage, enter: Enter) -> None:
    _play(stage, lost(range(2, 10**6, 2)), fails=False)
    enter("table: every second answer lost", stage.judge())


@long
def test_slow(stage: Stage, enter: Enter) -> None:
    _play(stage, slow(0.5), fails=False)
    enter("table: half a second an answer", stage.judge())


def test_pages_of_two_rows_and_empty_ones_between(stage: Stage, enter: Enter) -> None:
    stage.runs(0, 1)
    for hour in range(FAULTY, FAULTY + 3):
        stage.proxy.fault = short_pages()
        assert stage.run(hour) == 0
    stage.runs(FAULTY + 3)
    enter("table: empty pages with a continuation", stage.judge())


# ------------------------------------------------------------------------------------------------------- gone and back


@pytest.fixture
def azurite(tmp_path: Path) -> Iterator[Azurite]:
    """An Azurite of this test's own, which keeps its tables in files."""
    with Azurite(tmp_path / "azurite") as one:
        yield one


@pytest.fixture
def stage_of_its_own(azurite: Azurite, api: QueryApi, tmp_path: Path) -> Iterator[Stage]:
    direct = connection_string(azurite.port)
    with (
        proxying(azurite.port) as proxy,
        receiving() as receiver,
        staged(proxy, api, receiver, tmp_path, direct) as stage,
    ):
        yield stage


@pytest.mark.parametrize("after", [pytest.param(False, marks=long), True], ids=["before", "after"])
@pytest.mark.parametrize("write", in_lanes(range(1, 14, 2), always=(), slow=(3,)))
def test_stopped_in_the_middle_of_a_run_and_back_for_the_next(
    stage_of_its_own: Stage, azurite: Azurite, enter: Enter, write: int, after: bool
) -> None:
    stage = stage_of_its_own
    stage.runs(0, 1)
    stage.proxy.reset()
    stage.proxy.fault = at_write(write, azurite.stop, after=after)
    assert stage.run(FAULTY) == 1
    azurite.start()
    stage.runs(FAULTY + 1)
    enter("table: Azurite stopped, back an hour later", stage.judge())


@long
@pytest.mark.parametrize("write", range(1, 14, 4))
def test_restarted_in_the_middle_of_a_run(
    stage_of_its_own: Stage, azurite: Azurite, enter: Enter, write: int
) -> None:
    """It is back before the client has given up."""
    stage = stage_of_its_own

    def restart() -> None:
        azurite.stop()
        threading.Timer(1, azurite.start).start()

    _play(stage, at_write(write, restart, after=True), fails=False, patient=True)
    enter("table: Azurite restarted within a run", stage.judge())
