"""Runs each measurement in a separate process and reports its output, wall and CPU time, and peak memory."""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Starts the measured process and prints its status and usage as the last line on stderr. It is a small
# process because the peak memory that Linux reports includes the peak of the starting process.
_STARTER = """
import json, os, sys, time
began = time.perf_counter()
process = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, usage = os.wait4(process, 0)
wall, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
print("", json.dumps([os.waitstatus_to_exitcode(status), wall, cpu, usage.ru_maxrss / 1024]), sep="\\n", file=sys.stderr)
"""


class MeasurementFailed(Exception):
    """A measured process failed. The message has the end of its stderr."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured process: its output, wall and CPU time in seconds, and peak memory in MiB."""

    stdout: str
    wall: float
    cpu: float
    peak: float

    @property
    def result(self) -> Any:  # noqa: ANN401  # JSON has no narrower type
        """The last line of the output, parsed as JSON."""
        return json.loads(self.stdout.splitlines()[-1])


def measure(command: list[str], environment: Mapping[str, str] | None = None) -> Measurement:
    """Runs Python with these arguments. Raises MeasurementFailed if its exit code is not 0."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _STARTER, *command],
            check=True,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        output.seek(0)
        stdout = output.read()
    *errors, usage = process.stderr.splitlines()
    code, wall, cpu, peak = json.loads(usage)
    if code:
        raise MeasurementFailed("\n".join([f"{' '.join(command)} ended with {code}", *errors[-20:]]))
    return Measurement(stdout, wall, cpu, peak)


def seconds_of(work: Callable[[], object], times: int = 3) -> float:
    """CPU seconds of all threads, the best of several calls."""
    best = float("inf")
    for _ in range(times):
        gc.collect()
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best
