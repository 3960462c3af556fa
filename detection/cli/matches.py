"""`matches` and `query`: the result of a rule's query at one time, and its KQL."""

from datetime import datetime
from typing import Annotated

import typer

from detection.cli.options import (
    LogsFolder,
    RowFormatOption,
    RuleName,
    TextFormat,
    clock,
    time_option,
)
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
    moment: Annotated[datetime, time_option("--at", "Time of the query; rows ingested later are not read")],
    rule_name: RuleName = None,
    output_format: RowFormatOption = "table",
) -> None:
    """Print the pairs that a rule matches at one time, whether they were alerted before or not.

    The pairs of the newest change come first. Nothing is stored or sent.
    """
    rule = load_rule(rule_name or default_rule())
    with progress() as bar, reading_progress(bar):
        source = FileSource(logs_folder, rule.tables)
        detection = detect_at(rule, moment, source)
    write_ignored_columns(source.loaded)
    write_rejected(detection.logs.rejected)
    write_suppressed(count_suppressed(detection.logs, rule, detection.windows, detection.below_threshold))
    if output_format == "json":
        write_lines(detection.lines())
    else:
        write_rows(detection.rows(), output_columns(rule), output_format)


def query(
    rule_name: RuleName = None,
    run_time: Annotated[datetime | None, time_option("--at", "Time of the run. Defaults to now")] = None,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="Output format; json prints one object with all queries.")
    ] = "text",
) -> None:
    """Print the KQL of a rule's first run: changes, signals, health of both tables, coverage."""
    rule = load_rule(rule_name or default_rule())
    values = bounds(plan_windows(run_time or clock(), None, rule))
    texts = {name: with_bounds(text, values) for name, text in queries(rule).items()}
    if output_format == "json":
        write_json_line(texts)
        return
    print("\n\n".join(f"// {name}\n{text}" for name, text in texts.items()))
