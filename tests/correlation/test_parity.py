"""Both shipped rules beside the published one, on random logs: row for row, and pair for pair.

The published KQL is executed as it was published. What the default rule adds and withholds is checked
against an oracle written from the words of the rules, which knows neither their KQL nor their code.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import pytest

from detection.correlation.detection import Detection, detect, detect_at
from detection.correlation.suppressed import count_restamped, count_suppressed
from detection.logs.events import Events, Logs
from detection.logs.files.source import FileSource
from detection.logs.window import plan_windows
from detection.rules.loading import load_rule
from tests.support import truth
from tests.support.rule_world import (
    CONNECTOR,
    DAY,
    HOUR,
    MOMENT,
    TICK,
    Answer,
    LogRow,
    LogWorld,
    arrived,
    change,
    change_key,
    published_answer,
    random_world,
    signal,
    signal_key,
    write,
)

CASES = 10_000
PUBLISHED = load_rule("openai-config-to-abuse-sentinel")
DEFAULT = load_rule("openai-config-to-abuse")

Key = tuple[str, str]
Shown = tuple[object, ...]


# ----------------------------------------------------------------------------------------------------- oracle


@dataclass(frozen=True, slots=True)
class OracleEvent:
    """A change or a signal by the default rule; `beyond` is why the published rule ignores it."""

    key: str
    actor: str
    own_time: datetime
    stamp: datetime
    beyond: frozenset[str]
    row: LogRow


@dataclass(frozen=True, slots=True)
class Instance:
    """One way in which a pair stands in the logs: an id may stand there more than once."""

    change: OracleEvent
    signal: OracleEvent

    @property
    def is_published(self) -> bool:
        """Both rows in the published rule's day, in order, as they were stamped."""
        change, signal = self.change, self.signal
        in_window = MOMENT - DAY < change.stamp <= signal.stamp <= change.stamp + DAY
        return in_window and not change.beyond | signal.beyond

    def is_expected(self, reach: timedelta) -> bool:
        """In order by own times: a signal at most `reach` old, and a change at most a day before it."""
        change, signal = self.change.own_time, self.signal.own_time
        inside = MOMENT - reach < signal <= MOMENT and MOMENT - reach - DAY < change
        return inside and change <= signal <= change + DAY

    @property
    def is_in_future(self) -> bool:
        """Stamped ahead of now."""
        return max(self.change.stamp, self.signal.stamp) > MOMENT

    @property
    def beyond(self) -> list[str]:
        """Why the published rule would not return it."""
        change, signal = self.change.stamp, self.signal.stamp
        reasons = self.change.beyond | self.signal.beyond
        if not MOMENT - DAY < change <= signal <= change + DAY:
            reasons |= {"outside_published_window"}
        return sorted(reasons)


def oracle_changes(world: LogWorld) -> Iterator[OracleEvent]:
    for row in world.audit:
        session, key = _email(row.get("ActorSession")), _email(row.get("ActorApiKey"))
        listed = row["EventType"] in LISTED
        if arrived(row, MOMENT) and (session or key) and (listed or _updates_a_role(row)):
            reasons = {"api_key_actor": not session, "role_change_in_update": not listed}
            yield _oracle_event(row, change_key(row), session or key, "EffectiveAt", reasons)


def oracle_signals(world: LogWorld) -> Iterator[OracleEvent]:
    for row in world.chat:
        fields = row.get("AdditionalFields")
        user = fields.get("input_user") if isinstance(fields, dict) else None
        reasons = json.dumps(row["EventFinishReasons"]) if "EventFinishReasons" in row else "(absent)"
        missing = reasons in NO_REASON
        from_connector = all(row[name] == value for name, value in CONNECTOR.items())
        if arrived(row, MOMENT) and from_connector and user and (missing or reasons in ABUSE):
            yield _oracle_event(
                row, signal_key(row), user.lower(), "EventStartTime", {"finish_reason_missing": missing}
            )


def _oracle_event(
    row: LogRow, key: str, actor: str, time_column: str, reasons: dict[str, bool]
) -> OracleEvent:
    stamp = row["TimeGenerated"]
    time = row.get(time_column) or stamp
    assert isinstance(stamp, datetime)
    assert isinstance(time, datetime)
    return OracleEvent(
        key, actor, time, stamp, frozenset(name for name, holds in reasons.items() if holds), row
    )


