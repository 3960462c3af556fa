"""SIGKILL: at every write of a run, and at every step of a delivery."""

import pytest

from detection.delivery.deliver import SENDERS
from tests.chaos.scenarios import FAULT_HOUR, EnterFigures, chaos_only, enter, marked_parameters, slow_only
from tests.chaos.stage import Stage
from tests.chaos.table_proxy import at_write
from tests.support.receiver import Handler, status

__all__ = ["enter"]
# Of the run of that hour: its grouping, a commit of four keys, the watermark, and for each message a claim and a
# settlement.
WRITES = 11
MESSAGES = 4


def test_without_a_fault(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    stage.proxy.reset()
    assert stage.run(FAULT_HOUR) == 0
    assert stage.proxy.writes == WRITES
    stage.runs(FAULT_HOUR + 1)
    enter("no fault", stage.evaluate())


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", marked_parameters(range(1, WRITES + 1), always=(6,), slow=(2,)))
def test_at_every_write_of_a_run_and_its_deliveries(
    stage: Stage, enter: EnterFigures, write: int, after: bool
) -> None:
    stage.runs(0, 1)
    stage.proxy.reset()
    process = stage.process(FAULT_HOUR)
    stage.proxy.fault = at_write(write, process.kill, after=after)
    process.go()
    assert stage.wait_for(process) < 0
    stage.runs(FAULT_HOUR + 1)
    enter("SIGKILL at a write", stage.evaluate())


@pytest.mark.parametrize("message", marked_parameters(range(MESSAGES), always=(1,)))
def test_while_a_message_is_sent(stage: Stage, enter: EnterFigures, message: int) -> None:
    stage.runs(0, 1)
    process = stage.process(FAULT_HOUR)

    def kill(_handler: Handler) -> None:
        process.kill()

    stage.receiver.answers = [*[status(204)] * message, kill]
    process.go()
    assert stage.wait_for(process) < 0
    stage.runs(FAULT_HOUR + 1)
    figures = stage.evaluate()
    # It had arrived; it comes again under its id, as do those that were sent at the same time.
    assert 1 <= figures.repeats <= SENDERS
    enter("SIGKILL while sending", figures)


@chaos_only
@pytest.mark.parametrize("first_write", range(1, WRITES, 3))
def test_again_and_again(stage: Stage, enter: EnterFigures, first_write: int) -> None:
    """Three processes in a row die, each a write further on."""
    stage.runs(0, 1)
    for number in range(3):
        stage.proxy.reset()
        process = stage.process(FAULT_HOUR + number)
        stage.proxy.fault = at_write(first_write + number, process.kill, after=True)
        process.go()
        stage.wait_for(process)
    stage.runs(FAULT_HOUR + 3)
    enter("SIGKILL, three runs in a row", stage.evaluate())


@pytest.mark.parametrize("after", [pytest.param(False, marks=slow_only), True], ids=["before", "after"])
@pytest.mark.parametrize("write", marked_parameters(range(1, 11), always=(3,)))
def test_in_a_storm(stage: Stage, enter: EnterFigures, write: int, after: bool) -> None:
    stage.settings["STORM_ALERTS"] = "1"
    stage.runs(0, 1)
    stage.proxy.reset()
    process = stage.process(FAULT_HOUR)
    stage.proxy.fault = at_write(write, process.kill, after=after)
    process.go()
    stage.wait_for(process)
    stage.runs(FAULT_HOUR + 1)
    assert any(message["type"] == "detection.alert.digest" for message in stage.receiver.messages)
    enter("SIGKILL in a storm", stage.evaluate_storm())
