"""Loads exported log files (JSON lines, CSV, Parquet) into typed DuckDB tables. A table may have several
files.

A row is rejected with its reason if a value does not have the column's type; columns.py has the rules.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from detection.base.errors import ConfigurationError, DataError
from detection.logs.events import Rejected
from detection.logs.files.columns import (
    SQL_TYPES,
    FileColumn,
    TypedColumn,
    typed_column,
    without_lone_surrogates,
)
from detection.rules.model import KqlType, LogTable

FORMATS = ("jsonl", "csv", "parquet")
ARRIVED = "_ingested"
LINE_LIMIT = 16 * 2**20  # bytes read of a line; Log Analytics keeps a row below 1 MiB
_UTC_HEADER = " [UTC]"


@dataclass(frozen=True, slots=True)
class LoadedFiles:
    """The result of loading a table's files: the `ignored` columns, the `rejected` rows by reason."""

    files: Sequence[Path]
    ignored: Sequence[str]
    rejected: Mapping[str, Rejected]


_RejectCount = tuple[str, int, str]  # the reason, the number of rows, the location of the first of them
_FileLoader = Callable[[Mapping[str, FileColumn], Path, str], list[_RejectCount]]


def files_of(folder: Path, table: str) -> list[Path]:
    """The files of a table in a folder, by name: `<table>*.jsonl`, `.csv`, `.parquet`."""
    return sorted(path for ending in FORMATS for path in folder.glob(f"{table}*.{ending}"))


def load_table(
    connection: duckdb.DuckDBPyConnection, name: str, table: LogTable, files: Sequence[Path]
) -> LoadedFiles:
    """Creates the DuckDB table `<name>_rows` from its files: the columns of `table` and three more.

    The three: `_ingested` (TIMESTAMP in UTC, null if the file does not say), `_file` and `_line`. Raises
    ConfigurationError if a required column is in none of the files, DataError if a file is not in the format
    that its suffix says.
    """
    _create_table(connection, f"{name}_rows", table)
    return _load_files(connection, name, table, files, partial(_insert, connection, f"{name}_rows", table))


def view_table(
    connection: duckdb.DuckDBPyConnection, name: str, table: LogTable, files: Sequence[Path]
) -> LoadedFiles:
    """Creates `<name>_rows` as a view of the same rows. Parquet stays on disk: each query reads only what it
    needs.

    For few queries over more rows than memory holds. Files of other formats are loaded. Raises the errors of
    load_table.
    """
    _create_table(connection, f"{name}_loaded", table)
    table_columns = _table_columns(table)
    parts = [f'SELECT * FROM "{name}_loaded"']

    def load_file(columns: Mapping[str, FileColumn], path: Path, file_name: str) -> list[_RejectCount]:
        if path.suffix != ".parquet":
            return _insert(connection, f"{name}_loaded", table, columns, path, file_name)
        values = {
            column: "''" if kind == "string" else f"NULL::{SQL_TYPES[kind]}"
            for column, kind in table_columns.items()
        }
        rejects: list[_RejectCount] = []
        cheap_values = _cheap_values(connection, table, columns, path)
        if cheap_values is not None:  # every row is valid, so a query computes only the columns that it reads
            values |= cheap_values
            rows = _relation(path, table_columns)
        else:
            values |= {column: f'"{column}"' for column in table_columns if column in columns}
            staged = f"({_staged_sql(table, columns, path)})"
            rows = f"{staged} WHERE problem IS NULL"
            rejects = _count_rejects(connection, staged, file_name)
        selected = "".join(f'{value} AS "{column}", ' for column, value in values.items())
        parts.append(f"SELECT {selected} {_text_literal(file_name)} AS _file, _line FROM {rows}")
        return rejects

    loaded = _load_files(connection, name, table, files, load_file)
    if all(path.suffix == ".parquet" for path in files):
        del parts[0]  # the table is empty, and DuckDB optimizes a query better without the union
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
    """Loads every file. The first location of a reject reason is that of the first file."""
    table_columns = _table_columns(table)
    present_columns: set[str] = set()
    rejected: dict[str, Rejected] = {}
    for path in files:
        try:
            with _as_utf8(path) as readable_path:
                columns = _columns(connection, readable_path, table_columns)
                rejects = load_file(columns, readable_path, path.name)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{path}: cannot be read as {path.suffix[1:]}: {reason}") from error
        present_columns |= columns.keys()
        for reason, count, location in rejects:
            previous = rejected.get(reason, Rejected(0, location))
            rejected[reason] = Rejected(previous.count + count, previous.first_location)
    missing = [column for column in table.required if column not in present_columns]
    if present_columns and missing:
        file_names = ", ".join(file.name for file in files)
        raise ConfigurationError(
            f"{name}: no file has the column {', '.join(missing)} (looked in {file_names})"
        )
    return LoadedFiles(files, sorted(present_columns - table_columns.keys()), rejected)


