"""Every figure is of a process of its own: what it printed, its wall and CPU time, its peak memory."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """A process: what it printed, its wall and CPU time in seconds, its peak memory in MiB."""

    printed: str
    wall: float
    cpu: float
    peak: float

    @property
    def last(self) -> Any:  # noqa: ANN401  # JSON has no narrower type
        """The last line that it printed, as JSON."""
        return json.loads(self.printed.splitlines()[-1])


def measured(command: list[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Runs Python with these arguments to its end."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=output,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        output.seek(0)
        printed = output.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Measured(printed, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def seconds_of(work: Callable[[], object], times: int = 3) -> float:
    """CPU seconds, of all threads: the best of several times. The neighbours of a machine do not count."""
    best = float("inf")
    for _ in range(times):
        gc.collect()
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def peak() -> float:
    """The most memory that this process has had, MiB. What `wait4` says begins with the process that started it."""
    (line,) = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
