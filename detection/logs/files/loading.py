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

from detection.base.errors import ConfigurationError, DataError
from detection.base.timestamps import FIRST_YEAR, LAST_YEAR
from detection.logs.events import Rejected
from detection.rules.model import KqlType, LogTable

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
class LoadedFiles:
    """What became of one table's files: columns `ignored`, rows `rejected` by reason."""

    files: Sequence[Path]
    ignored: Sequence[str]
    rejected: Mapping[str, Rejected]


@dataclass(frozen=True, slots=True)
class _FileColumn:
    """A column of a file: SQL for its raw value, and what that value is.

    `kind` is "json" (a JSON value), "text", "utc" (text whose zone is known to be UTC), or DuckDB's type.
    """

    raw: str
    kind: str


@dataclass(frozen=True, slots=True)
class _TypedColumn:
    """A value as SQL, and the SQL for the reason why it cannot be had (NULL where it can).

    `short` is cheaper SQL, for a column of which it gives every value.
    """

    value: str
    problem: str
    cheap_value: str | None = None


# The reason why rows were left out, how many they are, and where the first stands.
_RejectCount = tuple[str, int, str]
_FileLoader = Callable[[Mapping[str, _FileColumn], Path, str], list[_RejectCount]]


def files_of(folder: Path, table: str) -> list[Path]:
    """The files of a table in a folder, by name: `<table>*.jsonl`, `.csv`, `.parquet`."""
    return sorted(path for ending in FORMATS for path in folder.glob(f"{table}*.{ending}"))


def load_table(
    connection: duckdb.DuckDBPyConnection, name: str, table: LogTable, files: Sequence[Path]
) -> LoadedFiles:
    """Creates the DuckDB table `<name>_rows` from its files: the columns of `table` and three of our own.

    The three: `_ingested` (TIMESTAMP in UTC, null where the file does not say), `_file` and `_line`.
    Raises ConfigurationError when a required column is in none of the files, DataError when a file
    is not what its ending says.
    """
    _create_table(connection, f"{name}_rows", table)
    return _load_files(connection, name, table, files, partial(_insert, connection, f"{name}_rows", table))


def view_table(
    connection: duckdb.DuckDBPyConnection, name: str, table: LogTable, files: Sequence[Path]
) -> LoadedFiles:
    """Creates `<name>_rows` as a view of the same rows: Parquet stays on disk, and every query reads of it what it needs.

    For few queries over more than memory holds. Other files are loaded. Raises what `load` raises.
    """
    _create_table(connection, f"{name}_loaded", table)
    parts = [f'SELECT * FROM "{name}_loaded"']

    def load_file(columns: Mapping[str, _FileColumn], path: Path, file_name: str) -> list[_RejectCount]:
        if path.suffix != ".parquet":
            return _insert(connection, f"{name}_loaded", table, columns, path, file_name)
        values = _cheap_values(connection, table, columns, path)
        parts.append(_valid_rows_sql(table, columns, path, file_name, values))
        return (
            [] if values else _count_rejects(connection, f"({_staged_sql(table, columns, path)})", file_name)
        )

    loaded = _load_files(connection, name, table, files, load_file)
    parts = parts[
        all(path.suffix == ".parquet" for path in files) :
    ]  # a union is more for the engine to see through
    connection.execute(f'CREATE VIEW "{name}_rows" AS {" UNION ALL ".join(parts)}')
    return loaded


def _create_table(connection: duckdb.DuckDBPyConnection, name: str, table: LogTable) -> None:
    definition = ", ".join(f'"{column}" {SQL_TYPES[kind]}' for column, kind in _table_columns(table).items())
    connection.execute(f'CREATE TABLE "{name}" ({definition}, _file VARCHAR, _line BIGINT)')


