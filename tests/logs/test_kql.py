"""Every query that is composed from a rule folder, in the eyes of Microsoft's KQL parser."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

from detection.app import load_rules
from detection.correlation.detection import detect_at
from detection.logs.files.source import FileSource
from detection.logs.kql import (
    COVERAGE_COLUMNS,
    actor_queries,
    address_queries,
    bounds,
    queries,
    unnamed_rows,
    with_bounds,
)
from detection.logs.window import plan_windows
from detection.rules.loading import load_rule, rule_names
from detection.rules.model import LogTable, Rule
from detection.settings import settings_from
from tests.support.kusto.analyzer import CONNECTOR_FUNCTIONS, Analysis, analyze, connector_schema
from tests.support.rule_world import MOMENT, LogWorld, change, signal, write

NOW = datetime(2026, 6, 8, 12, tzinfo=UTC)
RULES = {name: load_rule(name) for name in rule_names()}
COVERAGE = {
    "Option": "string",
    "Shape": "string",
    "Identity": "string",
    "Identities": "long",
    "Rows": "long",
    "Actors": "long",
}
HEALTH = {"Rows": "long", "Named": "long", "Cut": "long", "Newest": "datetime", "Side": "string"}
SIDES = ("changes", "signals")


def composed(rule: Rule) -> dict[str, str]:
    """All texts of a rule as they are sent."""
    values = bounds(plan_windows(NOW, None, rule))
    texts = dict(queries(rule))
    for side in SIDES:
        texts[f"unnamed {side}"] = unnamed_rows(rule, side, cut=False)
        texts[f"cut {side}"] = unnamed_rows(rule, side, cut=True)
    texts |= {f"actor's {side}": text for side, text in actor_queries(rule, "0" * 64).items()}
    texts |= {
        f"addresses' {side}": text for side, text in address_queries(rule, ["0" * 64, "f" * 64]).items()
    }
    return {name: with_bounds(text, values) for name, text in texts.items()}


# A column of each side's query, and how to misspell it.
OPENAI = {"changes": ("ActorSession.", "ActorSesion."), "signals": ("AdditionalFields.", "AdditionalField.")}
COPILOT = {"changes": ("(ActorUserId)", "(ActorUserID)"), "signals": ("LLMEventData.Acc", "LlmEventData.Acc")}
WRONG = {folder: COPILOT if folder.startswith("copilot") else OPENAI for folder in RULES}


def misspelt(rule: Rule, side: str) -> str:
    """A side's query with a letter missing in one of its columns."""
    right, wrong = WRONG[rule.folder][side]
    query = getattr(rule, f"{side}_kql")
    assert right in query
    return composed(rule.model_copy(update={f"{side}_kql": query.replace(right, wrong)}))[side]


TEXTS = {f"{folder}: {name}": text for folder, rule in RULES.items() for name, text in composed(rule).items()}
MISSPELT = {
    f"misspelt {folder}: {side}": misspelt(rule, side) for folder, rule in RULES.items() for side in SIDES
}


@pytest.fixture(scope="module")
def analyses() -> dict[str, Analysis]:
    return analyze(TEXTS | MISSPELT, connector_schema())


@pytest.mark.parametrize("name", TEXTS)
def test_query_is_sound_kql(analyses: dict[str, Analysis], name: str) -> None:
    assert [str(diagnostic) for diagnostic in analyses[name].diagnostics] == []


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("folder", RULES)
def test_query_returns_the_columns_that_the_rule_declares_in_their_order(
    analyses: dict[str, Analysis], folder: str, side: str
) -> None:
    declared = RULES[folder].sequence.sides[side].columns
    assert list(analyses[f"{folder}: {side}"].columns.items()) == list(declared.items())


@pytest.mark.parametrize("folder", RULES)
def test_health_query_returns_what_is_read_from_it(analyses: dict[str, Analysis], folder: str) -> None:
    assert analyses[f"{folder}: health"].columns == HEALTH


@pytest.mark.parametrize("folder", RULES)
def test_coverage_query_returns_what_is_read_from_it(analyses: dict[str, Analysis], folder: str) -> None:
    assert analyses[f"{folder}: coverage"].columns == COVERAGE
    assert tuple(COVERAGE) == COVERAGE_COLUMNS


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("folder", RULES)
def test_rows_without_an_actor_are_those_of_the_source(
    analyses: dict[str, Analysis], folder: str, side: str
) -> None:
    openai = {"changes": "OpenAIAuditLogs_CL", "signals": "ASimAgentEventLogs"}
    source = RULES[folder].sequence.sides[side].source
    table = source if source in RULES[folder].tables else openai[side]
    assert analyses[f"{folder}: unnamed {side}"].columns == connector_schema()[table]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("folder", RULES)
