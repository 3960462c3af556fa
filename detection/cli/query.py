"""`query`: the KQL that a run sends, ready to paste into the portal."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from detection.cli.options import AlertFormat, RuleName, time_option
from detection.cli.output import json_line
from detection.kql import bounds, queries, with_bounds
from detection.rule import default_rule, load_rule
from detection.window import windows


def query(
    rule: RuleName = None,
    at: Annotated[datetime | None, time_option("--at", "The moment of the run; now if not given")] = None,
    form: Annotated[
        AlertFormat, typer.Option("--format", help="json: one object with all queries.")
    ] = AlertFormat.text,
) -> None:
    """Print the KQL of a first run at a moment: changes, signals, the health of both sources, the coverage."""
    chosen = load_rule(rule or default_rule())
    values = bounds(windows(at or datetime.now(UTC), None, chosen))
    texts = {name: with_bounds(text, values) for name, text in queries(chosen).items()}
    if form is AlertFormat.json:
        json_line(texts)
        return
    print("\n\n".join(f"// {name}\n{text}" for name, text in texts.items()))
