"""The whole line on real parts: the query API's client, Azurite, a webhook receiver, over two days of runs.

The double of the query API executes the KQL that it receives on the golden logs, so what is posted must
be what `replay` prints for them.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from detection.errors import Incomplete
from detection.job import Job, open_job
from detection.rule import load_rule
from detection.settings import settings_from
from tests.query_api import QueryApi, partial, query_api, tables_of
from tests.receiver import Receiver, receiving, status
from tests.regenerate import COMMANDS, GOLDEN, LOGS

RULE = load_rule("openai-config-to-abuse")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOUR = timedelta(hours=1)
_ARGUMENTS = COMMANDS["replay.jsonl"]
FIRST, LAST = (datetime.fromisoformat(_ARGUMENTS[_ARGUMENTS.index(name) + 1]) for name in ("--from", "--to"))


@dataclass
class Line:
    """A job on real parts, and what stands at its two ends."""

    job: Job
    api: QueryApi
    receiver: Receiver

    def runs(self, first: datetime, last: datetime) -> None:
        """Hourly runs, each at its moment."""
        now = first
        while now <= last:
            self.at(now).detect(now)
            now += HOUR

    def at(self, now: datetime) -> Job:
        """The job as a process that starts at that moment finds it."""
        self.api.moment = now
        began = time.monotonic()
        return replace(self.job, clock=lambda: now + timedelta(seconds=time.monotonic() - began))


@pytest.fixture
def line(azurite: str) -> Iterator[Line]:
    with (
        tables_of(LOGS, RULE.tables) as tables,
        query_api(tables) as api,
        receiving() as receiver,
    ):
        settings = settings_from(
            {
                "LOG_ANALYTICS_WORKSPACE_ID": str(uuid4()),
                "LOG_ANALYTICS_ENDPOINT": api.endpoint,
                "INCIDENT_STORAGE": azurite,
                "INCIDENT_TABLE": f"t{uuid4().hex[:20]}",
                "WEBHOOK_URL": receiver.url,
                "WEBHOOK_SECRET": SECRET,
            }
        )
        yield Line(open_job(settings, lambda: datetime.now(UTC)), api, receiver)


def test_two_days_of_runs_post_the_golden_alerts_each_once(line: Line) -> None:
    line.runs(FIRST, LAST)

    expected = [json.loads(text) for text in (GOLDEN / "replay.jsonl").read_text().splitlines()]
    posted = [message["data"] for message in line.receiver.messages]
    assert sorted((one["alert"], one["incident"]["id"]) for one in posted) == sorted(
        (one["alert"], one["incident"]) for one in expected
    )
    assert {one["alert"]: one["counts"] for one in posted} == {
        one["alert"]: one["counts"] for one in expected
    }
    _signatures_are_good(line.receiver)
    assert not list(line.at(LAST + HOUR).deliver())
    assert {one.incident.id for one in line.job.incidents()} == {one["incident"] for one in expected}


def _signatures_are_good(receiver: Receiver) -> None:
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        stamped = {name.lower(): value for name, value in headers.items()}
        then = datetime.fromtimestamp(int(stamped["webhook-timestamp"]), UTC)
        assert FIRST <= then < LAST + HOUR  # a busy machine takes its time over a run
        key = Webhook(SECRET)
        signed = key.sign(stamped["webhook-id"], then, body.decode())
        assert signed == stamped["webhook-signature"]


def test_message_that_is_refused_for_a_while_arrives_with_the_same_id_and_body(line: Line) -> None:
    line.receiver.answers = [status(503)]
    moment = datetime(2026, 6, 9, 14, tzinfo=UTC)
    line.at(moment).detect(moment)

    ids = {headers["webhook-id"] for headers in line.receiver.headers}
    assert len(line.receiver.bodies) == 2
    assert len(ids) == len(set(line.receiver.bodies)) == 1


def test_closed_incident_is_followed_by_one_that_names_it(line: Line) -> None:
    line.runs(FIRST, datetime(2026, 6, 9, 16, tzinfo=UTC))
    alice = next(one for one in line.job.incidents() if one.key == (("Account", "alice@example.com"),))
    line.job.close(alice, "benign", "carol", "a known load test")

    line.runs(datetime(2026, 6, 9, 17, tzinfo=UTC), datetime(2026, 6, 10, 10, tzinfo=UTC))

    newest = next(one for one in line.job.incidents() if one.key == alice.key)
    assert newest.incident.predecessor == alice.incident.id
    closed = line.job.incident(alice.incident.id).incident
    assert (closed.status, closed.classification) == ("closed", "benign")
    assert [(act.what, act.by, act.note) for act in closed.history] == [
        ("closed", "carol", "a known load test")
    ]


def test_partial_answer_tells_and_marks_nothing(line: Line) -> None:
    moment = datetime(2026, 6, 9, 15, tzinfo=UTC)
    line.api.amend = partial
    with pytest.raises(Incomplete):
        line.at(moment).detect(moment)
    assert line.receiver.bodies == []
    assert line.job.ages(moment)[RULE.folder] is None

    line.api.amend = lambda body: body
    line.at(moment).detect(moment)
    assert line.receiver.bodies
