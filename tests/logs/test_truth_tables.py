"""Both rules on every line of the truth tables: one actor a line, in one world that is read once."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import pytest

from detection.correlation.detection import Detection, detect_at
from detection.logs.files.source import FileSource
from detection.rules.loading import load_rule
from tests.support import truth
from tests.support.rule_world import (
    DAY,
    HOUR,
    MOMENT,
    SECOND,
    TICK,
    Answer,
    LogRow,
    LogWorld,
    change,
    from_json,
    signal,
    without,
    write,
)

PUBLISHED, DEFAULT = load_rule("openai-config-to-abuse-sentinel"), load_rule("openai-config-to-abuse")
RowBuilder = Callable[[str], tuple[list[LogRow], list[LogRow]]]
CHANGED, SIGNALLED = MOMENT - 3 * HOUR, MOMENT - 2 * HOUR
EVENT_TYPES = {**dict.fromkeys(truth.LISTED, True), **dict.fromkeys(truth.UNLISTED, False), **truth.SPELLINGS}


class Vector(NamedTuple):
    """A few rows, and how many rows each rule returns for them."""

    audit: list[LogRow]
    chat: list[LogRow]
    published: int
    default: int


def vectors(actor: str) -> dict[str, Vector]:
    """The boundary vectors, all about one actor."""
    changed = change(actor, CHANGED, Id=f"audit_log-{actor}")
    signalled = signal(actor, SIGNALLED, EventUid=f"chatcmpl-{actor}")
    bare_change, bare_signal = change(actor, CHANGED), signal(actor, SIGNALLED, OutputTokensUsed=16)
    my_session = {"user": {"id": "user-1", "email": actor}}
    my_key = {"id": "key_1", "type": "user", "user": {"id": "user-1", "email": actor}}

    def with_times(config: datetime, abuse: datetime) -> tuple[list[LogRow], list[LogRow]]:
        return [changed | {"TimeGenerated": config}], [signalled | {"TimeGenerated": abuse}]

    def with_actors(email: str, user: object) -> tuple[list[LogRow], list[LogRow]]:
        return [change(email, CHANGED)], [signalled | {"AdditionalFields": {"input_user": user}}]

    def with_actor_key(session: object, key: object) -> tuple[list[LogRow], list[LogRow]]:
        return [changed | {"ActorSession": session, "ActorApiKey": key}], [signalled]

    return {
        # times
        "signal at the time of the change": Vector(*with_times(CHANGED, CHANGED), published=1, default=1),
        "signal a second before the change": Vector(
            *with_times(CHANGED, CHANGED - SECOND), published=0, default=0
        ),
        "signal a microsecond before the change": Vector(
            *with_times(CHANGED, CHANGED - TICK), published=0, default=0
        ),
        "signal exactly 24 h after the change": Vector(
            *with_times(MOMENT - DAY + TICK, MOMENT + TICK), published=1, default=0
        ),
        "signal now, exactly 24 h after the change": Vector(
            *with_times(MOMENT - DAY, MOMENT), published=0, default=1
        ),
        "signal 24 h and a microsecond after the change": Vector(
            *with_times(MOMENT - DAY - TICK, MOMENT), published=0, default=0
        ),
        "signal 24 h after a change a minute ahead": Vector(
            *with_times(MOMENT - DAY + 60 * SECOND, MOMENT + 60 * SECOND), published=1, default=0
        ),
        "signal 24 h and a microsecond after a change in both windows": Vector(
            *with_times(MOMENT - DAY + TICK, MOMENT + 2 * TICK), published=0, default=0
        ),
        "change exactly a day ago": Vector(*with_times(MOMENT - DAY, MOMENT - HOUR), published=0, default=1),
        "change a microsecond less than a day ago": Vector(
            *with_times(MOMENT - DAY + TICK, MOMENT - HOUR), published=1, default=1
        ),
        "both exactly a day ago": Vector(*with_times(MOMENT - DAY, MOMENT - DAY), published=0, default=0),
        "both a microsecond less than a day ago": Vector(
            *with_times(MOMENT - DAY + TICK, MOMENT - DAY + TICK), published=1, default=1
        ),
        "change and signal almost two days and a day ago": Vector(
            *with_times(MOMENT - 2 * DAY + TICK, MOMENT - DAY + TICK), published=0, default=1
        ),
        "change exactly two days ago": Vector(
            *with_times(MOMENT - 2 * DAY, MOMENT - DAY + TICK), published=0, default=0
        ),
        "signal now": Vector(*with_times(CHANGED, MOMENT), published=1, default=1),
        "signal ahead of now": Vector(*with_times(CHANGED, MOMENT + TICK), published=1, default=0),
        "both ahead of now": Vector(*with_times(MOMENT + HOUR, MOMENT + HOUR), published=1, default=0),
        # own times
        "re-stamped signal from before the change": Vector(
            [changed], [signalled | {"EventStartTime": CHANGED - 3 * DAY}], published=1, default=0
        ),
        "re-stamped change from long before": Vector(
            [changed | {"EffectiveAt": CHANGED - 3 * DAY}], [signalled], published=1, default=0
        ),
        "re-stamped change that its signal followed within a day": Vector(
            [changed | {"TimeGenerated": MOMENT - HOUR, "EffectiveAt": CHANGED}],
            [signalled],
            published=0,
            default=1,
        ),
        "own times that say what the stamps say": Vector(
            [changed | {"EffectiveAt": CHANGED}],
            [signalled | {"EventStartTime": SIGNALLED}],
            published=1,
            default=1,
        ),
        "own times that are null": Vector(
            [changed | {"EffectiveAt": None}], [signalled | {"EventStartTime": None}], published=1, default=1
        ),
        # actors
        "e-mail in another case": Vector(*with_actors(actor.lower(), actor.upper()), published=1, default=1),
        "e-mail with a space at its end": Vector(*with_actors(f"{actor} ", actor), published=0, default=0),
        "user with a space at its end": Vector(*with_actors(actor, f"{actor} "), published=0, default=0),
        "both with a space at their end": Vector(
            *with_actors(f"{actor} ", f"{actor} "), published=1, default=1
        ),
        "both are a space": Vector(*with_actors(" ", " "), published=1, default=1),
        "both are empty": Vector(*with_actors("", ""), published=0, default=0),
        "user is null": Vector(*with_actors(actor, None), published=0, default=0),
        "user is missing": Vector([changed], [signalled | {"AdditionalFields": {}}], published=0, default=0),
        "additional fields are null": Vector(
            [changed], [signalled | {"AdditionalFields": None}], published=0, default=0
        ),
        "additional fields are missing": Vector(
            [changed], [without(signalled, "AdditionalFields")], published=0, default=0
        ),
        "user's key, no session": Vector(*with_actor_key(None, my_key), published=0, default=1),
        "user's key, session without an e-mail": Vector(
            *with_actor_key({"user": {"id": "user-1", "email": ""}}, my_key), published=0, default=1
        ),
        "user's key, session with null as e-mail": Vector(
            *with_actor_key({"user": {"email": None}}, my_key), published=0, default=1
        ),
        "session, and the key of another": Vector(
            *with_actor_key(my_session, _key(f"other.{actor}")), published=1, default=1
        ),
        "session of another, and the user's key": Vector(
            *with_actor_key({"user": {"email": f"other.{actor}"}}, my_key), published=0, default=0
        ),
        "service account": Vector(
            *with_actor_key(
                None, {"id": "key_1", "type": "service_account", "service_account": {"id": actor}}
            ),
            published=0,
            default=0,
        ),
        "neither session nor key": Vector(*with_actor_key(None, None), published=0, default=0),
        "user as text in the session": Vector(*with_actor_key({"user": actor}, None), published=0, default=0),
        "user as JSON text in the session": Vector(
            *with_actor_key({"user": json.dumps({"email": actor})}, None), published=0, default=0
        ),
        # tables
        "completion of another vendor": Vector(
            [changed], [signalled | {"EventVendor": "Microsoft"}], published=0, default=0
        ),
        "completion of a vendor in lower case": Vector(
            [changed], [signalled | {"EventVendor": "openai"}], published=0, default=0
        ),
        "completion of another product": Vector(
            [changed], [signalled | {"EventProduct": "Copilot"}], published=0, default=0
        ),
        "another event than a completion": Vector(
            [changed], [signalled | {"EventType": "Embedding"}], published=0, default=0
        ),
        "row that arrives with the run": Vector(
            [changed], [signalled | {"_ingested": MOMENT}], published=1, default=1
        ),
        "row that is yet to arrive": Vector(
            [changed], [signalled | {"_ingested": MOMENT + TICK}], published=0, default=0
        ),
        # how many
        "two changes and three signals": Vector(
            [changed, changed | {"Id": f"audit_log-2-{actor}"}],
            [signalled | {"EventUid": f"chatcmpl-{number}-{actor}"} for number in range(3)],
            published=6,
            default=6,
        ),
        "change that stands twice": Vector([changed, changed], [signalled], published=2, default=1),
        "signal that stands three times": Vector([changed], [signalled] * 3, published=3, default=1),
        "both stand twice": Vector([changed] * 2, [signalled] * 2, published=4, default=1),
        "signal that stands at two times": Vector(
            [changed], [signalled, signalled | {"TimeGenerated": SIGNALLED + HOUR}], published=2, default=1
        ),
        "request id in place of an id": Vector(
            [changed],
            [bare_signal | {"EventRequestId": f"req_{number}-{actor}"} for number in (1, 2, 2)],
            published=3,
            default=2,
        ),
        "changes without ids, equal in full": Vector([bare_change] * 2, [signalled], published=2, default=1),
        "changes without ids that differ in their project": Vector(
            [bare_change, bare_change | {"Project": {"id": "proj_1"}}], [signalled], published=2, default=2
        ),
        "signals without ids, equal in full": Vector([changed], [bare_signal] * 2, published=2, default=1),
        "signals without ids that differ in their tokens": Vector(
            [changed], [bare_signal, bare_signal | {"OutputTokensUsed": 17}], published=2, default=2
        ),
    }


def _key(email: str) -> LogRow:
    return {"id": "key_2", "type": "user", "user": {"id": "user-2", "email": email}}


# ------------------------------------------------------------------------------------------------------ lines


def _type_line(name: str) -> tuple[str, RowBuilder]:
    return f"type {name}", lambda actor: ([_changed(actor) | {"EventType": name}], [_signalled(actor)])


def _details_line(name: str, details: str) -> tuple[str, RowBuilder]:
    fields = {"EventType": name} | from_json(details, "EventDetails")
    return f"{name} {details}", lambda actor: ([_changed(actor) | fields], [_signalled(actor)])


def _reasons_line(reasons: str) -> tuple[str, RowBuilder]:
    fields = from_json(reasons, "EventFinishReasons")
    return f"reasons {reasons}", lambda actor: (
        [_changed(actor)],
        [without(_signalled(actor), "EventFinishReasons") | fields],
    )


def _vector_line(name: str) -> tuple[str, RowBuilder]:
    return name, lambda actor: vectors(actor)[name][:2]


def _changed(actor: str) -> LogRow:
    return change(actor, CHANGED, Id=f"audit_log-{actor}")


def _signalled(actor: str) -> LogRow:
    return signal(actor, SIGNALLED, EventUid=f"chatcmpl-{actor}")


VECTORS = vectors("ann@example.com")
UPDATES = (*truth.ROLE_UPDATES, "User.Updated", "user.deleted")
LINES = dict(
    [
        *map(_type_line, EVENT_TYPES),
        *(_details_line(name, details) for name in UPDATES for details in truth.EVENT_DETAILS),
        *map(_reasons_line, {**truth.PUBLISHED_REASONS, **truth.REASON_KINDS}),
        *map(_vector_line, VECTORS),
    ]
)


@dataclass(frozen=True, slots=True)
class RuleAnswers:
    """The pairs of both rules, the kinds of the default rule's signals, and the logs, line by line."""

    published: dict[str, Answer]
    default: dict[str, Answer]
    kinds: dict[str, str]
    detections: list[Detection]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> RuleAnswers:
    world = LogWorld()
    for number, rows in enumerate(LINES.values()):
        audit, chat = rows(f"Ann.{number}@Example.com")
        world.audit.extend(audit)
        world.chat.extend(chat)
    source = FileSource(write(world, tmp_path_factory.mktemp("lines")), DEFAULT.tables)
    published, default = (detect_at(rule, MOMENT, source) for rule in (PUBLISHED, DEFAULT))
    return RuleAnswers(
        published=_by_line(published.rows()),
        default=_by_line(default.rows()),
        kinds={_line(event.actor): event.kind for event in default.logs.signals.all_events},
        detections=[published, default],
    )


