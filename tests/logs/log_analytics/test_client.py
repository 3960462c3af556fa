"""The cloud's source behind the real client: against a double that runs the KQL, and against faults."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import azure.identity
import pytest
import requests
import responses
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import AzureAuthorityHosts, CredentialUnavailableError

from detection.base.errors import ConfigurationError, DataError, DetectionError, Incomplete, ServiceError
from detection.base.timestamps import iso
from detection.logs.events import Event, Logs, Rejected
from detection.logs.files.source import FileSource
from detection.logs.kql import COVERAGE_COLUMNS, HEALTH_COLUMNS, bounds, queries, with_bounds
from detection.logs.log_analytics import answers
from detection.logs.log_analytics.answers import AUTHORITIES, AnswerTable, QueryResponse, parse_table
from detection.logs.log_analytics.cells import RowReader
from detection.logs.log_analytics.client import LogAnalytics, open_log_analytics, token_for
from detection.logs.log_analytics.reading import UNREADABLE
from detection.logs.window import plan_windows
from detection.rules.loading import default_rule, load_rule
from detection.rules.model import KqlType, Rule, Side
from tests.support.query_api import (
    ApiRequest,
    Body,
    QueryApi,
    Reply,
    bad_argument,
    error,
    partial,
    query_api,
    reply,
    tables_of,
)
from tests.support.rule_world import HOUR, MOMENT, LogWorld, change, random_world, signal, write

RULES = {name: load_rule(name) for name in (default_rule(), "openai-config-to-abuse-sentinel")}
RULE = load_rule(default_rule())
WORKSPACE = "4f1c2a6e-0b5d-4a57-9a2e-3f9d5d0c7b11"
OTHER_CALLER = "9b0e7c54-53d1-4c0e-8f57-6a1f2f0f6a22"
PUBLIC = "https://api.loganalytics.io"
SECRET = "made-up-bearer-token"
HTML = b"<html><body>Bad gateway</body></html>"

Answers = Callable[[Body], Body]
Open = Callable[..., LogAnalytics]
InFiles = Callable[[str, datetime], Logs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(random_world(seed=5, actors=300), tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def in_files(folder: Path) -> InFiles:
    """The logs as `Files` reads them: for a rule, at a moment."""
    files = FileSource(folder, RULE.tables)
    return cache(lambda name, now: files.read(RULES[name], plan_windows(now, None, RULES[name])))


@pytest.fixture(scope="module")
def shared_api(folder: Path) -> Iterator[QueryApi]:
    with tables_of(folder, RULE.tables) as connection, query_api(connection) as api:
        yield api


@pytest.fixture
def api(shared_api: QueryApi) -> QueryApi:
    """The double with the same logs, at MOMENT."""
    shared_api.reset()
    shared_api.moment = MOMENT
    return shared_api


@pytest.fixture
def opened(slept: list[float]) -> Iterator[Open]:
    """Opens sources, and closes them after the test."""
    sources: list[LogAnalytics] = []

    def open_(endpoint: str, *workspaces: str, client_id: str | None = None) -> LogAnalytics:
        sources.append(open_log_analytics(workspaces or [WORKSPACE], endpoint, client_id, lambda: MOMENT))
        return sources[-1]

    yield open_
    for source in sources:
        source.close()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have slept between its attempts; it does not."""
    slept: list[float] = []
    monkeypatch.setattr(RequestsTransport, "sleep", lambda _, seconds: slept.append(seconds))
    return slept


class Credential:
    """Stands in for azure.identity's; keeps what it was made with and asked for."""

    arguments: Mapping[str, object]
    scopes: tuple[str, ...]

    def __init__(self, **arguments: object) -> None:
        Credential.arguments = arguments

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        Credential.scopes = scopes
        return AccessToken(SECRET, 2**33)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, opened: Open) -> Iterator[responses.RequestsMock]:
    """The network as `responses` plays it, and somebody signed in."""
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Credential)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as cloud:
        yield cloud


def read(source: LogAnalytics, rule: Rule = RULE, now: datetime = MOMENT) -> Logs:
    return source.read(rule, plan_windows(now, None, rule))


def url(endpoint: str = PUBLIC) -> str:
    return f"{endpoint}/v1/workspaces/{WORKSPACE}/query"


def empty_answer() -> Body:
    """A whole answer without rows, to whichever query."""
    sides = RULE.sequence.sides
    names = [*sides["changes"].columns, *sides["signals"].columns, *HEALTH_COLUMNS, *COVERAGE_COLUMNS]
    columns = [{"name": name, "type": "string"} for name in names]
    return {"tables": [{"name": "PrimaryResult", "columns": columns, "rows": []}]}


