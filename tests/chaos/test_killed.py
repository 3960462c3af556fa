"""SIGKILL: at every write of a run, and at every step of a delivery."""

import pytest

from tests.chaos.scenarios import FAULTY, Enter, enter, in_lanes, long, seldom
from tests.chaos.stage import Stage
from tests.chaos.table_proxy import at_write
from tests.receiver import Handler, status

__all__ = ["enter"]
# Of the run of that hour: four commits, the watermark, and for each message a claim and a settlement.
WRITES = 13
MESSAGES = 4


def test_without_a_fault(stage: Stage, enter: Enter) -> None:
    stage.runs(0, 1)
    stage.runs(FAULTY, FAULTY)
    assert stage.proxy.writes == WRITES
    stage.runs(FAULTY + 1)
    enter("no fault", stage.judge())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", in_lanes(range(1, WRITES + 1), always=(6,), slow=(2,)))
def test_at_every_write_of_a_run_and_its_deliveries(
    stage: Stage, enter: Enter, write: int, after: bool
) -> None:
    stage.runs(0, 1)
    stage.proxy.reset()
    process = stage.process(FAULTY)
    stage.proxy.fault = at_write(write, process.kill, after=after)
    process.go()
    assert stage.ended(process) < 0
    stage.runs(FAULTY + 1)
    enter("SIGKILL at a write", stage.judge())


@pytest.mark.parametrize("message", in_lanes(range(MESSAGES), always=(1,)))
def test_while_a_message_is_sent(stage: Stage, enter: Enter, message: int) -> None:
    stage.runs(0, 1)
    process = stage.process(FAULTY)

    def kill(_handler: Handler) -> None:
        process.kill()

    stage.receiver.answers = [*[status(204)] * message, kill]
    process.go()
    assert stage.ended(process) < 0
    stage.runs(FAULTY + 1)
    figures = stage.judge()
    assert figures.repeats == 1  # it had arrived; it comes again under its id
    enter("SIGKILL while sending", figures)


@long
@pytest.mark.parametrize("first", range(1, WRITES, 3))
def test_again_and_again(stage: Stage, enter: Enter, first: int) -> None:
    """Three processes in a row die, each a write further on."""
    stage.runs(0, 1)
    for number in range(3):
        stage.proxy.reset()
        process = stage.process(FAULTY + number)
        stage.proxy.fault = at_write(first + number, process.kill, after=True)
        process.go()
        stage.ended(process)
    stage.runs(FAULTY + 3)
    enter("SIGKILL, three runs in a row", stage.judge())


@pytest.mark.parametrize("after", [pytest.param(False, marks=seldom), True], ids=["before", "after"])
@pytest.mark.parametrize("write", in_lanes(range(1, 11), always=(3,)))
def test_in_a_storm(stage: Stage, enter: Enter, write: int, after: bool) -> None:
    stage.settings["STORM_ALERTS"] = "1"
    stage.runs(0, 1)
    stage.proxy.reset()
    process = stage.process(FAULTY)
    stage.proxy.fault = at_write(write, process.kill, after=after)
    process.go()
    stage.ended(process)
    stage.runs(FAULTY + 1)
    assert any(message["type"] == "detection.alert.digest" for message in stage.receiver.messages)
    enter("SIGKILL in a storm", stage.judge_storm())
