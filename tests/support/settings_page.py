"""docs/settings.md, made from the class of the settings."""

from typing import get_args

from pydantic import BaseModel, SecretStr
from pydantic_core import to_jsonable_python

from detection.settings import Settings

_HEAD = """\
# Settings

The job reads its settings from environment variables: in the cloud from the app settings of the function app,
on your machine from the `Values` of `local.settings.json` (copy `local.settings.sample.json`). An empty value
means the same as no value. If any value is invalid, the run fails with one error that names every invalid
setting and shows no value.

`make schemas` makes this page from `detection/settings.py`.

| setting | default | secret | meaning |
|---|---|---|---|
"""

_TAIL = """
## Variables of the environment

The job reads these as the operating system or the host sets them. It ignores `netrc` files and `HTTP_PROXY`.

| variable | meaning |
|---|---|
| `HTTPS_PROXY`, `ALL_PROXY` | Proxy for https requests to other machines: query API, table, sign-in, webhooks, heartbeat. Requests to this machine and to the identity endpoint use no proxy. |
| `NO_PROXY` | Hosts that are reached without the proxy, comma-separated. |
| `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` | File or folder of CA certificates that replaces the default ones; the first that is set counts. |
| `AZURE_TENANT_ID`, `AZURE_CLIENT_SECRET` | Tenant and secret of the service principal that `AZURE_CLIENT_ID` names. A secret without the other two is an error. A tenant without a secret is ignored, and `check` says so: `AZURE_CLIENT_ID` then names a managed identity. |
| `IDENTITY_ENDPOINT`, `IDENTITY_HEADER` | Identity endpoint of the app; Azure sets both. |
## Settings of the Functions host

The Functions host reads these; the job does not.

| setting | meaning |
|---|---|
| `AzureWebJobsStorage` | Storage account for the timers' state. `UseDevelopmentStorage=true` means Azurite. |
| `FUNCTIONS_WORKER_RUNTIME` | `python` |
"""


def settings_page() -> str:
    """The text of the page."""
    secret_names, rows = secret_settings(), []
    for name, field in Settings.model_fields.items():
        default = field.default
        text = default.get_secret_value() if isinstance(default, SecretStr) else to_jsonable_python(default)
        secret = "secret" if name in secret_names else ""
        meaning = (field.description or "").replace("|", r"\|")
        rows.append(f"| `{name}` | {f'`{text}`' if text else ''} | {secret} | {meaning} |\n")
    return _HEAD + "".join(rows) + _TAIL


def secret_settings() -> frozenset[str]:
    """The names of the settings whose value, or a part of it, is a secret."""
    return frozenset(name for name, field in Settings.model_fields.items() if _is_secret(field.annotation))


def _is_secret(annotation: object) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_is_secret(field.annotation) for field in annotation.model_fields.values())
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))
