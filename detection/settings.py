"""The job's settings: one frozen object from the environment, or one error that names every wrong variable.

No error shows a value: some settings are secrets, and a secret may be pasted into the wrong variable.
docs/settings.md is generated from the descriptions here.
"""

import base64
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

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
from pydantic_core import from_json

from detection.base.errors import ConfigurationError, problem_message
from detection.base.ncrontab import parse_schedule
from detection.base.network import ca_bundle, is_loopback, parse_address
from detection.rules.loading import FOLDER_NAME, default_rule
from detection.rules.model import SEVERITIES, Duration, Severity, require_unique_names

MessageFormat = Literal["native", "slack", "teams", "pagerduty", "ocsf"]
MESSAGE_FORMATS: tuple[MessageFormat, ...] = get_args(MessageFormat)
TEMPLATE = "template:"  # and the name of a file in detection/content/templates
# A name that begins with a dot means every host below it. None: the host serves workflows of any kind, so the
# format must be set.
FORMATS_OF_HOSTS: Mapping[str, MessageFormat | None] = {
    "hooks.slack.com": "slack",
    "hooks.slack-gov.com": "slack",
    "events.pagerduty.com": "pagerduty",
    "events.eu.pagerduty.com": "pagerduty",
    ".webhook.office.com": "teams",
    ".logic.azure.com": None,
    ".logic.azure.us": None,
    ".logic.azure.cn": None,
    ".environment.api.powerplatform.com": None,
    ".environment.api.gov.powerplatform.microsoft.us": None,
    ".environment.api.high.powerplatform.microsoft.us": None,
    ".environment.api.appsplatform.us": None,
    ".environment.api.powerplatform.partner.microsoftonline.cn": None,
}
_USER_INFO = re.compile(r"[^/]*//[^/?#]*@")
DESTINATIONS = 10  # messages to this many fit into one transaction with the largest part of marks
# The longest catch-up of a rule with `within: PT24H` and the default lateness. runs/limits.py checks them
# together.
LONGEST_CATCH_UP = timedelta(days=25)


SHOWN_KEY = re.compile(r"[A-Za-z_-]{1,20}")  # another unknown key may be a secret in the wrong place

# Settings that exclude earlier ones. A secret next to the list of destinations would sign nothing: each has
# its own.
EXCLUSIVE = {
    "PAGE_KEY": ("PAGE_CLIENT_ID",),
    "LOGS_DIR": ("LOG_ANALYTICS_WORKSPACE_ID",),
    "WEBHOOKS": ("WEBHOOK_FORMAT", "WEBHOOK_SECRET", "WEBHOOK_URL"),
}


def _split_commas(value: object) -> object:
    """Split comma-separated text. Drops empty parts."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names in their order, each once."""
    return tuple(dict.fromkeys(names))


def _from_json(value: object) -> object:
    try:
        return from_json(value) if isinstance(value, str) else value
    except ValueError as error:  # its text has a position and no part of the value
        raise ValueError(f"must be JSON: {error}") from None


def _address(value: str) -> str:
    """Validate a URL that the job sends requests to: with https, or on this machine."""
    try:
        parts = parse_address(value)
        safe = is_loopback(value) or (parts.scheme == "https" and bool(parts.host))
        (parts.host or "").encode("idna")  # a label of a host has at most 63 characters
    except ValueError:  # its text contains the host
        safe = False
    if not safe:
        raise ValueError("must be an https:// address")
    # Parsers differ in these, so a person may read another host than the one that gets the request.
    if _USER_INFO.match(value) or "\\" in value or " " in value or not value.isprintable():
        raise ValueError("must have no user name, backslash, space or control character")
    return value


def _destination_format(value: str) -> str:
    if value not in MESSAGE_FORMATS and not re.fullmatch(f"{TEMPLATE}{FOLDER_NAME}", value):
        raise ValueError(f"must be {', '.join(MESSAGE_FORMATS)} or {TEMPLATE}FILE")
    return value


def _base_address(value: str) -> str:
    """Validate a URL that a path can be appended to."""
    if "#" in _address(value) or "?" in value:
        raise ValueError("must end with its path")
    return value.rstrip("/")


