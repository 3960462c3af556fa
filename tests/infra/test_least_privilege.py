"""Who may do what: exactly the roles that the job needs, each on the least that it can be given on, and no keys."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.infra.bicep import Resource, load

INFRA = Path(__file__).parents[2] / "infra"
FILES = sorted(INFRA.glob("*.bicep"))
# Of Microsoft's built-in roles: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "storageBlobDataOwner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "storageTableDataContributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
    "keyVaultSecretsUser": "4633458b-17de-408a-b874-0445c86b69e6",
    "monitoringMetricsPublisher": "3913510d-42f4-4e42-8a64-420c390055eb",
    "logAnalyticsDataReader": "3b03c2da-16b3-4a49-8834-0f8130efdd3b",
    "logAnalyticsReader": "73c42c96-874c-492b-b04d-ab87d138a893",
}


class Grant(NamedTuple):
    """A role on something, for somebody, on a condition."""

    role: str
    scope: str
    to: str
    kind: str
    condition: str


NEEDED = {
    # The host's locks and timers, and the package that it starts.
    Grant("storageBlobDataOwner", "account", "principalId", "ServicePrincipal", ""),
    # Incidents, marks, outbox and run records.
    Grant("storageTableDataContributor", "account", "principalId", "ServicePrincipal", ""),
    Grant("keyVaultSecretsUser", "vault", "principalId", "ServicePrincipal", ""),
    Grant("monitoringMetricsPublisher", "insights", "principalId", "ServicePrincipal", ""),
    Grant("logAnalyticsDataReader", "workspace", "principalId", "ServicePrincipal", ""),
    # Saved functions, where PARSERS=alias asks for them.
    Grant("logAnalyticsReader", "workspace", "principalId", "ServicePrincipal", "savedFunctions"),
    # People: the one table, if there is a group.
    Grant(
        "storageTableDataContributor",
        "account::tables::incidents",
        "operatorsGroupId",
        "Group",
        "!empty(operatorsGroupId)",
    ),
}


def assignments() -> list[tuple[Resource, Grant]]:
    found = []
    for path in FILES:
        for one in load(path).resources:
            if one.type == "Microsoft.Authorization/roleAssignments":
                grant = one.body["properties"]
                role = re.fullmatch(
                    r"subscriptionResourceId\('Microsoft\.Authorization/roleDefinitions', roles\.(\w+)\)",
                    grant["roleDefinitionId"].text,
                )
                assert role is not None, f"{one.where}: which role?"
                scope, to = one.body["scope"].text, grant["principalId"].text
                found.append((one, Grant(role[1], scope, to, grant["principalType"], one.condition)))
    return found


def test_roles_assigned_are_the_roles_needed() -> None:
    found = [grant for _, grant in assignments()]
    assert sorted(found) == sorted(NEEDED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_role_has_the_id_of_its_name(path: Path) -> None:
    roles: dict[str, str] = load(path).variables.get("roles", {})
    assert {name: ROLES.get(name) for name in roles} == roles


@pytest.mark.parametrize(
    "one, grant", assignments(), ids=lambda part: part.where if isinstance(part, Resource) else ""
)
def test_name_of_an_assignment_says_what_it_is(one: Resource, grant: Grant) -> None:
    assert one.body["name"].text == f"guid({grant.scope}.id, {grant.to}, roles.{grant.role})"


def body(file: str, kind: str) -> dict[str, Any]:
    """The properties of the first resource of a type in a file."""
    resource = next(one for one in load(INFRA / file).resources if one.type == kind and not one.existing)
    properties: dict[str, Any] = resource.body["properties"]
    return properties


def test_storage_has_no_keys_and_shows_nothing_to_the_public() -> None:
    account = body("storage.bicep", "Microsoft.Storage/storageAccounts")
    names = (
        "allowSharedKeyAccess",
        "allowBlobPublicAccess",
        "allowCrossTenantReplication",
        "minimumTlsVersion",
    )
    assert [account[name] for name in names] == [False, False, False, "TLS1_2"]


def test_logs_take_no_keys() -> None:
    assert body("telemetry.bicep", "Microsoft.Insights/components")["DisableLocalAuth"] is True
    workspace = body("telemetry.bicep", "Microsoft.OperationalInsights/workspaces")
    assert workspace["features"]["disableLocalAuth"] is True


def test_app_takes_no_passwords() -> None:
    kind = "Microsoft.Web/sites/basicPublishingCredentialsPolicies"
    policies = [one.body for one in load(INFRA / "app.bicep").resources if one.type == kind]
    assert {one["name"]: one["properties"]["allow"] for one in policies} == {"ftp": False, "scm": False}


def test_vault_gives_by_role() -> None:
    assert body("vault.bicep", "Microsoft.KeyVault/vaults")["enableRbacAuthorization"] is True


@pytest.mark.parametrize("path", [*FILES, INFRA / "main.parameters.json"], ids=lambda path: str(path.name))
def test_no_key_is_asked_for_or_written_down(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    keys = r"listKeys|listAccountSas|AccountKey|SharedAccessKey|InstrumentationKey|sharedKey\b|whsec_[A-Za-z0-9+/]{8}"
    assert re.findall(keys, text) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.name))
def test_what_is_secret_is_marked_so(path: Path) -> None:
    names = ("webhookUrl", "webhookSecret", "webhooks", "heartbeatUrl")
    parameters = load(path).parameters
    assert [
        name for name in names if name in parameters and "secure" not in parameters[name].decorators
    ] == []
