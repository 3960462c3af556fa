"""Changes in words: their objects, clients and addresses, and the steps that undo them."""

import json
import re
from dataclasses import replace

import pytest

from detection.incidents.alert import Alert
from detection.incidents.changed_object import OBJECTS
from detection.messages.changes import CHANGES_SHOWN, change_text, client_name, runbook_steps, undo_steps
from detection.messages.facts import changed_lines, facts, runbook
from detection.messages.native import native
from detection.messages.text import title
from detection.rules.model import Rule
from tests.incidents.test_changed_object import EVENTS
from tests.messages.test_formats import HOSTILE
from tests.support.builders import HOUR, RULE, START, change
from tests.support.contexts import CHROME, alert_of, golden_context

PAYMENTS = '{"id":"proj_1","name":"Payments"}'
CALL = 'curl -H "Authorization: Bearer $OPENAI_ADMIN_KEY" -X '
API = "https://api.openai.com/v1/organization"
# The words, and the call, for the details of each type in test_changed_object.py, in project proj_1.
WORDS = {
    "api_key.created": ("created API key obj_1", f"DELETE {API}/projects/proj_1/api_keys/obj_1"),
    "invite.sent": ("invited eve@example.org", f"DELETE {API}/invites/obj_1"),
    "invite.accepted": ("accepted invitation obj_1", f"GET {API}/invites/obj_1"),
    "invite.deleted": ("deleted invitation obj_1", None),
    "organization.updated": ("changed the settings of organization obj_1", ""),
    "project.created": ("created project Batch", f"POST {API}/projects/obj_1/archive"),
    "role.created": ("created role Auditor", f"DELETE {API}/roles/obj_1"),
    "role.updated": ("changed role obj_1", ""),
    "role.deleted": ("deleted role obj_1", None),
    "role.assignment.created": ("assigned a role to user-9", f"DELETE {API}/users/user-9/roles/ROLE_ID"),
    "role.assignment.deleted": ("removed a role from user-9", None),
    "role.bound_to_resource": ("gave role role-1 access to a resource", ""),
    "role.unbound_from_resource": ("took a resource from role role-1", None),
    "service_account.created": (
        "created service account obj_1",
        f"DELETE {API}/projects/proj_1/service_accounts/obj_1",
    ),
    "service_account.updated": ("changed service account obj_1", ""),
    "user.added": ("added user obj_1", f"DELETE {API}/projects/proj_1/users/obj_1"),
    "user.updated": ("changed user obj_1", ""),
    "tenant.admin_api_key.created": ("created admin API key obj_1", f"DELETE {API}/admin_api_keys/obj_1"),
    "tenant.project_api_key.created": (
        "created project API key obj_1",
        f"DELETE {API}/projects/proj_1/api_keys/obj_1",
    ),
    "tenant.custom_role.created": ("created custom role Auditor", f"DELETE {API}/roles/obj_1"),
    "tenant.custom_role.updated": ("changed custom role obj_1", ""),
    "tenant.custom_role.deleted": ("deleted custom role obj_1", None),
    "tenant.role.metadata.updated": ("changed the metadata of role obj_1", None),
    "tenant.role_assignment.created": (
        "assigned a role to user-9",
        f"DELETE {API}/users/user-9/roles/ROLE_ID",
    ),
    "tenant.role_assignment.deleted": ("removed a role from user-9", None),
    "tenant.resource_role_assignment.created": ("assigned a role to user-9", ""),
    "tenant.resource_role_assignment.deleted": ("removed a role from user-9", None),
    "tenant.user.added": ("added user obj_1", f"DELETE {API}/projects/proj_1/users/obj_1"),
    "tenant.api_organization_invite.upserted": ("invited eve@example.org", f"DELETE {API}/invites/obj_1"),
    "tenant.api_organization_invite.deleted": ("deleted the invitation of eve@example.org", None),
    "tenant.chatgpt_workspace_invite.upserted": ("invited eve@example.org", ""),
    "tenant.workspace_invite_email_settings.updated": ("changed the settings of invitations of obj_1", None),
}


