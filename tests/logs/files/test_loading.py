"""Exported files: every format reads the same, and what cannot be read is left out, counted and named."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from detection.base.errors import ConfigurationError, DataError, DetectionError
from detection.base.timestamps import parse_time
from detection.correlation.detection import Detection, detect_at
from detection.correlation.output import OutputRow
from detection.logs.events import Rejected
from detection.logs.files.columns import CUT_LENGTH
from detection.logs.files.source import ArrivalBasis, FileSource
from detection.logs.window import plan_windows
from detection.rules.loading import default_rule, load_rule

RULE = load_rule(default_rule())
NOW = datetime(2026, 6, 8, 14, tzinfo=UTC)
CHANGES, SIGNALS, OPTIONAL = "OpenAIAuditLogs_CL", "ASimAgentEventLogs", "SentinelOpenAIAuditLogs"
TIMES = ("TimeGenerated", "EffectiveAt", "EventStartTime")

LogRow = dict[str, Any]
Writer = Callable[[Path, str, Sequence[LogRow]], None]


def change(ident: str = "1", time: str = "2026-06-08T10:00:00.000Z", **columns: object) -> LogRow:
    return {
        "TimeGenerated": time,
        "Id": f"audit_log-{ident}",
        "EventType": "api_key.created",
        "EffectiveAt": time,
        "ActorSession": {"user": {"email": "alice@example.com"}, "ip_address": "203.0.113.7"},
        "EventDetails": {"id": "key_1", "data": {"scopes": ["api.model.request"]}},
        "ConnectorName": 'example, "quoted"',
    } | columns


def signal(ident: str = "1", time: str = "2026-06-08T10:30:00.250Z", **columns: object) -> LogRow:
    return {
        "TimeGenerated": time,
        "EventStartTime": time,
        "EventCount": 1,
        "EventVendor": "OpenAI",
        "EventProduct": "OpenAI API Platform",
        "EventType": "ChatCompletion",
        "EventUid": f"chatcmpl-{ident}",
        "EventRequestId": f"req_{ident}",
        "EventFinishReasons": ["content_filter"],
        "ModelName": "gpt-4o",
        "InputTokensUsed": 1024,
        "AdditionalFields": {"input_user": "Alice@example.com"},
    } | columns


# ------------------------------------------------------------------------------ the same rows in every format

SAME_CHANGES = [change("1", "2026-06-08T00:05:00.250Z"), change("2"), change("3", "2026-06-08T13:00:00.000Z")]
SAME_SIGNALS = [
    signal("1"),
    signal("2", "2026-06-08T12:05:00.125Z", EventFinishReasons=[""]),
    signal("3", "2026-06-08T13:30:00.000Z", EventFinishReasons=None),
]
SAME_PAIRS = {("1", "1"), ("1", "2"), ("1", "3"), ("2", "1"), ("2", "2"), ("2", "3"), ("3", "3")}


def lines_of(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def dynamic_as_text(row: LogRow) -> LogRow:
    return {
        name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in row.items()
    }


def csv_of(rows: Sequence[LogRow], ending: str = "\n") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator=ending)
    writer.writeheader()
    writer.writerows(map(dynamic_as_text, rows))
    return text.getvalue()


def as_the_portal_has_it(row: LogRow) -> LogRow:
    """Times in a column that says [UTC], written like 6/8/2026, 10:00:00.000 AM."""
    return {
        f"{name} [UTC]" if name in TIMES else name: _portal_time(value) if name in TIMES else value
        for name, value in row.items()
    }


def _portal_time(text: str) -> str:
    time = parse_time(text)
    half = "AM" if time.hour < 12 else "PM"
    fraction = time.microsecond // 1000
    return f"{time.month}/{time.day}/{time.year}, {time.hour % 12 or 12}:{time:%M:%S}.{fraction:03} {half}"


def jsonl(folder: Path, table: str, rows: Sequence[LogRow]) -> None:
    (folder / f"{table}.jsonl").write_text(lines_of(rows), encoding="utf-8")


def jsonl_with_text(folder: Path, table: str, rows: Sequence[LogRow]) -> None:
    jsonl(folder, table, [dynamic_as_text(row) for row in rows])


def csv_from_the_cli(folder: Path, table: str, rows: Sequence[LogRow]) -> None:
    (folder / f"{table}.csv").write_text(csv_of(rows), encoding="utf-8")


def csv_from_the_portal(folder: Path, table: str, rows: Sequence[LogRow]) -> None:
    csv_from_the_cli(folder, table, [as_the_portal_has_it(row) for row in rows])


def parquet(times: str, dynamic: str) -> Writer:
    """Writes Parquet with times of one type and dynamic columns of another; `nested` are LIST and STRUCT."""
    nested = {
        "ActorSession": 'STRUCT("user" STRUCT(email VARCHAR), ip_address VARCHAR)',
        "EventDetails": "STRUCT(id VARCHAR, data STRUCT(scopes VARCHAR[]))",
        "EventFinishReasons": "VARCHAR[]",
        "AdditionalFields": "STRUCT(input_user VARCHAR)",
    }
    types = dict.fromkeys(TIMES, times) | {"EventCount": "INTEGER", "InputTokensUsed": "BIGINT"}
    types |= nested if dynamic == "nested" else dict.fromkeys(nested, dynamic)

    def write(folder: Path, table: str, rows: Sequence[LogRow]) -> None:
        source, target = folder / "rows.json", folder / f"{table}.parquet"
        source.write_text(lines_of(map(dynamic_as_text, rows) if dynamic == "VARCHAR" else rows))
        columns = ", ".join(f"{name}: '{types.get(name, 'VARCHAR')}'" for name in rows[0])
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'America/New_York'")
        connection.execute(
            f"COPY (FROM read_json('{source}', format = 'newline_delimited', columns = {{{columns}}})) "
            f"TO '{target}' (FORMAT parquet)"
        )

    return write


FORMATS: dict[str, Writer] = {
    "jsonl with objects": jsonl,
    "jsonl with JSON text": jsonl_with_text,
    "csv of az": csv_from_the_cli,
    "csv of the portal": csv_from_the_portal,
    "parquet of strings": parquet("VARCHAR", "VARCHAR"),
    "parquet of TIMESTAMP, STRUCT and LIST": parquet("TIMESTAMP", "nested"),
    "parquet of TIMESTAMPTZ and JSON": parquet("TIMESTAMPTZ", "JSON"),
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[OutputRow]:
    """The matches of the same rows, as JSON lines."""
    folder = tmp_path_factory.mktemp("reference")
    jsonl(folder, CHANGES, SAME_CHANGES)
    jsonl(folder, SIGNALS, SAME_SIGNALS)
    return match_rows(folder)


def test_matches_are_the_expected_pairs(reference: list[OutputRow]) -> None:
    assert {(_number(row["ConfigId"]), _number(row["AbuseId"])) for row in reference} == SAME_PAIRS


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_same_rows_give_the_same_matches_in_every_format(
    write: Writer, tmp_path: Path, reference: list[OutputRow]
) -> None:
    write(tmp_path, CHANGES, SAME_CHANGES)
    write(tmp_path, SIGNALS, SAME_SIGNALS)
    assert match_rows(tmp_path) == reference


def test_many_files_of_many_formats_are_one_table(tmp_path: Path, reference: list[OutputRow]) -> None:
    jsonl(tmp_path, CHANGES, SAME_CHANGES[:1])
    csv_from_the_portal(tmp_path, CHANGES, SAME_CHANGES[1:2])
    FORMATS["parquet of TIMESTAMP, STRUCT and LIST"](tmp_path, CHANGES, SAME_CHANGES[2:])
    for number, row in enumerate(SAME_SIGNALS):
        jsonl(tmp_path, f"{SIGNALS}-2026-06-0{number + 1}", [row])
    assert match_rows(tmp_path) == reference


# ----------------------------------------------------------------------------------- what may be there or not


def test_optional_table_may_be_missing(tmp_path: Path) -> None:
    source = load(tmp_path, [change()], [signal()])
    assert not source.loaded[OPTIONAL].files
    assert source.loaded[CHANGES].files


def test_optional_table_counts_where_it_is_present(tmp_path: Path) -> None:
    jsonl(tmp_path, OPTIONAL, [change("2")])
    source = load(tmp_path, [change("1")], [signal()])
    rows = list(detect_at(RULE, NOW, source).rows())
    assert {row["ConfigId"] for row in rows} == {"audit_log-1", "audit_log-2"}


def test_unknown_columns_are_ignored_and_named_once(tmp_path: Path) -> None:
    jsonl(tmp_path, f"{CHANGES}-more", [change("2", TenantId="t", Type="x")])
    source = load(tmp_path, [change("1", TenantId="t")], [signal()])
    assert source.loaded[CHANGES].ignored == ["TenantId", "Type"]
    assert sound(source) == 2


def test_text_column_that_no_file_has_is_empty_as_in_kusto(tmp_path: Path) -> None:
    signal_row = {name: value for name, value in signal().items() if name != "ModelName"}
    jsonl(tmp_path, CHANGES, [change()])
    jsonl(tmp_path, SIGNALS, [signal_row])
    assert [row["ModelName"] for row in match_rows(tmp_path)] == [""]


@pytest.mark.parametrize(
    "column", ["a'b", 'a"b', "a b", "", "$.a", "_line", "_file", "line", "fields", "problem"]
)
def test_unknown_column_may_have_any_name(column: str, tmp_path: Path) -> None:
    source = load(tmp_path, [change() | {column: 1}], [signal()])
    assert sound(source) == 1


def test_rejects_nothing_of_an_ordinary_export(tmp_path: Path) -> None:
    source = load(tmp_path, [change()], [signal()])
    assert not any(loaded.rejected for loaded in source.loaded.values())


def test_export_without_any_row_is_no_error(tmp_path: Path) -> None:
    source = load(tmp_path, [change()], [])
    assert sound(source, SIGNALS) == 0


# -------------------------------------------------------------------------------------------- when it arrived


@pytest.fixture(scope="module")
def files_by_arrival(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ArrivalBasis], FileSource]:
    """Two rows stamped 10:00, of which one says that it arrived at 11:00."""
    folder = tmp_path_factory.mktemp("arriving")
    jsonl(folder, CHANGES, [change("1"), change("2", _ingested="2026-06-08T11:00:00Z")])
    jsonl(folder, SIGNALS, [signal()])
    return lambda arrival: FileSource(folder, RULE.tables, arrival)


@pytest.mark.parametrize(
    "arrival, rows_by_clock",
    [
        ("ingested", {"09:00": 1, "10:00": 1, "10:59": 1, "11:00": 2}),
        ("stamped", {"09:00": 0, "09:59": 0, "10:00": 1, "10:59": 1, "11:00": 2}),
    ],
)
def test_row_is_there_from_the_moment_it_arrived(
    arrival: ArrivalBasis,
    rows_by_clock: dict[str, int],
    files_by_arrival: Callable[[ArrivalBasis], FileSource],
) -> None:
    source = files_by_arrival(arrival)
    moments = {clock: parse_time(f"2026-06-08T{clock}:00Z") for clock in rows_by_clock}
    logs_by_clock = {
        clock: source.read(RULE, plan_windows(time, None, RULE)) for clock, time in moments.items()
    }
    assert {clock: logs.health["changes"].rows for clock, logs in logs_by_clock.items()} == rows_by_clock


def test_arrival_in_a_portal_export_is_read_too(tmp_path: Path) -> None:
    row = as_the_portal_has_it(change()) | {"_ingested [UTC]": "6/8/2026, 11:00:00.000 AM"}
    csv_from_the_cli(tmp_path, CHANGES, [row])
    source = load(tmp_path, None, [signal()])
    assert column(source, "_ingested") == [datetime(2026, 6, 8, 11)]


# ------------------------------------------------------------------------------------------ how it is written


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "BOM"])
def test_json_lines_of_any_system_are_read(mark: str, ending: str, tmp_path: Path) -> None:
    text = mark + lines_of([change("1"), change("2")]).replace("\n", ending)
    source = load_text(tmp_path, f"{CHANGES}.jsonl", text)
    assert (sound(source), source.loaded[CHANGES].rejected) == (2, {})


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "BOM"])
def test_csv_of_any_system_is_read(mark: str, ending: str, tmp_path: Path) -> None:
    source = load_text(tmp_path, f"{CHANGES}.csv", mark + csv_of([change("1"), change("2")], ending))
    assert (sound(source), source.loaded[CHANGES].rejected) == (2, {})


def test_blank_lines_are_no_rows_but_count_as_lines(tmp_path: Path) -> None:
    text = "\n\n" + lines_of([change("1")]) + "\n" + lines_of([change("2")]) + "\nbroken\n"
    source = load_text(tmp_path, f"{CHANGES}.jsonl", text)
    assert sound(source) == 2
    assert source.loaded[CHANGES].rejected == {"not a JSON object": Rejected(1, f"{CHANGES}.jsonl:7")}


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_bytes_that_are_not_utf8_become_replacement_characters(ending: str, tmp_path: Path) -> None:
    rows = [change("1", ConnectorName="Zo#"), change("2")]
    text = lines_of(rows) if ending == "jsonl" else csv_of(rows)
    (tmp_path / f"{CHANGES}.{ending}").write_bytes(text.encode().replace(b"#", b"\xeb"))
    source = load(tmp_path, None, [signal()])
    assert column(source, "ConnectorName") == ["Zo\ufffd", 'example, "quoted"']


@pytest.mark.parametrize("write", [jsonl, jsonl_with_text, csv_from_the_cli, FORMATS["parquet of strings"]])
def test_lone_surrogate_becomes_a_replacement_character(write: Writer, tmp_path: Path) -> None:
    details = {"x": "a\ud83d", "y": "\U0001f600\ude00", "z": "\\ud83d\\\ud83d"}  # json.dumps writes escapes
    write(tmp_path, CHANGES, [change("1", EventDetails=details), change("2")])
    source = load(tmp_path, None, [signal()])
    assert json.loads(column(source, "EventDetails")[0]) == {
        "x": "a\ufffd",
        "y": "\U0001f600\ufffd",
        "z": "\\ud83d\\\ufffd",
    }
    assert (sound(source), source.loaded[CHANGES].rejected) == (2, {})


def test_number_that_only_duckdb_reads_costs_no_run(tmp_path: Path) -> None:
    reasons = '["content_filter", ' + 5_000 * "1" + "]"
    jsonl(tmp_path, CHANGES, [change()])
    jsonl(tmp_path, SIGNALS, [signal(EventFinishReasons=reasons)])
    assert [str(row["EventFinishReasons"])[:18] for row in match_rows(tmp_path)] == ['["content_filter",']


def test_very_long_json_line_is_read(tmp_path: Path) -> None:
    source = load(tmp_path, [change("1", EventDetails={"x": "y" * 3_000_000}), change("2")], [signal()])
    assert sound(source) == 2


def test_very_long_csv_record_is_read(tmp_path: Path) -> None:
    source = load_text(
        tmp_path, f"{CHANGES}.csv", csv_of([change("1", EventDetails={"x": "y" * 1_000_000}), change("2")])
    )
    assert sound(source) == 2


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_csv_cell_may_hold_line_ends(ending: str, tmp_path: Path) -> None:
    rows = [change("1", ConnectorName="one\ntwo"), change("2", ConnectorName="one\r\ntwo"), change("3")]
    source = load_text(tmp_path, f"{CHANGES}.csv", csv_of(rows, ending))
    assert column(source, "ConnectorName") == ["one\ntwo", "one\r\ntwo", 'example, "quoted"']


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_file_name_may_hold_quotes_spaces_and_wildcards(ending: str, tmp_path: Path) -> None:
    writer = {"jsonl": jsonl, "csv": csv_from_the_cli, "parquet": FORMATS["parquet of strings"]}[ending]
    (tmp_path / "plain").mkdir()
    writer(tmp_path / "plain", CHANGES, [change("1"), change("2", time="yesterday")])
    name = f'{CHANGES} (it\'s "5" *[a]?).{ending}'
    (tmp_path / "plain" / f"{CHANGES}.{ending}").rename(tmp_path / name)
    source = load(tmp_path, None, [signal()])
    (rejected,) = source.loaded[CHANGES].rejected.values()
    assert sound(source) == 1
    assert rejected.first_location == f"{name}:{3 if ending == 'csv' else 2}"


@pytest.mark.parametrize("name", [f"{CHANGES}[2]", f"{CHANGES}*", f"{CHANGES}?"])
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_file_name_with_a_wildcard_is_not_taken_for_other_files(
    ending: str, name: str, tmp_path: Path
) -> None:
    writer = {"jsonl": jsonl, "csv": csv_from_the_cli, "parquet": FORMATS["parquet of strings"]}[ending]
    writer(tmp_path, name, [change("1")])
    writer(tmp_path, f"{CHANGES}2", [change("2")])
    source = load(tmp_path, None, [signal()])
    assert sorted(column(source, "Id")) == ["audit_log-1", "audit_log-2"]


# -------------------------------------------------------------------------------------------------- bad input

ALMOST_CUT = '{"user":{"email":"' + "a" * (CUT_LENGTH - 19)

BAD_CHANGES: list[tuple[LogRow, str]] = [
    ({"EventType": 7}, "EventType: not text"),
    ({"Id": {"id": "1"}}, "Id: not text"),
    ({"ActorSession": '{"user":'}, "ActorSession: not JSON"),
    ({"ActorSession": ALMOST_CUT}, "ActorSession: not JSON"),
    ({"TimeGenerated": 1_780_000_000}, "TimeGenerated: not a time"),
    ({"TimeGenerated": "yesterday"}, "TimeGenerated: not a time"),
    ({"TimeGenerated": "2026-13-08T10:00:00Z"}, "TimeGenerated: not a time"),
    ({"TimeGenerated": "2026-06-08T10:00:00"}, "TimeGenerated: time without a zone"),
    ({"TimeGenerated": "2026-06-08 10:00"}, "TimeGenerated: time without a zone"),
    ({"TimeGenerated": "2026-06-08"}, "TimeGenerated: time without a zone"),
    ({"TimeGenerated": "1900-01-01T00:00:00Z"}, "TimeGenerated: absurd time"),
    ({"TimeGenerated": "9999-12-31T23:59:59Z"}, "TimeGenerated: absurd time"),
    ({"TimeGenerated": None}, "TimeGenerated: no time"),
    ({"TimeGenerated": ""}, "TimeGenerated: no time"),
    ({"EffectiveAt": "2026-06-08T10:00:00"}, "EffectiveAt: time without a zone"),
]
BAD_SIGNALS: list[tuple[LogRow, str]] = [
    ({"EventCount": "three"}, "EventCount: not of type INTEGER"),
    ({"EventCount": 3_000_000_000}, "EventCount: not of type INTEGER"),
    ({"InputTokensUsed": 10**30}, "InputTokensUsed: not of type BIGINT"),
    ({"EventRequestTemperature": "hot"}, "EventRequestTemperature: not of type DOUBLE"),
    ({"EventFinishReasons": '["content_filter"'}, "EventFinishReasons: not JSON"),
]
BAD_LINES = [
    ('{"TimeGenerated": "2026-06-', "not a JSON object"),
    ("[1, 2]", "not a JSON object"),
    ('"text"', "not a JSON object"),
    ("null", "not a JSON object"),
    ("nonsense", "not a JSON object"),
]


@pytest.mark.parametrize(
    "columns, reason", BAD_CHANGES, ids=[f"{reason} {n}" for n, (_, reason) in enumerate(BAD_CHANGES)]
)
def test_bad_change_is_rejected_and_the_rest_goes_on(columns: LogRow, reason: str, tmp_path: Path) -> None:
    source = load(tmp_path, [change("1"), change("2", **columns), change("3")], [signal()])
    assert source.loaded[CHANGES].rejected == {reason: Rejected(1, f"{CHANGES}.jsonl:2")}
    assert column(source, "Id") == ["audit_log-1", "audit_log-3"]


@pytest.mark.parametrize(
    "columns, reason", BAD_SIGNALS, ids=[f"{reason} {n}" for n, (_, reason) in enumerate(BAD_SIGNALS)]
)
def test_bad_signal_is_rejected_and_the_rest_goes_on(columns: LogRow, reason: str, tmp_path: Path) -> None:
    source = load(tmp_path, [change()], [signal("1"), signal("2", **columns), signal("3")])
    assert source.loaded[SIGNALS].rejected == {reason: Rejected(1, f"{SIGNALS}.jsonl:2")}
    assert column(source, "EventUid", SIGNALS) == ["chatcmpl-1", "chatcmpl-3"]


@pytest.mark.parametrize("line, reason", BAD_LINES)
def test_bad_line_is_rejected_and_the_rest_goes_on(line: str, reason: str, tmp_path: Path) -> None:
    text = lines_of([change("1")]) + line + "\n" + lines_of([change("3")])
    source = load_text(tmp_path, f"{CHANGES}.jsonl", text)
    assert source.loaded[CHANGES].rejected == {reason: Rejected(1, f"{CHANGES}.jsonl:2")}
    assert column(source, "Id") == ["audit_log-1", "audit_log-3"]


@pytest.mark.parametrize("write", [jsonl_with_text, csv_from_the_cli, FORMATS["parquet of strings"]])
def test_value_that_log_analytics_cut_stays_as_text(write: Writer, tmp_path: Path) -> None:
    cut = '{"type":"' + "ä" * (CUT_LENGTH // 2)
    write(tmp_path, CHANGES, [change("1") | {"EventDetails": cut}, change("2")])
    source = load(tmp_path, None, [signal()])
    assert (json.loads(column(source, "EventDetails")[0]), source.loaded[CHANGES].rejected) == (cut, {})


def test_missing_time_is_rejected(tmp_path: Path) -> None:
    change_row = {name: value for name, value in change("2").items() if name != "TimeGenerated"}
    source = load(tmp_path, [change("1"), change_row], [signal()])
    assert source.loaded[CHANGES].rejected == {"TimeGenerated: no time": Rejected(1, f"{CHANGES}.jsonl:2")}


@pytest.mark.parametrize("time", ["1900-01-01", "9999-12-31", "infinity"])
def test_absurd_time_in_parquet_is_rejected(time: str, tmp_path: Path) -> None:
    times = f"(TIMESTAMP '2026-06-08 10:00:00'), (TIMESTAMP '{time}')"
    duckdb.connect().execute(
        f"COPY (SELECT time AS TimeGenerated, 'api_key.created' AS EventType, '{{}}' AS ActorSession "
        f"FROM (VALUES {times}) AS made (time)) TO '{tmp_path / CHANGES}.parquet' (FORMAT parquet)"
    )
    source = load(tmp_path, None, [signal()])
    assert source.loaded[CHANGES].rejected == {
        "TimeGenerated: absurd time": Rejected(1, f"{CHANGES}.parquet:2")
    }


def test_portal_time_without_the_portals_header_is_rejected(tmp_path: Path) -> None:
    rows = [change("1"), change("2", "6/8/2026, 10:00:00.000 AM", EffectiveAt=None)]
    source = load_text(tmp_path, f"{CHANGES}.csv", csv_of(rows))
    assert source.loaded[CHANGES].rejected == {"TimeGenerated: not a time": Rejected(1, f"{CHANGES}.csv:3")}


@pytest.mark.parametrize("preceding_count", [1, 30_000], ids=["among the first records", "far down"])
def test_csv_records_with_too_many_cells_are_rejected_and_the_rest_goes_on(
    preceding_count: int, tmp_path: Path
) -> None:
    header, record = csv_of([change()]).splitlines()
    records = [*[record] * preceding_count, f"{record},more", record, f"{record},more,and more"]
    source = load_text(tmp_path, f"{CHANGES}.csv", "\n".join([header, *records, ""]))
    rejected = source.loaded[CHANGES].rejected
    assert rejected == {"not a CSV record": Rejected(2, f"{CHANGES}.csv:{preceding_count + 2}")}
    assert sound(source) == preceding_count + 1


def test_csv_record_with_a_stray_quote_does_not_cost_the_file(tmp_path: Path) -> None:
    header, record = csv_of([change()]).splitlines()
    source = load_text(tmp_path, f"{CHANGES}.csv", "\n".join([header, record, f'"a"b{record}', record, ""]))
    assert sound(source) == 2
    assert [rejection.count for rejection in source.loaded[CHANGES].rejected.values()] == [1]


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Detection, FileSource]:
    """Every bad row there is, good ones before, between and after, in two files; and the rows in all."""
    folder = tmp_path_factory.mktemp("spoiled")
    bad = [change(f"bad{number}", **columns) for number, (columns, _) in enumerate(BAD_CHANGES)]
    lines = [change("1"), *bad, change("2"), change("3", ActorSession=None), change("4", ActorSession={})]
    broken = "".join(line + "\n" for line, _ in BAD_LINES)
    jsonl(folder, f"{CHANGES}-1", lines)
    (folder / f"{CHANGES}-2.jsonl").write_text(broken + lines_of([*bad, change("5")]))
    jsonl(folder, SIGNALS, [signal("1"), *(signal("bad", **columns) for columns, _ in BAD_SIGNALS)])
    source = FileSource(folder, RULE.tables)
    return len(lines) + len(BAD_LINES) + len(bad) + 1, detect_at(RULE, NOW, source), source


def test_sound_rows_and_rejected_rows_are_all_rows(spoiled: tuple[int, Detection, FileSource]) -> None:
    number, _, source = spoiled
    assert (
        sound(source) + sum(rejection.count for rejection in source.loaded[CHANGES].rejected.values())
        == number
    )
    rejected = sum(rejection.count for rejection in source.loaded[SIGNALS].rejected.values())
    assert sound(source, SIGNALS) + rejected == 1 + len(BAD_SIGNALS)


def test_rejects_of_all_files_are_counted_by_reason_and_the_first_is_named(
    spoiled: tuple[int, Detection, FileSource],
) -> None:
    _, detection, _ = spoiled
    rejected = detection.logs.rejected
    assert rejected[f"{CHANGES}, TimeGenerated: absurd time"] == Rejected(4, f"{CHANGES}-1.jsonl:12")
    assert rejected[f"{CHANGES}, not a JSON object"] == Rejected(5, f"{CHANGES}-2.jsonl:1")
    assert rejected[f"{SIGNALS}, EventCount: not of type INTEGER"] == Rejected(2, f"{SIGNALS}.jsonl:2")


def test_rows_without_an_actor_are_counted_and_the_first_is_named(
    spoiled: tuple[int, Detection, FileSource],
) -> None:
    _, detection, _ = spoiled
    assert detection.logs.rejected["changes, no actor"] == Rejected(2, f"{CHANGES}-1.jsonl:18")


def test_sound_rows_among_the_bad_ones_are_matched(spoiled: tuple[int, Detection, FileSource]) -> None:
    _, detection, _ = spoiled
    assert {row["ConfigId"] for row in detection.rows()} == {"audit_log-1", "audit_log-2", "audit_log-5"}


# --------------------------------------------------------------------------------- what cannot be read at all


def test_missing_folder_is_said_in_one_sentence(tmp_path: Path) -> None:
    text = refusal(ConfigurationError, tmp_path / "nowhere")
    assert text == f"{tmp_path / 'nowhere'}: there is no such folder"


def test_file_in_place_of_the_folder_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "there is no such folder" in refusal(ConfigurationError, tmp_path / "file")


def test_empty_folder_is_said_in_one_sentence(tmp_path: Path) -> None:
    text = refusal(ConfigurationError, tmp_path)
    assert text == f"{tmp_path}: it has no file {CHANGES}*.jsonl, .csv or .parquet"


def test_missing_table_is_said_in_one_sentence(tmp_path: Path) -> None:
    jsonl(tmp_path, CHANGES, [change()])
    assert SIGNALS in refusal(ConfigurationError, tmp_path)


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_missing_required_column_is_said_in_one_sentence(write: Writer, tmp_path: Path) -> None:
    write(tmp_path, CHANGES, [{n: value for n, value in change().items() if n != "ActorSession"}])
    jsonl(tmp_path, SIGNALS, [signal()])
    text = refusal(ConfigurationError, tmp_path)
    assert "ActorSession" in text
    assert f"{CHANGES}." in text


def test_missing_required_column_is_said_of_the_table_as_the_user_knows_it(tmp_path: Path) -> None:
    jsonl(tmp_path, CHANGES, [{"TimeGenerated": "2026-06-08T10:00:00Z"}])
    jsonl(tmp_path, SIGNALS, [signal()])
    assert refusal(ConfigurationError, tmp_path).startswith(f"{CHANGES}: ")


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1" + bytes(50) + b"PAR1"])
def test_file_that_is_no_parquet_is_said_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"{CHANGES}.parquet").write_bytes(content)
    jsonl(tmp_path, SIGNALS, [signal()])
    text = refusal(DataError, tmp_path)
    assert text.startswith(f"{tmp_path / CHANGES}.parquet: cannot be read as parquet")


# ---------------------------------------------------------------------------------------------------- helpers


def load(folder: Path, changes: Sequence[LogRow] | None, signals: Sequence[LogRow]) -> FileSource:
    """The folder after these rows were written to it as JSON lines."""
    if changes is not None:
        jsonl(folder, CHANGES, changes)
    jsonl(folder, SIGNALS, signals)
    return FileSource(folder, RULE.tables)


def load_text(folder: Path, name: str, text: str) -> FileSource:
    """The folder with one file of exactly this text, and one signal."""
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return load(folder, None, [signal()])


def match_rows(folder: Path) -> list[OutputRow]:
    return list(detect_at(RULE, NOW, FileSource(folder, RULE.tables)).rows())


def sound(source: FileSource, table: str = CHANGES) -> int:
    """How many rows were loaded."""
    return len(column(source, "_line", table))


def column(source: FileSource, name: str, table: str = CHANGES) -> list[Any]:
    """A column of the rows that were loaded, in the order of their files and lines."""
    rows = source._folder.connection.execute(
        f'SELECT "{name}" FROM "{table}_rows" ORDER BY _file, _line'
    ).fetchall()
    return [value for (value,) in rows]


def refusal(error: type[DetectionError], folder: Path) -> str:
    """The one sentence with which a folder is refused."""
    with pytest.raises(error) as caught:
        FileSource(folder, RULE.tables)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


def _number(ident: object) -> str:
    return str(ident).rpartition("-")[2]
