"""Drafts of rule folders: the published rule is drafted completely, others with remarks on the rest."""

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection.base.errors import ConfigurationError
from detection.drafting.draft import Draft, make_draft, problem_of, write_draft
from detection.drafting.fields import iso_duration
from detection.drafting.pieces import Piece, split, without_comments
from detection.drafting.query import Query, parse_query, parse_timespan
from detection.rules.loading import load_rule
from tests.cli.test_main import run

PUBLISHED = Path(__file__).parents[1] / "data" / "published_rule.yaml"
NAME = "openai-privileged-config-change-followed-by-abuse-signal"

QUERY = """\
let window = 1d;   // a day; or more
let kinds = dynamic(["a|b", "c;d"]);
let changes = Changes
    | where TimeGenerated > ago(window)
    | where Kind in (kinds)
    | project ChangeTime = TimeGenerated, Who, Kind;
Signals
| where TimeGenerated > ago(window) and Level == "high"
| project SignalTime = TimeGenerated, Who, Level, Agent
| join kind=inner (changes) on Who
| where SignalTime between (ChangeTime .. ChangeTime + 2h)
| where Agent has "x" // only these
| summarize count() by Who
| project ChangeTime, Kind, Who, SignalTime, Level
"""
RULE: Mapping[str, Any] = {
    "id": "6f8e1a5c-0d7f-4e9f-c3a4-1b0f9e8d7c63",
    "name": "Made up: first this, then that!",
    "description": "'In quotes'",
    "severity": "Low",
    "status": "Available",
    "requiredDataConnectors": [{"connectorId": "MadeUp", "dataTypes": ["Changes", "Signals"]}],
    "queryFrequency": "1h",
    "queryPeriod": "1d",
    "triggerOperator": "gt",
    "triggerThreshold": 5,
    "query": QUERY,
    "entityMappings": [
        {"entityType": "Account", "fieldMappings": [{"identifier": "Name", "columnName": "Who"}]},
        {"entityType": "Host", "fieldMappings": [{"identifier": "Name", "columnName": "Computer"}]},
    ],
    "version": "1.0.0",
    "kind": "Scheduled",
}