def _by_line(rows: Iterable[dict[str, object]]) -> dict[str, Answer]:
    lines: dict[str, Answer] = defaultdict(list)
    for row in rows:
        lines[_line(str(row["ActorEmail"]))].append(row)
    return lines


def _line(actor: str) -> str:
    """Whose actor this is; they are numbered, but for the one who is a space."""
    number = re.search(r"ann[.](\d+)@example[.]com", actor)
    return list(LINES)[int(number[1])] if number else "both are a space"


def rows_of(answer: dict[str, Answer], line: str) -> int:
    assert line in LINES
    return len(answer.get(line, []))


def reasons_of(answers: RuleAnswers, line: str) -> object:
    (row,) = answers.default[line]
    return row["Beyond"]


# ------------------------------------------------------------------------------------------------ event types


def test_every_documented_event_type_is_here_once() -> None:
    assert (len(truth.LISTED), len(truth.UNLISTED)) == (30, 119)
    assert len({*truth.LISTED, *truth.UNLISTED}) == 149


@pytest.mark.parametrize("name, listed", EVENT_TYPES.items())
def test_published_rule_meets_exactly_the_listed_event_types(
    answers: RuleAnswers, name: str, listed: bool
) -> None:
    assert rows_of(answers.published, f"type {name}") == listed