def is_changes_answer(body: Body) -> bool:
    """Whether it is the answer to the query for changes."""
    return any(column["name"] == "ConfigId" for column in body["tables"][0]["columns"])


def first_change(**cells: object) -> Answers:
    """Amends the first row of the answer for changes."""

    def amend(body: Body) -> Body:
        if is_changes_answer(body):
            for name, value in cells.items():
                body["tables"][0]["rows"][0][column_index(body, name)] = value
        return body

    return amend


def column_index(body: Body, name: str) -> int:
    return [column["name"] for column in body["tables"][0]["columns"]].index(name)


def plain(logs: Logs, rule: Rule) -> list[list[tuple[object, ...]]]:
    """Every event in full; times in rows as moments, for files have six digits and the API seven."""
    sequence = rule.sequence
    pairs = ((logs.changes, sequence.changes), (logs.signals, sequence.signals))
    return [
        [_plain(event, side) for event in part]
        for events, side in pairs
        for part in (events.in_window, events.too_late, events.in_future)
    ]


def _plain(event: Event, side: Side) -> tuple[object, ...]:
    cells = zip(event.row, side.columns.values(), strict=True)
    return (
        *event[:4],
        *(datetime.fromisoformat(cell) if kind == "datetime" else cell for cell, kind in cells),
    )


# ------------------------------------------------------------------------------------------ the same as files


@pytest.mark.parametrize("now", [MOMENT, MOMENT + 5 * HOUR], ids=["now", "later"])
@pytest.mark.parametrize("name", RULES)
def test_events_are_those_of_the_same_logs_in_files(
    api: QueryApi, opened: Open, in_files: InFiles, name: str, now: datetime
) -> None:
    api.moment = now
    logs, expected = read(opened(api.endpoint), RULES[name], now), in_files(name, now)
    assert expected.changes.in_window
    assert expected.signals.in_window
    assert plain(logs, RULES[name]) == plain(expected, RULES[name])


@pytest.mark.parametrize("name", RULES)
def test_health_is_that_of_the_same_logs_in_files(
    api: QueryApi, opened: Open, in_files: InFiles, name: str
) -> None:
    assert read(opened(api.endpoint), RULES[name]).health == in_files(name, MOMENT).health


@pytest.mark.parametrize("name", RULES)
def test_rows_without_an_actor_are_counted(api: QueryApi, opened: Open, in_files: InFiles, name: str) -> None:
    expected = in_files(name, MOMENT).rejected
    rejected = read(opened(api.endpoint), RULES[name]).rejected
    assert rejected == {
        reason: replace(rejection, first_location="in the workspace")
        for reason, rejection in expected.items()
    }


def test_table_that_the_connector_does_not_fill_may_be_missing(tmp_path: Path, opened: Open) -> None:
    world = LogWorld(
        [change("ann@example.com", MOMENT - 2 * HOUR)], [signal("ann@example.com", MOMENT - HOUR)]
    )
    with tables_of(write(world, tmp_path), RULE.tables) as connection, query_api(connection) as api:
        logs = read(opened(api.endpoint))
    assert (len(logs.changes.in_window), len(logs.signals.in_window)) == (1, 1)


# ----------------------------------------------------------------------------------------------- what is sent


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_queries_are_sent_as_composed(api: QueryApi, opened: Open, rule: Rule) -> None:
    read(opened(api.endpoint), rule)
    values = bounds(plan_windows(MOMENT, None, rule))
    composed = [with_bounds(text, values) for text in queries(rule).values()]
    assert sorted(request.query for request in api.requests) == sorted(composed)


def test_query_alone_says_which_stretch_is_read(api: QueryApi, opened: Open) -> None:
    read(opened(api.endpoint))
    assert {request.body["timespan"] for request in api.requests} == {None}


def test_service_is_given_two_minutes(api: QueryApi, opened: Open) -> None:
    read(opened(api.endpoint))
    assert {request.headers["Prefer"] for request in api.requests} == {"wait=120"}


def test_one_workspace_is_named_in_the_path(api: QueryApi, opened: Open) -> None:
    read(opened(api.endpoint, WORKSPACE.upper()))
    assert {(request.workspace, "workspaces" in request.body) for request in api.requests} == {
        (WORKSPACE, False)
    }


