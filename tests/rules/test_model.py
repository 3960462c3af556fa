"""Loading a rule folder: what ships is what was published, and what is wrong is refused by file and key."""

import re
import shutil
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from detection.base.errors import ConfigurationError
from detection.logs.kql import queries
from detection.rules.loading import CONNECTORS, RULES, default_rule, load_rule, rule_names, statuses
from detection.store.table import Put, check

PROJECT_FIELDS = ["sequence", "on_call"]
PUBLISHED = Path(__file__).parents[1] / "data" / "published_rule.yaml"
SENTINEL, DEFAULT = "openai-config-to-abuse-sentinel", "openai-config-to-abuse"
COPILOT = "copilot-config-to-abuse"

Document = dict[str, Any]
Edit = Callable[[Document], None]


def document(path: Path) -> Document:
    parsed: Document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return parsed


PUBLISHED_FIELDS = {name: value for name, value in document(PUBLISHED).items() if name != "query"}
DIFFERING_FIELDS = ("id", "name", "description")  # of the default rule


# ------------------------------------------------------------------------------------------------- what ships


def test_three_rules_ship() -> None:
    assert rule_names() == [COPILOT, DEFAULT, SENTINEL]


def test_default_rule_is_the_one_that_tells_every_pair_once() -> None:
    assert default_rule() == DEFAULT


def test_all_shipped_rules_are_valid() -> None:
    assert [(status.rule, status.valid, status.default, status.problem) for status in statuses()] == [
        (COPILOT, True, False, ""),
        (DEFAULT, True, True, ""),
        (SENTINEL, True, False, ""),
    ]


@pytest.mark.parametrize("field", PUBLISHED_FIELDS)
def test_sentinel_rule_has_the_published_value(field: str) -> None:
    assert document(RULES / SENTINEL / "rule.yaml")[field] == PUBLISHED_FIELDS[field]


def test_sentinel_rule_adds_nothing_but_its_own_parts() -> None:
    assert list(document(RULES / SENTINEL / "rule.yaml")) == [*PUBLISHED_FIELDS, *PROJECT_FIELDS]


@pytest.mark.parametrize("field", [name for name in PUBLISHED_FIELDS if name not in DIFFERING_FIELDS])
def test_default_rule_has_the_published_value(field: str) -> None:
    assert document(RULES / DEFAULT / "rule.yaml")[field] == PUBLISHED_FIELDS[field]


@pytest.mark.parametrize("field", DIFFERING_FIELDS)
def test_default_rule_names_itself_differently(field: str) -> None:
    own = document(RULES / DEFAULT / "rule.yaml")[field]
    assert own
    assert own != PUBLISHED_FIELDS[field]


def test_default_rule_adds_nothing_but_its_own_parts() -> None:
    assert list(document(RULES / DEFAULT / "rule.yaml")) == [*PUBLISHED_FIELDS, *PROJECT_FIELDS]


@pytest.mark.parametrize("name", [DEFAULT, SENTINEL])
def test_loaded_rule_holds_what_is_written(name: str) -> None:
    rule = load_rule(name)
    written = document(RULES / name / "rule.yaml")
    fields = {field: value for field, value in written.items() if field not in PROJECT_FIELDS}
    as_loaded = rule.model_dump(mode="json", by_alias=True)
    assert {field: as_loaded[field] for field in fields} == _with_iso_days(fields)


def _with_iso_days(fields: Document) -> Document:
    """24 hours are written as P1D by the library that loads a rule."""
    text = yaml.safe_dump(fields).replace("PT24H", "P1D")
    loaded: Document = yaml.safe_load(text)
    return loaded


def test_durations_are_read_as_such() -> None:
    rule = load_rule(DEFAULT)
    assert (rule.query_frequency, rule.query_period) == (timedelta(hours=1), timedelta(days=1))
    assert rule.grouping.lookback_duration == rule.sequence.within == timedelta(hours=24)
    assert rule.lateness == timedelta(hours=23)


