"""A made-up change and a made-up signal, walked through the whole line to the destinations, and swept away.

Everything says TEST, from the actor on, so that every format's title begins with it. Nothing is read from a workspace and no row
of a rule is touched: the alert is committed in a partition of its own. Where a page would stay open, it is resolved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from detection.app import Clock
from detection.base.timestamps import iso
from detection.check.context import CHECK_PARTITION
from detection.delivery.deliver import Attempt, Destination, deliver
from detection.delivery.rendering import message_renderer, update_messages
from detection.delivery.webhook import WebhookDestination
from detection.incidents.grouping import closed
from detection.logs.events import Logs, Row, to_events
from detection.logs.window import Windows
from detection.rules.model import KqlType, Rule, Side
from detection.runs.commit import RunOptions
from detection.runs.run import run
from detection.settings import Webhook
from detection.store.incident_store import IncidentStore
from detection.store.layout import chunks
from detection.store.outbox import Outbox
from detection.store.table import OPERATIONS, Delete, Table

TEST_LABEL = "TEST, nothing happened"
AUTHOR = "python -m detection check"
_DEFAULT_VALUES: Mapping[KqlType, object] = {
    "string": "TEST",
    "dynamic": None,
    "bool": None,
    "int": None,
    "long": None,
    "real": None,
}


@dataclass(frozen=True, slots=True)
class CanarySource:
    """A source that holds one change and one signal of an actor that nobody is."""

    actor: str

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """The change of two minutes ago and the signal of one minute ago."""
        sides, once = rule.sequence.sides, rule.sequence.duplicates == "once"
        rows = {
            name: self._row(name, side, windows.now - timedelta(minutes=minutes))
            for minutes, (name, side) in zip((2, 1), sides.items(), strict=True)
        }
        return Logs(
            to_events([rows["changes"]], sides["changes"], windows.changes, once=once),
            to_events([rows["signals"]], sides["signals"], windows.signals, once=once),
        )

    def _row(self, side_name: str, side: Side, time: datetime) -> Row:
        """A row as the side's query would return it."""
        values = {
            side.id: f"test-{side_name}-{iso(time)}",
            side.actor: self.actor,
            side.kind: next(iter(side.labels), "test"),
            **({side.beyond: "[]"} if side.beyond else {}),
        }
        return tuple(
            iso(time) if kind == "datetime" else values.get(column, _DEFAULT_VALUES.get(kind))
            for column, kind in side.columns.items()
        )


@dataclass(frozen=True, slots=True)
class CanaryDelivery:
    """The line from a source to the destinations, over a table."""

    table: Table
    webhooks: Sequence[Webhook]
    clock: Clock

    def send_test(self, rule: Rule) -> dict[str, Attempt]:
        """One alert of a rule to every destination, whatever severity it takes; what became of it, by destination."""
        now = self.clock()
        store = IncidentStore(self.table, CHECK_PARTITION, f"check {iso(now)}")
        accepting_webhooks = [
            webhook.model_copy(update={"minimum_severity": "Informational"}) for webhook in self.webhooks
        ]
        self._delete_rows()
        try:
            options = RunOptions(render=message_renderer(accepting_webhooks), clock=self.clock)
            _, [verdict] = run(
                _as_test_rule(rule, now),
                now,
                CanarySource(f"{TEST_LABEL} (check of {iso(now)}):"),
                store,
                options,
            )
            attempts = self._deliver()
            store.update(
                verdict.state.key,
                lambda incident: closed(incident, "benign", AUTHOR, now, "a test"),
                lambda incident, commit: update_messages(accepting_webhooks, incident, commit, now),
            )
            return attempts | {
                destination: attempt
                for destination, attempt in self._deliver().items()
                if not attempt.outcome.sent
            }
        finally:
            self._delete_rows()

    def _deliver(self) -> dict[str, Attempt]:
        """One attempt at whatever is in the outbox."""
        destinations: dict[str, Destination] = {
            webhook.name: WebhookDestination(webhook) for webhook in self.webhooks
        }
        outbox = Outbox(self.table, CHECK_PARTITION)
        attempts = deliver(outbox, destinations, self.clock, _no_wait, timedelta(0), lambda _: None)
        return {attempt.delivery.destination: attempt for attempt in attempts}

    def _delete_rows(self) -> None:
        """Removes every row of the partition, those too that a check left which was cut short."""
        rows = [entity.row for entity in self.table.scan(CHECK_PARTITION, "!", "~")]
        for row_chunk in chunks(rows, OPERATIONS):
            self.table.write(CHECK_PARTITION, [Delete(row) for row in row_chunk])


def _no_wait(_seconds: float) -> None:
    """Without patience nothing is waited for."""


def _as_test_rule(rule: Rule, now: datetime) -> Rule:
    """The rule under a name that nobody takes for it, with nothing that could keep the test back or make more of it.

    By its folder all ids differ from those of real alerts.
    """
    return rule.model_copy(
        update={
            "folder": f"TEST {iso(now)} {rule.folder}",
            "name": f"TEST of {rule.name}",
            "severity": "Informational",
            "on_call": rule.on_call.model_copy(update={"severity": ()}),
            "exclusions": (),
            "sequence": rule.sequence.model_copy(update={"threshold": {}}),
        }
    )
