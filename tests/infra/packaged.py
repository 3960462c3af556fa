"""The package as `make package` makes it, and the Python of the cloud that makes and runs it."""

import hashlib
import subprocess
from pathlib import Path

from tests.regenerate import ROOT

PACKAGE = ROOT / "out" / "package"
ARCHIVE = ROOT / "out" / "app.zip"
RUN = Path(__file__).with_name("run_package.py")


def python_3_13() -> str:
    """The path of a Python 3.13; empty if there is none."""
    return subprocess.run(
        ["scripts/python-3.13"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def build() -> str:
    """Makes the package. Returns the hash of its bytes."""
    subprocess.run([python_3_13(), "scripts/package.py"], cwd=ROOT, check=True)
    return hashlib.sha256(ARCHIVE.read_bytes()).hexdigest()
