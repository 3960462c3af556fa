"""The golden folder: what the commands print for it, byte for byte, and the pairs that have to be there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.regenerate import COMMANDS, GOLDEN, LOGS, TYPED, output, write_typed

# As tests/golden/README.md works them out, in the order of the output.
DEFAULT_PAIRS = [
    ("c01", "p03", []),
    ("a06", "s11", ["role_change_in_update"]),
    ("a06", "s10", ["role_change_in_update", "finish_reason_missing"]),
    ("a06", "s09", ["role_change_in_update", "finish_reason_missing"]),
    ("a05", "s08", ["api_key_actor"]),
    ("b02", "s13", []),
    ("a02", "s03", []),
    ("a02", "s02", []),
    ("a01", "s03", []),
    ("a01", "s02", []),
    ("a04", "s07", []),
    ("b01", "p01", ["outside_published_window"]),
]
PUBLISHED_SIGNALS = ["s12", "p03", "s13", "s03", "s02", "s03", "s02", "s07", "s07"]
ALERTS = [
    ("2026-06-09T14:00:00Z", "carol", "opened", ["a04-s07"]),
    ("2026-06-09T15:00:00Z", "alice", "opened", ["a01-s02", "a02-s02"]),
    ("2026-06-09T19:00:00Z", "dave", "opened", ["a05-s08"]),
    ("2026-06-09T21:00:00Z", "erin", "opened", ["a06-s09", "a06-s10", "a06-s11"]),
    ("2026-06-10T08:00:00Z", "ivan", "opened", ["b02-s13"]),
    ("2026-06-10T08:00:00Z", "lena", "opened", ["c01-p03"]),
    ("2026-06-10T10:00:00Z", "alice", "updated", ["a01-s03", "a02-s03"]),
    ("2026-06-10T11:00:00Z", "bob", "opened", ["b01-p01"]),
    ("2026-06-10T13:00:00Z", "nora", "opened", ["a09-s15"]),
    ("2026-06-10T16:00:00Z", "alice", "opened", ["a01-s04", "a02-s04"]),
]


@pytest.mark.parametrize("name", COMMANDS)
def test_command_prints_what_is_kept(name: str) -> None:
    assert output(COMMANDS[name]) == (GOLDEN / name).read_bytes()


def test_default_rule_finds_the_pairs_that_were_worked_out_by_hand() -> None:
    pairs = [
        (row["ConfigId"], _short(row["AbuseId"]), row["Beyond"])
        for row in _golden_rows("matches.default.jsonl")
    ]
    assert pairs == DEFAULT_PAIRS


def test_published_rule_finds_the_pairs_that_were_worked_out_by_hand() -> None:
    signal_ids = [
        row["EventRequestId"].removeprefix("req_") for row in _golden_rows("matches.sentinel.jsonl")
    ]
    assert signal_ids == PUBLISHED_SIGNALS


def test_replay_tells_the_alerts_that_were_worked_out_by_hand() -> None:
    alerts = [
        (
            alert["time"],
            alert["actor"].removesuffix("@example.com"),
            alert["action"],
            sorted(f"{pair['ConfigId']}-{_short(pair['AbuseId'])}" for pair in alert["pairs"]),
        )
        for alert in _golden_rows("replay.jsonl")
    ]
    assert alerts == ALERTS


def test_every_pair_is_told_once() -> None:
    pairs = [
        (pair["ConfigId"], pair["AbuseId"])
        for alert in _golden_rows("replay.jsonl")
        for pair in alert["pairs"]
    ]
    assert len(pairs) == len(set(pairs))


def test_every_format_is_there() -> None:
    assert {path.suffix for path in LOGS.iterdir()} == {".jsonl", ".csv", ".parquet"}


def test_parquet_file_holds_the_rows_that_people_can_read(tmp_path: Path) -> None:
    write_typed(tmp_path / TYPED.name)
    assert _rows(tmp_path / TYPED.name) == _rows(TYPED)


def _golden_rows(name: str) -> Iterator[dict[str, Any]]:
    return map(json.loads, (GOLDEN / name).read_text(encoding="utf-8").splitlines())


def _short(ident: str) -> str:
    return ident.removeprefix("chatcmpl-")


def _rows(path: Path) -> list[Any]:
    relation = duckdb.connect().read_parquet(str(path))
    return [relation.columns, *map(str, relation.types), *relation.fetchall()]
