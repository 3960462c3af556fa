"""Azure keeps only lines that carry the id of their invocation: every line of the job carries it, and lines that do raise
every alarm. The lines come from Microsoft's runtime library, which sets the id.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from detection.app import Job, start
from detection.base.errors import ServiceError
from detection.logs.window import Window
from detection.rules.loading import load_rule
from detection.rules.silences import parse_silence
from detection.store.gaps import Gap
from detection.store.incident_store import IncidentStore
from detection.store.outbox import Delivery, Outbox, queue
from detection.store.table import PAGE, Entity, MemoryTable
from detection.telemetry import LOG
from tests.infra.lines import DAY, HOUR, LAST, MINUTE, NOW, LoggedLine
from tests.infra.test_alarms import NAMES as ALARMS
from tests.infra.test_alarms import raised_alarms
from tests.regenerate import LOGS, SCHEMAS
from tests.support.clock import Clock
from tests.support.functions_host import INVOCATION, Worker
from tests.support.query_api import no_table, query_api, tables_of
from tests.support.raw_logs import audit, completion, write
from tests.support.receiver import Receiver, receiving, status
from tests.test_function_app import fresh_worker, worker
from tests.test_telemetry import DEFAULT

__all__ = ["fresh_worker", "worker"]
EVENTS = {path.stem.replace("line.", "detection.") for path in SCHEMAS.glob("line.*.json")}


class TableThatFailsToCleanUp(MemoryTable):
    """A table that cannot list dead letters, which only a clean-up does."""

    fails = False

    def scan(self, partition: str, start: str, end: str, page: int = PAGE) -> Iterator[Entity]:
        if self.fails and start.startswith("x|"):
            raise ServiceError("the table service does not answer")
        return super().scan(partition, start, end, page)


class InvocationIds(logging.Handler):
    """The lines of the job with the ids by which the host's workers know their invocation, as they are written."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        runtime: Any = import_module("azure_functions_runtime")
        self._thread_local: Any = import_module(
            "azure_functions_runtime.bindings.context"
        )._invocation_id_local  # workers read it
        self._context_variable = runtime.invocation_id_cv
        self._clock = clock
        self.lines: list[tuple[LoggedLine, set[str | None]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        ids = {self._context_variable.get(), getattr(self._thread_local, "invocation_id", None)}
        self.lines.append((LoggedLine(self._clock.now, record.getMessage()), ids))


@dataclass
class Host:
    """A host that invokes the app at times that tests choose, over a table in memory."""

    worker: Worker
    monkeypatch: pytest.MonkeyPatch
    receiver: Receiver
    clock: Clock = field(default_factory=lambda: Clock(LAST))
    table: TableThatFailsToCleanUp = field(default_factory=TableThatFailsToCleanUp)
    log: InvocationIds = field(init=False)

    def __post_init__(self) -> None:
        self.log = InvocationIds(self.clock)

    def job(self) -> Job:
        """The job of the environment, on the table in memory."""
        return replace(start(os.environ, self.clock), table=self.table, sleep=self.clock.sleep)

    def configure(self, **environment: str) -> None:
        """Sets settings; an empty setting is not set."""
        for name, value in environment.items():
            self.monkeypatch.setenv(name, value)

    def invoke(self, *times: timedelta, function: str = "detect", past_due: bool = False) -> None:
        """Invokes a function at LAST plus each of these times, whatever becomes of it."""
        for time in times:
            self.clock.now = LAST + time
            self.worker.invoke(function, past_due=past_due)

    def kept_lines(self, later: timedelta = timedelta(0)) -> list[LoggedLine]:
        """The lines that Azure keeps; `later` moves those of runs over logs of another day."""
        return [replace(line, time=line.time - later) for line, ids in self.log.lines if ids == {INVOCATION}]


@pytest.fixture
def host(fresh_worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with receiving() as receiver, monkeypatch.context() as patch:
        host = Host(fresh_worker, patch, receiver)
        patch.setattr(fresh_worker.module, "job", host.job)
        patch.setattr(fresh_worker.module, "clock", host.clock)
        host.configure(INCIDENT_STORAGE="UseDevelopmentStorage=true")  # of the table that is replaced
        level = LOG.level
        LOG.addHandler(host.log)
        LOG.setLevel(logging.INFO)
        yield host
        LOG.removeHandler(host.log)
        LOG.setLevel(level)


def test_every_line_that_the_job_can_write_carries_the_id_of_its_invocation(
    host: Host, tmp_path: Path
) -> None:
    host.receiver.default_answer = status(500)
    host.configure(WEBHOOK_URL=host.receiver.url, HEARTBEAT_URL=host.receiver.url, PARSRS="x")
    gap = Gap(
        LAST - 220 * DAY, LAST - 210 * DAY, Window(LAST - 220 * DAY, LAST - 210 * DAY), LAST - 200 * DAY
    )
    store = IncidentStore(host.table, DEFAULT, "an earlier run")
    store.finish(LAST - 220 * DAY, b"{}")
    store.watermark()
    store.finish(LAST - 100 * DAY, b"{}", gap=gap)
    host.table.write(DEFAULT, [queue(Delivery("al_1", "webhook", "in_1", 1, b"{}", LAST, LAST))])
    outbox = Outbox(host.table, DEFAULT)
    outbox.dead_letter(next(outbox.waiting("webhook")), "HTTP 410")
    host.invoke(timedelta(0), past_due=True)
    host.invoke(MINUTE, function="deliver")
    host.table.fails = True
    with tables_of(LOGS, load_rule(DEFAULT).tables) as tables, query_api(tables) as api:
        api.fault = lambda request: no_table("Nowhere") if "Actors" in request.query else None
        host.configure(
            LOGS_DIR="", LOG_ANALYTICS_WORKSPACE_ID=str(uuid4()), LOG_ANALYTICS_ENDPOINT=api.endpoint
        )
        host.invoke(DAY)
    host.configure(LOGS_DIR=str(tmp_path / "none"), LOG_ANALYTICS_WORKSPACE_ID="")
    host.invoke(DAY + HOUR)
    host.configure(MAX_CATCH_UP="never")
    host.invoke(DAY + 2 * HOUR)

    lines = [(json.loads(line.message), ids) for line, ids in host.log.lines]
    assert {line["event"] for line, _ in lines} == EVENTS
    assert [line for line, ids in lines if ids != {INVOCATION}] == []
    outcomes = {(line["rule"], line["outcome"]) for line, _ in lines if line["event"] == "detection.run"}
    assert outcomes == {(DEFAULT, "complete"), (DEFAULT, "failed"), ("", "failed")}


# ------------------------------------------------------------------------------------------------------------ the alarms


def logs_are_gone(host: Host, folder: Path) -> None:
    host.configure(LOGS_DIR=str(folder / "none"))
    host.invoke(-2 * HOUR, -HOUR, timedelta(0))


def broken_rule(host: Host, _folder: Path) -> None:
    host.configure(RULES=f"no-such-rule,{DEFAULT}")
    host.invoke(-HOUR, timedelta(0))


def receiver_refuses(host: Host, _folder: Path) -> None:
    host.receiver.default_answer = status(410)
    host.configure(WEBHOOK_URL=host.receiver.url)
    host.invoke(timedelta(0))


def receiver_fails(host: Host, folder: Path) -> None:
    host.receiver.default_answer = status(500)
    time = LAST - 3 * HOUR
    write(
        folder,
        [audit("a", "ann@example.com", time, arrived=time)],
        [completion("c", "ann@example.com", time + HOUR, arrived=time + HOUR)],
    )
    host.configure(WEBHOOK_URL=host.receiver.url, LOGS_DIR=str(folder))
    host.invoke(-HOUR)
    host.invoke(*(minutes * MINUTE for minutes in range(-50, 15, 5)), function="deliver")


def destination_is_gone(host: Host, folder: Path) -> None:
    receiver_fails(host, folder)
    host.log.lines.clear()
    host.configure(WEBHOOK_URL="")
    host.invoke(10 * MINUTE, function="deliver")


def outage(host: Host, _folder: Path) -> None:
    host.invoke(-5 * HOUR, timedelta(0))


def old_logs(host: Host, _folder: Path) -> None:
    host.invoke(20 * DAY)


def wide_silence(host: Host, _folder: Path) -> None:
    host.clock.now = LAST + DAY
    job = host.job()
    values = {"name": "wide", "owner": "carol", "reason": "x", "actor": "*@example.com"}
    job.desk.silence(job.rules[0], parse_silence(values))
    host.invoke(DAY)


def callers_stop_to_set_user(host: Host, folder: Path) -> None:
    times = [LAST - 26 * HOUR] * 60 + [LAST - 30 * MINUTE] * 300
    write(
        folder,
        [audit("a", "ann@example.com", times[0], arrived=times[0])],
        [
            completion(str(number), "ann@example.com" if time == times[0] else "", time, arrived=time)
            for number, time in enumerate(times)
        ],
    )
    host.configure(LOGS_DIR=str(folder))
    host.invoke(-25 * HOUR, timedelta(0))


FAULTS: dict[str, tuple[str, Callable[[Host, Path], None], timedelta]] = {
    "no complete run": ("no-complete-run", logs_are_gone, timedelta(0)),
    "two failed runs": ("failed-twice", logs_are_gone, timedelta(0)),
    "a rule that cannot be loaded": ("failed-twice", broken_rule, timedelta(0)),
    "a dead letter": ("undelivered", receiver_refuses, timedelta(0)),
    "a receiver that fails": ("undelivered", receiver_fails, timedelta(0)),
    "a destination that the settings lack": ("undelivered", destination_is_gone, timedelta(0)),
    "an outage": ("gap-or-lag", outage, timedelta(0)),
    "logs that have stopped": ("silent-sources", old_logs, 20 * DAY),
    "callers that name no user": ("coverage-fallen", callers_stop_to_set_user, timedelta(0)),
    "a silence that covers all": ("mostly-silenced", wide_silence, DAY),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_lines_with_the_id_of_their_invocation_raise_the_alarm(
    host: Host, tmp_path: Path, fault: str
) -> None:
    alarm, act, later = FAULTS[fault]
    act(host, tmp_path)
    lines = host.kept_lines(later)
    assert max(line.time for line in lines) <= NOW
    assert alarm in raised_alarms(lines)


def test_every_alarm_has_its_fault() -> None:
    assert {alarm for alarm, _, _ in FAULTS.values()} == set(ALARMS)
