"""The job as a process of its own, which can be killed: what a trigger does, at a moment that the test chooses.

Processes come from a server that has loaded the code already: each is fresh, and begins in some milliseconds.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Lock
from typing import Literal

from detection.app import start
from detection.base import sign_in
from detection.base.errors import DetectionError
from detection.logs.log_analytics import client
from detection.store import azure_table

Task = Literal["detect", "deliver"]
PROCESS_TIMEOUT = 120.0  # seconds that a process may take

_sleep = time.sleep  # the real one
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.chaos.process", "detection.store.azure_table"])


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What a process is to do: `now` is what its clock says at first, and the moment of a run.

    Its log lines are appended to the file. Unless it is `patient`, waiting takes no time, or as many seconds as it
    `pauses`: its clock goes on at once.
    With `hasty`, the query API has a second to answer instead of some minutes.
    """

    task: Task
    environment: Mapping[str, str]
    now: datetime
    log: Path
    patient: bool = False
    pauses: float = 0
    hasty: bool = False


class JobProcess:
    """A process that carries out an order once it is let go."""

    def __init__(self, order: JobOrder) -> None:
        self._go = _CONTEXT.Event()
        self._process: ForkServerProcess = _CONTEXT.Process(target=_work, args=(order, self._go), daemon=True)
        self._process.start()

    def go(self) -> None:
        """Lets it begin."""
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


class _Clock:
    """The process's clock: it begins where it is told to, and jumps over what is waited for."""

    def __init__(self, now: datetime, pauses: float) -> None:
        self._now = now
        self._pauses = pauses
        self._began = time.monotonic()
        self._skipped = 0.0
        self._lock = Lock()

    def __call__(self) -> datetime:
        return self._now + timedelta(seconds=time.monotonic() - self._began + self._skipped)

    def skip(self, seconds: float) -> None:
        _sleep(paused := min(self._pauses, seconds))
        with self._lock:
            self._skipped += seconds - paused


def _work(order: JobOrder, go: Event) -> None:
    logging.basicConfig(filename=order.log, level=logging.INFO, format="%(message)s", force=True)
    logging.getLogger("azure").setLevel(logging.WARNING)
    go.wait(PROCESS_TIMEOUT)
    clock = _Clock(order.now, order.pauses)
    if not order.patient:
        time.sleep = clock.skip  # type: ignore[assignment]  # nobody sleeps for more than a float
    if order.hasty:
        client.READ_TIMEOUT = azure_table.READ_TIMEOUT = sign_in.READ_TIMEOUT = 1
    os.environ.update(order.environment)  # the SDK reads where the identity endpoint is
    try:
        job = start(order.environment, clock)
        if not order.patient:
            job = replace(job, sleep=clock.skip)
        job.detect(order.now) if order.task == "detect" else job.deliver()
    except DetectionError:
        sys.exit(1)
