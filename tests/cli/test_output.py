"""How far a command is, on stderr: a bar on a terminal, a line now and then anywhere else."""

import io
from contextlib import redirect_stderr, redirect_stdout
from threading import Event

import pytest

from detection.cli import output
from detection.cli.output import progress, reading_progress


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


class LineStream(io.StringIO):
    """A stream that nobody looks at, which sets an event once a text was written."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text, self.written = text, Event()

    def write(self, text: str, /) -> int:
        count = super().write(text)
        if self._text in self.getvalue():
            self.written.set()
        return count


def test_terminal_gets_a_bar_and_stdout_what_is_meant_for_it() -> None:
    out, err = io.StringIO(), Terminal()
    with redirect_stdout(out), redirect_stderr(err), progress() as bar:
        for step in bar.track(range(3), total=3, description="replaying"):
            print(step)

    assert out.getvalue() == "0\n1\n2\n"
    assert "replaying" in err.getvalue()


def test_other_stderr_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PROGRESS_INTERVAL", 0.001)
    err = LineStream("replaying: 1 of 8,760")
    with redirect_stderr(err), progress() as bar:
        for step in bar.track(range(2), total=8_760, description="replaying"):
            assert step == 0 or err.written.wait(60)

    assert "replaying: 1 of 8,760\n" in err.getvalue()


def test_reading_that_takes_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PROGRESS_INTERVAL", 0.001)
    err = LineStream("reading the logs\n")
    with redirect_stderr(err), progress() as bar:
        with reading_progress(bar):
            assert err.written.wait(60)
        assert not bar.tasks


def test_what_ends_at_once_says_nothing() -> None:
    err = io.StringIO()
    with redirect_stderr(err), progress() as bar:
        assert list(bar.track(range(3), total=3, description="replaying")) == [0, 1, 2]

    assert err.getvalue() == ""
