"""`matches`: what a rule's query returns at a moment, without any memory."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from detection.cli.options import LogsFolder, RowFormat, RuleName, TextFormat, time_option
from detection.cli.output import (
    progress,
    reading_progress,
    write_ignored_columns,
    write_json_line,
    write_lines,
    write_rejected,
    write_rows,
    write_suppressed,
)
from detection.correlation.detection import detect_at
from detection.correlation.output import output_columns
from detection.correlation.suppressed import count_suppressed
from detection.logs.files.source import FileSource
from detection.logs.kql import bounds, queries, with_bounds
from detection.logs.window import plan_windows
from detection.rules.loading import default_rule, load_rule


def matches(
    logs_folder: LogsFolder,
    moment: Annotated[
        datetime, time_option("--at", "The moment; what was ingested after it is not there yet")
    ],
    rule_name: RuleName = None,
    output_format: Annotated[
        RowFormat, typer.Option("--format", help="A JSON object is a line.")
    ] = RowFormat.table,
) -> None:
    """Print what the rule's query returns at a moment, the newest change first: no memory, nothing is told."""
    rule = load_rule(rule_name or default_rule())
    with progress() as bar, reading_progress(bar):
        source = FileSource(logs_folder, rule.tables)
        detection = detect_at(rule, moment, source)
    write_ignored_columns(source.loaded)
    write_rejected(detection.logs.rejected)
    write_suppressed(count_suppressed(detection.logs, rule, detection.windows, detection.below_threshold))
    if output_format is RowFormat.json:
        write_lines(detection.lines())
    else:
        write_rows(detection.rows(), output_columns(rule), output_format)


def query(
    rule_name: RuleName = None,
    run_time: Annotated[
        datetime | None, time_option("--at", "The moment of the run; now if not given")
    ] = None,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="json: one object with all queries.")
    ] = TextFormat.text,
) -> None:
    """Print the KQL of a first run at a moment: changes, signals, the health of both sources, the coverage."""
    rule = load_rule(rule_name or default_rule())
    values = bounds(plan_windows(run_time or datetime.now(UTC), None, rule))
    texts = {name: with_bounds(text, values) for name, text in queries(rule).items()}
    if output_format is TextFormat.json:
        write_json_line(texts)
        return
    print("\n\n".join(f"// {name}\n{text}" for name, text in texts.items()))
