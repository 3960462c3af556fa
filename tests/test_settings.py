"""The settings: what the environment may say, and that a wrong one is named but never shown."""

import base64
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from detection.base.errors import ConfigurationError
from detection.rules.loading import default_rule
from detection.rules.model import SEVERITIES
from detection.settings import Settings, misspelt_settings, settings_from
from tests.regenerate import ROOT

KEY = "whsec_" + base64.b64encode(bytes(range(32))).decode()
HIDDEN = "hunter2"  # stands in every wrong value


def test_nothing_has_to_be_set() -> None:
    settings = settings_from({})
    assert settings.rules == (default_rule(),)
    assert settings.destinations == ()
    assert settings.LOG_ANALYTICS_WORKSPACE_ID == ()
    assert settings.LOG_ANALYTICS_ENDPOINT == "https://api.loganalytics.io"
    assert settings.INCIDENT_STORAGE is None
    assert settings.ALLOWED_LATENESS is None
    assert settings.model_dump()["MAX_CATCH_UP"] == timedelta(days=14)


@pytest.mark.parametrize("name", Settings.model_fields)
@pytest.mark.parametrize("empty", ["", "  \n"])
def test_empty_value_counts_as_not_set(name: str, empty: str) -> None:
    assert settings_from({name: empty}) == settings_from({})


def test_other_variables_are_of_no_interest() -> None:
    assert settings_from({"PATH": "/bin", "model_config": "x"}) == settings_from({})


def test_list_is_comma_separated() -> None:
    settings = settings_from({"LOG_ANALYTICS_WORKSPACE_ID": " a, b,,c ,", "RULES": "one"})
    assert settings.LOG_ANALYTICS_WORKSPACE_ID == ("a", "b", "c")
    assert settings.rules == ("one",)


def test_list_names_each_part_once() -> None:
    settings = settings_from({"LOG_ANALYTICS_WORKSPACE_ID": "b,a,b", "RULES": "one, two,one"})
    assert settings.LOG_ANALYTICS_WORKSPACE_ID == ("b", "a")
    assert settings.rules == ("one", "two")


@pytest.mark.parametrize("value", ["../one", "a/b", "-a", "a" * 101, "~rules"])
def test_name_that_no_rule_folder_can_have_is_refused(value: str) -> None:
    assert "RULES[0]: " in _problem({"RULES": value})


@pytest.mark.parametrize("lateness, catch_up", [("PT36H", "P25D"), ("36h", "25d"), ("1d12h", "600h")])
def test_duration_is_short_or_iso(lateness: str, catch_up: str) -> None:
    settings = settings_from({"ALLOWED_LATENESS": lateness, "MAX_CATCH_UP": catch_up})
    durations = settings.ALLOWED_LATENESS, settings.MAX_CATCH_UP
    assert durations == (timedelta(hours=36), timedelta(days=25))


@pytest.mark.parametrize("value", ["5", "1:00:00", "24 h", "h", "24H", "-PT1H", "PT", "P1X"])
def test_other_durations_are_refused(value: str) -> None:
    assert _problem({"ALLOWED_LATENESS": value}).startswith("settings: ALLOWED_LATENESS: ")


@pytest.mark.parametrize("value", ["P26D", "P999999999D"])
def test_lateness_has_an_upper_bound(value: str) -> None:
    assert "ALLOWED_LATENESS: " in _problem({"ALLOWED_LATENESS": value})


@pytest.mark.parametrize(
    "value, bound", [("PT23H", "greater than or equal to P1D"), ("P26D", "less than or equal to P25D")]
)
def test_catch_up_has_bounds(value: str, bound: str) -> None:
    assert f"MAX_CATCH_UP: Input should be {bound}" in _problem({"MAX_CATCH_UP": value})


@pytest.mark.parametrize("name", ["DETECT_SCHEDULE", "DELIVER_SCHEDULE"])
@pytest.mark.parametrize(
    "schedule, reason",
    [
        ("0 0 24 * * *", "its hours must be within 0 to 23"),
        ("0 5 * * * 7", "its weekdays must be within 0 to 6"),
        ("hourly", "must have five or six fields"),
        ("01:00:00", "must have five or six fields"),
    ],
)
def test_schedule_that_the_host_refuses_is_refused(name: str, schedule: str, reason: str) -> None:
    assert _problem({name: schedule}).startswith(f"settings: {name}: {reason}")