def published(folder: Path, **fields: object) -> Path:
    path = folder / "published.yaml"
    path.write_text(yaml.safe_dump({**RULE, **fields}, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def rule_draft(tmp_path: Path) -> Draft:
    return make_draft(published(tmp_path))


def document(rule_draft: Draft) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(rule_draft.files[f"rules/{rule_draft.name}/rule.yaml"])
    return read


# ---------------------------------------------------------------------------------- the published OpenAI rule


@pytest.fixture(scope="module")
def openai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The draft of the published rule, as the command writes it."""
    out = tmp_path_factory.mktemp("out")
    ran = run("new-rule", "--from", PUBLISHED, "--out", out)
    assert (ran.code, ran.err) == (0, "")
    assert "review:" not in ran.out
    return out / "rules" / NAME


def test_draft_of_the_published_rule_passes_the_check_of_rules(openai: Path) -> None:
    ran = run("rules", openai.parent, "--format", "json")
    assert (ran.code, [(row["rule"], row["valid"]) for row in ran.objects]) == (0, [(NAME, True)])


def test_draft_of_the_published_rule_finds_what_it_should(openai: Path, tmp_path: Path) -> None:
    shutil.copytree(openai, tmp_path / NAME)
    events: list[dict[str, Any]] = [{"audit_log": {}}, {"completion": {}}]
    cases = [
        {
            "name": "a pair",
            "events": events,
            "rows": [{"ConfigEvent": "api_key.created", "SignalId": "chatcmpl-2"}],
            "alerts": 1,
        },
        {"name": "24 h", "events": [events[0] | {"at": "-PT25H"}, events[1] | {"at": "-PT1H"}], "rows": 1},
        {"name": "25 h", "events": [events[0] | {"at": "-PT26H"}, events[1] | {"at": "-PT1H"}], "rows": 0},
        {
            "name": "twice",
            "events": [events[0], {"completion": {}, "arrives": ["-PT2H", "-PT1H"]}],
            "rows": 1,
        },
        {"name": "no actor", "events": [{"audit_log": {"actor": None}}, events[1]], "rows": 0},
    ]
    (tmp_path / NAME / "tests" / "own.yaml").write_text(yaml.safe_dump({"cases": cases}), encoding="utf-8")
    ran = run("test-rules", tmp_path / NAME)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "6 cases passed, 0 failed")


def test_draft_of_the_published_rule_returns_the_published_columns(openai: Path) -> None:
    shipped = load_rule("openai-config-to-abuse-sentinel")
    drafted = load_rule(NAME, openai.parent)
    assert drafted.sequence.output[: len(shipped.sequence.output)] == shipped.sequence.output
    assert drafted.sequence.within == shipped.sequence.within
    assert [side.source for side in drafted.sequence.sides.values()] == [
        "OpenAIAuditLogs",
        "OpenAIChatCompletions",
    ]
    assert drafted.entity_mappings == shipped.entity_mappings
    assert drafted.id != shipped.id


# --------------------------------------------------------------------------------- another, as far as it goes


def test_change_is_the_side_that_comes_first_wherever_it_stands(rule_draft: Draft) -> None:
    sequence = document(rule_draft)["sequence"]
    assert (sequence["changes"]["source"], sequence["signals"]["source"]) == ("Changes", "Signals")
    assert sequence["within"] == "PT2H"


def test_lets_are_written_out_and_the_window_is_the_jobs(rule_draft: Draft) -> None:
    changes, signals = (
        rule_draft.files[f"rules/{rule_draft.name}/{side}.kql"] for side in ("changes", "signals")
    )
    assert changes.startswith(
        "Changes\n| where TimeGenerated > changes_after and TimeGenerated <= changes_until\n"
        '| where Kind in (dynamic(["a|b", "c;d"]))\n'
    )
    assert (
        '| where TimeGenerated > signals_after and TimeGenerated <= signals_until and Level == "high"\n'
        in signals
    )


def test_lines_that_are_not_understood_are_named(rule_draft: Draft) -> None:
    remarks = [remark for remark in rule_draft.remarks if "not understood" in remark]
    assert remarks == [
        'line 12: not understood: where Agent has "x"',
        "line 13: not understood: summarize count() by Who",
    ]


def test_fields_that_are_dropped_or_changed_are_named(rule_draft: Draft) -> None:
    assert [
        remark for remark in rule_draft.remarks if remark.startswith(("status", "trigger", "entity"))
    ] == [
        "entityMappings: Computer is not a text column of either side; dropped",
        "status: not supported; dropped",
        "triggerThreshold: 5 is not supported; set to 0",
    ]


def test_remarks_are_in_the_rule_too(rule_draft: Draft) -> None:
    text = rule_draft.files[f"rules/{rule_draft.name}/rule.yaml"]
    assert [remark for remark in rule_draft.remarks if f"#   - {remark}\n" not in text] == []


def test_remark_with_a_line_break_stays_a_comment(tmp_path: Path) -> None:
    rule_draft = make_draft(published(tmp_path, **{"colour\nshape: round # ": "x"}))
    assert "shape" not in document(rule_draft)
    assert "colour shape: round # : not supported; dropped" in rule_draft.remarks


def test_column_of_both_sides_is_renamed(rule_draft: Draft) -> None:
    sides = document(rule_draft)["sequence"]
    assert (sides["changes"]["actor"], sides["signals"]["actor"]) == ("Who", "SignalWho")
    assert "signals: Who is renamed to SignalWho; changes have a column Who" in rule_draft.remarks


def test_unknown_connector_is_guessed_with_a_remark(rule_draft: Draft) -> None:
    tables = yaml.safe_load(rule_draft.files["connectors/MadeUp.yaml"])["tables"]
    assert tables["Signals"]["columns"] == {
        "TimeGenerated": "datetime",
        "Level": "string",
        "Who": "string",
        "Agent": "string",
    }
    assert any(
        remark.startswith("connectors/MadeUp.yaml: ") and "guessed" in remark for remark in rule_draft.remarks
    )


def test_guessed_draft_is_valid_with_its_connector(rule_draft: Draft, tmp_path: Path) -> None:
    folder = write_draft(rule_draft, tmp_path / "out")
    assert problem_of(folder) == ""
    assert run("test-rules", folder).code == 0


def test_rule_of_a_connector_without_objects_is_tested_by_rows(rule_draft: Draft, tmp_path: Path) -> None:
    folder = write_draft(rule_draft, tmp_path / "out")
    change: dict[str, Any] = {"Changes": {"Who": "ann", "Kind": "a|b"}, "at": "-PT3H"}
    signal: dict[str, Any] = {"Signals": {"Who": "ann", "Level": "high"}, "at": "-PT2H"}
    cases = [
        {
            "name": "a pair",
            "events": [change, signal],
            "rows": [{"Who": "ann", "Kind": "a|b", "Level": "high"}],
        },
        {"name": "too late", "events": [change, signal | {"at": "-PT59M"}], "rows": 0},
        {
            "name": "low",
            "events": [change, {"Signals": {"Who": "ann", "Level": "low"}, "at": "-PT2H"}],
            "rows": 0,
        },
    ]
    (folder / "tests" / "own.yaml").write_text(yaml.safe_dump({"cases": cases}), encoding="utf-8")
    assert run("test-rules", folder).code == 0


def test_command_ends_with_1_where_the_draft_is_not_valid_yet(tmp_path: Path) -> None:
    path = published(
        tmp_path,
        query=QUERY.replace("| project SignalTime", "| extend All = parse_json(Level)\n| project SignalTime"),
    )
    ran = run("new-rule", "--from", path, "--out", tmp_path / "out")
    assert ran.code == 1
    assert "not valid yet: " in ran.err
    assert "parse_json: text that is not JSON becomes null" in ran.err
    assert 'review: line 13: not understood: where Agent has "x"' in ran.out


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    first_run, second_run = (
        run("new-rule", "--from", published(tmp_path), "--out", tmp_path / "out") for _ in range(2)
    )
    assert (first_run.code, second_run.code) == (0, 2)
    assert "already exists; nothing was written" in second_run.err


def test_connector_that_was_drafted_before_is_known(tmp_path: Path) -> None:
    first_run = run("new-rule", "--from", published(tmp_path), "--out", tmp_path / "out")
    second_run = run("new-rule", "--from", published(tmp_path, name="Another"), "--out", tmp_path / "out")
    assert (first_run.code, second_run.code) == (0, 0)
    assert "guessed" not in second_run.out


def test_column_that_only_the_join_reads_is_guessed_too(tmp_path: Path) -> None:
    query = QUERY.replace("| project SignalTime = TimeGenerated, Who, Level, Agent\n", "")
    tables = yaml.safe_load(make_draft(published(tmp_path, query=query)).files["connectors/MadeUp.yaml"])[
        "tables"
    ]
    assert "Who" in tables["Signals"]["columns"]


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../../x"},
        {"requiredDataConnectors": [{"connectorId": "../../x", "dataTypes": []}]},
        {"name": "…"},
    ],
)
def test_names_of_the_published_rule_lead_nowhere_else(tmp_path: Path, fields: dict[str, object]) -> None:
    files = make_draft(published(tmp_path, **fields)).files
    assert [name for name in files if ".." in name or "//" in name] == []


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "no query": ({"query": None}, "query: "),
    "no join": ({"query": "T | take 1"}, "the query has 0 joins at its top level"),
    "two joins": ({"query": f"{QUERY}| join A on B"}, "the query has 2 joins at its top level"),
    "join without on": ({"query": "T | join kind=inner U"}, "line 1 of the query: the join has no `on`"),
    "join on a comparison": (
        {"query": "T | join kind=inner U on $left.a > $right.b"},
        "the join needs two equal columns",
    ),
    "statement that is not a let": (
        {"query": f"set x; {QUERY}"},
        "line 1 of the query is not a `let` statement: set x",
    ),
    "query from no table": (
        {"query": "let a = T | take 1; union a, b | join a on c"},
        "does not start from a table: union a, b",
    ),
    "connectors of another shape": ({"requiredDataConnectors": ["MadeUp"]}, "requiredDataConnectors.0: "),
}


@pytest.mark.parametrize("mistake", REFUSED)
def test_rule_that_cannot_be_drafted_is_refused_by_file_and_reason(tmp_path: Path, mistake: str) -> None:
    fields, message = REFUSED[mistake]
    ran = run("new-rule", "--from", published(tmp_path, **fields), "--out", tmp_path / "out")
    assert ran.code == 2
    assert "published.yaml: " in ran.err
    assert message in ran.err


# ------------------------------------------------------------------------------------------- parts of a query


def query(*conditions: str, join: str = "join kind=inner (B | project TB, Who) on Who") -> Query:
    """A query of two tables, with conditions behind its join."""
    return parse_query(
        "\n| ".join(["A", "project TA, Who", join, *(f"where {condition}" for condition in conditions)])
    )


@pytest.mark.parametrize(
    "condition",
    [
        "TB between (TA .. TA + 2h)",
        "TB between (TA .. (TA + 2h))",
        "TA between ((TB - 2h) .. TB)",
        "TB - TA between (0m .. 2h)",
        "TA <= TB and TB - TA <= 2h",
        "TB >= TA and (TB - TA) < 120m",
        "TB > TA and TB <= TA + 2h",
    ],
)
def test_time_between_the_two_is_understood(condition: str) -> None:
    parsed = query(condition)
    assert (parsed.changes.time, parsed.signals.time, parsed.within) == ("TA", "TB", timedelta(hours=2))
    assert (parsed.changes.source, parsed.remarks) == ("A", [])


def test_order_of_the_times_decides_not_of_the_sides() -> None:
    parsed = query(
        "TA between (TB .. TB + 1d)", join="join kind=inner (B | project TB, Who) on $right.Who == $left.Whom"
    )
    assert (parsed.changes.source, parsed.changes.actor, parsed.signals.actor) == ("B", "Who", "Whom")


def test_missing_condition_on_the_times_is_a_remark() -> None:
    assert query().remarks == [
        "no condition orders the two times; the left side of the join became the change"
    ]


def test_only_the_first_of_several_keys_is_the_actor_and_the_others_are_remarks() -> None:
    parsed = query("TA <= TB", join="join kind=inner (B | project TB, Who) on Who, Tenant")
    assert parsed.remarks == ["line 3: Who == Who became the actor; dropped: Tenant"]


def test_join_that_is_not_inner_is_a_remark() -> None:
    parsed = query("TA <= TB", join="join (B | project TB, Who) on Who")
    assert parsed.remarks == ["line 3: the join is not kind=inner; the job pairs as an inner join does"]


def test_let_may_be_a_join_of_its_own_name() -> None:
    with pytest.raises(ConfigurationError, match="0 joins"):
        parse_query("let A = A | take 1; A | take 1")


def test_separator_in_a_text_a_comment_or_a_bracket_separates_nothing() -> None:
    text = "T // a | b\n| where x == 'c|d' and y in ('|') | extend z = @\"e|\\\" | take 1"
    assert [(piece.text, piece.line) for piece in split(Piece(without_comments(text), 1), r"\|")] == [
        ("T", 1),
        ("where x == 'c|d' and y in ('|')", 2),
        ('extend z = @"e|\\"', 2),
        ("take 1", 2),
    ]


@pytest.mark.parametrize(
    "text, length",
    [
        ("1d", timedelta(days=1)),
        ("(90m)", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("x", None),
        ("1w", None),
    ],
)
def test_span_is_a_number_and_a_unit(text: str, length: timedelta | None) -> None:
    assert parse_timespan(text) == length


@pytest.mark.parametrize(
    "written, iso", [("1h", "PT1H"), ("5m", "PT5M"), ("14d", "P14D"), ("PT1H", "PT1H"), ("P1D", "P1D")]
)
def test_duration_of_a_repository_becomes_one_of_the_api(written: str, iso: str) -> None:
    assert iso_duration(written) == iso
