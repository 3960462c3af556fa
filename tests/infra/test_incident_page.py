"""Who gets in to the incident page: by the templates, what the app expects of App Service."""

import re
from pathlib import Path
from typing import Any

from tests.infra.bicep import load

INFRA = Path(__file__).parents[2] / "infra"
MAIN, APP = load(INFRA / "main.bicep"), load(INFRA / "app.bicep")
(AUTH,) = (one for one in APP.resources if one.body.get("name") == "authsettingsV2")
SETTINGS: dict[str, Any] = AUTH.body["properties"]
ON = "!empty(pageClientId)"
APP_SOURCE = (INFRA.parent / "function_app.py").read_text(encoding="utf-8")
ROUTES = set(re.findall(r'@app\.route\("([^"]+)"', APP_SOURCE))


def test_signing_in_is_off_unless_there_is_a_registration() -> None:
    assert MAIN.parameters["pageClientId"].default == ""
    assert SETTINGS["platform"]["enabled"].text == ON
    assert SETTINGS["identityProviders"]["azureActiveDirectory"]["enabled"].text == ON


def test_nobody_gets_in_unsigned_but_by_links() -> None:
    validation = SETTINGS["globalValidation"]
    assert validation["requireAuthentication"].text == ON
    assert validation["unauthenticatedClientAction"] == "RedirectToLoginPage"
    assert validation["excludedPaths"] == ["/api/look/*", "/api/health"]


def test_what_is_let_through_are_the_routes_that_look_at_signatures_or_the_functions_key() -> None:
    assert {"incidents/{*rest}", "look/{id}", "health"} == ROUTES
    assert {route for route in ROUTES if f"/api/{route}".startswith("/api/look/")} == {"look/{id}"}
    assert '"health", methods=["GET"], auth_level=func.AuthLevel.FUNCTION' in APP_SOURCE


def test_no_token_is_kept() -> None:
    assert SETTINGS["login"]["tokenStore"]["enabled"] is False
