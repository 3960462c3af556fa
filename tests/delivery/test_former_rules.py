"""The outbox belongs to the table: messages of a rule that was removed or disabled are sent, listed and requeued."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from detection.app import Job, open_job
from detection.base.deadlines import LONGEST_RUN
from detection.base.errors import ConfigurationError, ServiceError
from detection.check.canary import send_test
from detection.messages.context import DigestEntry
from detection.rules.loading import load_rule
from detection.settings import settings_from
from detection.store.digest_draft import DigestDraft
from detection.store.incident_store import IncidentStore
from detection.store.outbox import DeadLetter, Queued, list_rule, listed_rules, table_outbox
from detection.store.table import MemoryTable, Operation, Put
from tests.support.builders import HOUR
from tests.support.clock import Clock
from tests.support.raw_logs import audit, completion, write
from tests.support.receiver import Receiver, receiving, status
from tests.test_telemetry import DEFAULT, NOW, PUBLISHED

MINUTE = timedelta(minutes=1)
ENTRY = DigestEntry("al_1", "in_1", True, "High", "alice@example.com created an API key", 1, 1, 1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


def make_job(
    folder: Path, receiver: Receiver, table: MemoryTable, rules: str = DEFAULT, now: Clock | None = None
) -> Job:
    """A job of some rules over a table, with one new alert for the default rule."""
    time, clock = NOW - 30 * MINUTE, now or Clock(NOW)
    write(
        folder,
        [audit("audit_1", "alice@example.com", time, arrived=time)],
        [completion("chatcmpl-1", "alice@example.com", time + MINUTE, arrived=time)],
    )
    settings = settings_from({"LOGS_DIR": str(folder), "RULES": rules, "WEBHOOK_URL": receiver.url})
    return replace(open_job(settings, clock, table), sleep=clock.sleep)


def without_rules(job: Job) -> Job:
    """The job after all its rules were disabled."""
    return replace(job, rules=[])


def test_message_of_a_removed_rule_is_listed_and_sent(
    tmp_path: Path, receiver: Receiver, table: MemoryTable
) -> None:
    receiver.default_answer = status(503)
    job = make_job(tmp_path, receiver, table)
    job.detect()
    (detail,) = job.desk.incidents()
    receiver.default_answer = status(200)
    later_job = make_job(tmp_path, receiver, table, PUBLISHED, Clock(NOW + HOUR))

    (message,) = later_job.desk.deliveries(detail.incident.id)
    (attempt,) = later_job.deliver()

    assert isinstance(message, Queued)
    assert (message.rule, attempt.delivery.id, attempt.outcome.sent) == (DEFAULT, message.delivery.id, True)


def test_dead_letter_of_a_disabled_rule_is_listed_requeued_and_sent(
    tmp_path: Path, receiver: Receiver, table: MemoryTable
) -> None:
    receiver.default_answer = status(410)
    job = make_job(tmp_path, receiver, table)
    job.detect()
    (detail,) = job.desk.incidents()
    receiver.default_answer = status(200)
    later_job = without_rules(job)

    (message,) = later_job.desk.deliveries(detail.incident.id)
    requeued = later_job.requeue()
    (attempt,) = later_job.deliver()

    assert isinstance(message, DeadLetter)
    assert (requeued, attempt.delivery.id, attempt.outcome.sent) == (1, message.delivery.id, True)


@pytest.mark.parametrize(
    "folder, name", [(PUBLISHED, load_rule(PUBLISHED).name), ("folder-that-is-gone", "folder-that-is-gone")]
)
def test_abandoned_digest_of_a_removed_rule_is_sent(
    tmp_path: Path, receiver: Receiver, table: MemoryTable, folder: str, name: str
) -> None:
    list_rule(table, folder)
    draft = DigestDraft(table, folder, "a-draft", NOW)
    table.write(folder, [draft.operation([ENTRY])])
    for time in (NOW + LONGEST_RUN, NOW + LONGEST_RUN + MINUTE, NOW + HOUR):
        make_job(tmp_path, receiver, table, now=Clock(time)).deliver()

    (message,) = receiver.messages
    assert (message["type"], message["data"]["rule"]["name"]) == ("detection.alert.digest", name)
    assert [incident["incident"] for incident in message["data"]["listed_incidents"]] == ["in_1"]


def test_digest_that_cannot_be_published_stops_no_message_and_is_an_error(
    tmp_path: Path, receiver: Receiver, table: MemoryTable
) -> None:
    receiver.default_answer = status(503)
    make_job(tmp_path, receiver, table).detect()
    receiver.default_answer = status(200)
    receiver.requests.clear()
    list_rule(table, "a-damaged-rule")
    table.write("a-damaged-rule", [Put("s|a-draft|000001", {"began": "hunter2"})])

    with pytest.raises(ServiceError, match="a-damaged-rule"):
        make_job(tmp_path, receiver, table, now=Clock(NOW + HOUR)).deliver()

    assert len(receiver.messages) == 1


def test_abandoned_digest_of_a_rule_that_observes_by_now_is_sent(
    tmp_path: Path, receiver: Receiver, table: MemoryTable
) -> None:
    job = make_job(tmp_path, receiver, table)
    draft = DigestDraft(table, DEFAULT, "a-draft", NOW - HOUR)
    table.write(DEFAULT, [draft.operation([ENTRY])])
    [rule] = job.rules
    observing = rule.model_copy(update={"on_call": rule.on_call.model_copy(update={"mode": "observe"})})

    replace(job, rules=[observing]).detect()

    assert [message["type"] for message in receiver.messages] == ["detection.alert.digest"]


def test_rule_is_on_the_list_before_its_first_row(tmp_path: Path, receiver: Receiver) -> None:
    class CrashingTable(MemoryTable):
        def write(self, partition: str, operations: Sequence[Operation]) -> None:
            if partition == DEFAULT:
                raise KeyboardInterrupt
            super().write(partition, operations)

    crashing = CrashingTable()
    with pytest.raises(KeyboardInterrupt):
        make_job(tmp_path, receiver, crashing).detect()

    assert listed_rules(crashing) == [DEFAULT]


def test_only_rules_are_on_the_list(tmp_path: Path, receiver: Receiver, table: MemoryTable) -> None:
    job = make_job(tmp_path, receiver, table)
    send_test(job.rules[0], table, job.settings.destinations, job.clock)
    IncidentStore(table, "an-old-rule", "run").finish(NOW, b"{}")

    assert listed_rules(table) == ["an-old-rule"]
    assert table_outbox(table, [DEFAULT]).rules == ("an-old-rule", DEFAULT)


@pytest.mark.parametrize("lead, sent", [(10 * MINUTE - timedelta(seconds=1), True), (10 * MINUTE, False)])
def test_delivery_by_a_clock_ahead_of_the_table_service_changes_nothing(
    tmp_path: Path, receiver: Receiver, lead: timedelta, sent: bool
) -> None:
    table_clock = Clock(NOW)
    table = MemoryTable(table_clock)
    receiver.default_answer = status(503)
    make_job(tmp_path, receiver, table).detect()
    receiver.default_answer = status(200)
    receiver.requests.clear()
    table_clock.now += HOUR
    job = make_job(tmp_path, receiver, table, now=Clock(table_clock.now + lead))
    rows = list(table.scan(DEFAULT, "!", "~"))

    if sent:
        assert [attempt.outcome.sent for attempt in job.deliver()] == [True]
    else:
        for act in (job.deliver, job.requeue):
            with pytest.raises(ConfigurationError, match="set the clock"):
                act()
        assert (receiver.requests, list(table.scan(DEFAULT, "!", "~"))) == ([], rows)
