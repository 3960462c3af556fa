"""`query`: the KQL that a run sends, ready to paste into the portal."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from detection.cli.options import RuleName, TextFormat, time_option
from detection.cli.output import write_json_line
from detection.logs.kql import bounds, queries, with_bounds
from detection.logs.window import plan_windows
from detection.rules.model import default_rule, load_rule


def query(
    rule_name: RuleName = None,
    run_time: Annotated[
        datetime | None, time_option("--at", "The moment of the run; now if not given")
    ] = None,
    output_format: Annotated[
        TextFormat, typer.Option("--format", help="json: one object with all queries.")
    ] = TextFormat.text,
) -> None:
    """Print the KQL of a first run at a moment: changes, signals, the health of both sources, the coverage."""
    rule = load_rule(rule_name or default_rule())
    values = bounds(plan_windows(run_time or datetime.now(UTC), None, rule))
    texts = {name: with_bounds(text, values) for name, text in queries(rule).items()}
    if output_format is TextFormat.json:
        write_json_line(texts)
        return
    print("\n\n".join(f"// {name}\n{text}" for name, text in texts.items()))
