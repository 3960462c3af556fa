"""Many at once: a timer that fires twice, hosts that overlap, a deliverer that dies while another looks on."""

import pytest

from detection.delivery.deliver import DEADLINE, LEASE
from tests.chaos.scenarios import FAULT_HOUR, EnterFigures, chaos_only, enter
from tests.chaos.stage import Stage
from tests.chaos.table_proxy import Forward, TableRequest, TableResponse
from tests.support.receiver import Handler, status

__all__ = ["enter"]
# Seconds that a process really waits where its clock jumps: by then another has sent what it claimed.
PAUSE = 1.0


@pytest.mark.parametrize("processes", [4, pytest.param(16, marks=chaos_only)])
def test_many_run_the_same_detection_at_once(stage: Stage, enter: EnterFigures, processes: int) -> None:
    stage.runs(0, 1)
    jobs = [stage.process(FAULT_HOUR, pauses=PAUSE) for _ in range(processes)]
    for job in jobs:
        job.go()
    for job in jobs:
        stage.wait_for(job)
    stage.runs(FAULT_HOUR + 1)
    figures = stage.evaluate()
    assert figures.repeats == 0  # every message was sent once
    enter(f"{processes} processes at once", figures)


@chaos_only
@pytest.mark.parametrize("killed", range(1, 12, 3))
def test_many_run_at_once_and_one_dies(stage: Stage, enter: EnterFigures, killed: int) -> None:
    stage.runs(0, 1)
    stage.proxy.reset()
    jobs = [stage.process(FAULT_HOUR, pauses=PAUSE) for _ in range(8)]

    def fault(request: TableRequest, forward: Forward) -> TableResponse | None:
        if request.write_number == killed:
            jobs[0].kill()
        return forward(request)

    stage.proxy.fault = fault
    for job in jobs:
        job.go()
    for job in jobs:
        stage.wait_for(job)
    stage.runs(FAULT_HOUR + 1)
    enter("8 processes at once, one killed", stage.evaluate())


@chaos_only
def test_many_run_at_once_at_every_hour(stage: Stage, enter: EnterFigures) -> None:
    for hour in range(7):
        jobs = [stage.process(hour, pauses=PAUSE) for _ in range(4)]
        for job in jobs:
            job.go()
        for job in jobs:
            stage.wait_for(job)
    stage.runs(7, 8)
    figures = stage.evaluate()
    assert figures.repeats == 0
    enter("4 processes at once, every hour", figures)


def test_dying_deliverer_is_taken_over_after_its_lease(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    sent_before = len(stage.receiver.requests)
    deliverer = stage.process(FAULT_HOUR)

    def die(_handler: Handler) -> None:
        deliverer.kill()

    stage.receiver.answers = [die]
    deliverer.go()
    assert stage.wait_for(deliverer) < 0
    claimed_id = stage.receiver.headers[sent_before]["webhook-id"]

    seconds = 1 / 3600
    stage.run(FAULT_HOUR + (LEASE.total_seconds() - 10) * seconds, "deliver")
    assert _message_ids(stage, sent_before).count(claimed_id) == 1  # it may still be at work
    stage.run(FAULT_HOUR + (LEASE.total_seconds() + 10) * seconds, "deliver")
    assert _message_ids(stage, sent_before).count(claimed_id) == 2
    stage.runs(FAULT_HOUR + 1)
    enter("a deliverer dies while sending", stage.evaluate())


def test_lease_is_longer_than_an_attempt_may_take() -> None:
    assert LEASE > DEADLINE


@chaos_only
def test_many_deliver_at_once(stage: Stage, enter: EnterFigures) -> None:
    stage.receiver.default_answer = status(503)
    stage.runs(0)
    stage.receiver.default_answer = status(204)
    jobs = [stage.process(30, "deliver", pauses=PAUSE) for _ in range(16)]
    sent_before = len(stage.receiver.requests)
    for job in jobs:
        job.go()
    for job in jobs:
        stage.wait_for(job)
    stage.run(31, "deliver")
    message_ids = _message_ids(stage, sent_before)
    assert len(message_ids) == len(set(message_ids))  # of all that waited, each was sent once
    enter("16 deliverers at once", stage.evaluate())


def _message_ids(stage: Stage, begin: int) -> list[str]:
    return [headers["webhook-id"] for headers in stage.receiver.headers[begin:]]