def test_further_workspaces_are_named_in_the_body(api: QueryApi, opened: Open) -> None:
    read(opened(api.endpoint, WORKSPACE, OTHER_CALLER))
    assert [(request.workspace, request.body["workspaces"]) for request in api.requests] == 4 * [
        (WORKSPACE, [OTHER_CALLER])
    ]


def test_workspace_given_twice_is_asked_once(api: QueryApi, opened: Open) -> None:
    read(opened(api.endpoint, WORKSPACE, OTHER_CALLER, WORKSPACE))
    assert [request.body["workspaces"] for request in api.requests] == 4 * [[OTHER_CALLER]]


def test_each_workspace_by_itself_is_asked_for_its_own_tables(api: QueryApi, opened: Open) -> None:
    sources = opened(api.endpoint, WORKSPACE, OTHER_CALLER).single_workspaces()
    for source in sources.values():
        read(source)
    assert list(sources) == [WORKSPACE, OTHER_CALLER]
    readings = [(request.workspace, "workspaces" in request.body) for request in api.requests]
    assert readings == [*4 * [(WORKSPACE, False)], *4 * [(OTHER_CALLER, False)]]


# ------------------------------------------------------------------------------------------------------- rows


def test_columns_may_come_in_any_order(api: QueryApi, opened: Open) -> None:
    expected = read(opened(api.endpoint))

    def backwards(body: Body) -> Body:
        (table,) = body["tables"]
        return {
            "tables": [
                table | {"columns": table["columns"][::-1], "rows": [row[::-1] for row in table["rows"]]}
            ]
        }

    api.amend = backwards
    assert read(opened(api.endpoint)) == expected


def test_columns_that_nobody_asked_for_are_ignored(api: QueryApi, opened: Open) -> None:
    expected = read(opened(api.endpoint))

    def wider(body: Body) -> Body:
        (table,) = body["tables"]
        extra = {"name": "TenantId", "type": "string"}
        return {
            "tables": [
                table
                | {"columns": [extra, *table["columns"]], "rows": [["x", *row] for row in table["rows"]]}
            ]
        }

    api.amend = wider
    assert read(opened(api.endpoint)) == expected


def test_declared_column_must_be_there(api: QueryApi, opened: Open) -> None:
    query = RULE.changes_kql.replace("ConfigIp =", "Address =")
    with pytest.raises(ConfigurationError, match="no column ConfigIp"):
        read(opened(api.endpoint), RULE.model_copy(update={"changes_kql": query}))


def test_seventh_digit_of_a_time_is_dropped(api: QueryApi, opened: Open) -> None:
    api.amend = first_change(ConfigTime="2026-06-08T10:00:00.1234567Z")
    times = [event.time for event in read(opened(api.endpoint)).changes.in_window]
    assert datetime(2026, 6, 8, 10, 0, 0, 123456, tzinfo=UTC) in times


@pytest.mark.parametrize(
    "sent, expected",
    [
        ('["content_filter"]', '["content_filter"]'),
        ('{"a": 1}', '{"a": 1}'),
        ("7", "7"),
        (["stop", "é"], '["stop","é"]'),
        ({"a": {"b": None}}, '{"a":{"b":null}}'),
        (7, "7"),
        (False, "false"),
        ("content_filter", '"content_filter"'),
        ('["cut off', '"[\\"cut off"'),
        (r'["\ud83d"]', r'["\ufffd"]'),
        (r'["\\\ud83d\ude00\ude00"]', r'["\\\ud83d\ude00\ufffd"]'),
        ("NaN", '"NaN"'),
        ("null", None),
        ("", None),
        (None, None),
    ],
    # pytest does not find a test by a name with a backslash.
    ids=[
        "text of an array",
        "text of an object",
        "text of a number",
        "array",
        "object",
        "number",
        "bool",
        "text that is not JSON",
        "text that breaks off",
        "surrogate",
        "surrogate after a pair",
        "text of NaN",
        "text of null",
        "empty text",
        "null",
    ],
)
def test_dynamic_value_is_json_text_however_it_is_sent(
    api: QueryApi, opened: Open, sent: object, expected: str | None
) -> None:
    api.amend = first_change(ConfigId="this", ConfigBeyond=sent)
    (event,) = [
        change_event
        for change_event in read(opened(api.endpoint)).changes.all_events
        if change_event.id == "this"
    ]
    assert event.row[RULE.sequence.changes.place_of("ConfigBeyond")] == expected


