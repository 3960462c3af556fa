"""`rules`: the rule folders, valid or what is wrong with them."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from detection.cli.options import Format
from detection.cli.output import write_rows
from detection.rule import RULES, RuleStatus, statuses


def rules(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]",
            help="A folder of rule folders; the shipped ones if not given.",
            show_default=False,
        ),
    ] = RULES,
    form: Annotated[Format, typer.Option("--format", help="A JSON object is a line.")] = Format.table,
) -> None:
    """List the rules; exit code 2 if one of them is not valid."""
    found = statuses(folder)
    write_rows((asdict(one) for one in found), list(RuleStatus.__dataclass_fields__), form)
    if not all(one.valid for one in found):
        sys.exit(2)