@pytest.mark.parametrize(
    "webhooks, problem",
    [
        ('{"a": 1}', "WEBHOOKS: must be a list"),
        ('[{"url": "https://a.example"}, 1]', "WEBHOOKS[1]: must be a mapping of keys to values"),
        ('[{"url": "https://a.example", "secrets": 1}]', "WEBHOOKS[0].secrets: is an unknown key"),
        ('[{"url": "https://a.example",}]', "WEBHOOKS: must be JSON: trailing comma at line 1 column 30"),
    ],
)
def test_wrong_destinations_are_named_by_key_and_position(webhooks: str, problem: str) -> None:
    assert _problem({"WEBHOOKS": webhooks}) == f"settings: {problem}"


@pytest.mark.parametrize(
    "variable, setting",
    [
        ("WEBHOK_URL", "WEBHOOK_URL"),
        ("WEBHOOKURL", "WEBHOOK_URL"),
        ("webhook_url", "WEBHOOK_URL"),
        ("RULE", "RULES"),
        ("DETECTION_SCHEDULE", "DETECT_SCHEDULE"),
        ("INCIDENTS_STORAGE", "INCIDENT_STORAGE"),
    ],
)
def test_variable_that_nearly_has_the_name_of_a_setting_is_noticed(variable: str, setting: str) -> None:
    assert misspelt_settings({variable: "x", "PATH": "/bin"}) == {variable: setting}
    assert misspelt_settings({variable: "x", setting: "y"}) == {}
    assert misspelt_settings({variable: " "}) == {}


def test_variables_of_the_platform_and_the_deployment_are_not_near_a_setting() -> None:
    parameters = re.findall(r"readEnvironmentVariable\('(\w+)'", (ROOT / "infra/main.bicepparam").read_text())
    platform = [f"APPSETTING_{name}" for name in Settings.model_fields] + [
        "AZURE_TENANT_ID",
        "WEBSITE_HOSTNAME",
    ]
    assert len(parameters) > 20
    assert misspelt_settings(dict.fromkeys([*parameters, *platform], "x")) == {}


def test_space_around_a_value_is_no_part_of_it() -> None:
    storage = "UseDevelopmentStorage=true"
    settings = settings_from({"INCIDENT_STORAGE": f" {storage}\n", "WEBHOOK_URL": " https://a.example/x "})
    assert settings.INCIDENT_STORAGE
    assert settings.INCIDENT_STORAGE.get_secret_value() == storage
    assert settings.destinations[0].url.get_secret_value() == "https://a.example/x"


def test_one_destination() -> None:
    (webhook,) = settings_from(
        {"WEBHOOK_URL": "https://a.example/x", "WEBHOOK_SECRET": f"{KEY}, {KEY}", "WEBHOOK_FORMAT": "slack"}
    ).destinations
    assert (webhook.name, webhook.message_format) == ("webhook", "slack")
    assert [secret.get_secret_value() for secret in webhook.secret] == [KEY, KEY]


def test_several_destinations_are_json() -> None:
    webhooks = [
        {"name": "soc", "url": "https://a.example/x", "secret": [KEY]},
        {"name": "chat", "url": "https://hooks.slack.com/services/T/B/x"},
        {"name": "both", "url": "https://b.example/x", "secret": f"{KEY},{KEY}", "format": "slack"},
    ]
    destinations = settings_from({"WEBHOOKS": json.dumps(webhooks)}).destinations
    assert [
        (destination.name, destination.message_format, len(destination.secret))
        for destination in destinations
    ] == [
        ("soc", "native", 1),
        ("chat", "slack", 0),
        ("both", "slack", 2),
    ]


@pytest.mark.parametrize(
    "url, chosen, expected",
    [
        ("https://hooks.slack.com/services/x", None, "slack"),
        ("https://HOOKS.Slack.com/services/x", None, "slack"),
        ("https://hooks.slack.com/services/x", "native", "native"),
        ("https://hooks.slack.com./services/x", None, "slack"),
        ("https://hooks.slack-gov.com/services/x", None, "slack"),
        ("https://contoso.webhook.office.com/webhookb2/x", None, "teams"),
        ("https://contoso.webhook.office.com/webhookb2/x", "native", "native"),
        ("https://webhook.office.com.evil.example/x", None, "native"),
        ("https://evilwebhook.office.com/x", None, "native"),
        ("https://hooks.slack.com.evil.example/x", None, "native"),
        ("https://a.example/hooks.slack.com", None, "native"),
        ("https://a.example/x", "slack", "slack"),
    ],
)
def test_format_is_chosen_or_goes_by_the_host(url: str, chosen: str | None, expected: str) -> None:
    (webhook,) = settings_from({"WEBHOOK_URL": url, "WEBHOOK_FORMAT": chosen or ""}).destinations
    assert webhook.message_format == expected


