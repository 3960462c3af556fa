"""The job as a process of its own, which can be killed: what a trigger does, at a moment that the test chooses.

Processes come from a server that has loaded the code already: each is fresh, and begins in some milliseconds.
"""

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Literal

from detection import app
from detection.base import sign_in
from detection.base.deadlines import RUN_TIME
from detection.base.errors import DetectionError
from detection.delivery import webhook
from detection.logs.log_analytics import client
from detection.store import azure_table

Task = Literal["detect", "deliver"]
PROCESS_TIMEOUT = 120.0  # seconds that a process may take
HASTY_TIMEOUT = 1  # second that a neighbour has to answer a process in haste
JOIN_TIMEOUT = 10  # seconds for the last thread of a delivery, whose deadline has passed

_sleep = time.sleep  # the real one
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.chaos.process", "detection.store.azure_table"])


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What a process is to do: `now` is what its clock says at first, and the moment of a run.

    Its log lines are appended to the file. Unless it is `patient`, waiting takes no time, or as many seconds as it
    `pauses`: its clock goes on at once.
    A run has the `run_time` that it has in the functions host. With `hasty`, every neighbour has a second to answer instead of 8 (identity), 10 (heartbeat), 12 (table), 15 (webhook) or 140.
    """

    task: Task
    environment: Mapping[str, str]
    now: datetime
    log: Path
    patient: bool = False
    pauses: float = 0
    hasty: bool = False
    run_time: timedelta = RUN_TIME


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """The seconds that a process took by its clock, pauses that it skipped included, and the threads of webhooks that it left."""

    seconds: float
    threads: int = 0


class JobProcess:
    """A process that carries out an order once it is let go."""

    def __init__(self, order: JobOrder) -> None:
        self._go = _CONTEXT.Event()
        self._reports, sender = _CONTEXT.Pipe(duplex=False)
        self._began = time.monotonic()
        self._process: ForkServerProcess = _CONTEXT.Process(
            target=_work, args=(order, self._go, sender), daemon=True
        )
        self._process.start()
        sender.close()  # the process has its own; its end is the end of the pipe

    def go(self) -> None:
        """Lets it begin."""
        self._began = time.monotonic()
        self._go.set()

    def kill(self) -> None:
        """SIGKILL: it is gone at once, and knows nothing of it."""
        assert self._process.pid
        os.kill(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """How it ended: 0 done, 1 failed as it may, -9 killed. Anything else is a bug."""
        self._process.join(PROCESS_TIMEOUT)
        code = self._process.exitcode
        if code is None:
            self.kill()
        assert code in (0, 1, -signal.SIGKILL), f"a process ended with {code}"
        return code

    def report(self) -> ProcessReport:
        """The report of a process that has ended; one that was killed sent none, and took the time that passed."""
        try:
            report = self._reports.recv()
        except EOFError:
            return ProcessReport(time.monotonic() - self._began)
        assert isinstance(report, ProcessReport)
        return report


class _Clock:
    """The process's clock: it begins where it is told to, and jumps over what is waited for."""

    def __init__(self, now: datetime, pauses: float) -> None:
        self._now = now
        self._pauses = pauses
        self._began = time.monotonic()
        self._skipped = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        return self._now + timedelta(seconds=self.seconds)

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began + self._skipped

    def skip(self, seconds: float) -> None:
        _sleep(paused := min(self._pauses, seconds))
        with self._lock:
            self._skipped += seconds - paused


def _work(order: JobOrder, go: Event, reports: "Connection[ProcessReport, object]") -> None:
    logging.basicConfig(filename=order.log, level=logging.INFO, format="%(message)s", force=True)
    logging.getLogger("azure").setLevel(logging.WARNING)
    go.wait(PROCESS_TIMEOUT)
    clock = _Clock(order.now, order.pauses)
    if not order.patient:
        time.sleep = clock.skip  # type: ignore[assignment]  # nobody sleeps for more than a float
    if order.hasty:
        client.READ_TIMEOUT = azure_table.READ_TIMEOUT = sign_in.READ_TIMEOUT = HASTY_TIMEOUT
        app.HEARTBEAT_DEADLINE = HASTY_TIMEOUT
        destination = partial(webhook.WebhookDestination, deadline=timedelta(seconds=HASTY_TIMEOUT))
        webhook.WebhookDestination = destination  # type: ignore[assignment,misc]
    os.environ.update(order.environment)  # the SDK reads where the identity endpoint is
    try:
        job = app.start(order.environment, clock)
        if not order.patient:
            job = replace(job, sleep=clock.skip)
        if order.task == "detect":
            job.detect(order.now, order.run_time)
            app.send_heartbeat(job.settings)
        else:
            job.deliver_logged()
    except DetectionError:
        sys.exit(1)
    except Exception:  # noqa: BLE001  # a process that ends with an uncaught error exits with 1, too
        traceback.print_exc()
        sys.exit(2)
    finally:
        reports.send(ProcessReport(clock.seconds, _webhook_threads()))


def _webhook_threads() -> int:
    """The threads of deliveries that do not end."""
    threads = [thread for thread in threading.enumerate() if thread.name == webhook.THREAD]
    for thread in threads:
        thread.join(JOIN_TIMEOUT)
    return sum(thread.is_alive() for thread in threads)
