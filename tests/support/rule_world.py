"""Random logs full of edge cases, and the published KQL executed on them beside this project's own reading.

A case is an actor: thousands of them, with disjoint names, share one world. A world knows nothing of
detection/: it is rows as the connector would write them, a value for each column or none at all.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TypeVar

import duckdb
import duckdb_kql

from tests.support import truth

MOMENT = datetime(2026, 6, 8, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)

PUBLISHED = (Path(__file__).parents[1] / "data" / "published_rule.kql").read_text(encoding="utf-8")

LogRow = dict[str, object]
Answer = list[dict[str, object]]
Value = TypeVar("Value")

AUDIT_COLUMNS = {
    "TimeGenerated": "TIMESTAMP",
    "Id": "VARCHAR",
    "EventType": "VARCHAR",
    "EffectiveAt": "TIMESTAMP",
    "ActorType": "VARCHAR",
    "ActorApiKey": "JSON",
    "ActorSession": "JSON",
    "Project": "JSON",
    "EventDetails": "JSON",
    "ConnectorName": "VARCHAR",
}
CHAT_COLUMNS = {
    "TimeGenerated": "TIMESTAMP",
    "EventStartTime": "TIMESTAMP",
    "EventEndTime": "TIMESTAMP",
    "EventVendor": "VARCHAR",
    "EventProduct": "VARCHAR",
    "EventType": "VARCHAR",
    "EventUid": "VARCHAR",
    "EventRequestId": "VARCHAR",
    "EventFinishReasons": "JSON",
    "ModelName": "VARCHAR",
    "InputTokensUsed": "BIGINT",
    "OutputTokensUsed": "BIGINT",
    "AdditionalFields": "JSON",
}
CONNECTOR = {"EventVendor": "OpenAI", "EventProduct": "OpenAI API Platform", "EventType": "ChatCompletion"}


@dataclass(frozen=True, slots=True)
class LogWorld:
    """Both logs. `_ingested` in a row is when it arrived; a row without it was always there."""

    audit: list[LogRow] = field(default_factory=list)
    chat: list[LogRow] = field(default_factory=list)


# ------------------------------------------------------------------------------------------------------------ rows


def change(actor: str, time: datetime, **fields: object) -> LogRow:
    """An audit row: a key created in a session; `fields` say otherwise, and None of a column is a null."""
    defaults = {"TimeGenerated": time, "EventType": "api_key.created", "ActorSession": _session(actor)}
    return defaults | fields


def signal(actor: str, time: datetime, **fields: object) -> LogRow:
    """A completion that hit the content filter."""
    defaults = {
        "TimeGenerated": time,
        "EventFinishReasons": ["content_filter"],
        "ModelName": "gpt-4o-2024-08-06",
        "AdditionalFields": {"service_tier": "default", "input_user": actor},
    }
    return CONNECTOR | defaults | fields


def from_json(text: str, column: str) -> dict[str, object]:
    """A column with the value that a line of a truth table names; `(absent)` is a row without that column."""
    return {} if text == "(absent)" else {column: json.loads(text)}


def without(row: LogRow, column: str) -> LogRow:
    """The row without a column."""
    return {name: value for name, value in row.items() if name != column}


# --------------------------------------------------------------------------------------------------- random worlds


_ABSENT = object()
_SERVICE_KEY = {"id": "key_2", "type": "service_account", "service_account": {"id": "svc-1"}}

# Every shape in which an audit row may say, or fail to say, who it was, as (ActorSession, ActorApiKey).
# The first three are the common ones.
_IDENTITIES: Sequence[Callable[[str], tuple[object, object]]] = (
    lambda name: (_session(name), None),
    lambda name: (_session(name.title(), ip_address="2001:db8::1"), _ABSENT),
    lambda name: (None, _user_key(name.upper())),
    lambda name: (_ABSENT, _user_key(name)),
    lambda name: (_session(name), _user_key(f"key.{name}")),
    lambda name: (_session(f"{name} "), _user_key(name)),
    lambda name: (_session("", ip_address=None), _user_key(f"key.{name}")),
    lambda name: (None, _user_key(f"key.{name}")),
    lambda name: ({"ip_address": "203.0.113.9"}, _user_key(name)),
    lambda name: ({"user": {"email": None}}, _user_key(name)),
    lambda name: ({"user": {"email": name}}, _SERVICE_KEY),
    lambda name: ({"user": None}, _SERVICE_KEY),
    lambda name: (None, _SERVICE_KEY),
    lambda name: ({"user": name}, None),
    lambda name: ({"user": [name]}, None),
    lambda name: ({"user": json.dumps({"email": name})}, None),
    lambda _: ("session", None),
    lambda _: ({}, {}),
    lambda _: (None, None),
    lambda _: (_ABSENT, _ABSENT),
)

# What a completion may say of its user, as AdditionalFields; the first three are the common ones.
_USERS: Sequence[Callable[[str], object]] = (
    lambda name: {"service_tier": "default", "metadata": {}, "input_user": name},
    lambda name: {"input_user": name},
    lambda name: {"input_user": name.upper()},
    lambda name: {"input_user": f"key.{name}"},
    lambda name: {"input_user": f"{name} "},
    lambda name: {"metadata": {"input_user": name}},
    lambda name: name,
    lambda _: {"input_user": ""},
    lambda _: {"input_user": None},
    lambda _: {},
    lambda _: None,
    lambda _: _ABSENT,
)


def _session(email: str, **fields: object) -> dict[str, object]:
    return {"user": {"id": "user-1", "email": email}, "ip_address": "203.0.113.7"} | fields


def _user_key(email: str) -> dict[str, object]:
    return {"id": "key_1", "type": "user", "user": {"id": "user-1", "email": email}}


_EVENT_TYPES = (*truth.LISTED, *truth.ROLE_UPDATES, *truth.ROLE_UPDATES, "USER.UPDATED", *truth.SPELLINGS)
_REASONS = (
    *truth.PUBLISHED_REASONS,
    *('["content_filter"]', '["length"]', '["stop","length"]', "[]") * 5,
    *truth.NO_REASON * 2,
)
_DETAILS = tuple(truth.EVENT_DETAILS)
_OTHER_TYPES = (
    {"EventVendor": "Microsoft"},
    {"EventVendor": "openai"},
    {"EventProduct": "Copilot"},
    {"EventType": "Embedding"},
    {"EventProduct": None},
    {"EventVendor": ""},
)
_CHANGE_EDGES = (MOMENT - DAY, MOMENT - DAY + TICK, MOMENT - 2 * DAY, MOMENT - 2 * DAY + TICK, MOMENT)
_SIGNAL_EDGES = (MOMENT - DAY, MOMENT - DAY + TICK, MOMENT, MOMENT + TICK)
_REACHES = (timedelta(0), timedelta(0), DAY, DAY, DAY + TICK, DAY - TICK, SECOND, -SECOND, -TICK)
_BLANK = " "  # one actor of many cases: rare, so that it does not pair everything with everything


def random_world(seed: int, actors: int) -> LogWorld:
    """Logs around MOMENT: every actor has up to 4 audit rows and up to 5 completions, and then duplicates."""
    random = Random(seed)
    world = LogWorld()
    for number in range(actors):
        _Actor(random, f"{random.choice(('ann', 'Bob', 'zoë'))}.{seed}.{number}@example.com").fill(world)
    random.shuffle(world.audit)
    random.shuffle(world.chat)
    return world


class _Actor:
    """The rows of one actor."""

    def __init__(self, random: Random, name: str) -> None:
        self._random = random
        chance = random.random()
        self._name = _BLANK if chance < 0.001 else f"{name} " if chance < 0.03 else name
        self._unique = name
        self._anchors: list[datetime] = []

    def fill(self, world: LogWorld) -> None:
        changes = [self._change(n) for n in range(self._random.choice((0, 1, 1, 2, 2, 3, 4)))]
        signals = [self._signal(n) for n in range(self._random.choice((0, 1, 2, 2, 3, 4, 5)))]
        world.audit.extend(self._with_duplicates(changes, "EffectiveAt", ("ConnectorName", "Project")))
        tokens = ("InputTokensUsed", "OutputTokensUsed")
        world.chat.extend(self._with_duplicates(signals, "EventStartTime", tokens))

    def _change(self, number: int) -> LogRow:
        random = self._random
        session, key = self._mostly(_IDENTITIES)(self._name)
        name = random.choice(_EVENT_TYPES if random.random() < 0.9 else truth.UNLISTED)
        row: dict[str, object] = {
            **self._times(self._change_time(), "EffectiveAt"),
            "EventType": name,
            "Id": self._id("audit_log", number),
            "ActorSession": session,
            "ActorApiKey": key,
            "ConnectorName": random.choice(("OpenAI", "", None, _ABSENT)),
            "Project": random.choice(({"id": "proj_1", "name": "Default"}, None, _ABSENT)),
        }
        details = random.choice(_DETAILS)
        return _present(row | from_json(details, "EventDetails"))

    def _signal(self, number: int) -> LogRow:
        random = self._random
        reasons = random.choice(_REASONS)
        row: dict[str, object] = {
            **CONNECTOR,
            **self._times(self._signal_time(), "EventStartTime"),
            "EventUid": self._id("chatcmpl", number),
            "EventRequestId": self._id("req", number),
            "ModelName": random.choice(("gpt-4o-2024-08-06", "gpt-4o-mini", "", None, _ABSENT)),
            "OutputTokensUsed": random.choice((0, 16, None, _ABSENT)),
            "InputTokensUsed": random.choice((7, _ABSENT)),
            "AdditionalFields": self._mostly(_USERS)(self._name),
        }
        if random.random() < 0.05:
            row |= random.choice(_OTHER_TYPES)
        return _present(row | from_json(reasons, "EventFinishReasons"))

    def _mostly(self, values: Sequence[Value]) -> Value:
        """The first three most of the time, else any of them."""
        return self._random.choice(values[:3] if self._random.random() < 0.7 else values)

    def _id(self, prefix: str, number: int) -> object:
        ident = f"{prefix}-{self._unique}-{number}"
        return self._random.choice((ident, ident, ident, ident, "", None, _ABSENT))

    def _change_time(self) -> datetime:
        random = self._random
        chance = random.random()
        if chance < 0.2:
            time = random.choice(_CHANGE_EDGES)
        elif chance < 0.25:
            time = MOMENT + random.random() * 2 * HOUR
        else:
            time = MOMENT - random.random() * (DAY if chance < 0.7 else 2.2 * DAY)
        self._anchors.append(time)
        return time

    def _signal_time(self) -> datetime:
        random = self._random
        chance = random.random()
        if not self._anchors or chance < 0.1:
            return MOMENT - random.random() * 1.2 * DAY
        if chance < 0.2:
            return random.choice(_SIGNAL_EDGES)
        if chance < 0.25:
            return MOMENT + random.random() * 2 * HOUR
        after = random.choice(_REACHES) if chance < 0.6 else random.random() * 26 * HOUR
        return random.choice(self._anchors) + after

    def _times(self, own_time: datetime, column: str) -> dict[str, object]:
        """The row's own time and its stamp: equal, or re-stamped on arrival; the own time may be missing."""
        random = self._random
        chance = random.random()
        if chance < 0.75:
            return {"TimeGenerated": own_time, column: own_time} | self._arrival()
        if chance < 0.85:
            return {"TimeGenerated": own_time, column: random.choice((None, _ABSENT))} | self._arrival()
        if chance < 0.93:
            # As Log Analytics does it: more than two days late, stamped with the time of arrival.
            return {
                "TimeGenerated": own_time,
                column: own_time - 2 * DAY - random.random() * 3 * DAY,
            } | self._arrival()
        return {"TimeGenerated": own_time + random.random() * 20 * HOUR, column: own_time} | self._arrival()

    def _arrival(self) -> dict[str, object]:
        random = self._random
        if random.random() < 0.7:
            return {}
        arrived = (
            MOMENT,
            MOMENT - random.random() * DAY,
            MOMENT + TICK,
            MOMENT + random.random() * DAY,
            None,
        )
        return {"_ingested": random.choice(arrived)}

    def _with_duplicates(
        self, rows: Iterable[LogRow], time_column: str, other_columns: Sequence[str]
    ) -> Iterator[LogRow]:
        random = self._random
        for row in rows:
            yield row
            chance = random.random()
            if chance < 0.08:
                yield without(row, "_ingested") | self._arrival()
            elif chance < 0.11:
                column = random.choice(other_columns)
                yield row | {column: {"ConnectorName": "Other", "Project": {"id": "proj_2"}}.get(column, 31)}
            elif chance < 0.15:
                yield row | _moved(
                    row, time_column, random.choice((SECOND, -SECOND, 30 * HOUR * random.random()))
                )
            elif chance < 0.17:
                yield row | {"TimeGenerated": _time(row) + random.random() * DAY}


