"""With `privateNetwork`, private endpoints alone lead to storage and vault, and the app is in the same network; without it
there is no network.
"""

import re
from ipaddress import IPv4Network
from itertools import pairwise

import pytest

from tests.infra.compiled import main, modules, resources, templates
from tests.infra.snapshots import NAMES, Resource, Snapshot, snapshot

PRIVATE = snapshot("private-network")
PUBLIC = [name for name in NAMES if name not in {PRIVATE.name, "landing-zone"}]
ENDPOINT = "Microsoft.Network/privateEndpoints"
ZONE = "Microsoft.Network/privateDnsZones"
# https://learn.microsoft.com/azure/private-link/private-endpoint-dns, each for the cloud that is deployed to
STORAGE_ZONE = "format('privatelink.{}.{{0}}', environment().suffixes.storage)"
ZONES = {
    "blob": STORAGE_ZONE.format("blob"),
    "table": STORAGE_ZONE.format("table"),
    "vault": "format('privatelink{0}', replace(environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.'))",
}


def access(deployment: Snapshot, kind: str) -> tuple[str, str, str]:
    """Who reaches a service from outside: at all, by default, and in spite of the default."""
    properties = deployment.single(kind)["properties"]
    rules = properties["networkAcls"]
    return properties["publicNetworkAccess"], rules["defaultAction"], rules["bypass"]


def subnets() -> dict[str, Resource]:
    network = PRIVATE.single("Microsoft.Network/virtualNetworks")["properties"]
    return {subnet["name"]: subnet["properties"] for subnet in network["subnets"]}


def endpoints() -> dict[str, Resource]:
    """The properties of the private endpoints by the group of the service that they lead to."""
    by_group = {}
    for endpoint in PRIVATE.of_type(ENDPOINT):
        (connection,) = endpoint["properties"]["privateLinkServiceConnections"]
        (group,) = connection["properties"]["groupIds"]
        by_group[group] = endpoint["properties"]
    return by_group


@pytest.mark.parametrize("kind", ["Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults"])
def test_nothing_but_endpoints_leads_to_storage_and_vault(kind: str) -> None:
    assert access(PRIVATE, kind) == ("Disabled", "Deny", "None")


@pytest.mark.parametrize("name", PUBLIC)
def test_without_the_option_storage_and_vault_are_reached_with_a_role(name: str) -> None:
    for kind in ("Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults"):
        assert access(snapshot(name), kind) == ("Enabled", "Allow", "AzureServices")


@pytest.mark.parametrize("name", PUBLIC)
def test_without_the_option_there_is_no_network(name: str) -> None:
    kinds = {resource["type"] for resource in snapshot(name).resources}
    assert {kind for kind in kinds if kind.startswith("Microsoft.Network/")} == set()
    assert snapshot(name).single("Microsoft.Web/sites")["properties"]["virtualNetworkSubnetId"] is None


def test_every_service_that_the_app_reaches_has_an_endpoint() -> None:
    of_storage = [
        re.fullmatch(r"AzureWebJobsStorage__(\w+)ServiceUri", setting) for setting in PRIVATE.app_settings
    ]
    assert {setting[1] for setting in of_storage if setting} | {"vault"} == set(endpoints())
    assert len(PRIVATE.of_type(ENDPOINT)) == 3


@pytest.mark.parametrize("group, module", [("blob", "storage"), ("table", "storage"), ("vault", "vault")])
def test_endpoint_leads_to_its_service(group: str, module: str) -> None:
    (connection,) = endpoints()[group]["privateLinkServiceConnections"]
    service = connection["properties"]["privateLinkServiceId"]
    assert f"format('{module}-{{0}}'" in service
    assert service.endswith(".outputs.id.value]")


@pytest.mark.parametrize("group", ZONES)
def test_name_of_a_service_resolves_to_its_endpoint(group: str) -> None:
    record = PRIVATE.single(f"{ENDPOINT}/privateDnsZoneGroups", f"pe-{group}-{token()}/default")
    (zone,) = record["properties"]["privateDnsZoneConfigs"]
    assert zone["properties"]["privateDnsZoneId"] == PRIVATE.single(ZONE, f"[{ZONES[group]}]")["id"]
    (connection,) = PRIVATE.single(ENDPOINT, f"pe-{group}-{token()}")["properties"][
        "privateLinkServiceConnections"
    ]
    assert connection["properties"]["groupIds"] == [group]


