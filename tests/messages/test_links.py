"""The links of a message: the portal opens the run's own query over the user's workspace."""

import base64
import json
import zlib
from urllib.parse import unquote, urlsplit

import pytest

from detection.logs.kql import bounds, queries, with_bounds
from detection.messages.links import MAX_LENGTH, portal_link
from detection.rules.loading import load_rule, rule_names, without_comments
from tests.support.builders import RULE, START, first_windows

WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/a-group-with-a-long-name"
    "/providers/Microsoft.OperationalInsights/workspaces/security-operations-westeurope"
)
CLOUD = "https://api.loganalytics.io"


def link(endpoint: str = CLOUD, name: str = RULE.folder) -> str:
    url = portal_link(WORKSPACE, endpoint, load_rule(name), first_windows())
    assert url is not None
    return url


def test_portal_opens_the_query_for_signals_that_the_run_sent() -> None:
    packed = unquote(link().partition("/q/")[2].partition("/")[0])
    sent_query = with_bounds(queries(RULE)["signals"], bounds(first_windows()))
    assert zlib.decompress(base64.b64decode(packed)).decode() == without_comments(sent_query)


def test_portal_opens_the_workspace_over_the_stretch_that_was_read() -> None:
    scope = unquote(link().partition("/scope/")[2].partition("/")[0])
    assert json.loads(scope) == {"resources": [{"resourceId": WORKSPACE}]}
    assert unquote(link().rpartition("/timespan/")[2]) == "2026-02-28T10:00:00Z/2026-03-02T10:00:00Z"
    assert first_windows().now == START


@pytest.mark.parametrize(
    "endpoint, host",
    [
        (CLOUD, "portal.azure.com"),
        ("https://api.loganalytics.us", "portal.azure.us"),
        ("https://api.loganalytics.azure.cn", "portal.azure.cn"),
    ],
)
def test_portal_is_that_of_the_cloud(endpoint: str, host: str) -> None:
    assert urlsplit(link(endpoint)).hostname == host


@pytest.mark.parametrize("name", rule_names())
def test_link_of_every_shipped_rule_is_short_enough(name: str) -> None:
    assert len(link(name=name)) <= MAX_LENGTH


def test_link_that_would_be_too_long_is_left_out() -> None:
    # A text that deflates badly.
    long_rule = RULE.model_copy(update={"signals_kql": "".join(map(str, range(10_000)))})
    assert portal_link(WORKSPACE, CLOUD, long_rule, first_windows()) is None
