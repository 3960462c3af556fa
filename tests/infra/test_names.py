"""Names that Azure takes, the shortest and the longest too; and parameter sets that leave no option of the template out."""

import re
from typing import Any

import pytest

from tests.infra.compiled import main, modules, parameter_sets
from tests.infra.snapshots import NAMES, snapshot

GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NETWORK = r"[A-Za-z0-9]([\w.-]{0,78}\w)?"
MONITOR = r"[^<>*%{}&:\\?/#+|]{0,259}[^<>*%{}&:\\?/#+|. ]"
# The last part of a name, of each type. What the service has fixed is spelt out; what only Azure knows begins with a bracket.
# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
RULES = {
    "Microsoft.Authorization/locks": MONITOR,
    "Microsoft.Authorization/roleAssignments": rf"{GUID}|\[guid\(.+\)\]",
    "Microsoft.Insights/actionGroups": MONITOR,
    "Microsoft.Insights/activityLogAlerts": MONITOR,
    "Microsoft.Insights/components": MONITOR,
    "Microsoft.Insights/diagnosticSettings": MONITOR,
    "Microsoft.Insights/metricAlerts": MONITOR,
    "Microsoft.Insights/scheduledQueryRules": MONITOR,
    "Microsoft.KeyVault/vaults": r"(?!.*--)[A-Za-z][A-Za-z0-9-]{1,22}[A-Za-z0-9]",
    "Microsoft.KeyVault/vaults/secrets": r"[A-Za-z0-9-]{1,127}",
    "Microsoft.ManagedIdentity/userAssignedIdentities": r"[A-Za-z0-9][\w-]{2,127}",
    "Microsoft.Network/networkSecurityGroups": NETWORK,
    "Microsoft.Network/privateDnsZones": r"\[format\('privatelink.+\)\]",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": rf"\[format\('.+', format\(.+\), '{NETWORK}'\)\]",
    "Microsoft.Network/privateEndpoints": r"[A-Za-z0-9][\w.-]{0,62}\w",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": NETWORK,
    "Microsoft.Network/virtualNetworks": r"[A-Za-z0-9][\w.-]{0,62}\w",
    "Microsoft.OperationalInsights/workspaces": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    "Microsoft.Resources/resourceGroups": r"[\w().-]{0,89}[\w()-]",
    "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.Storage/storageAccounts/blobServices": r"default",
    "Microsoft.Storage/storageAccounts/blobServices/containers": r"(?!.*--)[a-z0-9][a-z0-9-]{2,62}",
    "Microsoft.Storage/storageAccounts/tableServices": r"default",
    "Microsoft.Storage/storageAccounts/tableServices/tables": r"[A-Za-z][A-Za-z0-9]{2,62}",
    "Microsoft.Web/serverfarms": r"[A-Za-z0-9-]{1,40}",
    "Microsoft.Web/sites": r"[A-Za-z0-9][A-Za-z0-9-]{0,58}[A-Za-z0-9]",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": r"ftp|scm",
    "Microsoft.Web/sites/config": r"appsettings|authsettingsV2",
}
OF_A_RESOURCE = {"Microsoft.Authorization/locks", "Microsoft.Insights/diagnosticSettings"}  # named within it
DEPLOYMENT = r"[\w().-]{1,64}"


def fits(kind: str, name: str) -> bool:
    """Whether Azure takes a name: as many parts as the type has, and the last by the rule."""
    if name.startswith("["):
        return re.fullmatch(RULES[kind], name) is not None
    parts = name.split("/")
    return len(parts) == kind.count("/") and re.fullmatch(RULES[kind], parts[-1]) is not None


@pytest.mark.parametrize("name", NAMES)
def test_names_are_such_as_azure_takes(name: str) -> None:
    named = [(resource["type"], resource["name"]) for resource in snapshot(name).resources]
    assert [resource for resource in named if not fits(*resource)] == []


def test_every_rule_is_used() -> None:
    assert {resource["type"] for name in NAMES for resource in snapshot(name).resources} == set(RULES)