def _table_columns(table: LogTable) -> dict[str, KqlType]:
    return {**table.columns, ARRIVED: "datetime"}


@contextmanager
def _as_utf8(path: Path) -> Iterator[Path]:
    """The file or, if its text is not UTF-8, a temporary copy with U+FFFD in place of invalid bytes."""
    try:
        if path.suffix != ".parquet":
            with path.open(encoding="utf-8", newline="") as text:
                for _ in text:
                    pass
        is_readable = True
    except UnicodeDecodeError:
        is_readable = False
    if is_readable:
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


def _relation(path: Path, table_columns: Mapping[str, KqlType]) -> str:
    """SQL for the file's rows, with `_line`. For JSON lines `line` is the object, and `fields` are its
    members.

    A CSV record counts as a line. Raises DataError if a CSV header is missing or names a column twice.
    """
    # DuckDB would take *, ? and [ in a file name for a pattern.
    name = _text_literal(re.sub(r"([*?\[])", r"[\1]", str(path)))
    if path.suffix == ".parquet":
        return f"(SELECT file_row_number + 1 AS _line, * FROM read_parquet({name}))"
    if path.suffix == ".jsonl":
        fields = ", ".join(f'"{column}":"JSON"' for column in table_columns)
        lines = (
            f"SELECT row_number() OVER () AS _line, text "
            rf"FROM read_csv({name}, columns={{'text': 'VARCHAR'}}, delim='\x01', quote='', escape='', "
            f"header=false, auto_detect=false, max_line_size={LINE_LIMIT})"
        )
        line, repaired_line = (
            f"CASE json_type(try_cast({line} AS JSON)) WHEN 'OBJECT' THEN {line} END"
            for line in ("text", without_lone_surrogates("text"))
        )
        objects = (
            f"SELECT _line, coalesce({line}, {repaired_line}) AS line FROM ({lines}) WHERE text IS NOT NULL"
        )
        return f"(SELECT _line, line, from_json(line, '{{{fields}}}') AS fields FROM ({objects}))"
    with path.open(encoding="utf-8-sig", newline="") as text:
        records = csv.reader(text)
        header = [cell.strip() for cell in next((record for record in records if record), [])]
        header_lines = records.line_num
    if not header or len({cell.casefold() for cell in header}) < len(header):
        raise DataError(f"{path}: its first line must name every column once")
    columns = ", ".join(f"{_text_literal(cell)}: 'VARCHAR'" for cell in header)
    return (
        f"(SELECT row_number() OVER () + {header_lines} AS _line, * FROM read_csv({name}, "
        f"columns={{{columns}}}, header=false, skip={header_lines}, auto_detect=false, parallel=false, "
        f"delim=',', quote='\"', escape='\"', null_padding=true, max_line_size={LINE_LIMIT}, "
        "ignore_errors=true, store_rejects=true))"
    )


def _text_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _columns(
    connection: duckdb.DuckDBPyConnection, path: Path, table_columns: Mapping[str, KqlType]
) -> dict[str, FileColumn]:
    """The columns of a file by their names in the table."""
    relation = _relation(path, table_columns)
    if path.suffix == ".jsonl":
        keys = connection.execute(
            f"SELECT DISTINCT unnest(json_keys(line)) AS key FROM {relation} ORDER BY key"
        ).fetchall()
        return {key: FileColumn(f'fields."{key}"', "json") for (key,) in keys}
    columns: dict[str, FileColumn] = {}
    described = connection.execute(f"DESCRIBE SELECT * EXCLUDE _line FROM {relation}").fetchall()
    for header, sql_type, *_ in described:
        raw = '"' + header.replace('"', '""') + '"'
        if sql_type != "VARCHAR":
            columns[header] = FileColumn(raw, sql_type)
        elif header.endswith(_UTC_HEADER):
            columns[header.removesuffix(_UTC_HEADER)] = FileColumn(raw, "utc")
        else:
            columns[header] = FileColumn(raw, "text")
    return columns


