"""How results and remarks are written: rows as a table, CSV or JSON lines; remarks on stderr."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from threading import Event, Thread

from pydantic_core import to_json
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from detection.check.checklist import Finding
from detection.cli.options import RowFormat, TextFormat
from detection.correlation.output import RowWriter
from detection.correlation.suppressed import Suppressed
from detection.incidents.grouping import Verdict
from detection.logs.events import Rejected
from detection.logs.files.loading import LoadedFiles
from detection.messages.text import escape_control, escape_line, lines
from detection.rules.model import Rule

TABLE_ROWS = 50
LINES_PER_WRITE = 10_000
PROGRESS_INTERVAL = 10.0  # seconds


def write_remark(text: str) -> None:
    """A remark, on stderr."""
    print(text, file=sys.stderr)


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress bar on stderr; where that is no terminal, a line every ten seconds."""
    terminal = sys.stderr.isatty()
    # rich would write to stderr what is meant for a file or a pipe.
    bar = Progress(
        console=Console(stderr=True),
        transient=True,
        disable=not terminal,
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar, nullcontext() if terminal else _progress_lines(bar):
        yield bar


@contextmanager
def reading_progress(bar: Progress) -> Iterator[None]:
    """Shows that logs are read, which takes nobody knows how long."""
    task = bar.add_task("reading the logs", total=None)
    yield
    bar.remove_task(task)


@contextmanager
def _progress_lines(bar: Progress) -> Iterator[None]:
    """Says now and then how far it is."""
    stopped = Event()

    def write_progress() -> None:
        while not stopped.wait(PROGRESS_INTERVAL):
            for task in bar.tasks:
                if task.visible and task.description and not task.finished:
                    steps = f": {task.completed:,.0f} of {task.total:,.0f}" if task.total else ""
                    write_remark(f"{task.description}{steps}")

    thread = Thread(target=write_progress, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def write_json_line(value: object) -> None:
    """One JSON value, one line."""
    print(to_json(value, ensure_ascii=True).decode())


def write_lines(lines: Iterable[str]) -> None:
    """Lines of JSON, as they are; many at a time, for stdout may write through."""
    remaining_lines = iter(lines)
    while line_batch := list(islice(remaining_lines, LINES_PER_WRITE)):
        sys.stdout.write("\n".join(line_batch) + "\n")


def write_rows(
    rows: Iterable[Mapping[str, object]], columns: Sequence[str], output_format: RowFormat
) -> None:
    """Rows in the chosen form; a table shows the first of many and says how many there are."""
    if output_format is RowFormat.json:
        for row in rows:
            write_json_line(row)
    elif output_format is RowFormat.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    else:
        _write_table(list(rows), columns)


def write_ignored_columns(tables: Mapping[str, LoadedFiles]) -> None:
    """The columns that nobody asks for, named once a table."""
    for table, loaded in tables.items():
        if loaded.ignored:
            write_remark(f"ignored columns of {table}: {', '.join(map(escape_line, loaded.ignored))}")


def write_rejected(rejected_by_reason: Mapping[str, Rejected]) -> None:
    """What was left out, a line for each reason, with the place of the first."""
    for reason, rejected in rejected_by_reason.items():
        write_remark(
            f"left out: {rejected.count:,} x {reason} (first: {escape_line(rejected.first_location)})"
        )


def write_suppressed(suppressed: Suppressed) -> None:
    """What was read and is not told, and why."""
    counts_by_reason = {
        "published pair that only a re-stamped row makes": suppressed.restamped,
        "event older than the window by its own time": suppressed.too_late,
        "event ahead of now by its own time": suppressed.in_future,
        "signal of a kind of which there are not enough yet": suppressed.below_threshold,
    }
    for reason, count in counts_by_reason.items():
        if count:
            write_remark(f"held back: {count:,} x {reason}")


def write_alert(
    verdict: Verdict, rule: Rule, now: datetime, output_format: TextFormat, *, with_pairs: bool = False
) -> None:
    """An alert as an on-call reads it, or as one line of JSON, there with its pairs if wanted."""
    if verdict.alert is None:
        return
    if output_format is TextFormat.text:
        print("\n".join(lines(verdict.alert, rule)) + "\n", flush=True)
        return
    writer, pairs = RowWriter(rule), (pair for chain in verdict.new_pairs for pair in chain.pairs())
    rows = {"pairs": [writer.row(pair, now) for pair in pairs]} if with_pairs else {}
    alert_values = asdict(verdict.alert)
    del alert_values["evidence"]  # of which the pairs are all
    write_json_line(alert_values | rows)


def write_findings(findings: Sequence[Finding]) -> None:
    """What was checked as a table: the level in its colour and its word, and under what was found what to do."""
    table = Table("", "check", "found", box=None, pad_edge=False)
    for finding in findings:
        message = Text(escape_control(finding.message))
        if finding.remedy:
            message.append(f"\n→ {finding.remedy}")
        table.add_row(Text(finding.level, style=finding.level), Text(escape_line(finding.name)), message)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _write_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    table = Table(*columns)
    for row in rows[:TABLE_ROWS]:
        table.add_row(*(Text(escape_line(_cell(row[name]))) for name in columns))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    omission_note = f"; the first {TABLE_ROWS} are shown" if len(rows) > TABLE_ROWS else ""
    write_remark(f"{len(rows):,} rows{omission_note}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
