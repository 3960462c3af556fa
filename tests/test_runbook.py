"""docs/runbook.md: what it tells an on-call to paste works."""

import re

import pytest

from detection.rules.loading import default_rule, load_rule
from tests.regenerate import RUNBOOK, RUNBOOK_PAGE
from tests.support.kusto.analyzer import CONNECTOR_FUNCTIONS, Analysis, analyze, connector_schema
from tests.support.runbook_page import runbook_page

PAGE = RUNBOOK.read_text(encoding="utf-8")
QUERIES = {
    text.partition("\n")[0].strip("/ "): text for text in re.findall(r"```kql\n(.*?)```", PAGE, re.DOTALL)
}


@pytest.fixture(scope="module")
def analyses() -> dict[str, Analysis]:
    return analyze(QUERIES, connector_schema(), CONNECTOR_FUNCTIONS)


def test_there_are_queries_to_paste() -> None:
    assert len(QUERIES) == 4


@pytest.mark.parametrize("name", QUERIES)
def test_query_is_sound_kql(analyses: dict[str, Analysis], name: str) -> None:
    assert [str(diagnostic) for diagnostic in analyses[name].diagnostics] == []


def test_kinds_of_changes_are_those_that_the_rule_names() -> None:
    labels = load_rule(default_rule()).sequence.changes.labels
    named = set(re.findall(r"`([a-z_]+\.[a-z_.]+)`", PAGE))
    assert named & set(labels) >= {
        "api_key.created",
        "service_account.created",
        "invite.sent",
        "project.created",
    }
    assert {name for name in named if name.split(".")[0] in {label.split(".")[0] for label in labels}} <= set(
        labels
    )


def test_page_of_an_incident_has_the_runbook() -> None:
    html = RUNBOOK_PAGE.read_text(encoding="utf-8")
    assert html == runbook_page(PAGE), "run `python -m tests.regenerate`"
    assert not re.search(r"\{[{%#]", html), "Jinja would read this"


def test_page_of_an_incident_names_no_file_of_the_repository() -> None:
    html = RUNBOOK_PAGE.read_text(encoding="utf-8")
    assert re.findall(r"[\w/-]*\.md\b|\bdocs/\S+", html) == []


def test_page_of_an_incident_links_only_within_itself() -> None:
    html = RUNBOOK_PAGE.read_text(encoding="utf-8")
    targets = re.findall(r'href="([^"]*)"', html)
    assert targets
    assert {target.removeprefix("#") for target in targets} <= set(re.findall(r'id="([^"]*)"', html))
