"""Sign-in to Azure: one credential for the table and the queries, one token cache, one decision on errors.

A failure leaves this module as an error of this project. The SDK passes it on to the caller of the request
that needed the token, so neither adapter decides what a failed sign-in means.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline import PipelineRequest, PipelineResponse

from detection.base.azure_transport import Transport
from detection.base.errors import ConfigurationError, DetectionError, ServiceError, Unreachable

PUBLIC_CLOUD = "login.microsoftonline.com"
# A request for a token is over after three quarters of a minute at worst. All in seconds.
CONNECT_TIMEOUT = 3
READ_TIMEOUT = 8
LONGEST_PAUSE = 5  # a Retry-After may ask for minutes
RETRIES = 2
# An identity endpoint asks for another attempt with these too (learn.microsoft.com, "How to use managed
# identities on a VM to acquire an access token", error handling).
_TRANSIENT = (404, 408, 410, 429)
NEXT_RUN = "the next run tries again"
TENANT_IGNORED = "AZURE_TENANT_ID is ignored without AZURE_CLIENT_SECRET"


@cache
def sign_in(client_id: str | None, authority: str) -> "Identity":
    """The identity of this process in a cloud; the same object, with its token cache, for every caller.

    `client_id` names a service principal if AZURE_TENANT_ID and AZURE_CLIENT_SECRET are set, or else a
    managed identity. Without it, this is the app's own identity in Azure, and at the keyboard the identity
    that `az login`, `azd auth login` or PowerShell signed in. Nothing is sent yet.
    """
    return Identity(client_id, authority)


class Identity:
    """A credential whose failures are errors of this project. Safe for threads."""

    def __init__(self, client_id: str | None, authority: str) -> None:
        self._lock = Lock()
        self._status: int | None = None  # of the last answer to the present request for a token
        self._has_asked = False  # for the present request for a token
        self._failure: DetectionError | None = None
        options: dict[str, Any] = {
            "transport": Transport(CONNECT_TIMEOUT, READ_TIMEOUT, LONGEST_PAUSE),
            "retry_total": RETRIES,
            "raw_request_hook": self._note_request,
            "raw_response_hook": self._note_status,
        }
        self._account = _account(client_id, authority, options)

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401  # as TokenCredential
        """A token for a service.

        Raises ConfigurationError if sign-in is refused, Unreachable if there is no answer, else ServiceError.
        """
        earlier_failure = self._failure
        with self._lock:
            if self._failure and self._failure is not earlier_failure:  # it failed while this thread waited
                raise self._failure
            self._status, self._has_asked = None, False
            try:
                return self._account.credential.get_token(*scopes, **options)
            except Exception as error:  # noqa: BLE001  # a malformed answer raises errors of any type
                # After a failure the SDK refuses some requests without asking again: the failure is the same.
                if self._has_asked or self._failure is None:
                    self._failure = _classify(error, self._account, self._status)
                raise self._failure from None  # the text of the cause may hold what was sent

    def _note_request(self, _request: PipelineRequest[Any]) -> None:
        self._has_asked = True

    def _note_status(self, response: PipelineResponse[Any, Any]) -> None:
        self._status = response.http_response.status_code


def is_tenant_ignored(environment: Mapping[str, str]) -> bool:
    """Return whether the environment names a client in a tenant without its secret.

    The client is then a managed identity. A workload with a token file needs no secret.
    """
    names = "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"
    present = [name for name in names if environment.get(name)]
    return present == ["AZURE_CLIENT_ID", "AZURE_TENANT_ID"]


@dataclass(frozen=True, slots=True)
class _Account:
    """A credential, its name in errors, and the remedy if sign-in is refused."""

    credential: TokenCredential
    name: str
    remedy: str
    in_azure: bool = True


def _account(client_id: str | None, authority: str, options: dict[str, Any]) -> _Account:
    from azure import identity  # noqa: PLC0415  # slow to load, and not needed with an account key

    tenant, secret = os.environ.get("AZURE_TENANT_ID"), os.environ.get("AZURE_CLIENT_SECRET")
    if secret and not (tenant and client_id):
        raise ConfigurationError(
            "AZURE_CLIENT_SECRET counts only with AZURE_TENANT_ID and AZURE_CLIENT_ID: set all three"
        )
    if client_id and tenant and secret:
        try:
            principal = identity.ClientSecretCredential(
                tenant, client_id, secret, authority=authority, **options
            )
        except ValueError:
            raise ConfigurationError("AZURE_TENANT_ID must be the id of a tenant, a GUID") from None
        remedy = "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
        return _Account(principal, f"the service principal {client_id}", remedy)
    if client_id:
        managed_identity = identity.ManagedIdentityCredential(client_id=client_id, **options)
        remedy = "AZURE_CLIENT_ID must be the client id of an identity that is assigned to this app"
        note = (
            f" ({TENANT_IGNORED})" if is_tenant_ignored({**os.environ, "AZURE_CLIENT_ID": client_id}) else ""
        )
        return _Account(managed_identity, f"the managed identity {client_id}{note}", remedy)
    if os.environ.get("IDENTITY_ENDPOINT"):  # in Azure
        system_identity = identity.ManagedIdentityCredential(**options)
        remedy = "switch it on, or set AZURE_CLIENT_ID to the client id of an identity of this app"
        return _Account(system_identity, "the app's own managed identity", remedy)
    # These stay: the environment, a virtual machine's identity, `az login`, `azd auth login`, PowerShell.
    default = identity.DefaultAzureCredential(
        authority=authority,
        exclude_broker_credential=True,
        exclude_shared_token_cache_credential=True,
        exclude_visual_studio_code_credential=True,
        **options,
    )
    return _Account(default, "the identity of this machine", "run `az login`", in_azure=False)


def _classify(error: Exception, account: _Account, last_status: int | None) -> DetectionError:
    if own_error := _own_error(error):
        return own_error
    status = getattr(error, "status_code", None) or last_status
    if status is None and (account.in_azure or not isinstance(error, ClientAuthenticationError)):
        return Unreachable(f"sign-in as {account.name} gets no answer ({type(error).__name__}); {NEXT_RUN}")
    if status is None:
        return ConfigurationError(
            "sign-in found no identity: run `az login`, or set AZURE_CLIENT_ID to the app's managed identity"
        )
    if status >= 500 or status in _TRANSIENT:
        return ServiceError(f"sign-in as {account.name} failed (HTTP {status}); {NEXT_RUN}")
    if status >= 400:
        return ConfigurationError(f"sign-in as {account.name} is refused (HTTP {status}); {account.remedy}")
    return ServiceError(
        f"sign-in as {account.name} got an answer without a token ({type(error).__name__}); {NEXT_RUN}"
    )


def _own_error(error: BaseException | None) -> DetectionError | None:
    """The error of this project that the SDK wrapped, such as that of a CA bundle which is gone."""
    while error and not isinstance(error, DetectionError):
        error = error.__cause__
    return error if isinstance(error, DetectionError) else None
