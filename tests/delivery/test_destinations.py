"""Several destinations of one job: formats, keys, minimum severities, and the end of an incident."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from detection.app import Job, open_job
from detection.incidents.acts import SilenceAct
from detection.settings import MessageFormat, settings_from
from detection.store.outbox import table_outbox
from detection.store.table import MemoryTable
from tests.support.builders import close_act, incident_act
from tests.support.raw_logs import audit, completion, write
from tests.support.receiver import Receiver, receiving, status

NOW = datetime(2026, 6, 9, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ROUTING_KEY = "hunter2-routing-key"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def make_job(folder: Path, *hooks: dict[str, str]) -> Job:
    """A job with one new alert for these destinations."""
    time = NOW - 30 * MINUTE
    write(
        folder,
        [audit("audit_1", "alice@example.com", time, arrived=time)],
        [completion("chatcmpl-1", "alice@example.com", time + MINUTE, arrived=time)],
    )
    settings = settings_from({"LOGS_DIR": str(folder), "WEBHOOKS": json.dumps(hooks)})
    return open_job(settings, lambda: NOW, MemoryTable())


def pager(receiver: Receiver) -> dict[str, str]:
    return {"name": "pager", "url": receiver.url, "format": "pagerduty", "routing_key": ROUTING_KEY}


def test_each_destination_gets_its_format(tmp_path: Path, receiver: Receiver) -> None:
    hooks: list[dict[str, Any]] = [
        {"name": name, "url": receiver.url, "format": name} for name in ("native", "slack", "teams")
    ]
    make_job(tmp_path, *hooks, pager(receiver)).detect()
    shapes = {
        headers["webhook-id"].rpartition("_")[2]: json.loads(body) for headers, body in receiver.requests
    }
    assert {name: next(iter(shape)) for name, shape in shapes.items()} == {
        "native": "type",
        "slack": "text",
        "teams": "type",
        "pager": "routing_key",
    }


@pytest.mark.parametrize(
    "message_format, key", [("native", "data"), ("slack", "blocks"), ("teams", "attachments")]
)
def test_messages_to_a_workflow_wait_for_its_format_and_are_then_sent_in_it(
    tmp_path: Path,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    message_format: MessageFormat,
    key: str,
) -> None:
    address = "https://prod-1.westeurope.logic.azure.com/workflows/x"
    soc = {"name": "soc", "url": receiver.url}
    job = make_job(tmp_path, {"name": "flow", "url": address}, soc)

    (record,) = job.detect()

    assert record.outcome == "complete"
    assert [headers["webhook-id"].rpartition("_")[2] for headers in receiver.headers] == ["soc"]
    lines = [
        json.loads(line.getMessage()) for line in caplog.records if "detection.delivery" in line.getMessage()
    ]
    assert {(line["destination"], line["outcome"], line["attempt"]) for line in lines} == {
        ("flow", "again", 0)
    }
    assert "WEBHOOK_FORMAT (in WEBHOOKS: format) is not set" in lines[0]["reason"]

    receiver.requests.clear()
    hooks = [{"name": "flow", "url": receiver.url, "format": message_format}]
    replace(job, settings=settings_from({"WEBHOOKS": json.dumps(hooks)})).deliver()
    (message,) = receiver.messages
    assert key in message
    assert list(table_outbox(job.table, [job.rules[0].folder]).waiting("flow")) == []


def test_alert_that_is_too_mild_for_a_destination_does_not_go_there(
    tmp_path: Path, receiver: Receiver
) -> None:
    job = make_job(
        tmp_path, {"name": "soc", "url": receiver.url, "minimum_severity": "High"}, pager(receiver)
    )
    mild = [rule.model_copy(update={"severity": "Medium"}) for rule in job.rules]
    replace(job, rules=mild).detect()
    assert [headers["webhook-id"].rpartition("_")[2] for headers in receiver.headers] == ["pager"]


def test_routing_key_is_sent_and_kept_nowhere(tmp_path: Path, receiver: Receiver) -> None:
    receiver.default_answer = status(410)
    job = make_job(tmp_path, pager(receiver))
    job.detect()
    entities = list(job.table.scan(job.rules[0].folder, "", "~"))
    assert any(entity.row.startswith("x|pager|") for entity in entities)
    assert ROUTING_KEY not in repr(entities)
    assert [message["routing_key"] for message in receiver.messages] == [ROUTING_KEY]


def test_acknowledging_an_incident_does_so_where_people_are_paged(tmp_path: Path, receiver: Receiver) -> None:
    job = make_job(tmp_path, {"name": "soc", "url": receiver.url}, pager(receiver))
    job.detect()
    (detail,) = job.desk.incidents()
    receiver.requests.clear()
    job.desk.acknowledge(incident_act(detail.incident.id, "carol", "looking into it"))
    job.deliver()
    (message,) = receiver.messages
    assert (message["event_action"], message["dedup_key"]) == ("acknowledge", detail.incident.id)
    (updated_detail,) = job.desk.incidents()
    assert updated_detail.incident.status == "acknowledged"
    assert [
        (entry.action, entry.author, entry.time, entry.note) for entry in updated_detail.incident.history
    ] == [("acknowledged", "carol", NOW, "looking into it")]


def test_silence_acknowledges_nothing_where_people_are_paged(tmp_path: Path, receiver: Receiver) -> None:
    job = make_job(tmp_path, pager(receiver))
    job.detect()
    (detail,) = job.desk.incidents()
    receiver.requests.clear()
    job.desk.silence_incident(
        SilenceAct(
            incident=detail.incident.id,
            author="carol",
            note="a load test",
            request="1",
            duration=timedelta(hours=1),
        )
    )
    job.deliver()
    assert receiver.requests == []


def test_closing_an_incident_resolves_it_where_people_are_paged(tmp_path: Path, receiver: Receiver) -> None:
    job = make_job(tmp_path, {"name": "soc", "url": receiver.url}, pager(receiver))
    job.detect()
    (detail,) = job.desk.incidents()
    receiver.requests.clear()
    job.desk.close(close_act(detail.incident.id, "benign", "carol", "a load test"))
    job.deliver()
    (message,) = receiver.messages
    assert message == {
        "routing_key": ROUTING_KEY,
        "event_action": "resolve",
        "dedup_key": detail.incident.id,
    }


def test_digest_is_resolved_where_people_are_paged_when_its_last_incident_is_closed(
    tmp_path: Path, receiver: Receiver
) -> None:
    time = NOW - 30 * MINUTE
    actors = [f"actor-{number}@example.com" for number in range(3)]
    write(
        tmp_path,
        [audit(f"audit_{actor}", actor, time, arrived=time) for actor in actors],
        [completion(f"chatcmpl-{actor}", actor, time + MINUTE, arrived=time) for actor in actors],
    )
    environment = {"LOGS_DIR": str(tmp_path), "WEBHOOKS": json.dumps([pager(receiver)]), "STORM_ALERTS": "2"}
    job = open_job(settings_from(environment), lambda: NOW, MemoryTable())
    job.detect()
    (digest,) = receiver.messages
    incidents = [detail.incident.id for detail in job.desk.incidents()]

    for incident in incidents[:-1]:
        job.desk.close(close_act(incident, "benign", "carol", "a load test"))
    job.deliver()
    assert digest["dedup_key"] not in {message["dedup_key"] for message in receiver.messages[1:]}

    job.desk.close(close_act(incidents[-1], "benign", "carol", "a load test"))
    job.deliver()
    assert [
        (message["event_action"], message["dedup_key"])
        for message in receiver.messages
        if message["dedup_key"] == digest["dedup_key"]
    ] == [("trigger", digest["dedup_key"]), ("resolve", digest["dedup_key"])]
