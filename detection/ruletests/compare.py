"""Run a case and compare the results with its expectations."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import yaml
from pydantic import BaseModel

from detection.base.timestamps import iso
from detection.correlation.detection import Detection, detect_at
from detection.incidents.alert import Alert
from detection.logs.events import Events, Logs
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
    """A source without rows that records the windows it is read for. These never depend on the rows."""

    recorded: dict[Windows, None] = field(default_factory=dict)

    def read(self, rule: Rule, windows: Windows) -> Logs:  # noqa: ARG002  # a parameter of the port
        self.recorded[windows] = None
        return NO_LOGS


@dataclass(frozen=True, slots=True)
class PreparedLogs:
    """A source whose logs were read in advance."""

    logs_by_windows: Mapping[Windows, Logs]

    def read(self, rule: Rule, windows: Windows) -> Logs:  # noqa: ARG002  # a parameter of the port
        return self.logs_by_windows[windows]


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """A case, and lines that show how its results differ from its expectations; none if it passed."""

    case: Case
    difference: Sequence[str]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The results of a case: the detection at its time, and the alerts and incidents of its runs."""

    detection: Detection
    rows: Sequence[Values]
    alerts: Sequence[Values]
    incidents: Sequence[Values]


def needed_windows(case: Case, rule: Rule) -> list[Windows]:
    """All windows for which the runs of a case read the logs."""
    recorder = WindowRecorder()
    run_case(case, rule, recorder)
    return list(recorder.recorded)


def run_case(case: Case, rule: Rule, source: WindowRecorder | PreparedLogs) -> CaseResult:
    """Evaluate the rule at the time of the case, and make the runs of the case if it needs them."""
    detection = detect_at(rule, case.now, source)
    table, alerts = MemoryTable(), list[Alert]()
    if case.needs_runs:
        for run in replay(rule, source, case.runs, table):
            alerts += [verdict.alert for verdict in run.verdicts if verdict.alert]
    stored = IncidentList(table, rule.folder).incidents()
    incidents = sorted(stored, key=lambda key_and_incident: (key_and_incident[1].opened, key_and_incident[0]))
    numbers = {incident.id: number for number, (_, incident) in enumerate(incidents, 1)}
    alert_values = [
        asdict(alert) | asdict(alert.counts) | {"incident": numbers[alert.incident]} for alert in alerts
    ]
    incident_values = [{"key": dict(key)} | asdict(incident) for key, incident in incidents]
    return CaseResult(
        detection,
        list(detection.rows()),
        _fields(ExpectedAlert, alert_values),
        _fields(ExpectedIncident, incident_values),
    )


def _fields(model: type[BaseModel], values_by_result: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The values that a case can expect, with times as text."""
    return [
        {
            name: iso(values[name]) if isinstance(values[name], datetime) else values[name]
            for name in model.model_fields
        }
        for values in values_by_result
    ]


def compare(case: Case, rule: Rule, source: PreparedLogs) -> CaseOutcome:
    """Run the case and compare. A difference ends with the events that the rule's queries returned.

    These show why a case fails: usually an event is missing, or has another time.
    """
    result = run_case(case, rule, source)
    lines = [
        line
        for section in ("rows", "alerts", "incidents")
        for line in _compare_lists(section, getattr(case, section), getattr(result, section))
    ]
    if not lines:
        return CaseOutcome(case, [])
    lines.append(f"events that the rule's queries returned at {iso(case.now)}:")
    logs = result.detection.logs
    for events in (logs.changes, logs.signals):
        for group, remark in (
            (events.in_window, ""),
            (events.too_late, ", too late"),
            (events.in_future, ", in the future"),
        ):
            for event in group:
                cells = (iso(event.time), event.kind, event.actor or "''", event.id)
                lines.append(f"  {' '.join(map(escape_line, cells))}{remark}")
    if not logs.changes.all_events and not logs.signals.all_events:
        lines.append("  none")
    return CaseOutcome(case, lines)


def _compare_lists(
    section: str, expected: Sequence[Values] | None, actual: Sequence[Values]
) -> Iterator[str]:
    """Lines with the expected (-) and the actual (+) entries, in the expected fields; none if they agree."""
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
    yield f"{section}: expected {len(expected)}, got {len(actual)}"
    lines = difflib.ndiff(list(map(_yaml_line, expected)), list(map(_yaml_line, displayed)))
    yield from (f"  {line}".rstrip() for line in lines if not line.startswith("?"))


def _yaml_line(values: Values) -> str:
    """Values as YAML in one line, safe to print to a terminal."""
    return yaml.safe_dump(dict(values), default_flow_style=True, sort_keys=False, width=10**6).strip()
