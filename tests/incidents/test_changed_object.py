"""The object of a change, from every documented shape of an audit event, however the connector nests it."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import to_json

from detection.app import open_source
from detection.incidents.changed_object import (
    CLIENT,
    NAME,
    OBJECTS,
    VALUE,
    VALUES_LENGTH,
    ChangedObject,
    changed_object,
    changed_objects,
)
from detection.logs.window import plan_windows
from detection.rules.loading import RULES, load_rule
from detection.ruletests.objects import ReceivedObject, complete_fields, objects_of, rows_of
from detection.settings import settings_from
from tests.messages.test_formats import HOSTILE
from tests.support.builders import HOUR, RULE, START, TICK, change

Details = Mapping[str, Any]

# The details by event type, and the target and the values that they name. Shapes: `openai` 3.57.0,
# types/admin/organization/audit_log_list_response.py. No shape of a tenant event is documented: theirs are those of
# the same event of an organization.
_ID = "obj_1"
_RESOURCE = {"resource_type": "api.organization", "resource_id": "org-1"}
_PRINCIPAL = {"principal_id": "user-9", "principal_type": "user"}
_ASSIGNMENT: Details = {"id": _ID, **_PRINCIPAL, **_RESOURCE}
_ROLE: Details = {
    "id": _ID,
    "role_name": "Auditor",
    "permissions": ["api.keys.read", "api.keys.write"],
    **_RESOURCE,
}
_ROLE_VALUES = {"role_name": "Auditor", "permissions": "api.keys.read, api.keys.write", **_RESOURCE}
_BINDING: Details = {
    "id": "ws__c",
    "role_id": "role-1",
    "connector_name": "Drive",
    "enabled": True,
    "permissions": [],
}
_BINDING_VALUES = {"role_id": "role-1", "connector_name": "Drive", "enabled": "true", "permissions": "none"}
_INVITE: Details = {"id": _ID, "data": {"email": "eve@example.org", "role": "owner"}}
_INVITE_VALUES = {"email": "eve@example.org", "role": "owner"}
_KEY: Details = {"id": _ID, "data": {"scopes": ["api.model.request", "api.files.read"]}}
_KEY_VALUES = {"scopes": "api.model.request, api.files.read"}
_ONLY_ID: Details = {"id": _ID}
_NEW_ROLE: Details = {"id": _ID, "changes_requested": {"role": "owner"}}
_NEW_PERMISSIONS: Details = {
    "id": _ID,
    "changes_requested": {"permissions_added": ["api.keys.write"], "permissions_removed": []},
}
_NEW_PERMISSIONS_VALUES = {"permissions_added": "api.keys.write", "permissions_removed": "none"}
EVENTS: Mapping[str, tuple[Details, str, Mapping[str, str]]] = {
    "api_key.created": (_KEY, _ID, _KEY_VALUES),
    "invite.sent": (_INVITE, "eve@example.org", _INVITE_VALUES),
    "invite.accepted": (_ONLY_ID, _ID, {}),
    "invite.deleted": (_ONLY_ID, _ID, {}),
    "organization.updated": (
        {"id": _ID, "changes_requested": {"title": "Example", "api_call_logging": "disabled", "name": None}},
        _ID,
        {"title": "Example", "api_call_logging": "disabled"},
    ),
    "project.created": (
        {"id": _ID, "data": {"name": "batch", "title": "Batch"}},
        "Batch",
        {"name": "batch", "title": "Batch"},
    ),
    "role.created": (_ROLE, "Auditor", _ROLE_VALUES),
    "role.updated": (_NEW_PERMISSIONS, _ID, _NEW_PERMISSIONS_VALUES),
    "role.deleted": (_ONLY_ID, _ID, {}),
    "role.assignment.created": (_ASSIGNMENT, "user-9", {**_PRINCIPAL, **_RESOURCE}),
    "role.assignment.deleted": (_ASSIGNMENT, "user-9", {**_PRINCIPAL, **_RESOURCE}),
    "role.bound_to_resource": (_BINDING, "role-1", _BINDING_VALUES),
    "role.unbound_from_resource": (_BINDING, "role-1", _BINDING_VALUES),
    "service_account.created": ({"id": _ID, "data": {"role": "member"}}, _ID, {"role": "member"}),
    "service_account.updated": (_NEW_ROLE, _ID, {"role": "owner"}),
    "user.added": ({"id": _ID, "data": {"role": "owner"}}, _ID, {"role": "owner"}),
    "user.updated": (_NEW_ROLE, _ID, {"role": "owner"}),
    "tenant.admin_api_key.created": (_KEY, _ID, _KEY_VALUES),
    "tenant.project_api_key.created": (_KEY, _ID, _KEY_VALUES),
    "tenant.custom_role.created": (_ROLE, "Auditor", _ROLE_VALUES),
    "tenant.custom_role.updated": (_NEW_PERMISSIONS, _ID, _NEW_PERMISSIONS_VALUES),
    "tenant.custom_role.deleted": (_ONLY_ID, _ID, {}),
    "tenant.role.metadata.updated": (_ONLY_ID, _ID, {}),
    "tenant.role_assignment.created": (_ASSIGNMENT, "user-9", {**_PRINCIPAL, **_RESOURCE}),
    "tenant.role_assignment.deleted": (_ASSIGNMENT, "user-9", {**_PRINCIPAL, **_RESOURCE}),
    "tenant.resource_role_assignment.created": (_ASSIGNMENT, "user-9", {**_PRINCIPAL, **_RESOURCE}),
    "tenant.resource_role_assignment.deleted": (_ASSIGNMENT, "user-9", {**_PRINCIPAL, **_RESOURCE}),
    "tenant.user.added": ({"id": _ID, "data": {"role": "owner"}}, _ID, {"role": "owner"}),
    "tenant.api_organization_invite.upserted": (_INVITE, "eve@example.org", _INVITE_VALUES),
    "tenant.api_organization_invite.deleted": (_INVITE, "eve@example.org", _INVITE_VALUES),
    "tenant.chatgpt_workspace_invite.upserted": (_INVITE, "eve@example.org", _INVITE_VALUES),
    "tenant.workspace_invite_email_settings.updated": (_ONLY_ID, _ID, {}),
}
NESTINGS: Mapping[str, Callable[[str, Details], object]] = {
    "flat": lambda _, details: details,
    "under its type": lambda kind, details: {kind: details},
    "under its type with underscores": lambda kind, details: {kind.replace(".", "_"): details},
    "with the keys of other types": lambda kind, details: {"login.failed": None, kind: details},
    "as JSON text": lambda _, details: json.dumps(details),
    "under its type, all as JSON text": lambda kind, details: json.dumps({kind: details}),
    "as JSON text under its type": lambda kind, details: {kind: json.dumps(details)},
    "the whole event": lambda kind, details: {"id": "audit_log-1", "type": kind, kind: details},
}


def changed(details: object, kind: str = "api_key.created", **cells: str) -> ChangedObject:
    """The object of a change with these details."""
    text = details if isinstance(details, str) else json.dumps(details)
    result = changed_object(change("c", START, kind=kind, details=text, **cells), RULE)
    assert result is not None
    return result


def test_every_type_that_the_rule_returns_is_here() -> None:
    tests = (RULES / RULE.folder / "tests" / "event_types.yaml").read_text(encoding="utf-8")
    privileged = yaml.safe_load(tests)["cases"][0]["each"]["type"]
    assert (
        EVENTS.keys() == {*privileged, "user.updated", "service_account.updated"} == RULE.change_types.keys()
    )
    assert EVENTS.keys() <= RULE.sequence.changes.labels.keys()


@pytest.mark.parametrize("nesting", NESTINGS.values(), ids=NESTINGS)
@pytest.mark.parametrize("kind", EVENTS)
def test_object_is_named_however_the_details_are_nested(
    kind: str, nesting: Callable[[str, Details], object]
) -> None:
    details, target, values = EVENTS[kind]
    result = changed(nesting(kind, details), kind)
    assert (result.target, result.id, result.values) == (target, details["id"], values)


@pytest.mark.parametrize("rule_name", ["openai-config-to-abuse", "openai-config-to-abuse-sentinel"])
def test_queries_return_the_objects_of_every_type(tmp_path: Path, rule_name: str) -> None:
    rule = load_rule(rule_name)
    kinds = objects_of(rule, RULES / rule.folder)
    time = START - HOUR
    actor = {"session": {"user": {"email": "ann@example.com"}, "user_agent": "curl/8.5.0"}}
    project = {"id": "proj_1", "name": "Payments"}
    objects: list[ReceivedObject] = []
    expected: list[tuple[str, ...]] = []
    for kind, (details, target, _) in EVENTS.items():
        if kind.endswith("account.updated") or kind == "user.updated":
            continue  # the published rule does not return them
        for nesting in NESTINGS.values():
            ident = f"audit_log-{len(objects)}"
            fields = {"id": ident, "type": kind, "actor": actor, "project": project}
            fields = complete_fields(kinds["audit_log"], fields, 0, time, START)
            details_cell = json.dumps(nesting(kind, details))
            objects.append(ReceivedObject("audit_log", fields, {"EventDetails": details_cell}, time))
            expected.append((ident, target, "Payments", "proj_1", "curl/8.5.0"))
    lines = "".join(json.dumps(row) + "\n" for row in rows_of(objects, kinds, rule))
    (tmp_path / "OpenAIAuditLogs_CL.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "ASimAgentEventLogs.jsonl").write_text("", encoding="utf-8")
    source = open_source(settings_from({"LOGS_DIR": str(tmp_path)}), rule, lambda: START)

    logs = source.read(rule, plan_windows(START, None, rule))

    results = [changed_object(event, rule) for event in logs.changes.in_window]
    assert sorted(
        (result.event, result.target, result.project, result.project_id, result.client)
        for result in results
        if result
    ) == sorted(expected)


@pytest.mark.parametrize(
    "former, new", [("old", "new"), ("from", "to"), ("before", "after"), ("previous", "current")]
)
def test_setting_shows_its_former_value_where_the_log_has_it(former: str, new: str) -> None:
    details = {
        "id": "org-1",
        "changes_requested": {"api_call_logging": {former: "enabled_per_call", new: "disabled"}},
    }
    assert changed(details, "organization.updated").values == {
        "api_call_logging": "enabled_per_call → disabled"
    }


@pytest.mark.parametrize(
    "member, text",
    [({"name": "Auditor", "id": "role-1"}, "Auditor"), ({"id": "role-1"}, "role-1"), ({"n": 1}, '{"n":1}')],
    ids=["a name", "an id", "neither"],
)
def test_object_in_a_list_is_its_name_or_its_id_or_its_json(member: Details, text: str) -> None:
    assert changed({"id": "user-1", "roles": [member]}).values == {"roles": text}


def test_details_that_were_cut_still_name_the_object() -> None:
    details = json.dumps({"id": "key_1", "data": {"scopes": ["api.model.request"] * 400}})[:4096]
    assert changed(details).target == "key_1"


def test_id_that_was_cut_names_nothing() -> None:
    assert changed('{"id":"key_1').target == ""


@pytest.mark.parametrize(
    "details", ["the role was changed", '["role"]', '"role"', "7", "{", "[[[[", '{"id":{}}', ""]
)
def test_details_without_an_object_name_nothing(details: str) -> None:
    assert (changed(details, "user.updated").target, changed(details, "user.updated").id) == ("", "")


def test_object_that_an_author_writes_into_the_details_names_nothing() -> None:
    written = '{"id": "key_other", "scopes": "none"}'
    details = {
        "id": "role-1",
        "changes_requested": {
            "permissions_added": ["api.keys.write"],
            "description": written,
            "metadata": {
                "id": "role-other",
                "permissions_added": "none",
                "role.updated": {"id": "role-other"},
            },
        },
    }
    result = changed({"role.updated": details}, "role.updated")
    assert (result.id, result.target) == ("role-1", "role-1")
    assert result.values["permissions_added"] == "api.keys.write"
    assert result.values["description"] == written


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_object_is_small(value: str) -> None:
    members = {f"{value[:NAME]}{number}": value for number in range(500)}
    result = changed({"id": value, "data": members}, project=value, client=value, ip=value)
    names = (result.target, result.id, result.project, result.project_id, result.address)
    assert max(map(len, names)) <= NAME
    assert len(result.client) <= CLIENT
    assert max(map(len, result.values.values()), default=0) <= VALUE + 1
    assert sum(len(name) + len(text) for name, text in result.values.items()) <= VALUES_LENGTH
    assert len(to_json(result)) < 16_000


def test_many_changes_of_a_type_hide_no_other_type() -> None:
    key = change("key", START, kind="api_key.created", details='{"id":"key_1"}')
    invites = [
        change(
            f"i{number:03}",
            START + HOUR + number * TICK,
            kind="invite.sent",
            details=f'{{"id":"invite-{number}"}}',
        )
        for number in range(100)
    ]
    objects = changed_objects([*invites, key], RULE)
    assert [result.target for result in objects] == ["key_1", *(f"invite-{n}" for n in range(91, 100))]
    assert len(objects) == OBJECTS


def test_objects_are_in_order_of_time() -> None:
    events = [
        change(f"c{hours}", START + timedelta(hours=hours), details='{"id":"key"}') for hours in (3, 1, 2)
    ]
    assert [result.event for result in changed_objects(events, RULE)] == ["c1", "c2", "c3"]


def test_rule_without_details_names_no_object() -> None:
    side = RULE.sequence.changes.model_copy(update={"object": None})
    rule = RULE.model_copy(update={"sequence": RULE.sequence.model_copy(update={"changes": side})})
    assert changed_objects([change("c", START, details='{"id":"key_1"}')], rule) == []
