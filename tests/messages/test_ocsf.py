"""OCSF events, validated by the schema of OCSF as its package has it: unknown attributes are errors there."""

import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from detection.messages.context import AlertContext
from detection.messages.digest import as_ocsf
from detection.messages.native import MESSAGE_BYTES
from detection.messages.ocsf import CLASS, VERSION, milliseconds, ocsf
from tests.messages.test_formats import HOSTILE
from tests.support.builders import ALICE, HOUR, RULE, START
from tests.support.contexts import (
    LINKS,
    golden_context,
    golden_digest,
    incident_opened_at,
    link_to,
    made_up_context,
)

Json = dict[str, Any]

CONTEXTS = {
    "golden": golden_context(),
    "bare": made_up_context(),
    "updated": made_up_context(30, incident=incident_opened_at(START - HOUR)),
    **{
        f"hostile: {name}": made_up_context(
            30, value, ip=value, model=value, client=value, organization=value, project=value, details=value
        )
        for name, value in HOSTILE.items()
    },
}
EVENTS = {name: json.loads(ocsf(context)) for name, context in CONTEXTS.items()} | {
    "digest": json.loads(as_ocsf(golden_digest())),
    "large digest": json.loads(as_ocsf(golden_digest(500))),
}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VERSION))
    class_name = schema.lookup_class_name_from_uid(CLASS)
    return Draft202012Validator(schema.get_class_schema(class_name))


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_event_is_what_the_schema_of_ocsf_takes(event: Json, validator: Draft202012Validator) -> None:
    assert [error.message for error in validator.iter_errors(event)] == []


@pytest.mark.parametrize(
    "path, wrong",
    [(("severity_id",), 9), (("finding_info", "severity"), "High"), (("metadata", "product"), {})],
)
def test_event_that_breaks_the_schema_is_found(
    path: tuple[str, ...], wrong: object, validator: Draft202012Validator
) -> None:
    event = json.loads(ocsf(golden_context()))
    parent = event
    for name in path[:-1]:
        parent = parent[name]
    parent[path[-1]] = wrong
    assert not validator.is_valid(event)


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_event_fits_into_the_transaction_of_its_alert(context: AlertContext) -> None:
    assert len(ocsf(context)) <= MESSAGE_BYTES


def test_newest_version_of_the_package_is_ours() -> None:
    from ocsf_json_schema import get_packaged_versions  # noqa: PLC0415  # only this test asks for it

    stable = [version for version in get_packaged_versions() if "-" not in version]
    assert max(stable, key=lambda version: [int(part) for part in version.split(".")]) == VERSION


def test_updates_correlate_by_the_incident_and_have_the_ids_of_their_alerts() -> None:
    opened, updated = EVENTS["bare"], EVENTS["updated"]
    assert (opened["activity_name"], updated["activity_name"]) == ("Create", "Update")
    assert updated["finding_info"]["uid"] == updated["metadata"]["correlation_uid"] == "in_1"
    assert updated["metadata"]["uid"] == CONTEXTS["updated"].alert.alert


def test_event_says_who_changed_which_object_from_where() -> None:
    (evidence,) = EVENTS["golden"]["evidences"]
    assert evidence["actor"]["user"] == {"name": ALICE, "org": {"name": "example-org"}}
    assert evidence["src_endpoint"] == {"ip": "203.0.113.7"}
    assert EVENTS["golden"]["resources"] == [
        {"uid": "key_Vn3Qy8LsTz0KdWc5", "name": "key_Vn3Qy8LsTz0KdWc5", "type": "api_key.created"}
    ]
    assert {"name": "IP.Address", "type_id": 2, "type": "IP Address", "value": "203.0.113.7"} in EVENTS[
        "golden"
    ]["observables"]


def test_event_has_the_rule_the_time_the_severity_and_the_links() -> None:
    event = EVENTS["golden"]
    info = event["finding_info"]
    assert (info["analytic"]["uid"], event["severity"], event["time"]) == (
        str(RULE.id),
        "High",
        milliseconds(START),
    )
    assert info["src_url"] == LINKS.page
    assert event["remediation"]["references"] == [f"{LINKS.page}#runbook"]
    assert info["related_events"][0]["uid"] == "in_1"
    assert (info["first_seen_time"], info["last_seen_time"]) == (
        milliseconds(START - 2 * HOUR),
        milliseconds(golden_context().steps[-1].end),
    )


def test_acknowledged_incident_is_in_progress() -> None:
    context = made_up_context()
    acknowledged = replace(context, incident=replace(context.incident, status="acknowledged"))
    assert json.loads(ocsf(acknowledged))["status"] == "In Progress"


def test_digest_names_the_findings_of_its_incidents() -> None:
    info = EVENTS["digest"]["finding_info"]
    assert (len(info["related_events"]), info["related_events_count"]) == (23, 23)
    worst = info["related_events"][0]
    assert (worst["uid"], worst["count"]) == ("in_0005", 3)
    assert worst["tags"] == [{"name": "page", "value": link_to("in_0005")}]
