"""Identity matching between the audit log's e-mail and the signals: in KQL, in pairs, in alerts."""

import base64
import hashlib
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random

import duckdb
import duckdb_kql
import pytest
from duckdb_kql import engine
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.base.errors import ConfigurationError
from detection.correlation.detection import Detection, correlate_logs, detect_at
from detection.logs.actors import ActorResolver
from detection.logs.files.source import FileSource
from detection.logs.kql import bounds, queries, with_bounds
from detection.logs.log_analytics import client, spill
from detection.logs.log_analytics.client import open_log_analytics
from detection.logs.log_analytics.reading import Limits
from detection.logs.source import read_slices
from detection.logs.window import plan_windows
from detection.rules.identity import MatchingOption
from detection.rules.loading import load_rule
from detection.rules.model import Rule
from detection.ruletests.suite import load_suites
from tests.support.examples import examples, many
from tests.support.kusto.analyzer import Analysis, analyze, connector_schema
from tests.support.matching_rules import ALL_OPTIONS, DATA, IDENTITIES, rule_folder, rule_with_options
from tests.support.query_api import query_api, tables_of
from tests.support.rule_world import HOUR, MOMENT, LogRow, LogWorld, change, signal, write

ALL_IDENTITIES = {**IDENTITIES, "everything": ALL_OPTIONS}
# What others of these have bridges of, too, runs in `make test-slow`.
SLOW_NAMES = ("digests", "local-part")
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW_NAMES else name for name in ALL_IDENTITIES
]
DIGESTS = [(algorithm, form) for algorithm in ("sha256", "sha1", "md5") for form in ("hex", "base64")]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rule]:
    return {
        name: rule_with_options(tmp_path_factory.mktemp(name), identity)
        for name, identity in ALL_IDENTITIES.items()
    }


# ---------------------------------------------------------------------------------------------- as rule tests


@pytest.mark.parametrize("name", IDENTITIES)
def test_cases_of_a_bridge_pass(name: str, tmp_path: Path) -> None:
    folder = rule_folder(tmp_path, IDENTITIES[name])
    (folder / "tests").mkdir()
    shutil.copy(DATA / f"{name}.yaml", folder / "tests")
    (suite,) = load_suites(folder)
    failed = {outcome.case.name: outcome.difference for outcome in suite.outcomes() if outcome.difference}
    assert failed == {}


# ---------------------------------------------------------------------------------------- in Microsoft's eyes


@pytest.fixture(scope="module")
def analysed(rules: dict[str, Rule]) -> dict[tuple[str, str], Analysis]:
    values = {name: bounds(plan_windows(MOMENT, None, rule)) for name, rule in rules.items()}
    texts = {
        f"{name} {query}": with_bounds(text, values[name])
        for name, rule in rules.items()
        for query, text in queries(rule).items()
    }
    analyses = analyze(texts, connector_schema())
    return {
        (name, query): analyses[f"{name} {query}"] for name, rule in rules.items() for query in queries(rule)
    }


@pytest.mark.parametrize("query", ["changes", "signals", "health", "coverage"])
@pytest.mark.parametrize("name", ALL_IDENTITIES)
def test_query_over_bridges_is_sound_kql(
    analysed: dict[tuple[str, str], Analysis], name: str, query: str
) -> None:
    assert [str(diagnostic) for diagnostic in analysed[name, query].diagnostics] == []


@pytest.mark.parametrize("side", ["changes", "signals"])
@pytest.mark.parametrize("name", ALL_IDENTITIES)
def test_query_over_bridges_returns_the_columns_that_are_read(
    analysed: dict[tuple[str, str], Analysis], rules: dict[str, Rule], name: str, side: str
) -> None:
    assert list(analysed[name, side].columns.items()) == list(
        rules[name].sequence.sides[side].columns.items()
    )


# ------------------------------------------------------------------------------------------------ keys in KQL

# Nobody is called nothing; and Log Analytics keeps no text with a null.
emails = st.one_of(
    st.emails(),
    st.builds(
        "{}+{}@{}".format, st.text(max_size=5), st.text(max_size=5), st.sampled_from(["X.com", "exämple.de"])
    ),
    st.text(min_size=1, max_size=20),
).filter(lambda address: "\0" not in address and "\n" not in address)


@many
@pytest.mark.parametrize("algorithm, form", DIGESTS)
@settings(max_examples=examples(4, many=15), deadline=None)
@given(actors=st.lists(emails, min_size=1, max_size=30))
def test_digest_in_kql_is_that_of_the_e_mail_in_lower_case(
    algorithm: str, form: str, actors: list[str]
) -> None:
    option = MatchingOption("hash", algorithm, "base64" if form == "base64" else "hex")
    for lowered, key in keys_in_kql(actors, option.change_key_steps("Key", "Actor")):
        digest = hashlib.new(algorithm, lowered.encode()).digest()
        text = base64.b64encode(digest).decode() if form == "base64" else digest.hex()
        assert key == text.lower().rstrip("=")


