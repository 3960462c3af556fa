"""Runs every function of an unpacked package once, in Microsoft's runtime library; started by test_package.py with a bare
Python 3.13, which sees the package, its own libraries, and nothing else.

    python3.13 -I -S tests/infra/run_package.py PACKAGE MOMENT [run]

With `run`, a second run is started by request; the benchmark measures a single run.

Prints what happened as JSON. What it imports has to be in the package or in Python itself.
"""

import importlib.util
import json
import logging
import sys
import time
from datetime import datetime
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
LIBRARIES = ".python_packages/lib/site-packages"


def functions_host() -> ModuleType:
    """The tests' stand-in for the host, without the tests around it."""
    spec = importlib.util.spec_from_file_location(
        "functions_host", ROOT / "tests" / "support" / "functions_host.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


class LineCollector(logging.Handler):
    """Keeps the job's lines."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


API = "https://app.example/api"


def peak() -> int:
    """The most memory that this process has had, MiB. (What getrusage says includes the process that started it.)"""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kibibytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return round(int(kibibytes) / 1024)


def main(package: Path, now: datetime, *, requests_run: bool) -> None:
    """Indexes the app and runs each of its functions, as of a moment."""
    sys.path[:0] = [str(package), str(package / LIBRARIES)]
    sys.dont_write_bytecode = True
    began, lines = time.perf_counter(), LineCollector()
    logging.getLogger("detection").addHandler(lines)
    logging.getLogger("detection").setLevel(logging.INFO)
    with functions_host().running(package) as worker:
        indexed = time.perf_counter() - began
        worker.module.clock = lambda: now
        timers = [name for name in sorted(worker.functions) if worker.bindings(name)[0]["name"] == "timer"]
        failures = {name: worker.invoke(name) for name in timers}
        loaded = "jinja2" in sys.modules
        page = worker.ask("incidents", "GET", f"{API}/incidents", {"accept": "text/html"})
        run = worker.ask("run", "POST", f"{API}/run", {}).status if requests_run else None
        health = worker.ask("health", "GET", f"{API}/health", {})
    own_paths = [
        str(package),
        sys.base_prefix,
        str(ROOT / "tests" / "support" / "functions_host.py"),
        str(Path(__file__)),
    ]
    files = {
        name: module.__file__ for name, module in sys.modules.items() if getattr(module, "__file__", None)
    }
    result = {
        "failures": {
            name: failure and f"{failure.message}\n{failure.trace}" for name, failure in failures.items()
        },
        "health": [health.status, health.body.decode()],
        "run": run,
        "lines": lines.messages,
        "page": [page.status, page.body.decode()],
        "jinja_before_a_page": loaded,
        "foreign": sorted(name for name, file in files.items() if not str(file).startswith(tuple(own_paths))),
        "compiled_here": sorted(
            name
            for name, module in sys.modules.items()
            if str(getattr(module, "__file__", "")).startswith(str(package))
            and (cached := getattr(module, "__cached__", None))
            and not Path(cached).exists()
        ),
        "index_seconds": round(indexed, 3),
        "seconds": round(time.perf_counter() - began, 3),
        "peak_mib": peak(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), requests_run="run" in sys.argv[3:])
