"""Exported log files become typed DuckDB tables; what cannot be typed is rejected with its reason.

JSON lines, CSV and Parquet, one file or many a table. The rules of what a value may be:

- datetime: ISO 8601 with a zone. Without one it is rejected, for guessing would move events across
  the window's edge, except where the zone is known: a CSV header that says `[UTC]`, as the Azure
  portal writes it (there also 6/8/2026, 10:00:00.000 AM), and Parquet's typed timestamps, which
  Kusto exports in UTC. Years before 2000 or after 2100 are taken for the error they are.
- dynamic: an object, a list, or JSON text. Bare text that does not look like JSON is a string, as
  Kusto's parse_json has it. Log Analytics cuts fields at 64 KB: cut JSON is named as such.
- string: text; null is "" because Kusto's strings have no null.
- numbers and bools: as such, or as the text of one.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from detection.errors import ConfigurationError, DataError
from detection.events import Rejected
from detection.rule import KqlType, Table
from detection.timestamps import FIRST_YEAR, LAST_YEAR

FORMATS = ("jsonl", "csv", "parquet")
ARRIVED = "_ingested"
LINE_LIMIT = 16 * 2**20  # bytes of one line that are read; Log Analytics keeps a row below 1 MiB
FIELD_LIMIT = 65_536  # bytes, Log Analytics' limit of one field
SQL_TYPES: Mapping[KqlType, str] = {
    "string": "VARCHAR DEFAULT ''",
    "datetime": "TIMESTAMP",
    "dynamic": "JSON",
    "bool": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "real": "DOUBLE",
}
_ZONED = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.]\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})$"
_NAIVE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.]\d+)?)?)?$"
_PORTAL = (
    "['%-m/%-d/%Y, %-I:%M:%S.%g %p', '%-m/%-d/%Y, %-I:%M:%S %p', '%Y-%m-%d %H:%M:%S.%f', '%Y-%m-%dT%H:%M:%S']"
)
_UTC_HEADER = " [UTC]"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of one table's files: columns `ignored`, rows `rejected` by reason."""

    files: Sequence[Path]
    ignored: Sequence[str]
    rejected: Mapping[str, Rejected]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a file: SQL for its raw value, and what that value is.

    `kind` is "json" (a JSON value), "text", "utc" (text whose zone is known to be UTC), or DuckDB's type.
    """

    raw: str
    kind: str


@dataclass(frozen=True, slots=True)
class _Typed:
    """A value as SQL, and the SQL for the reason why it cannot be had (NULL where it can)."""

    value: str
    problem: str


def files_of(folder: Path, table: str) -> list[Path]:
    """The files of a table in a folder, by name: `<table>*.jsonl`, `.csv`, `.parquet`."""
    return sorted(path for ending in FORMATS for path in folder.glob(f"{table}*.{ending}"))


def load(connection: duckdb.DuckDBPyConnection, name: str, table: Table, files: Sequence[Path]) -> Loaded:
    """Creates the DuckDB table `<name>_rows` from its files: the columns of `table` and three of our own.

    The three: `_arrived` (TIMESTAMP in UTC, null where the file does not say), `_file` and `_line`.
    Raises ConfigurationError when a required column is in none of the files, DataError when a file
    is not what its ending says.
    """
    wanted = _wanted(table)
    definition = ", ".join(f'"{column}" {SQL_TYPES[kind]}' for column, kind in wanted.items())
    connection.execute(f'CREATE TABLE "{name}_rows" ({definition}, _file VARCHAR, _line BIGINT)')
    seen: set[str] = set()
    rejected: list[tuple[str, int, str]] = []
    for path in files:
        try:
            with _readable(path) as readable:
                columns = _columns(connection, readable, wanted)
                rejected += _insert(connection, name, table, columns, readable, path.name)
        except duckdb.Error as error:
            msg = f"{path}: cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}"
            raise DataError(msg) from error
        seen |= columns.keys()
    missing = [column for column in table.required if column not in seen]
    if seen and missing:
        msg = f"{name}: no file has the column {', '.join(missing)} (looked in {', '.join(one.name for one in files)})"
        raise ConfigurationError(msg)
    return Loaded(files, sorted(seen - wanted.keys()), _by_reason(rejected))


def _wanted(table: Table) -> dict[str, KqlType]:
    return {**table.columns, ARRIVED: "datetime"}


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """The file itself, or, where its text is not UTF-8, a copy with the foreign bytes replaced."""
    if path.suffix == ".parquet" or _is_utf8(path):
        yield path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        with (
            path.open(encoding="utf-8", errors="replace", newline="") as source,
            copy.open("w", newline="") as target,
        ):
            target.writelines(source)
        yield copy


def _is_utf8(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", newline="") as text:
            return all(True for _ in text)
    except UnicodeDecodeError:
        return False


def _relation(path: Path, wanted: Mapping[str, KqlType]) -> str:
    """The file's rows as SQL, with `_line`; for JSON lines `line` is the object and `fields` its parts."""
    if path.suffix == ".jsonl":
        return _json_lines(_quoted(path), wanted)
    if path.suffix == ".csv":
        return _csv(path)
    return f"(SELECT row_number() OVER () AS _line, * FROM read_parquet({_quoted(path)}))"