def test_misspelt_column_is_found(analyses: dict[str, Analysis], folder: str, side: str) -> None:
    errors = [
        diagnostic
        for diagnostic in analyses[f"misspelt {folder}: {side}"].diagnostics
        if diagnostic.severity == "Error"
    ]
    assert {error.text for error in errors} == {WRONG[folder][side][1].split(".")[0].strip("()")}


# -------------------------------------------------------------------------------------------------- connector


@pytest.mark.parametrize(
    "name, table", {name: table for rule in RULES.values() for name, table in rule.tables.items()}.items()
)
def test_columns_of_the_connector_are_those_of_its_schema(name: str, table: LogTable) -> None:
    schema = connector_schema()[name]
    assert table.columns.items() <= schema.items()
    assert {table.stamped, *table.required} <= table.columns.keys()


# ----------------------------------------------------------------------------------------------- what is sent


def test_bounds_stand_in_front_as_literals() -> None:
    rule = RULES["openai-config-to-abuse"]
    assert composed(rule)["changes"].splitlines()[:4] == [
        "let changes_after = datetime(2026-06-06T12:00:00Z);",
        "let changes_until = datetime(2100-01-01T00:00:00Z);",
        "let signals_after = datetime(2026-06-07T12:00:00Z);",
        "let signals_until = datetime(2100-01-01T00:00:00Z);",
    ]


def test_bound_keeps_its_microseconds() -> None:
    rule = RULES["openai-config-to-abuse-sentinel"]
    values = bounds(plan_windows(NOW + timedelta(microseconds=1), None, rule))
    assert "let signals_after = datetime(2026-06-07T12:00:00.000001Z);" in with_bounds("print 1", values)


def test_moment_is_written_only_in_the_bounds() -> None:
    rule = RULES["openai-config-to-abuse"]
    now, later = (bounds(plan_windows(at, None, rule)) for at in (NOW, NOW + timedelta(days=3)))
    assert with_bounds("", now) != with_bounds("", later)
    assert composed(rule)["signals"].removeprefix(with_bounds("", now)) == queries(rule)["signals"]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("folder", RULES)
def test_parsers_of_the_connector_are_inlined(folder: str, side: str) -> None:
    rule = RULES[folder]
    text = queries(rule)[side]
    assert all(f"let {name} =\n{body}\n;\n" in text for name, body in rule.parsers.items())


@pytest.mark.parametrize("folder", [name for name in RULES if WRONG[name] is OPENAI])
def test_hostile_values_never_enter_a_query(folder: str, tmp_path: Path) -> None:
    hostile = "x' or 1==1 | union * //\n'); DROP TABLE"
    world = LogWorld(
        [change(hostile, MOMENT - timedelta(hours=2))], [signal(hostile, MOMENT - timedelta(hours=1))]
    )
    rule = RULES[folder]
    source = FileSource(write(world, tmp_path), rule.tables)
    with patch.object(source._folder, "_query", wraps=source._folder._query) as answer_spy:
        (row,) = detect_at(rule, MOMENT, source).rows()

    assert row["ActorEmail"] == hostile.lower()
    assert [call.args[0] for call in answer_spy.call_args_list] == [
        queries(rule)[name] for name in ("changes", "signals", "health", "coverage")
    ]


def test_addresses_have_a_query_for_each_side_with_a_column_for_them() -> None:
    rule = RULES["openai-config-to-abuse"]
    mappings = [mapping.model_copy(update={"entity_type": "IP"}) for mapping in rule.entity_mappings]
    both = address_queries(rule.model_copy(update={"entity_mappings": mappings}), ["0" * 64])
    assert list(address_queries(rule, ["0" * 64])) == ["changes"]
    assert list(both) == ["changes", "signals"]
    assert f'hash_sha256(ModelName) in ("{"0" * 64}")' in both["signals"]
    assert address_queries(RULES["copilot-config-to-abuse"], ["0" * 64]) == {}


def test_workspace_with_its_own_parsers_is_asked_without_them() -> None:
    texts = {
        f"{rule.folder} {name}": with_bounds(text, bounds(plan_windows(NOW, None, rule)))
        for rule in map(load_rule, rule_names())
        for name, text in queries(rule.model_copy(update={"saved_parsers": True})).items()
    }
    analyses = analyze(texts, connector_schema(), CONNECTOR_FUNCTIONS)
    assert {name: analysis.diagnostics for name, analysis in analyses.items() if analysis.diagnostics} == {}
    assert not any("union isfuzzy" in text for text in texts.values())


@pytest.mark.parametrize("source, count", [({}, 0), ({"LOGS_DIR": "logs"}, 4)])
def test_job_with_saved_parsers_leaves_them_out_of_queries_to_a_workspace(
    source: dict[str, str], count: int
) -> None:
    [rule], _ = load_rules(settings_from({"PARSERS": "alias", **source}))
    assert sum("union isfuzzy" in text for text in queries(rule).values()) == count