def _signing_secret(value: SecretStr) -> SecretStr:
    """Validate a signing secret of Standard Webhooks: `whsec_` and 24 to 64 random bytes in base64."""
    text = value.get_secret_value().removeprefix("whsec_")
    try:
        size = len(base64.b64decode(text, validate=True))
    except ValueError:
        size = 0
    if not 24 <= size <= 64:
        raise ValueError("must be whsec_ and 24 to 64 random bytes in base64")
    return value


def _link_key(value: SecretStr) -> SecretStr:
    """Validate a key that signs links. A reference that the host could not resolve is not a key."""
    if not re.fullmatch(r"[A-Za-z0-9+/=_-]{32,200}", value.get_secret_value()):
        raise ValueError("must be 32 to 200 random letters and digits, such as of `openssl rand -hex 32`")
    return value


def _header(value: SecretStr) -> SecretStr:
    """Validate a secret that is sent in a header."""
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("must have no space, control character or letter outside ASCII")
    return value


def _schedule(value: str) -> str:
    parse_schedule(value)
    return value


FunctionKey = Annotated[SecretStr, AfterValidator(_header)]
LinkKey = Annotated[SecretStr, AfterValidator(_link_key)]
Schedule = Annotated[str, AfterValidator(_schedule)]
CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_split_commas), AfterValidator(_distinct)]
RuleName = Annotated[str, Field(pattern=f"^{FOLDER_NAME}$")]
Address = Annotated[SecretStr, AfterValidator(lambda url: SecretStr(_address(url.get_secret_value())))]
Secret = Annotated[SecretStr, AfterValidator(_signing_secret)]
Secrets = Annotated[tuple[Secret, ...], BeforeValidator(_split_commas), Field(max_length=2)]


