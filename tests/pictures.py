"""Takes the pictures of the incident page that the documents show: `make screenshots`.

They are of the demo's made-up story, after its runs, with two destinations and what an on-call did.
"""

import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from detection.app import Job
from detection.cli.demo import BEGIN, HISTORY, RUNS
from detection.cli.demo_data import write_logs
from detection.delivery.rendering import message_renderer
from detection.logs.files.source import FileSource
from detection.rules.loading import default_rule, load_rule
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.replay import replay, run_times
from detection.settings import Settings, settings_from
from detection.store.outbox import Outbox
from detection.store.table import MemoryTable
from tests.support.browser.browser import Browser, Size, missing_reason, running
from tests.support.pages import serving

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WEBHOOKS = '[{"name": "pager", "url": "https://pager.example/"}, {"name": "soc-channel", "url": "https://soc.example/"}]'
WIDE, HIGH = Size(1120, 860), Size(390, 844)
CHOSEN_TITLE = "created an API key, then hit the content filter within 20 h"  # the title in the list
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
        for summary in job.desk.summaries()
        if summary.incident.title.endswith(CHOSEN_TITLE)
    )
    _act(job, name)
    with serving(job) as server, running() as browser:
        path = {"incident": f"incidents/{name}?", "list": "incidents?status=all&"}
        for picture, page, size, dark in SHOTS:
            browser.open(f"{server.origin}/api/{path[page]}code={server.key}", size, dark=dark)
            _take(browser, PICTURES / f"{picture}.png")


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
    detail = job.desk.incident(name)
    job.desk.acknowledge(detail, "eve@example.com", "asked Alice by phone: not hers", self_declared=False)
    summaries = [summary for summary in job.desk.summaries() if summary.incident.id != name]
    job.desk.close(
        job.desk.incident(summaries[1].incident.id), "benign", "mallet", "the invited colleague's first try"
    )
    job.desk.acknowledge(job.desk.incident(summaries[3].incident.id), "mallet")


def _take(browser: Browser, path: Path) -> None:
    browser.ask("shot", path=str(path), whole=False)
    print(f"wrote {path.relative_to(PICTURES.parents[1])}, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
