"""The whole line on real parts: the query API's client, Azurite, a webhook receiver, over two days of runs.

The double of the query API executes the KQL that it receives on the golden logs, so what is posted must
be what `replay` prints for them.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from detection.app import Job, open_job
from detection.base.errors import Incomplete
from detection.rules.loading import load_rule
from detection.settings import settings_from
from tests.regenerate import COMMANDS, GOLDEN, LOGS
from tests.support.builders import close_act
from tests.support.clock import Clock
from tests.support.query_api import QueryApi, no_fault, partial, query_api, reply, tables_of
from tests.support.receiver import Receiver, receiving, status

RULE = load_rule("openai-config-to-abuse")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOUR = timedelta(hours=1)
_ARGUMENTS = COMMANDS["replay.jsonl"]
FIRST_RUN, LAST_RUN = (
    datetime.fromisoformat(_ARGUMENTS[_ARGUMENTS.index(name) + 1]) for name in ("--from", "--to")
)
ALERTS = [json.loads(text) for text in (GOLDEN / "replay.jsonl").read_text(encoding="utf-8").splitlines()]


def hours(start: datetime, end: datetime) -> Iterator[datetime]:
    """The moments of hourly runs."""
    return (start + HOUR * passed for passed in range((end - start) // HOUR + 1))


# A quiet hour, and those of the alerts. A run after a quiet hour reads what that hour's run would have read.
EVENTFUL = sorted({FIRST_RUN, *(datetime.fromisoformat(alert["time"]) for alert in ALERTS)})


@dataclass
class Pipeline:
    """A job on real parts, and what stands at its two ends."""

    job: Job
    api: QueryApi
    receiver: Receiver

    def runs(self, moments: Iterable[datetime]) -> None:
        """A run at each moment."""
        for now in moments:
            self.job_at(now).detect(now)

    def job_at(self, now: datetime) -> Job:
        """The job as a process that starts at that moment finds it. Its clock stands still unless it waits."""
        self.api.moment = now
        clock = Clock(now)
        return replace(self.job, clock=clock, sleep=clock.sleep)


@pytest.fixture(scope="module")
def golden_api() -> Iterator[QueryApi]:
    """The double over the golden logs. It answers a question of an earlier test at once."""
    with tables_of(LOGS, RULE.tables) as tables, query_api(tables) as api:
        yield api


@pytest.fixture
def pipeline(azurite: str, golden_api: QueryApi) -> Iterator[Pipeline]:
    golden_api.reset()
    with receiving() as receiver:
        settings = settings_from(
            {
                "LOG_ANALYTICS_WORKSPACE_ID": str(uuid4()),
                "LOG_ANALYTICS_ENDPOINT": golden_api.endpoint,
                "INCIDENT_STORAGE": azurite,
                "INCIDENT_TABLE": f"t{uuid4().hex[:20]}",
                "WEBHOOK_URL": receiver.url,
                "WEBHOOK_SECRET": SECRET,
            }
        )
        yield Pipeline(open_job(settings, Clock(FIRST_RUN)), golden_api, receiver)


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(EVENTFUL, id="eventful hours"),
        pytest.param(list(hours(FIRST_RUN, LAST_RUN)), id="every hour", marks=pytest.mark.slow),
    ],
)
def test_two_days_of_runs_post_the_golden_alerts_each_once(
    pipeline: Pipeline, moments: list[datetime]
) -> None:
    pipeline.runs(moments)

    expected = ALERTS
    posted = [message["data"] for message in pipeline.receiver.messages]
    assert sorted(map(_content, posted)) == sorted(map(_content, expected))
    # Ids come from the hour of a key's first commit. The double knows no arrival, so hourly runs may alert earlier.
    if moments == EVENTFUL:
        assert sorted((message["alert"], message["incident"]["id"]) for message in posted) == sorted(
            (alert["alert"], alert["incident"]) for alert in expected
        )
    _signatures_are_good(pipeline.receiver, moments)
    assert not list(pipeline.job_at(LAST_RUN + HOUR).deliver())
    assert {detail.incident.id for detail in pipeline.job.desk.incidents()} == {
        message["incident"]["id"] for message in posted
    }


def _content(alert: dict[str, Any]) -> str:
    """What an alert says of its pairs."""
    return json.dumps([alert[name] for name in ("key", "counts")], sort_keys=True)


def _signatures_are_good(receiver: Receiver, moments: list[datetime]) -> None:
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        stamped = {name.lower(): value for name, value in headers.items()}
        sent_at = datetime.fromtimestamp(int(stamped["webhook-timestamp"]), UTC)
        assert sent_at in moments
        key = Webhook(SECRET)
        signed = key.sign(stamped["webhook-id"], sent_at, body.decode())
        assert signed == stamped["webhook-signature"]


def test_message_that_is_refused_for_a_while_arrives_with_the_same_id_and_body(pipeline: Pipeline) -> None:
    pipeline.receiver.answers = [status(503)]
    moment = datetime(2026, 6, 9, 14, tzinfo=UTC)
    pipeline.job_at(moment).detect(moment)

    ids = {headers["webhook-id"] for headers in pipeline.receiver.headers}
    assert len(pipeline.receiver.bodies) == 2
    assert len(ids) == len(set(pipeline.receiver.bodies)) == 1


def test_closed_incident_is_followed_by_one_that_names_it(pipeline: Pipeline) -> None:
    evening = datetime(2026, 6, 9, 20, tzinfo=UTC)
    pipeline.runs(moment for moment in EVENTFUL if moment < evening)
    alice = next(
        detail
        for detail in pipeline.job.desk.incidents()
        if detail.key == (("Account", "alice@example.com"),)
    )
    pipeline.job.desk.close(close_act(alice.incident.id, "benign", "carol", "a known load test"))

    pipeline.runs(moment for moment in EVENTFUL if moment > evening)

    newest = next(detail for detail in pipeline.job.desk.incidents() if detail.key == alice.key)
    assert newest.incident.predecessor == alice.incident.id
    closed = pipeline.job.desk.incident(alice.incident.id).incident
    assert (closed.status, closed.classification) == ("closed", "benign")
    assert [(entry.action, entry.author, entry.note) for entry in closed.history] == [
        ("closed", "carol", "a known load test")
    ]


def test_partial_answer_tells_and_marks_nothing(pipeline: Pipeline) -> None:
    moment = datetime(2026, 6, 9, 15, tzinfo=UTC)
    pipeline.api.fault = lambda _: reply(partial({"tables": []}))
    with pytest.raises(Incomplete):
        pipeline.job_at(moment).detect(moment)
    assert pipeline.receiver.bodies == []
    assert pipeline.job.ages(moment)[RULE.folder] is None

    pipeline.api.fault = no_fault
    pipeline.job_at(moment).detect(moment)
    assert pipeline.receiver.bodies
