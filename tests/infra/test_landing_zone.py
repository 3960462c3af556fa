"""What a landing zone asks for: existing subnets, central DNS zones, names of its own, a private page; off by default."""

import re

import pytest

from tests.infra.compiled import resources, templates
from tests.infra.deployed import WEBHOOK, deployed
from tests.infra.parameters import RefusedError
from tests.infra.snapshots import NAMES, Snapshot, snapshot

ZONED = snapshot("landing-zone")
ENDPOINT = "Microsoft.Network/privateEndpoints"
SUBNETS = (
    "/subscriptions/66666666-6666-6666-6666-666666666666/resourceGroups/rg-network"
    "/providers/Microsoft.Network/virtualNetworks/vnet-spoke/subnets/"
)
CENTRAL = "/subscriptions/77777777-7777-7777-7777-777777777777/resourceGroups/rg-dns"
EXISTING = {"APP_SUBNET_ID": f"{SUBNETS}flex", "ENDPOINT_SUBNET_ID": f"{SUBNETS}endpoints"}
PRIVATE = {**WEBHOOK, "PRIVATE_NETWORK": "true"}


def kinds(deployment: Snapshot) -> set[str]:
    return {resource["type"] for resource in deployment.resources}


def test_existing_network_and_central_zones_are_used_and_none_is_made() -> None:
    made = {kind for kind in kinds(ZONED) if kind.startswith("Microsoft.Network/")}
    assert made == {ENDPOINT, f"{ENDPOINT}/privateDnsZoneGroups"}
    storage_and_vault = [
        endpoint for endpoint in ZONED.of_type(ENDPOINT) if not endpoint["name"].startswith("pe-page")
    ]
    assert {endpoint["properties"]["subnet"]["id"] for endpoint in storage_and_vault} == {
        f"{SUBNETS}endpoints"
    }


def test_records_are_written_to_the_central_zones() -> None:
    records = ZONED.of_type(f"{ENDPOINT}/privateDnsZoneGroups")
    zones = [
        zone["properties"]["privateDnsZoneId"]
        for record in records
        for zone in record["properties"]["privateDnsZoneConfigs"]
    ]
    assert len(zones) == 4
    assert [zone for zone in zones if f"'{CENTRAL}', format('privatelink" not in zone] == []


@pytest.mark.infra
def test_existing_subnet_is_that_of_the_app() -> None:
    output = templates()["network"]["outputs"]["appSubnetId"]["value"]
    assert output == "[variables('subnets').app]"
    assert templates()["network"]["variables"]["subnets"]["app"].endswith("parameters('appSubnetId'))]")


@pytest.mark.infra
def test_policy_writes_the_records_if_it_is_named() -> None:
    made = {resource["type"] for resource in deployed({**PRIVATE, **EXISTING, "DNS_ZONES_ID": "policy"})}
    assert {kind for kind in made if kind.startswith("Microsoft.Network/")} == {ENDPOINT}


@pytest.mark.infra
def test_existing_network_asks_own_zones_if_no_central_ones_are_named() -> None:
    links = [
        resource["properties"]["virtualNetwork"]["id"]
        for resource in deployed({**PRIVATE, **EXISTING, "PRIVATE_PAGE": "true"})
        if resource["type"].endswith("/virtualNetworkLinks")
    ]
    assert len(links) == 4
    assert (
        links.count(SUBNETS.removesuffix("/subnets/")) == 3
    )  # that of the page asks the module of the network


@pytest.mark.parametrize("name", NAMES)
def test_page_is_reached_from_anywhere_unless_it_is_private(name: str) -> None:
    access = snapshot(name).single("Microsoft.Web/sites")["properties"]["publicNetworkAccess"]
    assert access == ("Disabled" if name == ZONED.name else "Enabled")


def test_endpoint_of_the_page_leads_to_the_app() -> None:
    (connection,) = ZONED.single(ENDPOINT, "pe-page-rfwkm64siopbw")["properties"][
        "privateLinkServiceConnections"
    ]
    assert connection["properties"]["groupIds"] == ["sites"]
    assert connection["properties"]["privateLinkServiceId"] == ZONED.single("Microsoft.Web/sites")["id"]


def test_resources_have_the_names_of_the_policy() -> None:
    names = {
        resource["name"]
        for resource in ZONED.resources
        if resource["type"].count("/") == 1 and "detection-weu" in resource["name"]
    }
    assert {name for name in names if not name.startswith("[")} == {
        *(
            f"{prefix}-sec-detection-weu"
            for prefix in ("rg", "id", "log", "appi", "kv", "plan", "func", "ag")
        ),
    }
    assert ZONED.single("Microsoft.Storage/storageAccounts")["name"] == "stsecdetectionweu"


@pytest.mark.infra
def test_every_derived_name_can_be_replaced() -> None:
    """A name that is derived within a module, from the token, belongs to an alarm or an endpoint, or to its parts."""
    derived = {
        symbol
        for template in templates().values()
        for symbol, body in resources(template).items()
        if "parameters('token')" in str(body.get("name", ""))
        and body["type"] != "Microsoft.Resources/deployments"
    }
    endpoints = {"links", "link", "privateEndpoints", "privateEndpoint", "records", "record"}
    assert derived == endpoints | {"rules", "executions", "health"}


@pytest.mark.infra
@pytest.mark.parametrize(
    "environment, reason",
    [
        ({**WEBHOOK, "RESOURCE_NAMES": "webApp=x"}, "RESOURCE_NAMES"),
        ({**PRIVATE, "APP_SUBNET_ID": f"{SUBNETS}flex"}, "set together"),
        ({**WEBHOOK, **EXISTING}, "need PRIVATE_NETWORK=true"),
        ({**WEBHOOK, "PRIVATE_PAGE": "true"}, "need PRIVATE_NETWORK=true"),
        ({**WEBHOOK, "DNS_ZONES_ID": CENTRAL}, "need PRIVATE_NETWORK=true"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(environment: dict[str, str], reason: str) -> None:
    with pytest.raises(RefusedError, match=re.escape(reason)):
        deployed(environment)