class Webhook(BaseModel):
    """A destination of alerts. Its URL is a secret: for Slack and Teams, the URL alone permits posting."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")] = "webhook"
    url: Address
    format: Annotated[str, AfterValidator(_destination_format)] | None = None
    secret: Secrets = ()
    routing_key: SecretStr | None = None
    minimum_severity: Severity = "Informational"

    @property
    def message_format(self) -> MessageFormat | None:
        """The format as set, or else by the URL's host. None if it must be set; messages wait until then.

        A template is filled in with the native message when it is sent.
        """
        if self.template:
            return "native"
        chosen = next((name for name in MESSAGE_FORMATS if name == self.format), None)
        return chosen or _format_of_host(self.url)

    @property
    def template(self) -> str | None:
        """The file name of the template that makes the message; None for any other format."""
        is_template = self.format is not None and self.format.startswith(TEMPLATE)
        return self.format.removeprefix(TEMPLATE) if self.format and is_template else None

    def accepts(self, severity: Severity) -> bool:
        """Return whether alerts of this severity go to this destination."""
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.minimum_severity)

    @model_validator(mode="after")
    def _routing_key_fits_format(self) -> Self:
        if (self.message_format == "pagerduty") is not (self.routing_key is not None):
            raise ValueError("routing_key and the format pagerduty must be set together")
        return self


def _format_of_host(url: SecretStr) -> MessageFormat | None:
    """Return the format of a well-known host, `native` for any other."""
    host = (parse_address(url.get_secret_value()).host or "").rstrip(".")
    for name, message_format in FORMATS_OF_HOSTS.items():
        if host == name or (name.startswith(".") and host.endswith(name)):
            return message_format
    return "native"


class Settings(BaseModel):
    """Every setting, under the name of its environment variable."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, hide_input_in_errors=True, str_strip_whitespace=True, defer_build=True
    )

    LOG_ANALYTICS_WORKSPACE_ID: CommaSeparated = Field(
        (), description="Id of the workspace to read; several are comma-separated."
    )
    LOG_ANALYTICS_RESOURCE_ID: Annotated[str, Field(pattern=r"^(/subscriptions/[\w.()/-]+)?$")] = Field(
        "",
        description="Resource id of the workspace, for links to the portal in messages. No links if empty.",
    )
    LOG_ANALYTICS_ENDPOINT: Annotated[str, AfterValidator(_address)] = Field(
        "https://api.loganalytics.io",
        description="URL of the query API. `https://api.loganalytics.us` and "
        "`https://api.loganalytics.azure.cn` "
        "select a sovereign cloud and its authority. A loopback address selects an emulator.",
    )
    LOGS_DIR: Path | None = Field(None, description="Folder of exported logs to read instead of a workspace.")
    PARSERS: Literal["inline", "alias"] = Field(
        "inline",
        description="`inline` sends the connector's parser functions with every query; "
        "`alias` uses the functions saved in the workspace. Messages and pages show the KQL as the run sends "
        "it, with `alias` without these functions.",
    )
    ALLOWED_LATENESS: Annotated[Duration, Field(le=LONGEST_CATCH_UP)] | None = Field(
        None,
        description="How late a row may arrive and still be read, such as `36h`. "
        "Minimum and default: 23 hours (PT23H). At most 38 days together with `MAX_CATCH_UP`, less if a rule "
        "has a `within` of more than a day.",
    )
    MAX_CATCH_UP: Annotated[Duration, Field(ge=timedelta(days=1), le=LONGEST_CATCH_UP)] = Field(
        timedelta(days=14),
        description="How far a run catches up after an outage, `1d` to `25d`. "
        "The allowed lateness is added to it. A longer outage leaves a recorded gap.",
    )
    INCIDENT_STORAGE: SecretStr | None = Field(
        None,
        description="Where incidents are stored: an account URL (`https://<account>.table.core.windows.net`, "
        "accessed by identity), a connection string, or `UseDevelopmentStorage=true`. Required, except by "
        "`run`, which without it keeps incidents in memory until it ends.",
    )
    INCIDENT_TABLE: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{2,62}$")] = Field(
        "incidents", description="Name of the incident table. Created if missing."
    )
    RULES: Annotated[tuple[RuleName, ...], BeforeValidator(_split_commas), AfterValidator(_distinct)] = Field(
        (),
        validate_default=True,
        description="Rule folders to run, comma-separated. The default rule if empty.",
    )
    WEBHOOK_URL: Address | None = Field(None, description="URL that alerts are posted to, https only.")
    WEBHOOK_FORMAT: MessageFormat | None = Field(
        None,
        validate_default=True,
        description="`native`, `slack`, `teams` or `ocsf`. Chosen by the URL's host if empty, but required "
        "for workflows on `*.logic.azure.com` and Power Platform: their messages wait until it is set. "
        "PagerDuty and templates go into `WEBHOOKS`.",
    )
    WEBHOOK_SECRET: Secrets = Field(
        (),
        description="Standard Webhooks signing secret, `whsec_…`. Set two, comma-separated, while rotating.",
    )
    WEBHOOKS: Annotated[
        tuple[Webhook, ...],
        BeforeValidator(_from_json),
        AfterValidator(require_unique_names),
        Field(max_length=DESTINATIONS),
    ] = Field(
        (),
        description="Up to 10 destinations instead of `WEBHOOK_URL`: a JSON list of "
        "`{name, url, format, secret, minimum_severity}`. The format `pagerduty` needs a `routing_key`; "
        "`template:FILE` is a template in `detection/content/templates`.",
    )
    STORM_ALERTS: Annotated[int, Field(ge=1, le=1_000)] = Field(
        20,
        description="A run with more alerts than this sends one digest to each destination, 1 to 1000. "
        "All incidents are stored.",
    )
    FLOOD_SIGNALS: Annotated[int, Field(ge=1_000, le=1_000_000)] = Field(
        500_000,
        description="Signals of one grouping key that are marked individually, 1000 to 1000000. "
        "Above it, the actor with the most signals floods: its alert covers the time from the first to the "
        "last of its signals and says so.",
    )
    PAGE_URL: Annotated[str, AfterValidator(_base_address)] | None = Field(
        None,
        description="URL of the incident page, up to `/incidents`. "
        "`https://<WEBSITE_HOSTNAME>/api` if empty. "
        "Without either, messages have no link to the page.",
    )
    PAGE_CLIENT_ID: Annotated[str, Field(pattern=r"^[0-9A-Fa-f-]{36}$")] | None = Field(
        None,
        description="For the command line: client id of the registration that signs people in to the page. "
        "Acts go to `PAGE_URL` with your own sign-in, such as `az login`.",
    )
    PAGE_KEY: FunctionKey | None = Field(
        None,
        description="For the command line: key of the function `incidents`. Acts go to `PAGE_URL` with it if "
        "the page has no sign-in.",
    )
    LINK_KEY: LinkKey | None = Field(
        None,
        description="Key that signs links in messages and forms of the page: 32 random characters or more. "
        "A new key ends all links. If empty, messages have no link to the page, and a form is valid only in "
        "the process that showed it.",
    )
    HEARTBEAT_URL: Address | None = Field(
        None,
        description="URL that is requested after every fully complete run. It must answer 2xx within "
        "10 seconds; a redirect is a failure.",
    )
    AZURE_CLIENT_ID: str | None = Field(
        None,
        description="Client id of the user-assigned managed identity, or of a service principal (see below). "
        "Without it, the app's own identity in Azure, and elsewhere that of `az login`.",
    )
    DETECT_SCHEDULE: Schedule = Field(
        "0 5 * * * *",
        description="When the detection runs, at least once an hour: NCRONTAB with five or six fields, UTC.",
    )
    DELIVER_SCHEDULE: Schedule = Field(
        "0 2/5 * * * *",
        description="When waiting messages are retried: NCRONTAB with five or six fields, UTC.",
    )

    @property
    def destinations(self) -> tuple[Webhook, ...]:
        """All destinations, from WEBHOOK_URL or from WEBHOOKS."""
        if self.WEBHOOK_URL is None:
            return self.WEBHOOKS
        return (Webhook(url=self.WEBHOOK_URL, format=self.WEBHOOK_FORMAT, secret=self.WEBHOOK_SECRET),)

    @property
    def has_saved_parsers(self) -> bool:
        """Whether the workspace that is read has the parsers of the rules' connectors as functions."""
        return self.PARSERS == "alias" and self.LOGS_DIR is None

    @property
    def rules(self) -> tuple[str, ...]:
        return self.RULES or (default_rule(),)

    # A validator of single fields, so that it reports even when another field is wrong; that one is missing
    # from `info.data`.
    @field_validator("LOGS_DIR", "PAGE_KEY", "WEBHOOK_FORMAT", "WEBHOOKS", "PARSERS")
    @classmethod
    def _fits_other_settings(cls, value: object, info: ValidationInfo) -> object:
        earlier, name = info.data, info.field_name or ""
        for setting in EXCLUSIVE.get(name, ()):
            if value and earlier.get(setting, "wrong"):
                raise ValueError(f"cannot be set together with {setting}")
        url = earlier.get("WEBHOOK_URL")
        if name == "WEBHOOK_FORMAT" and (value or (url and _format_of_host(url))) == "pagerduty":
            raise ValueError("pagerduty goes into WEBHOOKS, with its routing_key")
        if name == "PARSERS" and value == "alias" and len(earlier.get("LOG_ANALYTICS_WORKSPACE_ID", ())) > 1:
            raise ValueError(
                "alias requires a single workspace: a query across several cannot use saved functions"
            )
        return value