def _with_earliest_time(events: Iterable[OracleEvent], read_after: datetime) -> list[OracleEvent]:
    """The events, each with the earliest own time of its id and actor among the rows that are read."""
    listed = list(events)
    earliest: dict[Key, datetime] = {}
    for event in listed:
        if event.stamp > read_after:
            identity = event.key, event.actor
            earliest[identity] = min(event.own_time, earliest.get(identity, event.own_time))
    return [
        replace(event, own_time=earliest.get((event.key, event.actor), event.own_time)) for event in listed
    ]


def _email(actor: object) -> str:
    user = actor.get("user") if isinstance(actor, dict) else None
    email = user.get("email") if isinstance(user, dict) else None
    return (email or "").lower()


def _updates_a_role(row: LogRow) -> bool:
    details = json.dumps(row["EventDetails"]) if "EventDetails" in row else "(absent)"
    return str(row["EventType"]).lower() in truth.ROLE_UPDATES and details in ROLE_DETAILS


def _spelt(lines: Iterable[str]) -> set[str]:
    """Lines of a truth table, with their JSON spelt as json.dumps does."""
    return {line if line == "(absent)" else json.dumps(json.loads(line)) for line in lines}


def _true_lines(table: dict[str, bool]) -> list[str]:
    return [line for line, holds in table.items() if holds]


LISTED = {*truth.LISTED, *_true_lines(dict(truth.SPELLINGS))}
ROLE_DETAILS = _spelt(_true_lines(dict(truth.EVENT_DETAILS)))
ABUSE = _spelt(_true_lines(dict(truth.PUBLISHED_REASONS)))
NO_REASON = _spelt(truth.NO_REASON)


# ---------------------------------------------------------------------------------------------------- answers