@pytest.mark.parametrize("name, listed", EVENT_TYPES.items())
def test_default_rule_meets_exactly_these_where_no_details_speak_of_a_role(
    answers: RuleAnswers, name: str, listed: bool
) -> None:
    assert rows_of(answers.default, f"type {name}") == listed


@pytest.mark.parametrize("details, speaks", truth.EVENT_DETAILS.items())
@pytest.mark.parametrize("name", ["user.updated", "service_account.updated", "User.Updated"])
def test_default_rule_takes_an_update_whose_details_speak_of_a_role(
    answers: RuleAnswers, name: str, details: str, speaks: bool
) -> None:
    assert rows_of(answers.default, f"{name} {details}") == speaks


@pytest.mark.parametrize("details", truth.EVENT_DETAILS)
def test_default_rule_takes_no_other_event_for_its_details(answers: RuleAnswers, details: str) -> None:
    assert rows_of(answers.default, f"user.deleted {details}") == 0


@pytest.mark.parametrize("details", truth.EVENT_DETAILS)
@pytest.mark.parametrize("name", UPDATES)
def test_published_rule_takes_no_event_for_its_details(answers: RuleAnswers, name: str, details: str) -> None:
    assert rows_of(answers.published, f"{name} {details}") == 0


def test_role_change_in_an_update_is_named_as_beyond(answers: RuleAnswers) -> None:
    assert reasons_of(answers, 'user.updated ["role"]') == ["role_change_in_update"]


