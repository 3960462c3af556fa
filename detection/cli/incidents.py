"""`incidents`: list, show, acknowledge, silence and close them, and count what they turned out to be."""

from dataclasses import asdict
from datetime import timedelta
from enum import StrEnum
from getpass import getuser
from typing import Annotated

import typer

from detection.cli.environment import clock, job
from detection.cli.options import AlertFormat, Format, span_option
from detection.cli.output import json_line, write_rows
from detection.cli.summary import incident_lines
from detection.job import KnownIncident, plain, standings

app = typer.Typer(no_args_is_help=True, help="List, show, acknowledge, silence and close incidents.")
COLUMNS = ["id", "status", "key", "opened", "updated", "alerts", "pairs", "predecessor", "rule"]
STATS = [
    "rule",
    "incidents",
    "open",
    "true_positive",
    "benign",
    "false_positive",
    "undetermined",
    "precision",
]


By = Annotated[str, typer.Option(metavar="NAME", help="Who; the name you are signed in with if not given.")]
Note = Annotated[str, typer.Option(help="Why.")]


class Judgement(StrEnum):
    """What an incident turned out to be."""

    true_positive = "true-positive"
    benign = "benign"
    false_positive = "false-positive"
    undetermined = "undetermined"


@app.command("list")
def list_incidents(
    form: Annotated[Format, typer.Option("--format", help="A JSON object is a line.")] = Format.table,
) -> None:
    """List the incidents, those opened last first."""
    write_rows(map(_row, job().incidents()), COLUMNS, form)


@app.command()
def show(
    incident: str,
    form: Annotated[AlertFormat, typer.Option("--format", help="json: one object.")] = AlertFormat.text,
) -> None:
    """Show an incident with its alerts."""
    known = job().incident(incident)
    if form is AlertFormat.json:
        json_line(plain(known))
    else:
        print("\n".join(incident_lines(known)))


@app.command()
def ack(incident: str, by: By = "", note: Note = "") -> None:
    """Acknowledge an incident: somebody is on it. It goes on taking alerts."""
    present = job()
    present.acknowledge(present.incident(incident), by or getuser(), note)
    print(f"{incident} is acknowledged")


@app.command()
def close(
    incident: str,
    judgement: Annotated[Judgement, typer.Option("--as", help="What it turned out to be.")],
    by: By = "",
    note: Note = "",
) -> None:
    """Close an incident: it takes no more alerts; new evidence opens the next one."""
    present = job()
    present.close(present.incident(incident), judgement.value, by or getuser(), note)
    print(f"{incident} is closed as {judgement.value}")


@app.command()
def silence(
    incident: str,
    until: Annotated[timedelta, span_option("--for", "How long it lasts")],
    reason: Annotated[str, typer.Option(help="Why.")],
    by: By = "",
) -> None:
    """Silence an incident's actor for a while: what comes is counted, and never told. `silences` has finer ones."""
    present = job()
    known = present.incident(incident)
    one = present.silence_incident(known, clock() + until, by or getuser(), reason)
    print(f"{one.name} is in force until {one.expires:%Y-%m-%d %H:%M} UTC")


@app.command()
def stats(
    form: Annotated[Format, typer.Option("--format", help="A JSON object is a line.")] = Format.table,
) -> None:
    """Count the incidents of every rule by what they turned out to be."""
    write_rows([asdict(one) for one in standings(job().incidents())], STATS, form)


def _row(known: KnownIncident) -> dict[str, object]:
    names = ", ".join(f"{name} {value}" for name, value in known.key)
    return {**plain(known.incident), "key": names, "rule": known.rule}