@many
@settings(max_examples=examples(4, many=15), deadline=None)
@given(actors=st.lists(emails, min_size=1, max_size=30))
def test_local_part_in_kql_ends_before_the_last_at(actors: list[str]) -> None:
    for lowered, key in keys_in_kql(
        actors, MatchingOption("local-part").change_key_steps("Key", "tolower(Actor)")
    ):
        assert key == lowered.rpartition("@")[0]


@cache
def translate_steps(steps: tuple[str, ...]) -> str:
    """The SQL for the keys of a table of actors: translating takes longer than answering."""
    kql = "Actors" + "".join(f"\n| extend {step}" for step in steps)
    connection = actors_table([])
    return str(
        duckdb_kql.to_sql(f"{kql}\n| project Lower = tolower(Actor), Key", schema=engine.schema(connection))
    )


def actors_table(actors: Sequence[str]) -> duckdb.DuckDBPyConnection:
    connection = duckdb_kql.connect()
    connection.execute("CREATE TABLE Actors AS SELECT unnest(?::VARCHAR[]) AS Actor", [actors])
    return connection


def keys_in_kql(actors: Sequence[str], steps: Sequence[str]) -> list[tuple[str, str]]:
    """The actors in lower case, and their keys."""
    return actors_table(actors).execute(translate_steps(tuple(steps))).fetchall()


# ------------------------------------------------------------------------------------------ pairs, by a model

PEOPLE = [
    "ann@example.com",
    "Ann@sub.example",
    "bob+admin@example.com",
    "änn@exämple.com",
    "carol@example.com",
    "weird",
]
MAPPED = {"salted-3f9c": ["ann@example.com"], "shared-desk": ["ann@example.com", "bob@example.com"]}


def random_fields(person: str, random: Random) -> dict[str, object]:
    """What a completion of a person may say."""
    lower = person.lower().encode()
    digest = random.choice([hashlib.sha256, hashlib.sha1, hashlib.md5])(lower).digest()
    encoded = random.choice([base64.b64encode, base64.urlsafe_b64encode])(digest).decode()
    user = random.choice(
        [
            person,
            person.upper(),
            digest.hex(),
            digest.hex().upper(),
            encoded,
            encoded.rstrip("="),
            person.rpartition("@")[0],
            *MAPPED,
            "service",
            "",
        ]
    )
    metadata = random.choice(
        [{}, {}, {"employee": random.choice(PEOPLE)}, {"employee": person}, {"the user's id": person}]
    )
    return {"input_user": user, "metadata": metadata}


def expected_actors(user: str, metadata: dict[str, str], rule: Rule, actors: Sequence[str]) -> set[str]:
    """Whose a signal may be, said without any of the job's own code."""
    matching_actors: set[str] = set()
    for option in rule.sequence.identity:
        for actor in actors:
            digest = hashlib.new(option.parameter, actor.encode()).digest() if option.kind == "hash" else b""
            encoded = base64.b64encode(digest).decode().lower().rstrip("=")
            matches_by_kind = {
                "exact": user == actor,
                "hash": user == digest.hex()
                if option.encoding == "hex"
                else user.rstrip("=").replace("-", "+").replace("_", "/") == encoded,
                "metadata": metadata.get(option.parameter, "").lower() == actor,
                "local-part": user != "" and user == actor.rpartition("@")[0],
                "mapping": actor in MAPPED.get(user, []),
                "none": True,
            }
            if matches_by_kind[option.kind]:
                matching_actors.add(actor)
    return matching_actors


def random_world(changes: int, signals: int) -> LogWorld:
    """Some changes and signals of few people, who call themselves whatever they like."""
    random = Random(changes)
    return LogWorld(
        [
            change(random.choice(PEOPLE), MOMENT - HOUR * random.uniform(2, 40), Id=f"c{number}")
            for number in range(changes)
        ],
        [
            signal(
                "",
                MOMENT - HOUR * random.uniform(0.1, 20),
                EventUid=f"s{number}",
                AdditionalFields=random_fields(random.choice(PEOPLE), random),
            )
            for number in range(signals)
        ],
    )


def pairs_of(detection: Detection) -> set[tuple[str, str, str]]:
    return {
        (chain.actor, change.id, signal.id) for chain in detection.chains for change, signal in chain.pairs()
    }


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_those_of_everybody_whom_a_signal_may_be_of(
    rules: dict[str, Rule], tmp_path: Path, name: str
) -> None:
    rule, world = rules[name], random_world(12, 300)
    detection = detect_at(rule, MOMENT, FileSource(write(world, tmp_path), rule.tables))

    assert pairs_of(detection) == expected_pairs(world, rule) != set()


