"""Measures the memory of the app as it is deployed: `python -m benchmarks.package`, after `make package`.

A process of its own with the package and a bare Python 3.13, in Microsoft's runtime library; the query API's double and
Azurite are other processes or not counted. The Functions host itself, which shares the instance, cannot be had here.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from benchmarks import tenant
from detection.rule import default_rule, load_rule
from tests import azurite
from tests.infra.test_package import RUN, python_3_13
from tests.query_api import query_api, tables_of
from tests.regenerate import ROOT

SIGNALS = (
    1_000,
    10_000,
    100_000,
    500_000,
    2_400_000,
)  # a fifth is read; an answer has fewer than 500,000 rows


def main() -> None:
    """One first run of every size, the dearest there is: every signal is new."""
    table = Table("signals read", "changes", "pairs", "seconds", "peak MiB", title="the package, one run")
    for signals in SIGNALS:
        result = run(signals, min(signals // 100, 1_000))
        table.add_row(
            *(f"{result[name]:,}" for name in ("signals", "changes", "pairs", "seconds", "peak_mib"))
        )
    Console().print(table)


def run(signals: int, changes: int) -> dict[str, float]:
    """What one run took, and what it found."""
    rule = load_rule(default_rule())
    with tempfile.TemporaryDirectory() as folder, azurite.running() as port:
        tenant.write(Path(folder), signals, changes, 5_000)
        with tables_of(Path(folder), rule.tables) as tables, query_api(tables) as api:
            settings = {
                "LOG_ANALYTICS_WORKSPACE_ID": str(uuid4()),
                "LOG_ANALYTICS_ENDPOINT": api.endpoint,
                "INCIDENT_STORAGE": azurite.connection_string(port),
            }
            done = subprocess.run(
                [python_3_13(), "-I", "-S", str(RUN), str(ROOT / "out" / "package"), tenant.AT],
                check=True,
                capture_output=True,
                env={"PATH": os.environ["PATH"], **settings},
            )
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result["failures"].values()) == {None}, result["failures"]
    (record,) = [json.loads(line[line.index("{") :]) for line in result["lines"] if "detection.run" in line]
    return {**record, "seconds": result["seconds"], "peak_mib": result["peak_mib"]}


if __name__ == "__main__":
    main()
