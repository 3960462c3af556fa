"""Alert storms: one message for each destination, which names the incidents by severity and size."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from jsonschema import Draft202012Validator
from pydantic import SecretStr

from detection.app import Job, open_job
from detection.delivery.rendering import digest_renderer
from detection.delivery.templates import TEMPLATES
from detection.delivery.templates import render as render_template
from detection.incidents.keys import stable_id
from detection.messages import pagerduty, teams
from detection.messages.digest import (
    INCIDENTS_SHOWN,
    Digest,
    as_native,
    as_ocsf,
    as_pagerduty,
    as_slack,
    as_teams,
    make_digest,
)
from detection.messages.slack import HEADER, MESSAGE_BYTES, SECTION
from detection.rules.model import SEVERITIES, Severity
from detection.settings import MessageFormat, Webhook, settings_from
from detection.store.incident_list import IncidentList
from detection.store.table import MemoryTable
from tests.regenerate import SCHEMAS
from tests.support.builders import RULE, START
from tests.support.contexts import digest_entry, golden_digest, link_to
from tests.support.page_world import LINK_KEY
from tests.support.raw_logs import audit, completion, write
from tests.support.receiver import Receiver, receiving

NOW = datetime(2026, 6, 9, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOSTILE = "<!channel> *bold* <https://evil.example|click> \u202egnp.exe " + "x" * 60_000


# ---------------------------------------------------------------------------------------------------- content


def test_incidents_stand_by_severity_and_then_by_size() -> None:
    weights = [
        (SEVERITIES.index(entry.severity), entry.pairs) for entry in golden_digest(200).listed_incidents
    ]
    assert all(weight >= next_weight for weight, next_weight in pairwise(weights))


def test_alerts_of_one_incident_are_one_line_and_add_up() -> None:
    storm_digest = golden_digest()
    (five,) = (entry for entry in storm_digest.listed_incidents if entry.incident == "in_0005")
    assert (five.alerts, five.pairs, five.severity) == (3, 1 + 40 + 2, "High")
    assert (storm_digest.alerts, storm_digest.incidents) == (25, 23)


def test_digest_counts_what_it_does_not_name() -> None:
    storm_digest = golden_digest(1_000)
    assert (len(storm_digest.listed_incidents), storm_digest.more_incidents, storm_digest.incidents) == (
        INCIDENTS_SHOWN,
        950,
        1_000,
    )
    assert sum(storm_digest.severity_counts.values()) == 1_000


PAGE = "https://func.example/api"
SHIPPED = sorted(path.name for path in TEMPLATES.glob("*.json.j2"))


def by_template(name: str, digest: Digest) -> bytes:
    return render_template(name, as_native(digest))


@pytest.mark.parametrize("page, location", [(PAGE, f"{PAGE}/incidents"), (None, "incidents list")])
@pytest.mark.parametrize("destination", ["native", "slack", "teams"])
def test_digest_says_where_all_incidents_are(
    page: str | None, location: str, destination: MessageFormat
) -> None:
    webhook = Webhook(url=SecretStr("https://chat.example/x"), format=destination)
    [sent] = digest_renderer([webhook], RULE, page)("draft", START, [digest_entry(1)])
    assert location in sent.body.decode()


@pytest.mark.parametrize("render", [as_native, as_slack, as_teams, as_pagerduty])
def test_digest_links_every_incident_that_it_names_and_the_list(render: Callable[[Digest], bytes]) -> None:
    text = render(golden_digest(500)).decode().replace("&amp;", "&")
    named = set(re.findall(r"in_\d{4}", text))
    assert len(named) > 10
    assert all(link_to(incident) in text for incident in named)
    assert f'{PAGE}/incidents"' in text or f"<{PAGE}/incidents|All incidents>" in text


@pytest.mark.parametrize(
    "render",
    [as_native, as_slack, as_teams, as_pagerduty, as_ocsf, *(partial(by_template, name) for name in SHIPPED)],
)
def test_digest_has_the_reason_for_the_severity_of_every_incident(render: Callable[[Digest], bytes]) -> None:
    reason = "High: an address new for this actor"
    storm_digest = make_digest("dg_1", START, [replace(digest_entry(1), severity_text=reason)], RULE)
    assert reason in render(storm_digest).decode()


@pytest.mark.parametrize("name", SHIPPED)
def test_template_renders_a_digest_of_an_earlier_version_with_the_severity_alone(name: str) -> None:
    entry = replace(digest_entry(1), severity_text="")
    message = json.loads(as_native(make_digest("dg_1", START, [entry], RULE)))
    assert message["data"]["listed_incidents"][0].pop("severity_text") == "High"
    assert b"High" in render_template(name, json.dumps(message).encode())


def test_pagerduty_digest_names_the_organizations_and_leads_to_the_list() -> None:
    event = json.loads(as_pagerduty(golden_digest()))
    assert event["payload"]["source"] == "example-org"
    assert event["client_url"] == f"{PAGE}/incidents"


def test_digest_of_a_draft_has_one_id_whoever_publishes_it() -> None:
    webhooks = [Webhook(name=name, url=SecretStr("https://chat.example/x")) for name in ("chat", "soc")]
    deliveries = digest_renderer(webhooks, RULE)("draft", START, [digest_entry(1)])
    digest = stable_id("dg", RULE, (), "draft")
    assert [
        (message.id, message.destination, message.incident, message.commit) for message in deliveries
    ] == [(f"{digest}_{name}", name, digest, 1) for name in ("chat", "soc")]
    assert {(message.created, message.due, message.attempt) for message in deliveries} == {(START, START, 0)}


def test_digest_goes_to_destinations_that_accept_its_severity() -> None:
    severities: Sequence[Severity] = ("Medium", "High")
    webhooks = [
        Webhook(name=severity, url=SecretStr("https://chat.example/x"), minimum_severity=severity)
        for severity in severities
    ]
    deliveries = digest_renderer(webhooks, RULE)("draft", START, [digest_entry(1, severity="Medium")])
    assert [message.destination for message in deliveries] == ["Medium"]


def test_native_digest_is_of_the_documented_shape() -> None:
    schema = json.loads((SCHEMAS / "digest.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads(as_native(golden_digest(1_000))))


@pytest.mark.parametrize("incidents", [1, 50, 5_000])
@pytest.mark.parametrize(
    "render, limit",
    [(as_teams, teams.MESSAGE_BYTES), (as_pagerduty, pagerduty.MESSAGE_BYTES), (as_slack, MESSAGE_BYTES)],
)
def test_digest_is_as_short_as_its_receiver_wants_it(
    render: Callable[[Digest], bytes], limit: int, incidents: int
) -> None:
    long_digest = make_digest(
        "dg_1", START, [digest_entry(n, title="\u202e😀" * 250) for n in range(incidents)], RULE
    )
    assert len(render(long_digest)) <= limit


@pytest.mark.parametrize("incidents", [1, 21, 49, 50, 51, 5_000])
def test_slack_digest_keeps_slacks_limits(incidents: int) -> None:
    message = json.loads(body := as_slack(golden_digest(incidents)))
    assert len(body) <= MESSAGE_BYTES
    texts = [block["text"]["text"] for block in message["blocks"] if "text" in block]
    assert len(texts[0]) <= HEADER
    assert all(0 < len(text) <= SECTION for text in texts[1:])


def test_slack_digest_names_fewer_where_titles_are_long_and_counts_the_rest() -> None:
    long_digest = make_digest("dg_1", START, [digest_entry(n, title="x" * 500) for n in range(60)], RULE)
    text = as_slack(long_digest).decode()
    named = text.count("in_00")
    assert 5 < named < INCIDENTS_SHOWN
    assert f"and {60 - named} incidents more" in text


def test_hostile_titles_are_plain_text_in_slack() -> None:
    message = json.loads(as_slack(make_digest("dg_1", START, [digest_entry(1, title=HOSTILE[:500])], RULE)))
    for block in message["blocks"]:
        elements = [block["text"]] if "text" in block else block["elements"]
        assert {text_object["type"] for text_object in elements} == {"plain_text"}
    assert "<!channel>" not in message["text"]


# ------------------------------------------------------------------------------------------------ in the line


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def job(folder: Path, receiver: Receiver, actors: int, table: MemoryTable, limit: int = 20) -> Job:
    """The job over logs in which each actor made a change and hit the filter a minute later."""
    write_logs(folder, actors)
    hooks = [{"name": name, "url": receiver.url} for name in ("soc", "pager")]
    settings = settings_from(
        {"LOGS_DIR": str(folder), "WEBHOOKS": json.dumps(hooks), "STORM_ALERTS": str(limit)}
    )
    return open_job(settings, lambda: NOW, table)


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
    storm_job = job(tmp_path, receiver, 21, MemoryTable())
    [record] = storm_job.detect()
    assert _kinds(receiver) == ["detection.alert.digest"] * 2
    assert {headers["webhook-id"][-4:] for headers in receiver.headers} == {"_soc", "ager"}
    assert (record.storm, record.alerts, len(record.alert_ids)) == (True, 21, 21)


def test_storm_keeps_every_incident_and_drops_nothing(tmp_path: Path, receiver: Receiver) -> None:
    storm_job = job(tmp_path, receiver, 60, MemoryTable())
    [record] = storm_job.detect()
    payload = receiver.messages[0]["data"]
    incidents = {detail.incident.id for detail in storm_job.desk.incidents()}
    assert len(incidents) == payload["incidents"] == record.new_pairs == 60
    assert {entry["incident"] for entry in payload["listed_incidents"]} < incidents
    assert payload["more_incidents"] == 10
    alerts = list(IncidentList(storm_job.table, storm_job.rules[0].folder).alerts())
    assert len(alerts) == 60


def test_storm_is_told_once(tmp_path: Path, receiver: Receiver) -> None:
    table = MemoryTable()
    for _ in range(2):
        job(tmp_path, receiver, 21, table).detect()
    assert len(receiver.bodies) == 2


def test_digest_in_the_line_has_links_that_open(tmp_path: Path, receiver: Receiver) -> None:
    storm_job = job(tmp_path, receiver, 3, MemoryTable(), limit=2)
    settings = storm_job.settings.model_copy(update={"PAGE_URL": PAGE, "LINK_KEY": SecretStr(LINK_KEY)})
    storm_job = replace(storm_job, settings=settings)
    storm_job.detect()
    for incident in receiver.messages[0]["data"]["listed_incidents"]:
        name, query = incident["page"].removeprefix(f"{PAGE}/look/").split("?")
        (until,), (signature,) = parse_qs(query).values()
        assert name == incident["incident"]
        assert storm_job.link_signer().verify(name, until, signature, NOW)


def test_limit_is_a_setting(tmp_path: Path, receiver: Receiver) -> None:
    job(tmp_path, receiver, 3, MemoryTable(), limit=2).detect()
    assert _kinds(receiver) == ["detection.alert.digest"] * 2
