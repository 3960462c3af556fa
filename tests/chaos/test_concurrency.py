"""Many at once: a timer that fires twice, hosts that overlap, a deliverer that dies while another looks on."""

import pytest

from detection.deliver import DEADLINE, LEASE
from tests.chaos.scenarios import FAULTY, Enter, enter, long
from tests.chaos.stage import Stage
from tests.chaos.table_proxy import Answer, Forward, Request
from tests.receiver import Handler, status

__all__ = ["enter"]
# Seconds that a process really waits where its clock jumps: by then another has sent what it claimed.
PAUSE = 1.0


@pytest.mark.parametrize("processes", [4, pytest.param(16, marks=long)])
def test_many_run_the_same_detection_at_once(stage: Stage, enter: Enter, processes: int) -> None:
    stage.runs(0, 1)
    many = [stage.process(FAULTY, pauses=PAUSE) for _ in range(processes)]
    for one in many:
        one.go()
    for one in many:
        stage.ended(one)
    stage.runs(FAULTY + 1)
    figures = stage.judge()
    assert figures.repeats == 0  # every message was sent once
    enter(f"{processes} processes at once", figures)


@long
@pytest.mark.parametrize("killed", range(1, 14, 4))
def test_many_run_at_once_and_one_dies(stage: Stage, enter: Enter, killed: int) -> None:
    stage.runs(0, 1)
    stage.proxy.reset()
    many = [stage.process(FAULTY, pauses=PAUSE) for _ in range(8)]

    def fault(request: Request, forward: Forward) -> Answer | None:
        if request.write == killed:
            many[0].kill()
        return forward(request)

    stage.proxy.fault = fault
    for one in many:
        one.go()
    for one in many:
        stage.ended(one)
    stage.runs(FAULTY + 1)
    enter("8 processes at once, one killed", stage.judge())


@long
def test_many_run_at_once_at_every_hour(stage: Stage, enter: Enter) -> None:
    for hour in range(7):
        many = [stage.process(hour, pauses=PAUSE) for _ in range(4)]
        for one in many:
            one.go()
        for one in many:
            stage.ended(one)
    stage.runs(7, 8)
    figures = stage.judge()
    assert figures.repeats == 0
    enter("4 processes at once, every hour", figures)


def test_dying_deliverer_is_taken_over_after_its_lease(stage: Stage, enter: Enter) -> None:
    stage.runs(0, 1)
    before = len(stage.receiver.got)
    first = stage.process(FAULTY)

    def die(_handler: Handler) -> None:
        first.kill()

    stage.receiver.answers = [die]
    first.go()
    assert stage.ended(first) < 0
    claimed = stage.receiver.headers[before]["webhook-id"]

    seconds = 1 / 3600
    stage.run(FAULTY + (LEASE.total_seconds() - 10) * seconds, "deliver")
    assert _ids(stage, before).count(claimed) == 1  # it may still be at work
    stage.run(FAULTY + (LEASE.total_seconds() + 10) * seconds, "deliver")
    assert _ids(stage, before).count(claimed) == 2
    stage.runs(FAULTY + 1)
    enter("a deliverer dies while sending", stage.judge())


def test_lease_is_longer_than_an_attempt_may_take() -> None:
    assert LEASE > DEADLINE


@long
def test_many_deliver_at_once(stage: Stage, enter: Enter) -> None:
    stage.receiver.always = status(503)
    stage.runs(0)
    stage.receiver.always = status(204)
    many = [stage.process(30, "deliver", pauses=PAUSE) for _ in range(16)]
    before = len(stage.receiver.got)
    for one in many:
        one.go()
    for one in many:
        stage.ended(one)
    stage.run(31, "deliver")
    sent = _ids(stage, before)
    assert len(sent) == len(set(sent))  # of all that waited, each was sent once
    enter("16 deliverers at once", stage.judge())


def _ids(stage: Stage, first: int) -> list[str]:
    return [headers["webhook-id"] for headers in stage.receiver.headers[first:]]