def alert(
    details: str, kind: str = "api_key.created", project: str = PAYMENTS, client: str = CHROME
) -> Alert:
    return alert_of(change("c", START - 2 * HOUR, kind=kind, details=details, project=project, client=client))


def sentence(made: Alert, rule: Rule = RULE) -> str:
    (changed,) = made.changed_objects
    return change_text(changed, made, rule)


def test_change_names_its_object_project_client_and_address() -> None:
    key = alert('{"id":"key_abc","data":{"scopes":["model.request"]}}')
    text = "created API key key_abc (scopes: model.request) in project Payments, from Chrome on macOS, 203.0.113.7"
    assert sentence(key) == text
    assert sentence(replace(key, new_addresses=["203.0.113.7"])) == f"{text} (new for this actor)"


def test_change_without_details_is_its_label() -> None:
    assert sentence(alert("", project="", client="")) == "created an API key, from 203.0.113.7"


def test_type_that_the_connector_does_not_describe_still_names_its_object() -> None:
    assert sentence(alert('{"id":"x_1"}', "settings.new", "", "")) == "settings.new x_1, from 203.0.113.7"


@pytest.mark.parametrize("kind", EVENTS)
def test_words_and_the_step_that_undoes_name_the_object(kind: str) -> None:
    details, target, _ = EVENTS[kind]
    made = alert(json.dumps(details), kind)
    words, call = WORDS[kind]
    assert sentence(made).startswith(words)
    assert f" {words}, then hit the content filter" in title(made, RULE)
    if call is None:
        assert undo_steps(made, RULE) == []
        return
    (step,) = undo_steps(made, RULE)
    assert (step.change, step.call) == (words, call and CALL + call)
    assert target in step.step
    assert "{" not in step.step + step.call


def test_user_without_a_project_is_removed_from_the_organization() -> None:
    (step,) = undo_steps(alert('{"id":"user-1"}', "user.added", project=""), RULE)
    assert step.call == f"{CALL}DELETE {API}/users/user-1"


def test_call_has_the_name_of_an_id_that_the_log_does_not_have() -> None:
    (step,) = undo_steps(alert('{"id":"key_1"}', project=""), RULE)
    assert step.call == f"{CALL}DELETE {API}/projects/PROJECT/api_keys/key_1"


def test_assignment_without_its_principal_is_not_mistaken_for_it() -> None:
    (step,) = undo_steps(alert('{"id":"ra_1"}', "role.assignment.created"), RULE)
    assert step.call == f"{CALL}DELETE {API}/PRINCIPAL_TYPEs/PRINCIPAL_ID/roles/ROLE_ID"


@pytest.mark.parametrize(
    "identifier",
    [
        *HOSTILE.values(),
        "$(reboot)",
        "`id`",
        "a;b",
        "..",
        "../users/u",
        "a b",
        "a'b",
        "key_1\nrm",
        "{project}",
        "é",
    ],
)
def test_call_contains_no_id_that_a_shell_or_an_address_reads_otherwise(identifier: str) -> None:
    made = alert(json.dumps({"id": identifier}), project=json.dumps({"id": identifier}))
    (step,) = undo_steps(made, RULE)
    safe = identifier[:100] if re.fullmatch("[A-Za-z0-9_-]+", identifier) else None
    assert step.call == f"{CALL}DELETE {API}/projects/{safe or 'PROJECT'}/api_keys/{safe or 'ID'}"


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_hostile_object_is_inert_in_words(value: str) -> None:
    details = json.dumps({"id": value, "data": {value[:50]: value, "scopes": [value]}})
    made = alert(details, project=json.dumps({"name": value}), client=value)
    texts = [sentence(made), title(made, RULE), *changed_lines(made, RULE)]
    texts += [text for step in undo_steps(made, RULE) for text in (step.change, step.step, step.call)]
    assert [text for text in texts if not text.isprintable()] == []
    assert max(map(len, texts)) < 3_000


