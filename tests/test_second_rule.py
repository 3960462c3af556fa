"""A rule is data: another one, over other tables, runs the whole line for being named in RULES, and no Python knows it."""

import io
import json
import re
import tokenize
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from detection.app import open_job
from detection.rules.loading import CONNECTORS, RULES, load_rule, rule_names
from detection.ruletests.objects import ReceivedObject, complete_fields, objects_of, rows_of
from detection.settings import settings_from
from detection.store.table import MemoryTable
from tests.cli.test_main import run
from tests.support.receiver import receiving

RULE = load_rule("copilot-config-to-abuse")
NOON = datetime(2026, 6, 8, 12, tzinfo=UTC)
DETECTION = Path(__file__).parents[1] / "detection"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A setting changed, and a jailbreak an hour later."""
    folder = tmp_path_factory.mktemp("logs")
    kinds = objects_of(RULE, RULES / RULE.folder)
    objects = []
    for number, (kind, hours_ago) in enumerate((("setting", 3), ("interaction", 2))):
        time = NOON - timedelta(hours=hours_ago)
        objects.append(ReceivedObject(kind, complete_fields(kinds[kind], {}, number, time, NOON), {}, time))
    lines = "".join(json.dumps(row) + "\n" for row in rows_of(objects, kinds, RULE))
    (folder / "CopilotActivity.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "message_format, words",
    [
        ("native", ["changed Copilot's settings, then tried a jailbreak within 1 h"]),
        ("slack", ["tried a jailbreak"]),
    ],
)
def test_rule_named_in_the_settings_is_told(logs: Path, message_format: str, words: list[str]) -> None:
    with receiving() as receiver:
        environment = {
            "RULES": RULE.folder,
            "LOGS_DIR": str(logs),
            "WEBHOOK_URL": receiver.url,
            "WEBHOOK_FORMAT": message_format,
        }
        job = open_job(settings_from(environment), lambda: NOON, MemoryTable())
        (record,) = job.detect(NOON)
        (body,) = [body.decode() for _, body in receiver.requests]
    assert (record.rule, record.new_pairs, record.alerts) == (RULE.folder, 1, 1)
    assert [word for word in words if word not in body] == []


def test_matches_prints_its_own_columns(logs: Path) -> None:
    result = run(
        "matches", "--logs", logs, "--at", "2026-06-08T12:00:00Z", "--rule", RULE.folder, "--format", "json"
    )
    (row,) = result.objects
    assert tuple(row) == RULE.sequence.output
    assert (row["ConfigKind"], row["AbuseKind"]) == ("UpdateCopilotSettings", "jailbreak")


def test_rule_names_its_origin_and_the_differences() -> None:
    text = (RULES / RULE.folder / "rule.yaml").read_text(encoding="utf-8")
    assert "CopilotConfigToAbuseChain.yaml" in text
    assert "Differences:" in text


# -------------------------------------------------------------------------------------------- what no Python may name


def data_names() -> set[str]:
    """Every table, column, parser, kind and rule that the data names."""
    names = {*rule_names()}
    for path in CONNECTORS.glob("*.yaml"):
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        names |= {*written.get("tables", {}), *written.get("parsers", {}), *written.get("objects", {})}
        for table in written.get("tables", {}).values():
            names |= {*table["columns"]}
    for rule in map(load_rule, rule_names()):
        for side in rule.sequence.sides.values():
            names |= {*side.columns, *side.labels}
    return names - WORDS


# Words of the language, too: every table is stamped so, ids end so, and the product is called as its first rule.
WORDS = {
    "Id",
    "TimeGenerated",
    "Type",
    "Version",
    "length",
    "none",
    "policy",
    "setting",
    "openai-config-to-abuse",
}


def code_words(path: Path) -> Iterator[str]:
    """The words in a module's names and texts, docstrings apart."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in {tokenize.NAME, tokenize.STRING} and not token.string.startswith('"""'):
            yield from re.findall(r"[\w.-]+", token.string)


def test_no_python_names_a_table_a_column_a_kind_or_a_rule() -> None:
    names = data_names()
    words_by_path = {
        path.relative_to(DETECTION).as_posix(): {*code_words(path)} & names
        for path in DETECTION.rglob("*.py")
    }
    assert {path: words for path, words in words_by_path.items() if words} == {}
