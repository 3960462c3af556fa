"""A test alert: a made-up change and signal that pass through the whole pipeline to the destinations.

Everything is marked TEST, beginning with the actor, so the title has the mark in every format. The test reads
no workspace and no row of a rule: it commits the alert to a partition of its own and deletes it afterwards.
A page that the test opens is resolved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from detection.app import Clock
from detection.base.timestamps import iso
from detection.check.context import CHECK_PARTITION
from detection.delivery.deliver import Attempt, deliver
from detection.delivery.rendering import message_renderer, update_messages
from detection.delivery.webhook import open_destinations
from detection.incidents.incident import HistoryEntry
from detection.logs.events import Logs, to_events
from detection.logs.window import Windows
from detection.rules.model import Rule
from detection.runs.commit import RunOptions
from detection.runs.run import run
from detection.settings import Webhook
from detection.store.incident_store import IncidentStore
from detection.store.layout import delete_rows
from detection.store.outbox import Outbox
from detection.store.table import Table

TEST_LABEL = "TEST, nothing happened"
AUTHOR = "python -m detection check"


@dataclass(frozen=True, slots=True)
class CanarySource:
    """A source with one change, two minutes old, and one signal, a minute old, of a made-up actor."""

    actor: str

    def read(self, rule: Rule, windows: Windows) -> Logs:
        """Both events, as the rule's queries would return them."""
        once = rule.sequence.duplicates == "once"
        sides = []
        for (side_name, side), window, minutes in zip(
            rule.sequence.sides.items(), (windows.changes, windows.signals), (2, 1), strict=True
        ):
            time = iso(windows.now - timedelta(minutes=minutes))
            cells = {
                side.id: f"test-{side_name}-{time}",
                side.actor: self.actor,
                side.kind: next(iter(side.labels), "test"),
                **({side.beyond: "[]"} if side.beyond else {}),
            }
            row = tuple(
                time if kind == "datetime" else cells.get(column, "TEST" if kind == "string" else None)
                for column, kind in side.columns.items()
            )
            sides.append(to_events([row], side, window, once=once))
        changes, signals = sides
        return Logs(changes, signals)


def send_test(rule: Rule, table: Table, webhooks: Sequence[Webhook], clock: Clock) -> dict[str, Attempt]:
    """Send a test alert of the rule to every destination, whatever its minimum severity.

    Returns the attempt by destination; if the resolution failed, the attempt to resolve.
    """
    now = clock()
    store = IncidentStore(table, CHECK_PARTITION, f"check {iso(now)}")
    accepting_webhooks = [
        webhook.model_copy(update={"minimum_severity": "Informational"}) for webhook in webhooks
    ]
    source = CanarySource(f"{TEST_LABEL} (check of {iso(now)}):")
    options = RunOptions(render=message_renderer(accepting_webhooks), clock=clock)
    # Without anything that would suppress the alert or raise its severity. The ids of alerts depend on
    # the folder, so the ids of the test differ from those of real alerts.
    test_rule = rule.model_copy(
        update={
            "folder": f"TEST {iso(now)} {rule.folder}",
            "name": f"TEST of {rule.name}",
            "severity": "Informational",
            "on_call": rule.on_call.model_copy(update={"severity": ()}),
            "exclusions": (),
            "sequence": rule.sequence.model_copy(update={"threshold": {}}),
        }
    )
    _delete_rows(table)
    try:
        _, [verdict] = run(test_rule, now, source, store, options)
        incident_id = verdict.alert.incident if verdict.alert else ""
        attempts = _deliver(table, webhooks, clock)
        closing = HistoryEntry("closed", AUTHOR, now, "a test", classification="benign")
        store.update(
            incident_id,
            lambda incident: incident.with_act(closing),
            lambda incident, commit: update_messages(accepting_webhooks, incident, commit, now),
        )
        return attempts | {
            destination: attempt
            for destination, attempt in _deliver(table, webhooks, clock).items()
            if not attempt.outcome.sent
        }
    finally:
        _delete_rows(table)


def _deliver(table: Table, webhooks: Sequence[Webhook], clock: Clock) -> dict[str, Attempt]:
    """Try to deliver each message in the outbox once, without waiting."""
    outbox = Outbox(table, CHECK_PARTITION)
    with open_destinations(webhooks) as destinations:
        attempts = deliver(outbox, destinations, clock, lambda _: None, timedelta(0), lambda _: None)
    return {attempt.delivery.destination: attempt for attempt in attempts}


def _delete_rows(table: Table) -> None:
    """Delete every row of the partition, including the rows of an earlier check that was interrupted."""
    rows = [entity.row for entity in table.scan(CHECK_PARTITION, "!", "~")]
    delete_rows(table, CHECK_PARTITION, rows)
