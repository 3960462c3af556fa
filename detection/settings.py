"""The job's settings: one frozen object from the environment, or one error that names everything wrong.

Values are never shown: some are secrets, and a mistyped one often is. docs/settings.md is made from
the descriptions here.
"""

import base64
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, from_json

from detection.base.errors import ConfigurationError
from detection.rules.loading import default_rule
from detection.rules.model import SEVERITIES, Duration, Severity

MessageFormat = Literal["native", "slack", "teams", "pagerduty"]
FORMATS_OF_HOSTS: Mapping[str, MessageFormat] = {
    "hooks.slack.com": "slack",
    "events.pagerduty.com": "pagerduty",
    "events.eu.pagerduty.com": "pagerduty",
}
LOOPBACK = ("127.0.0.1", "::1", "localhost")
DESTINATIONS = 10  # whose messages fit into one transaction with the largest part of marks
MARKS_DAYS = 26  # the days of marks that one transaction can always carry, with messages to all of them


def is_loopback(url: str) -> bool:
    """Whether an address is a service on this machine: there, plain http is allowed."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK


def _split_commas(value: object) -> object:
    """Comma-separated text as its parts."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _from_json(value: object) -> object:
    try:
        return from_json(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("must be JSON") from None


def _address(value: str) -> str:
    """A URL that may be asked."""
    if not _is_safe(value):
        raise ValueError("must be an https:// address")
    return value


def _base_address(value: str) -> str:
    """A URL to which a path can be added."""
    if urlsplit(_address(value)).query or "#" in value or "?" in value:
        raise ValueError("must end with its path")
    return value.rstrip("/")


def _secret_address(value: SecretStr) -> SecretStr:
    _address(value.get_secret_value())
    return value


def _is_safe(url: str) -> bool:
    """Whether a URL is one, and nobody on the way can read what goes there."""
    try:
        parts = urlsplit(url)
        return parts.port != 0 and (is_loopback(url) or (parts.scheme == "https" and bool(parts.hostname)))
    except ValueError:  # its text would show the host
        return False


def _signing_secret(value: SecretStr) -> SecretStr:
    """Standard Webhooks: `whsec_` and 24 to 64 random bytes in base64."""
    text = value.get_secret_value().removeprefix("whsec_")
    try:
        size = len(base64.b64decode(text, validate=True))
    except ValueError:
        size = 0
    if not 24 <= size <= 64:
        raise ValueError("must be whsec_ and 24 to 64 random bytes in base64")
    return value


CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
Address = Annotated[SecretStr, AfterValidator(_secret_address)]
Secret = Annotated[SecretStr, AfterValidator(_signing_secret)]
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(_split_commas), Field(max_length=2)]


