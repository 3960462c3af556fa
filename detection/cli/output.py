"""Output of results on stdout (tables, CSV, JSON lines) and of remarks and progress on stderr."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from pathlib import Path
from threading import Event, Thread

from pydantic_core import to_json
from rich.console import Console
from rich.measure import Measurement
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from detection.base.errors import ConfigurationError
from detection.check.checklist import Finding
from detection.cli.options import RowFormat, TextFormat
from detection.correlation.output import RowWriter
from detection.correlation.suppressed import Suppressed
from detection.delivery.deliver import Attempt
from detection.desk import SilenceMatches
from detection.incidents.decide import Verdict
from detection.logs.events import Rejected
from detection.logs.files.loading import LoadedFiles
from detection.messages.cells import cell_text, csv_lines
from detection.messages.facts import lines
from detection.messages.text import WIDTH, escape_control, escape_line, escape_name, plural
from detection.rules.model import Rule
from detection.rules.silences import Silence
from detection.store.layout import DamagedRow

TABLE_ROWS = 50  # of a table in a terminal
WIDTH_WITHOUT_TERMINAL = 100_000
LINES_PER_WRITE = 10_000
PROGRESS_INTERVAL = 10.0  # seconds


def console() -> Console:
    """A console on stdout: as wide as the terminal; as wide as its lines where stdout is a file or a pipe."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL, highlight=False)


def write_remark(text: str) -> None:
    """Writes lines to stderr, escaped: an error may quote a file or a log."""
    print("\n".join(map(escape_control, text.split("\n"))), file=sys.stderr)


def write_silence(silence: Silence, matches: SilenceMatches) -> None:
    """Writes the period of a new silence, and how many of the last days' alerts its criteria match."""
    print(f"{silence.name} silences signals {silence.period}\n{matches.text}")


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress bar on stderr; where stderr is not a terminal, a line every ten seconds."""
    terminal = sys.stderr.isatty()
    # With a redirected stdout, rich would write the results to stderr, too.
    bar = Progress(
        console=Console(stderr=True),
        transient=True,
        disable=not terminal,
        redirect_stdout=sys.stdout.isatty(),
    )
    stopped = Event()

    def write_lines() -> None:
        while not stopped.wait(PROGRESS_INTERVAL):
            for task in bar.tasks:
                if task.visible and task.description and not task.finished:
                    steps = f": {task.completed:,.0f} of {task.total:,.0f}" if task.total else ""
                    write_remark(f"{task.description}{steps}")

    lines = Thread(target=write_lines, daemon=True)
    with bar:
        if not terminal:
            lines.start()
        try:
            yield bar
        finally:
            stopped.set()
            if not terminal:
                lines.join()


@contextmanager
def reading_progress(bar: Progress) -> Iterator[None]:
    """Shows that logs are being read, without a total: their size is not known in advance."""
    task = bar.add_task("reading the logs", total=None)
    yield
    bar.remove_task(task)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises ConfigurationError where the block cannot write to the path."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written to: {error.strerror}; give another path"
        ) from error


def write_report(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, because it names people. Raises OSError."""
    path.touch(mode=0o600)
    if path.is_file():  # not a device
        path.chmod(0o600)
    path.write_text(text, encoding="utf-8")


def require_writable(path: Path) -> None:
    """Raises ConfigurationError if a file cannot be written to, before the work whose result it is for."""
    is_new = not path.exists()
    with writing(path):
        path.open("ab").close()
        if is_new:
            path.unlink()


def write_json_line(value: object) -> None:
    """Writes a value as one line of JSON."""
    print(to_json(value, ensure_ascii=True).decode())


def write_lines(lines: Iterable[str]) -> None:
    """Writes lines of JSON in large chunks: an unbuffered stdout makes every write slow."""
    remaining_lines = iter(lines)
    while line_chunk := list(islice(remaining_lines, LINES_PER_WRITE)):
        sys.stdout.write("\n".join(line_chunk) + "\n")