def test_text_has_no_null(api: QueryApi, opened: Open) -> None:
    api.amend = first_change(ConfigId="this", ConfigIp=None)
    (event,) = [
        change_event
        for change_event in read(opened(api.endpoint)).changes.all_events
        if change_event.id == "this"
    ]
    assert event.row[RULE.sequence.changes.place_of("ConfigIp")] == ""


@pytest.mark.parametrize(
    "kind, cells",
    [("long", [0, None, 7]), ("bool", [False, None, True]), ("real", [0.0, None, "NaN"])],
    ids=["long", "bool", "real"],
)
def test_null_of_another_type_than_text_is_not_zero(kind: KqlType, cells: Sequence[object]) -> None:
    assert read_column(kind, cells) == (cells, {})


@pytest.mark.parametrize("kind", ["int", "long"])
def test_cell_of_another_type_than_declared_costs_its_row(kind: KqlType) -> None:
    rejected = {f"Extra: not of type {kind}": Rejected(2, "a row without an id")}
    assert read_column(kind, [1, "2", 3, True]) == ([1, 3], rejected)


def read_column(kind: KqlType, cells: Sequence[object]) -> tuple[list[object], Mapping[str, Rejected]]:
    """The cells of an additional column of this type that rows are made of, and the rejected rows."""
    side = RULE.sequence.changes
    column_types = {**side.columns, "Extra": kind}
    cell_by_type = {"datetime": "2026-06-08T10:00:00Z"}
    rows = [[*map(cell_by_type.get, side.columns.values()), cell] for cell in cells]
    reader = RowReader(side.model_copy(update={"columns": column_types}))
    return [row[-1] for row in reader.read(AnswerTable([*column_types], rows))], reader.rejected


def test_column_of_another_type_than_text_is_an_error(api: QueryApi, opened: Open) -> None:
    amend = first_change(ActorEmail=7)

    def declare_long(body: Body) -> Body:
        if is_changes_answer(body):
            body["tables"][0]["columns"][column_index(body, "ActorEmail")]["type"] = "long"
        return amend(body)

    api.amend = declare_long
    with pytest.raises(DataError, match=r"ActorEmail: the answer has the type long; .* use tostring"):
        read(opened(api.endpoint))


@pytest.mark.parametrize("sent", [7, ["ann@example.com"], {}], ids=repr)
def test_cell_that_is_not_text_costs_its_row(api: QueryApi, opened: Open, sent: object) -> None:
    rows = read(opened(api.endpoint)).changes.all_events
    api.amend = first_change(ConfigId="this", ConfigIp=sent)
    logs = read(opened(api.endpoint))
    assert logs.rejected["changes, ConfigIp: not text"] == Rejected(1, "this")
    assert (len(logs.changes.all_events), "this" in {event.id for event in logs.changes.all_events}) == (
        len(rows) - 1,
        False,
    )


def test_lone_surrogate_in_an_answer_becomes_a_replacement_character(api: QueryApi, opened: Open) -> None:
    rows = read(opened(api.endpoint)).changes.all_events
    api.amend = first_change(ConfigId="this", ConfigIp="a\ud83d😀")  # json.dumps writes an escape
    logs = read(opened(api.endpoint))
    address = RULE.sequence.changes.place_of("ConfigIp")
    assert [event.row[address] for event in logs.changes.all_events if event.id == "this"] == ["a\ufffd😀"]
    assert len(logs.changes.all_events) == len(rows)


@pytest.mark.parametrize("broken", [b"\xeb", b"\xed\xa0\xbd"], ids=["latin-1", "surrogate"])
def test_bytes_that_are_not_utf8_become_replacement_characters(
    api: QueryApi, opened: Open, broken: bytes
) -> None:
    api.amend = first_change(ConfigId="this", ConfigIp="a#")

    def spoil(request: ApiRequest) -> Reply:
        answer = api.answer(request.query)
        return replace(answer, body=answer.body.replace(b'"a#"', b'"a' + broken + b'"'))

    api.fault = spoil
    address = RULE.sequence.changes.place_of("ConfigIp")
    (event,) = [event for event in read(opened(api.endpoint)).changes.all_events if event.id == "this"]
    assert event.row[address].strip("\ufffd") == "a"


