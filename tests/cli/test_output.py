"""Progress on stderr: a bar on a terminal, lines elsewhere."""

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from threading import Event

import pytest

from detection.cli import output
from detection.cli.options import RowFormat
from detection.cli.output import progress, reading_progress, write_remark, write_report, write_rows


class Terminal(io.StringIO):
    """A stream of a terminal."""

    def isatty(self) -> bool:
        return True


class LineStream(io.StringIO):
    """A stream without a terminal. It sets an event once a text was written."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text, self.written = text, Event()

    def write(self, text: str, /) -> int:
        count = super().write(text)
        if self._text in self.getvalue():
            self.written.set()
        return count


def test_terminal_gets_a_bar_and_stdout_only_results() -> None:
    out, err = io.StringIO(), Terminal()
    with redirect_stdout(out), redirect_stderr(err), progress() as bar:
        for step in bar.track(range(3), total=3, description="replaying"):
            print(step)

    assert out.getvalue() == "0\n1\n2\n"
    assert "replaying" in err.getvalue()


def test_stderr_without_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PROGRESS_INTERVAL", 0.001)
    err = LineStream("replaying: 1 of 8,760")
    with redirect_stderr(err), progress() as bar:
        for step in bar.track(range(2), total=8_760, description="replaying"):
            assert step == 0 or err.written.wait(60)

    assert "replaying: 1 of 8,760\n" in err.getvalue()


def test_long_reading_writes_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PROGRESS_INTERVAL", 0.001)
    err = LineStream("reading the logs\n")
    with redirect_stderr(err), progress() as bar:
        with reading_progress(bar):
            assert err.written.wait(60)
        assert not bar.tasks


def test_short_task_writes_nothing() -> None:
    err = io.StringIO()
    with redirect_stderr(err), progress() as bar:
        assert list(bar.track(range(3), total=3, description="replaying")) == [0, 1, 2]

    assert err.getvalue() == ""


@pytest.mark.parametrize(
    "value, cell",
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1+1", "'＝1+1"),
        (" =1+1", " '=1+1"),
        ("a;=1+1", "a;'=1+1"),
        ('x","=1+1', '"x"",""=1+1"'),
        ("\t=1+1", r"\u0009=1+1"),
        ("\r\n=1+1", r"\u000d\u000a=1+1"),
        ("a\x1b[31m\u202eb", r"a\u001b[31m\u202eb"),
        ("alice@example.com", "alice@example.com"),
        ("2026-06-10T12:00:00Z", "2026-06-10T12:00:00Z"),
        (-5, "-5"),
        (-0.5, "-0.5"),
        (None, ""),
        (["=1"], '"[""=1""]"'),
    ],
)
def test_cell_of_csv_is_inert(capsys: pytest.CaptureFixture[str], value: object, cell: str) -> None:
    write_rows([{"actor": value, "n": 1}], ["actor", "n"], "csv")
    assert capsys.readouterr().out == f"actor,n\n{cell},1\n"


def test_remark_is_inert_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_remark("error: a\x1b[31m\n  in \u202eb")
    assert capsys.readouterr().err == "error: a\\u001b[31m\n  in \\u202eb\n"


@pytest.mark.parametrize("mode", [None, 0o644])
def test_report_is_for_its_owner_only(tmp_path: Path, mode: int | None) -> None:
    path = tmp_path / "report.html"
    if mode:
        path.write_text("an older and longer report", encoding="utf-8")
        path.chmod(mode)
    write_report(path, "alice@example.com")
    assert (path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == ("alice@example.com", 0o600)


@pytest.mark.parametrize("width, table", [(80, True), (40, False)])
def test_row_is_never_cut_by_a_narrow_terminal(
    width: int, table: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    row = {"id": "in_0123456789abcdef", "opened": "2026-06-09T10:05:00Z", "note": ""}
    with redirect_stdout(Terminal()) as out:
        write_rows([row], list(row), "table")

    text = out.getvalue()
    assert "in_0123456789abcdef" in text
    assert "2026-06-09T10:05:00Z" in text
    assert ("│" in text) is table


@pytest.mark.parametrize("output_format, marked", [("table", True), ("csv", False)])
def test_name_that_looks_like_another_is_marked_for_people_only(
    output_format: RowFormat, marked: bool
) -> None:
    with redirect_stdout(io.StringIO()) as out:
        write_rows([{"key": "Account \N{CYRILLIC SMALL LETTER A}lice"}], ["key"], output_format)
    assert ("[mixed scripts: Cyrillic, Latin]" in out.getvalue()) is marked
