"""The identity endpoint: errors, answers without a token, no answer. The run fails with the cause, and the next one makes up for it."""

from collections.abc import Callable
from functools import partial

import pytest

from detection.base.sign_in import RETRIES
from tests.chaos.scenarios import FAULT_HOUR, EnterFigures, enter, marked_parameters
from tests.chaos.stage import Stage
from tests.support.identity_endpoint import IdentityEndpoint

__all__ = ["enter"]

QUERIES = 4  # of a run, in parallel: changes, signals, health, coverage
# Of a run that cannot read the table: the watermark, again for the line of the failure, its record, the outbox.
TABLE_CALLS = 4
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
QUERY_CLOUD = {"LOG_ANALYTICS_ENDPOINT": "https://api.loganalytics.io"}
TABLE_CLOUD = {"INCIDENT_STORAGE": "https://account.table.core.windows.net"}
# What the endpoint does; the kind and a part of the error, and the number of requests for one token.
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


def _run_with_fault(stage: Stage, name: str, cloud: dict[str, str], most_tokens: int) -> None:
    """One run that signs in under the fault, which must fail with the cause, and then those without."""
    fault, kind, cause, requests = FAULTS[name]
    stage.runs(0, 1)
    fault(stage.identity)
    stage.settings = cloud | {"AZURE_CLIENT_ID": CLIENT_ID} | stage.identity.environment()
    assert stage.run(FAULT_HOUR, cause=cause, hasty=True) == 1
    assert [line["error"] for line in stage.lines if line.get("outcome") == "failed"] == [kind]
    assert requests <= stage.figures.fault.requests["identity"] <= most_tokens * requests
    stage.settings = {}


@pytest.mark.parametrize("name", marked_parameters(FAULTS, always=("400",), slow=("no answer",)))
def test_sign_in_to_the_queries_fails(stage: Stage, enter: EnterFigures, name: str) -> None:
    # Queries that ask at once share one answer; a query that asks later asks again.
    _run_with_fault(stage, name, QUERY_CLOUD, QUERIES)
    (failure,) = stage.failures
    assert failure.reason in stage.reasons
    stage.runs(FAULT_HOUR + 1)
    enter(f"identity: {name}", stage.evaluate())


@pytest.mark.parametrize("name", marked_parameters(FAULTS, always=(), slow=("500",)))
def test_sign_in_to_the_table_fails(stage: Stage, enter: EnterFigures, name: str) -> None:
    # An endpoint that does not answer is asked once.
    _run_with_fault(stage, name, QUERY_CLOUD | TABLE_CLOUD, 1 if name == "no answer" else TABLE_CALLS)
    stage.runs(FAULT_HOUR + 1)
    enter(f"identity: {name}, for the table too", stage.evaluate())
