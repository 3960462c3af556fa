"""How many requests quiet and large runs make to the table; the benchmark `volume` measures the rest."""

import pytest

from benchmarks.volume import NOW, CountingTable, alerts_before, last_alert, many_actors, one_actor, run_at
from detection.app import open_job
from detection.settings import settings_from
from detection.store.incident_list import IncidentList
from detection.store.outbox import list_rule
from detection.store.table import MemoryTable
from tests.regenerate import LOGS
from tests.support.builders import HOUR, RULE


@pytest.mark.parametrize("former_rules", [0, 1, 3])
def test_quiet_hour_takes_four_requests_and_two_for_each_rule_that_no_longer_runs(former_rules: int) -> None:
    table = CountingTable(MemoryTable())
    job = open_job(settings_from({"LOGS_DIR": str(LOGS), "RULES": RULE.folder}), lambda: NOW, table)
    job.detect()
    for number in range(former_rules):
        list_rule(table, f"former-rule-{number}")
    table.requests = 0
    # The watermark with drafts and groupings, the record with the watermark, the list of rules, the outbox.
    job.detect(NOW + HOUR)
    assert table.requests == 4 + 2 * former_rules


@pytest.mark.parametrize("signals", [10, 100_000])
def test_new_signals_of_one_actor_take_few_requests_however_many(signals: int) -> None:
    table = CountingTable(MemoryTable())
    record = run_at(table, NOW, one_actor(signals))
    assert record.new_pairs == signals
    assert table.requests < 20


def test_many_actors_share_requests() -> None:
    table = CountingTable(MemoryTable())
    assert run_at(table, NOW, many_actors(1_000)).alerts == 1_000
    first_requests, table.requests = table.requests, 0
    run_at(table, NOW + HOUR, many_actors(1_000))
    assert first_requests <= 300
    assert table.requests <= 30


def test_150_alerts_are_one_incident_and_the_last_costs_what_the_first_did() -> None:
    table = CountingTable(MemoryTable())
    alerts_before(150, table)
    table.requests = 0
    last_alert(150)(table)
    assert table.requests < 20
    (incident,) = (stored_incident for _, stored_incident in IncidentList(table, RULE.folder).incidents())
    assert (incident.alerts, incident.pairs) == (150, 150)