def test_title_names_the_objects_of_several_changes_of_a_type() -> None:
    changes = [change(f"c{n}", START - 2 * HOUR, details=f'{{"id":"key_{n}"}}') for n in range(5)]
    made = alert_of(*changes)
    assert "created an API key 5 times (key_0, key_1, key_2 and 2 more), then" in title(made, RULE)
    assert "created an API key twice (key_0, key_1), then" in title(alert_of(*changes[:2]), RULE)


def test_lines_count_the_changes_that_they_omit() -> None:
    changes = [change(f"c{n:02}", START - 2 * HOUR, details=f'{{"id":"key_{n}"}}') for n in range(30)]
    lines = changed_lines(alert_of(*changes), RULE)
    note = "27 more changes (no object kept of 20 changes: see the logs)"
    assert (lines[0], len(lines)) == (note, CHANGES_SHOWN + 1)
    lines = changed_lines(alert_of(*changes[:OBJECTS]), RULE)
    assert (lines[0], len(lines)) == ("7 more changes", CHANGES_SHOWN + 1)


@pytest.mark.parametrize(
    "agent, name",
    [
        (CHROME, "Chrome on macOS"),
        (CHROME + " Edg/137.0.0.0", "Edge on macOS"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Firefox on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile/15E148 Safari/604.1",
            "Safari on iOS",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("python-requests/2.32.3", "python-requests/2.32.3"),
        ("API key key_1", "API key key_1"),
        ("", ""),
    ],
)
def test_client_is_a_browser_and_its_system_in_words(agent: str, name: str) -> None:
    assert client_name(agent) == name


def test_runbook_names_the_object_and_the_call() -> None:
    steps = "\n".join(runbook(golden_context()))
    assert (
        "2. Contain: revoke the new key, role or invitation, and end all sessions of the account.\n"
        "- Revoke key_Vn3Qy8LsTz0KdWc5: Organization settings → API keys → Revoke\n"
        f"  {CALL}DELETE {API}/projects/proj_Kq7ZtW2mYd8RfLp1/api_keys/key_Vn3Qy8LsTz0KdWc5\n"
        "3. Scope:"
    ) in steps


def test_runbook_counts_the_steps_that_it_omits() -> None:
    changes = [change(f"c{n}", START - 2 * HOUR, details=f'{{"id":"key_{n}"}}') for n in range(5)]
    contain = runbook_steps(alert_of(*changes), RULE, 3)[1]
    assert contain.endswith("- and 2 more: see the incident")


def test_native_message_has_the_objects_and_how_to_undo_their_changes() -> None:
    data = json.loads(native(golden_context()))["data"]
    (changed,) = data["changed_objects"]
    assert (changed["target"], changed["project"], changed["client"]) == (
        "key_Vn3Qy8LsTz0KdWc5",
        "Payments",
        CHROME,
    )
    assert [step["change"] for step in data["undo"]] == ["created API key key_Vn3Qy8LsTz0KdWc5"]
    assert data["severity_text"] == "High: created an API key, then hit the content filter 3 times"


def test_native_message_counts_the_changes_whose_objects_it_does_not_have() -> None:
    context = golden_context()
    assert json.loads(native(context))["data"]["more_changes"] == 0
    counts = replace(context.alert.counts, changes=30)
    data = json.loads(native(replace(context, alert=replace(context.alert, counts=counts))))["data"]
    assert data["more_changes"] == 29


def test_severity_says_that_the_address_is_new() -> None:
    context = golden_context()
    with_address = replace(context.alert, new_addresses=["203.0.113.7"])
    assert dict(facts(replace(context, alert=with_address)))["Severity"] == (
        "High: created an API key, then hit the content filter 3 times; address new for this actor"
    )


def test_steps_name_the_objects() -> None:
    context = golden_context()
    assert context.steps[0].targets == {"api_key.created": ["key_Vn3Qy8LsTz0KdWc5"]}