def test_answer_that_is_torn_wherever_a_row_is_costs_that_row(api: QueryApi, opened: Open) -> None:
    whole = read(opened(api.endpoint)).changes.all_events
    lost = [event for event in whole if event.id.startswith("audit_log")][50]

    def tear(request: ApiRequest) -> Reply:
        answer = api.answer(request.query)
        is_torn = is_changes_answer(json.loads(answer.body)) and f'"{lost.id}"'.encode() in answer.body
        return replace(answer, body=answer.body[:-9]) if is_torn else answer

    api.fault = tear
    logs = read(opened(api.endpoint))
    assert {event.id for event in logs.changes.all_events} == {event.id for event in whole} - {lost.id}
    stamp = lost.row[RULE.sequence.changes.place_of("ConfigStamped")]
    assert logs.rejected[f"changes, {UNREADABLE}"] == Rejected(
        1, f"stamped {iso(datetime.fromisoformat(stamp))}"
    )


@pytest.mark.parametrize("column", ["ConfigTime", "ConfigStamped"])
@pytest.mark.parametrize(
    "sent, reason",
    [
        (None, "no time"),
        ("", "no time"),
        ("yesterday", "not a time"),
        (7, "not a time"),
        ("2026-06-08T10:00:00", "time without a zone"),
        ("0001-01-01T00:00:00Z", "absurd time"),
    ],
    ids=repr,
)
def test_row_without_a_proper_time_is_rejected(
    api: QueryApi, opened: Open, column: str, sent: object, reason: str
) -> None:
    api.amend = first_change(ConfigId="this", **{column: sent})
    logs = read(opened(api.endpoint))
    assert logs.rejected[f"changes, {column}: {reason}"] == Rejected(1, "this")


def test_rejected_row_is_no_event(api: QueryApi, opened: Open) -> None:
    whole = len(read(opened(api.endpoint)).changes.all_events)
    api.amend = first_change(ConfigId="this", ConfigTime=None)
    events = read(opened(api.endpoint)).changes.all_events
    assert (len(events), "this" in [event.id for event in events]) == (whole - 1, False)


# ------------------------------------------------------------------------------------------------- incomplete


def truncated(body: Body) -> Body:
    """The rows and the columns, and one row that stops half-way."""
    (table,) = body["tables"]
    return {"tables": [table | {"rows": [*table["rows"], table["rows"][0][:1]]}]}


def spoilt(body: Body) -> Body:
    """A failure in the midst of the rows, as Kusto reports what it finds out too late."""
    (table,) = body["tables"]
    return {"tables": [table | {"rows": [*table["rows"], {"OneApiErrors": []}]}]}


@pytest.mark.parametrize(
    "amend",
    [
        partial,
        truncated,
        spoilt,
        lambda body: {},
        lambda body: {"tables": []},
        lambda body: {"tables": None},
        lambda body: {"tables": [body["tables"][0] | {"name": "Other"}]},
        lambda body: {"tables": [{"name": "PrimaryResult", "columns": []}]},
        lambda body: {**body, "error": {}},
        lambda body: {**body, "error": "failed"},
    ],
    ids=[
        "partial",
        "truncated",
        "spoilt",
        "empty object",
        "no table",
        "null",
        "other table",
        "no rows",
        "empty error",
        "other error",
    ],
)
def test_answer_that_is_not_whole_is_none(api: QueryApi, opened: Open, amend: Answers) -> None:
    query = queries(RULE)["changes"]
    whole = api.answer(with_bounds(query, bounds(plan_windows(MOMENT, None, RULE)))).body
    api.fault = lambda request: reply(amend(json.loads(whole))) if request.query.endswith(query) else None
    with pytest.raises(Incomplete, match=r"^changes: "):
        read(opened(api.endpoint))


def test_partial_answer_says_what_the_service_said(api: QueryApi, opened: Open) -> None:
    api.fault = lambda _: reply(partial(empty_answer()))
    with pytest.raises(Incomplete, match=r"PartialError > EngineError > -2133196797: .* 64000000 bytes"):
        read(opened(api.endpoint))


@pytest.mark.parametrize(
    "answer",
    [
        Reply(),
        Reply(204),
        Reply(200, HTML, {"Content-Type": "text/html"}),
        Reply(200, HTML),
        Reply(200, b'{"tables": [{"name": "Prim'),
        Reply(200, b"\xff\xfe"),
        Reply(200, b"[]"),
    ],
    ids=["empty", "no content", "html", "html as json", "broken off", "no text", "list"],
)
def test_body_that_is_no_answer_is_none(api: QueryApi, opened: Open, answer: Reply) -> None:
    api.fault = lambda _: answer
    with pytest.raises(Incomplete):
        read(opened(api.endpoint))


def test_limit_is_that_of_the_service() -> None:
    assert answers.ROW_LIMIT == 500_000


