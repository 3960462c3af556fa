"""The commands, and what becomes of their errors."""

import gc
import sys

import typer

from detection.base.errors import ConfigurationError, DetectionError
from detection.cli import backtest, check, demo, incidents, matches, replay, rules, run, silences
from detection.cli.output import write_remark

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Pairs privileged OpenAI configuration changes with the abuse signals that follow from the same actor.",
)
for command in (
    demo.demo,
    matches.matches,
    replay.replay,
    backtest.backtest,
    matches.query,
    rules.rules,
    rules.new_rule,
    check.check,
    run.run,
    run.deliver,
    run.runs,
):
    app.command()(command)
app.command("test-rules")(rules.rule_tests)
app.add_typer(incidents.app, name="incidents")
app.add_typer(silences.app, name="silences")


def main() -> None:
    """Runs a command; an error that the user can mend is one sentence, a bug keeps its traceback."""
    # Events are millions of small tuples without cycles: collecting among them takes half the time of a read.
    gc.set_threshold(200_000, 50, 50)
    try:
        app()
    except DetectionError as error:
        write_remark(f"error: {error}")
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
