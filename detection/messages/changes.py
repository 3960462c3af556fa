"""Changes in words: their objects, from which client, and the steps that undo them.

Values from the logs may come from an attacker. A call that an on-call copies into a shell contains only ids
of letters, digits, hyphens and underscores; the on-call fills in any other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from detection.incidents.alert import Alert
from detection.incidents.changed_object import ChangedObject
from detection.messages.text import change_phrase, escape_line, escape_name, plural
from detection.rules.model import Rule

UNDO = "{undo}"  # in a step of a runbook: the steps that undo the changes follow
CHANGES_SHOWN = 3  # in a message, changes and the steps that undo them
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]+")
# The first name that a user agent contains is its browser or system: later ones are also in other browsers'.
_BROWSERS = {
    "Edg/": "Edge",
    "OPR/": "Opera",
    "Firefox/": "Firefox",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
}
_SYSTEMS = {
    "iPhone": "iOS",
    "iPad": "iPadOS",
    "Android": "Android",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


@dataclass(frozen=True, slots=True)
class UndoStep:
    """How to undo a change: the change in words, the step, and the call of the vendor's API, or "".

    A call may contain a name in capital letters for an id that the log does not have.
    """

    change: str
    step: str
    call: str


def change_text(changed: ChangedObject, alert: Alert, rule: Rule) -> str:
    """A change in words.

    "created API key key_abc (scopes: model.request) in project Payments, from Chrome on macOS, 203.0.113.7
    (new for this actor)".
    """
    text = change_phrase(changed.kind, changed.target, rule)
    values = [
        f"{escape_line(name.replace('_', ' '))}: {escape_name(value)}" if name else escape_name(value)
        for name, value in {"id": changed.id, **changed.values}.items()
        if value and value != changed.target
    ]
    if values:
        text += f" ({', '.join(values)})"
    if project := changed.project or changed.project_id:
        text += f" in project {escape_name(project)}"
    client = escape_name(client_name(changed.client))
    address = address_text(changed.address, alert) if changed.address else ""
    origin = ", ".join(filter(None, (client, address)))
    return f"{text}, from {origin}" if origin else text


def address_text(address: str, alert: Alert) -> str:
    """An address, with a note if it is new for the alert's actor."""
    note = " (new for this actor)" if address in alert.new_addresses else ""
    return escape_name(address) + note


def without_object(changes: int, objects: int) -> str:
    """A note that only the logs have the objects of some of the changes; "" if all objects are kept."""
    number = max(changes - objects, 0)
    return f"no object kept of {plural(number, 'change')}: see the logs" if number else ""


def organization(alert: Alert) -> str:
    """The name of the organization whose log has the newest change; "" if the log has no name."""
    names = (changed.organization for changed in reversed(alert.changed_objects))
    return escape_line(next(filter(None, names), ""))


def client_name(client: str) -> str:
    """A user agent in words, such as "Chrome on macOS"; another client as the log names it."""
    browser = next((name for token, name in _BROWSERS.items() if token in client), "")
    system = next((name for token, name in _SYSTEMS.items() if token in client), "")
    return " on ".join(filter(None, (browser, system))) if browser else client


def undo_steps(alert: Alert, rule: Rule) -> list[UndoStep]:
    """The steps that undo the alert's changes, for the changes whose type has such a step."""
    steps = (_undo_step(changed, rule) for changed in alert.changed_objects)
    return [step for step in steps if step]


def _undo_step(changed: ChangedObject, rule: Rule) -> UndoStep | None:
    change_type = rule.change_types.get(changed.kind.lower())
    if not (change_type and change_type.undo and changed.target):
        return None
    members = {
        **changed.values,
        "id": changed.id,
        "target": changed.target,
        "project": changed.project_id,
    }
    ids = {name: text for name, text in members.items() if _SAFE_ID.fullmatch(text)}
    complete = (call for call in change_type.calls if ids.keys() >= set(_PLACEHOLDER.findall(call)))
    call = next(complete, next(iter(change_type.calls), ""))
    return UndoStep(
        change_phrase(changed.kind, changed.target, rule),
        _PLACEHOLDER.sub(lambda name: escape_name(members.get(name[1], name[1])), change_type.undo),
        _PLACEHOLDER.sub(lambda name: ids.get(name[1], name[1].upper()), call),
    )


def runbook_steps(alert: Alert, rule: Rule, shown: int) -> list[str]:
    """The steps of the rule's runbook, with up to `shown` steps that undo the changes, a line each."""
    steps: Sequence[UndoStep] = undo_steps(alert, rule)
    lines = [f"\n- {step.step}" + (f"\n  {step.call}" if step.call else "") for step in steps[:shown]]
    if len(steps) > shown:
        lines.append(f"\n- and {len(steps) - shown:,} more: see the incident")
    return [step.replace(UNDO, "".join(lines)) for step in rule.on_call.runbook]