@pytest.mark.parametrize("name", ["changes", "signals", "health"])
def test_every_query_must_be_answered(api: QueryApi, opened: Open, name: str) -> None:
    query = with_bounds(queries(RULE)[name], bounds(plan_windows(MOMENT, None, RULE)))
    api.fault = lambda request: Reply(204) if request.query == query else None
    with pytest.raises(Incomplete, match=f"^{name}: "):
        read(opened(api.endpoint))


# ---------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    "query, named",
    [("OpenAIAuditLogs | where Nope == 1", "'Nope'"), ("OpenAIAuditLogs | where ((", "SyntaxError")],
    ids=["column", "syntax"],
)
def test_query_that_the_workspace_cannot_run_is_a_configuration_error(
    api: QueryApi, opened: Open, query: str, named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        read(opened(api.endpoint), RULE.model_copy(update={"changes_kql": query}))


def test_workspace_without_the_connector_is_a_configuration_error(tmp_path: Path, opened: Open) -> None:
    folder = write(LogWorld([change("ann@example.com", MOMENT - HOUR)]), tmp_path)
    with (
        tables_of(folder, RULE.tables) as connection,
        query_api(connection) as api,
        pytest.raises(
            ConfigurationError,
            match="'ASimAgentEventLogs'; check that the rule's data connector is installed",
        ),
    ):
        read(opened(api.endpoint))


@pytest.mark.parametrize(
    "answer, hint",
    [
        (error(404, "PathNotFoundError", "The requested path does not exist"), "Workspace ID"),
        (error(401, "AuthenticationFailed", "Authentication failed."), "identity's own cloud"),
        (
            error(
                403, "InsufficientAccessError", "The provided credentials have insufficient access"
            ),
            "Log Analytics Data Reader .* up to an hour",
        ),
        (
            error(403, "InvalidAuthenticationTokenAudience", "The token is for the wrong audience"),
            "https://api.loganalytics.us",
        ),
        (Reply(403, HTML, {"Content-Type": "text/html"}), "Log Analytics Data Reader"),
        (error(400, "BadArgumentError", "The request had some invalid properties"), "BadArgumentError"),
        (Reply(413), "answered 413"),
    ],
    ids=["workspace", "token", "role", "audience", "html", "argument", "other"],
)  # fmt: skip
def test_refusal_is_a_configuration_error_with_a_hint(
    api: QueryApi, opened: Open, answer: Reply, hint: str
) -> None:
    api.fault = lambda _: answer
    with pytest.raises(ConfigurationError, match=hint):
        read(opened(api.endpoint))


@pytest.mark.parametrize(
    "answer, message",
    [
        (Reply(502, HTML), "502; the next run tries again"),
        (
            bad_argument("SemanticError", "A semantic error occurred.", ("E1", "'Nope'\nis  unknown")),
            "400 BadArgumentError > SemanticError > E1: 'Nope' is unknown",
        ),
        (error(400, "E2", "x" * 500), f"400 E2: {'x' * 396}"),
    ],
    ids=["not the API", "nested", "long"],
)
def test_message_has_the_codes_and_the_innermost_text_of_an_error_on_a_line(
    answer: Reply, message: str
) -> None:
    with pytest.raises(DetectionError) as caught:
        parse_table("changes", QueryResponse(answer.status, answer.body))
    assert str(caught.value) == f"changes: the query API answered {message}"


@pytest.mark.parametrize("workspace", ["", "my-workspace", f"{WORKSPACE}/../x", "/subscriptions/x"])
def test_workspace_must_be_named_by_its_id(opened: Open, workspace: str) -> None:
    with pytest.raises(ConfigurationError, match="Workspace ID, a GUID"):
        opened(PUBLIC, WORKSPACE, workspace)


def test_what_is_no_workspace_id_is_not_shown(opened: Open) -> None:
    with pytest.raises(ConfigurationError) as caught:
        opened(PUBLIC, SECRET)
    assert SECRET not in str(caught.value)


def test_there_must_be_a_workspace() -> None:
    with pytest.raises(ConfigurationError, match="no workspace"):
        open_log_analytics([], PUBLIC, None, lambda: MOMENT)


# ---------------------------------------------------------------------------------------------------- service


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "json": {"error": {"code": "ThrottledError", "message": "too many"}}},
        {"status": 429, "headers": {"Retry-After": "7"}},
        {"status": 408},
        {"status": 500},
        {"status": 502, "body": HTML, "content_type": "text/html"},
        {"status": 503},
        {"status": 504, "body": HTML, "content_type": "text/html"},
        {"status": 302},
        {"body": requests.exceptions.ConnectionError("reset")},
        {"body": requests.exceptions.ReadTimeout("slow")},
        {"body": requests.exceptions.ConnectTimeout("slow")},
        {"body": requests.exceptions.SSLError("certificate")},
        {"body": requests.exceptions.ChunkedEncodingError("broken off")},
    ],
    ids=lambda fault: " ".join(repr(fault[key]) for key in ("status", "headers", "body") if key in fault),
)
def test_next_run_tries_again_when_the_service_fails(
    cloud: responses.RequestsMock, opened: Open, fault: Mapping[str, Any]
) -> None:
    cloud.post(url(), **fault)
    with pytest.raises(ServiceError, match="the next run tries again") as caught:
        read(opened(PUBLIC))
    assert not isinstance(caught.value, Incomplete)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429},
        {"status": 429, "headers": {"Retry-After": "7"}},
        {"status": 502},
        {"status": 503},
        {"body": requests.exceptions.ConnectionError("reset")},
        {"body": requests.exceptions.ReadTimeout("slow")},
    ],
    ids=lambda fault: " ".join(map(repr, fault.values())),
)
def test_two_failures_are_overcome(
    cloud: responses.RequestsMock, opened: Open, fault: Mapping[str, Any]
) -> None:
    for _ in range(2):
        cloud.post(url(), **fault)
    cloud.post(url(), json=empty_answer())
    assert opened(PUBLIC).run_query("changes", "print 1").rows == []


