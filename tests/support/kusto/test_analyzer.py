"""What Microsoft's parser says, about the published rule and about the mistakes it is here to find."""

import shutil
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from tests.support import node
from tests.support.kusto import analyzer
from tests.support.kusto.analyzer import (
    CONNECTOR_FUNCTIONS,
    Analysis,
    Diagnostic,
    analyze,
    connector_schema,
)
from tests.support.node import NodeError

DATA = Path(__file__).parents[2] / "data"
PUBLISHED_QUERY = (DATA / "published_rule.kql").read_text(encoding="utf-8")

TEXTS = {
    "published rule": PUBLISHED_QUERY,
    "misspelt column": "OpenAIAuditLogs_CL\n| where isnotempty(EvntType)",
    "misspelt column behind a union": "OpenAIAuditLogs\n| where isnotempty(EvntType)",
    "missing table": "OpenAIAuditLogs_C | take 1",
    "wrong function": "OpenAIAuditLogs_CL | extend Actor = tolowr(ActorType)",
    "wrong type": "ASimAgentEventLogs | where array_length(ModelName) == 0",
    "reserved name": "OpenAIAuditLogs_CL | project kind = EventType",
    "missing table in a fuzzy union": "union isfuzzy=true OpenAIAuditLogs_CL, Elsewhere",
    "after a character beyond ASCII": "print a = 'é', b = Nope",
    "nothing returned": "let window = 1d;",
}


@pytest.fixture(scope="module")
def analyses() -> dict[str, Analysis]:
    return analyze(TEXTS, connector_schema(), CONNECTOR_FUNCTIONS)


@pytest.fixture(scope="module")
def published_rule() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DATA / "published_rule.yaml").read_text(encoding="utf-8"))
    return document


# The published rule


def test_published_rule_has_no_diagnostics(analyses: dict[str, Analysis]) -> None:
    assert analyses["published rule"].diagnostics == ()


def test_published_rule_returns_exactly_these_columns_in_this_order(analyses: dict[str, Analysis]) -> None:
    assert list(analyses["published rule"].columns.items()) == [
        ("ConfigTime", "datetime"),
        ("ConfigEvent", "string"),
        ("ActorEmail", "string"),
        ("ConfigIp", "string"),
        ("AbuseTime", "datetime"),
        ("ModelName", "string"),
        ("EventFinishReasons", "dynamic"),
        ("EventRequestId", "string"),
    ]


def test_published_rule_needs_the_connectors_functions() -> None:
    missing = analyze({"rule": PUBLISHED_QUERY}, connector_schema())["rule"].diagnostics
    assert {d.text for d in missing if d.code == "KS204"} == {"OpenAIAuditLogs", "OpenAIChatCompletions"}


def test_published_yaml_holds_the_fields_of_a_scheduled_rule(published_rule: dict[str, Any]) -> None:
    assert list(published_rule) == [
        "id",
        "name",
        "description",
        "severity",
        "requiredDataConnectors",
        "queryFrequency",
        "queryPeriod",
        "triggerOperator",
        "triggerThreshold",
        "enabled",
        "tactics",
        "relevantTechniques",
        "query",
        "entityMappings",
        "eventGroupingSettings",
        "incidentConfiguration",
        "version",
        "kind",
        "tags",
    ]


def test_published_yaml_nests_the_incident_configuration(published_rule: dict[str, Any]) -> None:
    assert published_rule["incidentConfiguration"] == {
        "createIncident": True,
        "groupingConfiguration": {
            "enabled": True,
            "reopenClosedIncident": False,
            "lookbackDuration": "PT24H",
            "matchingMethod": "Selected",
            "groupByEntities": ["Account"],
            "groupByAlertDetails": [],
            "groupByCustomDetails": [],
        },
    }


def test_published_yaml_and_kql_file_hold_the_same_query(published_rule: dict[str, Any]) -> None:
    assert _stripped_lines(published_rule["query"]) == _stripped_lines(PUBLISHED_QUERY)


# Mistakes


