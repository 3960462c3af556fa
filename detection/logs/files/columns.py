"""SQL that turns the raw value of a file's column into a typed value, or says why it cannot.

The rules for a value:

- datetime: ISO 8601 with a zone. A value without a zone is rejected, because a guess could move the event
across
  the window's edge. There are two exceptions, where the zone is known: a CSV header that says `[UTC]`, as the
  Azure portal writes it (it also writes 6/8/2026, 10:00:00.000 AM), and Parquet's typed timestamps, which
  Kusto exports in UTC. A year before 2000 or after 2100 is an error.
- dynamic: an object, a list, or JSON text. Plain text that does not look like JSON is a string, as in Kusto's
  parse_json. U+FFFD replaces lone surrogates (base/surrogates.py). JSON that
  Log Analytics cut at 64 KB is a string, as it is in the workspace.
- string: text. Null becomes "", because Kusto's strings have no null.
- numbers and bools: typed, or as text.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from detection.base.timestamps import FIRST_YEAR, LAST_YEAR
from detection.rules.model import KqlType

# Bytes. Log Analytics cuts at 64 KB; a cut field is at least as long (Azure-Sentinel, known_issues.md).
CUT_LENGTH = 65_000
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


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column of a file: SQL for its raw value, and the kind of the raw value.

    `kind` is "json" (a JSON value), "text", "utc" (text whose zone is known to be UTC), or DuckDB's type.
    """

    raw: str
    kind: str


@dataclass(frozen=True, slots=True)
class TypedColumn:
    """SQL for the typed value, and SQL for the reason why a value has no such type (NULL if it has).

    `cheap_value` is shorter SQL that may give the same value for every row of a file.
    """

    value: str
    problem: str = "NULL"
    cheap_value: str | None = None


def typed_column(column: FileColumn, kind: KqlType) -> TypedColumn:
    """The column as a value of a KQL type."""
    text, not_text = f"CAST({column.raw} AS VARCHAR)", "false"
    if column.kind == "json":  # NULL where it is a JSON value of another type
        text = f"CASE json_type({column.raw}) WHEN 'VARCHAR' THEN {column.raw} ->> '$' END"
        not_text = f"json_type({column.raw}) NOT IN ('VARCHAR', 'NULL')"
    if kind == "string":
        return TypedColumn(f"coalesce({text}, '')", f"CASE WHEN {not_text} THEN 'not text' END")
    if kind == "datetime":
        return _datetime(column, f"nullif(trim({text}), '')", not_text)
    if kind == "dynamic":
        return _dynamic(column, f"nullif({text}, '')")
    if column.kind == (sql_type := SQL_TYPES[kind]):
        return TypedColumn(column.raw)
    text = f"nullif({column.raw} ->> '$', '')" if column.kind == "json" else f"nullif({text}, '')"
    value = f"try_cast({text} AS {sql_type})"
    problem = f"CASE WHEN {text} IS NOT NULL AND {value} IS NULL THEN 'not of type {sql_type}' END"
    return TypedColumn(value, problem)


def without_lone_surrogates(json_text: str) -> str:
    """SQL for JSON text with U+FFFD in place of the escapes of lone surrogates.

    RE2 cannot look around, so chr(1) and chr(2), which JSON text does not contain, hide escaped backslashes
    and pairs of surrogates while the lone ones are replaced.
    """
    high, low, lone = (
        rf"\\u({digits}[0-9a-fA-F]{{2}})" for digits in ("[dD][89abAB]", "[dD][c-fC-F]", "[dD][89a-fA-F]")
    )
    unescaped = rf"replace({json_text}, '\\', chr(1))"
    without_pairs = rf"regexp_replace({unescaped}, '{high}{low}', chr(2) || '\1' || chr(2) || '\2', 'g')"
    without_lone = f"regexp_replace({without_pairs}, '{lone}', chr(65533), 'g')"
    return rf"replace(replace({without_lone}, chr(2), '\u'), chr(1), '\\')"


def _datetime(column: FileColumn, text: str, not_text: str) -> TypedColumn:
    in_range = f"BETWEEN TIMESTAMP '{FIRST_YEAR}-01-01' AND TIMESTAMP '{LAST_YEAR}-01-01'"
    if column.kind.startswith("TIMESTAMP"):
        zoned = column.kind == "TIMESTAMP WITH TIME ZONE"
        value = f"{column.raw} AT TIME ZONE 'UTC'" if zoned else f"CAST({column.raw} AS TIMESTAMP)"
        return TypedColumn(value, f"CASE WHEN NOT ({value} {in_range}) THEN 'absurd time' END")
    zoned_value = f"try_cast({text} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
    value = f"CASE WHEN regexp_matches({text}, '{_ZONED}') THEN {zoned_value} END"
    if column.kind == "utc":
        value = f"coalesce({value}, try_strptime({text}, {_PORTAL}), try_cast({text} AS TIMESTAMP))"
    return TypedColumn(
        value,
        f"CASE WHEN {not_text} THEN 'not a time' WHEN {text} IS NULL THEN NULL "
        f"WHEN {value} IS NULL AND regexp_matches({text}, '{_NAIVE}') THEN 'time without a zone' "
        f"WHEN {value} IS NULL THEN 'not a time' WHEN NOT ({value} {in_range}) THEN 'absurd time' END",
    )


def _dynamic(column: FileColumn, text: str) -> TypedColumn:
    if column.kind not in ("json", "text", "utc", "JSON"):
        return TypedColumn(f"to_json({column.raw})")
    parsed = f"json(coalesce(try_cast({text} AS JSON), try_cast({without_lone_surrogates(text)} AS JSON)))"
    value = f"coalesce({parsed}, to_json({text}))"
    if column.kind == "json":
        value = f"CASE json_type({column.raw}) WHEN 'VARCHAR' THEN {value} ELSE {column.raw} END"
    broken = (
        f"{parsed} IS NULL AND regexp_matches({text}, '^\\s*[\\[{{\"]') AND strlen({text}) < {CUT_LENGTH}"
    )
    return TypedColumn(
        f"CASE WHEN json_type({value}) <> 'NULL' THEN {value} END",
        f"CASE WHEN {broken} THEN 'not JSON' END",
        cheap_value=f"TRY_CAST({text} AS JSON)" if column.kind == "text" else None,
    )