@pytest.mark.parametrize(
    "kind, name",
    [
        ("Microsoft.Storage/storageAccounts", "st-detection"),
        ("Microsoft.Storage/storageAccounts", "st" + "x" * 23),
        ("Microsoft.Storage/storageAccounts/tableServices/tables", "account/default/9incidents"),
        ("Microsoft.KeyVault/vaults", "kv-detection-" + "x" * 12),
        ("Microsoft.KeyVault/vaults", "kv--x"),
        ("Microsoft.Resources/resourceGroups", "rg-" + "x" * 88),
        ("Microsoft.Resources/resourceGroups", "rg-detection."),
        ("Microsoft.Web/sites", "func-detection-" + "x" * 46),
        ("Microsoft.Insights/actionGroups", "ag/detection"),
    ],
)
def test_name_that_azure_refuses_is_found(kind: str, name: str) -> None:
    assert not fits(kind, name)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_apps_share_the_first_letters_that_the_host_goes_by(name: str) -> None:
    """https://learn.microsoft.com/azure/azure-functions/storage-considerations#host-id-considerations"""
    assert len(snapshot(name).single("Microsoft.Web/sites")["name"]) <= 32


@pytest.mark.parametrize("name", NAMES)
def test_short_name_of_the_action_group_is_short(name: str) -> None:
    people = snapshot(name).single("Microsoft.Insights/actionGroups")["properties"]
    assert re.fullmatch(r".{1,12}", people["groupShortName"])


ENVIRONMENTS = ("defaults", "longest-names", "shortest-names")


def test_several_environments_of_a_subscription_have_groups_of_their_own() -> None:
    groups = [snapshot(name).single("Microsoft.Resources/resourceGroups")["name"] for name in ENVIRONMENTS]
    assert len(set(groups)) == len(ENVIRONMENTS)


@pytest.mark.parametrize(
    "kind", ["Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults", "Microsoft.Web/sites"]
)
def test_several_environments_share_no_name_that_is_taken_once_in_the_world(kind: str) -> None:
    names = [snapshot(name).single(kind)["name"] for name in ENVIRONMENTS]
    assert len(set(names)) == len(ENVIRONMENTS)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_resources_share_an_id(name: str) -> None:
    ids = [resource["id"].lower() for resource in snapshot(name).resources]
    assert len(set(ids)) == len(ids)


def test_two_installations_share_no_name() -> None:
    shortest, longest = (
        {resource["name"] for resource in snapshot(name).resources if resource["type"] not in OF_A_RESOURCE}
        for name in ("shortest-names", "longest-names")
    )
    assert {name for name in shortest & longest if not name.startswith("[")} == set()


@pytest.mark.infra
def test_names_of_deployments_are_such_as_azure_takes() -> None:
    for symbol, module in modules(main()).items():
        layout = re.search(rf"\bformat\('({symbol}(?:-\{{\d\}})+)', ", module["name"])
        assert layout
        assert re.fullmatch(DEPLOYMENT, layout[1].format("x" * 13, "x" * 13))


# ------------------------------------------------------------------------------------------------------ parameter sets


def values(parameter: str) -> list[Any]:
    """What a parameter is in each of the sets."""
    default = main()["parameters"][parameter].get("defaultValue")
    return [assigned.get(parameter, default) for assigned in parameter_sets().values()]


@pytest.mark.infra
def test_every_set_is_read() -> None:
    assert sorted(parameter_sets()) == NAMES


@pytest.mark.infra
def test_every_choice_is_made_in_a_set() -> None:
    choices = {
        name: [False, True] if body["type"] == "bool" else body["allowedValues"]
        for name, body in main()["parameters"].items()
        if (body["type"] == "bool" or "allowedValues" in body) and name != "location"  # regions are all alike
    }
    assert {"parsers", "webhookFormat", "instanceMemoryMB", "privateNetwork"} <= set(choices)
    combinations = [(name, choice) for name, allowed in choices.items() for choice in allowed]
    assert [(name, choice) for name, choice in combinations if choice not in values(name)] == []


@pytest.mark.infra
def test_every_parameter_is_other_than_its_default_in_a_set() -> None:
    defaults = {name: body.get("defaultValue") for name, body in main()["parameters"].items()}
    assert [
        name for name, default in defaults.items() if all(value == default for value in values(name))
    ] == []


@pytest.mark.infra
def test_shortest_and_longest_text_are_tried() -> None:
    bounds = {
        name: (body["minLength"], body["maxLength"])
        for name, body in main()["parameters"].items()
        if "maxLength" in body
    }
    assert set(bounds) == {"environmentName", "incidentTable"}
    tried = {name: {len(value) for value in values(name)} for name in bounds}
    assert {name: (min(lengths), max(lengths)) for name, lengths in tried.items()} == bounds