def test_misspelt_column_is_reported_with_line_and_column(analyses: dict[str, Analysis]) -> None:
    assert analyses["misspelt column"].diagnostics == (
        Diagnostic(
            severity="Error",
            code="KS142",
            line=2,
            column=20,
            text="EvntType",
            message="The name 'EvntType' does not refer to any known column, table, variable or function.",
        ),
    )


def test_misspelt_column_is_seen_through_the_connectors_fuzzy_union(analyses: dict[str, Analysis]) -> None:
    assert _codes_and_texts(analyses["misspelt column behind a union"]) == [("KS142", "EvntType")]


def test_missing_table_is_named(analyses: dict[str, Analysis]) -> None:
    assert _codes_and_texts(analyses["missing table"]) == [("KS204", "OpenAIAuditLogs_C")]


def test_wrong_function_is_named(analyses: dict[str, Analysis]) -> None:
    assert _codes_and_texts(analyses["wrong function"]) == [("KS211", "tolowr")]


def test_argument_of_the_wrong_type_is_named(analyses: dict[str, Analysis]) -> None:
    assert _codes_and_texts(analyses["wrong type"]) == [("KS234", "ModelName")]


def test_reserved_word_as_column_name_must_be_bracketed(analyses: dict[str, Analysis]) -> None:
    assert _codes_and_texts(analyses["reserved name"]) == [("KS228", "kind")]


def test_missing_table_in_a_fuzzy_union_is_a_warning(analyses: dict[str, Analysis]) -> None:
    (diagnostic,) = analyses["missing table in a fuzzy union"].diagnostics
    assert (diagnostic.severity, diagnostic.code, diagnostic.text) == ("Warning", "KS205", "Elsewhere")


def test_column_number_counts_characters_not_bytes(analyses: dict[str, Analysis]) -> None:
    (diagnostic,) = analyses["after a character beyond ASCII"].diagnostics
    assert (diagnostic.line, diagnostic.column) == (1, len("print a = 'é', b = ") + 1)


def test_text_without_a_query_returns_no_columns(analyses: dict[str, Analysis]) -> None:
    assert analyses["nothing returned"] == Analysis(diagnostics=(), columns={})


def test_diagnostic_reads_as_one_line(analyses: dict[str, Analysis]) -> None:
    (diagnostic,) = analyses["missing table"].diagnostics
    assert str(diagnostic).startswith("1:1: Error KS204: The name 'OpenAIAuditLogs_C'")


# The process


def test_one_process_analyzes_many_texts() -> None:
    texts = {f"text {n}": f"OpenAIAuditLogs_CL | project C{n} = Id" for n in range(50)}

    with patch.object(subprocess, "run", wraps=subprocess.run) as run:
        analyses = analyze(texts, connector_schema())

    assert [analysis.columns for analysis in analyses.values()] == [{f"C{n}": "string"} for n in range(50)]
    run.assert_called_once()


def test_unknown_type_in_the_schema_is_refused() -> None:
    with pytest.raises(NodeError, match=r'schema: T\.a: "strng" is not a KQL type'):
        analyze({}, {"T": {"a": "strng"}})


def test_mistake_in_a_function_body_is_refused() -> None:
    with pytest.raises(NodeError, match=r"function F, line 1, column 20: The name 'b' does not refer"):
        analyze({"caller": "F | take 1"}, {"T": {"a": "string"}}, {"F": "T | project a, c = b"})


def test_missing_node_modules_ask_for_make_setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyzer, "SCRIPT", Path(shutil.copy(analyzer.SCRIPT, tmp_path)))
    monkeypatch.setattr(node, "ROOT", tmp_path)
    with pytest.raises(NodeError, match=r"run make setup.*Cannot find module '@kusto/"):
        analyze({}, {})


def test_parser_that_does_not_answer_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "TIMEOUT", 0.01)
    with pytest.raises(NodeError, match=r"did not answer within 0\.01 s"):
        analyze({}, {})


def _codes_and_texts(analysis: Analysis) -> list[tuple[str, str]]:
    return [(diagnostic.code, diagnostic.text) for diagnostic in analysis.diagnostics]


def _stripped_lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]
