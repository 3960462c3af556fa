"""`incidents`: list, show, acknowledge, silence and close them, count what they turned out to be, serve them as pages."""

from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from getpass import getuser
from typing import Annotated

import typer

from detection.base.json_types import json_values
from detection.cli.options import RowFormat, TextFormat, clock, duration_option, environment_job
from detection.cli.output import write_json_line, write_rows
from detection.cli.serve import Server, serve_until_interrupted
from detection.cli.summary import incident_lines
from detection.desk import IncidentDetail, rule_precisions

app = typer.Typer(no_args_is_help=True, help="List, show, acknowledge, silence and close incidents.")
COLUMNS = ["id", "status", "key", "opened", "updated", "alerts", "pairs", "predecessor", "rule"]
STATS_COLUMNS = [
    "rule",
    "incidents",
    "open",
    "true_positive",
    "benign",
    "false_positive",
    "undetermined",
    "precision",
]


AuthorOption = Annotated[
    str, typer.Option(metavar="NAME", help="Who; the name you are signed in with if not given.")
]
NoteOption = Annotated[str, typer.Option(help="Why.")]


class ClassificationOption(StrEnum):
    """What an incident turned out to be."""

    true_positive = "true-positive"
    benign = "benign"
    false_positive = "false-positive"
    undetermined = "undetermined"


@app.command("list")
def list_incidents(
    output_format: Annotated[
        RowFormat, typer.Option("--format", help="A JSON object is a line.")
    ] = RowFormat.table,
) -> None:
    """List the incidents, those opened last first."""
    write_rows(map(_row, environment_job().desk.incidents()), COLUMNS, output_format)


@app.command()
def show(
    incident: str,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="json: one object.")
    ] = TextFormat.text,
) -> None:
    """Show an incident with its alerts."""
    detail = environment_job().desk.incident(incident)
    if output_format is TextFormat.json:
        write_json_line(json_values(detail))
    else:
        print("\n".join(incident_lines(detail)))


@app.command()
def ack(incident: str, by: AuthorOption = "", note: NoteOption = "") -> None:
    """Acknowledge an incident: somebody is on it. It goes on taking alerts."""
    job = environment_job()
    job.desk.acknowledge(job.desk.incident(incident), by or getuser(), note)
    print(f"{incident} is acknowledged")


@app.command()
def close(
    incident: str,
    classification: Annotated[ClassificationOption, typer.Option("--as", help="What it turned out to be.")],
    by: AuthorOption = "",
    note: NoteOption = "",
) -> None:
    """Close an incident: it takes no more alerts; new evidence opens the next one."""
    job = environment_job()
    job.desk.close(job.desk.incident(incident), classification.value, by or getuser(), note)
    print(f"{incident} is closed as {classification.value}")


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 0,
) -> None:
    """Show the incidents as pages, here on this machine; Ctrl-C ends it."""
    with Server(environment_job(), clock, port) as server:
        serve_until_interrupted(server)


@app.command()
def silence(
    incident: str,
    duration: Annotated[timedelta, duration_option("--for", "How long it lasts")],
    reason: Annotated[str, typer.Option(help="Why.")],
    by: AuthorOption = "",
) -> None:
    """Silence an incident's actor for a while: what comes is counted, and never told. `silences` has finer ones."""
    job = environment_job()
    detail = job.desk.incident(incident)
    silence = job.desk.silence_incident(detail, clock() + duration, by or getuser(), reason)
    print(f"{silence.name} is in force until {silence.expires:%Y-%m-%d %H:%M} UTC")


@app.command()
def stats(
    output_format: Annotated[
        RowFormat, typer.Option("--format", help="A JSON object is a line.")
    ] = RowFormat.table,
) -> None:
    """Count the incidents of every rule by what they turned out to be."""
    write_rows(
        [asdict(precision) for precision in rule_precisions(environment_job().desk.incidents())],
        STATS_COLUMNS,
        output_format,
    )


def _row(detail: IncidentDetail) -> dict[str, object]:
    names = ", ".join(f"{name} {value}" for name, value in detail.key)
    return {**json_values(detail.incident), "key": names, "rule": detail.rule}
