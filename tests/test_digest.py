"""Alert storms: one message for each destination, which names the incidents by severity and size."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from detection.incidents.table import MemoryTable
from detection.job import Job, open_job
from detection.messages import pagerduty, teams
from detection.messages.digest import (
    NAMED,
    Digest,
    as_native,
    as_pagerduty,
    as_slack,
    as_teams,
    digest,
)
from detection.messages.slack import HEADER, MESSAGE_BYTES, SECTION
from detection.rendering import digest_for
from detection.rule import SEVERITIES
from detection.settings import MessageFormat, Webhook, settings_from
from tests.builders import RULE, START
from tests.raw_logs import audit, completion, write
from tests.receiver import Receiver, receiving
from tests.regenerate import SCHEMAS
from tests.tellings import shared, storm

NOW = datetime(2026, 6, 9, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOSTILE = "<!channel> *bold* <https://evil.example|click> \u202egnp.exe " + "x" * 60_000


# ------------------------------------------------------------------------------------------------------------- content


def test_incidents_stand_by_severity_and_then_by_size() -> None:
    weights = [(SEVERITIES.index(one.severity), one.pairs) for one in storm(200).named]
    assert all(one >= other for one, other in pairwise(weights))


def test_alerts_of_one_incident_are_one_line_and_add_up() -> None:
    told = storm()
    (five,) = (one for one in told.named if one.incident == "in_0005")
    assert (five.alerts, five.pairs, five.severity) == (3, 1 + 40 + 2, "High")
    assert (told.alerts, told.incidents) == (25, 23)


def test_digest_counts_what_it_does_not_name() -> None:
    told = storm(1_000)
    assert (len(told.named), told.more_incidents, told.incidents) == (NAMED, 950, 1_000)
    assert sum(told.severities.values()) == 1_000


PAGE = "https://func.example/api"


@pytest.mark.parametrize("page, where", [(PAGE, f"{PAGE}/incidents"), (None, "incidents list")])
@pytest.mark.parametrize("destination", ["native", "slack", "teams"])
def test_digest_says_where_all_incidents_are(
    page: str | None, where: str, destination: MessageFormat
) -> None:
    webhook = Webhook(url=SecretStr("https://chat.example/x"), format=destination)
    [sent] = digest_for([webhook], RULE, page)("batch", START, [shared(1)])
    assert where in sent.body.decode()


def test_native_digest_is_of_the_documented_shape() -> None:
    schema = json.loads((SCHEMAS / "digest.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads(as_native(storm(1_000))))


@pytest.mark.parametrize("incidents", [1, 50, 5_000])
@pytest.mark.parametrize(
    "render, limit",
    [(as_teams, teams.MESSAGE_BYTES), (as_pagerduty, pagerduty.MESSAGE_BYTES), (as_slack, MESSAGE_BYTES)],
)
def test_digest_is_as_short_as_its_receiver_wants_it(
    render: Callable[[Digest], bytes], limit: int, incidents: int
) -> None:
    told = digest("dg_1", START, [shared(n, title="\u202e😀" * 250) for n in range(incidents)], RULE)
    assert len(render(told)) <= limit


@pytest.mark.parametrize("incidents", [1, 21, 49, 50, 51, 5_000])
def test_slack_digest_keeps_slacks_limits(incidents: int) -> None:
    message = json.loads(body := as_slack(storm(incidents)))
    assert len(body) <= MESSAGE_BYTES
    texts = [block["text"]["text"] for block in message["blocks"] if "text" in block]
    assert len(texts[0]) <= HEADER
    assert all(0 < len(text) <= SECTION for text in texts[1:])


def test_slack_digest_names_fewer_where_titles_are_long_and_counts_the_rest() -> None:
    told = digest("dg_1", START, [shared(n, title="x" * 500) for n in range(60)], RULE)
    text = as_slack(told).decode()
    named = text.count("in_00")
    assert 5 < named < NAMED
    assert f"and {60 - named} incidents more" in text


def test_hostile_titles_are_plain_text_in_slack() -> None:
    message = json.loads(as_slack(digest("dg_1", START, [shared(1, title=HOSTILE[:500])], RULE)))
    for block in message["blocks"]:
        elements = [block["text"]] if "text" in block else block["elements"]
        assert {one["type"] for one in elements} == {"plain_text"}
    assert "<!channel>" not in message["text"]


# --------------------------------------------------------------------------------------------------------- in the line


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def job(folder: Path, receiver: Receiver, actors: int, table: MemoryTable, limit: int = 20) -> Job:
    """The job over logs in which so many actors made a change and hit the filter a minute later."""
    write_logs(folder, actors)
    hooks = [{"name": name, "url": receiver.url} for name in ("soc", "pager")]
    settings = settings_from(
        {"LOGS_DIR": str(folder), "WEBHOOKS": json.dumps(hooks), "STORM_ALERTS": str(limit)}
    )
    return replace(open_job(settings, lambda: NOW), table=table)


def write_logs(folder: Path, actors: int) -> None:
    people = [(number, f"actor-{number}@example.com") for number in range(actors)]
    changed, signalled = NOW - 30 * MINUTE, NOW - 29 * MINUTE
    write(
        folder,
        [audit(f"audit_{number}", actor, changed, arrived=changed) for number, actor in people],
        [completion(f"chatcmpl-{number}", actor, signalled, arrived=signalled) for number, actor in people],
    )


def _kinds(receiver: Receiver) -> list[Any]:
    return [message["type"] for message in receiver.messages]


def test_as_many_alerts_as_the_setting_says_are_told_one_by_one(tmp_path: Path, receiver: Receiver) -> None:
    [record] = job(tmp_path, receiver, 20, MemoryTable()).detect()
    assert _kinds(receiver) == ["detection.alert.opened"] * 40
    assert not record.storm


def test_one_alert_more_and_each_destination_gets_one_digest(tmp_path: Path, receiver: Receiver) -> None:
    present = job(tmp_path, receiver, 21, MemoryTable())
    [record] = present.detect()
    assert _kinds(receiver) == ["detection.alert.digest"] * 2
    assert {headers["webhook-id"][-4:] for headers in receiver.headers} == {"_soc", "ager"}
    assert (record.storm, record.told, len(record.alerts)) == (True, 21, 21)


def test_storm_keeps_every_incident_and_drops_nothing(tmp_path: Path, receiver: Receiver) -> None:
    present = job(tmp_path, receiver, 60, MemoryTable())
    [record] = present.detect()
    told = receiver.messages[0]["data"]
    incidents = {one.incident.id for one in present.incidents()}
    assert len(incidents) == told["incidents"] == record.new_pairs == 60
    assert {one["incident"] for one in told["named"]} < incidents
    assert told["more_incidents"] == 10
    assert len(list(present.index(present.rules[0]).alerts())) == 60


def test_storm_is_told_once(tmp_path: Path, receiver: Receiver) -> None:
    table = MemoryTable()
    for _ in range(2):
        job(tmp_path, receiver, 21, table).detect()
    assert len(receiver.bodies) == 2


def test_limit_is_a_setting(tmp_path: Path, receiver: Receiver) -> None:
    job(tmp_path, receiver, 3, MemoryTable(), limit=2).detect()
    assert _kinds(receiver) == ["detection.alert.digest"] * 2
