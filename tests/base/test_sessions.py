"""What requests take from the environment: no netrc, proxies for other machines only, the CA bundle. Over real HTTP."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import requests
from pydantic import SecretStr

from detection.app import send_heartbeat
from detection.base.errors import ConfigurationError, DetectionError
from detection.base.sessions import Session
from detection.base.sign_in import PUBLIC_CLOUD, sign_in
from detection.delivery.webhook import WebhookDestination
from detection.logs.log_analytics.client import open_log_analytics
from detection.settings import Webhook, settings_from
from detection.store.azure_table import open_table
from detection.store.outbox import Delivery
from tests.support.azurite import connection_string
from tests.support.builders import START
from tests.support.identity_endpoint import TOKEN, identity_endpoint
from tests.support.receiver import Handler, Receiver, receiving, status

NOW = datetime(2026, 6, 9, 15, tzinfo=UTC)
PASSWORD = "hunter2-of-netrc"  # made up
DELIVERY = Delivery("al_1_soc", "soc", "in_1", 1, b"{}", created=START, due=START, attempt=1)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Any service on this machine."""
    with receiving() as server:
        server.default_answer = status(400)
        yield server


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A proxy that the environment names for everything."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with receiving() as server:
        for name in PROXIES:
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
        yield server


def post_webhook(receiver: Receiver) -> None:
    WebhookDestination(Webhook(url=SecretStr(receiver.url))).send(DELIVERY, NOW)


def send_beat(receiver: Receiver) -> None:
    send_heartbeat(settings_from({"HEARTBEAT_URL": receiver.url}))


def read_table(receiver: Receiver) -> None:
    with pytest.raises(DetectionError):
        open_table(connection_string(receiver.server_port), "incidents", None).get("rule", "a")


def query(receiver: Receiver) -> None:
    endpoint = f"http://127.0.0.1:{receiver.server_port}"
    with pytest.raises(DetectionError):
        open_log_analytics([str(UUID(int=1))], endpoint, None, lambda: NOW).run_query("a", "print 1")


CALLS = pytest.mark.parametrize(
    "call, authorization",
    [
        (post_webhook, None),
        (send_beat, None),
        (read_table, "SharedKey devstoreaccount1:"),
        (query, "Bearer emulator"),
    ],
)


@CALLS
def test_netrc_is_ignored(
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    call: Callable[[Receiver], None],
    authorization: str | None,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login somebody password {PASSWORD}\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(receiver.url) == ("somebody", PASSWORD)

    call(receiver)

    header = receiver.headers[0].get("authorization")
    assert (header or "").startswith(authorization or "")
    assert (header is None) is (authorization is None)


@CALLS
def test_service_on_this_machine_is_reached_without_the_proxy(
    receiver: Receiver, proxy: Receiver, call: Callable[[Receiver], None], authorization: str | None
) -> None:
    call(receiver)
    assert receiver.requests
    assert proxy.requests == []


def test_identity_endpoint_is_reached_without_the_proxy(
    proxy: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with identity_endpoint() as endpoint:
        for name, text in endpoint.environment().items():
            monkeypatch.setenv(name, text)
        assert sign_in("client", PUBLIC_CLOUD).get_token("https://storage.azure.com/.default").token == TOKEN
    assert proxy.requests == []


@pytest.mark.parametrize("variable", ["IDENTITY_ENDPOINT", "MSI_ENDPOINT"])
def test_identity_endpoint_on_another_machine_is_reached_without_the_proxy(
    proxy: Receiver, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "https://Identity.invalid:2377/metadata/identity/oauth2/token")
    with Session(60) as session, pytest.raises(requests.ConnectionError) as caught:
        session.get("https://identity.invalid:2377/metadata/identity/oauth2/token?resource=x", timeout=60)
    assert not isinstance(caught.value, requests.exceptions.ProxyError)
    assert proxy.requests == []


@pytest.mark.parametrize("url", ["https://a.example/x", "https://b.a.example/x"])
def test_other_machines_are_reached_through_the_proxy(proxy: Receiver, url: str) -> None:
    targets: list[str] = []

    def refuse(handler: Handler) -> None:
        targets.append(handler.path)
        status(403)(handler)

    proxy.default_answer = refuse
    with Session(60) as session, pytest.raises(requests.exceptions.ProxyError):
        session.get(url, timeout=60)
    assert targets == [f"{url.split('/')[2]}:443"]


def test_no_proxy_counts(proxy: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "a.invalid")
    with Session(60) as session, pytest.raises(requests.ConnectionError):
        session.get("https://a.invalid/x", timeout=60)
    assert proxy.requests == []


def test_plain_http_passes_no_proxy(proxy: Receiver) -> None:
    with Session(60) as session, pytest.raises(requests.ConnectionError):
        session.get("http://a.invalid/x", timeout=60)
    assert proxy.requests == []


# ------------------------------------------------------------------------------------------------ the CA bundle


CA_VARIABLES = pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
MISSING_BUNDLE = "must name a file or folder of CA certificates that exists"


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> Path:
    """A CA bundle, named by the variable, that vanished after the start."""
    path = tmp_path / "ca.pem"
    path.touch()
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, str(path))
    settings_from({variable: str(path)})
    path.unlink()
    return path


@pytest.fixture
def principal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service principal in the environment: it signs in over https."""
    monkeypatch.setenv("AZURE_TENANT_ID", str(UUID(int=1)))
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "hunter2")


def read_encrypted_table(client_id: str | None = None) -> None:
    open_table("https://account.table.core.windows.net", "incidents", client_id).get("rule", "a")


def read_table_by_key() -> None:
    key = connection_string(1).replace("http:", "https:").replace("=http;", "=https;")
    open_table(key, "incidents", None).get("rule", "a")


def query_as_principal() -> None:
    open_log_analytics([str(UUID(int=1))], "https://api.loganalytics.io", "client", lambda: NOW).run_query(
        "a", "print 1"
    )


@CA_VARIABLES
@pytest.mark.usefixtures("bundle", "principal")
@pytest.mark.parametrize(
    "call", [read_table_by_key, lambda: read_encrypted_table("client"), query_as_principal]
)
def test_bundle_that_vanished_after_the_start_is_a_mistake_in_the_settings(
    variable: str, call: Callable[[], None]
) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable}: {MISSING_BUNDLE}"):
        call()


@CA_VARIABLES
@pytest.mark.usefixtures("bundle")
def test_bundle_that_vanished_is_the_reason_why_a_message_waits(variable: str) -> None:
    webhook = Webhook(url=SecretStr("https://hooks.example/hunter2"))
    outcome = WebhookDestination(webhook).send(DELIVERY, NOW)
    assert (outcome.status, outcome.dead_reason) == (None, "")
    assert outcome.reason == f"{variable}: {MISSING_BUNDLE}"


@CA_VARIABLES
@pytest.mark.usefixtures("bundle")
def test_bundle_that_vanished_is_named_by_the_line_of_the_heartbeat(
    variable: str, caplog: pytest.LogCaptureFixture
) -> None:
    send_heartbeat(settings_from({"HEARTBEAT_URL": "https://beat.example/hunter2"}))
    assert f"{variable}: {MISSING_BUNDLE}" in caplog.text


@CA_VARIABLES
@pytest.mark.usefixtures("bundle")
def test_plain_http_on_this_machine_needs_no_bundle(receiver: Receiver) -> None:
    read_table(receiver)
    assert receiver.requests
