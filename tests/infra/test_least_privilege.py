"""Who may do what: exactly the roles that the job needs, each on the least that it can be given on; no keys; and no secret
outside of the vault.
"""

import json
import re
import uuid
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.infra.compiled import Json, expressions, main, modules, resources, templates
from tests.infra.snapshots import FOLDER, NAMES, Resource, Snapshot, snapshot
from tests.regenerate import ROOT

INFRA = ROOT / "infra"
ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
SECRET = "Microsoft.KeyVault/vaults/secrets"
# Of Microsoft's built-in roles: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "76199698-9eea-4c19-bc75-cec21354c6b6": "Storage Table Data Reader",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "3b03c2da-16b3-4a49-8834-0f8130efdd3b": "Log Analytics Data Reader",
    "73c42c96-874c-492b-b04d-ab87d138a893": "Log Analytics Reader",
}
WIDE_ROLES = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
    "f58310d9-a9f6-439a-9e8d-f62e7b41a168": "Role Based Access Control Administrator",
}


# ------------------------------------------------------------------------------------------------------------- roles


class Grant(NamedTuple):
    """A role on a resource, for a principal."""

    role: str
    scope: str
    principal: str
    kind: str


JOB = ("the job", "ServicePrincipal")
OPERATORS = ("77777777-7777-7777-7777-777777777777", "Group")


def workspace(subscription: str, group: str, name: str) -> str:
    return (
        f"/subscriptions/{subscription}/resourceGroups/{group}"
        f"/providers/Microsoft.OperationalInsights/workspaces/{name}"
    )


WORKSPACE = workspace("11111111-1111-1111-1111-111111111111", "rg-sentinel", "log-sentinel")
MORE_WORKSPACES = [
    workspace("44444444-4444-4444-4444-444444444444", "rg-two", "log-two"),
    workspace("55555555-5555-5555-5555-555555555555", "rg-three", "log-three"),
]


def always_needed(deployment: Snapshot) -> list[Grant]:
    account = deployment.single("Microsoft.Storage/storageAccounts")["id"]
    return [
        # The host's locks and timers, and the package that it starts.
        Grant("Storage Blob Data Owner", account, *JOB),
        # Incidents, marks, outbox and run records.
        Grant("Storage Table Data Contributor", account, *JOB),
        Grant("Key Vault Secrets User", deployment.single("Microsoft.KeyVault/vaults")["id"], *JOB),
        Grant("Monitoring Metrics Publisher", deployment.single("Microsoft.Insights/components")["id"], *JOB),
        Grant("Log Analytics Data Reader", WORKSPACE, *JOB),
    ]


def sometimes_needed(deployment: Snapshot) -> list[Grant]:
    if deployment.name == "three-workspaces":  # which are read through saved functions
        return [
            *(Grant("Log Analytics Data Reader", scope, *JOB) for scope in MORE_WORKSPACES),
            *(Grant("Log Analytics Reader", scope, *JOB) for scope in [WORKSPACE, *MORE_WORKSPACES]),
        ]
    if deployment.name == "landing-zone":  # who deploys also operates
        table = deployment.single("Microsoft.Storage/storageAccounts/tableServices/tables")["id"]
        return [Grant("Storage Table Data Reader", table, "[deployer().objectId]", "")]
    if deployment.name == "several-destinations":  # with an operators' group: people read the one table
        table = deployment.single("Microsoft.Storage/storageAccounts/tableServices/tables")["id"]
        return [Grant("Storage Table Data Reader", table, *OPERATORS)]
    return []


def scope(assignment: Resource) -> str:
    """The resource that a role is assigned on; the assignment's own id if that is not one resource."""
    expression = re.fullmatch(rf"\[extensionResourceId\('([^']+)', '{ASSIGNMENT}', .+\)\]", assignment["id"])
    return str(expression[1] if expression else assignment["id"].split(f"/providers/{ASSIGNMENT}/")[0])


def role(assignment: Resource) -> str:
    """The id of the role that is assigned."""
    return str(assignment["properties"]["roleDefinitionId"].rsplit("/", 1)[1])


