"""`rules`: the rule folders, valid or what is wrong with them."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from detection.cli.options import RowFormat
from detection.cli.output import write_rows
from detection.rules.model import RULES, RuleStatus, statuses


def rules(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[DIR]",
            help="A folder of rule folders; the shipped ones if not given.",
            show_default=False,
        ),
    ] = RULES,
    output_format: Annotated[
        RowFormat, typer.Option("--format", help="A JSON object is a line.")
    ] = RowFormat.table,
) -> None:
    """List the rules; exit code 2 if one of them is not valid."""
    rule_statuses = statuses(folder)
    write_rows(
        (asdict(status) for status in rule_statuses), list(RuleStatus.__dataclass_fields__), output_format
    )
    if not all(status.valid for status in rule_statuses):
        sys.exit(2)
