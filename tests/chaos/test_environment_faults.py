"""The environment of the process: netrc, proxies, the CA bundle. What does not count changes nothing; what is wrong is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.scenarios import FAULT_HOUR, EnterFigures, chaos_only, enter, slow_only
from tests.chaos.stage import Stage
from tests.chaos.table_proxy import Forward, TableRequest, TableResponse
from tests.support.identity_endpoint import HEADER
from tests.support.receiver import Handler, Receiver, receiving, status

__all__ = ["enter"]

PASSWORD = "hunter2-of-netrc"  # made up
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
BYPASSES = ("NO_PROXY", "no_proxy")
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
QUERY_HOST = "api.loganalytics.io"
QUERIES, ATTEMPTS = 4, 3  # of a run, and of each of them


@slow_only
def test_netrc_with_a_default_entry(stage: Stage, enter: EnterFigures, tmp_path: Path) -> None:
    """No service gets the password, and none gets it in the place of what it needs."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"default login somebody password {PASSWORD}\n", encoding="utf-8")
    netrc.chmod(0o600)
    table_requests: list[TableRequest] = []

    def note(request: TableRequest, forward: Forward) -> TableResponse:
        table_requests.append(request)
        return forward(request)

    stage.runs(0, 1)
    stage.settings["NETRC"] = str(netrc)
    stage.proxy.fault = note
    sent_before, asked_before = len(stage.receiver.requests), len(stage.api.requests)
    assert stage.run(FAULT_HOUR) == 0
    assert {request.headers["Authorization"].partition(" ")[0] for request in table_requests} == {"SharedKey"}
    queries = stage.api.requests[asked_before:]
    assert {request.headers["Authorization"] for request in queries} == {"Bearer emulator"}
    messages = stage.receiver.headers[sent_before:]
    assert messages
    assert not any("authorization" in headers for headers in messages)
    stage.runs(FAULT_HOUR + 1)
    enter("environment: netrc with a default entry", stage.evaluate())


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", pytest.param("CURL_CA_BUNDLE", marks=chaos_only)])
def test_ca_bundle_is_missing(stage: Stage, enter: EnterFigures, tmp_path: Path, name: str) -> None:
    stage.runs(0, 1)
    stage.settings[name] = str(tmp_path / "none.pem")
    assert stage.run(FAULT_HOUR, cause=name) == 1
    assert [line["error"] for line in stage.lines if line.get("outcome") == "failed"] == ["configuration"]
    assert set(stage.figures.fault.requests.values()) == {0}
    del stage.settings[name]
    stage.runs(FAULT_HOUR + 1)
    enter("environment: the CA bundle is missing", stage.evaluate())


# ---------------------------------------------------------------------------------------------------------- proxies


class _Proxy:
    """A proxy that notes what it is asked for, and refuses it."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.targets: list[tuple[str, str]] = []
        receiver.default_answer = self._refuse

    def _refuse(self, handler: Handler) -> None:
        self.targets.append((handler.command, handler.path))
        status(403)(handler)

    def environment(self) -> dict[str, str]:
        """It is the proxy of everything."""
        url = f"http://127.0.0.1:{self.receiver.server_port}"
        return dict.fromkeys(PROXIES, url) | dict.fromkeys(BYPASSES, "")


@pytest.fixture
def forward_proxy(stage: Stage) -> Iterator[_Proxy]:
    with receiving() as receiver:
        stage.neighbours["proxy"] = lambda: len(receiver.requests)
        yield _Proxy(receiver)


def test_proxy_without_exceptions(stage: Stage, enter: EnterFigures, forward_proxy: _Proxy) -> None:
    """The table, the query API and the webhook are on this machine."""
    stage.runs(0, 1)
    stage.settings |= forward_proxy.environment()
    assert stage.run(FAULT_HOUR) == 0
    assert stage.figures.fault.requests["proxy"] == 0
    stage.settings = {}
    stage.runs(FAULT_HOUR + 1)
    enter("proxy: HTTP_PROXY without NO_PROXY, neighbours on this machine", stage.evaluate())


@slow_only
def test_proxy_refuses_the_query_api(stage: Stage, enter: EnterFigures, forward_proxy: _Proxy) -> None:
    """It sees where the queries go, and not the request to the identity endpoint, which is plain http with a secret."""
    stage.runs(0, 1)
    cloud = {"LOG_ANALYTICS_ENDPOINT": f"https://{QUERY_HOST}", "AZURE_CLIENT_ID": CLIENT_ID}
    stage.settings = cloud | stage.identity.environment() | forward_proxy.environment()
    assert stage.run(FAULT_HOUR, cause="ProxyError") == 1
    assert {request["header"] for request in stage.identity.requests} == {HEADER}
    assert set(forward_proxy.targets) == {("CONNECT", f"{QUERY_HOST}:443")}
    assert len(forward_proxy.targets) <= QUERIES * ATTEMPTS
    assert not any("x-identity-header" in headers for headers in forward_proxy.receiver.headers)
    stage.settings = {}
    stage.runs(FAULT_HOUR + 1)
    enter("proxy: it refuses the query API", stage.evaluate())