@pytest.mark.parametrize("name", [DEFAULT, SENTINEL])
def test_output_begins_with_the_published_columns(name: str) -> None:
    published = re.findall(r"\w+", PUBLISHED.read_text(encoding="utf-8").split("| project")[-1].split("|")[0])
    assert list(load_rule(name).sequence.output[:8]) == published


# -------------------------------------------------------------------------------------------- what is refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The default rule's folder in a place where it can be broken."""
    shutil.copytree(RULES, tmp_path / "rules")
    return tmp_path / "rules" / DEFAULT


def refusal_after(folder: Path, edit: Edit) -> str:
    """What is said about the rule after an edit of its rule.yaml."""
    edit_rule_file(folder, edit)
    return refusal(folder)


def edit_rule_file(folder: Path, edit: Edit) -> None:
    path = folder / "rule.yaml"
    written = document(path)
    edit(written)
    path.write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_rule(folder.name, folder.parent)
    return str(caught.value)


def put(*path: str | int, value: object) -> Edit:
    """An edit that sets one value."""

    def edit(written: Document) -> None:
        parent: Any = written
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = value

    return edit


def drop(*path: str | int) -> Edit:
    """An edit that removes one key."""

    def edit(written: Document) -> None:
        parent: Any = written
        for key in path[:-1]:
            parent = parent[key]
        del parent[path[-1]]

    return edit


GROUPING = ("incidentConfiguration", "groupingConfiguration")
SIDE = ("sequence", "signals")