def grant(assignment: Resource, deployment: Snapshot) -> Grant:
    # A person or a program deploys, so that assignment names no type.
    principal, kind = (
        assignment["properties"]["principalId"],
        assignment["properties"].get("principalType", ""),
    )
    name = JOB[0] if principal == deployment.outputs["AZURE_IDENTITY_PRINCIPAL_ID"] else principal
    return Grant(ROLES.get(role(assignment), role(assignment)), scope(assignment), name, kind)


@pytest.mark.parametrize("name", NAMES)
def test_roles_assigned_are_the_roles_needed(name: str) -> None:
    deployment = snapshot(name)
    granted = [grant(assignment, deployment) for assignment in deployment.of_type(ASSIGNMENT)]
    assert sorted(granted) == sorted(always_needed(deployment) + sometimes_needed(deployment))


@pytest.mark.infra
def test_the_job_is_the_identity_of_its_module() -> None:
    assert main()["outputs"]["AZURE_IDENTITY_PRINCIPAL_ID"]["value"] == (
        "[reference('identity').outputs.principalId.value]"
    )
    identity = templates()["identity"]
    assert identity["outputs"]["principalId"]["value"] == "[reference('identity').principalId]"
    assert resources(identity)["identity"]["type"] == "Microsoft.ManagedIdentity/userAssignedIdentities"


@pytest.mark.parametrize("name", NAMES)
def test_only_the_app_acts_and_as_the_job_alone(name: str) -> None:
    (app,) = (resource for resource in snapshot(name).resources if "identity" in resource)
    assert app["type"] == "Microsoft.Web/sites"
    assert app["identity"]["type"] == "UserAssigned"
    assert len(app["identity"]["userAssignedIdentities"]) == 1


