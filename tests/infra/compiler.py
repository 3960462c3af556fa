"""Microsoft's Bicep compiler, and which one: `$BICEP`, else `bicep` on the PATH, else what `az bicep install` has put down."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.regenerate import ROOT

VERSION = (ROOT / "infra" / "bicep-version").read_text(encoding="utf-8").strip()
MISSING = (
    f"NOT COMPILED: there is no Bicep compiler here. Install version {VERSION} with"
    f" `az bicep install --version v{VERSION}`, or name one: BICEP=/path/to/bicep make lint-infra"
)
# The compiler is a .NET program: it would ask for ICU, which bare machines lack, and optimize for a life of hours.
DOTNET = {
    "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
    "DOTNET_TieredCompilation": "0",
    "DOTNET_gcConcurrent": "0",
}


def compiler() -> str | None:
    """The command that starts the compiler, None where there is none. A `$BICEP` that is not there is an error."""
    configured = os.environ.get("BICEP")
    if configured:
        path = shutil.which(configured)
        assert path, f"BICEP={configured} cannot be run"
        return path
    return shutil.which("bicep") or shutil.which(Path.home() / ".azure" / "bin" / "bicep")


def bicep(
    *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the compiler; the caller looks at the exit code. `environment` comes on top of the present one.

    The calling test is skipped, with what to do, where there is no compiler.
    """
    command = compiler()
    if command is None:
        pytest.skip(MISSING)
    return subprocess.run(
        [command, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **DOTNET, **(environment or {})},
    )


def compile_template(path: Path) -> str:
    """The ARM template that a Bicep file compiles to, as JSON."""
    completed = bicep("build", path, "--stdout")
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@contextmanager
def compiler_server() -> Iterator[Callable[..., dict[str, Any]]]:
    """The compiler as a server, asked by method and parameters: what takes seconds to start answers at once.

    Its protocol is JSON-RPC under the headers of the Language Server Protocol (`bicep jsonrpc`).
    """
    command = compiler()
    if command is None:
        pytest.skip(MISSING)
    with subprocess.Popen(
        [command, "jsonrpc", "--stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **DOTNET},
    ) as process:
        requests, answers = process.stdin, process.stdout
        assert requests
        assert answers

        def ask(method: str, **parameters: object) -> dict[str, Any]:
            call = {"jsonrpc": "2.0", "id": 1, "method": f"bicep/{method}", "params": parameters}
            body = json.dumps(call).encode()
            requests.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            requests.flush()
            headers = b"".join(iter(answers.readline, b"\r\n"))
            length = int(re.findall(rb"Content-Length: (\d+)", headers)[0])
            answer: dict[str, Any] = json.loads(answers.read(length))
            assert "error" not in answer, answer
            result: dict[str, Any] = answer["result"]
            return result

        yield ask
        requests.close()  # it ends by itself


if __name__ == "__main__":  # how the gate closes: by which compiler the templates were judged
    print(MISSING if compiler() is None else f"compiled by {compiler()}: {bicep('--version').stdout.strip()}")