def token() -> str:
    """The last part of every name of this deployment."""
    return str(PRIVATE.single("Microsoft.KeyVault/vaults")["name"].removeprefix("kv-"))


def test_every_zone_is_asked_in_the_network() -> None:
    network = PRIVATE.single("Microsoft.Network/virtualNetworks")["id"]
    links = {link["name"]: link["properties"] for link in PRIVATE.of_type(f"{ZONE}/virtualNetworkLinks")}
    assert set(links) == {f"[format('{{0}}/{{1}}', {zone}, 'link-{token()}')]" for zone in ZONES.values()}
    assert [link["virtualNetwork"]["id"] for link in links.values()] == [network] * len(ZONES)


def test_subnets_lie_in_the_network_and_apart() -> None:
    properties = PRIVATE.single("Microsoft.Network/virtualNetworks")["properties"]
    (network,) = map(IPv4Network, properties["addressSpace"]["addressPrefixes"])
    ranges = sorted(IPv4Network(subnet["addressPrefix"]) for subnet in subnets().values())
    assert network == IPv4Network("10.20.30.0/25")  # the smallest that both fit in
    assert all(subnet.subnet_of(network) for subnet in ranges)
    assert not any(lower.overlaps(upper) for lower, upper in pairwise(ranges))


def test_apps_subnet_is_given_to_flex_consumption_and_to_nothing_else() -> None:
    delegations = {
        name: [delegation["properties"]["serviceName"] for delegation in subnet.get("delegations", [])]
        for name, subnet in subnets().items()
    }
    assert delegations == {"app": ["Microsoft.App/environments"], "endpoints": []}


def test_endpoints_are_in_the_subnet_of_their_own() -> None:
    network = PRIVATE.single("Microsoft.Network/virtualNetworks")["id"]
    homes = {endpoint["subnet"]["id"] for endpoint in endpoints().values()}
    assert homes == {f"{network}/subnets/endpoints"}


def test_nothing_comes_in_from_the_internet() -> None:
    guard = PRIVATE.single("Microsoft.Network/networkSecurityGroups")
    assert "properties" not in guard  # no rules beyond the built-in ones
    assert {subnet["networkSecurityGroup"]["id"] for subnet in subnets().values()} == {guard["id"]}


def test_app_is_in_the_network() -> None:
    subnet = PRIVATE.single("Microsoft.Web/sites")["properties"]["virtualNetworkSubnetId"]
    assert "format('network-{0}'" in subnet
    assert "'appSubnetId'" in subnet


@pytest.mark.infra
def test_subnet_that_the_app_is_in_is_the_one_that_is_given_to_it() -> None:
    own = templates()["network"]["variables"]["subnets"]["app"]
    assert own.startswith(
        "[if(empty(parameters('appSubnetId')), format('{0}/subnets/app', resourceId('Microsoft.Network/virtualNetworks',"
    )


@pytest.mark.infra
def test_app_starts_when_its_network_is_there() -> None:
    """A reference that may be null brings order too, and the app must not start before names resolve."""
    parts = modules(main())
    assert "network" in parts["app"]["dependsOn"]
    assert {"storage", "vault"} <= set(parts["network"]["dependsOn"])


@pytest.mark.infra
@pytest.mark.parametrize("symbol", ["privateEndpoints", "records"])
def test_endpoints_and_records_are_made_one_after_the_other(symbol: str) -> None:
    copy = resources(templates()["network"])[symbol]["copy"]
    assert (copy["mode"], copy["batchSize"]) == ("serial", 1)


@pytest.mark.infra
def test_record_is_made_when_endpoint_and_zone_are_there() -> None:
    records = resources(templates()["network"])["records"]
    assert set(records["dependsOn"]) == {
        "[format('privateEndpoints[{0}]', copyIndex())]",
        "[format('zones[{0}]', copyIndex())]",
    }
