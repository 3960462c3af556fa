"""The incidents and alerts of a rule, for people and pages: nothing here decides what a run alerts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from detection.incidents.alert import Alert
from detection.incidents.incident import Incident
from detection.incidents.keys import Key
from detection.store.layout import IncidentSummary, commit_of, content_of, day_of
from detection.store.table import Entity, Table


@dataclass(frozen=True, slots=True)
class IncidentList:
    """Reads what runs of a rule committed. Every call may raise ServiceError."""

    table: Table
    rule: str

    def incidents(self) -> Iterator[tuple[Key, Incident]]:
        """Every incident with its key, key by key."""
        key: Key = ()
        for entity in self._rows("k"):
            kind = entity.row.split("|")[2]
            if kind == "h":
                key = content_of(entity, Key)
            elif kind == "i":
                yield key, content_of(entity, Incident)

    def summaries(self) -> Iterator[IncidentSummary]:
        """Every incident without its history, the incident opened last comes first."""
        for entity in self._rows("l"):
            yield content_of(entity, IncidentSummary)

    def incident(self, name: str) -> tuple[Key, Incident, list[Alert]] | None:
        """An incident by its id, with its key and its alerts in the order of commits; None without such an
        incident.
        """
        digest = next(
            (
                entity.row.split("|")[2]
                for entity in self._rows("l")
                if content_of(entity, IncidentSummary).incident.id == name
            ),
            None,
        )
        if digest is None:
            return None
        key: Key = ()
        incident: Incident | None = None
        alerts: list[Alert] = []
        for entity in self.table.scan(self.rule, f"k|{digest}|a", f"k|{digest}|j"):
            kind = entity.row.split("|")[2]
            if kind == "h":
                key = content_of(entity, Key)
            elif kind == "a":
                alerts.append(content_of(entity, Alert))
            elif (candidate := content_of(entity, Incident)).id == name:
                incident = candidate
        return (key, incident, [alert for alert in alerts if alert.incident == name]) if incident else None

    def alerts(self) -> Iterator[Alert]:
        """Every alert, key by key in the order of commits."""
        for entity in self._rows("k"):
            if entity.row.split("|")[2] == "a":
                yield content_of(entity, Alert)

    def alerts_since(self, moment: datetime) -> Iterator[Alert]:
        """The alerts from a moment (UTC) on, day by day; their days are in rows of their own."""
        for pointer in self.table.scan(self.rule, f"e|{day_of(moment)}", "e}"):
            digest, commit, number = commit_of(pointer)
            if number and (entity := self.table.get(self.rule, f"k|{digest}|a|{commit}")):
                alert = content_of(entity, Alert)
                if alert.time >= moment:
                    yield alert

    def _rows(self, kind: str) -> Iterator[Entity]:
        return self.table.scan(self.rule, f"{kind}|", f"{kind}}}")
