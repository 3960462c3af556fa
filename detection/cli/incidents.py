"""`incidents`: list, show, acknowledge, close, reopen, silence and count incidents, and serve their page."""

from dataclasses import asdict, replace
from enum import StrEnum
from typing import Annotated

import typer

from detection.base.json_types import json_values
from detection.cli.acts import act_on_incident
from detection.cli.options import (
    AuthorOption,
    DirectOption,
    RowFormat,
    RowFormatOption,
    SilenceDuration,
    SilenceStart,
    TextFormat,
    clock,
    environment_job,
)
from detection.cli.output import write_json_line, write_remark, write_rows
from detection.cli.serve import Server, serve_until_interrupted
from detection.cli.summary import incident_lines
from detection.desk import rule_precisions
from detection.messages.text import escape_line

app = typer.Typer(no_args_is_help=True, help="List, show, acknowledge, close, reopen and silence incidents.")
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

IncidentId = Annotated[str, typer.Argument(metavar="ID", help="Id of the incident, in_…")]
NoteOption = Annotated[str, typer.Option(help="Note for the incident's history.")]


class ClassificationOption(StrEnum):
    """Classification of a closed incident."""

    true_positive = "true-positive"
    benign = "benign"
    false_positive = "false-positive"
    undetermined = "undetermined"


@app.command("list")
def list_incidents(output_format: RowFormatOption = RowFormat.table) -> None:
    """List the incidents; the incident opened last comes first."""
    rows = [
        {
            **json_values(detail.incident),
            "key": ", ".join(f"{name} {value}" for name, value in detail.key),
            "rule": detail.rule,
        }
        for detail in environment_job().desk.incidents()
    ]
    write_rows(rows, COLUMNS, output_format)


@app.command()
def show(
    incident: IncidentId,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="Output format; json prints one object.")
    ] = TextFormat.text,
) -> None:
    """Show an incident with its history and alerts."""
    desk = environment_job().desk
    detail = desk.incident(incident)
    if output_format is TextFormat.json:
        write_json_line(json_values(detail))
    else:
        if detail.rule not in {rule.folder for rule in desk.rules}:
            write_remark(
                f"the alerts of {incident} cannot be shown without its rule; --format json shows them"
            )
            detail = replace(detail, alerts=())
        print("\n".join(incident_lines(detail, desk.rule_or_placeholder(detail.rule))))


@app.command()
def ack(
    incident: IncidentId, by: AuthorOption = "", note: NoteOption = "", direct: DirectOption = False
) -> None:
    """Acknowledge an incident. It stays open and takes further alerts."""
    entry = act_on_incident(incident, "acknowledge", {"by": by, "note": note}, direct=direct)
    print(f"{incident} is {entry.action_text}")


@app.command()
def close(
    incident: IncidentId,
    classification: Annotated[ClassificationOption, typer.Option("--as", help="Classification.")],
    by: AuthorOption = "",
    note: NoteOption = "",
    direct: DirectOption = False,
) -> None:
    """Close an incident, or classify a closed incident again.

    Later alerts of the same key open a new incident.
    """
    fields = {"by": by, "note": note, "classification": classification.value}
    entry = act_on_incident(incident, "close", fields, direct=direct)
    print(f"{incident} is {entry.action_text}")


@app.command()
def reopen(
    incident: IncidentId, by: AuthorOption = "", note: NoteOption = "", direct: DirectOption = False
) -> None:
    """Reopen a closed incident. It takes no alerts: new evidence opens the next incident."""
    entry = act_on_incident(incident, "reopen", {"by": by, "note": note}, direct=direct)
    print(f"{incident} is {entry.action_text}")


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 takes a free port.")] = 0,
) -> None:
    """Serve the incident page on this machine until Ctrl-C. Acts on it write to the incident table."""
    with Server(environment_job(), clock, port) as server:
        serve_until_interrupted(server)


@app.command()
def silence(
    incident: IncidentId,
    duration: SilenceDuration,
    reason: Annotated[str, typer.Option(help="Reason for the silence.")],
    by: AuthorOption = "",
    begins: SilenceStart = None,
    direct: DirectOption = False,
) -> None:
    """Silence the actor of an incident: pairs whose signal's own time lies in the silence.

    The signal's own time decides, whenever its row arrives. Silenced pairs are counted and never alerted.
    `silences add` makes silences by other criteria.
    """
    fields = {"by": by, "note": reason, "for": json_values(duration)}
    if begins:
        fields["from"] = begins.isoformat()
    entry = act_on_incident(incident, "silence", fields, direct=direct)
    print(f"{incident} is {entry.action_text} {escape_line(entry.note)}")


@app.command()
def stats(output_format: RowFormatOption = RowFormat.table) -> None:
    """Count the incidents of every rule by status and classification."""
    rows = [asdict(precision) for precision in rule_precisions(environment_job().desk.incidents())]
    write_rows(rows, STATS_COLUMNS, output_format)
