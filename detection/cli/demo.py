"""`demo`: three made-up days, 48 hourly runs, the alerts as an on-call reads them, and what to make of it."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from detection.app import DRAIN_FOR, Job
from detection.base.errors import ConfigurationError
from detection.cli.demo_data import write_logs
from detection.cli.options import TextFormat, clock
from detection.cli.output import progress, reading_progress, write_alert, write_remark
from detection.cli.serve import Server, serve_until_interrupted
from detection.cli.summary import summary
from detection.delivery.deliver import Attempt, Destination, deliver
from detection.delivery.rendering import message_renderer
from detection.delivery.webhook import WebhookDestination
from detection.logs.history.files import open_file_archive
from detection.logs.history.past import RunRange
from detection.rules.loading import default_rule, load_rule
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.replay import Replayed, compare, replay, run_times
from detection.settings import Settings, Webhook, settings_from
from detection.store.outbox import Outbox
from detection.store.table import MemoryTable

BEGIN = datetime(2026, 6, 8, tzinfo=UTC)
HISTORY = timedelta(days=1)
RUNS = 48


def demo(
    target_folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Keep the made-up logs in this folder.")
    ] = None,
    webhook_url: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="Really post the alerts to this address.")
    ] = None,
    serve_pages: Annotated[
        bool, typer.Option("--serve", help="Show the incidents as pages afterwards, on this machine.")
    ] = False,
) -> None:
    """See what it detects: made-up logs of three days, read by 48 hourly runs, here in the terminal."""
    with tempfile.TemporaryDirectory() as folder:
        logs = target_folder or Path(folder)
        try:
            logs.mkdir(parents=True, exist_ok=True)
            write_logs(logs, BEGIN)
        except OSError as error:
            raise ConfigurationError(f"{logs} cannot be written to: {error.strerror}") from error
        job = _run_hourly(logs, settings_from({"WEBHOOK_URL": webhook_url or ""}))
    if target_folder:
        write_remark(
            f"The logs are in {target_folder}. Try: python -m detection matches --logs {target_folder} --at 2026-06-10T12:00:00Z"
        )
    if serve_pages:
        with Server(job, job.clock) as server:
            serve_until_interrupted(server)
    else:
        write_remark("The same incidents as pages: python -m detection demo --serve")


def _run_hourly(logs: Path, settings: Settings) -> Job:
    """All runs, and what they come to; returns the job with what is in its table then."""
    rule, webhooks = load_rule(default_rule()), settings.destinations
    published = _published_rule(rule)
    start = BEGIN + HISTORY
    times = run_times(start + timedelta(minutes=5), start + timedelta(hours=RUNS), rule.query_frequency)
    table, options = MemoryTable(), RunOptions(message_renderer(webhooks))
    runs: list[Replayed] = []
    with progress() as bar, ExitStack() as exit_stack:
        with reading_progress(bar):
            files = exit_stack.enter_context(open_file_archive(logs, rule.tables | published.tables))
            source = files.source(rule, RunRange.of_runs(times, rule.query_frequency, rule))
        replayed_runs = replay(rule, source, times, table, options)
        for replayed in bar.track(replayed_runs, total=len(times), description="48 hourly runs"):
            runs.append(replayed)
            _post(Outbox(table, rule.folder), webhooks)
            for verdict in replayed.verdicts:
                write_alert(verdict, rule, replayed.record.windows.now, TextFormat.text)
        published_source = files.source(published, RunRange.of_runs(times, rule.query_frequency, published))
        comparison = compare(
            published, published_source, bar.track(runs, description="the published rule, same runs")
        )
    print(summary(rule, runs, comparison))
    return Job(settings, [rule], table, lambda: times[-1] + timedelta(minutes=10))


def _post(outbox: Outbox, webhooks: Sequence[Webhook]) -> None:
    destinations: dict[str, Destination] = {webhook.name: WebhookDestination(webhook) for webhook in webhooks}
    deliver(outbox, destinations, clock, time.sleep, DRAIN_FOR, _report_failure)


def _report_failure(attempt: Attempt) -> None:
    if not attempt.outcome.sent:
        write_remark(f"not posted: {attempt.outcome.dead_reason or attempt.outcome.reason}")


def _published_rule(rule: Rule) -> Rule:
    published = rule.sequence.published
    return load_rule(published.rule) if published else rule
