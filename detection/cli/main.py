"""The commands by name, and how an error ends one."""

import gc
import os
import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from detection import __version__
from detection.base.errors import ConfigurationError, DetectionError
from detection.cli import backtest, check, demo, incidents, matches, replay, rules, run, silences
from detection.cli.output import write_remark

COMPLETION = "_DETECTION_COMPLETE"  # what a shell sets to ask for completions of `detection`

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Pairs privileged configuration changes with the abuse signals that follow from the same actor.",
)
# The commands by the headings under which --help lists them.
COMMANDS: Mapping[str, Mapping[str, Callable[..., None]]] = {
    "Detect in exported logs": {
        "demo": demo.demo,
        "matches": matches.matches,
        "replay": replay.replay,
        "backtest": backtest.backtest,
    },
    "Write rules": {
        "rules": rules.rules,
        "new-rule": rules.new_rule,
        "test-rules": rules.rule_tests,
        "query": matches.query,
    },
    "Operate the job": {"check": check.check, "run": run.run, "runs": run.runs, "deliver": run.deliver},
}
for heading, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=heading)(command)
app.add_typer(incidents.app, name="incidents", rich_help_panel="Operate the job")
app.add_typer(silences.app, name="silences", rich_help_panel="Operate the job")


def show_version(requested: bool) -> None:
    """Prints the version and ends the command."""
    if requested:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The options without a command."""


def main() -> None:
    """Runs the command in sys.argv. A DetectionError becomes a sentence; a bug keeps its traceback."""
    # Events are millions of small tuples without cycles: by default, collecting takes half of a read.
    gc.set_threshold(200_000, 50, 50)
    # A shell completes the arguments of a name, not of `python -m detection`: docs/commands.md defines it.
    completing = COMPLETION in os.environ or any(text.endswith("-completion") for text in sys.argv[1:2])
    try:
        app(prog_name="detection" if completing else None)
    except DetectionError as error:
        write_remark(f"error: {error}")
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
