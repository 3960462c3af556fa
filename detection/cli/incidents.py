"""`incidents`: list, show and count incidents, act on them, and serve their page."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Annotated

import typer

from detection.base.errors import ConfigurationError
from detection.base.json_types import json_values
from detection.base.timestamps import iso
from detection.cli.acts import act_on_incident
from detection.cli.options import (
    AuthorOption,
    DirectOption,
    RowFormatOption,
    SilenceDuration,
    SilenceStart,
    TextFormat,
    clock,
    environment_job,
)
from detection.cli.output import damage_text, require_whole, write_json_line, write_remark, write_rows
from detection.cli.serve import Server, serve_until_interrupted
from detection.cli.summary import incident_lines
from detection.desk import Desk, IncidentDetail, rule_precisions
from detection.incidents.incident import Classification
from detection.messages.facts import lines
from detection.messages.text import escape_line, escape_name
from detection.store.layout import DamagedRow, OnDamage
from detection.store.table import PAGE
from detection.web.listing import SEVERITIES_SHOWN, STATUSES, ListQuery, list_query

app = typer.Typer(no_args_is_help=True, help="List and show incidents, and act on them.")
COLUMNS = [
    *("id", "severity", "status", "last_new", "title", "alerts", "pairs"),
    *("acknowledged_by", "assignee", "classification", "rule"),
]
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

IncidentId = Annotated[str, typer.Argument(metavar="ID", help="Id of the incident, in_…, or its beginning.")]
NoteOption = Annotated[str, typer.Option(help="Note for the incident's history.")]


@app.command("list")
def list_incidents(
    status: Annotated[str, typer.Option(help=f"{', '.join(STATUSES)}.")] = "open",
    severity: Annotated[str, typer.Option(help=f"{', '.join(SEVERITIES_SHOWN)}.")] = "",
    search: Annotated[str, typer.Option("--search", help="Words in title, names, id, rule, assignee.")] = "",
    actor: Annotated[str, typer.Option(help="Part of the actor's name.")] = "",
    rule: Annotated[str, typer.Option(metavar="NAME", help="Rule folder.")] = "",
    classification: Annotated[str, typer.Option("--as", help="Classification of closed incidents.")] = "",
    since: Annotated[str, typer.Option(metavar="TIME", help="Latest alert from: date, time, now-7d.")] = "",
    until: Annotated[str, typer.Option(metavar="TIME", help="Latest alert before; a date is included.")] = "",
    output_format: RowFormatOption = "table",
) -> None:
    """List incidents as the page does: open ones first, then the most severe, then the latest alert."""
    desk = environment_job().desk
    fields = {
        "status": status if not classification or status != "open" else "",
        "severity": severity,
        "q": search,
        "actor": actor,
        "rule": rule,
        "classification": classification,
        "since": since,
        "until": until,
    }
    query = list_query(fields, desk, clock())
    if query.problems:
        raise ConfigurationError("; ".join(f"{name} {problem}" for name, problem in query.problems.items()))
    damages: list[DamagedRow] = []
    details = list(_selected(desk, query, damages.append))
    if output_format == "json":  # with the history, which the list does not have
        whole = {detail.incident.id: detail for detail in desk.incidents(damages.append)}
        details = [whole.get(detail.incident.id, detail) for detail in details]
    write_rows((_row(detail, desk) for detail in details), COLUMNS, output_format)
    require_whole([*map(damage_text, damages)])


def _selected(desk: Desk, query: ListQuery, on_damage: OnDamage) -> Iterator[IncidentDetail]:
    """All incidents that a query selects, page by page."""
    position: str | None = ""
    while position is not None:
        page = desk.incident_page(query.selection, PAGE, position, query.filters.rule, on_damage)
        yield from page.incidents
        position = page.end


def _row(detail: IncidentDetail, desk: Desk) -> dict[str, object]:
    incident = detail.incident
    key = ", ".join(f"{name} {value}" for name, value in detail.key)
    severity = incident.severity or desk.rule_or_placeholder(detail.rule).severity
    return {
        **json_values(incident),
        "severity": severity,
        "title": incident.title or key,
        "last_new": iso(incident.updated),
        "key": key,
        "rule": detail.rule,
    }


@app.command()
def show(
    incident: IncidentId,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="Output format; json prints one object.")
    ] = "text",
    alerts: Annotated[bool, typer.Option("--alerts", help="Show every alert too.")] = False,
) -> None:
    """Show an incident on one screen. JSON has everything."""
    desk, damages = environment_job().desk, list[DamagedRow]()
    if output_format == "json":
        write_json_line(json_values(desk.incident_by_prefix(incident)))
        return
    detail = desk.incident_by_prefix(incident, damages.append)
    rule = desk.rule_or_placeholder(detail.rule)
    if detail.rule not in {rule.folder for rule in desk.rules}:
        write_remark(f"the alerts of {incident} cannot be shown without its rule; --format json shows them")
        detail = replace(detail, alerts=())
    print("\n".join(incident_lines(detail, rule)))
    if alerts:
        print("\n".join(line for alert in detail.alerts for line in ("", *lines(alert, rule))))
    require_whole([*map(damage_text, damages)])


@app.command()
def ack(
    incident: IncidentId, by: AuthorOption = "", note: NoteOption = "", direct: DirectOption = False
) -> None:
    """Acknowledge an incident. It stays open and takes further alerts."""
    name, entry = act_on_incident(incident, "acknowledge", {"by": by, "note": note}, direct=direct)
    print(f"{name} is {entry.action_text}")


@app.command()
def assign(
    incident: IncidentId,
    person: Annotated[str, typer.Argument(metavar="NAME", help="Name of the person who works on it.")],
    by: AuthorOption = "",
    note: NoteOption = "",
    direct: DirectOption = False,
) -> None:
    """Assign an incident to a person. Its status stays, and no message is sent."""
    fields = {"by": by, "note": note, "assignee": person}
    name, entry = act_on_incident(incident, "assign", fields, direct=direct)
    print(f"{name} is {escape_name(entry.action_text)}")


@app.command()
def comment(
    incident: IncidentId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Comment for the incident's history.")],
    by: AuthorOption = "",
    direct: DirectOption = False,
) -> None:
    """Add a comment to the history of an incident. Nothing else changes."""
    name, _ = act_on_incident(incident, "comment", {"by": by, "note": text}, direct=direct)
    print(f"{name} has a new comment")


@app.command()
def close(
    incident: IncidentId,
    classification: Annotated[Classification, typer.Option("--as", help="Classification.")],
    by: AuthorOption = "",
    note: NoteOption = "",
    direct: DirectOption = False,
) -> None:
    """Close an incident, or classify a closed incident again.

    Later alerts of the same key open a new incident.
    """
    fields = {"by": by, "note": note, "classification": classification}
    name, entry = act_on_incident(incident, "close", fields, direct=direct)
    print(f"{name} is {entry.action_text}")


@app.command()
def reopen(
    incident: IncidentId, by: AuthorOption = "", note: NoteOption = "", direct: DirectOption = False
) -> None:
    """Reopen a closed incident. It takes no alerts: new evidence opens the next incident."""
    name, entry = act_on_incident(incident, "reopen", {"by": by, "note": note}, direct=direct)
    print(f"{name} is {entry.action_text}")


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
    name, entry = act_on_incident(incident, "silence", fields, direct=direct)
    print(f"{name} is {entry.action_text} {escape_line(entry.note)}")


@app.command()
def stats(output_format: RowFormatOption = "table") -> None:
    """Count the incidents of every rule by status and classification."""
    damages: list[DamagedRow] = []
    details = environment_job().desk.incidents(damages.append)
    rows = [asdict(precision) for precision in rule_precisions(details)]
    write_rows(rows, STATS_COLUMNS, output_format)
    require_whole([*map(damage_text, damages)])
