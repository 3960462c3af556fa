"""The object of a change: the target, the project, the client and the new values, read from the log's row.

The event's details are JSON text that may be cut. They are flat, or under a key that is the event's type, and
may be JSON text there again. The length of every text is bounded.
"""

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic_core import from_json, to_json

from detection.incidents.evidence import KIND
from detection.logs.events import Event
from detection.rules.model import Rule

OBJECTS = 10  # objects of an alert
NAME = 100  # characters of a name or an id
CLIENT = 200  # characters of a client
VALUES = 12  # values of a change
VALUE = 100  # characters of a value
VALUES_LENGTH = 500  # characters of all values of a change with their names
MEMBERS = 100  # members of the details that are read
LEVELS = 4  # levels of JSON text within JSON text
# The members of an object that is a value with its former value.
FORMER_AND_NEW = (("old", "new"), ("from", "to"), ("before", "after"), ("previous", "current"))
_NAME, _ID = "name", "id"


@dataclass(frozen=True, slots=True)
class ChangedObject:
    """The object of a change, as far as the log names it; a text that the log does not have is empty.

    `event` is the id of the change, `time` its own time (UTC), `kind` its type. `target` is the name of the
    object, `id` its id. `project` is the name of its project, `project_id` the project's id. `client` is the
    user agent or the id of the API key that made the change, `address` its address. `values` are the
    members of the event's details by name, such as new settings, but not `id`; a value whose former value the
    log has is "former → new". `organization` is the name of the organization whose log has the change.
    """

    event: str
    time: datetime
    kind: str
    target: str
    id: str
    project: str
    project_id: str
    client: str
    address: str
    values: Mapping[str, str]
    organization: str = ""


def changed_objects(changes: Iterable[Event], rule: Rule) -> list[ChangedObject]:
    """The objects of the changes, at most OBJECTS, in order of time.

    Of more changes the newest of every type come first, so that many changes of a type hide no other type.
    """
    ranks = Counter[str]()
    ranked: list[tuple[int, Event]] = []
    for change in sorted(changes, key=lambda event: event.time, reverse=True):
        ranked.append((ranks[change.kind], change))
        ranks[change.kind] += 1
    ranked.sort(key=lambda rank_and_change: rank_and_change[0])
    objects = [changed_object(change, rule) for _, change in ranked[:OBJECTS]]
    return sorted(filter(None, objects), key=lambda changed: changed.time)


def changed_object(change: Event, rule: Rule) -> ChangedObject | None:
    """The object of a change; None if the rule's query returns no details of changes."""
    side = rule.sequence.changes
    if side.object is None:
        return None
    columns = side.object
    details, project, client, organization = (
        str(change.row[side.place_of(column)] or "")
        for column in (columns.details, columns.project, columns.client, columns.organization)
    )
    values = _members(_event_details(details, change.kind))
    project_members = _members(_parsed(project))
    identifier = values.pop(_ID, "")
    change_type = rule.change_types.get(change.kind.lower())
    target = values.get(change_type.target, "") if change_type else ""
    addresses = (change.row[place] for place in rule.entity_places("IP", side))
    return ChangedObject(
        event=change.id[:NAME],
        time=change.time,
        kind=change.kind[:KIND],
        target=(target or identifier)[:NAME],
        id=identifier[:NAME],
        project=(project_members.get(_NAME) or project_members.get("", ""))[:NAME],
        project_id=project_members.get(_ID, "")[:NAME],
        client=client[:CLIENT],
        address=next((str(address)[:NAME] for address in addresses if address), ""),
        values=_bounded(values),
        organization=organization[:NAME],
    )


def _bounded(members: Mapping[str, str]) -> dict[str, str]:
    """The first members, with short names and values."""
    values: dict[str, str] = {}
    remaining = VALUES_LENGTH
    for name, text in list(members.items())[:VALUES]:
        short_name, short_text = name[:NAME], text if len(text) <= VALUE else text[:VALUE] + "…"
        remaining -= len(short_name) + len(short_text)
        if remaining < 0:
            break
        values[short_name] = short_text
    return values


def _event_details(text: str, kind: str) -> object:
    """The details of an event, without the keys around them that are its type."""
    details = _parsed(text)
    for _ in range(LEVELS):
        if not isinstance(details, Mapping):
            break
        inner = next((member for name, member in details.items() if _letters(name) == _letters(kind)), None)
        if inner is None:
            break
        details = _parsed(inner)
    return details


def _members(details: object) -> dict[str, str]:
    """The members of the details as text; of equal names the outermost.

    The members of an object within the details keep their names, deeper ones are named after their object:
    the author of a change may write them. Details that are not an object are one member without a name.
    """
    if not isinstance(details, Mapping):
        text = _text(details)
        return {"": text} if text else {}
    members: dict[str, str] = {}
    objects: deque[tuple[int, str, Mapping[str, object]]] = deque([(0, "", details)])
    while objects and len(members) < MEMBERS:
        depth, prefix, inner = objects.popleft()
        for name, member in inner.items():
            if isinstance(member, Mapping) and not _former_and_new(member):
                objects.append((depth + 1, f"{prefix}{name} " if depth else "", member))
            elif text := _text(member):
                members.setdefault(prefix + name, text)
    return members


def _text(value: object) -> str:
    """A value in words. An empty list is "none": an empty list of scopes removes every restriction."""
    if value is None or value == {}:
        return ""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_text, value[:MEMBERS]))) or "none"
    if isinstance(value, Mapping):
        if change := _former_and_new(value):
            return " → ".join(_text(part) or "none" for part in change)
        return _text(value.get(_NAME) or value.get(_ID)) or to_json(value).decode()
    return value if isinstance(value, str) else to_json(value).decode()


def _former_and_new(value: Mapping[str, object]) -> tuple[object, object] | None:
    """The former and the new value of an object that is only these two."""
    pairs = ((value[former], value[new]) for former, new in FORMER_AND_NEW if value.keys() == {former, new})
    return next(pairs, None)


def _parsed(value: object) -> object:
    """The value of JSON text, which may be cut; any other value unchanged."""
    for _ in range(LEVELS):
        if not (isinstance(value, str) and re.match(r'\s*[\[{"]', value)):
            break
        try:
            value = from_json(value, allow_partial=True)
        except ValueError:
            break
    return value


def _letters(name: str) -> str:
    """A name without the characters that writers of logs replace in keys."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