def _present(row: Mapping[str, object]) -> LogRow:
    return {name: value for name, value in row.items() if value is not _ABSENT}


def _time(row: LogRow, column: str = "TimeGenerated") -> datetime:
    value = row[column]
    assert isinstance(value, datetime)
    return value


def _moved(row: LogRow, time_column: str, shift: timedelta) -> dict[str, object]:
    return {
        name: _time(row, name) + shift for name in ("TimeGenerated", time_column) if row.get(name) is not None
    }


# ------------------------------------------------------------------------------------------------- as files on disk


def write(world: LogWorld, folder: Path, seed: int = 0) -> Path:
    """The world as JSON lines; a dynamic value stands there as such or as JSON text, as exports have it."""
    random = Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    share = max(1, len(world.audit) * 4 // 5)
    for table, rows in (
        ("OpenAIAuditLogs_CL", world.audit[:share]),
        ("SentinelOpenAIAuditLogs", world.audit[share:]),
        ("ASimAgentEventLogs", world.chat),
    ):
        if not rows:
            continue
        lines = [json.dumps({name: _written(name, row[name], random) for name in row}) + "\n" for row in rows]
        (folder / f"{table}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def _written(column: str, value: object, random: Random) -> object:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    is_dynamic = "JSON" in (AUDIT_COLUMNS.get(column), CHAT_COLUMNS.get(column))
    return json.dumps(value) if is_dynamic and random.random() < 0.5 else value


# --------------------------------------------------------------------------------------------- the published query


def published_answer(world: LogWorld, moment: datetime = MOMENT) -> Answer:
    """What the published KQL returns at a moment, with the `ConfigKey` and `AbuseKey` of each pair in front.

    The text is executed as it is, but for parentheses that its one `..` needs here, and for the two keys.
    Its tables are filled from the rows by hand; they are what the connector's parsers return.
    """
    connection = duckdb_kql.connect()
    audit = [row for row in world.audit if arrived(row, moment)]
    chat = [row for row in world.chat if arrived(row, moment) and CONNECTOR.items() <= row.items()]
    _fill(connection, "OpenAIAuditLogs", AUDIT_COLUMNS, audit, change_key)
    _fill(connection, "OpenAIChatCompletions", CHAT_COLUMNS, chat, signal_key)
    text = _replaced(PUBLISHED, "ConfigTime + 24h", "(ConfigTime + 24h)")
    text = _replaced(text, "ConfigTime = TimeGenerated,", "ConfigKey = Key, ConfigTime = TimeGenerated,")
    text = _replaced(text, "AbuseTime = TimeGenerated,", "AbuseKey = Key, AbuseTime = TimeGenerated,")
    text = _replaced(
        text, "\n    ConfigTime, ConfigEvent,", "\n    ConfigKey, AbuseKey, ConfigTime, ConfigEvent,"
    )
    answer = duckdb_kql.query(connection, text, query_now=moment)
    return [
        {name: _answer_value(name, value) for name, value in zip(answer.columns, row, strict=True)}
        for row in answer.fetchall()
    ]


def arrived(row: LogRow, moment: datetime) -> bool:
    """Whether the row was there at the moment."""
    ingested = row.get("_ingested")
    return not isinstance(ingested, datetime) or ingested <= moment


def change_key(row: LogRow) -> str:
    """What makes an audit row the same event as another: its id, or without one everything in it."""
    return str(row.get("Id") or _in_full(row, AUDIT_COLUMNS))


def signal_key(row: LogRow) -> str:
    """What makes a completion the same event as another."""
    return str(row.get("EventUid") or row.get("EventRequestId") or _in_full(row, CHAT_COLUMNS))


def _in_full(row: LogRow, columns: Mapping[str, str]) -> str:
    return "row " + json.dumps([_stored(row, name, kind) for name, kind in columns.items()], default=str)


def _fill(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: Mapping[str, str],
    rows: Sequence[LogRow],
    key: Callable[[LogRow], str],
) -> None:
    kinds = {**columns, "Key": "VARCHAR"}
    connection.execute(
        f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in kinds.items())})"
    )
    values = [[_stored(row, name, kind) for row in rows] for name, kind in columns.items()]
    values.append([key(row) for row in rows])
    unnested = ", ".join(f"unnest(${place}::{kind}[])" for place, kind in enumerate(kinds.values(), 1))
    connection.execute(f"INSERT INTO {table} SELECT {unnested}", values)


def _stored(row: LogRow, column: str, kind: str) -> object:
    """A value as Kusto holds it: no null in strings, no time zone but UTC, no JSON null."""
    value = row.get(column)
    if kind == "VARCHAR":
        return value or ""
    if kind == "JSON":
        return None if value is None else json.dumps(value)
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def _replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"the published rule has changed: {old!r}"
    return text.replace(old, new)


def _answer_value(column: str, value: object) -> object:
    if isinstance(value, datetime):
        return f"{value.isoformat()}Z"
    return json.loads(value) if column == "EventFinishReasons" and isinstance(value, str) else value
