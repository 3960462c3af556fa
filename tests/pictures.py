"""Takes the pictures that the documents show: `make screenshots`.

The incident page shows the demo's made-up story after its runs, with two destinations and the acts of an
on-call. The report of a backtest shows a made-up month.
"""

import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from detection.app import Job
from detection.backtest.backtest import make_plan, run_backtest
from detection.backtest.page import render_page
from detection.cli.demo import BEGIN, HISTORY, RUNS
from detection.cli.demo_data import write_logs
from detection.delivery.rendering import message_renderer
from detection.logs.files.source import FileSource
from detection.logs.history.files import open_file_archive
from detection.rules.loading import default_rule, load_rule
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.replay import replay, run_times
from detection.settings import Settings, settings_from
from detection.store.outbox import Outbox
from detection.store.table import MemoryTable
from tests.support import raw_logs
from tests.support.browser.browser import Browser, Size, missing_reason, running
from tests.support.builders import close_act, incident_act
from tests.support.pages import serving

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WEBHOOKS = '[{"name": "pager", "url": "https://pager.example/"}, {"name": "soc-channel", "url": "https://soc.example/"}]'
WIDE, HIGH = Size(1120, 860), Size(390, 844)
CHOSEN_TITLE = "then hit the content filter 47 times within 20 h"  # the end of the title in the list
# Name, what it is of, the window, and whether it is dark.
SHOTS = (
    ("incident", "incident", WIDE, False),
    ("incident-phone", "incident", HIGH, True),
    ("incidents", "list", WIDE, False),
)


def main() -> None:
    """Takes all of them anew."""
    if reason := missing_reason():
        sys.exit(f"make screenshots: {reason}")
    PICTURES.mkdir(exist_ok=True)
    job = demo_job()
    name = next(
        summary.incident.id
        for summary in job.desk.incidents()
        if summary.incident.title.endswith(CHOSEN_TITLE)
    )
    _act(job, name)
    with serving(job) as server, running() as browser:
        path = {"incident": f"incidents/{name}?", "list": "incidents?status=all&"}
        for picture, page, size, dark in SHOTS:
            browser.open(f"{server.origin}/api/{path[page]}code={server.key}", size, dark=dark)
            _take(browser, PICTURES / f"{picture}.png")
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.html"
            report.write_text(month_report(Path(folder) / "logs"), encoding="utf-8")
            browser.open(report.as_uri(), Size(1200, 1400))
            _take(browser, PICTURES / "backtest.png")


def month_report(folder: Path) -> str:
    """The report of a backtest of a month, in which 60 people work at random on weekdays."""
    chance, begin = random.Random(5), datetime(2026, 5, 1, tzinfo=UTC)
    changes, completions = [], []
    for number in range(900):
        day = begin + timedelta(days=chance.randrange(30))
        if day.weekday() >= 5 and chance.random() < 0.8:
            continue
        time, actor = (
            day + timedelta(minutes=chance.randrange(1200)),
            f"user{chance.randrange(60)}@example.com",
        )
        kind = chance.choice(
            ["api_key.created", "api_key.created", "role.assignment.created", "project.created"]
        )
        if number % 2:
            changes.append(raw_logs.audit(f"c{number}", actor, time, kind=kind, arrived=time))
        for index in range(chance.choice([0, 0, 1, 2, 5])):
            reason = chance.choice(["content_filter", "content_filter", "length"])
            moment = time + index * timedelta(minutes=7)
            completions.append(
                raw_logs.completion(f"s{number}-{index}", actor, moment, reason=reason, arrived=moment)
            )
    raw_logs.write(folder, changes, completions)
    overrides = ("threshold.length=2", "STORM_ALERTS=3")
    runs_begin = begin + timedelta(hours=1, minutes=5)
    plan = make_plan(default_rule(), runs_begin, begin + timedelta(days=30, minutes=5), overrides, {})
    with open_file_archive(
        folder, plan.rule.tables | (plan.published.tables if plan.published else {})
    ) as archive:
        return render_page(run_backtest(plan, archive, [], lambda runs, _number, _label: runs), plan.rule)


def demo_job() -> Job:
    """The demo's job after its last run."""
    rule, settings = load_rule(default_rule()), settings_from({"WEBHOOKS": WEBHOOKS})
    table = MemoryTable()
    history_end = BEGIN + HISTORY
    times = run_times(
        history_end + timedelta(minutes=5), history_end + timedelta(hours=RUNS), rule.query_frequency
    )
    with tempfile.TemporaryDirectory() as folder:
        write_logs(Path(folder), BEGIN)
        source = FileSource(Path(folder), rule.tables, arrival="stamped")
        for _ in replay(rule, source, times, table, RunOptions(message_renderer(settings.destinations))):
            _send(Outbox(table, rule.folder))
    return _job(settings, rule, table)


def _job(settings: Settings, rule: Rule, table: MemoryTable) -> Job:
    end = BEGIN + HISTORY + timedelta(hours=RUNS, minutes=-45)
    return Job(settings, [rule], table, lambda: end)


def _send(outbox: Outbox) -> None:
    """The channel takes everything, the pager as well until the last of all, which waits."""
    queued_messages = [
        message for destination in outbox.destinations() for message in outbox.waiting(destination)
    ]
    for queued in queued_messages:
        if queued.delivery.destination == "pager" and f"{queued.delivery.created:%dT%H}" == "10T10":
            outbox.reschedule(
                outbox.claim(queued, queued.delivery.due), queued.delivery.due + timedelta(hours=13)
            )
        else:
            outbox.sent(queued)


def _act(job: Job, name: str) -> None:
    """What the on-call did with the incidents."""
    note = "asked Alice by phone: not hers"
    job.desk.acknowledge(incident_act(name, "eve@example.com", note, self_declared=False))
    names = {summary.incident.actor: summary.incident.id for summary in job.desk.incidents()}
    job.desk.close(
        close_act(names["heidi@example.com"], "benign", "mallet", "the invited colleague's first try")
    )
    job.desk.acknowledge(incident_act(names["wendy@example.com"], "mallet"))


def _take(browser: Browser, path: Path) -> None:
    browser.ask("shot", path=str(path), whole=False)
    print(f"wrote {path.relative_to(PICTURES.parents[1])}, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