class Webhook(BaseModel):
    """A destination of alerts. Its URL is a secret: with Slack and Teams it is all one needs to post."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")] = "webhook"
    url: Address
    format: MessageFormat | None = None
    secret: Secrets = ()
    routing_key: SecretStr | None = None
    minimum_severity: Severity = "Informational"

    @property
    def message_format(self) -> MessageFormat:
        """The format chosen, or the one that the host speaks."""
        return self.format or _format_of_host(self.url)

    def accepts(self, severity: Severity) -> bool:
        """Whether alerts of a severity go there."""
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.minimum_severity)

    @model_validator(mode="after")
    def _routing_key_fits_format(self) -> Self:
        if (self.message_format == "pagerduty") is not (self.routing_key is not None):
            raise ValueError("routing_key goes with the format pagerduty, and the format with it")
        return self


def _format_of_host(url: SecretStr) -> MessageFormat:
    """The format that an address wants, as far as its host says so."""
    return FORMATS_OF_HOSTS.get(urlsplit(url.get_secret_value()).hostname or "", "native")


def _names_differ(webhooks: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
    if len({webhook.name for webhook in webhooks}) < len(webhooks):
        raise ValueError("two have the same name")
    return webhooks


class Settings(BaseModel):
    """Every setting, under the name it has in the environment."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, hide_input_in_errors=True, str_strip_whitespace=True, defer_build=True
    )

    LOG_ANALYTICS_WORKSPACE_ID: CommaSeparated = Field(
        (), description="Workspace to read, its id (several: comma-separated)."
    )
    LOG_ANALYTICS_RESOURCE_ID: Annotated[str, Field(pattern=r"^(/subscriptions/[\w.()/-]+)?$")] = Field(
        "",
        description="Resource id of the workspace, for links from messages into the portal; no links if empty.",
    )
    LOG_ANALYTICS_ENDPOINT: Annotated[str, AfterValidator(_address)] = Field(
        "https://api.loganalytics.io",
        description="Query API; `https://api.loganalytics.us` and `https://api.loganalytics.azure.cn` choose the sovereign "
        "cloud with its authority. A loopback address is an emulator.",
    )
    LOGS_DIR: Path | None = Field(None, description="Folder of exported logs to read instead of a workspace.")
    PARSERS: Literal["inline", "alias"] = Field(
        "inline",
        description="`inline` sends the connector's parser functions with every query; `alias` uses the workspace's own.",
    )
    ALLOWED_LATENESS: Duration | None = Field(
        None,
        description="How late a row may arrive and still be read, ISO 8601; at least, and by default, 23 hours (PT23H).",
    )
    MAX_CATCH_UP: Annotated[Duration, Field(ge=timedelta(days=1), le=timedelta(days=MARKS_DAYS))] = Field(
        timedelta(days=14),
        description="How far a run reaches back after an outage, ISO 8601, P1D to P26D; beyond it is a recorded gap.",
    )
    INCIDENT_STORAGE: SecretStr = Field(
        SecretStr("memory"),
        description="Where incidents are kept: an account URL (`https://<account>.table.core.windows.net`, by identity), "
        "a connection string, `UseDevelopmentStorage=true`, or `memory`, which forgets when the process ends.",
    )
    INCIDENT_TABLE: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$")] = Field(
        "incidents", description="Name of the table; it is made if it is not there."
    )
    RULES: CommaSeparated = Field(
        (),
        validate_default=True,
        description="Rule folders to run, comma-separated; the default rule if empty.",
    )
    WEBHOOK_URL: Address | None = Field(None, description="Where alerts are posted; a secret. https only.")
    WEBHOOK_FORMAT: MessageFormat | None = Field(
        None,
        validate_default=True,
        description="`native`, `slack` or `teams`; by the URL's host if empty. PagerDuty goes into `WEBHOOKS`.",
    )
    WEBHOOK_SECRET: Secrets = Field(
        (),
        description="Signs messages by Standard Webhooks: `whsec_…`; two, comma-separated, while rotating.",
    )
    WEBHOOKS: Annotated[
        tuple[Webhook, ...],
        BeforeValidator(_from_json),
        AfterValidator(_names_differ),
        Field(max_length=DESTINATIONS),
    ] = Field(
        (),
        description="Several destinations instead, at most 10: a JSON list of `{name, url, format, secret, minimum_severity}`; "
        "of format `pagerduty` with its `routing_key`.",
    )
    STORM_ALERTS: Annotated[int, Field(ge=1, le=1_000)] = Field(
        20,
        description="More alerts than this in a run are told in one digest for each destination, 1 to 1000; all incidents are kept.",
    )
    FLOOD_SIGNALS: Annotated[int, Field(ge=1_000, le=1_000_000)] = Field(
        500_000,
        description="Signals of one key that are remembered one by one, 1000 to 1000000; beyond, everything of it up to the "
        "latest counts as told, and the alert says so.",
    )
    PAGE_URL: Annotated[str, AfterValidator(_base_address)] | None = Field(
        None,
        description="Where the incident page is reached, up to `/incidents`; `https://<WEBSITE_HOSTNAME>/api` if empty. "
        "Without either, messages carry no link.",
    )
    HEARTBEAT_URL: Address | None = Field(
        None, description="Fetched after every fully complete run; a secret."
    )
    AZURE_CLIENT_ID: str | None = Field(None, description="Client id of the user-assigned identity.")
    DETECT_SCHEDULE: str = Field(
        "0 5 * * * *", description="When the detection runs (NCRONTAB, six fields, UTC)."
    )
    DELIVER_SCHEDULE: str = Field(
        "0 2/5 * * * *", description="When waiting messages are tried again (NCRONTAB)."
    )

    @property
    def destinations(self) -> tuple[Webhook, ...]:
        """All destinations, however they were given."""
        if self.WEBHOOK_URL is None:
            return self.WEBHOOKS
        return (Webhook(url=self.WEBHOOK_URL, format=self.WEBHOOK_FORMAT, secret=self.WEBHOOK_SECRET),)

    @property
    def rules(self) -> tuple[str, ...]:
        """The rule folders to run."""
        return self.RULES or (default_rule(),)

    # Of one field at a time, so that they speak even when another field is wrong.
    @field_validator("LOGS_DIR")
    @classmethod
    def _logs_dir_alone(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return _exclusive(value, "LOG_ANALYTICS_WORKSPACE_ID", info)

    @field_validator("WEBHOOK_FORMAT")
    @classmethod
    def _without_routing_key(cls, value: MessageFormat | None, info: ValidationInfo) -> MessageFormat | None:
        url = info.data.get("WEBHOOK_URL")
        if (value or (url and _format_of_host(url))) == "pagerduty":
            raise ValueError("pagerduty goes into WEBHOOKS, with its routing_key")
        return value

    @field_validator("WEBHOOKS")
    @classmethod
    def _webhooks_alone(cls, value: tuple[Webhook, ...], info: ValidationInfo) -> tuple[Webhook, ...]:
        # A secret given beside the list would sign nothing; each destination has its own.
        for setting in ("WEBHOOK_FORMAT", "WEBHOOK_SECRET", "WEBHOOK_URL"):
            _exclusive(value, setting, info)
        return value

    @field_validator("PARSERS")
    @classmethod
    def _aliases_in_one_workspace(cls, value: str, info: ValidationInfo) -> str:
        if value == "alias" and len(info.data.get("LOG_ANALYTICS_WORKSPACE_ID", ())) > 1:
            raise ValueError("alias goes with one workspace: saved functions are not found across several")
        return value


SettingValue = TypeVar("SettingValue")


def _exclusive(value: SettingValue, setting: str, info: ValidationInfo) -> SettingValue:
    """The value, if only one of the two is set; the other is not in `data` when it is set and wrong."""
    if value and info.data.get(setting, "wrong"):
        raise ValueError(f"cannot be set together with {setting}")
    return value


def settings_from(environment: Mapping[str, str]) -> Settings:
    """The settings that the environment holds; an empty value counts as not set.

    Raises ConfigurationError naming every wrong variable, and no value.
    """
    values = {
        name: value for name, value in environment.items() if name in Settings.model_fields and value.strip()
    }
    if page_url := _host_address(environment.get("WEBSITE_HOSTNAME", "")):
        values.setdefault("PAGE_URL", page_url)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError("settings: " + "; ".join(map(_problem, error.errors()))) from None


def _host_address(host: str) -> str:
    """Where the Functions host, which names itself, answers requests; nothing where there is no host."""
    scheme = "http" if is_loopback(f"http://{host}") else "https"
    return f"{scheme}://{host}/api" if host else ""


def _problem(error: ErrorDetails) -> str:
    """What is wrong where. The name of an unknown key is a part of the value, and not shown."""
    unknown = error["type"] == "extra_forbidden"
    location = ".".join(map(str, error["loc"][:-1] if unknown else error["loc"]))
    message = "has an unknown key" if unknown else error["msg"].removeprefix("Value error, ")
    return re.sub(r"\.(\d+)", r"[\1]", location) + ": " + message
