"""Coverage: which runtime identities could be actors of the audit log, and when it warns."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import get_ident

import pytest
from jsonschema import Draft202012Validator

from detection.app import open_job
from detection.correlation.detection import detect_at
from detection.logs.coverage import Coverage, Shape, Unmatched, coverage_text, coverage_warning
from detection.logs.coverage_query import count_coverage
from detection.logs.files.source import FileSource
from detection.logs.kql import bounds, queries, with_bounds
from detection.logs.log_analytics.client import open_log_analytics
from detection.logs.window import plan_windows
from detection.rules.loading import load_rule
from detection.rules.model import Rule
from detection.runs.record import RECORD, RunRecord
from detection.runs.run import run
from detection.settings import settings_from
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable
from tests.regenerate import SCHEMAS
from tests.support.matching_rules import rule_with_options
from tests.support.query_api import (
    ApiRequest,
    Body,
    QueryApi,
    Reply,
    error,
    no_role,
    no_table,
    partial,
    query_api,
    reply,
    tables_of,
)
from tests.support.receiver import receiving
from tests.support.rule_world import HOUR, MOMENT, LogRow, LogWorld, change, signal, write

DEFAULT = load_rule("openai-config-to-abuse")
SHA256 = hashlib.sha256(b"ann@example.com").hexdigest()
BLIND = "your callers do not set user to the audit identity; this rule cannot see them"
WORKSPACE = "4f1c2a6e-0b5d-4a57-9a2e-3f9d5d0c7b11"


def login(actor: str) -> LogRow:
    """Somebody of the audit log who changed nothing."""
    return change(actor, MOMENT - 5 * HOUR, EventType="login.succeeded")


def completions(user: object, rows: int = 1, **metadata: str) -> list[LogRow]:
    """Completions that no rule minds."""
    fields = {"input_user": user, "metadata": metadata}
    stop = {"EventFinishReasons": ["stop"], "AdditionalFields": fields}
    return [signal("", MOMENT - 2 * HOUR, **stop) for _ in range(rows)]


WORLD = LogWorld(
    [login("Ann@example.com"), login("bob@example.com"), login("bob@example.com")],
    [
        *completions("ANN@example.com", 4),
        *completions("ann@example.com", 3),
        *completions("eve@elsewhere.com", 2),
        *completions(SHA256, 5),
        *completions("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        *completions("bob", 6),
        *completions("billing-service", 7),
        *completions("", 8),
        *completions(None, 2),
        *completions("session-1", employee="bob@example.com"),
    ],
)
NAMES = {
    "e-mail": Unmatched(1, 2),
    "hash-like": Unmatched(2, 6),
    "name": Unmatched(3, 14),
    "empty": Unmatched(1, 10),
}

EXPECTED = {
    "[exact]": (1, {"exact": 1}, NAMES),
    "[exact, {hash: sha256}]": (2, {"exact": 1, "sha256:hex": 1}, NAMES | {"hash-like": Unmatched(1, 1)}),
    "[local-part]": (1, {"local-part": 1}, None),
    "[exact, {metadata: employee}]": (
        2,
        {"exact": 1, "metadata:employee": 1},
        NAMES | {"name": Unmatched(2, 13)},
    ),
    "[{mapping: users.csv}]": (0, {}, None),
    "[none]": (8, {"none": 8}, {}),
}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return write(WORLD, tmp_path / "logs")


def coverage_of(rule: Rule, folder: Path) -> Coverage:
    """The coverage of a rule in a folder of logs."""
    coverage = detect_at(rule, MOMENT, FileSource(folder, rule.tables)).logs.coverage
    assert coverage is not None
    return coverage


# --------------------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize("identity", EXPECTED)
def test_identities_are_counted_over_the_whole_log(identity: str, logs: Path, tmp_path: Path) -> None:
    matched, matched_by, unmatched = EXPECTED[identity]
    coverage = coverage_of(rule_with_options(tmp_path, identity), logs)
    assert (coverage.rows, coverage.actors) == (39, 2)
    assert (coverage.matched, dict(coverage.matched_by)) == (matched, matched_by)
    assert unmatched is None or coverage.unmatched == unmatched
    assert coverage.matched_rows == 39 - sum(counts.rows for counts in coverage.unmatched.values())
    if identity != "[none]":
        assert coverage.identities == 7


def test_what_a_mapping_names_is_matched(tmp_path: Path) -> None:
    logs = write(
        LogWorld([login("ann@example.com")], [*completions("Salted-3f9c", 3), *completions("x")]),
        tmp_path / "logs",
    )
    coverage = coverage_of(rule_with_options(tmp_path, "[exact, {mapping: users.csv}]"), logs)
    assert (coverage.matched, coverage.matched_rows, coverage.identities) == (1, 3, 2)
    assert coverage.matched_by == {"mapping": 1}


@pytest.mark.parametrize(
    "user, shape",
    [
        ("Ann.Smith+x@example.com", "e-mail"),
        ("ann @example.com", "name"),
        (SHA256, "hash-like"),
        (SHA256.upper(), "hash-like"),
        ("85e20fa15f500fa17c1b6975c6647445094c26d9", "hash-like"),
        ("cdT1X3L6Eo37RooaOQFQfIBLdDFkiHRNdp1/SxZpZHY=", "hash-like"),
        ("cdT1X3L6Eo37RooaOQFQfIBLdDFkiHRNdp1_SxZpZHY", "hash-like"),
        ("257c57037d384ae37ea27a07e8a0166", "name"),
        ("customer-support-bot", "name"),
        (" ", "name"),
    ],
)
def test_shape_of_an_identity(user: str, shape: Shape, tmp_path: Path) -> None:
    logs = write(LogWorld([login("bob@example.com")], completions(user)), tmp_path / "logs")
    assert coverage_of(DEFAULT, logs).unmatched == {shape: Unmatched(1, 1)}


@pytest.mark.parametrize(
    "identity, named", [("[exact]", 1), ("[exact, {metadata: employee}]", 2), ("[none]", 3)]
)
def test_health_counts_who_is_named_by_a_bridge(identity: str, named: int, tmp_path: Path) -> None:
    world = LogWorld(
        [login("a@b")], [*completions("x"), *completions("", employee="ann@example.com"), *completions("")]
    )
    rule = rule_with_options(tmp_path, identity)
    logs = detect_at(rule, MOMENT, FileSource(write(world, tmp_path / "logs"), rule.tables)).logs
    assert logs.health["signals"].named == named
    unnamed = logs.rejected.get("signals, no actor")
    assert (unnamed.count if unnamed else 0) == 3 - named


def test_coverage_over_the_wire_is_that_of_the_same_logs_in_files(logs: Path, tmp_path: Path) -> None:
    rule = rule_with_options(tmp_path, "[exact, {hash: sha256}, {mapping: users.csv}]")
    with tables_of(logs, rule.tables) as tables, query_api(tables) as api:
        source = open_log_analytics([WORKSPACE], api.endpoint, None, lambda: MOMENT)
        assert source.read(rule, plan_windows(MOMENT, None, rule)).coverage == coverage_of(rule, logs)
        source.close()


def cell(place: int, value: object) -> Callable[[Body], Reply]:
    """The answer with another value in a place of its first row."""

    def amended(body: Body) -> Reply:
        body["tables"][0]["rows"][0][place] = value
        return reply(body)

    return amended


def without_a_column(body: Body) -> Reply:
    (table,) = body["tables"]
    table["columns"][5]["name"] = "Unheard"
    return reply(body)


# What the query API may say to the coverage query, and how the log explains it.
FAULTS: dict[str, tuple[Callable[[Body], Reply], str]] = {
    "partial": (lambda body: reply(partial(body)), "coverage: the query API answered in part"),
    "failed": (lambda _: error(503, "ServiceUnavailable", "not now"), "coverage: the query API answered 503"),
    "timed out": (lambda _: error(504, "GatewayTimeout", "late"), "coverage: the query API answered 504"),
    "no table": (lambda _: reply({"tables": []}), "coverage: the query API answered 200 without a table"),
    "forbidden": (lambda _: no_role(), "coverage: the query API answered 403"),
    "refused": (lambda _: no_table("Nowhere"), "coverage: the query API answered 400"),
    "no column": (without_a_column, "the rule's query returns no column Actors"),
    "no shape": (
        cell(1, "rhomb"),
        "coverage: the query's answer has a row that is not a count of identities",
    ),
    "no identity": (cell(2, []), "coverage: the query's answer has a row that is not a count of identities"),
    "no number": (cell(4, None), "coverage: the query's answer has a row that is not a count of identities"),
    "text": (cell(5, "2"), "coverage: the query's answer has a row that is not a count of identities"),
}


@pytest.fixture(scope="module")
def shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryApi]:
    logs = write(WORLD, tmp_path_factory.mktemp("logs"))
    with tables_of(logs, DEFAULT.tables) as tables, query_api(tables) as api:
        yield api


@pytest.mark.parametrize("fault", FAULTS)
def test_coverage_that_cannot_be_counted_is_logged_and_fails_nothing(
    fault: str, shared_api: QueryApi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("azure.core.pipeline.transport.RequestsTransport.sleep", lambda *_: None)
    whole = with_bounds(queries(DEFAULT)["coverage"], bounds(plan_windows(MOMENT, None, DEFAULT)))
    answer, reason = FAULTS[fault]

    def failing(request: ApiRequest) -> Reply | None:
        body = json.loads(shared_api.answer(request.query).body)
        return answer(body) if request.query == whole else None

    shared_api.fault = failing
    source = open_log_analytics([WORKSPACE], shared_api.endpoint, None, lambda: MOMENT)
    with caplog.at_level(logging.WARNING, "detection"):
        logs = source.read(DEFAULT, plan_windows(MOMENT, None, DEFAULT))
    source.close()
    assert (logs.coverage, logs.health["signals"].rows) == (None, 39)
    assert explained(caplog).startswith(reason)


def test_coverage_of_files_that_cannot_be_counted_is_logged_and_fails_nothing(
    logs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signals = DEFAULT.sequence.signals.model_copy(update={"actor_expression": "Unheard"})
    rule = DEFAULT.model_copy(update={"sequence": DEFAULT.sequence.model_copy(update={"signals": signals})})
    with caplog.at_level(logging.WARNING, "detection"):
        read_logs = detect_at(rule, MOMENT, FileSource(logs, rule.tables)).logs
    assert (read_logs.coverage, read_logs.health["signals"].rows) == (None, 39)
    assert "Unheard" in explained(caplog)


def explained(caplog: pytest.LogCaptureFixture) -> str:
    """The reason in the only line that the thread of the invocation logs."""
    [record] = [record for record in caplog.records if record.name == "detection"]
    line = json.loads(record.getMessage())
    Draft202012Validator(json.loads((SCHEMAS / "line.coverage.json").read_text())).validate(line)
    assert (line["event"], line["rule"]) == ("detection.coverage", DEFAULT.folder)
    assert record.thread == get_ident()
    return str(line["reason"])


def test_bug_in_the_coverage_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        count_coverage(lambda: [(1 // 0,)], DEFAULT)


def test_rule_that_does_not_say_who_is_named_has_no_coverage(logs: Path) -> None:
    sides = {
        name: side.model_copy(update={"actor_expression": None})
        for name, side in DEFAULT.sequence.sides.items()
    }
    rule = DEFAULT.model_copy(update={"sequence": DEFAULT.sequence.model_copy(update=sides)})
    assert "coverage" not in queries(rule)
    assert detect_at(rule, MOMENT, FileSource(logs, rule.tables)).logs.coverage is None


# ---------------------------------------------------------------------------------------------------- records


def test_every_record_says_the_coverage(logs: Path) -> None:
    record, _ = run(
        DEFAULT, MOMENT, FileSource(logs, DEFAULT.tables), IncidentStore(MemoryTable(), DEFAULT.folder, "run")
    )
    assert record.coverage == coverage_of(DEFAULT, logs)
    assert RECORD.validate_json(RECORD.dump_json(record)) == record


def test_record_of_a_run_before_there_was_coverage_is_read(logs: Path) -> None:
    record, _ = run(
        DEFAULT, MOMENT, FileSource(logs, DEFAULT.tables), IncidentStore(MemoryTable(), DEFAULT.folder, "run")
    )
    old = json.loads(RECORD.dump_json(record))
    del old["coverage"]
    read = RECORD.validate_json(json.dumps(old))
    assert isinstance(read, RunRecord)
    assert read.coverage is None


# --------------------------------------------------------------------------------------------------- warnings


Shapes = dict[Shape, Unmatched]


def make_coverage(
    matched: int, identities: int, rows: int | None = None, actors: int = 5, unmatched: Shapes | None = None
) -> Coverage:
    """A coverage of so many identities, in a row each; the others are names, if nothing else is said."""
    unmatched_count = identities - matched
    names: Shapes = {"name": Unmatched(unmatched_count, unmatched_count)} if unmatched_count else {}
    rows = identities if rows is None else rows
    shapes = names if unmatched is None else unmatched
    return Coverage(rows, matched, identities, matched, actors, {"exact": matched}, shapes)


@pytest.mark.parametrize(
    "now, before",
    [
        (None, []),
        (make_coverage(0, 0, rows=0), []),  # nothing was logged: another alarm's matter
        (make_coverage(0, 9, actors=0), []),  # nobody is in the audit log
        (make_coverage(1, 40), []),  # as little as it ever was
        (make_coverage(20, 40), [make_coverage(40, 40)]),  # half is not less than half
        (make_coverage(3, 9), [make_coverage(9, 9)]),  # few say nothing
        (make_coverage(4, 90), [make_coverage(10, 100)]),  # nine were to be expected
        (make_coverage(30, 40), [make_coverage(0, 0), make_coverage(1, 40)]),
    ],
)
def test_no_warning(now: Coverage | None, before: list[Coverage]) -> None:
    assert coverage_warning(now, before) is None


def test_warning_where_nobody_is_known() -> None:
    text = coverage_warning(make_coverage(0, 40)) or ""
    assert text.startswith(f"none of 40 runtime identities could be an audit actor: {BLIND} (most are names")


def test_warning_where_nobody_is_named() -> None:
    now = make_coverage(0, 0, rows=12, unmatched={"empty": Unmatched(1, 12)})
    assert "(most rows name no user" in (coverage_warning(now) or "")


def test_warning_of_hashes_says_which_bridge_to_try() -> None:
    assert "{hash: sha256}" in (
        coverage_warning(make_coverage(0, 3, unmatched={"hash-like": Unmatched(3, 9)})) or ""
    )


@pytest.mark.parametrize(
    "now, before",
    [
        (make_coverage(19, 40), [make_coverage(40, 40)]),
        (make_coverage(4, 100), [make_coverage(10, 100), make_coverage(80, 800)]),
    ],
)
def test_warning_where_coverage_has_fallen(now: Coverage, before: list[Coverage]) -> None:
    text = coverage_warning(now, before) or ""
    assert text.startswith(
        f"only {now.share:.0%} of {now.identities} runtime identities could be an audit actor, "
    )
    assert BLIND in text


def test_coverage_in_words() -> None:
    unmatched: Shapes = {"hash-like": Unmatched(3, 9), "empty": Unmatched(1, 1_000)}
    text = coverage_text(make_coverage(4, 7, rows=5_000, unmatched=unmatched))
    assert text == (
        "4 of 7 runtime identities could be one of 5 audit actors; "
        "unmatched: 3 hash-like, 1,000 of 5,000 rows name no user"
    )


# ------------------------------------------------------------------------------------------------- whole line


def test_hashed_user_is_told_with_the_bridge_and_once(tmp_path: Path) -> None:
    world = LogWorld(
        [change("ann@example.com", MOMENT - 3 * HOUR, Id="c1")],
        [
            signal(SHA256, MOMENT - 2 * HOUR, EventUid="s1"),
            signal("ann@example.com", MOMENT - HOUR, EventUid="s2"),
        ],
    )
    logs = write(world, tmp_path / "logs")
    hashing = rule_with_options(tmp_path, "[exact, {hash: sha256}]")
    with receiving() as native, receiving() as slack:
        webhooks = [{"name": "n", "url": native.url}, {"name": "s", "url": slack.url, "format": "slack"}]
        settings = settings_from({"LOGS_DIR": str(logs), "WEBHOOKS": json.dumps(webhooks)})
        job = open_job(settings, lambda: MOMENT, MemoryTable())
        records = [
            record
            for hours, rule in enumerate((DEFAULT, hashing, hashing))
            for at in [MOMENT + hours * HOUR]
            for record in replace(job, rules=[rule], clock=lambda at=at: at).detect()  # type: ignore[misc]
        ]
        alerts = [message["data"] for message in native.messages]
        messages = [json.dumps(message) for message in slack.messages]

    assert [record.new_pairs for record in records] == [1, 1, 0]
    assert [alert["matched_by"] for alert in alerts] == [{"exact": 1}, {"sha256:hex": 1}]
    assert {alert["key"]["Account"] for alert in alerts} == {"ann@example.com"}
    assert ["sha256 of the e-mail (1 signal)" in text for text in messages] == [False, True]
    assert [record.coverage.matched for record in records if record.coverage] == [1, 2, 2]
