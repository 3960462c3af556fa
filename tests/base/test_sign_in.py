"""Signing in: what the table and the queries get from each answer of an identity endpoint, over real HTTP."""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest
import responses
from azure.core.pipeline.transport import RequestsTransport

from detection.base import sign_in as sign_in_module
from detection.base.errors import ConfigurationError, DetectionError, ServiceError, Unreachable
from detection.base.sign_in import PUBLIC_CLOUD, RETRIES, sign_in
from detection.logs.log_analytics.client import token_for
from detection.store.azure_table import open_table
from tests.support.azurite import free_port
from tests.support.identity_endpoint import HEADER, TOKEN, IdentityEndpoint, identity_endpoint

CLIENT_ID = "11111111-2222-3333-4444-555555555555"
TENANT = "aaaaaaaa-2222-3333-4444-555555555555"
QUERIES = "https://api.loganalytics.io"
SCOPE = f"{QUERIES}/.default"
ACCOUNT = "https://account.table.core.windows.net"
SECRET = "hunter2"

Sign = Callable[[], object]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have slept between its attempts; it does not."""
    slept: list[float] = []
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, seconds: slept.append(seconds))
    return slept


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> Iterator[IdentityEndpoint]:
    """The identity endpoint of an app, which names its place in the environment."""
    monkeypatch.setattr(sign_in_module, "READ_TIMEOUT", 0.2)
    with identity_endpoint() as double:
        for name, text in double.environment().items():
            monkeypatch.setenv(name, text)
        yield double


def query_token() -> None:
    token_for(QUERIES, CLIENT_ID)


def table_read() -> None:
    open_table(ACCOUNT, "incidents", CLIENT_ID).get("rule", "a")


BOTH = pytest.mark.parametrize("sign", [query_token, table_read])


def error_of(sign: Sign, kind: type[DetectionError]) -> str:
    """The text of the error, which is of exactly this kind."""
    with pytest.raises(kind) as caught:
        sign()
    assert type(caught.value) is kind
    return str(caught.value)


@BOTH
@pytest.mark.parametrize(
    "status", [HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS]
)
def test_endpoint_that_fails_is_a_failing_service(
    endpoint: IdentityEndpoint, sign: Sign, status: HTTPStatus
) -> None:
    endpoint.refuse(status)
    text = error_of(sign, ServiceError)
    assert f"HTTP {status.value}" in text
    assert "next run" in text
    assert "AZURE_CLIENT_ID" not in text  # it is set
    assert len(endpoint.requests) == 1 + RETRIES


@BOTH
def test_failure_that_the_sdk_repeats_without_asking_again_keeps_its_cause(
    endpoint: IdentityEndpoint, sign: Sign
) -> None:
    endpoint.refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
    texts = [error_of(sign, ServiceError) for _ in range(2)]
    assert len(endpoint.requests) == 1 + RETRIES  # the SDK answers the second call from its cache
    assert texts[0] == texts[1]


@BOTH
def test_refused_client_id_is_a_mistake_in_the_settings(endpoint: IdentityEndpoint, sign: Sign) -> None:
    endpoint.refuse(HTTPStatus.BAD_REQUEST)
    text = error_of(sign, ConfigurationError)
    assert CLIENT_ID in text
    assert "next run" not in text
    assert len(endpoint.requests) == 1


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"[]",
        b'"text"',
        b"{}",
        b'{"access_token": "a", "expires_on": "soon"}',
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_answer_without_a_token_is_a_failing_service(
    endpoint: IdentityEndpoint, sign: Sign, body: bytes, content_type: str
) -> None:
    endpoint.body, endpoint.headers = body, {"Content-Type": content_type}
    assert "without a token" in error_of(sign, ServiceError)


@BOTH
def test_endpoint_that_never_answers_is_unreachable(
    endpoint: IdentityEndpoint, sign: Sign, slept: list[float]
) -> None:
    endpoint.hangs = True
    assert "no answer" in error_of(sign, Unreachable)
    assert len(endpoint.requests) == 1 + RETRIES
    assert sum(slept) < 10


@BOTH
def test_endpoint_that_is_not_there_is_unreachable(
    endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch, sign: Sign
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{free_port()}/msi/token")
    assert "no answer" in error_of(sign, Unreachable)


@pytest.mark.parametrize("status", [HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE])
def test_pause_that_the_endpoint_asks_for_is_cut(
    endpoint: IdentityEndpoint, slept: list[float], status: HTTPStatus
) -> None:
    endpoint.refuse(status, retry_after=600)
    error_of(query_token, ServiceError)
    assert slept == [5, 5]


def test_table_and_queries_share_one_identity(endpoint: IdentityEndpoint) -> None:
    query_token()
    with responses.RequestsMock() as cloud:
        cloud.add_passthru(endpoint.url)
        cloud.get(re.compile(ACCOUNT), status=404, json={"odata.error": {"code": "ResourceNotFound"}})
        table_read()
    query_token()
    assert sign_in.cache_info().currsize == 1
    assert [(request["client_id"], request["header"]) for request in endpoint.requests] == [
        (CLIENT_ID, HEADER)
    ] * 2
    assert [request["resource"] for request in endpoint.requests] == [QUERIES, "https://storage.azure.com"]


def test_requests_at_once_share_one_failure(endpoint: IdentityEndpoint) -> None:
    endpoint.hangs = True
    identity = sign_in(CLIENT_ID, PUBLIC_CLOUD)
    with ThreadPoolExecutor(3) as executor:
        failures = [executor.submit(identity.get_token, SCOPE) for _ in range(3)]
    assert {type(failure.exception()) for failure in failures} == {Unreachable}
    assert len(endpoint.requests) == 1 + RETRIES


def test_failure_is_forgotten_with_the_next_request(endpoint: IdentityEndpoint) -> None:
    endpoint.refuse(HTTPStatus.BAD_REQUEST)
    error_of(query_token, ConfigurationError)
    endpoint.status, endpoint.body = HTTPStatus.OK, None
    assert token_for(QUERIES, CLIENT_ID) == TOKEN


def test_app_without_a_client_id_uses_its_own_identity(endpoint: IdentityEndpoint) -> None:
    assert sign_in(None, PUBLIC_CLOUD).get_token(SCOPE).token == TOKEN
    (request,) = endpoint.requests
    assert "client_id" not in request


def test_app_without_any_identity_reads_the_remedy(endpoint: IdentityEndpoint) -> None:
    endpoint.refuse(HTTPStatus.BAD_REQUEST)
    text = error_of(lambda: sign_in(None, PUBLIC_CLOUD).get_token(SCOPE), ConfigurationError)
    assert "AZURE_CLIENT_ID" in text
    assert "az login" not in text


# -------------------------------------------------------------------------------------------------- service principal


@pytest.fixture
def principal(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> Iterator[responses.RequestsMock]:
    """The sign-in service of the public cloud, for a service principal in the environment."""
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)
    authority = f"https://login.microsoftonline.com/{TENANT}"
    endpoints = {
        "token_endpoint": f"{authority}/oauth2/v2.0/token",
        "authorization_endpoint": f"{authority}/a",
    }
    with responses.RequestsMock(assert_all_requests_are_fired=False) as cloud:
        cloud.get(
            f"{authority}/v2.0/.well-known/openid-configuration",
            json=endpoints | {"issuer": f"{authority}/v2.0"},
        )
        yield cloud


def token_endpoint(cloud: responses.RequestsMock, status: HTTPStatus, body: object) -> None:
    url = f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"
    cloud.post(url, status=status, body=json.dumps(body), content_type="application/json")


def test_service_principal_signs_in_with_its_secret(principal: responses.RequestsMock) -> None:
    token = {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}
    token_endpoint(principal, HTTPStatus.OK, token)
    assert token_for(QUERIES, CLIENT_ID) == TOKEN


@pytest.mark.parametrize(
    "status, kind",
    [
        (HTTPStatus.UNAUTHORIZED, ConfigurationError),
        (HTTPStatus.BAD_REQUEST, ConfigurationError),
        (HTTPStatus.SERVICE_UNAVAILABLE, ServiceError),
    ],
)
def test_service_principal_that_is_refused(
    principal: responses.RequestsMock, status: HTTPStatus, kind: type[DetectionError]
) -> None:
    token_endpoint(principal, status, {"error": "invalid_client", "error_description": f"secret {SECRET}"})
    text = error_of(query_token, kind)
    assert CLIENT_ID in text
    assert SECRET not in text
    assert ("AZURE_CLIENT_SECRET" in text) is (kind is ConfigurationError)


def test_tenant_that_is_no_tenant_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", "a tenant")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)
    assert "AZURE_TENANT_ID" in error_of(query_token, ConfigurationError)


@pytest.mark.parametrize("client_id, tenant", [(CLIENT_ID, ""), (None, TENANT)])
def test_incomplete_service_principal_is_refused(
    monkeypatch: pytest.MonkeyPatch, client_id: str | None, tenant: str
) -> None:
    monkeypatch.setenv("AZURE_TENANT_ID", tenant)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)
    assert "set all three" in error_of(lambda: sign_in(client_id, PUBLIC_CLOUD), ConfigurationError)


@pytest.mark.parametrize("federated", [False, True])
def test_tenant_without_a_secret_is_named_as_ignored(
    endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch, *, federated: bool
) -> None:
    """In a workload that signs in with a token file, the tenant counts without a secret."""
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    if federated:
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/token")
    endpoint.refuse(HTTPStatus.BAD_REQUEST)
    text = error_of(query_token, ConfigurationError)
    assert ("AZURE_TENANT_ID is ignored without AZURE_CLIENT_SECRET" in text) is not federated