@pytest.mark.parametrize(
    "host",
    [
        "prod-12.westeurope.logic.azure.com:443",
        "prod-12.usgovvirginia.logic.azure.us",
        "prod-12.chinaeast2.logic.azure.cn",
        "default0a1b.2c.environment.api.powerplatform.com",
        "default0a1b.2c.environment.api.high.powerplatform.microsoft.us",
    ],
)
@pytest.mark.parametrize("chosen", ["", "native", "slack", "teams"])
def test_host_that_serves_workflows_of_any_kind_has_no_format_of_its_own(host: str, chosen: str) -> None:
    address = {"WEBHOOK_URL": f"https://{host}/workflows/x", "WEBHOOK_FORMAT": chosen}
    (webhook,) = settings_from(address).destinations
    assert webhook.message_format == (chosen or None)


@pytest.mark.parametrize(
    "hook",
    [
        {"url": "https://events.pagerduty.com/v2/enqueue"},
        {"url": "https://soc.example/hook", "format": "pagerduty"},
        {"url": "https://soc.example/hook", "routing_key": "hunter2"},
    ],
)
def test_routing_key_goes_with_pagerduty(hook: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="routing_key") as raised:
        settings_from({"WEBHOOKS": json.dumps([hook])})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "environment",
    [
        {"WEBHOOK_URL": "https://events.pagerduty.com/v2/enqueue"},
        {"WEBHOOK_URL": "https://soc.example/hook", "WEBHOOK_FORMAT": "pagerduty"},
    ],
)
def test_pagerduty_has_its_place_in_the_list(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="WEBHOOK_FORMAT: pagerduty goes into WEBHOOKS"):
        settings_from(environment)


@pytest.mark.parametrize(
    "minimum_severity, taken",
    [
        (None, ["Informational", "Low", "Medium", "High"]),
        ("Medium", ["Medium", "High"]),
        ("High", ["High"]),
    ],
)
def test_destination_takes_what_is_severe_enough(minimum_severity: str | None, taken: list[str]) -> None:
    hook = {"url": "https://soc.example/hook"} | (
        {"minimum_severity": minimum_severity} if minimum_severity else {}
    )
    (webhook,) = settings_from({"WEBHOOKS": json.dumps([hook])}).destinations
    assert [severity for severity in SEVERITIES if webhook.accepts(severity)] == taken