class Answers:
    """A world, what the published KQL and the published rule return on it, and what the default rule does.

    An outage is how long before the usual hour the last complete run lies.
    """

    def __init__(self, world: LogWorld, folder: Path, outage: timedelta = timedelta(0)) -> None:
        self.world = world
        self.reach = DAY + outage
        self._source = FileSource(write(world, folder), DEFAULT.tables)
        self.published = published_answer(world)
        self.sentinel: Answer = list(detect_at(PUBLISHED, MOMENT, self._source).rows())
        self._read()

    def with_outage(self, outage: timedelta) -> "Answers":
        """The same, but for the outage."""
        answers = copy(self)
        answers.reach = DAY + outage
        answers._read()
        return answers

    def _read(self) -> None:
        watermark = MOMENT - HOUR - (self.reach - DAY)
        self.detection: Detection = detect(DEFAULT, plan_windows(MOMENT, watermark, DEFAULT), self._source)
        self.default: Answer = list(self.detection.rows())

    @cached_property
    def instances(self) -> dict[Key, list[Instance]]:
        """Every pair that one of the rules may return, as it stands in the logs."""
        signals: dict[str, list[OracleEvent]] = defaultdict(list)
        for abuse in _with_earliest_time(oracle_signals(self.world), MOMENT - self.reach):
            signals[abuse.actor].append(abuse)
        instances: dict[Key, list[Instance]] = defaultdict(list)
        for config in _with_earliest_time(oracle_changes(self.world), MOMENT - self.reach - DAY):
            for abuse in signals.get(config.actor, ()):
                instance = Instance(config, abuse)
                if instance.is_expected(self.reach) or instance.is_published:
                    instances[config.key, abuse.key].append(instance)
        return instances

    @cached_property
    def expected_pairs(self) -> dict[Key, list[Instance]]:
        """The pairs that the default rule must return. A published instance of a pair goes first."""
        expected = {
            key: [instance for instance in instances if instance.is_expected(self.reach)]
            for key, instances in self.instances.items()
        }
        return {key: instances for key, instances in expected.items() if instances}

    @cached_property
    def published_keys(self) -> set[Key]:
        """The distinct published pairs."""
        return {(str(row["ConfigKey"]), str(row["AbuseKey"])) for row in self.published}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    world = random_world(1, CASES)
    world.audit.extend(SMALL.audit)
    world.chat.extend(SMALL.chat)
    return Answers(world, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def after_an_outage(first_run: Answers) -> Answers:
    return first_run.with_outage(4 * DAY)


@pytest.fixture(params=["first_run", "after_an_outage"])
def answers(request: pytest.FixtureRequest) -> Answers:
    chosen: Answers = request.getfixturevalue(request.param)
    return chosen


# -------------------------------------------------------------------------------------------------- same rows


def test_published_rule_returns_the_published_rows(answers: Answers) -> None:
    assert_same(map(_text, answers.sentinel), (_text(_without_keys(row)) for row in answers.published))


def test_published_rule_returns_the_published_columns(answers: Answers) -> None:
    assert list(answers.sentinel[0]) == list(_without_keys(answers.published[0]))


def test_both_rules_return_the_newest_change_first(answers: Answers) -> None:
    for rows in (answers.sentinel, answers.default):
        times = [datetime.fromisoformat(str(row["ConfigTime"])) for row in rows]
        assert all(newer >= older for newer, older in pairwise(times))


# ------------------------------------------------------------------------------------------------- same pairs


def test_oracle_agrees_with_the_published_kql(answers: Answers) -> None:
    oracle_pairs = {
        key
        for key, instances in answers.instances.items()
        if any(instance.is_published for instance in instances)
    }
    assert_same(oracle_pairs, answers.published_keys)


def test_default_rule_tells_every_published_pair_but_waiting_and_counted_restamped_ones(
    answers: Answers,
) -> None:
    missing_pairs = answers.published_keys - answers.expected_pairs.keys()
    restamped = [
        key
        for key in missing_pairs
        if any(instance.is_published and not instance.is_in_future for instance in answers.instances[key])
    ]
    counted = count_suppressed(answers.detection.logs, DEFAULT, answers.detection.windows).restamped
    assert counted == len(restamped)


def test_default_rule_tells_exactly_the_pairs_of_its_words(answers: Answers) -> None:
    assert_same(
        map(_ids, answers.default), (_ids_of(instances[0]) for instances in answers.expected_pairs.values())
    )


def test_default_rule_shows_each_pair_with_exactly_its_reasons(answers: Answers) -> None:
    allowed: dict[str, set[str]] = defaultdict(set)
    for key, instances in answers.expected_pairs.items():
        # Of a pair that stands at several places any may be shown; it goes beyond only if all of them do.
        none: dict[str, object] = {"Beyond": []} if key in answers.published_keys else {}
        allowed[_ids_of(instances[0])].update(_text(_expected(instance) | none) for instance in instances)
    wrong = [row for row in answers.default if _text(_masked(row)) not in allowed[_ids(row)]]
    assert not wrong, f"{len(wrong)} rows, the first: {wrong[0]}, expected one of {allowed[_ids(wrong[0])]}"


def test_default_rule_gives_no_reasons_exactly_for_the_published_pairs(answers: Answers) -> None:
    expected = Counter(key in answers.published_keys for key in answers.expected_pairs)
    assert Counter(row["Beyond"] == [] for row in answers.default) == expected


def test_default_rule_tells_a_pair_once(answers: Answers) -> None:
    pairs = Counter((row["ConfigId"], row["AbuseId"]) for row in answers.default)
    assert [pair for pair, times in pairs.items() if times > 1] == []


def assert_same(actual: Iterable[object], expected: Iterable[object]) -> None:
    """Equal as multisets; says how far they are apart without showing ten thousand rows."""
    actual_counts, expected_counts = Counter(actual), Counter(expected)
    extra, missing = actual_counts - expected_counts, expected_counts - actual_counts
    examples = [*list(extra)[:2], *list(missing)[:2]]
    assert not extra | missing, f"{extra.total()} too many, {missing.total()} missing: {examples}"


def _without_keys(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if not name.endswith("Key")}


def _text(row: dict[str, object]) -> str:
    return json.dumps(row)


def _mask(ident: object) -> str:
    """An id as such; a row that has none gets one from its content, which only has to differ."""
    return "" if str(ident).startswith("row") else str(ident)


def _ids(row: dict[str, object]) -> str:
    return f"{_mask(row['ConfigId'])} {_mask(row['AbuseId'])} {row['ActorEmail']}"


def _ids_of(instance: Instance) -> str:
    return f"{_mask(instance.change.key)} {_mask(instance.signal.key)} {instance.change.actor}"


def _masked(row: dict[str, object]) -> dict[str, object]:
    beyond = row["Beyond"]
    assert isinstance(beyond, list)
    ids = {"ConfigId": _mask(row["ConfigId"]), "AbuseId": _mask(row["AbuseId"])}
    return row | ids | {"Beyond": sorted(beyond)}


def _expected(instance: Instance) -> dict[str, object]:
    session = instance.change.row.get("ActorSession")
    address = session.get("ip_address") if isinstance(session, dict) else None
    return {
        "ConfigTime": instance.change.own_time.isoformat().replace("+00:00", "Z"),
        "ConfigEvent": instance.change.row["EventType"],
        "ActorEmail": instance.change.actor,
        "ConfigIp": address or "",
        "AbuseTime": instance.signal.own_time.isoformat().replace("+00:00", "Z"),
        "ModelName": instance.signal.row.get("ModelName") or "",
        "EventFinishReasons": instance.signal.row.get("EventFinishReasons"),
        "EventRequestId": instance.signal.row.get("EventRequestId") or "",
        "ConfigId": _mask(instance.change.key),
        "AbuseId": _mask(instance.signal.key),
        "Beyond": instance.beyond,
    }


# -------------------------------------------------------------------------------------------------- not empty


def test_world_has_plenty_of_every_edge(first_run: Answers) -> None:
    counted = edges(first_run)
    assert {edge: number for edge, number in counted.items() if number < 20} == {}


def test_first_run_on_its_own_reads_what_a_run_after_an_hour_reads(first_run: Answers) -> None:
    assert first_run.detection.windows == plan_windows(MOMENT, None, DEFAULT)


def edges(answers: Answers) -> dict[str, int]:
    """How often each kind of edge takes part in a world."""
    audit, chat = answers.world.audit, answers.world.chat
    pairs = [instance for instances in answers.instances.values() for instance in instances]
    published = [instance for instance in pairs if instance.is_published]
    reasons = Counter(reason for row in answers.default for reason in _reasons(row))
    suppressed = count_suppressed(answers.detection.logs, DEFAULT, answers.detection.windows)
    return {
        "published rows / 100": len(answers.published) // 100,
        "default rows / 100": len(answers.default) // 100,
        "published rows that repeat a pair": len(answers.published) - len(answers.published_keys),
        **{reason: reasons[reason] for reason in (*truth.REASONS, "")},
        "restamped": suppressed.restamped,
        "too late": suppressed.too_late,
        "waiting": suppressed.in_future,
        "at the same time": sum(instance.change.stamp == instance.signal.stamp for instance in published),
        "24 h apart": sum(instance.signal.stamp - instance.change.stamp == DAY for instance in published),
        "a change at the edge of the published day": _count_at(audit, MOMENT - DAY),
        "a change right after that edge": sum(
            instance.change.stamp == MOMENT - DAY + TICK for instance in published
        ),
        "a signal at the edge of the published day": _count_at(chat, MOMENT - DAY),
        "a signal at the moment of the run": sum(
            instance.signal.own_time == MOMENT for instance in published
        ),
        "a signal right after that moment": _count_at(chat, MOMENT + TICK),
        "a change at the edge of the default window": _count_at(audit, MOMENT - 2 * DAY),
        "changes without an id": sum(instance.change.key.startswith("row") for instance in pairs),
        "signals without an id": sum(instance.signal.key.startswith("row") for instance in pairs),
        "signals with a request id only": sum(instance.signal.key.startswith("req") for instance in pairs),
        "pairs at several places": sum(len(instances) > 1 for instances in answers.expected_pairs.values()),
        "audit rows yet to arrive": sum(not arrived(row, MOMENT) for row in audit),
        "completions yet to arrive": sum(not arrived(row, MOMENT) for row in chat),
        "rows of other vendors": sum(not CONNECTOR.items() <= row.items() for row in chat),
        "session and key": sum(
            bool(_email(row.get("ActorSession")) and row.get("ActorApiKey")) for row in audit
        ),
        "actor with a space at its end": sum(
            instance.change.actor.endswith("@example.com ") for instance in pairs
        ),
        "actor that is a space": sum(instance.change.actor == " " for instance in pairs),
        "event type in capitals": sum(str(instance.change.row["EventType"]).isupper() for instance in pairs),
        "scalar finish reason": sum(
            isinstance(instance.signal.row.get("EventFinishReasons"), str) for instance in pairs
        ),
        "empty list of finish reasons": sum(
            instance.signal.row.get("EventFinishReasons") == [] for instance in published
        ),
    }


def _count_at(rows: list[LogRow], time: datetime) -> int:
    return sum(row["TimeGenerated"] == time for row in rows)


def _reasons(row: dict[str, object]) -> list[object]:
    beyond = row["Beyond"]
    assert isinstance(beyond, list)
    return beyond or [""]


# ------------------------------------------------------------------------------------------- small, and named


def _small() -> LogWorld:
    late, early = MOMENT - 25 * HOUR, MOMENT - 3 * HOUR
    restamped = change("later stamp", late, Id="audit_log-1", EffectiveAt=late)
    twice = [change("two times", time, Id="audit_log-2", EffectiveAt=time) for time in (late, early)]
    old = signal("old signal", MOMENT - 4 * DAY, EventUid="chatcmpl-3", EventStartTime=MOMENT - 4 * DAY)
    return LogWorld(
        [
            restamped,
            restamped | {"TimeGenerated": early},
            *twice,
            change("old signal", early, Id="audit_log-3"),
        ],
        [
            signal("later stamp", MOMENT - 2 * HOUR, EventUid="chatcmpl-1"),
            signal("two times", MOMENT - 2 * HOUR, EventUid="chatcmpl-2"),
            old,
            old | {"TimeGenerated": MOMENT - HOUR},
        ],
    )


SMALL = _small()


def test_change_that_stands_again_with_a_later_stamp_is_in_the_published_window(first_run: Answers) -> None:
    assert ("audit_log-1", "chatcmpl-1") in first_run.published_keys
    assert _beyond(first_run, "audit_log-1") == [[]]


def test_change_that_stands_at_two_times_is_in_the_published_window_with_the_later_one(
    first_run: Answers,
) -> None:
    assert ("audit_log-2", "chatcmpl-2") in first_run.published_keys
    assert _beyond(first_run, "audit_log-2") == [[]]


def test_restamped_signal_is_counted_also_where_the_original_is_read(after_an_outage: Answers) -> None:
    assert ("audit_log-3", "chatcmpl-3") in after_an_outage.published_keys
    assert _beyond(after_an_outage, "audit_log-3") == []
    detection = after_an_outage.detection
    counted = count_restamped(_logs_of("old signal", detection.logs), DEFAULT, detection.windows)
    assert counted == 1


def _beyond(answers: Answers, change_id: str) -> list[object]:
    return [row["Beyond"] for row in answers.default if row["ConfigId"] == change_id]


def _logs_of(actor: str, logs: Logs) -> Logs:
    changes, signals = (
        Events([event for event in side.all_events if event.actor == actor])
        for side in (logs.changes, logs.signals)
    )
    return Logs(changes, signals)


# ------------------------------------------------------------------------------------------------------- soak


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 16))
def test_long_random_worlds(seed: int, tmp_path: Path) -> None:
    answers = Answers(random_world(seed, 5 * CASES), tmp_path, outage=seed % 3 * 2 * DAY)
    test_published_rule_returns_the_published_rows(answers)
    test_both_rules_return_the_newest_change_first(answers)
    test_oracle_agrees_with_the_published_kql(answers)
    test_default_rule_tells_every_published_pair_but_waiting_and_counted_restamped_ones(answers)
    test_default_rule_tells_exactly_the_pairs_of_its_words(answers)
    test_default_rule_shows_each_pair_with_exactly_its_reasons(answers)
    test_default_rule_gives_no_reasons_exactly_for_the_published_pairs(answers)
    test_default_rule_tells_a_pair_once(answers)
