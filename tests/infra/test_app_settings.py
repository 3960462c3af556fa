"""The app's settings: those that the code reads, no more and no fewer, with the code's defaults and no secret in them."""

import re
from pathlib import Path

import pytest

from detection.cli.settings_page import secrets
from detection.settings import Settings, settings_from
from tests.infra.bicep import Value, load

INFRA = Path(__file__).parents[2] / "infra"
MAIN, APP = load(INFRA / "main.bicep"), load(INFRA / "app.bicep")
KEYBOARD = {"LOGS_DIR"}  # exports on disk; the cloud has none
HOSTS_OWN = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__tableServiceUri",
}
# What Flex Consumption keeps elsewhere or refuses:
# https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations
REFUSED = {
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_RUN_FROM_PACKAGE",
}
(SETTINGS,) = (one.body["properties"] for one in APP.resources if one.body.get("name") == "appsettings")
(HANDED,) = (one.params for one in MAIN.modules if one.symbol == "app")


def parameter_of(setting: str) -> str:
    """The parameter of the app's module that a setting is."""
    return str(SETTINGS[setting].text)


def default_of(setting: str) -> Value:
    """What a setting is when nothing is said about it."""
    return MAIN.parameters[HANDED[parameter_of(setting)].text].default


def test_app_has_the_settings_that_the_code_reads() -> None:
    assert set(SETTINGS) - HOSTS_OWN == set(Settings.model_fields) - KEYBOARD


def test_app_has_the_settings_that_the_host_needs() -> None:
    assert set(SETTINGS) >= HOSTS_OWN


def test_app_has_no_setting_that_its_plan_refuses() -> None:
    assert set(SETTINGS) & REFUSED == set()


@pytest.mark.parametrize("setting", sorted(secrets() - {"INCIDENT_STORAGE"}))
def test_secret_is_a_reference_into_the_vault(setting: str) -> None:
    parameter = parameter_of(setting)
    assert parameter.endswith("Reference")
    assert f"vault.outputs.{parameter}" in str(HANDED[parameter])
    assert (
        load(INFRA / "vault.bicep")
        .outputs[parameter]
        .text.startswith("'@Microsoft.KeyVault(SecretUri=${vault")
    )


def test_storage_is_named_by_its_address() -> None:
    assert SETTINGS["INCIDENT_STORAGE"].text == "account.properties.primaryEndpoints.table"


SIMPLE = [
    "ALLOWED_LATENESS",
    "DELIVER_SCHEDULE",
    "DETECT_SCHEDULE",
    "INCIDENT_TABLE",
    "MAX_CATCH_UP",
    "PARSERS",
    "RULES",
]


@pytest.mark.parametrize("setting", SIMPLE)
def test_default_of_the_template_is_the_codes(setting: str) -> None:
    given = settings_from({setting: default_of(setting)})
    assert getattr(given, setting) == getattr(settings_from({}), setting)


@pytest.mark.parametrize("setting", ["DETECT_SCHEDULE", "DELIVER_SCHEDULE"])
def test_schedule_is_set_since_the_triggers_have_no_default(setting: str) -> None:
    assert default_of(setting) == Settings.model_fields[setting].default


@pytest.mark.parametrize(
    "parameter, setting", [("parsers", "PARSERS"), ("webhookFormat", "WEBHOOK_FORMAT"), ("rules", "RULES")]
)
def test_values_that_the_template_allows_the_code_accepts(parameter: str, setting: str) -> None:
    for value in MAIN.parameters[parameter].decorators.get("allowed", ["openai-config-to-abuse"]):
        settings_from({setting: value})


def test_query_api_of_every_cloud_is_one_that_the_code_knows() -> None:
    endpoints = MAIN.variables["queryEndpoints"]
    assert set(endpoints) == {"AzureCloud", "AzureUSGovernment", "AzureChinaCloud"}
    known = str(Settings.model_fields["LOG_ANALYTICS_ENDPOINT"].default) + str(
        Settings.model_fields["LOG_ANALYTICS_ENDPOINT"].description
    )
    assert [url for url in endpoints.values() if url not in known] == []


def test_addresses_that_differ_by_cloud_are_written_nowhere_else() -> None:
    lines = [line for path in INFRA.glob("*.bicep") for line in path.read_text(encoding="utf-8").splitlines()]
    code = "\n".join(line for line in lines if not line.lstrip().startswith("//"))
    assert set(re.findall(r"https://[\w.-]+", code)) == set(MAIN.variables["queryEndpoints"].values())
    assert re.findall(r"core\.windows\.net|vault\.azure\.net|login\.microsoft", code) == []
