"""`demo`: three made-up days, 48 hourly runs, the alerts as an on-call reads them, and what to make of it."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from detection.cli.environment import clock
from detection.cli.options import AlertFormat
from detection.cli.output import progress, reading, say, write_alert
from detection.cli.serve import Server, wait
from detection.cli.story import write_logs
from detection.cli.summary import summary
from detection.deliver import Attempt, Destination, deliver
from detection.errors import ConfigurationError
from detection.incidents.outbox import Outbox
from detection.incidents.table import MemoryTable
from detection.job import PATIENCE, Job
from detection.rendering import render_for
from detection.replay import Replayed, compare, moments, replay
from detection.rule import Rule, default_rule, load_rule
from detection.settings import Settings, Webhook, settings_from
from detection.sources.past import Range
from detection.sources.past_files import past_files
from detection.tell import Terms
from detection.webhook import WebhookDestination

BEGIN = datetime(2026, 6, 8, tzinfo=UTC)
HISTORY = timedelta(days=1)
RUNS = 48


def demo(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Keep the made-up logs in this folder.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="Really post the alerts to this address.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the incidents as pages afterwards, on this machine.")
    ] = False,
) -> None:
    """See what it detects: made-up logs of three days, read by 48 hourly runs, here in the terminal."""
    with tempfile.TemporaryDirectory() as folder:
        logs = out or Path(folder)
        try:
            logs.mkdir(parents=True, exist_ok=True)
            write_logs(logs, BEGIN)
        except OSError as error:
            raise ConfigurationError(f"{logs} cannot be written to: {error.strerror}") from error
        job = _run(logs, settings_from({"WEBHOOK_URL": webhook or ""}))
    if out:
        say(f"The logs are in {out}. Try: python -m detection matches --logs {out} --at 2026-06-10T12:00:00Z")
    if serve:
        with Server(job, job.clock) as server:
            wait(server)
    else:
        say("The same incidents as pages: python -m detection demo --serve")


def _run(logs: Path, settings: Settings) -> Job:
    """All runs, and what they come to; returns the job with what is in its table then."""
    rule, webhooks = load_rule(default_rule()), settings.destinations
    published = _published(rule)
    first = BEGIN + HISTORY
    at = moments(first + timedelta(minutes=5), first + timedelta(hours=RUNS), rule.query_frequency)
    table, terms = MemoryTable(), Terms(render_for(webhooks))
    runs: list[Replayed] = []
    with progress() as bar, ExitStack() as opened:
        with reading(bar):
            files = opened.enter_context(past_files(logs, rule.tables | published.tables))
            source = files.source(rule, Range.over(at, rule.query_frequency, rule))
        done = replay(rule, source, at, table, terms)
        for one in bar.track(done, total=len(at), description="48 hourly runs"):
            runs.append(one)
            _post(Outbox(table, rule.folder), webhooks)
            for verdict in one.told:
                write_alert(verdict, rule, one.record.windows.now, AlertFormat.text)
        beside = files.source(published, Range.over(at, rule.query_frequency, published))
        compared = compare(published, beside, bar.track(runs, description="the published rule, same runs"))
    print(summary(rule, runs, compared))
    return Job(settings, [rule], table, lambda: at[-1] + timedelta(minutes=10))


def _post(outbox: Outbox, webhooks: Sequence[Webhook]) -> None:
    destinations: dict[str, Destination] = {webhook.name: WebhookDestination(webhook) for webhook in webhooks}
    deliver(outbox, destinations, clock, time.sleep, PATIENCE, _say)


def _say(attempt: Attempt) -> None:
    if not attempt.outcome.sent:
        say(f"not posted: {attempt.outcome.dead or attempt.outcome.reason}")


def _published(rule: Rule) -> Rule:
    published = rule.sequence.published
    return load_rule(published.rule) if published else rule