def _load_files(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    table: LogTable,
    files: Sequence[Path],
    load_file: _FileLoader,
) -> LoadedFiles:
    """Takes the rows of every file, and says what became of them."""
    table_columns = _table_columns(table)
    present_columns: set[str] = set()
    rejects: list[_RejectCount] = []
    for path in files:
        try:
            with _as_utf8(path) as readable_path:
                columns = _columns(connection, readable_path, table_columns)
                rejects += load_file(columns, readable_path, path.name)
        except duckdb.Error as error:
            msg = f"{path}: cannot be read as {path.suffix[1:]}: {str(error).splitlines()[0]}"
            raise DataError(msg) from error
        present_columns |= columns.keys()
    missing = [column for column in table.required if column not in present_columns]
    if present_columns and missing:
        msg = f"{name}: no file has the column {', '.join(missing)} (looked in {', '.join(file.name for file in files)})"
        raise ConfigurationError(msg)
    return LoadedFiles(files, sorted(present_columns - table_columns.keys()), _rejected_by_reason(rejects))


def _table_columns(table: LogTable) -> dict[str, KqlType]:
    return {**table.columns, ARRIVED: "datetime"}


@contextmanager
def _as_utf8(path: Path) -> Iterator[Path]:
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


def _relation(path: Path, table_columns: Mapping[str, KqlType]) -> str:
    """The file's rows as SQL, with `_line`; for JSON lines `line` is the object and `fields` its parts."""
    if path.suffix == ".jsonl":
        return _json_lines(_quoted(path), table_columns)
    if path.suffix == ".csv":
        return _csv(path)
    return f"(SELECT file_row_number + 1 AS _line, * FROM read_parquet({_quoted(path)}))"


def _json_lines(name: str, table_columns: Mapping[str, KqlType]) -> str:
    fields = ", ".join(f'"{column}":"JSON"' for column in table_columns)
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
    connection: duckdb.DuckDBPyConnection, path: Path, table_columns: Mapping[str, KqlType]
) -> dict[str, _FileColumn]:
    """The columns of a file by the name they have in the table."""
    if path.suffix == ".jsonl":
        keys = connection.execute(
            f"SELECT DISTINCT unnest(json_keys(line)) AS key FROM {_relation(path, table_columns)} ORDER BY key"
        ).fetchall()
        return {key: _FileColumn(f'fields."{key}"', "json") for (key,) in keys}
    described = connection.execute(
        f"DESCRIBE SELECT * EXCLUDE _line FROM {_relation(path, table_columns)}"
    ).fetchall()
    return dict(_named_column(header, kind) for header, kind, *_ in described)


def _named_column(header: str, kind: str) -> tuple[str, _FileColumn]:
    raw = '"' + header.replace('"', '""') + '"'
    if kind != "VARCHAR":
        return header, _FileColumn(raw, kind)
    if header.endswith(_UTC_HEADER):
        return header.removesuffix(_UTC_HEADER), _FileColumn(raw, "utc")
    return header, _FileColumn(raw, "text")


