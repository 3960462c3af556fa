"""`silences`: add, list and lift silences."""

from getpass import getuser
from typing import Annotated, Any

import typer

from detection.base.json_types import json_values
from detection.cli.acts import act
from detection.cli.options import (
    AuthorOption,
    DirectOption,
    RowFormatOption,
    RuleName,
    SilenceDuration,
    SilenceStart,
    clock,
    environment_job,
)
from detection.cli.output import damage_text, require_whole, write_rows, write_silence
from detection.desk import SilenceMatches
from detection.rules.silences import CRITERIA, parse_silence
from detection.store.layout import DamagedRow

app = typer.Typer(no_args_is_help=True, help="Add, list and lift silences, which suppress pairs for a while.")
COLUMNS = ["name", "state", "criteria", "owner", "reason", "created", "begins", "expires", "rule"]


def _pattern_option(name: str, text: str) -> Any:  # noqa: ANN401  # typer has no public type for an option
    return typer.Option(
        f"--{name}", metavar="PATTERN", help=f"{text}; * and ? are wildcards, \\ escapes them."
    )


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the silence: letters, digits, dots and dashes.")],
    duration: SilenceDuration,
    reason: Annotated[str, typer.Option(help="Reason for the silence.")],
    actor: Annotated[str | None, _pattern_option("actor", "Actor")] = None,
    address: Annotated[str | None, _pattern_option("address", "IP address or network of the change")] = None,
    change: Annotated[str | None, _pattern_option("change", "Kind of the change")] = None,
    signal: Annotated[str | None, _pattern_option("signal", "Kind of the signal, its finish reason")] = None,
    model: Annotated[str | None, _pattern_option("model", "Model of the signal")] = None,
    begins: SilenceStart = None,
    by: AuthorOption = "",
    rule_name: RuleName = None,
    direct: DirectOption = False,
) -> None:
    """Silence the pairs that match all given patterns and whose signal's own time lies in the silence.

    The signal's own time decides, whenever its row arrives. Silenced pairs are counted and never alerted.
    """
    answer = act(
        "silences/add",
        {
            "by": by or getuser(),
            "note": reason,
            "silence": f"{rule_name}/{name}" if rule_name else name,
            "for": json_values(duration),
            "from": (begins or clock()).isoformat(),
            **dict(zip(CRITERIA, (actor, address, change, signal, model), strict=True)),
        },
        direct=direct,
    )
    write_silence(parse_silence(answer["silence"]), SilenceMatches(**answer["matches"]))


@app.command("list")
def list_silences(output_format: RowFormatOption = "table") -> None:
    """List exclusions and silences, ended silences included. Exits 1 if the list is not complete."""
    now, desk, damages = clock(), environment_job().desk, list[DamagedRow]()
    rows = [
        {
            **entry.silence.model_dump(mode="json"),
            "criteria": entry.silence.criteria_text,
            "state": entry.silence.state(now),
            "rule": entry.rule,
        }
        for entry in desk.silences(damages.append)
    ]
    write_rows(rows, COLUMNS, output_format)
    omissions = [f"not listed: the exclusions of {fault.folder}" for fault in desk.rule_faults]
    require_whole([*omissions, *map(damage_text, damages)])


@app.command()
def lift(
    name: Annotated[str, typer.Argument(help="Name of the silence.")],
    by: AuthorOption = "",
    direct: DirectOption = False,
) -> None:
    """End a silence now, or cancel it before it begins.

    Signals from before stay silenced, also if their rows arrive later.
    """
    act("silences/lift", {"by": by or getuser(), "silence": name}, direct=direct)
    print(f"{name} is lifted")