# What is edited, and what the refusal has to name beside the file.
REFUSED: Mapping[str, tuple[Edit, str]] = {
    "unknown key": (put("severty", value="High"), "severty: "),
    "unknown key within": (
        put(*GROUPING, "reopen", value=False),
        "incidentConfiguration.groupingConfiguration.reopen: ",
    ),
    "unknown key of a side": (put(*SIDE, "tiem", value="x"), "sequence.signals.tiem: "),
    "key in another spelling": (put("query_period", value="P1D"), "query_period: "),
    "missing key": (drop("queryPeriod"), "queryPeriod: "),
    "missing sequence": (drop("sequence"), "sequence: "),
    "missing key of a side": (drop(*SIDE, "names_actor"), "sequence.signals.names_actor: "),
    "id that is none": (put("id", value="seven"), "id: "),
    "empty name": (put("name", value=""), "name: "),
    "unknown severity": (put("severity", value="Critical"), "severity: "),
    "version that is none": (put("version", value="1.0"), "version: "),
    "near-real-time rule": (put("kind", value="NRT"), "kind: "),
    "no connectors": (put("requiredDataConnectors", value=[]), "requiredDataConnectors: "),
    "trigger below a threshold": (put("triggerOperator", value="lt"), "triggerOperator: "),
    "trigger above one row": (put("triggerThreshold", value=1), "triggerThreshold: "),
    "alert per row": (
        put("eventGroupingSettings", "aggregationKind", value="AlertPerResult"),
        "eventGroupingSettings.aggregationKind: ",
    ),
    "no incidents": (
        put("incidentConfiguration", "createIncident", value=False),
        "incidentConfiguration.createIncident: ",
    ),
    "no grouping": (
        put(*GROUPING, "enabled", value=False),
        "incidentConfiguration.groupingConfiguration.enabled: ",
    ),
    "closed incidents reopened": (
        put(*GROUPING, "reopenClosedIncident", value=True),
        "incidentConfiguration.groupingConfiguration.reopenClosedIncident: ",
    ),
    "suppression": (put("suppressionEnabled", value=True), "suppressionEnabled: "),
    "duration as text of a clock": (put("queryFrequency", value="1:00"), "queryFrequency: "),
    "duration as a number": (put("queryFrequency", value=60), "queryFrequency: "),
    "duration of a word": (put("sequence", "within", value="Paul"), "sequence.within: "),
    "within of 15 days": (put("sequence", "within", value="P15D"), "sequence.within: "),
    "frequency under 5 minutes": (put("queryFrequency", value="PT4M"), "queryFrequency: "),
    "period over 14 days": (put("queryPeriod", value="P15D"), "queryPeriod: "),
    "period shorter than the frequency": (put("queryPeriod", value="PT30M"), "queryFrequency"),
    "look-back of 8 days": (
        put(*GROUPING, "lookbackDuration", value="P8D"),
        "incidentConfiguration.groupingConfiguration.lookbackDuration: ",
    ),
    "grouping by alert details": (
        put(*GROUPING, "groupByAlertDetails", value=["Severity"]),
        "incidentConfiguration.groupingConfiguration.groupByAlertDetails: ",
    ),
    "grouping by an entity that is not mapped": (
        put(*GROUPING, "groupByEntities", value=["Host"]),
        "groupByEntities: Host",
    ),
    "grouping by selected entities, none named": (
        put(*GROUPING, "groupByEntities", value=[]),
        "groupByEntities",
    ),
    "unknown matching method": (
        put(*GROUPING, "matchingMethod", value="Some"),
        "incidentConfiguration.groupingConfiguration.matchingMethod: ",
    ),
    "entity of a column that does not exist": (
        put("entityMappings", 0, "fieldMappings", 0, "columnName", value="Actor"),
        "entityMappings: Actor",
    ),
    "entity of a column that is no text": (
        put("entityMappings", 0, "fieldMappings", 0, "columnName", value="ConfigTime"),
        "entityMappings: ConfigTime",
    ),
    "entity without identifiers": (
        put("entityMappings", 0, "fieldMappings", value=[]),
        "entityMappings.0.fieldMappings: ",
    ),
    "output of a column that does not exist": (
        put("sequence", "output", value=["ConfigTime", "Tme"]),
        "output: Tme",
    ),
    "output without the time of a signal": (
        put("sequence", "output", value=["ConfigTime"]),
        "sequence: output: AbuseTime",
    ),
    "time that is no column": (put(*SIDE, "time", value="When"), "sequence.signals: When"),
    "time that is no datetime": (
        put(*SIDE, "time", value="ModelName"),
        "sequence.signals: ModelName",
    ),
    "unknown column type": (
        put(*SIDE, "columns", "ModelName", value="text"),
        "sequence.signals.columns.ModelName: ",
    ),
    "column of both sides": (put(*SIDE, "columns", "ConfigId", value="string"), "ConfigId"),
    "minimum of an unknown kind": (put("sequence", "threshold", value={"lenght": 5}), "sequence: "),
    "minimum of none": (put("sequence", "threshold", value={"length": 0}), "sequence.threshold.length: "),
    "unknown mode": (put("on_call", "mode", value="silent"), "on_call.mode: "),
    "rise by nothing": (put("on_call", "severity", value=[{"severity": "High"}]), "on_call.severity.0: "),
    "rise to an unknown severity": (
        put("on_call", "severity", value=[{"severity": "Critical", "new_address": True}]),
        "on_call.severity.0.severity: ",
    ),
    "runbook that is no address": (
        put("on_call", "runbook_url", value="javascript:alert(1)"),
        "on_call.runbook_url: ",
    ),
    "runbook that would break a link": (
        put("on_call", "runbook_url", value="https://x/a|b>"),
        "on_call.runbook_url: ",
    ),
    "unknown windows": (put("sequence", "windows", value="hourly"), "sequence.windows: "),
    "unknown parser": (put(*SIDE, "source", value="Chats"), "sequence.signals.source: Chats"),
    "unknown connector": (
        put("requiredDataConnectors", 0, "connectorId", value="Slack"),
        "requiredDataConnectors: there is no connectors/Slack.yaml",
    ),
    "connector outside its folder": (
        put("requiredDataConnectors", 0, "connectorId", value="../rules/DEFAULT"),
        "requiredDataConnectors: ",
    ),
    "table that the connector has not": (
        put("requiredDataConnectors", 0, "dataTypes", value=["OpenAIChats"]),
        "requiredDataConnectors: connectors/OpenAI.yaml has no table OpenAIChats",
    ),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said about each mistake, with the path of the rule folder cut off."""
    messages: dict[str, str] = {}
    for mistake, (edit, _) in REFUSED.items():
        root = tmp_path_factory.mktemp("rules")
        shutil.copytree(RULES / DEFAULT, root / DEFAULT)
        messages[mistake] = refusal_after(root / DEFAULT, edit).replace(f"{root / DEFAULT}/", "")
    return messages


@pytest.mark.parametrize("mistake", REFUSED)
def test_mistake_is_refused_by_its_key(refusals: dict[str, str], mistake: str) -> None:
    assert REFUSED[mistake][1] in refusals[mistake]


@pytest.mark.parametrize("mistake", REFUSED)
def test_mistake_is_refused_by_its_file(refusals: dict[str, str], mistake: str) -> None:
    assert refusals[mistake].startswith("rule.yaml: ")


@pytest.mark.parametrize("mistake", REFUSED)
def test_refusal_shows_no_value_and_no_library(refusals: dict[str, str], mistake: str) -> None:
    assert not re.search(r"input_value|input_type|pydantic|\n", refusals[mistake])


def test_all_mistakes_are_named_at_once(folder: Path) -> None:
    def edit(written: Document) -> None:
        written["severity"] = "Critical"
        written["version"] = "1"

    text = refusal_after(folder, edit)
    assert "severity: " in text
    assert "version: " in text


@pytest.mark.parametrize(
    "text",
    ["id: [", "a: b: c", "\t- x", "id: \x00", "!!python/object:os.system {}"],
    ids=["list", "mapping", "tab", "control", "tag"],
)
def test_broken_yaml_is_refused_by_its_file(folder: Path, text: str) -> None:
    (folder / "rule.yaml").write_text(text, encoding="utf-8")
    assert refusal(folder).startswith(f"{folder / 'rule.yaml'}: cannot be read as YAML: ")


def test_rule_that_is_not_utf8_is_refused_by_its_file(folder: Path) -> None:
    (folder / "rule.yaml").write_bytes(b"name: \xff")
    assert refusal(folder).startswith(f"{folder / 'rule.yaml'}: ")


@pytest.mark.parametrize("text", ["", "[]", "rule"], ids=["nothing", "list", "word"])
def test_yaml_that_is_no_rule_is_refused_by_its_file(folder: Path, text: str) -> None:
    (folder / "rule.yaml").write_text(text, encoding="utf-8")
    assert refusal(folder).startswith(f"{folder / 'rule.yaml'}: ")


@pytest.mark.parametrize("query", ["changes.kql", "signals.kql"])
def test_missing_query_is_refused_by_its_file(folder: Path, query: str) -> None:
    (folder / query).unlink()
    assert refusal(folder).startswith(f"{folder / query}: ")


def test_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=rf"'openai'; there are: {COPILOT}, {DEFAULT}, {SENTINEL}"):
        load_rule("openai")


@pytest.mark.parametrize("name", ["", ".", "..", f"../rules/{DEFAULT}", f"{DEFAULT}/"])
def test_rule_is_found_by_its_name_only(name: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown rule"):
        load_rule(name)


@pytest.mark.parametrize(
    "name",
    ["a#b", "a?b", "a\\b", "a\tb", "a\nb", "a\x7fb", "a,b", "a b", "-a", "~links", "é", "a" * 101],
    ids=ascii,
)
def test_folder_whose_name_cannot_be_a_partition_is_refused_by_its_name(folder: Path, name: str) -> None:
    folder.rename(folder.with_name(name))
    [problem] = [status.problem for status in statuses(folder.parent) if status.rule == name]
    assert problem.startswith(f"{name!r} cannot name a rule folder; rename the folder: ")
    with pytest.raises(ConfigurationError, match="cannot name a rule folder"):
        load_rule(name, folder.parent)


def test_folder_whose_name_is_not_utf8_has_a_status_that_is_text(folder: Path) -> None:
    folder.rename(folder.with_name("a\udcff"))
    assert "a\\udcff" in [status.rule for status in statuses(folder.parent) if not status.valid]


@pytest.mark.parametrize("name", ["a", "Guard.off_2-x", "a" * 100], ids=len)
def test_folder_whose_name_can_be_a_partition_loads(folder: Path, name: str) -> None:
    folder.rename(folder.with_name(name))
    rule = load_rule(name, folder.parent)
    check(rule.folder, [Put("w", {})])


@pytest.mark.parametrize(
    "edit",
    [
        put(*SIDE, "query", value="a" * 300),
        put(*SIDE, "query", value="a\0b"),
        put(*SIDE, "query", value="."),
        put("requiredDataConnectors", 0, "connectorId", value="a" * 300),
    ],
    ids=["over-long query", "query with a null", "query that is a folder", "over-long connector"],
)
def test_name_of_a_file_that_cannot_be_read_is_refused(folder: Path, edit: Edit) -> None:
    assert refusal_after(folder, edit).startswith(f"{folder}")


def test_query_that_is_not_utf8_is_refused_by_its_file(folder: Path) -> None:
    (folder / "signals.kql").write_bytes(b"Signals | where Name == '\xff'")
    assert refusal(folder).startswith(f"{folder / 'signals.kql'}: the query cannot be read as UTF-8 text: ")


def test_status_of_a_broken_rule_says_what_is_wrong(folder: Path) -> None:
    (folder / "signals.kql").unlink()
    status_by_rule = {rule_status.rule: rule_status for rule_status in statuses(folder.parent)}
    assert not status_by_rule[DEFAULT].valid
    assert "signals.kql" in status_by_rule[DEFAULT].problem
    assert status_by_rule[SENTINEL].valid


# -------------------------------------------------------------------------------------------- what is allowed


def test_connector_may_stand_beside_the_folder_of_rules(folder: Path) -> None:
    connectors = folder.parent.parent / "connectors"
    shutil.copytree(CONNECTORS, connectors)
    (connectors / "OpenAI.yaml").rename(connectors / "Own.yaml")
    edit_rule_file(folder, put("requiredDataConnectors", 0, "connectorId", value="Own"))
    assert load_rule(folder.name, folder.parent).tables == load_rule(DEFAULT).tables


def test_query_may_start_from_a_table_itself(folder: Path) -> None:
    edit_rule_file(folder, put(*SIDE, "source", value="ASimAgentEventLogs"))
    rule = load_rule(folder.name, folder.parent)
    assert "(\nASimAgentEventLogs\n| where TimeGenerated > signals_after" in queries(rule)["health"]


@pytest.mark.parametrize(
    "edit",
    [
        drop("tags"),
        drop("entityMappings", 2),
        put("enabled", value=False),
        put("suppressionEnabled", value=False),
        put("suppressionDuration", value="PT1H"),
        put("queryFrequency", value="PT5M"),
        put("queryPeriod", value="P14D"),
        put(*GROUPING, "lookbackDuration", value="P7D"),
        put(*GROUPING, "matchingMethod", value="AnyAlert"),
    ],
    ids=[
        "tags",
        "mapping",
        "disabled",
        "suppression",
        "duration",
        "frequency",
        "period",
        "look-back",
        "method",
    ],
)
def test_other_rules_of_this_kind_load(folder: Path, edit: Edit) -> None:
    edit_rule_file(folder, edit)
    assert load_rule(folder.name, folder.parent).folder == DEFAULT
