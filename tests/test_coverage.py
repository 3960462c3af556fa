"""Coverage: who is named at runtime and could be somebody of the audit log, and when that is worth a warning."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import get_ident

import pytest
from jsonschema import Draft202012Validator

from detection.coverage import Coverage, Shape, Unmatched, in_words, warning
from detection.incidents.index import Index
from detection.incidents.table import MemoryTable
from detection.job import open_job
from detection.kql import bounds, queries, with_bounds
from detection.matches import matches_at
from detection.record import RECORD, Record
from detection.rule import Rule, load_rule
from detection.run import run
from detection.settings import settings_from
from detection.sources.coverage_query import counted
from detection.sources.files import Files
from detection.sources.log_analytics import open_log_analytics
from detection.window import windows
from tests.bridged import bridged
from tests.query_api import (
    Body,
    QueryApi,
    Reply,
    Request,
    error,
    no_role,
    no_table,
    partial,
    query_api,
    reply,
    tables_of,
)
from tests.receiver import receiving
from tests.regenerate import SCHEMAS
from tests.rule_world import HOUR, MOMENT, LogRow, World, change, signal, write

DEFAULT = load_rule("openai-config-to-abuse")
SHA256 = hashlib.sha256(b"ann@example.com").hexdigest()
BLIND = "your callers do not set user to the audit identity; this rule cannot see them"
WORKSPACE = "4f1c2a6e-0b5d-4a57-9a2e-3f9d5d0c7b11"


def login(actor: str) -> LogRow:
    """Somebody of the audit log who changed nothing."""
    return change(actor, MOMENT - 5 * HOUR, EventType="login.succeeded")


def said(user: object, rows: int = 1, **metadata: str) -> list[LogRow]:
    """Completions that no rule minds."""
    fields = {"input_user": user, "metadata": metadata}
    stop = {"EventFinishReasons": ["stop"], "AdditionalFields": fields}
    return [signal("", MOMENT - 2 * HOUR, **stop) for _ in range(rows)]


WORLD = World(
    [login("Ann@example.com"), login("bob@example.com"), login("bob@example.com")],
    [
        *said("ANN@example.com", 4),
        *said("ann@example.com", 3),
        *said("eve@elsewhere.com", 2),
        *said(SHA256, 5),
        *said("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        *said("bob", 6),
        *said("billing-service", 7),
        *said("", 8),
        *said(None, 2),
        *said("session-1", employee="bob@example.com"),
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


def seen(rule: Rule, folder: Path) -> Coverage:
    """The coverage of a rule in a folder of logs."""
    covered = matches_at(rule, MOMENT, Files(folder, rule.tables)).logs.coverage
    assert covered is not None
    return covered


# ------------------------------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize("identity", EXPECTED)
def test_identities_are_counted_over_the_whole_log(identity: str, logs: Path, tmp_path: Path) -> None:
    matched, bridges, unmatched = EXPECTED[identity]
    covered = seen(bridged(tmp_path, identity), logs)
    assert (covered.rows, covered.actors) == (39, 2)
    assert (covered.matched, dict(covered.bridges)) == (matched, bridges)
    assert unmatched is None or covered.unmatched == unmatched
    assert covered.matched_rows == 39 - sum(one.rows for one in covered.unmatched.values())
    if identity != "[none]":
        assert covered.identities == 7


def test_what_a_mapping_names_is_matched(tmp_path: Path) -> None:
    logs = write(World([login("ann@example.com")], [*said("Salted-3f9c", 3), *said("x")]), tmp_path / "logs")
    covered = seen(bridged(tmp_path, "[exact, {mapping: users.csv}]"), logs)
    assert (covered.matched, covered.matched_rows, covered.identities) == (1, 3, 2)
    assert covered.bridges == {"mapping": 1}


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
    logs = write(World([login("bob@example.com")], said(user)), tmp_path / "logs")
    assert seen(DEFAULT, logs).unmatched == {shape: Unmatched(1, 1)}


@pytest.mark.parametrize(
    "identity, named", [("[exact]", 1), ("[exact, {metadata: employee}]", 2), ("[none]", 3)]
)
def test_health_counts_who_is_named_by_a_bridge(identity: str, named: int, tmp_path: Path) -> None:
    world = World([login("a@b")], [*said("x"), *said("", employee="ann@example.com"), *said("")])
    rule = bridged(tmp_path, identity)
    found = matches_at(rule, MOMENT, Files(write(world, tmp_path / "logs"), rule.tables)).logs
    assert found.health["signals"].named == named
    unnamed = found.rejected.get("signals, no actor")
    assert (unnamed.count if unnamed else 0) == 3 - named


def test_coverage_over_the_wire_is_that_of_the_same_logs_in_files(logs: Path, tmp_path: Path) -> None:
    rule = bridged(tmp_path, "[exact, {hash: sha256}, {mapping: users.csv}]")
    with tables_of(logs, rule.tables) as tables, query_api(tables) as api:
        source = open_log_analytics([WORKSPACE], api.endpoint, None, lambda: MOMENT)
        assert source.read(rule, windows(MOMENT, None, rule)).coverage == seen(rule, logs)
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
    "no shape": (cell(1, "rhomb"), "coverage: the query's answer holds a row that counts no identities"),
    "no identity": (cell(2, []), "coverage: the query's answer holds a row that counts no identities"),
    "no number": (cell(4, None), "coverage: the query's answer holds a row that counts no identities"),
    "text": (cell(5, "2"), "coverage: the query's answer holds a row that counts no identities"),
}


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryApi]:
    logs = write(WORLD, tmp_path_factory.mktemp("logs"))
    with tables_of(logs, DEFAULT.tables) as tables, query_api(tables) as api:
        yield api


@pytest.mark.parametrize("fault", FAULTS)
def test_coverage_that_cannot_be_counted_is_logged_and_fails_nothing(
    fault: str, answering: QueryApi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("azure.core.pipeline.transport.RequestsTransport.sleep", lambda *_: None)
    whole = with_bounds(queries(DEFAULT)["coverage"], bounds(windows(MOMENT, None, DEFAULT)))
    answer, reason = FAULTS[fault]

    def failing(request: Request) -> Reply | None:
        body = json.loads(answering.answer(request.query).body)
        return answer(body) if request.query == whole else None

    answering.fault = failing
    source = open_log_analytics([WORKSPACE], answering.endpoint, None, lambda: MOMENT)
    with caplog.at_level(logging.WARNING, "detection"):
        found = source.read(DEFAULT, windows(MOMENT, None, DEFAULT))
    source.close()
    assert (found.coverage, found.health["signals"].rows) == (None, 39)
    assert explained(caplog).startswith(reason)


def test_coverage_of_files_that_cannot_be_counted_is_logged_and_fails_nothing(
    logs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signals = DEFAULT.sequence.signals.model_copy(update={"who": "Unheard"})
    rule = DEFAULT.model_copy(update={"sequence": DEFAULT.sequence.model_copy(update={"signals": signals})})
    with caplog.at_level(logging.WARNING, "detection"):
        found = matches_at(rule, MOMENT, Files(logs, rule.tables)).logs
    assert (found.coverage, found.health["signals"].rows) == (None, 39)
    assert "Unheard" in explained(caplog)


def explained(caplog: pytest.LogCaptureFixture) -> str:
    """The reason in the one line that is logged, by the thread of the invocation: Azure shows the lines of no other."""
    [record] = [record for record in caplog.records if record.name == "detection"]
    line = json.loads(record.getMessage())
    Draft202012Validator(json.loads((SCHEMAS / "line.coverage.json").read_text())).validate(line)
    assert (line["event"], line["rule"]) == ("detection.coverage", DEFAULT.folder)
    assert record.thread == get_ident()
    return str(line["reason"])


def test_bug_in_the_coverage_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        counted(lambda: [(1 // 0,)], DEFAULT)


def test_rule_that_does_not_say_who_is_named_has_no_coverage(logs: Path) -> None:
    sides = {name: side.model_copy(update={"who": None}) for name, side in DEFAULT.sequence.sides.items()}
    rule = DEFAULT.model_copy(update={"sequence": DEFAULT.sequence.model_copy(update=sides)})
    assert "coverage" not in queries(rule)
    assert matches_at(rule, MOMENT, Files(logs, rule.tables)).logs.coverage is None


# ------------------------------------------------------------------------------------------------------------- records


def test_every_record_says_the_coverage(logs: Path) -> None:
    record, _ = run(DEFAULT, MOMENT, Files(logs, DEFAULT.tables), Index(MemoryTable(), DEFAULT.folder, "run"))
    assert record.coverage == seen(DEFAULT, logs)
    assert RECORD.validate_json(RECORD.dump_json(record)) == record


def test_record_of_a_run_before_there_was_coverage_is_read(logs: Path) -> None:
    record, _ = run(DEFAULT, MOMENT, Files(logs, DEFAULT.tables), Index(MemoryTable(), DEFAULT.folder, "run"))
    old = json.loads(RECORD.dump_json(record))
    del old["coverage"]
    read = RECORD.validate_json(json.dumps(old))
    assert isinstance(read, Record)
    assert read.coverage is None


# ------------------------------------------------------------------------------------------------------------- warnings


Shapes = dict[Shape, Unmatched]


def covered(
    matched: int, identities: int, rows: int | None = None, actors: int = 5, unmatched: Shapes | None = None
) -> Coverage:
    """A coverage of so many identities, in a row each; the others are names, if nothing else is said."""
    left = identities - matched
    names: Shapes = {"name": Unmatched(left, left)} if left else {}
    rows = identities if rows is None else rows
    shapes = names if unmatched is None else unmatched
    return Coverage(rows, matched, identities, matched, actors, {"exact": matched}, shapes)


@pytest.mark.parametrize(
    "now, before",
    [
        (None, []),
        (covered(0, 0, rows=0), []),  # nothing was logged: another alarm's matter
        (covered(0, 9, actors=0), []),  # nobody is in the audit log
        (covered(1, 40), []),  # as little as it ever was
        (covered(20, 40), [covered(40, 40)]),  # half is not less than half
        (covered(3, 9), [covered(9, 9)]),  # few say nothing
        (covered(4, 90), [covered(10, 100)]),  # nine were to be expected
        (covered(30, 40), [covered(0, 0), covered(1, 40)]),
    ],
)
def test_no_warning(now: Coverage | None, before: list[Coverage]) -> None:
    assert warning(now, before) is None


def test_warning_where_nobody_is_known() -> None:
    text = warning(covered(0, 40)) or ""
    assert text.startswith(f"none of 40 runtime identities could be an audit actor: {BLIND} (most say names")


def test_warning_where_nobody_is_named() -> None:
    now = covered(0, 0, rows=12, unmatched={"empty": Unmatched(1, 12)})
    assert "(most say nothing at all" in (warning(now) or "")


def test_warning_of_hashes_says_which_bridge_to_try() -> None:
    assert "{hash: sha256}" in (warning(covered(0, 3, unmatched={"hash-like": Unmatched(3, 9)})) or "")


@pytest.mark.parametrize(
    "now, before",
    [(covered(19, 40), [covered(40, 40)]), (covered(4, 100), [covered(10, 100), covered(80, 800)])],
)
def test_warning_where_coverage_has_fallen(now: Coverage, before: list[Coverage]) -> None:
    text = warning(now, before) or ""
    assert text.startswith(
        f"only {now.share:.0%} of {now.identities} runtime identities could be an audit actor, "
    )
    assert BLIND in text


def test_coverage_in_words() -> None:
    unmatched: Shapes = {"hash-like": Unmatched(3, 9), "empty": Unmatched(1, 1_000)}
    text = in_words(covered(4, 7, rows=5_000, unmatched=unmatched))
    assert text == (
        "4 of 7 runtime identities could be one of 5 audit actors; "
        "unmatched: 3 hash-like, 1,000 of 5,000 rows name nobody"
    )


# ---------------------------------------------------------------------------------------------------------- whole line


def test_hashed_user_is_told_with_the_bridge_and_once(tmp_path: Path) -> None:
    world = World(
        [change("ann@example.com", MOMENT - 3 * HOUR, Id="c1")],
        [
            signal(SHA256, MOMENT - 2 * HOUR, EventUid="s1"),
            signal("ann@example.com", MOMENT - HOUR, EventUid="s2"),
        ],
    )
    logs = write(world, tmp_path / "logs")
    hashing = bridged(tmp_path, "[exact, {hash: sha256}]")
    with receiving() as native, receiving() as slack:
        webhooks = [{"name": "n", "url": native.url}, {"name": "s", "url": slack.url, "format": "slack"}]
        settings = settings_from(
            {"LOGS_DIR": str(logs), "INCIDENT_STORAGE": "memory", "WEBHOOKS": json.dumps(webhooks)}
        )
        job = open_job(settings, lambda: MOMENT)
        records = [
            one
            for hours, rule in enumerate((DEFAULT, hashing, hashing))
            for at in [MOMENT + hours * HOUR]
            for one in replace(job, rules=[rule], clock=lambda at=at: at).detect()  # type: ignore[misc]
        ]
        told = [message["data"] for message in native.messages]
        said = [json.dumps(message) for message in slack.messages]

    assert [one.new_pairs for one in records] == [1, 1, 0]
    assert [one["bridges"] for one in told] == [{"exact": 1}, {"sha256:hex": 1}]
    assert {one["key"]["Account"] for one in told} == {"ann@example.com"}
    assert ["sha256 of the e-mail (1 signal)" in text for text in said] == [False, True]
    assert [one.coverage.matched for one in records if one.coverage] == [1, 2, 2]
