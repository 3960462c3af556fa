"""`replay`: the alerts that hourly runs over the past would have told."""

from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Annotated

import typer

from detection.cli.options import AlertFormat, Logs, RuleName, span_option, time_option
from detection.cli.output import progress, reading, say, say_loaded, say_rejected, write_alert
from detection.errors import ConfigurationError
from detection.incidents.table import MemoryTable
from detection.replay import moments
from detection.replay import replay as replayed
from detection.rule import default_rule, load_rule
from detection.sources.past import Range, across_rows
from detection.sources.past_files import past_files
from detection.timestamps import moment


def replay(
    logs: Logs,
    begin: Annotated[datetime, time_option("--from", "The first run")],
    end: Annotated[datetime, time_option("--to", "The last run is at or before this")],
    every: Annotated[
        timedelta | None, span_option("--every", "Between runs; the rule's queryFrequency if not given")
    ] = None,
    skip: Annotated[str, typer.Option(metavar="TIME,…", help="Runs that did not happen.")] = "",
    rule: RuleName = None,
    form: Annotated[
        AlertFormat, typer.Option("--format", help="An alert is a line in json.")
    ] = AlertFormat.text,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="With every pair, as `matches` prints it (json).")
    ] = False,
) -> None:
    """Run the rule over the past on a fresh memory and print the alerts. Never posts anything.

    Each run sees only what had arrived: _ingested, or else the row's time stamp, at or before its moment.
    """
    if pairs and form is not AlertFormat.json:
        raise ConfigurationError("--pairs goes with --format json")
    chosen = load_rule(rule or default_rule())
    every = every or chosen.query_frequency
    skipped = {moment(text.strip()) for text in skip.split(",") if text.strip()}
    at = moments(begin, end, every, skipped)
    last = None
    with progress() as bar, ExitStack() as opened:
        with reading(bar):
            files = opened.enter_context(past_files(logs, chosen.tables))
            source = files.source(chosen, Range.over(at, every, chosen))
        say_loaded(files.loaded)
        if word := across_rows(chosen):
            say(f"each run reads the logs anew, for the rule's queries look across rows: {word}")
        runs = replayed(chosen, source, at, MemoryTable())
        for last in bar.track(runs, total=len(at), description="replaying"):
            for verdict in last.told:
                write_alert(verdict, chosen, last.record.windows.now, form, with_pairs=pairs)
    say_rejected(last.record.rejected if last else {})
    say(f"{len(at):,} runs")
