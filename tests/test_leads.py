"""Where a message leads: the query that the portal opens is the run's own, over the user's workspace."""

import base64
import json
import zlib
from urllib.parse import unquote, urlsplit

import pytest

from detection.kql import bounds, queries, with_bounds
from detection.messages.leads import LONGEST, portal_link
from detection.rule import load_rule, rule_names
from tests.builders import RULE, START, stretch

WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/a-group-with-a-long-name"
    "/providers/Microsoft.OperationalInsights/workspaces/security-operations-westeurope"
)
CLOUD = "https://api.loganalytics.io"


def link(endpoint: str = CLOUD, name: str = RULE.folder) -> str:
    made = portal_link(WORKSPACE, endpoint, load_rule(name), stretch(), inline=True)
    assert made is not None
    return made


def test_portal_opens_the_query_for_signals_that_the_run_sent() -> None:
    packed = unquote(link().partition("/q/")[2].partition("/")[0])
    sent = with_bounds(queries(RULE)["signals"], bounds(stretch()))
    assert zlib.decompress(base64.b64decode(packed)).decode() == sent


def test_portal_opens_the_workspace_over_the_stretch_that_was_read() -> None:
    scope = unquote(link().partition("/scope/")[2].partition("/")[0])
    assert json.loads(scope) == {"resources": [{"resourceId": WORKSPACE}]}
    assert unquote(link().rpartition("/timespan/")[2]) == "2026-02-28T10:00:00Z/2026-03-02T10:00:00Z"
    assert stretch().now == START


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
    assert len(link(name=name)) <= LONGEST


def test_link_that_would_be_too_long_is_left_out() -> None:
    # A text that deflates badly.
    long = RULE.model_copy(update={"signals_kql": "// " + "".join(map(str, range(10_000)))})
    assert portal_link(WORKSPACE, CLOUD, long, stretch(), inline=True) is None
