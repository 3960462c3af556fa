"""The incidents and alerts of a rule, for people and pages: nothing here decides what a run alerts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from detection.incidents.alert import Alert
from detection.incidents.incident import Incident
from detection.incidents.keys import Key
from detection.store.layout import (
    IncidentSummary,
    commit_of,
    content_of,
    day_of,
    incident_row,
    keyed_incident,
)
from detection.store.table import Entity, Table


@dataclass(frozen=True, slots=True)
class IncidentList:
    """Reads what runs of a rule committed. Every call may raise ServiceError."""

    table: Table
    rule: str

    def incidents(self) -> Iterator[tuple[Key, Incident]]:
        """Every incident with its key, in the order of ids."""
        return map(keyed_incident, self._rows("i"))

    def summaries(self) -> Iterator[IncidentSummary]:
        """Every incident without its history: open ones first, then the most severe, then those with the
        latest alert.
        """
        for entity in self._rows("l"):
            yield content_of(entity, IncidentSummary)

    def incident(self, name: str) -> tuple[Key, Incident, list[Alert]] | None:
        """An incident by its id, with its key and its alerts in the order of commits; None without such an
        incident.
        """
        entity = self.table.get(self.rule, incident_row(name))
        if entity is None:
            return None
        alerts = self.table.scan(self.rule, f"a|{name}|", f"a|{name}}}")
        return (*keyed_incident(entity), list(map(_alert, alerts)))

    def alerts(self) -> Iterator[Alert]:
        """Every alert, incident by incident in the order of commits."""
        return map(_alert, self._rows("a"))

    def alerts_since(self, moment: datetime) -> Iterator[Alert]:
        """The alerts from a moment (UTC) on, day by day; their days are in rows of their own."""
        for pointer in self.table.scan(self.rule, f"e|{day_of(moment)}", "e}"):
            _, commit, incident = commit_of(pointer)
            if incident and (entity := self.table.get(self.rule, f"a|{incident}|{commit}")):
                alert = _alert(entity)
                if alert.time >= moment:
                    yield alert

    def _rows(self, kind: str) -> Iterator[Entity]:
        return self.table.scan(self.rule, f"{kind}|", f"{kind}}}")


def _alert(entity: Entity) -> Alert:
    return content_of(entity, Alert)
