"""What came of a case, beside what was expected of it."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

import yaml

from detection.base.timestamps import iso
from detection.correlation.detection import Detection, detect_at
from detection.incidents.alert import Alert
from detection.incidents.grouping import Incident
from detection.incidents.keys import Key
from detection.logs.events import Event, Events, Logs
from detection.logs.window import Windows
from detection.messages.text import escape_line
from detection.rules.model import Rule
from detection.ruletests.cases import Case, ExpectedAlert, ExpectedIncident
from detection.ruletests.objects import Values
from detection.runs.replay import replay
from detection.store.incident_list import IncidentList
from detection.store.table import MemoryTable

NO_LOGS = Logs(Events(()), Events(()))


@dataclass(slots=True)
class WindowRecorder:
    """A source that holds nothing, and notes what it is asked: that depends on moments, never on what is found."""

    recorded: dict[Windows, None] = field(default_factory=dict)

    def read(self, rule: Rule, windows: Windows) -> Logs:  # noqa: ARG002  # the port's
        """Nothing."""
        self.recorded[windows] = None
        return NO_LOGS


@dataclass(frozen=True, slots=True)
class PreparedLogs:
    """A source that was asked everything beforehand."""

    logs_by_windows: Mapping[Windows, Logs]

    def read(self, rule: Rule, windows: Windows) -> Logs:  # noqa: ARG002  # the port's
        """What the answer was."""
        return self.logs_by_windows[windows]


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """A case, and the lines that tell what came of it from what was expected: none where that is the same."""

    case: Case
    difference: Sequence[str]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of a case."""

    detection: Detection
    rows: Sequence[Values]
    alerts: Sequence[Values]
    incidents: Sequence[Values]


def needed_windows(case: Case, rule: Rule) -> list[Windows]:
    """Everything that a case's runs will ask the logs."""
    recorder = WindowRecorder()
    run_case(case, rule, recorder)
    return list(recorder.recorded)


def run_case(case: Case, rule: Rule, source: WindowRecorder | PreparedLogs) -> CaseResult:
    """What the rule returns at the case's moment, and what its runs tell."""
    detection = detect_at(rule, case.now, source)
    table, alerts = MemoryTable(), list[Alert]()
    if case.needs_runs:
        for run in replay(rule, source, case.runs, table):
            alerts += [verdict.alert for verdict in run.verdicts if verdict.alert]
    stored = IncidentList(table, rule.folder).incidents()
    incidents = sorted(stored, key=lambda key_and_incident: (key_and_incident[1].opened, key_and_incident[0]))
    ids = [incident.id for _, incident in incidents]
    return CaseResult(
        detection,
        list(detection.rows()),
        [_alert_values(alert, ids.index(alert.incident) + 1) for alert in alerts],
        [_incident_values(key, incident) for key, incident in incidents],
    )


def compare(case: Case, rule: Rule, source: PreparedLogs) -> CaseOutcome:
    """The case, judged."""
    result = run_case(case, rule, source)
    lines = [
        line
        for section in ("rows", "alerts", "incidents")
        for line in _compare_lists(section, getattr(case, section), getattr(result, section))
    ]
    return CaseOutcome(case, [*lines, *_describe_detection(result.detection)] if lines else [])


def _alert_values(alert: Alert, incident: int) -> Values:
    values = asdict(alert) | asdict(alert.counts) | {"incident": incident}
    return {name: values[name] for name in ExpectedAlert.model_fields}


def _incident_values(key: Key, incident: Incident) -> Values:
    values = {"key": dict(key)} | asdict(incident)
    values = {name: values[name] for name in ExpectedIncident.model_fields}
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in values.items()}


def _compare_lists(
    section: str, expected: Sequence[Values] | None, actual: Sequence[Values]
) -> Iterator[str]:
    """What was expected (-) and what came (+), of both only what was spoken of; nothing if they agree."""
    if expected is None:
        return
    compared = [
        {name: values.get(name) for name in expected_values}
        for values, expected_values in zip(actual, expected, strict=False)
    ]
    if len(actual) == len(expected) and compared == list(map(dict, expected)):
        return
    compared_names = list(dict.fromkeys(name for values in expected for name in values))
    surplus = [
        {name: values[name] for name in compared_names or values} for values in actual[len(compared) :]
    ]
    displayed = [*compared, *surplus] if compared_names else actual
    yield f"{section}: expected {len(expected)}, there are {len(actual)}"
    lines = difflib.ndiff(list(map(_yaml_line, expected)), list(map(_yaml_line, displayed)))
    yield from (f"  {line}".rstrip() for line in lines if not line.startswith("?"))


def _yaml_line(values: Values) -> str:
    """Values as YAML, in one line that no terminal obeys."""
    return yaml.safe_dump(dict(values), default_flow_style=True, sort_keys=False, width=10**6).strip()


def _describe_detection(detection: Detection) -> Iterator[str]:
    """What the rule's queries returned: where a case fails, one of these is mostly missing or at another time."""
    yield f"the two queries returned, at {iso(detection.windows.now)}:"
    for events in (detection.logs.changes, detection.logs.signals):
        for group, remark in (
            (events.in_window, ""),
            (events.too_late, ", too late"),
            (events.in_future, ", ahead of now"),
        ):
            yield from (f"  {_event_line(event)}{remark}" for event in group)
    if not detection.logs.changes.all_events and not detection.logs.signals.all_events:
        yield "  nothing"


def _event_line(event: Event) -> str:
    return " ".join(map(escape_line, (iso(event.time), event.kind, event.actor or "''", event.id)))