def expected_pairs(world: LogWorld, rule: Rule) -> set[tuple[str, str, str]]:
    changes = [(row, email(row)) for row in world.audit]
    actors = sorted({actor for _, actor in changes})
    return {
        (actor, str(change_row["Id"]), str(signal_row["EventUid"]))
        for signal_row in world.chat
        for fields in [signal_row["AdditionalFields"]]
        if isinstance(fields, dict)
        for matching_actor in expected_actors(fields["input_user"].lower(), fields["metadata"], rule, actors)
        for change_row, actor in changes
        if actor == matching_actor
        and timedelta(0) <= time(signal_row) - time(change_row) <= timedelta(hours=24)
    }


def email(row: LogRow) -> str:
    session = row["ActorSession"]
    assert isinstance(session, dict)
    return str(session["user"]["email"]).lower()


def time(row: LogRow) -> datetime:
    stamp = row["TimeGenerated"]
    assert isinstance(stamp, datetime)
    return stamp


# ----------------------------------------------------------------------------------------------------- slices


@pytest.fixture(scope="module")
def large_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(random_world(40, 400), tmp_path_factory.mktemp("crowd"))


@pytest.mark.parametrize("name", NAMES)
def test_slices_hold_what_the_whole_holds_and_nobody_is_in_two(
    rules: dict[str, Rule], large_logs: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = rules[name]
    whole = detect_at(rule, MOMENT, FileSource(large_logs, rule.tables))
    monkeypatch.setattr(spill, "SLICE", 10)
    detections = sliced_detections(rule, large_logs)

    assert sorted(line for detection in detections for line in detection.lines()) == sorted(whole.lines())
    actors = [chain.actor for detection in detections for chain in detection.chains]
    assert len(actors) == len(set(actors))
    # Where signals are known by several columns, or by nothing, any of them may belong together.
    assert (len(detections) > 2) == (name in ("sha256", "local-part", "mapping"))


def sliced_detections(rule: Rule, folder: Path) -> list[Detection]:
    """What the rule finds where 10 signals are many, asked over the wire."""
    with tables_of(folder, rule.tables) as tables, query_api(tables) as api:
        api.moment = MOMENT
        workspaces, limits = ["4f1c2a6e-0b5d-4a57-9a2e-3f9d5d0c7b11"], Limits(max_signals_per_actor=10)
        source = open_log_analytics(workspaces, api.endpoint, None, lambda: MOMENT, limits=limits)
        try:
            windows = plan_windows(MOMENT, None, rule)
            return [correlate_logs(logs, rule, windows) for logs in read_slices(source, rule, windows)]
        finally:
            source.close()


def test_chunks_come_in_order_of_time_where_a_signal_may_belong_to_any_actor(
    rules: dict[str, Rule], large_logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "SLICE", 10)
    monkeypatch.setattr(client, "SLICE", 10)
    detections = sliced_detections(rules["none"], large_logs)
    times = [event.time for detection in detections for event in detection.logs.signals.all_events]
    assert times == sorted(times)
    assert len(detections) > 2
    assert all(detection.logs.is_chunk for detection in detections[1:])


# -------------------------------------------------------------------------------------- what must not be seen


def test_no_identity_ever_enters_a_query(rules: dict[str, Rule]) -> None:
    texts = "\n".join(queries(rules["mapping"]).values())
    assert [value for value in (*rules["mapping"].emails_by_user, "ann@example.com") if value in texts] == []


def test_mapped_signals_of_nobody_who_changed_something_are_not_kept(
    rules: dict[str, Rule], tmp_path: Path
) -> None:
    world = LogWorld(
        [change("ann@example.com", MOMENT - 3 * HOUR)],
        [signal(user, MOMENT - 2 * HOUR, EventUid=user) for user in ("salted-3f9c", "salted-b0b", "eve")],
    )
    rule = rules["mapping"]
    detection = detect_at(rule, MOMENT, FileSource(write(world, tmp_path), rule.tables))
    assert [event.id for event in detection.logs.signals.all_events] == ["salted-3f9c"]


# ------------------------------------------------------------------------------------------- planted mistakes

WRONG = {
    "[sha256]": "sequence.identity.0: must be exact, local-part, none, {hash: sha256}, "
    "{metadata: <key>} or {mapping: <file>.csv}",
    "[exact, {hash: sha512}]": "sequence.identity.1: "
    "hash must be sha256, sha1, md5; only `as` may be next to it",
    "[{hash: sha256, as: Hex}]": "sequence.identity.0: as must be hex or base64",
    "[{hash: sha256, salt: pepper}]": "sequence.identity.0: "
    "hash must be sha256, sha1, md5; only `as` may be next to it",
    "[{metadata: 'a\"b'}]": "sequence.identity.0: metadata must be a key of 1 to 64 characters",
    "[{mapping: ../users.csv}]": "sequence.identity.0: "
    "mapping must be the name of a .csv file next to rule.yaml",
    "[]": "sequence.identity: Value should have at least 1 item",
    "[none, exact]": "sequence: identity: none matches every actor, so it must be the only option",
    "[exact, exact]": "sequence: identity: an option is listed twice; remove it",
    "[{mapping: users.csv}, {mapping: more.csv}]": "sequence: "
    "identity: only one mapping is allowed; put all pairs into one file",
}


@pytest.mark.parametrize("identity", WRONG)
def test_wrong_identity_is_named_by_file_and_key(identity: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        rule_with_options(tmp_path, identity)
    path, _, message = str(raised.value).partition(": ")
    assert (Path(path).name, WRONG[identity] in message) == ("rule.yaml", True)
    assert "pepper" not in message


def test_identity_may_be_one_bridge_without_a_list(tmp_path: Path) -> None:
    assert rule_with_options(tmp_path, "none").sequence.identity == (MatchingOption("none"),)


def test_missing_mapping_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"people\.csv: the rule's identity names this file"):
        rule_with_options(tmp_path, "[{mapping: people.csv}]")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "line 1: must be email,user"),
        (b"user,email\na,b\n", "line 1: must be email,user"),
        (b"email,user\n", "has no line below its header; add a line for each pair"),
        (b"email,user\nann@example.com\n", "line 2: has 1 cells instead of 2"),
        (b"email,user\nann@example.com,s3cr3t,x\n", "line 2: has 3 cells instead of 2"),
        (b"email,user\nann@example.com, \n", "line 2: its user is empty"),
        (b"email,user\n,s3cr3t\n", "line 2: its email is empty"),
        (b"email,user\n\nann@example.com,s3cr3t\n", "line 2: has 0 cells instead of 2"),
        (b"email,user\na@b,s3cr3t\nc@d,e\nA@B,S3CR3T\n", "line 4: repeats line 2; remove it"),
        (b"email,user\na@b,\xff\n", "line 2: is not UTF-8"),
        (b'email,user\na@b,"s3cr3t\n', "line 2: is not CSV"),
        (b"email,user\n" + b"a@b,s3cr3t\n" * 400_000, "must not be larger than 4,194,304 bytes"),
    ],
)
def test_line_of_a_mapping_that_says_nothing_is_named_and_not_shown(
    content: bytes, message: str, tmp_path: Path
) -> None:
    folder = rule_folder(tmp_path, "[{mapping: users.csv}]")
    (folder / "users.csv").write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        load_rule(folder.name, folder.parent)
    assert str(raised.value) == f"{folder / 'users.csv'}: {message}"