def test_listed_event_type_is_not_beyond(answers: RuleAnswers) -> None:
    assert reasons_of(answers, "type role.updated") == []


# --------------------------------------------------------------------------------------------- finish reasons


@pytest.mark.parametrize("reasons, matched", truth.PUBLISHED_REASONS.items())
def test_published_rule_keeps_exactly_these_finish_reasons(
    answers: RuleAnswers, reasons: str, matched: bool
) -> None:
    assert rows_of(answers.published, f"reasons {reasons}") == matched


@pytest.mark.parametrize("reasons, matched", truth.PUBLISHED_REASONS.items())
def test_default_rule_keeps_these_and_missing_ones(answers: RuleAnswers, reasons: str, matched: bool) -> None:
    assert rows_of(answers.default, f"reasons {reasons}") == (matched or reasons in truth.NO_REASON)


@pytest.mark.parametrize("reasons", truth.NO_REASON)
def test_missing_finish_reason_is_named_as_beyond(answers: RuleAnswers, reasons: str) -> None:
    assert reasons_of(answers, f"reasons {reasons}") == ["finish_reason_missing"]


def test_empty_list_of_finish_reasons_is_not_beyond(answers: RuleAnswers) -> None:
    assert reasons_of(answers, "reasons []") == []


@pytest.mark.parametrize("reasons, kind", truth.REASON_KINDS.items())
def test_finish_reasons_decide_the_kind_of_signal(answers: RuleAnswers, reasons: str, kind: str) -> None:
    assert answers.kinds[f"reasons {reasons}"] == kind


# ------------------------------------------------------------------------------------------- boundary vectors


@pytest.mark.parametrize("name", VECTORS)
def test_published_rule_at_the_boundary(answers: RuleAnswers, name: str) -> None:
    assert rows_of(answers.published, name) == VECTORS[name].published


@pytest.mark.parametrize("name", VECTORS)
def test_default_rule_at_the_boundary(answers: RuleAnswers, name: str) -> None:
    assert rows_of(answers.default, name) == VECTORS[name].default


def test_api_key_actor_is_named_as_beyond(answers: RuleAnswers) -> None:
    assert reasons_of(answers, "user's key, no session") == ["api_key_actor"]


def test_pair_outside_the_published_day_is_named_as_beyond(answers: RuleAnswers) -> None:
    assert reasons_of(answers, "change exactly a day ago") == ["outside_published_window"]


def test_actor_is_shown_in_lower_case(answers: RuleAnswers) -> None:
    (row,) = answers.published["e-mail in another case"]
    assert row["ActorEmail"] == str(row["ActorEmail"]).lower()


@pytest.mark.parametrize("side", ["changes", "signals"])
def test_rows_stamped_on_the_edge_of_a_window_are_not_even_read(answers: RuleAnswers, side: str) -> None:
    for detection in answers.detections:
        declared_side = detection.rule.sequence.sides[side]
        events = getattr(detection.logs, side).all_events
        stamps = [
            datetime.fromisoformat(str(event.row[declared_side.place_of(declared_side.stamped)]))
            for event in events
        ]
        assert min(stamps) == getattr(detection.windows, side).after + TICK