def test_third_failure_is_the_last(cloud: responses.RequestsMock, opened: Open) -> None:
    cloud.post(url(), status=503)
    with pytest.raises(ServiceError, match="503"):
        opened(PUBLIC).run_query("changes", "print 1")
    assert len(cloud.calls) == 3


def test_client_waits_a_little_longer_than_the_service_may_take(
    cloud: responses.RequestsMock, opened: Open
) -> None:
    cloud.post(url(), json=empty_answer())
    opened(PUBLIC).run_query("changes", "print 1")
    assert vars(cloud.calls[0].request)["req_kwargs"]["timeout"] == (10, 140)


def test_pause_is_as_long_as_the_service_asks(
    cloud: responses.RequestsMock, opened: Open, slept: list[float]
) -> None:
    cloud.post(url(), status=429, headers={"Retry-After": "7"})
    with pytest.raises(ServiceError):
        opened(PUBLIC).run_query("changes", "print 1")
    assert slept == [7, 7]


def test_pause_is_never_longer_than_a_minute(
    cloud: responses.RequestsMock, opened: Open, slept: list[float]
) -> None:
    cloud.post(url(), status=429, headers={"Retry-After": "3600"})
    with pytest.raises(ServiceError):
        opened(PUBLIC).run_query("changes", "print 1")
    assert slept == [60, 60]


def test_endpoint_where_nobody_listens_is_a_service_error_that_names_its_cause(opened: Open) -> None:
    with pytest.raises(ServiceError, match=r"did not answer \(NewConnectionError\)"):
        read(opened("http://127.0.0.1:1"))


def test_raw_rows_are_queried_up_to_a_moment(cloud: responses.RequestsMock, opened: Open) -> None:
    cloud.post(url(), json=empty_answer())
    until = MOMENT - HOUR

    opened(PUBLIC).read_raw(RULE, plan_windows(MOMENT, None, RULE), until, budget=60, requests=3)

    texts = [json.loads(call.request.body or "")["query"] for call in cloud.calls]
    assert len(texts) == 3
    assert all(f"_until = datetime({iso(until)});" in text for text in texts)


# --------------------------------------------------------------------------------------------------- identity


class FailingCredential(Credential):
    """A credential that yields no token."""

    problem: ClientAuthenticationError

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        raise FailingCredential.problem


class RefusalResponse:
    """As much of a response as an error looks at."""

    reason = "made up"

    def __init__(self, status_code: int) -> None:
        self.status_code = status_code

    def text(self) -> str:
        return SECRET


