"""`silences`: what pages nobody, added, listed and lifted."""

from datetime import datetime, timedelta
from getpass import getuser
from typing import Annotated, Any

import typer

from detection.cli.options import RowFormat, RuleName, clock, duration_option, environment_job
from detection.cli.output import write_rows
from detection.rules.loading import default_rule
from detection.rules.model import Rule
from detection.rules.silences import CRITERIA, Silence, parse_silence

app = typer.Typer(
    no_args_is_help=True, help="Add, list and lift silences: pairs that page nobody for a while."
)
COLUMNS = ["name", "state", "criteria", "owner", "reason", "created", "expires", "rule"]


def _pattern_option(name: str, text: str) -> Any:  # noqa: ANN401  # typer has no public type for an option
    return typer.Option(f"--{name}", metavar="PATTERN", help=f"{text}; * and ? stand for anything.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What it is called: letters, digits, dots and dashes.")],
    duration: Annotated[timedelta, duration_option("--for", "How long it lasts")],
    reason: Annotated[str, typer.Option(help="Why.")],
    actor: Annotated[str | None, _pattern_option("actor", "Of this actor")] = None,
    address: Annotated[str | None, _pattern_option("address", "Changes from this address or network")] = None,
    change: Annotated[str | None, _pattern_option("change", "Changes of this kind")] = None,
    signal: Annotated[
        str | None, _pattern_option("signal", "Signals of this kind, its finish reason")
    ] = None,
    model: Annotated[str | None, _pattern_option("model", "Signals of this model")] = None,
    by: Annotated[
        str, typer.Option(metavar="NAME", help="Who; the name you are signed in with if not given.")
    ] = "",
    rule_name: RuleName = None,
) -> None:
    """Silence the pairs that have all of this, from now on. They are counted, and never told later."""
    now = clock()
    criteria = dict(zip(CRITERIA, (actor, address, change, signal, model), strict=True))
    silence = parse_silence(
        {
            "name": name,
            "owner": by or getuser(),
            "reason": reason,
            "created": now,
            "expires": now + duration,
            **criteria,
        }
    )
    job = environment_job()
    job.desk.silence(job.rule(rule_name or default_rule()), silence)
    print(f"{name} is in force until {silence.expires:%Y-%m-%d %H:%M} UTC")


@app.command("list")
def list_silences(
    output_format: Annotated[
        RowFormat, typer.Option("--format", help="A JSON object is a line.")
    ] = RowFormat.table,
) -> None:
    """List exclusions and silences, ended ones too."""
    now = clock()
    write_rows(
        [_row(rule, silence, now) for rule, silence in environment_job().desk.silences()],
        COLUMNS,
        output_format,
    )


@app.command()
def lift(
    name: str,
    by: Annotated[
        str, typer.Option(metavar="NAME", help="Who; the name you are signed in with if not given.")
    ] = "",
) -> None:
    """End a silence now. What it took is not told later."""
    environment_job().desk.lift(name, by or getuser())
    print(f"{name} is lifted")


def _row(rule: Rule, silence: Silence, now: datetime) -> dict[str, object]:
    criteria_text = ", ".join(f"{name} {value}" for name, value in silence.criteria.items())
    return {
        **silence.model_dump(mode="json"),
        "criteria": criteria_text,
        "state": silence.state(now),
        "rule": rule.folder,
    }
