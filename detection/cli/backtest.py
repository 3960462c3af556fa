"""`backtest`: the alerts and messages of a rule over the past, as tables, JSON or an HTML report."""

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from detection.backtest.backtest import Backtest, make_plan, run_backtest
from detection.backtest.page import render_page
from detection.base.errors import ConfigurationError
from detection.base.json_types import json_values
from detection.base.timestamps import iso
from detection.cli.options import (
    LOGS_HELP,
    ReportFormat,
    RuleName,
    clock,
    environment_job,
    time_option,
)
from detection.cli.output import (
    console,
    progress,
    require_writable,
    write_ignored_columns,
    write_json_line,
    write_rejected,
    write_remark,
    write_report,
    writing,
)
from detection.logs.history.files import open_file_archive
from detection.logs.history.past import Archive, cross_row_keyword
from detection.logs.history.workspace import WorkspaceArchive
from detection.logs.log_analytics.client import open_log_analytics
from detection.messages.text import escape_line, escape_name, plural
from detection.rules.loading import default_rule
from detection.rules.model import Rule
from detection.runs.replay import Replayed
from detection.store.silence_list import SilenceList

NAMES_SHOWN = 10  # rows of a table of kinds or actors


def backtest(
    begin: Annotated[datetime, time_option("--from", "Time of the first run")],
    end: Annotated[datetime, time_option("--to", "Latest time of the last run")],
    logs_folder: Annotated[Path | None, typer.Option("--logs", metavar="DIR", help=LOGS_HELP)] = None,
    workspace_ids: Annotated[
        str | None,
        typer.Option(
            "--workspace", metavar="ID", help="Log Analytics workspace to read; separate several by commas."
        ),
    ] = None,
    rule_name: RuleName = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a setting or a key of rule.yaml; may be repeated."
        ),
    ] = None,
    with_silences: Annotated[
        bool,
        typer.Option(
            "--silences", help="Count the pairs that each silence in INCIDENT_STORAGE would remove."
        ),
    ] = False,
    report_file: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE.html", help="Write a report with charts to this file."),
    ] = None,
    output_format: Annotated[
        ReportFormat, typer.Option("--format", help="Output format; json prints one object.")
    ] = "table",
) -> None:
    """Count the alerts and messages of a rule over the past. Stores nothing and sends nothing.

    The runs are hourly, and the logs are read once for all of them.
    """
    environment = {**os.environ, "LOG_ANALYTICS_WORKSPACE_ID": workspace_ids or ""}
    plan = make_plan(rule_name or default_rule(), begin, end, assignments or [], environment)
    settings = plan.settings
    if bool(logs_folder) is bool(settings.LOG_ANALYTICS_WORKSPACE_ID):
        raise ConfigurationError("give either --logs or --workspace")
    if report_file:
        require_writable(report_file)
    silences = SilenceList(environment_job().table, plan.rule.folder).silences() if with_silences else []
    if keyword := cross_row_keyword(plan.rule):
        write_remark(
            f"the rule's query uses {keyword}, which here looks at the rows of several runs at once: "
            "`replay` may alert more"
        )
    with progress() as bar, ExitStack() as exit_stack:
        reading_task = bar.add_task("reading the logs", total=None)
        if logs_folder:
            tables = plan.rule.tables | (plan.published.tables if plan.published else {})
            files = exit_stack.enter_context(open_file_archive(logs_folder, tables))
            write_ignored_columns(files.loaded)
            archive: Archive = files
        else:
            workspace_logs = open_log_analytics(
                settings.LOG_ANALYTICS_WORKSPACE_ID,
                settings.LOG_ANALYTICS_ENDPOINT,
                settings.AZURE_CLIENT_ID,
                clock,
            )
            archive = WorkspaceArchive(exit_stack.enter_context(closing(workspace_logs)))

        def show_progress(runs: Iterable[Replayed], run_count: int, description: str) -> Iterable[Replayed]:
            bar.update(reading_task, visible=False)
            return bar.track(runs, total=run_count, description=description)

        result = run_backtest(plan, archive, silences, show_progress)
    write_rejected(result.rejected)
    if report_file:
        with writing(report_file):
            write_report(report_file, render_page(result, plan.rule))
        write_remark(f"the report is in {report_file}")
    if output_format == "json":
        write_json_line(json_values(result))
    else:
        write_backtest(result, plan.rule)


def write_backtest(result: Backtest, rule: Rule) -> None:
    """Writes the totals, and tables by day, by kind and actor, and by silence, exclusion or setting."""
    figures, published, terminal = result.figures, result.published, console()
    overrides = ", ".join(escape_line(f"{key}={value}") for key, value in result.overridden.items())
    busiest = "; ".join(f"{plural(day.messages, 'message')} on {day.day:%d %b}" for day in figures.busiest)
    facts = {
        "rule": f"{escape_line(result.rule)}, {iso(result.first_run)} to {iso(result.last_run)}",
        "overrides": overrides,
        **{
            f"read, {side}": f"{plural(health.rows, 'row')}, {health.named:,} naming an actor; "
            f"{result.row_counts[side]:,} used by the runs"
            for side, health in result.health.items()
        },
        "alerted": f"{plural(figures.pairs, 'pair')} in {plural(figures.alerts, 'alert')}, "
        f"{plural(figures.incidents, 'incident')}",
        "on-call messages": f"{figures.messages:,}, including {plural(figures.digests, 'digest')}",
        "busiest days": busiest,
    }
    if published:
        facts["published rule"] = (
            f"returned {plural(published.returned, 'row')}, "
            f"{published.repeated:,} of them for pairs that it had returned before;"
        )
        facts[""] = (
            f"missed {plural(published.missed, 'pair')} alerted here, and returned "
            f"{plural(published.false, 'pair')} not alerted here"
        )
    print("\n".join(f"{label:<18} {text}" for label, text in facts.items() if text) + "\n")
    days = [
        (f"{day.day:%a %d %b}", day.runs, day.messages, day.alerts, day.pairs, day.opened)
        for day in figures.days
    ]
    terminal.print(_counts_table("day", ("runs", "messages", "alerts", "pairs", "incidents opened"), days))
    for name, top_counts, side in (
        ("change", figures.changes, rule.sequence.changes),
        ("signal", figures.signals, rule.sequence.signals),
        ("actor", figures.actors, None),
    ):
        if not top_counts.top:
            continue
        top = [
            (side.label(count.name) if side else count.name, count.alerts, count.pairs)
            for count in top_counts.top[:NAMES_SHOWN]
        ]
        table = _counts_table(name, ("alerts", "pairs"), top)
        if top_counts.total > len(top):
            table.caption = f"the first {len(top)} of {top_counts.total:,}"
        terminal.print(table)
    if result.noise_reductions:
        reductions = [
            (
                reduction.removed_by if reduction.in_place else f"{reduction.removed_by} (if added)",
                reduction.messages,
                reduction.alerts,
                reduction.pairs,
            )
            for reduction in result.noise_reductions
        ]
        terminal.print(_counts_table("removed by", ("messages", "alerts", "pairs"), reductions))


def _counts_table(name: str, count_columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table of names and counts. The names are escaped: they may come from the logs."""
    table = Table()
    table.add_column(name, overflow="fold")
    for column in count_columns:
        table.add_column(column, justify="right")
    for row_name, *counts in rows:
        cells = (f"{count:,}" if isinstance(count, int) else str(count) for count in counts)
        table.add_row(Text(escape_name(row_name)), *cells)
    return table
