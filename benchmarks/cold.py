"""Cold start: the imports of the app compared with its Azure packages alone, with and without bytecode."""

import tempfile

from benchmarks.figures import FigureTable
from benchmarks.processes import measure
from benchmarks.size import Size

TIMES, TIMES_WITHOUT_BYTECODE = 7, 3
AZURE = "import azure.functions, azure.identity, azure.monitor.query, azure.data.tables"
# A run also loads these.
CLIENTS = "azure.identity, detection.logs.log_analytics.client, detection.store.azure_table"
IMPORTS = {
    "nothing": "pass",
    "azure.functions alone": "import azure.functions",
    "its Azure packages alone": AZURE,
    "function_app": "import function_app",
    "function_app and all that a run loads": f"import function_app, {CLIENTS}",
}
BARE = "its Azure packages alone"


def tables(size: Size) -> dict[str, FigureTable]:
    """CPU time of a whole process, the best of several."""
    with_bytecode = {name: _best(code, 1 if size.toy else TIMES) for name, code in IMPORTS.items()}
    rows = [
        [name, f"{ms:,.0f}", f"{ms / with_bytecode[BARE]:.2f}", "" if size.toy else _without_bytecode(name)]
        for name, ms in with_bytecode.items()
    ]
    columns = ("import", "ms", f"x {BARE}", "ms without bytecode")
    return {"cold": FigureTable("cold start: CPU, whole process", columns, rows)}


def _without_bytecode(name: str) -> str:
    """Milliseconds without reading or writing __pycache__, as if no bytecode were shipped."""
    with tempfile.TemporaryDirectory() as empty:
        options = ("-B", "-X", f"pycache_prefix={empty}")
        return f"{_best(IMPORTS[name], TIMES_WITHOUT_BYTECODE, *options):,.0f}"


def _best(code: str, times: int, *options: str) -> float:
    """The least CPU time of several processes, in milliseconds."""
    return min(measure([*options, "-c", code]).cpu for _ in range(times)) * 1e3
