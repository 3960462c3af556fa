"""`backtest`: what a rule would have told over a stretch of the past."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from detection.backtest.backtest import Plan, make_plan, run_backtest
from detection.backtest.page import render_page
from detection.base.errors import ConfigurationError
from detection.base.json_types import json_values
from detection.cli.backtest_tables import write_backtest
from detection.cli.options import ReportFormat, RuleName, clock, environment_job, time_option
from detection.cli.output import (
    progress,
    write_ignored_columns,
    write_json_line,
    write_rejected,
    write_remark,
)
from detection.logs.history.files import open_file_archive
from detection.logs.history.past import Archive, cross_row_keyword
from detection.logs.history.workspace import WorkspaceArchive
from detection.logs.log_analytics.client import open_log_analytics
from detection.rules.loading import default_rule
from detection.runs.replay import Replayed
from detection.store.silence_list import SilenceList


def backtest(
    begin: Annotated[datetime, time_option("--from", "The first run")],
    end: Annotated[datetime, time_option("--to", "The last run is at or before this")],
    logs_folder: Annotated[
        Path | None,
        typer.Option(
            "--logs", metavar="DIR", help="Folder of exported logs: <table>*.jsonl, .csv or .parquet."
        ),
    ] = None,
    workspace_ids: Annotated[
        str | None,
        typer.Option(
            "--workspace", metavar="ID", help="Read a Log Analytics workspace (several: comma-separated)."
        ),
    ] = None,
    rule_name: RuleName = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting or a key of rule.yaml otherwise; may be repeated."
        ),
    ] = None,
    with_silences: Annotated[
        bool,
        typer.Option("--silences", help="Say what each silence of INCIDENT_STORAGE would remove, too."),
    ] = False,
    report_file: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE.html", help="Write the report with pictures there."),
    ] = None,
    output_format: Annotated[
        ReportFormat, typer.Option("--format", help="json: one object.")
    ] = ReportFormat.table,
) -> None:
    """Try a rule on the past: hourly runs over logs that are read once. Never posts anything, keeps nothing."""
    environment = {**os.environ, "LOG_ANALYTICS_WORKSPACE_ID": workspace_ids or ""}
    plan = make_plan(rule_name or default_rule(), begin, end, assignments or [], environment)
    silences = SilenceList(environment_job().table, plan.rule.folder).silences() if with_silences else []
    if keyword := cross_row_keyword(plan.rule):
        write_remark(
            f"replay may say more: the rule's queries look across rows, here of several runs at once: {keyword}"
        )
    with progress() as bar, ExitStack() as exit_stack:
        reading_task = bar.add_task("reading the logs", total=None)
        archive = exit_stack.enter_context(_archive(plan, logs_folder))

        def show_progress(runs: Iterable[Replayed], run_count: int, description: str) -> Iterable[Replayed]:
            bar.update(reading_task, visible=False)
            return bar.track(runs, total=run_count, description=description)

        result = run_backtest(plan, archive, silences, show_progress)
    write_rejected(result.rejected)
    if report_file:
        _write_report(report_file, render_page(result, plan.rule))
    if output_format is ReportFormat.json:
        write_json_line(json_values(result))
    else:
        write_backtest(result, plan.rule)


@contextmanager
def _archive(plan: Plan, logs_folder: Path | None) -> Iterator[Archive]:
    """Where the logs of the past come from."""
    settings = plan.settings
    if bool(logs_folder) is bool(settings.LOG_ANALYTICS_WORKSPACE_ID):
        raise ConfigurationError("give --logs or --workspace, and not both")
    if logs_folder:
        tables = plan.rule.tables | (plan.published.tables if plan.published else {})
        with open_file_archive(logs_folder, tables) as files:
            write_ignored_columns(files.loaded)
            yield files
        return
    workspace_logs = open_log_analytics(
        settings.LOG_ANALYTICS_WORKSPACE_ID,
        settings.LOG_ANALYTICS_ENDPOINT,
        settings.AZURE_CLIENT_ID,
        clock,
        inline=settings.PARSERS == "inline",
    )
    try:
        yield WorkspaceArchive(workspace_logs)
    finally:
        workspace_logs.close()


def _write_report(report_file: Path, text: str) -> None:
    try:
        report_file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{report_file} cannot be written to: {error.strerror}") from error
    write_remark(f"the report is in {report_file}")
