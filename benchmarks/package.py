"""The memory of the deployed app: one run of the package over made-up logs of rising size.

The benchmark builds the package and runs it in a separate process with a bare Python 3.13 and Microsoft's
runtime library. The query API's double and Azurite are other processes. The Functions host, which shares the
instance, is not measured.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks import tenant
from benchmarks.answers import RULE
from benchmarks.figures import FigureTable
from benchmarks.processes import MeasurementFailed
from benchmarks.size import Size
from tests.infra.packaged import PACKAGE, RUN, build, python_3_13
from tests.support import azurite
from tests.support.query_api import query_api, tables_of

# A run reads a fifth of them, and an answer must have fewer than 500,000 rows.
SIGNALS = (1_000, 10_000, 100_000, 500_000, 2_400_000)


def tables(size: Size, package: Path | None = None) -> dict[str, FigureTable]:
    """A first run at every size, the most expensive kind: every signal is new."""
    if not python_3_13():
        raise MeasurementFailed("Python 3.13, the version in the cloud, is missing: install it")
    if package is None:
        build()
    rows = []
    for signals in size.capped(SIGNALS):
        result = _run(signals, min(-(-signals // 100), 1_000), package or PACKAGE)
        counts = (f"{result[name]:,}" for name in ("signals", "changes", "pairs"))
        rows.append([*counts, f"{result['seconds']:.1f}", f"{result['peak_mib']:.0f}"])
    columns = ("signals read", "changes", "pairs", "wall s", "peak MiB")
    return {"package": FigureTable("the package, one run", columns, rows)}


def _run(signals: int, changes: int, package: Path) -> dict[str, Any]:
    """The record of a run, its seconds and its peak memory."""
    with tempfile.TemporaryDirectory() as folder, azurite.running() as port:
        tenant.write(Path(folder), signals, changes, 5_000)
        with tables_of(Path(folder), RULE.tables) as tables, query_api(tables) as api:
            settings = {
                "LOG_ANALYTICS_WORKSPACE_ID": str(uuid4()),
                "LOG_ANALYTICS_ENDPOINT": api.endpoint,
                "INCIDENT_STORAGE": azurite.connection_string(port),
            }
            process = subprocess.run(
                [python_3_13(), "-I", "-S", str(RUN), str(package), tenant.AT],
                check=False,
                capture_output=True,
                text=True,
                env={"PATH": os.environ["PATH"], **settings},
            )
    if process.returncode:
        raise MeasurementFailed(process.stderr)
    result = json.loads(process.stdout.splitlines()[-1])
    if failures := [failure for failure in result["failures"].values() if failure]:
        raise MeasurementFailed("\n".join(failures))
    (record,) = [json.loads(line[line.index("{") :]) for line in result["lines"] if "detection.run" in line]
    if not record["coverage"]:
        raise MeasurementFailed("the run has no coverage")
    return {**record, "seconds": result["seconds"], "peak_mib": result["peak_mib"]}