def token_refusal(status: int) -> ClientAuthenticationError:
    return ClientAuthenticationError(message=f"no: {SECRET}", response=RefusalResponse(status))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "problem, kind",
    [
        (CredentialUnavailableError(message=f"no endpoint {SECRET}"), ConfigurationError),
        (ClientAuthenticationError(message=f"no credential {SECRET}"), ConfigurationError),
        (token_refusal(503), ServiceError),
        (token_refusal(429), ServiceError),
        (token_refusal(400), ConfigurationError),
        (token_refusal(401), ConfigurationError),
    ],
    ids=["unavailable", "none", "503", "429", "400", "401"],
)
def test_sign_in_that_fails(
    cloud: responses.RequestsMock,
    opened: Open,
    monkeypatch: pytest.MonkeyPatch,
    problem: ClientAuthenticationError,
    kind: type[DetectionError],
) -> None:
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", FailingCredential)
    FailingCredential.problem = problem
    with pytest.raises(kind) as caught:
        read(opened(PUBLIC))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 403},
        {"status": 503},
        {"body": requests.exceptions.ConnectionError(f"{SECRET} {url()}")},
        {"body": b"{}"},
    ],
    ids=["refused", "failed", "reset", "empty"],
)
def test_message_holds_neither_token_nor_address(
    cloud: responses.RequestsMock, opened: Open, fault: Mapping[str, Any]
) -> None:
    cloud.post(url(), **fault)
    with pytest.raises(DetectionError) as caught:
        read(opened(PUBLIC))
    assert SECRET not in str(caught.value)
    assert url() not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint, authority",
    [
        ("https://api.loganalytics.io", AzureAuthorityHosts.AZURE_PUBLIC_CLOUD),
        ("https://api.loganalytics.azure.com", AzureAuthorityHosts.AZURE_PUBLIC_CLOUD),
        ("https://api.loganalytics.us", AzureAuthorityHosts.AZURE_GOVERNMENT),
        ("https://api.loganalytics.azure.cn", AzureAuthorityHosts.AZURE_CHINA),
    ],
)
@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_endpoint_says_audience_and_authority(
    cloud: responses.RequestsMock, opened: Open, endpoint: str, authority: str, ending: str
) -> None:
    cloud.post(url(endpoint), json=empty_answer())
    read(opened(endpoint + ending))
    assert (Credential.arguments["authority"], Credential.scopes) == (authority, (f"{endpoint}/.default",))


def test_token_to_look_at_is_the_one_that_queries_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", Credential)
    assert token_for("https://api.loganalytics.us/v1", None) == SECRET
    assert Credential.arguments["authority"] == AzureAuthorityHosts.AZURE_GOVERNMENT
    assert Credential.scopes == ("https://api.loganalytics.us/.default",)


@pytest.mark.parametrize(
    "problem, kind",
    [
        (token_refusal(401), ConfigurationError),
        (CredentialUnavailableError(message=f"no endpoint {SECRET}"), ConfigurationError),
        (ServiceRequestError(f"no way to {SECRET}"), ServiceError),
    ],
    ids=["refused", "unavailable", "network"],
)
def test_token_that_cannot_be_had_says_why_and_no_more(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, kind: type[DetectionError]
) -> None:
    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", FailingCredential)
    monkeypatch.setattr(FailingCredential, "problem", problem, raising=False)
    with pytest.raises(kind) as caught:
        token_for(PUBLIC, None)
    assert SECRET not in str(caught.value)


def test_managed_identity_is_the_one_named(
    cloud: responses.RequestsMock, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.identity, "ManagedIdentityCredential", Credential)
    cloud.post(url(), json=empty_answer())
    read(opened(PUBLIC, client_id=OTHER_CALLER))
    assert Credential.arguments["client_id"] == OTHER_CALLER


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "api.loganalytics.io",
        "http://api.loganalytics.io",
        "https://api.loganalytics.io.example.com",
        "https://api.loganalytics.io/v2",
        "http://127.0.0.1@example.com",
        "http://127.0.0.1.example.com:80",
        "http://[::1",
    ],
)
def test_token_goes_to_no_other_endpoint(opened: Open, endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="query endpoint must be one of"):
        opened(endpoint)


def test_emulator_gets_a_made_up_token(api: QueryApi, opened: Open) -> None:
    read(opened(api.endpoint))
    assert {request.headers["Authorization"] for request in api.requests} == {"Bearer emulator"}


def test_every_cloud_has_an_authority_of_the_sdk() -> None:
    hosts = {getattr(AzureAuthorityHosts, name) for name in vars(AzureAuthorityHosts) if name.isupper()}
    assert set(AUTHORITIES.values()) <= hosts


# ------------------------------------------------------------------------------------------------------- bugs


def test_bug_passes_through(api: QueryApi, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(api.endpoint)
    monkeypatch.setattr(source, "_options", {"unheard_of": True, "enforce_https": False})
    with pytest.raises(TypeError, match="unheard_of"):
        read(source)