def write_rows(
    rows: Iterable[Mapping[str, object]], columns: Sequence[str], output_format: RowFormat
) -> None:
    """Writes rows in the chosen format, and a remark that counts those of a table.

    A terminal shows the first TABLE_ROWS. Where the table is wider than the terminal, each row becomes a
    paragraph: a table would cut ids and times. A file or a pipe gets the whole table.
    """
    if output_format == "json":
        for row in rows:
            write_json_line(row)
    elif output_format == "csv":
        sys.stdout.writelines(csv_lines(rows, columns))
    else:
        all_rows, table, terminal = list(rows), Table(*columns), console()
        shown_rows, width = all_rows, WIDTH_WITHOUT_TERMINAL
        if sys.stdout.isatty():
            shown_rows, width = all_rows[:TABLE_ROWS], WIDTH
        texts = [[escape_name(cell_text(row[name]), width) for name in columns] for row in shown_rows]
        for cells in texts:
            table.add_row(*map(Text, cells))
        unlimited = terminal.options.update(width=WIDTH_WITHOUT_TERMINAL)
        if Measurement.get(terminal, unlimited, table).minimum <= terminal.width:
            terminal.print(table)
        else:
            for cells in texts:
                facts = (f"{name} {cell}" for name, cell in zip(columns, cells, strict=True) if cell)
                terminal.print(Text(" · ".join(facts) + "\n"))
        omission_note = f"; the table shows the first {TABLE_ROWS}" if len(shown_rows) < len(all_rows) else ""
        write_remark(f"{plural(len(all_rows), 'row')}{omission_note}")


def write_ignored_columns(tables: Mapping[str, LoadedFiles]) -> None:
    """Names the columns that the rule does not use, in a line for each table."""
    for table, loaded in tables.items():
        if loaded.ignored:
            write_remark(f"ignored columns of {table}: {', '.join(map(escape_line, loaded.ignored))}")


def write_rejected(rejected_by_reason: Mapping[str, Rejected]) -> None:
    """Counts the rows that were left out, in a line for each reason, with the location of the first."""
    for reason, rejected in rejected_by_reason.items():
        write_remark(
            f"left out: {rejected.count:,} x {reason} (first: {escape_line(rejected.first_location)})"
        )


def write_suppressed(suppressed: Suppressed) -> None:
    """Counts the pairs and events that were read and suppressed, in a line for each reason."""
    for count, noun, reason in (
        (suppressed.restamped, "pair", "that only a re-stamped row makes"),
        (suppressed.too_late, "event", "older than the window"),
        (suppressed.in_future, "event", "later than the run"),
        (suppressed.below_threshold, "pair", "of a change below the threshold"),
    ):
        if count:
            write_remark(f"suppressed: {plural(count, noun)} {reason}")


def write_alert(
    verdict: Verdict, rule: Rule, now: datetime, output_format: TextFormat, *, with_pairs: bool = False
) -> None:
    """Writes the alert of a verdict as text or as a line of JSON; `with_pairs` adds all pairs to the JSON."""
    if verdict.alert is None:
        return
    if output_format == "text":
        print("\n".join(lines(verdict.alert, rule)) + "\n", flush=True)
        return
    writer, pairs = RowWriter(rule), (pair for chain in verdict.new_pairs for pair in chain.pairs())
    rows = {"pairs": [writer.row(pair, now) for pair in pairs]} if with_pairs else {}
    alert_values = asdict(verdict.alert)
    del alert_values["evidence"]  # a selection of the pairs
    write_json_line(alert_values | rows)


def write_failed_attempt(attempt: Attempt) -> None:
    """Writes a remark where an attempt at a message failed."""
    if not attempt.outcome.sent:
        delivery, reason = attempt.delivery, attempt.outcome.dead_reason or attempt.outcome.reason
        write_remark(
            f"not sent: {delivery.id} to {delivery.destination}, attempt {delivery.attempt}: {reason}"
        )


def unsent_text(count: int) -> str:
    """The number of messages that are lost with a table in memory, and the remedy."""
    verb = "was" if count == 1 else "were"
    return f"{plural(count, 'message')} {verb} not sent; repair the destination, and repeat the command"


def require_whole(omissions: Sequence[str]) -> None:
    """Writes a remark for each omission of a list, and ends the command with 1 if there is any."""
    for omission in omissions:
        write_remark(omission)
    if omissions:
        sys.exit(1)


def damage_text(error: DamagedRow) -> str:
    """A damaged row as an omission of a list."""
    return f"not listed: {error}"


def write_findings(findings: Sequence[Finding]) -> None:
    """Writes the findings of `check` as a table, the remedy below the message."""
    table = Table("", "check", box=None, pad_edge=False)
    table.add_column("finding", overflow="fold")
    for finding in findings:
        message = Text(escape_control(finding.message))
        if finding.remedy:
            message.append(f"\n→ {finding.remedy}")
        table.add_row(Text(finding.level, style=finding.level), Text(escape_line(finding.name)), message)
    console().print(table)
