"""The app's settings: those that the code reads, no more and no fewer, with the code's defaults and no secret in them."""

import json
import re

import pytest

from detection.settings import Settings, settings_from
from detection.web.exchange import BODY
from tests.infra.compiled import main, modules, resources
from tests.infra.snapshots import NAMES, snapshot
from tests.regenerate import ROOT
from tests.support.settings_page import secret_settings

INFRA = ROOT / "infra"
LOCAL_SETTINGS = {
    "LOGS_DIR",
    "PAGE_CLIENT_ID",
    "PAGE_KEY",
}  # of the command line: exports, and ways to the app
HOST_SETTINGS = {
    "AzureWebJobsDisableHomepage",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__clientId",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__tableServiceUri",
    "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",
}
# What Flex Consumption keeps elsewhere or refuses:
# https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations
REFUSED = {
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "TZ",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTOVERVNET",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_DNS_SERVER",
    "WEBSITE_LOAD_CERTIFICATES",
    "WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_TIME_ZONE",
    "WEBSITE_VNET_ROUTE_ALL",
}
DEFAULTS = snapshot("defaults").app_settings


@pytest.mark.parametrize("name", NAMES)
def test_app_has_the_settings_that_the_code_reads(name: str) -> None:
    assert set(snapshot(name).app_settings) - HOST_SETTINGS == set(Settings.model_fields) - LOCAL_SETTINGS


def test_app_has_the_settings_that_the_host_needs() -> None:
    assert set(DEFAULTS) >= HOST_SETTINGS


def test_app_has_no_setting_that_its_plan_refuses() -> None:
    assert set(DEFAULTS) & REFUSED == set()


def test_strangers_see_no_page_of_the_platform() -> None:
    assert DEFAULTS["AzureWebJobsDisableHomepage"] == "true"


def test_host_refuses_a_body_long_before_it_fills_the_memory() -> None:
    assert BODY <= int(DEFAULTS["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"]) <= 2**20


@pytest.mark.infra
@pytest.mark.parametrize("setting", sorted(secret_settings() - LOCAL_SETTINGS - {"INCIDENT_STORAGE"}))
def test_secret_is_a_reference_into_the_vault(setting: str) -> None:
    app, vault = (modules(main())[name]["properties"] for name in ("app", "vault"))
    (settings,) = (
        resource["properties"]
        for resource in resources(app["template"]).values()
        if resource["type"] == "Microsoft.Web/sites/config" and "appsettings" in resource["name"]
    )
    (parameter,) = re.findall(r"^\[parameters\('(\w+Reference)'\)\]$", settings[setting])
    reference = json.dumps(app["parameters"][parameter])
    (output,) = re.findall(r"reference\('vault'\)\.outputs\.(\w+)\.value", reference)
    assert re.sub(rf"reference\('vault'\)\.outputs\.{output}\.value", "", reference).count("outputs") == 0
    assert vault["template"]["outputs"][output]["value"].startswith(
        "[format('@Microsoft.KeyVault(SecretUri={0}secrets/"
    )


@pytest.mark.parametrize("name", NAMES)
def test_storage_is_named_by_its_address(name: str) -> None:
    account = snapshot(name).single("Microsoft.Storage/storageAccounts")
    address = f"[reference('{account['id']}', '{account['apiVersion']}').primaryEndpoints.table]"
    assert snapshot(name).app_settings["INCIDENT_STORAGE"] == address


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
    settings = settings_from({setting: DEFAULTS[setting]})
    assert getattr(settings, setting) == getattr(settings_from({}), setting)


@pytest.mark.parametrize("setting", ["DETECT_SCHEDULE", "DELIVER_SCHEDULE"])
def test_schedule_is_set_since_the_triggers_have_no_default(setting: str) -> None:
    assert DEFAULTS[setting] == Settings.model_fields[setting].default


@pytest.mark.parametrize("name", NAMES)
def test_values_that_the_template_lets_through_the_code_accepts(name: str) -> None:
    constrained = {*SIMPLE, "WEBHOOK_FORMAT", "STORM_ALERTS", "FLOOD_SIGNALS", "PAGE_URL"}
    settings = snapshot(name).app_settings
    settings_from({key: settings[key] for key in constrained if settings[key] != "[unknown()]"})


def test_query_api_of_every_cloud_is_known_to_the_code() -> None:
    endpoint = DEFAULTS["LOG_ANALYTICS_ENDPOINT"]
    field = Settings.model_fields["LOG_ANALYTICS_ENDPOINT"]
    assert re.findall(r"'(Azure\w+)'", endpoint) == ["AzureCloud", "AzureUSGovernment", "AzureChinaCloud"]
    assert [url for url in urls(endpoint) if url not in f"{field.default} {field.description}"] == []


def test_addresses_that_differ_by_cloud_are_written_nowhere_else() -> None:
    lines = [line for path in INFRA.glob("*.bicep") for line in path.read_text(encoding="utf-8").splitlines()]
    code = "\n".join(line for line in lines if not line.lstrip().startswith("//"))
    assert urls(code) == urls(DEFAULTS["LOG_ANALYTICS_ENDPOINT"])
    assert re.findall(r"core\.windows\.net|vault\.azure\.net|login\.microsoft", code) == []


def urls(text: str) -> set[str]:
    return set(re.findall(r"https://[\w.-]+", text))