def assignment_guid(*parts: str) -> str:
    """What the template function `guid` makes of texts."""
    return str(uuid.uuid5(uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830"), "-".join(parts)))


def assignment_name(assignment: Resource) -> str:
    principal = assignment["properties"]["principalId"]
    if principal.startswith("["):
        return f"[guid('{scope(assignment)}', {principal[1:-1]}, '{role(assignment)}')]"
    return assignment_guid(scope(assignment), principal, role(assignment))


@pytest.mark.parametrize("name", NAMES)
def test_name_of_an_assignment_comes_from_scope_principal_and_role(name: str) -> None:
    assignments = snapshot(name).of_type(ASSIGNMENT)
    assert [assignment["name"] for assignment in assignments] == list(map(assignment_name, assignments))


@pytest.mark.parametrize("name", NAMES)
def test_no_role_is_on_a_resource_group_or_subscription(name: str) -> None:
    scopes = [scope(assignment) for assignment in snapshot(name).of_type(ASSIGNMENT)]
    assert [
        wide for wide in scopes if not re.match(r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/", wide)
    ] == []


@pytest.mark.infra
def test_every_assignment_has_a_scope_also_on_conditions_that_no_set_meets() -> None:
    assignments = [
        body
        for template in templates().values()
        for body in resources(template).values()
        if body["type"] == ASSIGNMENT
    ]
    assert len(assignments) == 8
    assert [body for body in assignments if not body["scope"].startswith("[resourceId('Microsoft.")] == []


@pytest.mark.infra
def test_roles_in_the_template_are_those_needed() -> None:
    variables = [template.get("variables", {}).get("roles", {}) for template in templates().values()]
    assert {id_ for roles in variables for id_ in roles.values()} == set(ROLES)


def text_files() -> list[Path]:
    return sorted(path for path in INFRA.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", text_files(), ids=lambda path: str(path.name))
def test_no_wide_role_is_named(path: Path) -> None:
    text = path.read_text(encoding="utf-8").lower()
    assert [name for id_, name in WIDE_ROLES.items() if id_ in text] == []


# ------------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("name", NAMES)
def test_storage_has_no_keys_and_shows_nothing_to_the_public(name: str) -> None:
    account = snapshot(name).single("Microsoft.Storage/storageAccounts")["properties"]
    assert account["allowSharedKeyAccess"] is False
    assert account["allowBlobPublicAccess"] is False
    assert account["allowCrossTenantReplication"] is False
    assert account["defaultToOAuthAuthentication"] is True
    assert account["supportsHttpsTrafficOnly"] is True
    assert account["minimumTlsVersion"] == "TLS1_2"
    packages = snapshot(name).single("Microsoft.Storage/storageAccounts/blobServices/containers")
    assert packages["properties"]["publicAccess"] == "None"


@pytest.mark.parametrize("name", NAMES)
def test_logs_take_no_keys(name: str) -> None:
    deployment = snapshot(name)
    assert deployment.single("Microsoft.Insights/components")["properties"]["DisableLocalAuth"] is True
    workspace = deployment.single("Microsoft.OperationalInsights/workspaces")["properties"]
    assert workspace["features"]["disableLocalAuth"] is True


@pytest.mark.parametrize("name", NAMES)
def test_app_takes_no_passwords(name: str) -> None:
    policies = snapshot(name).of_type("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    allowed = {policy["name"].rsplit("/", 1)[1]: policy["properties"]["allow"] for policy in policies}
    assert allowed == {"ftp": False, "scm": False}


@pytest.mark.parametrize("name", NAMES)
def test_app_uses_no_keys(name: str) -> None:
    app = snapshot(name).single("Microsoft.Web/sites")
    package = app["properties"]["functionAppConfig"]["deployment"]["storage"]["authentication"]
    assert package["type"] == "UserAssignedIdentity"
    settings = snapshot(name).app_settings
    assert settings["AzureWebJobsStorage__credential"] == "managedidentity"
    assert ";Authorization=AAD'" in settings["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]
    assert "AzureWebJobsStorage" not in settings


@pytest.mark.parametrize("name", NAMES)
def test_vault_gives_by_role(name: str) -> None:
    vault = snapshot(name).single("Microsoft.KeyVault/vaults")["properties"]
    assert vault["enableRbacAuthorization"] is True
    assert "accessPolicies" not in vault


@pytest.mark.parametrize("path", text_files(), ids=lambda path: str(path.name))
def test_no_key_is_asked_for_or_written_down(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    keys = r"listKeys|listAccountSas|AccountKey|SharedAccessKey|InstrumentationKey|sharedKey\b|whsec_[A-Za-z0-9+/]{8}"
    assert re.findall(keys, text) == []


@pytest.mark.infra
def test_template_asks_no_service_for_a_list_of_secrets() -> None:
    calls = [
        call
        for template in templates().values()
        for _, text in expressions(template)
        for call in re.findall(r"\blist\w*\(|\bgetSecret\(", text)
    ]
    assert calls == []


# ----------------------------------------------------------------------------------------------------------- secrets

SECRETS = {
    "webhookUrl": "webhook-url",
    "webhookSecret": "webhook-secret",
    "webhooks": "webhooks",
    "heartbeatUrl": "heartbeat-url",
}
REFERENCES = {
    "webhookUrlReference": "webhook-url",
    "webhookSignatureReference": "webhook-secret",
    "webhooksReference": "webhooks",
    "heartbeatUrlReference": "heartbeat-url",
    "linkKeyReference": "link-key",
}
LINK_KEY = "newLinkKey"  # of the vault's module: no person chooses it
PARAMETER = re.compile(r"parameters\('(\w+)'\)")


def secure(template: Json) -> set[str]:
    return {
        name
        for name, body in template.get("parameters", {}).items()
        if body["type"].lower() in {"securestring", "secureobject"}
    }


def values_used(expression: str) -> set[str]:
    """The parameters whose values an expression uses; whether one is empty tells none of its value."""
    return set(PARAMETER.findall(re.sub(r"empty\(parameters\('\w+'\)\)", "", expression)))


def may_hold_a_secret(path: tuple[str, ...], template: Json) -> bool:
    """Whether a place is a vault secret's value, or a secure parameter of a module."""
    if path[:1] != ("resources",):
        return False
    body = resources(template)[path[1]]
    if body["type"] == SECRET:
        return path[2:] == ("properties", "value")
    return path[2:4] == ("properties", "parameters") and path[4] in secure(body["properties"]["template"])


def leaks(template: Json) -> list[str]:
    """The places where a template uses the value of a secure parameter and must not."""
    return [
        "/".join(path)
        for path, text in expressions(template)
        if values_used(text) & secure(template) and not may_hold_a_secret(path, template)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_of_a_parameter_set_is_evaluated(name: str) -> None:
    """The engine leaves secure parameters as they are: a secret that a snapshot shows went through one that is not."""
    parameters = (FOLDER / f"{name}.bicepparam").read_text(encoding="utf-8")
    values = re.findall(rf"^param (?:{'|'.join(SECRETS)}) = '(.+)'$", parameters, flags=re.MULTILINE)
    evaluated = (FOLDER / f"{name}.snapshot.json").read_text(encoding="utf-8")
    assert values
    assert [value for value in values if json.dumps(value)[1:-1] in evaluated] == []


@pytest.mark.infra
def test_what_is_secret_is_secure_and_has_no_default() -> None:
    parameters = main()["parameters"]
    assert secure(main()) == set(SECRETS)
    assert {parameters[name]["defaultValue"] for name in SECRETS} == {""}


@pytest.mark.infra
def test_secret_goes_nowhere_but_into_the_vault() -> None:
    assert [f"{name}: {leak}" for name, template in templates().items() for leak in leaks(template)] == []


@pytest.mark.infra
def test_only_the_vault_is_given_secrets() -> None:
    assert {name for name, template in templates().items() if secure(template)} == {"main", "vault"}


@pytest.mark.infra
def test_secret_is_secure_all_the_way() -> None:
    vault = modules(main())["vault"]["properties"]
    values = {name: str(vault["parameters"][name]) for name in secure(vault["template"]) - {LINK_KEY}}
    assert {name: values_used(value) for name, value in values.items()} == {
        name: {name} for name in secure(main())
    }
    assert [value for value in values.values() if re.search(r"variables\(|reference\(", value)] == []


@pytest.mark.infra
def test_secret_in_the_vault_is_a_secure_parameter() -> None:
    template = templates()["vault"]
    secrets = {
        body["properties"]["value"]: re.findall(r", '([\w-]+)'\)\]$", body["name"])
        for body in resources(template).values()
        if body["type"] == SECRET
    }
    names = {**SECRETS, LINK_KEY: "link-key"}
    assert secrets == {f"[parameters('{parameter}')]": [name] for parameter, name in names.items()}


@pytest.mark.infra
def test_key_of_links_is_made_by_the_first_deployment_and_kept_by_all_others() -> None:
    vault = modules(main())["vault"]["properties"]
    assert LINK_KEY not in vault["parameters"]
    assert vault["template"]["parameters"][LINK_KEY] == {
        "type": "securestring",
        "defaultValue": "[format('{0}{1}', newGuid(), newGuid())]",
        "metadata": {"description": "A new key of signed links, which only the first deployment stores."},
    }
    unreplaced = [name for name, body in resources(vault["template"]).items() if "@options" in body]
    assert unreplaced == ["linkSecret"]
    assert "onlyIfNotExists" in resources(vault["template"])["linkSecret"]["@options"]


@pytest.mark.infra
def test_outputs_of_the_vault_are_references() -> None:
    outputs = {name: body["value"] for name, body in templates()["vault"]["outputs"].items()}
    assert {name: text for name, text in outputs.items() if name not in {"id", "name"}} == {
        name: f"[format('@Microsoft.KeyVault(SecretUri={{0}}secrets/{{1}})', reference('vault').vaultUri, '{secret}')]"
        for name, secret in REFERENCES.items()
    }


@pytest.mark.infra
def test_app_is_given_references() -> None:
    parameters = modules(main())["app"]["properties"]["parameters"]
    for name in REFERENCES:
        text = str(parameters[name])
        assert re.findall(r"(\w+'\)\.outputs\.\w+)\.value", text) == [f"vault').outputs.{name}"]
        assert values_used(text) == set()


@pytest.mark.infra
def test_parameters_are_reached_by_their_names_alone() -> None:
    """Else the checks above would not see them: by a computed name, from a module, or through the deployment itself."""
    texts = [text for template in templates().values() for _, text in expressions(template)]
    assert [text for text in texts if text.count("parameters(") != len(PARAMETER.findall(text))] == []
    assert [text for text in texts if re.search(r"deployment\(\)(?!\.name\b)", text)] == []
    scopes = [
        module["properties"]["expressionEvaluationOptions"]["scope"] for module in modules(main()).values()
    ]
    assert set(scopes) == {"inner"}
