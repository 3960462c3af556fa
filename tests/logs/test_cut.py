"""Rows whose bag Log Analytics cut at 64 KB: their actor, where the text still has it, and their count."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from detection.correlation.detection import detect_at
from detection.logs.events import Logs, Rejected
from detection.logs.files.columns import CUT_LENGTH
from detection.logs.files.source import FileSource
from detection.logs.kql import CUT_DEPTH
from detection.logs.log_analytics.client import open_log_analytics
from detection.logs.window import plan_windows
from detection.rules.loading import load_rule
from tests.support.query_api import query_api, tables_of
from tests.support.rule_world import HOUR, MOMENT, LogRow, LogWorld, change, signal, write

RULE = load_rule("openai-config-to-abuse")
WORKSPACE = "4f1c2a6e-0b5d-4a57-9a2e-3f9d5d0c7b11"
ACTORS = ("ann@example.com", "eve@example.com", 'zoë "z"@example.com')
TOOLS = '"tools":["' + "x" * CUT_LENGTH  # what is behind the cut is gone
EVE = '"input_user":"eve@example.com"'
ANN = '"input_user":"Ann@example.com"'

# The text up to the tools, and the actor that it names at its top level.
BAGS = {
    "user first": ("{" + ANN, "ann@example.com"),
    "behind plain values": ('{"service_tier":"default","a":null,"b":-1.5,' + ANN, "ann@example.com"),
    "behind metadata": ('{"metadata":{"team":"a"},"response_format":null,' + ANN, "ann@example.com"),
    "behind lists in lists": ('{"a":[[1,{"b":["}"]}],[]],' + ANN, "ann@example.com"),
    "behind the greatest depth": ('{"a":' + "[" * CUT_DEPTH + "]" * CUT_DEPTH + "," + ANN, "ann@example.com"),
    "behind too great a depth": ('{"a":[' + "[" * CUT_DEPTH + "]" * CUT_DEPTH + "]," + ANN, None),
    "escapes": (r'{"input_user":"zo\u00eb \"z\"@example.com"', 'zoë "z"@example.com'),
    "user as a value": ('{"a":"input_user",' + ANN, "ann@example.com"),
    "gone": ('{"service_tier":"default"', None),
    "empty": ('{"input_user":""', None),
    "null": ('{"input_user":null', None),
    "in metadata": ('{"metadata":{' + EVE + "}", None),
    "in metadata, and the caller is another": ('{"metadata":{' + EVE + "}," + ANN, "ann@example.com"),
    "in metadata that closes itself in a text": (r'{"metadata":{"a":"}",' + EVE + "}", None),
    "in metadata that breaks out of a text": (
        '{"metadata":{"a":' + json.dumps('"},' + EVE + ',"b":"') + "}," + ANN,
        "ann@example.com",
    ),
    "in a list": ('{"tools":[{' + EVE + "}]", None),
    "in a text": ('{"a":' + json.dumps("{" + EVE), None),
    "not a bag": ("[" + EVE, None),
}  # fmt: skip


def cut_signal(bag: str, number: int = 1) -> LogRow:
    row = signal("nobody", MOMENT - HOUR, EventUid=f"chatcmpl-{number}")
    return row | {"AdditionalFields": f"{bag},{TOOLS}"}


def world(signals: Sequence[LogRow]) -> LogWorld:
    return LogWorld([change(actor, MOMENT - 2 * HOUR) for actor in ACTORS], [*signals])


UNNAMED = [
    signal("ann@example.com", MOMENT - HOUR, EventUid="chatcmpl-1"),
    signal("", MOMENT - HOUR, EventUid="chatcmpl-2"),
    cut_signal("{" + ANN, 3),
    cut_signal('{"a":1', 4),
    cut_signal('{"metadata":{' + EVE + "}", 5),
]


@pytest.fixture(scope="module")
def actors_by_signal(tmp_path_factory: pytest.TempPathFactory) -> dict[object, object]:
    """The actors of the signals that pair, by the id of the signal."""
    rows = [cut_signal(bag, number) for number, (bag, _) in enumerate(BAGS.values())]
    source = FileSource(write(world(rows), tmp_path_factory.mktemp("logs")), RULE.tables)
    return {row["AbuseId"]: row["ActorEmail"] for row in detect_at(RULE, MOMENT, source).rows()}


@pytest.mark.parametrize("name", BAGS)
def test_actor_of_a_cut_bag_is_that_of_its_top_level(
    actors_by_signal: dict[object, object], name: str
) -> None:
    number, (_, actor) = list(BAGS).index(name), BAGS[name]
    assert actors_by_signal.get(f"chatcmpl-{number}") == actor


def test_pair_with_an_actor_from_a_cut_bag_is_beyond_the_published_rule(tmp_path: Path) -> None:
    source = FileSource(write(world([cut_signal("{" + ANN)]), tmp_path), RULE.tables)
    assert [row["Beyond"] for row in detect_at(RULE, MOMENT, source).rows()] == [["cut_fields"]]


def test_rows_whose_actor_was_cut_off_are_counted_by_themselves(tmp_path: Path) -> None:
    folder = write(world(UNNAMED), tmp_path)
    expected = {
        "signals, no actor": Rejected(1, "ASimAgentEventLogs.jsonl:2"),
        "signals, cut": Rejected(2, "ASimAgentEventLogs.jsonl:4"),
    }
    windows = plan_windows(MOMENT, None, RULE)
    in_files = FileSource(folder, RULE.tables).read(RULE, windows)
    with tables_of(folder, RULE.tables) as connection, query_api(connection) as api:
        log_analytics = open_log_analytics([WORKSPACE], api.endpoint, None, lambda: MOMENT)
        in_workspace = log_analytics.read(RULE, windows)
        log_analytics.close()
    assert in_files.rejected == expected
    assert counts(in_workspace) == counts(in_files)
    assert in_workspace.health == in_files.health
    assert [event.actor for event in in_workspace.signals.in_window] == 2 * ["ann@example.com"]


def counts(logs: Logs) -> dict[str, int]:
    return {reason: rejected.count for reason, rejected in logs.rejected.items()}
