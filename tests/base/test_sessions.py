"""What requests take from the environment: no netrc, proxies for other machines only, the CA bundle. Over real HTTP."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import requests
from pydantic import SecretStr

from detection.app import send_heartbeat
from detection.base.errors import DetectionError
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


@pytest.mark.parametrize("url", ["https://a.example/x", "https://b.a.example/x"])
def test_other_machines_are_reached_through_the_proxy(proxy: Receiver, url: str) -> None:
    targets: list[str] = []

    def refuse(handler: Handler) -> None:
        targets.append(handler.path)
        status(403)(handler)

    proxy.default_answer = refuse
    with Session() as session, pytest.raises(requests.exceptions.ProxyError):
        session.get(url, timeout=60)
    assert targets == [f"{url.split('/')[2]}:443"]


def test_no_proxy_counts(proxy: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "a.invalid")
    with Session() as session, pytest.raises(requests.ConnectionError):
        session.get("https://a.invalid/x", timeout=60)
    assert proxy.requests == []


def test_plain_http_passes_no_proxy(proxy: Receiver) -> None:
    with Session() as session, pytest.raises(requests.ConnectionError):
        session.get("http://a.invalid/x", timeout=60)
    assert proxy.requests == []