def _insert(
    connection: duckdb.DuckDBPyConnection,
    target: str,
    table: LogTable,
    file_columns: Mapping[str, FileColumn],
    path: Path,
    file_name: str,
) -> list[_RejectCount]:
    """Adds the valid rows of one file to a table. Returns the counts of the others."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE staged AS {_staged_sql(table, file_columns, path)}")
    columns = "".join(f'"{column}", ' for column in _table_columns(table) if column in file_columns)
    connection.execute(
        f'INSERT INTO "{target}" ({columns} _file, _line) '
        f"SELECT {columns} ?, _line FROM staged WHERE problem IS NULL",
        [file_name],
    )
    rejects = _count_rejects(connection, "staged", file_name)
    if path.suffix == ".csv":
        broken_records = connection.execute(
            "SELECT 'not a CSV record', count(DISTINCT line), min(line) FROM reject_errors "
            "HAVING count(*) > 0"
        ).fetchall()
        rejects += [(reason, count, f"{file_name}:{line}") for reason, count, line in broken_records]
        connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    connection.execute("DROP TABLE staged")
    return rejects


def _staged_sql(table: LogTable, file_columns: Mapping[str, FileColumn], path: Path) -> str:
    """SQL for the typed rows of one file, with `_line`, and the `problem` of a row that is rejected."""
    typed_columns = _typed_columns(table, file_columns)
    values = "".join(f'{typed.value} AS "{column}", ' for column, typed in typed_columns.items())
    problem = _problem_sql(table, typed_columns)
    if path.suffix == ".jsonl":
        problem = f"coalesce(CASE WHEN line IS NULL THEN 'not a JSON object' END, {problem})"
    return f"SELECT {values} _line, {problem} AS problem FROM {_relation(path, _table_columns(table))}"


def _problem_sql(table: LogTable, typed_columns: Mapping[str, TypedColumn]) -> str:
    """SQL for the first problem of a row; NULL if it has none."""
    problems = [
        f"'{column}: ' || {typed.problem}"
        for column, typed in typed_columns.items()
        if typed.problem != "NULL"
    ]
    stamped = typed_columns[table.stamped].value if table.stamped in typed_columns else "NULL"
    problems.append(f"CASE WHEN {stamped} IS NULL THEN '{table.stamped}: no time' END")
    return f"coalesce({', '.join(problems)})"


def _cheap_values(
    connection: duckdb.DuckDBPyConnection,
    table: LogTable,
    file_columns: Mapping[str, FileColumn],
    path: Path,
) -> dict[str, str] | None:
    """SQL for the values of one file: the cheap SQL if it gives the same value in all rows.

    Returns None if not all rows are valid. A query repeats a column's SQL as often as the rule mentions the
    column.
    """
    typed_columns = _typed_columns(table, file_columns)
    cheap_sql = {column: typed.cheap_value for column, typed in typed_columns.items() if typed.cheap_value}
    tests = [
        f"bool_and({typed_columns[column].value} IS NOT DISTINCT FROM {sql})"
        for column, sql in cheap_sql.items()
    ]
    counts = ", ".join([f"count({_problem_sql(table, typed_columns)})", *tests])
    problem_count, *equalities = connection.execute(
        f"SELECT {counts} FROM {_relation(path, _table_columns(table))}"
    ).fetchone() or (1,)
    if problem_count:
        return None
    values = {column: typed.value for column, typed in typed_columns.items()}
    for (column, sql), is_equal in zip(cheap_sql.items(), equalities, strict=True):
        if is_equal:
            values[column] = sql
    return values


def _count_rejects(
    connection: duckdb.DuckDBPyConnection, relation: str, file_name: str
) -> list[_RejectCount]:
    problems = connection.execute(
        f"SELECT problem, count(*), min(_line) FROM {relation} WHERE problem IS NOT NULL GROUP BY problem"
    ).fetchall()
    return [(reason, count, f"{file_name}:{line}") for reason, count, line in problems]


def _typed_columns(table: LogTable, file_columns: Mapping[str, FileColumn]) -> dict[str, TypedColumn]:
    return {
        column: typed_column(file_columns[column], kind)
        for column, kind in _table_columns(table).items()
        if column in file_columns
    }
