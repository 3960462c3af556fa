"""`silences`: what pages nobody, added, listed and lifted."""

from datetime import datetime, timedelta
from getpass import getuser
from typing import Annotated, Any

import typer

from detection.cli.environment import clock, job
from detection.cli.options import Format, RuleName, span_option
from detection.cli.output import write_rows
from detection.rule import Rule, default_rule
from detection.silences import CRITERIA, Silence, silence_from

app = typer.Typer(
    no_args_is_help=True, help="Add, list and lift silences: pairs that page nobody for a while."
)
COLUMNS = ["name", "state", "what", "owner", "reason", "made", "expires", "rule"]


def _pattern(name: str, text: str) -> Any:  # noqa: ANN401  # typer has no public type for an option
    return typer.Option(f"--{name}", metavar="PATTERN", help=f"{text}; * and ? stand for anything.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What it is called: letters, digits, dots and dashes.")],
    until: Annotated[timedelta, span_option("--for", "How long it lasts")],
    reason: Annotated[str, typer.Option(help="Why.")],
    actor: Annotated[str | None, _pattern("actor", "Of this actor")] = None,
    address: Annotated[str | None, _pattern("address", "Changes from this address or network")] = None,
    change: Annotated[str | None, _pattern("change", "Changes of this kind")] = None,
    signal: Annotated[str | None, _pattern("signal", "Signals of this kind, its finish reason")] = None,
    model: Annotated[str | None, _pattern("model", "Signals of this model")] = None,
    by: Annotated[
        str, typer.Option(metavar="NAME", help="Who; the name you are signed in with if not given.")
    ] = "",
    rule: RuleName = None,
) -> None:
    """Silence the pairs that have all of this, from now on. They are counted, and never told later."""
    now = clock()
    criteria = dict(zip(CRITERIA, (actor, address, change, signal, model), strict=True))
    one = silence_from(
        {
            "name": name,
            "owner": by or getuser(),
            "reason": reason,
            "made": now,
            "expires": now + until,
            **criteria,
        }
    )
    present = job()
    present.silence(present.rule(rule or default_rule()), one)
    print(f"{name} is in force until {one.expires:%Y-%m-%d %H:%M} UTC")


@app.command("list")
def list_silences(
    form: Annotated[Format, typer.Option("--format", help="A JSON object is a line.")] = Format.table,
) -> None:
    """List exclusions and silences, ended ones too."""
    now = clock()
    write_rows([_row(rule, one, now) for rule, one in job().silences()], COLUMNS, form)


@app.command()
def lift(
    name: str,
    by: Annotated[
        str, typer.Option(metavar="NAME", help="Who; the name you are signed in with if not given.")
    ] = "",
) -> None:
    """End a silence now. What it took is not told later."""
    job().lift(name, by or getuser())
    print(f"{name} is lifted")


def _row(rule: Rule, one: Silence, now: datetime) -> dict[str, object]:
    what = ", ".join(f"{name} {value}" for name, value in one.criteria.items())
    return {**one.model_dump(mode="json"), "what": what, "state": one.state(now), "rule": rule.folder}