def test_metadata_needs_to_be_told_where_it_is(tmp_path: Path) -> None:
    folder = rule_folder(tmp_path, "[{metadata: employee}]")
    lines = (folder / "rule.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    remaining_lines = [line for line in lines if not line.startswith("    metadata: ")]
    assert len(remaining_lines) == len(lines) - 1
    (folder / "rule.yaml").write_text("".join(remaining_lines), encoding="utf-8")
    with pytest.raises(
        ConfigurationError, match=r"rule\.yaml: sequence: .*identity: metadata needs signals\.metadata"
    ):
        load_rule(folder.name, folder.parent)


def test_alerts_over_bridges_cannot_be_grouped_by_what_signals_say(tmp_path: Path) -> None:
    folder = rule_folder(tmp_path, "[local-part]")
    text = (folder / "rule.yaml").read_text(encoding="utf-8")
    (folder / "rule.yaml").write_text(
        text.replace("columnName: ActorEmail", "columnName: ActorUser"), encoding="utf-8"
    )
    with pytest.raises(ConfigurationError, match=r"identity: Account, by which .* must not be ActorUser"):
        load_rule(folder.name, folder.parent)


# ----------------------------------------------------------------------------------------------------- owners


def test_owners_of_the_exact_rule_are_those_who_are_named(rules: dict[str, Rule], tmp_path: Path) -> None:
    rule = load_rule("openai-config-to-abuse")
    world = LogWorld(
        [change("ann@example.com", MOMENT - 3 * HOUR)], [signal("ann@example.com", MOMENT - 2 * HOUR)]
    )
    detection = detect_at(rule, MOMENT, FileSource(write(world, tmp_path), rule.tables))
    resolver = ActorResolver(rule, [event.row for event in detection.logs.changes.all_events])
    assert [
        actor_match.actor
        for event in detection.logs.signals.all_events
        for actor_match in resolver.resolve(event.row)
    ] == ["ann@example.com"]
