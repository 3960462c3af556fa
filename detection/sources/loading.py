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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
    """A value as SQL, and the SQL for the reason why it cannot be had (NULL where it can).

    `short` is cheaper SQL, for a column of which it gives every value.
    """

    value: str
    problem: str
    short: str | None = None


# The reason why rows were left out, how many they are, and where the first stands.
_Reject = tuple[str, int, str]
_Take = Callable[[Mapping[str, _Column], Path, str], list[_Reject]]


def files_of(folder: Path, table: str) -> list[Path]:
    """The files of a table in a folder, by name: `<table>*.jsonl`, `.csv`, `.parquet`."""
    return sorted(path for ending in FORMATS for path in folder.glob(f"{table}*.{ending}"))


def load(connection: duckdb.DuckDBPyConnection, name: str, table: Table, files: Sequence[Path]) -> Loaded:
    """Creates the DuckDB table `<name>_rows` from its files: the columns of `table` and three of our own.

    The three: `_ingested` (TIMESTAMP in UTC, null where the file does not say), `_file` and `_line`.
    Raises ConfigurationError when a required column is in none of the files, DataError when a file
    is not what its ending says.
    """
    _create(connection, f"{name}_rows", table)
    return _taken(connection, name, table, files, partial(_insert, connection, f"{name}_rows", table))


def look_at(connection: duckdb.DuckDBPyConnection, name: str, table: Table, files: Sequence[Path]) -> Loaded:
    """Creates `<name>_rows` as a view of the same rows: Parquet stays on disk, and every query reads of it what it needs.

    For few queries over more than memory holds. Other files are loaded. Raises what `load` raises.
    """
    _create(connection, f"{name}_loaded", table)
    parts = [f'SELECT * FROM "{name}_loaded"']

    def take(columns: Mapping[str, _Column], path: Path, shown: str) -> list[_Reject]:
        if path.suffix != ".parquet":
            return _insert(connection, f"{name}_loaded", table, columns, path, shown)
        values = _cheap(connection, table, columns, path)
        parts.append(_sound(table, columns, path, shown, values))
        return [] if values else _rejects(connection, f"({_staged(table, columns, path)})", shown)

    loaded = _taken(connection, name, table, files, take)
    parts = parts[
        all(path.suffix == ".parquet" for path in files) :
    ]  # a union is more for the engine to see through
    connection.execute(f'CREATE VIEW "{name}_rows" AS {" UNION ALL ".join(parts)}')
    return loaded


def _create(connection: duckdb.DuckDBPyConnection, name: str, table: Table) -> None:
    definition = ", ".join(f'"{column}" {SQL_TYPES[kind]}' for column, kind in _wanted(table).items())
    connection.execute(f'CREATE TABLE "{name}" ({definition}, _file VARCHAR, _line BIGINT)')


