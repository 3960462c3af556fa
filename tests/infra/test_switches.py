"""What stays behind in Azure when an option is switched off: a deployment deletes nothing. docs/deploy.md has a command for each
resource that stays, and this compares the resources of a deployment with the option and of one without it.
"""

import re
from functools import cache

import pytest

from tests.infra.deployed import WEBHOOK, deployed
from tests.infra.parameters import VARIABLES
from tests.regenerate import ROOT

pytestmark = pytest.mark.infra
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
GUID = "00000000-0000-0000-0000-000000000001"
SECOND_WORKSPACE = f"/subscriptions/{GUID}/resourceGroups/rg-other/providers/Microsoft.OperationalInsights/workspaces/log-other"
NETWORK = {"PRIVATE_NETWORK": "true"}
# By the variable: what it needs besides, and its value.
SWITCHES: dict[str, tuple[dict[str, str], str]] = {
    "DEPLOYER_OPERATES": ({}, "true"),
    "HEARTBEAT_URL": ({}, "https://example.com/alive"),
    "INCIDENT_TABLE": ({"OPERATORS_GROUP_ID": GUID}, "other"),
    "LOG_ANALYTICS_MORE_WORKSPACE_RESOURCE_IDS": ({}, SECOND_WORKSPACE),
    "OPERATORS_GROUP_ID": ({}, GUID),
    "PAGE_CLIENT_ID": ({"PAGE_GROUP_IDS": "assigned"}, GUID),
    "PARSERS": ({}, "alias"),
    "PRIVATE_NETWORK": ({}, "true"),
    "PRIVATE_PAGE": (NETWORK, "true"),
    "STORAGE_LOCK": ({}, "true"),
    "WEBHOOKS": ({}, "[]"),
    "WEBHOOK_SECRET": ({}, "whsec_made-up"),
}
COMMANDS = {
    "Microsoft.Authorization/locks": "az lock delete",
    "Microsoft.Authorization/roleAssignments": "az role assignment delete",
    "Microsoft.Insights/diagnosticSettings": "az monitor diagnostic-settings delete",
    "Microsoft.KeyVault/vaults/secrets": "az keyvault secret delete",
    "Microsoft.Network/networkSecurityGroups": "az network nsg delete",
    "Microsoft.Network/privateDnsZones": "az network private-dns zone delete",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": "az network private-dns link vnet delete",
    "Microsoft.Network/privateEndpoints": "az network private-endpoint delete",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": "az network private-endpoint delete",
    "Microsoft.Network/virtualNetworks": "az network vnet delete",
    "Microsoft.Storage/storageAccounts/tableServices/tables": "az storage table delete",
}
# Options that change properties of resources that are there anyway, or the name of everything.
PROPERTIES = {
    "TAGS": "owner=soc",
    "RULES": "x",
    "ALLOWED_LATENESS": "P1D",
    "MAX_CATCH_UP": "P3D",
    "WEBHOOK_FORMAT": "slack",
    "STORM_ALERTS": "3",
    "FLOOD_SIGNALS": "2000",
    "PAGE_URL": "https://example.com",
    "ALARM_EMAILS": "soc@example.com",
    "ACTION_GROUP_RESOURCE_ID": "/subscriptions/1",
    "DETECT_SCHEDULE": "0 0/30 * * * *",
    "DELIVER_SCHEDULE": "0 0/1 * * * *",
    "INSTANCE_MEMORY_MB": "512",
    "MAXIMUM_INSTANCE_COUNT": "1",
    "LOG_RETENTION_DAYS": "30",
    "VAULT_PURGE_PROTECTION": "true",  # cannot be switched off
}
OF_THE_NETWORK = {"ADDRESS_PREFIX", "APP_SUBNET_ID", "ENDPOINT_SUBNET_ID", "DNS_ZONES_ID", "PAGE_GROUP_IDS"}
EVERYTHING = {"AZURE_ENV_NAME", "AZURE_LOCATION", "LOG_ANALYTICS_WORKSPACE_RESOURCE_ID", "RESOURCE_NAMES"}


def stays_behind(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The types of the resources that a deployment with other variables no longer has."""
    leftovers = resources(frozenset(before.items())) - resources(frozenset(after.items()))
    return {kind for kind, _ in leftovers}


@cache
def resources(variables: frozenset[tuple[str, str]]) -> set[tuple[str, str]]:
    """The types and ids of the resources of a deployment."""
    return {(resource["type"], resource["id"]) for resource in deployed({**WEBHOOK, **dict(variables)})}


def row(variable: str) -> str:
    """The line of the page's table about an option."""
    (line,) = re.findall(rf"^\| `{variable}[`=].*$", section(), flags=re.MULTILINE)
    return str(line)


def section() -> str:
    return PAGE.partition("### Switch an option off")[2].partition("\n## ")[0]


@pytest.mark.parametrize("variable", SWITCHES)
def test_page_has_a_command_for_everything_that_stays_behind(variable: str) -> None:
    context, value = SWITCHES[variable]
    kinds = stays_behind({**context, variable: value}, context)
    assert kinds
    named = {command for command in set(COMMANDS.values()) if command in row(variable)}
    assert named == {COMMANDS[kind] for kind in kinds}


def test_options_of_properties_leave_nothing_behind() -> None:
    assert stays_behind(PROPERTIES, {}) == set()


def test_every_option_is_a_switch_or_leaves_nothing_behind() -> None:
    options = {*SWITCHES, *PROPERTIES, *OF_THE_NETWORK, *EVERYTHING, "WEBHOOK_URL"}
    assert options == set(VARIABLES.values())