def _json_lines(name: str, wanted: Mapping[str, KqlType]) -> str:
    fields = ", ".join(f'"{column}":"JSON"' for column in wanted)
    lines = (
        f"SELECT row_number() OVER () AS _line, text FROM read_csv({name}, columns={{'text': 'VARCHAR'}}, "
        rf"delim='\x01', quote='', escape='', header=false, auto_detect=false, max_line_size={LINE_LIMIT})"
    )
    line = "CASE json_type(try_cast(text AS JSON)) WHEN 'OBJECT' THEN text END"
    objects = f"SELECT _line, {line} AS line FROM ({lines}) WHERE text IS NOT NULL"
    return f"(SELECT _line, line, from_json(line, '{{{fields}}}') AS fields FROM ({objects}))"


def _csv(path: Path) -> str:
    """The records below the header; a record is taken for a line."""
    header, lines = _header(path)
    columns = ", ".join(f"{_text_literal(name)}: 'VARCHAR'" for name in header)
    return (
        f"(SELECT row_number() OVER () + {lines} AS _line, * FROM read_csv({_quoted(path)}, columns={{{columns}}}, "
        f"header=false, skip={lines}, auto_detect=false, parallel=false, delim=',', quote='\"', escape='\"', "
        f"null_padding=true, max_line_size={LINE_LIMIT}, ignore_errors=true, store_rejects=true))"
    )


def _header(path: Path) -> tuple[list[str], int]:
    """The names in a CSV file's header, and how many lines it takes.

    Raises DataError when there is none, or a name stands twice.
    """
    with path.open(encoding="utf-8-sig", newline="") as text:
        records = csv.reader(text)
        header = next((record for record in records if record), [])
        names = [name.strip() for name in header]
        if not names or len({name.casefold() for name in names}) < len(names):
            msg = f"{path}: its first line must name every column once"
            raise DataError(msg)
        return names, records.line_num


def _quoted(path: Path) -> str:
    """The file's name as SQL; what DuckDB would take for a pattern stands for itself."""
    return _text_literal(re.sub(r"([*?\[])", r"[\1]", str(path)))


def _text_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _columns(
    connection: duckdb.DuckDBPyConnection, path: Path, wanted: Mapping[str, KqlType]
) -> dict[str, _Column]:
    """The columns of a file by the name they have in the table."""
    if path.suffix == ".jsonl":
        keys = connection.execute(
            f"SELECT DISTINCT unnest(json_keys(line)) AS key FROM {_relation(path, wanted)} ORDER BY key"
        ).fetchall()
        return {key: _Column(f'fields."{key}"', "json") for (key,) in keys}
    described = connection.execute(
        f"DESCRIBE SELECT * EXCLUDE _line FROM {_relation(path, wanted)}"
    ).fetchall()
    return dict(_headed(header, kind) for header, kind, *_ in described)


def _headed(header: str, kind: str) -> tuple[str, _Column]:
    raw = '"' + header.replace('"', '""') + '"'
    if kind != "VARCHAR":
        return header, _Column(raw, kind)
    if header.endswith(_UTC_HEADER):
        return header.removesuffix(_UTC_HEADER), _Column(raw, "utc")
    return header, _Column(raw, "text")


def _insert(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    table: Table,
    present: Mapping[str, _Column],
    path: Path,
    shown: str,
) -> list[tuple[str, int, str]]:
    """Adds the sound rows of one file; returns (reason, count, first place) of the others."""
    wanted = _wanted(table)
    typed = {column: _typed(present[column], kind) for column, kind in wanted.items() if column in present}
    problems = [f"'{column}: ' || {one.problem}" for column, one in typed.items() if one.problem != "NULL"]
    if path.suffix == ".jsonl":
        problems.insert(0, "CASE WHEN line IS NULL THEN 'not a JSON object' END")
    stamped = typed[table.stamped].value if table.stamped in typed else "NULL"
    problems.append(f"CASE WHEN {stamped} IS NULL THEN '{table.stamped}: no time' END")
    values = "".join(f'{one.value} AS "{column}", ' for column, one in typed.items())
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE staged AS "
        f"SELECT {values} _line, coalesce({', '.join(problems)}) AS problem FROM {_relation(path, wanted)}"
    )
    columns = "".join(f'"{column}", ' for column in typed)
    connection.execute(
        f'INSERT INTO "{name}_rows" ({columns} _file, _line) SELECT {columns} ?, _line FROM staged WHERE problem IS NULL',
        [shown],
    )
    found = connection.execute(
        "SELECT problem, count(*), min(_line) FROM staged WHERE problem IS NOT NULL GROUP BY problem"
    ).fetchall()
    if path.suffix == ".csv":
        found += connection.execute(
            "SELECT 'not a CSV record', count(DISTINCT line), min(line) FROM reject_errors HAVING count(*) > 0"
        ).fetchall()
        connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    connection.execute("DROP TABLE staged")
    return [(reason, count, f"{shown}:{line}") for reason, count, line in found]