def _taken(
    connection: duckdb.DuckDBPyConnection, name: str, table: Table, files: Sequence[Path], take: _Take
) -> Loaded:
    """Takes the rows of every file, and says what became of them."""
    wanted = _wanted(table)
    seen: set[str] = set()
    rejected: list[_Reject] = []
    for path in files:
        try:
            with _readable(path) as readable:
                columns = _columns(connection, readable, wanted)
                rejected += take(columns, readable, path.name)
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
    return f"(SELECT file_row_number + 1 AS _line, * FROM read_parquet({_quoted(path)}))"


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
    target: str,
    table: Table,
    present: Mapping[str, _Column],
    path: Path,
    shown: str,
) -> list[_Reject]:
    """Adds the sound rows of one file to a table; returns what is wrong with the others."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE staged AS {_staged(table, present, path)}")
    columns = "".join(f'"{column}", ' for column in _wanted(table) if column in present)
    connection.execute(
        f'INSERT INTO "{target}" ({columns} _file, _line) SELECT {columns} ?, _line FROM staged WHERE problem IS NULL',
        [shown],
    )
    found = _rejects(connection, "staged", shown)
    if path.suffix == ".csv":
        broken = connection.execute(
            "SELECT 'not a CSV record', count(DISTINCT line), min(line) FROM reject_errors HAVING count(*) > 0"
        ).fetchall()
        found += [(reason, count, f"{shown}:{line}") for reason, count, line in broken]
        connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    connection.execute("DROP TABLE staged")
    return found


def _staged(table: Table, present: Mapping[str, _Column], path: Path) -> str:
    """SQL for the rows of one file, typed, with `_line` and, where there is one, the `problem` of each."""
    typed = _typed_columns(table, present)
    values = "".join(f'{one.value} AS "{column}", ' for column, one in typed.items())
    problem = _problem(table, typed)
    if path.suffix == ".jsonl":
        problem = f"coalesce(CASE WHEN line IS NULL THEN 'not a JSON object' END, {problem})"
    return f"SELECT {values} _line, {problem} AS problem FROM {_relation(path, _wanted(table))}"


def _problem(table: Table, typed: Mapping[str, _Typed]) -> str:
    """SQL for the first thing that is wrong with a row; NULL where nothing is."""
    problems = [f"'{column}: ' || {one.problem}" for column, one in typed.items() if one.problem != "NULL"]
    stamped = typed[table.stamped].value if table.stamped in typed else "NULL"
    problems.append(f"CASE WHEN {stamped} IS NULL THEN '{table.stamped}: no time' END")
    return f"coalesce({', '.join(problems)})"


def _sound(
    table: Table, present: Mapping[str, _Column], path: Path, shown: str, cheap: Mapping[str, str] | None
) -> str:
    """SQL for the sound rows of one file, with every column that the table has; where all rows are sound, the cheap one."""
    wanted = _wanted(table)
    values = {
        column: "''" if kind == "string" else f"NULL::{SQL_TYPES[kind]}" for column, kind in wanted.items()
    }
    if cheap is not None:  # nothing but the columns that a query asks for need be looked at
        values |= cheap
        relation = _relation(path, wanted)
    else:
        values |= {column: f'"{column}"' for column in wanted if column in present}
        relation = f"({_staged(table, present, path)}) WHERE problem IS NULL"
    columns = "".join(f'{value} AS "{column}", ' for column, value in values.items())
    return f"SELECT {columns} {_text_literal(shown)} AS _file, _line FROM {relation}"


def _cheap(
    connection: duckdb.DuckDBPyConnection, table: Table, present: Mapping[str, _Column], path: Path
) -> dict[str, str] | None:
    """SQL for the values of one file, the short one where it gives the same in all rows; None where not all rows are sound.

    Long SQL is written into a query as often as the rule speaks of the column.
    """
    typed = _typed_columns(table, present)
    short = {column: one.short for column, one in typed.items() if one.short}
    tests = [f"bool_and({typed[column].value} IS NOT DISTINCT FROM {sql})" for column, sql in short.items()]
    broken, *same = connection.execute(
        f"SELECT {', '.join([f'count({_problem(table, typed)})', *tests])} FROM {_relation(path, _wanted(table))}"
    ).fetchone() or (1,)
    chosen = {column for column, holds in zip(short, same, strict=True) if holds}
    return (
        None
        if broken
        else {name: short[name] if name in chosen else one.value for name, one in typed.items()}
    )


def _rejects(connection: duckdb.DuckDBPyConnection, staged: str, shown: str) -> list[_Reject]:
    found = connection.execute(
        f"SELECT problem, count(*), min(_line) FROM {staged} WHERE problem IS NOT NULL GROUP BY problem"
    ).fetchall()
    return [(reason, count, f"{shown}:{line}") for reason, count, line in found]


def _typed_columns(table: Table, present: Mapping[str, _Column]) -> dict[str, _Typed]:
    return {
        column: _typed(present[column], kind) for column, kind in _wanted(table).items() if column in present
    }


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
        short=f"TRY_CAST({text} AS JSON)" if column.kind == "text" else None,
    )


def _string(column: _Column) -> _Typed:
    return _Typed(f"coalesce({_text(column)}, '')", f"CASE WHEN {_other_type(column)} THEN 'not text' END")


def _plain(column: _Column, sql_type: str) -> _Typed:
    if column.kind == sql_type:
        return _Typed(column.raw, "NULL")
    text = f"nullif({column.raw} ->> '$', '')" if column.kind == "json" else f"nullif({_text(column)}, '')"
    value = f"try_cast({text} AS {sql_type})"
    return _Typed(
        value, f"CASE WHEN {text} IS NOT NULL AND {value} IS NULL THEN 'not of type {sql_type}' END"
    )


def _by_reason(rejected: Iterable[_Reject]) -> dict[str, Rejected]:
    """The rejects by reason; the first place is that of the first file."""
    reasons: dict[str, Rejected] = {}
    for reason, count, place in rejected:
        known = reasons.get(reason)
        reasons[reason] = Rejected(known.count + count, known.first) if known else Rejected(count, place)
    return reasons