@pytest.mark.parametrize("name", ["WEBHOOK_URL", "HEARTBEAT_URL", "LOG_ANALYTICS_ENDPOINT"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/x", "http://localhost/x", "http://[::1]:1/x"])
def test_plain_http_is_for_this_machine(name: str, url: str) -> None:
    settings_from({name: url})


@pytest.mark.parametrize("name", ["WEBHOOK_URL", "HEARTBEAT_URL", "LOG_ANALYTICS_ENDPOINT"])
@pytest.mark.parametrize(
    "url",
    [
        f"http://a.example/{HIDDEN}",
        f"http://127.0.0.1.{HIDDEN}.example/",
        f"http://localhost@{HIDDEN}.example/",
        f"http://{HIDDEN}.example\\@localhost/",
        f"http://{HIDDEN}.example\\@127.0.0.1:1/",
        f"ftp://a.example/{HIDDEN}",
        f"https:///{HIDDEN}",
        f"https://[{HIDDEN}]/",
        f"https://[{HIDDEN}",
        f"https://a.example:{HIDDEN}/",
        f"https://a.example:99999/{HIDDEN}",
        f"http://127.0.0.1:{HIDDEN}/",
        f"https://{HIDDEN}\u2100/",
        f"https://{HIDDEN}..example/",
        f"https://{HIDDEN}{'x' * 57}.example/",
        HIDDEN,
    ],
)
def test_other_addresses_are_refused_unseen(name: str, url: str) -> None:
    assert _problem({name: url}) == f"settings: {name}: must be an https:// address"


@pytest.mark.parametrize("name", ["WEBHOOK_URL", "HEARTBEAT_URL", "LOG_ANALYTICS_ENDPOINT", "PAGE_URL"])
@pytest.mark.parametrize(
    "url",
    [
        f"https://{HIDDEN}@a.example/",
        f"https://{HIDDEN}:x@a.example/",
        f"https://@a.example/{HIDDEN}",
        f"https://a.example\\@b.example/{HIDDEN}",
        f"https://a.example/{HIDDEN}\\x",
        f"https://a.example/{HIDDEN}\nx",
        f"https://a.example/{HIDDEN}\x7f",
        f"https://a.example/{HIDDEN}\u202ex",
        f"https://a.example/{HIDDEN} x",
    ],
)
def test_address_that_parsers_read_differently_is_refused_unseen(name: str, url: str) -> None:
    problem = _problem({name: url})
    assert problem == f"settings: {name}: must have no user name, backslash, space or control character"


@pytest.mark.parametrize(
    "url", ["https://a.example/@b?to=c@d#e@f", "https://a.example?@b", "https://münchen.example/é"]
)
def test_address_may_have_an_at_sign_behind_its_host_and_letters_of_any_script(url: str) -> None:
    settings_from({"HEARTBEAT_URL": url})


@pytest.mark.parametrize(
    "secret",
    [
        HIDDEN,
        f"whsec_{HIDDEN}",
        "whsec_" + "A" * 16,
        "whsec_" + "A" * 100,
        f"whsec_é{HIDDEN}",
        f"{KEY},{HIDDEN}",
    ],
)
def test_secret_that_signs_nothing_is_refused_unseen(secret: str) -> None:
    problem = _problem({"WEBHOOK_SECRET": secret})
    assert problem.startswith("settings: WEBHOOK_SECRET[")
    assert problem.endswith("]: must be whsec_ and 24 to 64 random bytes in base64")


@pytest.mark.parametrize(
    "key",
    [
        HIDDEN,
        "x" * 31,
        "x" * 201,
        f"{HIDDEN} {'x' * 32}",
        f"@Microsoft.KeyVault(SecretUri=https://v/{HIDDEN})",
    ],
    ids=["short", "almost long enough", "too long", "spaced", "a reference that was not resolved"],
)
def test_link_key_that_could_be_guessed_is_refused_unseen(key: str) -> None:
    problem = _problem({"LINK_KEY": key})
    assert problem.startswith("settings: LINK_KEY: must be 32 to 200 random letters and digits")


@pytest.mark.parametrize("key", ["0f" * 32, "A+/_-=b" * 5, "5ef15572-0e96-5746-8ab5-76793970620a" * 2])
def test_link_key_is_hexadecimal_base64_or_guids(key: str) -> None:
    link_key = settings_from({"LINK_KEY": f"{key}\n"}).LINK_KEY
    assert link_key
    assert link_key.get_secret_value() == key


def test_more_than_two_secrets_are_refused() -> None:
    assert "WEBHOOK_SECRET: " in _problem({"WEBHOOK_SECRET": f"{KEY},{KEY},{KEY}"})


@pytest.mark.parametrize(
    "webhooks, location",
    [
        (f'[{{"url": "{HIDDEN}', "WEBHOOKS: must be JSON"),
        ("[" * 100_000, "WEBHOOKS: must be JSON"),
        (f'{{"url": "https://a.example/{HIDDEN}"}}', "WEBHOOKS: "),
        ("null", "WEBHOOKS: "),
        (f'["{HIDDEN}"]', "WEBHOOKS[0]: "),
        (f'[{{"name": "{HIDDEN}"}}]', "WEBHOOKS[0].url: "),
        (f'[{{"url": "http://a.example/{HIDDEN}"}}]', "WEBHOOKS[0].url: must be an https:// address"),
        (f'[{{"url": "https://a.example", "{HIDDEN}": 1}}]', "WEBHOOKS[0]: has an unknown key"),
        (f'[{{"url": "https://a.example", "name": "{HIDDEN} |"}}]', "WEBHOOKS[0].name: "),
        (f'[{{"url": "https://a.example", "format": "{HIDDEN}"}}]', "WEBHOOKS[0].format: "),
        (f'[{{"url": "https://a.example", "secret": ["{HIDDEN}"]}}]', "WEBHOOKS[0].secret[0]: "),
        (
            '[{"url": "https://a.example"}, {"url": "https://b.example"}]',
            "WEBHOOKS: [0] and [1] have the same name",
        ),
    ],
)
def test_wrong_destinations_are_refused_unseen(webhooks: str, location: str) -> None:
    assert _problem({"WEBHOOKS": webhooks}).startswith(f"settings: {location}")


@pytest.mark.parametrize(
    "setting, other_setting, value",
    [
        ("LOGS_DIR", "LOG_ANALYTICS_WORKSPACE_ID", HIDDEN),
        ("WEBHOOKS", "WEBHOOK_URL", f"https://a.example/{HIDDEN}"),
    ],
)
def test_one_of_two_is_enough(setting: str, other_setting: str, value: str) -> None:
    environment = {setting: '[{"url": "https://b.example"}]', other_setting: value}
    assert _problem(environment) == f"settings: {setting}: cannot be set together with {other_setting}"


def test_folder_is_a_path() -> None:
    folder = settings_from({"LOGS_DIR": "logs/june"}).LOGS_DIR
    assert folder == Path("logs/june")


def test_all_errors_are_named_at_once() -> None:
    wrong = {
        "LOG_ANALYTICS_WORKSPACE_ID": HIDDEN,
        "LOGS_DIR": HIDDEN,
        "LOG_ANALYTICS_ENDPOINT": HIDDEN,
        "PARSERS": HIDDEN,
        "ALLOWED_LATENESS": HIDDEN,
        "MAX_CATCH_UP": HIDDEN,
        "INCIDENT_TABLE": f"{HIDDEN}-",
        "WEBHOOK_URL": HIDDEN,
        "WEBHOOK_FORMAT": HIDDEN,
        "WEBHOOK_SECRET": HIDDEN,
        "WEBHOOKS": '[{"url": "https://b.example"}]',
        "LINK_KEY": HIDDEN,
        "HEARTBEAT_URL": HIDDEN,
        "DETECT_SCHEDULE": HIDDEN,
        "DELIVER_SCHEDULE": HIDDEN,
    }
    named = [part.partition(":")[0] for part in _problem(wrong).removeprefix("settings: ").split("; ")]
    assert sorted(name.partition("[")[0] for name in named) == sorted([*wrong][1:])


def test_secrets_are_in_no_text_of_the_settings() -> None:
    settings = settings_from(
        {
            "INCIDENT_STORAGE": f"AccountKey={HIDDEN}",
            "HEARTBEAT_URL": f"https://a.example/{HIDDEN}",
            "LINK_KEY": HIDDEN * 5,
            "WEBHOOKS": json.dumps([{"url": f"https://a.example/{HIDDEN}", "secret": KEY}]),
        }
    )
    shown = f"{settings} {settings!r} {settings.model_dump_json()} {settings.destinations}"
    assert HIDDEN not in shown
    assert KEY not in shown


def _problem(environment: dict[str, str]) -> str:
    """The error that the environment gives; it shows nothing of a value."""
    with pytest.raises(ConfigurationError) as caught:
        settings_from(environment)
    text = str(caught.value)
    assert HIDDEN not in text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    return text


def test_aliases_are_refused_for_several_workspaces() -> None:
    with pytest.raises(ConfigurationError, match="PARSERS: alias requires a single workspace"):
        settings_from({"PARSERS": "alias", "LOG_ANALYTICS_WORKSPACE_ID": "one, two"})


@pytest.mark.parametrize(
    "name, value", [("WEBHOOK_FORMAT", "slack"), ("WEBHOOK_SECRET", "whsec_" + "A" * 32)]
)
def test_setting_of_the_one_webhook_is_refused_beside_the_list(name: str, value: str) -> None:
    webhooks = '[{"name": "a", "url": "https://example.com/hook"}]'
    with pytest.raises(ConfigurationError, match=f"WEBHOOKS: cannot be set together with {name}"):
        settings_from({"WEBHOOKS": webhooks, name: value})


@pytest.mark.parametrize(
    "environment, address",
    [
        ({}, None),
        ({"WEBSITE_HOSTNAME": "func-x.azurewebsites.net"}, "https://func-x.azurewebsites.net/api"),
        ({"WEBSITE_HOSTNAME": "localhost:7071"}, "http://localhost:7071/api"),
        (
            {"WEBSITE_HOSTNAME": "func-x.azurewebsites.net", "PAGE_URL": "https://soc.example/openai/"},
            "https://soc.example/openai",
        ),
    ],
)
def test_page_is_where_the_app_is_unless_somebody_says_otherwise(
    environment: dict[str, str], address: str | None
) -> None:
    page = settings_from(environment).PAGE_URL
    assert page == address


@pytest.mark.parametrize(
    "url", ["http://soc.example", "soc.example", "https://soc.example/?a=1", "https://soc.example/#a"]
)
def test_page_has_an_address_to_which_a_path_can_be_added(url: str) -> None:
    assert _problem({"PAGE_URL": url}).startswith("settings: PAGE_URL: ")


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_missing_ca_bundle_is_refused_with_its_variable(name: str, tmp_path: Path) -> None:
    environment = {name: f"{tmp_path}/{HIDDEN}.pem", "MAX_CATCH_UP": HIDDEN}
    problem = _problem(environment)
    assert problem.startswith(f"settings: {name}: must name a file")
    assert "MAX_CATCH_UP" in problem
    assert HIDDEN not in problem


def test_ca_bundle_that_does_not_count_is_not_checked(tmp_path: Path) -> None:
    settings_from({"REQUESTS_CA_BUNDLE": str(tmp_path), "CURL_CA_BUNDLE": f"{tmp_path}/none"})
