"""Who gets in to the incident page: by the templates, what the app expects of App Service."""

import re
from typing import Any

import pytest

from tests.infra.deployed import WEBHOOK, deployed
from tests.infra.parameters import RefusedError
from tests.infra.snapshots import NAMES, TENANT, snapshot, snapshots
from tests.regenerate import ROOT

CLIENT = "66666666-6666-6666-6666-666666666666"
WITH_REGISTRATION = "several-destinations"
APP_SOURCE = (ROOT / "function_app.py").read_text(encoding="utf-8")
ROUTES = set(re.findall(r'@app\.route\("([^"]+)"', APP_SOURCE))


def sign_in(name: str) -> dict[str, Any]:
    """How App Service signs people in, by a parameter set."""
    settings: dict[str, Any] = snapshot(name).single("Microsoft.Web/sites/config", "/authsettingsV2")[
        "properties"
    ]
    return settings


def entra(name: str) -> dict[str, Any]:
    provider: dict[str, Any] = sign_in(name)["identityProviders"]["azureActiveDirectory"]
    return provider


@pytest.mark.parametrize("name", NAMES)
def test_signing_in_is_on_where_there_is_a_registration_and_off_elsewhere(name: str) -> None:
    on = name == WITH_REGISTRATION
    assert sign_in(name)["platform"]["enabled"] is on
    assert sign_in(name)["globalValidation"]["requireAuthentication"] is on
    assert entra(name)["enabled"] is on


def test_people_sign_in_to_the_registration_of_the_own_tenant() -> None:
    provider = entra(WITH_REGISTRATION)
    assert provider["registration"]["clientId"] == CLIENT
    assert provider["registration"]["openIdIssuer"] == (
        f"[format('{{0}}{{1}}/v2.0', environment().authentication.loginEndpoint, '{TENANT}')]"
    )
    assert provider["validation"]["allowedAudiences"] == [CLIENT, f"api://{CLIENT}"]
    assert list(sign_in(WITH_REGISTRATION)["identityProviders"]) == ["azureActiveDirectory"]


def test_people_sign_in_who_are_in_an_allowed_group() -> None:
    assert entra(WITH_REGISTRATION)["validation"]["defaultAuthorizationPolicy"] == {
        "allowedPrincipals": {
            "groups": ["88888888-8888-8888-8888-888888888888", "99999999-9999-9999-9999-999999999999"]
        }
    }


REGISTRATION = {"PAGE_CLIENT_ID": CLIENT}
OPERATORS = {"OPERATORS_GROUP_ID": "77777777-7777-7777-7777-777777777777"}


@pytest.mark.infra
@pytest.mark.parametrize(
    "groups, policy",
    [
        pytest.param(OPERATORS, {"allowedPrincipals": {"groups": [*OPERATORS.values()]}}, id="the operators"),
        pytest.param({"PAGE_GROUP_IDS": "a,b"}, {"allowedPrincipals": {"groups": ["a", "b"]}}, id="others"),
        pytest.param({**OPERATORS, "PAGE_GROUP_IDS": "assigned"}, None, id="by assignment"),
    ],
)
def test_allowed_group_is_the_operators_unless_another_is_named(
    groups: dict[str, str], policy: object
) -> None:
    resources = deployed({**WEBHOOK, **REGISTRATION, **groups})
    (settings,) = (resource for resource in resources if resource["name"].endswith("/authsettingsV2"))
    provider = settings["properties"]["identityProviders"]["azureActiveDirectory"]
    assert provider["validation"]["defaultAuthorizationPolicy"] == policy


@pytest.mark.infra
def test_sign_in_that_lets_every_user_of_the_tenant_in_is_refused() -> None:
    with pytest.raises(RefusedError, match="every user of the tenant"):
        deployed({**WEBHOOK, **REGISTRATION})


@pytest.mark.parametrize("name", NAMES)
def test_nobody_gets_in_unsigned_but_by_links(name: str) -> None:
    validation = sign_in(name)["globalValidation"]
    assert validation["unauthenticatedClientAction"] == "RedirectToLoginPage"
    assert validation["redirectToProvider"] == "azureactivedirectory"
    assert validation["excludedPaths"] == ["/api/look/*", "/api/health", "/api/run"]


def test_what_is_let_through_are_the_routes_that_look_at_signatures_or_the_functions_key() -> None:
    assert {"incidents/{*rest}", "look/{id}", "health", "run"} == ROUTES
    assert {route for route in ROUTES if f"/api/{route}".startswith("/api/look/")} == {"look/{id}"}
    for route in ('"health", methods=["GET"]', '"run", methods=["POST"]'):
        assert f"{route}, auth_level=func.AuthLevel.FUNCTION" in APP_SOURCE


@pytest.mark.parametrize("name", NAMES)
def test_page_is_reached_by_https_only(name: str) -> None:
    assert snapshot(name).single("Microsoft.Web/sites")["properties"]["httpsOnly"] is True
    assert sign_in(name)["httpSettings"]["requireHttps"] is True


@pytest.mark.parametrize("name", NAMES)
def test_no_token_is_kept(name: str) -> None:
    assert sign_in(name)["login"]["tokenStore"]["enabled"] is False


def test_links_lead_to_the_address_that_is_set() -> None:
    addresses = {deployment.name: deployment.app_settings["PAGE_URL"] for deployment in snapshots()}
    assert {name: address for name, address in addresses.items() if address} == {
        WITH_REGISTRATION: "https://detection.example.com"
    }