def _insert(
    connection: duckdb.DuckDBPyConnection,
    target: str,
    table: LogTable,
    file_columns: Mapping[str, _FileColumn],
    path: Path,
    file_name: str,
) -> list[_RejectCount]:
    """Adds the sound rows of one file to a table; returns what is wrong with the others."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE staged AS {_staged_sql(table, file_columns, path)}")
    columns = "".join(f'"{column}", ' for column in _table_columns(table) if column in file_columns)
    connection.execute(
        f'INSERT INTO "{target}" ({columns} _file, _line) SELECT {columns} ?, _line FROM staged WHERE problem IS NULL',
        [file_name],
    )
    rejects = _count_rejects(connection, "staged", file_name)
    if path.suffix == ".csv":
        broken_records = connection.execute(
            "SELECT 'not a CSV record', count(DISTINCT line), min(line) FROM reject_errors HAVING count(*) > 0"
        ).fetchall()
        rejects += [(reason, count, f"{file_name}:{line}") for reason, count, line in broken_records]
        connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    connection.execute("DROP TABLE staged")
    return rejects


def _staged_sql(table: LogTable, file_columns: Mapping[str, _FileColumn], path: Path) -> str:
    """SQL for the rows of one file, typed, with `_line` and, where there is one, the `problem` of each."""
    typed_columns = _typed_columns(table, file_columns)
    values = "".join(
        f'{typed_column.value} AS "{column}", ' for column, typed_column in typed_columns.items()
    )
    problem = _problem_sql(table, typed_columns)
    if path.suffix == ".jsonl":
        problem = f"coalesce(CASE WHEN line IS NULL THEN 'not a JSON object' END, {problem})"
    return f"SELECT {values} _line, {problem} AS problem FROM {_relation(path, _table_columns(table))}"


def _problem_sql(table: LogTable, typed_columns: Mapping[str, _TypedColumn]) -> str:
    """SQL for the first thing that is wrong with a row; NULL where nothing is."""
    problems = [
        f"'{column}: ' || {typed_column.problem}"
        for column, typed_column in typed_columns.items()
        if typed_column.problem != "NULL"
    ]
    stamped = typed_columns[table.stamped].value if table.stamped in typed_columns else "NULL"
    problems.append(f"CASE WHEN {stamped} IS NULL THEN '{table.stamped}: no time' END")
    return f"coalesce({', '.join(problems)})"


def _valid_rows_sql(
    table: LogTable,
    file_columns: Mapping[str, _FileColumn],
    path: Path,
    file_name: str,
    cheap_values: Mapping[str, str] | None,
) -> str:
    """SQL for the sound rows of one file, with every column that the table has; where all rows are sound, the cheap one."""
    table_columns = _table_columns(table)
    values = {
        column: "''" if kind == "string" else f"NULL::{SQL_TYPES[kind]}"
        for column, kind in table_columns.items()
    }
    if cheap_values is not None:  # nothing but the columns that a query asks for need be looked at
        values |= cheap_values
        relation = _relation(path, table_columns)
    else:
        values |= {column: f'"{column}"' for column in table_columns if column in file_columns}
        relation = f"({_staged_sql(table, file_columns, path)}) WHERE problem IS NULL"
    columns = "".join(f'{value} AS "{column}", ' for column, value in values.items())
    return f"SELECT {columns} {_text_literal(file_name)} AS _file, _line FROM {relation}"


def _cheap_values(
    connection: duckdb.DuckDBPyConnection,
    table: LogTable,
    file_columns: Mapping[str, _FileColumn],
    path: Path,
) -> dict[str, str] | None:
    """SQL for the values of one file, the short one where it gives the same in all rows; None where not all rows are sound.

    Long SQL is written into a query as often as the rule speaks of the column.
    """
    typed_columns = _typed_columns(table, file_columns)
    cheap_sql = {
        column: typed_column.cheap_value
        for column, typed_column in typed_columns.items()
        if typed_column.cheap_value
    }
    tests = [
        f"bool_and({typed_columns[column].value} IS NOT DISTINCT FROM {sql})"
        for column, sql in cheap_sql.items()
    ]
    problem_count, *equalities = connection.execute(
        f"SELECT {', '.join([f'count({_problem_sql(table, typed_columns)})', *tests])} FROM {_relation(path, _table_columns(table))}"
    ).fetchone() or (1,)
    cheap_columns = {column for column, is_equal in zip(cheap_sql, equalities, strict=True) if is_equal}
    return (
        None
        if problem_count
        else {
            name: cheap_sql[name] if name in cheap_columns else typed_column.value
            for name, typed_column in typed_columns.items()
        }
    )


def _count_rejects(
    connection: duckdb.DuckDBPyConnection, relation: str, file_name: str
) -> list[_RejectCount]:
    problems = connection.execute(
        f"SELECT problem, count(*), min(_line) FROM {relation} WHERE problem IS NOT NULL GROUP BY problem"
    ).fetchall()
    return [(reason, count, f"{file_name}:{line}") for reason, count, line in problems]


def _typed_columns(table: LogTable, file_columns: Mapping[str, _FileColumn]) -> dict[str, _TypedColumn]:
    return {
        column: _type_column(file_columns[column], kind)
        for column, kind in _table_columns(table).items()
        if column in file_columns
    }


def _type_column(column: _FileColumn, kind: KqlType) -> _TypedColumn:
    if kind == "datetime":
        return _datetime(column)
    if kind == "dynamic":
        return _dynamic(column)
    if kind == "string":
        return _string(column)
    return _plain(column, SQL_TYPES[kind])


def _text(column: _FileColumn) -> str:
    """The raw value as text; NULL where it is a JSON value of another type."""
    if column.kind == "json":
        return f"CASE json_type({column.raw}) WHEN 'VARCHAR' THEN {column.raw} ->> '$' END"
    return f"CAST({column.raw} AS VARCHAR)"


def _other_type(column: _FileColumn) -> str:
    """SQL for: a JSON value that is neither text nor null."""
    return f"json_type({column.raw}) NOT IN ('VARCHAR', 'NULL')" if column.kind == "json" else "false"


def _datetime(column: _FileColumn) -> _TypedColumn:
    if column.kind.startswith("TIMESTAMP"):
        zoned = column.kind == "TIMESTAMP WITH TIME ZONE"
        value = f"{column.raw} AT TIME ZONE 'UTC'" if zoned else f"CAST({column.raw} AS TIMESTAMP)"
        return _TypedColumn(value, f"CASE WHEN {_absurd_sql(value)} THEN 'absurd time' END")
    text = f"nullif(trim({_text(column)}), '')"
    value = f"CASE WHEN regexp_matches({text}, '{_ZONED}') THEN try_cast({text} AS TIMESTAMPTZ) AT TIME ZONE 'UTC' END"
    if column.kind == "utc":
        value = f"coalesce({value}, try_strptime({text}, {_PORTAL}), try_cast({text} AS TIMESTAMP))"
    return _TypedColumn(
        value,
        f"CASE WHEN {_other_type(column)} THEN 'not a time' WHEN {text} IS NULL THEN NULL "
        f"WHEN {value} IS NULL AND regexp_matches({text}, '{_NAIVE}') THEN 'time without a zone' "
        f"WHEN {value} IS NULL THEN 'not a time' WHEN {_absurd_sql(value)} THEN 'absurd time' END",
    )


def _absurd_sql(value: str) -> str:
    return f"NOT ({value} BETWEEN TIMESTAMP '{FIRST_YEAR}-01-01' AND TIMESTAMP '{LAST_YEAR}-01-01')"


def _dynamic(column: _FileColumn) -> _TypedColumn:
    if column.kind not in ("json", "text", "utc", "JSON"):
        return _TypedColumn(f"to_json({column.raw})", "NULL")
    text = f"nullif({_text(column)}, '')"
    parsed = f"json(try_cast({text} AS JSON))"
    value = f"coalesce({parsed}, to_json({text}))"
    if column.kind == "json":
        value = f"CASE json_type({column.raw}) WHEN 'VARCHAR' THEN {value} ELSE {column.raw} END"
    broken = f"{parsed} IS NULL AND regexp_matches({text}, '^\\s*[\\[{{\"]')"
    return _TypedColumn(
        f"CASE WHEN json_type({value}) <> 'NULL' THEN {value} END",
        f"CASE WHEN {broken} THEN CASE WHEN strlen({text}) >= {FIELD_LIMIT} THEN 'JSON cut at 64 KB' "
        "ELSE 'not JSON' END END",
        cheap_value=f"TRY_CAST({text} AS JSON)" if column.kind == "text" else None,
    )


def _string(column: _FileColumn) -> _TypedColumn:
    return _TypedColumn(
        f"coalesce({_text(column)}, '')", f"CASE WHEN {_other_type(column)} THEN 'not text' END"
    )


def _plain(column: _FileColumn, sql_type: str) -> _TypedColumn:
    if column.kind == sql_type:
        return _TypedColumn(column.raw, "NULL")
    text = f"nullif({column.raw} ->> '$', '')" if column.kind == "json" else f"nullif({_text(column)}, '')"
    value = f"try_cast({text} AS {sql_type})"
    return _TypedColumn(
        value, f"CASE WHEN {text} IS NOT NULL AND {value} IS NULL THEN 'not of type {sql_type}' END"
    )


def _rejected_by_reason(rejected: Iterable[_RejectCount]) -> dict[str, Rejected]:
    """The rejects by reason; the first place is that of the first file."""
    reasons: dict[str, Rejected] = {}
    for reason, count, location in rejected:
        previous = reasons.get(reason)
        reasons[reason] = (
            Rejected(previous.count + count, previous.first_location)
            if previous
            else Rejected(count, location)
        )
    return reasons