def misspelt_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that nearly have the name of a setting that is not set, and that name."""
    from difflib import get_close_matches  # noqa: PLC0415  # once a start, not once an import

    missing = [name for name in Settings.model_fields if not environment.get(name, "").strip()]
    matches = {
        variable: get_close_matches(variable.upper(), missing, n=1, cutoff=0.87)
        for variable, value in environment.items()
        if variable not in Settings.model_fields and value.strip()
    }
    return {variable: names[0] for variable, names in matches.items() if names}


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Read the settings from the environment. An empty value counts as not set.

    Raises ConfigurationError that names every wrong variable and shows no value.
    """
    values = {
        name: value for name, value in environment.items() if name in Settings.model_fields and value.strip()
    }
    if host := environment.get("WEBSITE_HOSTNAME", ""):  # the Functions host sets it
        scheme = "http" if is_loopback(f"http://{host}") else "https"
        values.setdefault("PAGE_URL", f"{scheme}://{host}/api")
    problems = []
    try:
        ca_bundle(environment)
    except ConfigurationError as error:
        problems.append(str(error))
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        for problem in error.errors():
            path, message = problem["loc"], problem_message(problem)
            if problem["type"] == "extra_forbidden":
                message = "is an unknown key"
                if not SHOWN_KEY.fullmatch(str(path[-1])):
                    path, message = path[:-1], "has an unknown key"
            location = ".".join(map(str, path))
            problems.append(re.sub(r"\.(\d+)", r"[\1]", location) + ": " + message)
    else:
        if not problems:
            return settings
    raise ConfigurationError(f"settings: {'; '.join(problems)}") from None
