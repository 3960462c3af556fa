"""`demo`: 48 hourly runs over three days of made-up logs, their alerts and a summary."""

import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from detection.app import DRAIN_FOR, Job
from detection.base.errors import ConfigurationError
from detection.cli.demo_data import OnCallAct, load_scenario, write_logs
from detection.cli.options import clock
from detection.cli.output import (
    progress,
    reading_progress,
    unsent_text,
    write_alert,
    write_failed_attempt,
    write_remark,
    writing,
)
from detection.cli.serve import Server, serve_until_interrupted
from detection.cli.summary import summary
from detection.delivery.deliver import deliver
from detection.delivery.rendering import digest_renderer, message_renderer
from detection.delivery.webhook import open_destinations
from detection.incidents.acts import CloseAct, IncidentAct, SilenceAct
from detection.logs.history.files import open_file_archive
from detection.logs.history.past import RunRange
from detection.messages.text import plural, title
from detection.rules.loading import default_rule, load_rule
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.replay import Replayed, compare, replay, run_times
from detection.settings import settings_from
from detection.store.outbox import Outbox
from detection.store.table import MemoryTable

BEGIN = datetime(2026, 6, 8, tzinfo=UTC)
HISTORY = timedelta(days=1)
RUNS = 48
STORM_TITLES = 5  # of the alerts in a digest
FLOOD_SIGNALS = 1_000  # the least that the setting allows
ON_CALL = "Ann"


def demo(
    target_folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Keep the made-up logs in this folder.")
    ] = None,
    webhook_url: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="Post the alerts to this address.")
    ] = None,
    serve_pages: Annotated[
        bool, typer.Option("--serve", help="Serve the incident page on this machine afterwards.")
    ] = False,
) -> None:
    """Run the default rule hourly over three days of made-up logs and print its alerts. In between, a made-up
    on-call acts on some incidents.

    Reads no settings and stores nothing. Exits 1 if an alert could not be posted.
    """
    with tempfile.TemporaryDirectory() as folder:
        logs = target_folder or Path(folder)
        with writing(logs):
            logs.mkdir(parents=True, exist_ok=True)
            write_logs(logs, BEGIN)
        settings = settings_from({"WEBHOOK_URL": webhook_url or ""})
        if any(webhook.message_format is None for webhook in settings.destinations):
            raise ConfigurationError(
                "--webhook: this address serves workflows of any kind; "
                "set WEBHOOK_URL and WEBHOOK_FORMAT, and post a test with `check --send`"
            )
        rule = load_rule(default_rule())
        published = load_rule(rule.sequence.published.rule) if rule.sequence.published else rule
        start = BEGIN + HISTORY
        times = run_times(start + timedelta(minutes=5), start + timedelta(hours=RUNS), rule.query_frequency)
        table, acts = MemoryTable(), list(load_scenario().acts)
        options = RunOptions(
            message_renderer(settings.destinations),
            digest_renderer(settings.destinations, rule),
            settings.STORM_ALERTS,
            flood_signals=FLOOD_SIGNALS,
        )
        outbox = Outbox(table, rule.folder)
        runs: list[Replayed] = []
        with progress() as bar, ExitStack() as exit_stack:
            destinations = exit_stack.enter_context(open_destinations(settings.destinations))
            with reading_progress(bar):
                files = exit_stack.enter_context(open_file_archive(logs, rule.tables | published.tables))
                source = files.source(rule, RunRange.of_runs(times, rule.query_frequency, rule))
            replayed_runs = replay(rule, source, times, table, options)
            for replayed in bar.track(
                replayed_runs, total=len(times), description=f"{len(times)} hourly runs"
            ):
                runs.append(replayed)
                deliver(outbox, destinations, clock, time.sleep, DRAIN_FOR, write_failed_attempt)
                now = replayed.record.windows.now
                if replayed.record.storm:
                    print(_storm_text(replayed, rule))
                else:
                    for verdict in replayed.verdicts:
                        write_alert(verdict, rule, now, "text")
                while acts and BEGIN + acts[0].time < now + rule.query_frequency:
                    _perform(acts.pop(0), Job(settings, [rule], table, clock))
            published_source = files.source(
                published, RunRange.of_runs(times, rule.query_frequency, published)
            )
            comparison = compare(
                published, published_source, bar.track(runs, description="the published rule, same runs")
            )
        print(summary(rule, runs, comparison))
        job = Job(settings, [rule], table, lambda: times[-1] + timedelta(minutes=10))
    if target_folder:
        write_remark(
            f"The logs are in {target_folder}. Try: "
            f"python -m detection matches --logs {target_folder} --at 2026-06-10T12:00:00Z"
        )
    if serve_pages:
        with Server(job, job.clock) as server:
            serve_until_interrupted(server)
    else:
        write_remark(
            "The incidents were in memory. To see them in a browser: python -m detection demo --serve"
        )
    if unsent_count := len(job.waiting()) + sum(1 for _ in outbox.dead_letters()):
        write_remark(unsent_text(unsent_count))
        sys.exit(1)


def _storm_text(replayed: Replayed, rule: Rule) -> str:
    alerts = [verdict.alert for verdict in replayed.verdicts if verdict.alert]
    titles = [f"  {alert.severity.upper()}  {title(alert, rule)}" for alert in alerts[:STORM_TITLES]]
    heading = f"ALERT STORM  {plural(len(alerts), 'alert')} in one run, sent as one digest"
    omitted_count = len(alerts) - len(titles)
    remainder = [f"  and {plural(omitted_count, 'more alert')}; `--serve` shows all"] if omitted_count else []
    return "\n".join([heading, *titles, *remainder, ""])


def _perform(act: OnCallAct, job: Job) -> None:
    """Performs an act of the made-up on-call on the newest incident of its person, and prints it."""
    address = f"{act.person}@example.com"
    desk = replace(job, clock=lambda: BEGIN + act.time).desk
    incident = next(detail.incident.id for detail in desk.incidents() if address in dict(detail.key).values())
    request = f"{act.act} {incident}"
    match act.act:
        case "acknowledge":
            desk.acknowledge(IncidentAct(author=ON_CALL, request=request, incident=incident, note=act.note))
        case "close":
            desk.close(
                CloseAct(
                    author=ON_CALL,
                    request=request,
                    incident=incident,
                    note=act.note,
                    classification=act.classification,
                )
            )
        case "silence":
            desk.silence_incident(
                SilenceAct(
                    author=ON_CALL, request=request, incident=incident, note=act.note, duration=act.duration
                )
            )
    entry = desk.incident(incident).incident.history[-1]
    print(f"{entry.author.upper()}  {incident} {entry.action_text}: {entry.note}\n")
