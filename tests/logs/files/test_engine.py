"""The functions that a rule must not use: the local engine evaluates them differently from Kusto.

Each answer of Kusto's is a literal from its reference, the page of the function's name (learn.microsoft.com,
kusto/query/<name>-function) unless another is named. A test that fails here has good news: the engine has
learnt the function, and its name can leave REFUSED_FUNCTIONS.
"""

import json
import re
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import duckdb
import duckdb_kql
import pytest

from detection.base.errors import ConfigurationError
from detection.logs.files.folder import translate
from detection.rules.loading import REFUSED_FUNCTIONS, RULES, load_rule

RULE = "openai-config-to-abuse"


class Claim(NamedTuple):
    """A query of one value, what Kusto returns for it, and where that is written."""

    query: str
    kusto: object
    source: str


BAG = 'dynamic({"nothing": null})'
CLAIMS: Mapping[str, list[Claim]] = {
    "array_concat": [
        Claim('print array_concat(dynamic(["a"]), dynamic([1, null]))', ["a", 1, None], "a dynamic is JSON"),
    ],
    "array_sort_asc": [
        Claim("print array_sort_asc(dynamic([10, 9, 2]))", [2, 9, 10], "in ascending order"),
    ],
    "array_sort_desc": [
        Claim("print array_sort_desc(dynamic([9, 10, 2]))", [10, 9, 2], "in descending order"),
    ],
    "base64_decode_tostring": [
        Claim(
            'print base64_decode_tostring("/w==")', "", "what is not UTF-8 returns null, of a string: empty"
        ),
    ],
    "base64_decodestring": [
        Claim(
            'print base64_decodestring("/w==")',
            "",
            "an alias of base64_decode_tostring: returns null as well",
        ),
    ],
    "coalesce": [
        Claim(f'print coalesce({BAG}.nothing, dynamic("x"))', "x", "the first that is not null"),
    ],
    "datetime_diff": [
        Claim(
            "print datetime_diff('week', datetime(2017-10-29 00:00), datetime(2017-09-30 23:59))",
            5,
            "its own example",
        ),
    ],
    "make_list": [
        Claim("range a from 1 to 1000 step 1 | summarize array_length(make_list(a, 3))", 3, "maxSize"),
        Claim(f"print d = {BAG} | summarize make_list(d.nothing)", [], "null values are ignored"),
    ],
    "make_set": [
        Claim("range a from 1 to 1000 step 1 | summarize array_length(make_set(a, 2))", 2, "maxSize"),
        Claim(f"print d = {BAG} | summarize make_set(d.nothing)", [], "null values are ignored"),
    ],
    "parse_json": [
        Claim('print tostring(parse_json("x y"))', "x y", "not JSON: the original string value"),
    ],
    "todatetime": [
        Claim(
            'print todatetime("Sat, 8 Nov 14 15:05:02 GMT")',
            datetime(2014, 11, 8, 15, 5, 2),
            "RFC 822, scalar-data-types/datetime",
        ),
        Claim('print todatetime("epoch")', None, "no format of scalar-data-types/datetime: null"),
    ],
    "todynamic": [
        Claim('print tostring(todynamic("x y"))', "x y", "as parse_json, whose alias it is"),
    ],
    "toupper": [
        Claim(
            'print toupper("ß")',
            "ß",
            "not in the reference; .NET's ToUpperInvariant keeps it, as Unicode does",
        ),
    ],
}
ESTIMATES = {"dcount": "dcount(x)", "dcountif": "dcountif(x, true)"}


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb_kql.connect()


def local(connection: duckdb.DuckDBPyConnection, query: str) -> object:
    """The one value that the local engine returns; a dynamic is parsed where it is JSON."""
    relation = duckdb_kql.query(connection, query)
    ((value,),) = relation.fetchall()
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


@pytest.mark.parametrize("name", REFUSED_FUNCTIONS)
def test_every_refused_function_is_shown_to_be_wrong(name: str) -> None:
    assert name in CLAIMS or name in ESTIMATES


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(claim, id=f"{name}: {claim.source}")
        for name, claims in CLAIMS.items()
        for claim in claims
    ],
)
def test_local_engine_differs_from_kusto(connection: duckdb.DuckDBPyConnection, claim: Claim) -> None:
    assert local(connection, claim.query) != claim.kusto


