"""One browser for many tests: a node process that drives it by lines of JSON (drive.mjs)."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.node import NODE

DRIVER = Path(__file__).with_name("drive.mjs")


@dataclass(frozen=True, slots=True)
class Size:
    """A window, in CSS pixels."""

    width: int
    height: int


PHONE, DESKTOP = Size(390, 844), Size(1280, 900)


class BrowserError(Exception):
    """The browser could not do it."""


class Browser:
    """A browser with one page at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, name: str, **arguments: object) -> Any:  # noqa: ANN401  # whatever the command answers
        """Has one command done. Raises Broken."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        stdin.write(json.dumps({"name": name, **arguments}) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline() or '{"error": "it has ended"}')
        if "error" in answer:
            raise BrowserError(answer["error"])
        return answer["value"]

    def open(self, url: str, size: Size, *, dark: bool = False, scripts: bool = True) -> int:
        """A new page at an address; returns the status of the answer."""
        self.ask("open", width=size.width, height=size.height, dark=dark, scripts=scripts)
        return int(self.ask("visit", url=url))

    def evaluate(self, code: str) -> Any:  # noqa: ANN401  # a value of JavaScript
        """The value of an expression on the page."""
        return self.ask("evaluate", code=code)

    def text(self, selector: str) -> str:
        """What is to be read in an element."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def tab_to(self, selector: str, presses: int = 60) -> None:
        """Moves on with the Tab key until the element has the focus."""
        has_focus = f"document.activeElement.matches({json.dumps(selector)})"
        for _ in range(presses):
            if self.evaluate(has_focus):
                return
            self.ask("press", keys=["Tab"])
        raise BrowserError(f"the Tab key does not lead to {selector}")

    @property
    def problems(self) -> list[str]:
        """What the page complained of since it was opened."""
        return list(self.ask("seen")["problems"])

    @property
    def requests(self) -> list[str]:
        """What was asked for since the page was opened."""
        return list(self.ask("seen")["requests"])


def missing_reason() -> str | None:
    """Why there can be no browser here, if so."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the browser is for Linux on x86_64, this is {sys.platform} on {platform.machine()}"
    return None


@contextmanager
def running() -> Iterator[Browser]:
    """A browser, unpacked for it into a folder that goes with it."""
    with TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        command = [str(NODE), str(DRIVER)]
        environment = os.environ | {"TMPDIR": folder, "HOME": folder}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            try:
                yield Browser(process)
            finally:
                assert process.stdin
                process.stdin.close()  # it closes the browser, and ends
                process.wait(60)
