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

from detection.check.finding import Finding
from detection.cli.options import AlertFormat, Format
from detection.events import Rejected
from detection.incidents.grouping import Verdict
from detection.messages.text import inert, lines, visible
from detection.rows import Output
from detection.rule import Rule
from detection.sources.loading import Loaded
from detection.withheld import HeldBack

TABLE_ROWS = 50
LINES_AT_A_TIME = 10_000
BETWEEN_LINES = 10.0  # seconds


def say(text: str) -> None:
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
    with bar, nullcontext() if terminal else _lines(bar):
        yield bar


@contextmanager
def reading(bar: Progress) -> Iterator[None]:
    """Shows that logs are read, which takes nobody knows how long."""
    task = bar.add_task("reading the logs", total=None)
    yield
    bar.remove_task(task)


@contextmanager
def _lines(bar: Progress) -> Iterator[None]:
    """Says now and then how far it is."""
    done = Event()

    def say_it() -> None:
        while not done.wait(BETWEEN_LINES):
            for task in bar.tasks:
                if task.visible and task.description and not task.finished:
                    steps = f": {task.completed:,.0f} of {task.total:,.0f}" if task.total else ""
                    say(f"{task.description}{steps}")

    lines = Thread(target=say_it, daemon=True)
    lines.start()
    try:
        yield
    finally:
        done.set()
        lines.join()


def json_line(value: object) -> None:
    """One JSON value, one line."""
    print(to_json(value, ensure_ascii=True).decode())


def write_lines(lines: Iterable[str]) -> None:
    """Lines of JSON, as they are; many at a time, for stdout may write through."""
    rest = iter(lines)
    while some := list(islice(rest, LINES_AT_A_TIME)):
        sys.stdout.write("\n".join(some) + "\n")


def write_rows(rows: Iterable[Mapping[str, object]], columns: Sequence[str], form: Format) -> None:
    """Rows in the chosen form; a table shows the first of many and says how many there are."""
    if form is Format.json:
        for row in rows:
            json_line(row)
    elif form is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    else:
        _table(list(rows), columns)


def say_loaded(tables: Mapping[str, Loaded]) -> None:
    """The columns that nobody asks for, named once a table."""
    for table, loaded in tables.items():
        if loaded.ignored:
            say(f"ignored columns of {table}: {', '.join(map(inert, loaded.ignored))}")


def say_rejected(rejected: Mapping[str, Rejected]) -> None:
    """What was left out, a line for each reason, with the place of the first."""
    for reason, one in rejected.items():
        say(f"left out: {one.count:,} x {reason} (first: {inert(one.first)})")


def say_held_back(held: HeldBack) -> None:
    """What was read and is not told, and why."""
    reasons = {
        "published pair that only a re-stamped row makes": held.restamped,
        "event older than the window by its own time": held.too_late,
        "event ahead of now by its own time": held.waiting,
        "signal of a kind of which there are not enough yet": held.below_minimum,
    }
    for reason, number in reasons.items():
        if number:
            say(f"held back: {number:,} x {reason}")


def write_alert(
    verdict: Verdict, rule: Rule, now: datetime, form: AlertFormat, *, with_pairs: bool = False
) -> None:
    """An alert as an on-call reads it, or as one line of JSON, there with its pairs if wanted."""
    if verdict.alert is None:
        return
    if form is AlertFormat.text:
        print("\n".join(lines(verdict.alert, rule)) + "\n", flush=True)
        return
    output, pairs = Output(rule), (pair for part in verdict.told for pair in part.pairs())
    rows = {"pairs": [output.row(pair, now) for pair in pairs]} if with_pairs else {}
    told = asdict(verdict.alert)
    del told["evidence"]  # of which the pairs are all
    json_line(told | rows)


def write_findings(findings: Sequence[Finding]) -> None:
    """What was checked as a table: the level in its colour and its word, and under what was found what to do."""
    table = Table("", "check", "found", box=None, pad_edge=False)
    for one in findings:
        what = Text(visible(one.what))
        if one.do:
            what.append(f"\n→ {one.do}")
        table.add_row(Text(one.level, style=one.level), Text(inert(one.name)), what)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    table = Table(*columns)
    for row in rows[:TABLE_ROWS]:
        table.add_row(*(Text(inert(_cell(row[name]))) for name in columns))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    more = f"; the first {TABLE_ROWS} are shown" if len(rows) > TABLE_ROWS else ""
    say(f"{len(rows):,} rows{more}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list | dict) else str(value)
