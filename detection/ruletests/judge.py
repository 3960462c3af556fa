"""What came of a case, beside what was expected of it."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

import yaml

from detection.events import Event, Events, Logs
from detection.incidents.alert import Alert
from detection.incidents.grouping import Incident
from detection.incidents.index import Index
from detection.incidents.keys import Key
from detection.incidents.table import MemoryTable
from detection.matches import Matches, matches_at
from detection.messages.text import inert
from detection.replay import replay
from detection.rule import Rule
from detection.ruletests.cases import Case, ExpectedAlert, ExpectedIncident
from detection.ruletests.objects import Values
from detection.timestamps import iso
from detection.window import Windows

NOTHING = Logs(Events(()), Events(()))


@dataclass(slots=True)
class Questions:
    """A source that holds nothing, and notes what it is asked: that depends on moments, never on what is found."""

    asked: dict[Windows, None] = field(default_factory=dict)

    def read(self, rule: Rule, windows: Windows) -> Logs:  # noqa: ARG002  # the port's
        """Nothing."""
        self.asked[windows] = None
        return NOTHING


@dataclass(frozen=True, slots=True)
class Answers:
    """A source that was asked everything beforehand."""

    known: Mapping[Windows, Logs]

    def read(self, rule: Rule, windows: Windows) -> Logs:  # noqa: ARG002  # the port's
        """What the answer was."""
        return self.known[windows]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case, and the lines that tell what came of it from what was expected: none where that is the same."""

    case: Case
    difference: Sequence[str]


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a case."""

    matches: Matches
    rows: Sequence[Values]
    alerts: Sequence[Values]
    incidents: Sequence[Values]


def questions(case: Case, rule: Rule) -> list[Windows]:
    """Everything that a case's runs will ask the logs."""
    asking = Questions()
    came_of(case, rule, asking)
    return list(asking.asked)


def came_of(case: Case, rule: Rule, source: Questions | Answers) -> Came:
    """What the rule returns at the case's moment, and what its runs tell."""
    found = matches_at(rule, case.now, source)
    table, told = MemoryTable(), list[Alert]()
    if case.tells:
        for run in replay(rule, source, case.runs, table):
            told += [verdict.alert for verdict in run.told if verdict.alert]
    kept = Index(table, rule.folder, "judge").incidents()
    incidents = sorted(kept, key=lambda one: (one[1].opened, one[0]))
    ids = [incident.id for _, incident in incidents]
    return Came(
        found,
        list(found.rows()),
        [_alert(one, ids.index(one.incident) + 1) for one in told],
        [_incident(key, one) for key, one in incidents],
    )


def outcome(case: Case, rule: Rule, source: Answers) -> Outcome:
    """The case, judged."""
    came = came_of(case, rule, source)
    parts = [
        line
        for what in ("rows", "alerts", "incidents")
        for line in _difference(what, getattr(case, what), getattr(came, what))
    ]
    return Outcome(case, [*parts, *_read(came.matches)] if parts else [])


def _alert(alert: Alert, incident: int) -> Values:
    known = asdict(alert) | asdict(alert.counts) | {"incident": incident}
    return {name: known[name] for name in ExpectedAlert.model_fields}


def _incident(key: Key, incident: Incident) -> Values:
    known = {"key": dict(key)} | asdict(incident)
    known = {name: known[name] for name in ExpectedIncident.model_fields}
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in known.items()}


def _difference(what: str, expected: Sequence[Values] | None, came: Sequence[Values]) -> Iterator[str]:
    """What was expected (-) and what came (+), of both only what was spoken of; nothing if they agree."""
    if expected is None:
        return
    compared = [{name: one.get(name) for name in said} for one, said in zip(came, expected, strict=False)]
    if len(came) == len(expected) and compared == list(map(dict, expected)):
        return
    spoken = list(dict.fromkeys(name for one in expected for name in one))
    more = [{name: one[name] for name in spoken or one} for one in came[len(compared) :]]
    shown = [*compared, *more] if spoken else came
    yield f"{what}: expected {len(expected)}, there are {len(came)}"
    lines = difflib.ndiff(list(map(_line, expected)), list(map(_line, shown)))
    yield from (f"  {line}".rstrip() for line in lines if not line.startswith("?"))


def _line(values: Values) -> str:
    """Values as YAML, in one line that no terminal obeys."""
    return yaml.safe_dump(dict(values), default_flow_style=True, sort_keys=False, width=10**6).strip()


def _read(found: Matches) -> Iterator[str]:
    """What the rule's queries returned: where a case fails, one of these is mostly missing or at another time."""
    yield f"the two queries returned, at {iso(found.windows.now)}:"
    for events in (found.logs.changes, found.logs.signals):
        for some, remark in (
            (events.inside, ""),
            (events.too_late, ", too late"),
            (events.waiting, ", ahead of now"),
        ):
            yield from (f"  {_event(one)}{remark}" for one in some)
    if not found.logs.changes.read and not found.logs.signals.read:
        yield "  nothing"


def _event(one: Event) -> str:
    return " ".join(map(inert, (iso(one.time), one.kind, one.actor or "''", one.id)))