@pytest.mark.parametrize("name", ESTIMATES)
def test_local_engine_counts_where_kusto_estimates(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    # Kusto is exact up to 1,000 values and then off by 0.8 % (one sigma); exact in every one of 20 groups of
    # 10,000 it would not be (the reference's table of accuracies, dcount-aggregation-function).
    query = f"range x from 1 to 200000 step 1 | summarize Values = {ESTIMATES[name]} by x % 20"
    values = [row[-1] for row in duckdb_kql.query(connection, query).fetchall()]
    assert values == [10_000] * 20


# ------------------------------------------------------------------------------------------------- translated


def table_with_columns(*columns: str) -> duckdb.DuckDBPyConnection:
    """A table of these columns; each holds its own name."""
    connection = duckdb_kql.connect()
    values = ", ".join(f"'{name}' AS {name}" for name in columns)
    connection.execute(f"CREATE TABLE Names AS SELECT {values}")
    return connection


def test_text_is_translated_once_for_tables_of_the_same_columns() -> None:
    query = "Names | extend a = strcat(a, a)"
    assert translate(query, table_with_columns("a", "b")) is translate(query, table_with_columns("a", "b"))


@pytest.mark.parametrize("columns", [("a", "b"), ("b", "a"), ("a",)])
def test_text_is_translated_anew_for_tables_of_other_columns(columns: tuple[str, ...]) -> None:
    # What an operator replaces keeps its place, so the SQL names all columns.
    connection = table_with_columns(*columns)
    rows = connection.execute(translate("Names | extend a = strcat(a, a)", connection).text)
    assert rows.fetchall() == [tuple("aa" if name == "a" else name for name in columns)]


@pytest.mark.parametrize(
    "terms",
    ['"role", "api_key"', '"a|b", "user.added", "(x"', '"it\'s", "rôle", "ROLE"', '" ", "role"', '"role"'],
)
def test_any_of_several_terms_is_what_the_engine_says_of_each(
    connection: duckdb.DuckDBPyConnection, terms: str
) -> None:
    texts = (
        "role",
        "roles",
        "a role",
        "user.added",
        "userxadded",
        "Api_Key",
        "api key",
        "a|b",
        "b",
        "(x)",
        "it's",
        "Rôle,",
        "rôles",
        " ",
        "",
    )
    connection.execute("CREATE OR REPLACE TABLE Texts AS SELECT unnest(?::VARCHAR[]) AS Text", [texts])
    query = f"Texts | project Text, Has = Text has_any ({terms})"
    answer = connection.execute(translate(query, connection).text).fetchall()
    assert answer == duckdb_kql.query(connection, query).fetchall()


def test_several_terms_are_one_regular_expression(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CREATE OR REPLACE TABLE Texts AS SELECT 'a' AS Text")
    queries = ('Texts | where Text has_any ("a", "b", "c")', 'Texts | where Text has "a"')
    several, single = (translate(query, connection).text.count("regexp_matches") for query in queries)
    assert several == single


# ---------------------------------------------------------------------------------------------------- refused


def copy_rule_with_line(folder: Path, query: str, line: str) -> Path:
    """The query of a rule folder, with a line more."""
    shutil.copytree(RULES / RULE, folder / RULE)
    path = folder / RULE / query
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("query", ["changes.kql", "signals.kql"])
@pytest.mark.parametrize("name", REFUSED_FUNCTIONS)
def test_rule_that_uses_it_is_refused_by_file_function_and_reason(
    tmp_path: Path, name: str, query: str
) -> None:
    path = copy_rule_with_line(tmp_path, query, f"| extend Extra = {name}(ModelName)")
    expected = f"{re.escape(str(path))}: .*{name}: {re.escape(REFUSED_FUNCTIONS[name])}"
    with pytest.raises(ConfigurationError, match=expected):
        load_rule(RULE, tmp_path)


def test_space_before_the_parenthesis_is_no_way_around(tmp_path: Path) -> None:
    copy_rule_with_line(tmp_path, "changes.kql", "| extend Extra = todatetime (EventType)")
    with pytest.raises(ConfigurationError, match="todatetime"):
        load_rule(RULE, tmp_path)


def test_all_refused_functions_of_a_query_are_named(tmp_path: Path) -> None:
    copy_rule_with_line(tmp_path, "changes.kql", "| extend Extra = toupper(tostring(parse_json(EventType)))")
    with pytest.raises(ConfigurationError, match=r"parse_json: .*; toupper: "):
        load_rule(RULE, tmp_path)


@pytest.mark.parametrize("name", REFUSED_FUNCTIONS)
def test_comment_that_mentions_it_is_not_refused(tmp_path: Path, name: str) -> None:
    copy_rule_with_line(tmp_path, "changes.kql", f"// not {name}(EventType)")
    assert load_rule(RULE, tmp_path).folder == RULE


@pytest.mark.parametrize("line", ["| extend my_coalesce = 1", "| extend Extra = strcat('a', 'make_set')"])
def test_name_that_is_no_call_is_not_refused(tmp_path: Path, line: str) -> None:
    copy_rule_with_line(tmp_path, "changes.kql", line)
    assert load_rule(RULE, tmp_path).folder == RULE


def test_function_behind_a_text_that_holds_slashes_is_refused(tmp_path: Path) -> None:
    copy_rule_with_line(tmp_path, "changes.kql", '| extend Extra = strcat("https://x", toupper(EventType))')
    with pytest.raises(ConfigurationError, match="toupper"):
        load_rule(RULE, tmp_path)


def test_alias_that_the_engine_knows_is_refused_with_its_function(tmp_path: Path) -> None:
    # The engine does not know the other aliases: makelist, makeset, parsejson, toobject.
    copy_rule_with_line(tmp_path, "changes.kql", "| extend Extra = base64_decodestring(EventType)")
    with pytest.raises(ConfigurationError, match="base64_decodestring"):
        load_rule(RULE, tmp_path)
