"""The whole line on real parts: the query API's client, Azurite, a webhook receiver, over two days of runs.

The double of the query API executes the KQL that it receives on the golden logs, so what is posted must
be what `replay` prints for them.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from standardwebhooks import Webhook

from detection.errors import Incomplete
from detection.job import Job, open_job
from detection.rule import load_rule
from detection.settings import settings_from
from tests.clock import Clock
from tests.query_api import QueryApi, no_fault, partial, query_api, reply, tables_of
from tests.receiver import Receiver, receiving, status
from tests.regenerate import COMMANDS, GOLDEN, LOGS

RULE = load_rule("openai-config-to-abuse")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOUR = timedelta(hours=1)
_ARGUMENTS = COMMANDS["replay.jsonl"]
FIRST, LAST = (datetime.fromisoformat(_ARGUMENTS[_ARGUMENTS.index(name) + 1]) for name in ("--from", "--to"))
ALERTS = [json.loads(text) for text in (GOLDEN / "replay.jsonl").read_text(encoding="utf-8").splitlines()]


def hours(first: datetime, last: datetime) -> Iterator[datetime]:
    """The moments of hourly runs."""
    return (first + HOUR * passed for passed in range((last - first) // HOUR + 1))


# A quiet hour, and those of the alerts. A run after a quiet hour reads what that hour's run would have read.
EVENTFUL = sorted({FIRST, *(datetime.fromisoformat(alert["at"]) for alert in ALERTS)})


@dataclass
class Line:
    """A job on real parts, and what stands at its two ends."""

    job: Job
    api: QueryApi
    receiver: Receiver

    def runs(self, moments: Iterable[datetime]) -> None:
        """A run at each moment."""
        for now in moments:
            self.at(now).detect(now)

    def at(self, now: datetime) -> Job:
        """The job as a process that starts at that moment finds it. Its clock stands still unless it waits."""
        self.api.moment = now
        clock = Clock(now)
        return replace(self.job, clock=clock, sleep=clock.sleep)


@pytest.fixture(scope="module")
def listening() -> Iterator[QueryApi]:
    """The double over the golden logs. It answers a question of an earlier test at once."""
    with tables_of(LOGS, RULE.tables) as tables, query_api(tables) as api:
        yield api


@pytest.fixture
def line(azurite: str, listening: QueryApi) -> Iterator[Line]:
    listening.reset()
    with receiving() as receiver:
        settings = settings_from(
            {
                "LOG_ANALYTICS_WORKSPACE_ID": str(uuid4()),
                "LOG_ANALYTICS_ENDPOINT": listening.endpoint,
                "INCIDENT_STORAGE": azurite,
                "INCIDENT_TABLE": f"t{uuid4().hex[:20]}",
                "WEBHOOK_URL": receiver.url,
                "WEBHOOK_SECRET": SECRET,
            }
        )
        yield Line(open_job(settings, Clock(FIRST)), listening, receiver)


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(EVENTFUL, id="eventful hours"),
        pytest.param(list(hours(FIRST, LAST)), id="every hour", marks=pytest.mark.slow),
    ],
)
def test_two_days_of_runs_post_the_golden_alerts_each_once(line: Line, moments: list[datetime]) -> None:
    line.runs(moments)

    expected = ALERTS
    posted = [message["data"] for message in line.receiver.messages]
    assert sorted((one["alert"], one["incident"]["id"]) for one in posted) == sorted(
        (one["alert"], one["incident"]) for one in expected
    )
    assert {one["alert"]: one["counts"] for one in posted} == {
        one["alert"]: one["counts"] for one in expected
    }
    _signatures_are_good(line.receiver, moments)
    assert not list(line.at(LAST + HOUR).deliver())
    assert {one.incident.id for one in line.job.incidents()} == {one["incident"] for one in expected}


def _signatures_are_good(receiver: Receiver, moments: list[datetime]) -> None:
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        stamped = {name.lower(): value for name, value in headers.items()}
        then = datetime.fromtimestamp(int(stamped["webhook-timestamp"]), UTC)
        assert then in moments
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
    evening = datetime(2026, 6, 9, 20, tzinfo=UTC)
    line.runs(moment for moment in EVENTFUL if moment < evening)
    alice = next(one for one in line.job.incidents() if one.key == (("Account", "alice@example.com"),))
    line.job.close(alice, "benign", "carol", "a known load test")

    line.runs(moment for moment in EVENTFUL if moment > evening)

    newest = next(one for one in line.job.incidents() if one.key == alice.key)
    assert newest.incident.predecessor == alice.incident.id
    closed = line.job.incident(alice.incident.id).incident
    assert (closed.status, closed.classification) == ("closed", "benign")
    assert [(act.what, act.by, act.note) for act in closed.history] == [
        ("closed", "carol", "a known load test")
    ]


def test_partial_answer_tells_and_marks_nothing(line: Line) -> None:
    moment = datetime(2026, 6, 9, 15, tzinfo=UTC)
    line.api.fault = lambda _: reply(partial({"tables": []}))
    with pytest.raises(Incomplete):
        line.at(moment).detect(moment)
    assert line.receiver.bodies == []
    assert line.job.ages(moment)[RULE.folder] is None

    line.api.fault = no_fault
    line.at(moment).detect(moment)
    assert line.receiver.bodies