def _typed(column: _Column, kind: KqlType) -> _Typed:
    if kind == "datetime":
        return _datetime(column)
    if kind == "dynamic":
        return _dynamic(column)
    if kind == "string":
        return _string(column)
    return _plain(column, SQL_TYPES[kind])


def _text(column: _Column) -> str:
    """The raw value as text; NULL where it is a JSON value of another type."""
    if column.kind == "json":
        return f"CASE json_type({column.raw}) WHEN 'VARCHAR' THEN {column.raw} ->> '$' END"
    return f"CAST({column.raw} AS VARCHAR)"


def _other_type(column: _Column) -> str:
    """SQL for: a JSON value that is neither text nor null."""
    return f"json_type({column.raw}) NOT IN ('VARCHAR', 'NULL')" if column.kind == "json" else "false"


def _datetime(column: _Column) -> _Typed:
    if column.kind.startswith("TIMESTAMP"):
        zoned = column.kind == "TIMESTAMP WITH TIME ZONE"
        value = f"{column.raw} AT TIME ZONE 'UTC'" if zoned else f"CAST({column.raw} AS TIMESTAMP)"
        return _Typed(value, f"CASE WHEN {_absurd(value)} THEN 'absurd time' END")
    text = f"nullif(trim({_text(column)}), '')"
    value = f"CASE WHEN regexp_matches({text}, '{_ZONED}') THEN try_cast({text} AS TIMESTAMPTZ) AT TIME ZONE 'UTC' END"
    if column.kind == "utc":
        value = f"coalesce({value}, try_strptime({text}, {_PORTAL}), try_cast({text} AS TIMESTAMP))"
    return _Typed(
        value,
        f"CASE WHEN {_other_type(column)} THEN 'not a time' WHEN {text} IS NULL THEN NULL "
        f"WHEN {value} IS NULL AND regexp_matches({text}, '{_NAIVE}') THEN 'time without a zone' "
        f"WHEN {value} IS NULL THEN 'not a time' WHEN {_absurd(value)} THEN 'absurd time' END",
    )


def _absurd(value: str) -> str:
    return f"NOT ({value} BETWEEN TIMESTAMP '{FIRST_YEAR}-01-01' AND TIMESTAMP '{LAST_YEAR}-01-01')"


def _dynamic(column: _Column) -> _Typed:
    if column.kind not in ("json", "text", "utc", "JSON"):
        return _Typed(f"to_json({column.raw})", "NULL")
    text = f"nullif({_text(column)}, '')"
    parsed = f"json(try_cast({text} AS JSON))"
    value = f"coalesce({parsed}, to_json({text}))"
    if column.kind == "json":
        value = f"CASE json_type({column.raw}) WHEN 'VARCHAR' THEN {value} ELSE {column.raw} END"
    broken = f"{parsed} IS NULL AND regexp_matches({text}, '^\\s*[\\[{{\"]')"
    return _Typed(
        f"CASE WHEN json_type({value}) <> 'NULL' THEN {value} END",
        f"CASE WHEN {broken} THEN CASE WHEN strlen({text}) >= {FIELD_LIMIT} THEN 'JSON cut at 64 KB' "
        "ELSE 'not JSON' END END",
    )


def _string(column: _Column) -> _Typed:
    return _Typed(f"coalesce({_text(column)}, '')", f"CASE WHEN {_other_type(column)} THEN 'not text' END")


def _plain(column: _Column, sql_type: str) -> _Typed:
    text = f"nullif({column.raw} ->> '$', '')" if column.kind == "json" else f"nullif({_text(column)}, '')"
    value = f"try_cast({text} AS {sql_type})"
    return _Typed(
        value, f"CASE WHEN {text} IS NOT NULL AND {value} IS NULL THEN 'not of type {sql_type}' END"
    )


def _by_reason(rejected: Iterable[tuple[str, int, str]]) -> dict[str, Rejected]:
    """The rejects by reason; the first place is that of the first file."""
    reasons: dict[str, Rejected] = {}
    for reason, count, place in rejected:
        known = reasons.get(reason)
        reasons[reason] = Rejected(known.count + count, known.first) if known else Rejected(count, place)
    return reasons
