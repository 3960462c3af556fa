"""The KQL of the checks: Microsoft's parser accepts it, and the local engine agrees with the truth table."""

from datetime import UTC, datetime
from typing import Any

import duckdb_kql
import pytest

from detection.check.questions import (
    ARRIVAL_COLUMNS,
    NOW_COLUMN,
    SCHEMA_COLUMNS,
    TruthLine,
    arrival_query,
    cut_query,
    needed_columns,
    newest_query,
    predicates,
    schema_query,
    trial_queries,
    truth_lines,
    truth_query,
    wrong_lines,
)
from detection.logs.kql import queries
from detection.rules.loading import load_rule, rule_names
from tests.support.kusto.analyzer import CONNECTOR_FUNCTIONS, Analysis, analyze, connector_schema

AT = datetime(2026, 6, 10, 12, tzinfo=UTC)
RULES = {name: load_rule(name) for name in rule_names()}
LINES = truth_lines()

TEXTS = {
    "truth": truth_query(LINES),
    **{
        f"{rule.folder}: {side}, {make_query.__name__}": make_query(rule, side, AT)
        for rule in RULES.values()
        for side in rule.sequence.sides
        for make_query in (arrival_query, newest_query, cut_query)
    },
    **{
        f"{rule.folder}: {name}, trial": text
        for rule in RULES.values()
        for name, text in trial_queries(rule, AT).items()
    },
    **{f"{table}, schema": schema_query(table) for table in connector_schema()},
}


@pytest.fixture(scope="module")
def analyses() -> dict[str, Analysis]:
    return analyze(TEXTS, connector_schema())


@pytest.mark.parametrize("name", TEXTS)
def test_question_is_sound_kql(analyses: dict[str, Analysis], name: str) -> None:
    assert [str(diagnostic) for diagnostic in analyses[name].diagnostics] == []


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith("arrival_query")])
def test_arrivals_come_as_they_are_read(analyses: dict[str, Analysis], name: str) -> None:
    assert analyses[name].columns == dict(
        zip(ARRIVAL_COLUMNS, ("long", "datetime", "real", "real"), strict=True)
    )


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith("schema")])
def test_schema_comes_as_it_is_read(analyses: dict[str, Analysis], name: str) -> None:
    assert tuple(analyses[name].columns) == SCHEMA_COLUMNS


def test_queries_of_a_workspace_with_its_own_parsers_leave_them_out() -> None:
    texts = {
        f"{rule.folder}: {side}, {make_query.__name__}": make_query(rule, side, AT)
        for rule in (rule.model_copy(update={"saved_parsers": True}) for rule in RULES.values())
        for side in rule.sequence.sides
        for make_query in (arrival_query, cut_query)
    }
    analysed = analyze(texts, connector_schema(), CONNECTOR_FUNCTIONS)
    assert [analysis.diagnostics for analysis in analysed.values() if analysis.diagnostics] == []
    assert not any("union isfuzzy" in text for text in texts.values())


def test_trial_queries_are_the_queries_of_a_run_over_empty_windows() -> None:
    for rule in RULES.values():
        for name, text in trial_queries(rule, AT).items():
            assert text.endswith(queries(rule)[name])
            assert text.count("datetime(2026-06-10T12:00:00Z)") == 4


# --------------------------------------------------------------------------------------------- needed columns


def test_columns_that_the_queries_name_are_needed_of_their_tables() -> None:
    needed = needed_columns(load_rule("openai-config-to-abuse"))
    assert list(needed) == ["OpenAIAuditLogs_CL", "SentinelOpenAIAuditLogs", "ASimAgentEventLogs"]
    assert needed["OpenAIAuditLogs_CL"]["ActorApiKey"] == "dynamic"
    assert needed["ASimAgentEventLogs"]["EventVendor"] == "string"  # named by the parser alone
    assert "EventUid" not in needed["OpenAIAuditLogs_CL"]


def test_column_that_only_a_comment_names_is_not_needed() -> None:
    rule = load_rule("openai-config-to-abuse")
    rule_with_comment = rule.model_copy(
        update={"changes_kql": "OpenAIAuditLogs // ConnectorName\n| project Id, EventType"}
    )
    assert "ConnectorName" not in needed_columns(rule_with_comment)["OpenAIAuditLogs_CL"]
    assert "Id" in needed_columns(rule_with_comment)["OpenAIAuditLogs_CL"]


# ------------------------------------------------------------------------------------------------------ truth


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    """The local engine's answer to the truth table."""
    cursor = duckdb_kql.execute(duckdb_kql.connect(), truth_query(LINES))
    names = [name for name, *_ in cursor.description or ()]
    return dict(zip(names, cursor.fetchone() or (), strict=True))


def test_local_engine_agrees_with_the_truth_table(answer: dict[str, Any]) -> None:
    assert wrong_lines(LINES, answer) == []
    assert NOW_COLUMN in answer


def test_wrong_line_is_named(answer: dict[str, Any]) -> None:
    place = next(
        number for number, line in enumerate(LINES) if line.text == "event types: tenant.custom_role.created"
    )
    assert wrong_lines(LINES, answer | {f"t{place}": 0}) == [
        "event types: tenant.custom_role.created is False"
    ]


def test_missing_answer_counts_as_no() -> None:
    assert wrong_lines([TruthLine("", True, "one"), TruthLine("", False, "other")], {}) == ["one is False"]


def has(text: str, term: str) -> bool:
    """Kusto's `has` as its page defines it: a term ends where letters or digits end."""
    text, term = text.lower(), term.lower()
    start = text.find(term)
    while start != -1:
        end = start + len(term)
        starts_term = start == 0 or not (text[start - 1].isalnum() and term[0].isalnum())
        ends_term = end == len(text) or not (text[end].isalnum() and term[-1].isalnum())
        if starts_term and ends_term:
            return True
        start = text.find(term, start + 1)
    return False


@pytest.mark.parametrize("name", ["event types", "other spellings"])
def test_lines_over_texts_are_what_the_definition_of_has_says(name: str) -> None:
    predicate = predicates()[name]
    terms = [term.strip('"') for term in predicate.kql.partition("(")[2].rstrip(")").split(", ")]
    assert {value: any(has(value, term) for term in terms) for value in predicate.lines} == predicate.lines


def test_truth_table_asks_what_the_default_rule_asks() -> None:
    """The list of names in truth.yaml is the one in changes.kql, however that is broken into lines."""
    query = " ".join(load_rule("openai-config-to-abuse").changes_kql.split()).replace("( ", "(")
    assert predicates()["event types"].kql.replace("{}", "EventType") in query
