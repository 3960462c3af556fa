"""The identity endpoint: errors, answers without a token, no answer. The run fails with the cause, and the next one makes up for it."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from detection.base.sign_in import RETRIES
from tests.chaos.scenarios import FAULT_HOUR, EnterFigures, enter, marked_parameters
from tests.chaos.stage import Stage
from tests.support.identity_endpoint import IdentityEndpoint, identity_endpoint

__all__ = ["enter"]

QUERIES = 4  # of a run, in parallel: changes, signals, health, coverage
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
# What the endpoint does; the kind and a part of the error, and the least number of requests.
FAULTS: dict[str, tuple[Callable[[IdentityEndpoint], None], str, str, int]] = {
    "500": (partial(IdentityEndpoint.refuse, status=500), "service", "HTTP 500", 1 + RETRIES),
    "429 with Retry-After": (
        partial(IdentityEndpoint.refuse, status=429, retry_after=600),
        "service",
        "HTTP 429",
        1 + RETRIES,
    ),
    "400": (partial(IdentityEndpoint.refuse, status=400), "configuration", CLIENT_ID, 1),
    "200 as HTML": (lambda endpoint: setattr(endpoint, "body", b"<html>"), "service", "without a token", 1),
    "no answer": (lambda endpoint: setattr(endpoint, "hangs", True), "service", "no answer", 1 + RETRIES),
}


@pytest.fixture
def endpoint() -> Iterator[IdentityEndpoint]:
    with identity_endpoint() as double:
        yield double


@pytest.mark.parametrize("name", marked_parameters(FAULTS, always=("400",), slow=("no answer",)))
def test_sign_in_fails(stage: Stage, enter: EnterFigures, endpoint: IdentityEndpoint, name: str) -> None:
    fault, kind, reason, requests = FAULTS[name]
    stage.runs(0, 1)
    fault(endpoint)
    cloud = {"LOG_ANALYTICS_ENDPOINT": "https://api.loganalytics.io", "AZURE_CLIENT_ID": CLIENT_ID}
    stage.settings = cloud | endpoint.environment()
    assert stage.run(FAULT_HOUR, hasty=True) == 1
    (failure,) = stage.failures
    assert (failure.error, reason in failure.reason) == (kind, True)
    assert [line["reason"] for line in stage.lines if line.get("outcome") == "failed"] == [failure.reason]
    # Queries that ask at once share one answer; a query that asks later asks again.
    assert requests <= len(endpoint.requests) <= QUERIES * requests
    stage.settings = {}
    stage.runs(FAULT_HOUR + 1)
    enter("identity: an error or no answer", stage.evaluate())
