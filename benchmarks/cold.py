"""A cold start: what the app imports, beside its Azure packages alone, with bytecode and without."""

import tempfile

from rich.table import Table

from benchmarks.processes import measured

TIMES = 7
AZURE = "import azure.functions, azure.identity, azure.monitor.query, azure.data.tables"
CLIENTS = "azure.identity, detection.sources.log_analytics, detection.incidents.azure_table"  # a run loads them on top
IMPORTS = {
    "nothing": "pass",
    "azure.functions alone": "import azure.functions",
    "its Azure packages alone": AZURE,
    "function_app": "import function_app",
    "function_app and all that a run loads": f"import function_app, {CLIENTS}",
}
BARE = "its Azure packages alone"


def table() -> Table:
    """CPU seconds of a whole process, the best of several."""
    table = Table(
        "import",
        "ms",
        f"x {BARE}",
        "ms without bytecode",
        title="cold start: CPU, whole process",
        title_justify="left",
    )
    with tempfile.TemporaryDirectory() as empty:
        ms = {name: _best(code) for name, code in IMPORTS.items()}
        # Nothing is read from or left in __pycache__: as if no bytecode were shipped.
        bare = {
            name: _best(code, "-B", "-X", f"pycache_prefix={empty}", times=3)
            for name, code in IMPORTS.items()
        }
    for name, seconds in ms.items():
        ratio = seconds / ms[BARE]
        table.add_row(name, f"{seconds * 1e3:.0f}", f"{ratio:.2f}", f"{bare[name] * 1e3:.0f}")
    return table


def _best(code: str, *options: str, times: int = TIMES) -> float:
    return min(measured([*options, "-c", code]).cpu for _ in range(times))
