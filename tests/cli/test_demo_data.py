"""The cases in the made-up logs, and the alerts of 48 hourly runs of the default rule."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from detection.base.timestamps import parse_time
from detection.cli.demo import FLOOD_SIGNALS
from detection.cli.demo_data import SCENARIO_FILE, load_scenario, write_logs
from detection.incidents.alert import Alert
from detection.incidents.incident import Incident
from detection.logs.files.loading import LoadedFiles
from detection.logs.history.files import open_file_archive
from detection.logs.history.past import RunRange
from detection.rules.loading import default_rule, load_rule
from detection.rules.model import Rule
from detection.runs.record import RunRecord
from detection.runs.replay import replay
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.table import MemoryTable

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
RUNS = [BEGIN + DAY + timedelta(hours=hour, minutes=5) for hour in range(48)]
CHANGES, SIGNALS = "OpenAIAuditLogs_CL", "ASimAgentEventLogs"
ABUSE = {"content_filter", "length", ""}
PRIVILEGED = {
    "api_key.created",
    "invite.sent",
    "project.created",
    "role.assignment.created",
    "service_account.created",
    "user.updated",
}

LogRow = dict[str, Any]


@dataclass(frozen=True)
class ScenarioRuns:
    """The logs and the results of 48 runs."""

    rule: Rule
    loaded: Mapping[str, LoadedFiles]
    rows: Mapping[str, Sequence[LogRow]]
    records: Sequence[RunRecord]
    alerts: Sequence[Alert]
    incidents: Sequence[tuple[str, Incident]]

    def alerts_of(self, name: str) -> list[Alert]:
        return [alert for alert in self.alerts if alert.actor == f"{name}@example.com"]

    def incidents_of(self, name: str) -> list[Incident]:
        return [incident for actor, incident in self.incidents if actor == f"{name}@example.com"]

    def changes(self, name: str) -> list[LogRow]:
        return [row for row in _changes(self.rows) if _change_actor(row) == f"{name}@example.com"]

    def signals(self, name: str) -> list[LogRow]:
        return [row for row in _signals(self.rows) if _signal_actor(row) == f"{name}@example.com"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> ScenarioRuns:
    folder = tmp_path_factory.mktemp("logs")
    write_logs(folder, BEGIN)
    rule, table = load_rule(default_rule()), MemoryTable()
    with open_file_archive(folder, rule.tables) as files:
        source = files.source(rule, RunRange.of_runs(RUNS, rule.query_frequency, rule))
        records = [replayed.record for replayed in replay(rule, source, RUNS, table)]
        loaded = files.loaded
    store = IncidentStore(table, rule.folder, "reader")
    incidents = [
        (dict(key)["Account"], incident)
        for key, incident in sorted(
            IncidentList(store.table, store.rule).incidents(), key=lambda stored: stored[1].opened
        )
    ]
    return ScenarioRuns(
        rule, loaded, _read(folder), records, list(IncidentList(store.table, store.rule).alerts()), incidents
    )


def test_same_seed_writes_the_same_bytes_and_another_seed_different_bytes(tmp_path: Path) -> None:
    for name, seed in (("first", 7), ("second", 7), ("other", 8)):
        (tmp_path / name).mkdir()
        assert write_logs(tmp_path / name, BEGIN, seed) == BEGIN + 3 * DAY
    first_files, second_files, other_files = (
        [(tmp_path / name / f"{table}.jsonl").read_bytes() for table in (CHANGES, SIGNALS)]
        for name in ("first", "second", "other")
    )
    assert first_files == second_files
    assert first_files[0] != other_files[0]
    assert first_files[1] != other_files[1]


def test_scenario_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO_FILE.read_text(encoding="utf-8") + "\nlast: P3D\n", encoding="utf-8")
    with pytest.raises(ValidationError, match="last"):
        load_scenario(path)


def test_rows_have_the_columns_of_the_connector(runs: ScenarioRuns) -> None:
    for table, rows in runs.rows.items():
        loaded = runs.loaded[table]
        assert not loaded.rejected
        assert set(loaded.ignored) <= {"_ingested"}
        assert {frozenset(row) for row in rows} == {
            frozenset([*runs.rule.tables[table].columns, "_ingested"])
        }


def test_no_placeholder_is_left_over(runs: ScenarioRuns) -> None:
    names = {name for shape in load_scenario().templates.values() for name in shape.values}
    written = "".join(json.dumps(row) for rows in runs.rows.values() for row in rows)
    assert not [name for name in names | {"letters", "hex", "reason", "event"} if f"{{{name}" in written]


def test_files_are_in_the_order_of_arrival(runs: ScenarioRuns) -> None:
    for rows in runs.rows.values():
        arrivals = [row["_ingested"] for row in rows]
        assert arrivals == sorted(arrivals)


def test_rows_arrive_five_to_nine_minutes_late_except_in_three_cases(runs: ScenarioRuns) -> None:
    late = {
        _signal_actor(row)
        for row in runs.rows[SIGNALS]
        if not timedelta(minutes=5)
        <= _arrival(row) - parse_time(row["EventStartTime"])
        <= timedelta(minutes=9)
    }
    assert late == {"erin@example.com", "frank@example.com", "grace@example.com"}


def test_most_rows_are_ordinary(runs: ScenarioRuns) -> None:
    reasons = Counter(row["EventFinishReasons"][0] for row in runs.rows[SIGNALS])
    ordinary = reasons["stop"] + reasons["tool_calls"]
    assert 4_000 < ordinary < 7_000
    assert reasons.total() - ordinary < 0.4 * ordinary
    kinds = Counter(row["EventType"] for row in runs.rows[CHANGES])
    assert sum(number for kind, number in kinds.items() if kind not in PRIVILEGED) > 0.7 * kinds.total()


def test_some_completions_name_a_service_and_some_no_actor(runs: ScenarioRuns) -> None:
    actors = Counter(_signal_actor(row) for row in runs.rows[SIGNALS])
    assert actors[""] > 100
    assert len([actor for actor in actors if actor and "@" not in actor]) == 3
    assert any(reason.startswith("signals") for reason in runs.records[-1].rejected)


def test_ordinary_length_without_a_change_does_not_alert(runs: ScenarioRuns) -> None:
    for name in ("kenji", "lena", "mateo", "nora"):
        assert runs.signals(name)
        assert not runs.changes(name)
        assert not runs.alerts_of(name)


def test_alerts_are_of_the_expected_actors(runs: ScenarioRuns) -> None:
    expected = {"alice", "bob", "carol", "dave", "erin", "frank", "heidi", "peggy", "victor", "wendy"}
    expected |= {f"trainee-{number}" for number in range(1, 25)}
    assert {alert.actor for alert in runs.alerts} == {f"{name}@example.com" for name in expected}


def test_alices_signals_of_the_next_morning_update_her_incident(runs: ScenarioRuns) -> None:
    incident = runs.incidents_of("alice")[0]
    alerts = [alert for alert in runs.alerts_of("alice") if alert.incident == incident.id]
    assert [alert.action for alert in alerts] == ["opened", *["updated"] * (len(alerts) - 1)]
    assert {alert.time.date() for alert in alerts} == {
        (BEGIN + DAY).date(),
        (BEGIN + 2 * DAY).date(),
    }
    assert incident.pairs == 47
    assert all(not alert.first_pair["Beyond"] for alert in alerts)


def test_alice_a_day_after_her_first_alert_opens_a_second_incident(runs: ScenarioRuns) -> None:
    first_incident, second_incident = runs.incidents_of("alice")
    assert second_incident.predecessor == first_incident.id
    assert second_incident.opened > first_incident.opened + DAY


def test_bob_alerts_though_no_run_has_both_rows_within_the_past_day(runs: ScenarioRuns) -> None:
    (change,), (signal,) = runs.changes("bob"), runs.signals("bob")
    assert _time(signal) - _time(change) == timedelta(hours=23, minutes=40)
    assert not [now for now in RUNS if _arrival(signal) <= now < _time(change) + DAY]
    (alert,) = runs.alerts_of("bob")
    assert alert.first_pair["Beyond"] == ["outside_published_window"]


def test_carol_alerts_though_she_used_an_api_key(runs: ScenarioRuns) -> None:
    alerts = runs.alerts_of("carol")
    assert all(alert.first_pair["Beyond"] == ["api_key_actor"] for alert in alerts)
    assert {kind for alert in alerts for kind in alert.signal_kinds} == {"length", "content_filter"}


def test_dave_alerts_for_a_role_in_an_update_and_a_missing_reason(runs: ScenarioRuns) -> None:
    (alert,) = runs.alerts_of("dave")
    assert set(alert.first_pair["Beyond"]) == {"role_change_in_update", "finish_reason_missing"}  # type: ignore[call-overload]
    assert alert.first_pair["EventFinishReasons"] == [""]


def test_erin_alerts_as_soon_as_the_late_rows_arrive(runs: ScenarioRuns) -> None:
    (alert,) = runs.alerts_of("erin")
    arrivals = [_arrival(row) for row in runs.signals("erin")]
    assert all(_arrival(row) - _time(row) >= timedelta(hours=5) for row in runs.signals("erin"))
    assert timedelta(0) < alert.time - max(arrivals) < timedelta(hours=1)
    assert alert.counts.pairs == 7


def test_frank_alerts_once_though_every_row_arrives_twice(runs: ScenarioRuns) -> None:
    changes, signals = runs.changes("frank"), runs.signals("frank")
    assert (len(changes), len(signals)) == (2, 8)
    assert (len({row["Id"] for row in changes}), len({row["EventUid"] for row in signals})) == (1, 4)
    (alert,) = runs.alerts_of("frank")
    assert (alert.counts.changes, alert.counts.signals, alert.counts.pairs) == (1, 4, 4)


def test_grace_is_suppressed_because_her_row_was_restamped(runs: ScenarioRuns) -> None:
    (change,), (signal,) = runs.changes("grace"), runs.signals("grace")
    assert signal["TimeGenerated"] == signal["_ingested"]
    assert parse_time(signal["EventStartTime"]) < _time(change) < _time(signal)
    assert max(record.suppressed.restamped for record in runs.records) == 1
    assert not runs.alerts_of("grace")


def test_heidi_alerts_though_her_address_is_written_in_another_case(runs: ScenarioRuns) -> None:
    assert {row["AdditionalFields"]["input_user"] for row in runs.signals("heidi")} == {"Heidi@Example.com"}
    assert sum(alert.counts.pairs for alert in runs.alerts_of("heidi")) == 3


def test_victor_has_changes_from_a_new_address_and_many_signals_at_night(runs: ScenarioRuns) -> None:
    (alert,) = runs.alerts_of("victor")
    assert alert.new_addresses == ["192.0.2.66"]
    assert set(alert.change_kinds) == {"api_key.created", "role.assignment.created"}
    assert (alert.time.hour, alert.counts.signals) == (3, 130)


def test_trainees_alert_in_one_run(runs: ScenarioRuns) -> None:
    alerts = [alert for alert in runs.alerts if alert.actor.startswith("trainee-")]
    assert len(alerts) == 24
    assert len({alert.time for alert in alerts}) == 1


def test_wendy_has_more_signals_in_an_hour_than_the_demo_marks(runs: ScenarioRuns) -> None:
    (alert,) = runs.alerts_of("wendy")
    assert alert.counts.signals == 1_200 > FLOOD_SIGNALS


def test_ivan_does_not_alert_because_his_signal_comes_after_25_hours(runs: ScenarioRuns) -> None:
    (change,), (signal,) = runs.changes("ivan"), runs.signals("ivan")
    assert _time(signal) - _time(change) == timedelta(hours=25)
    assert not runs.alerts_of("ivan")


def test_judy_does_not_alert_because_her_signals_came_first(runs: ScenarioRuns) -> None:
    (change,) = runs.changes("judy")
    assert runs.signals("judy")
    assert all(_time(signal) < _time(change) for signal in runs.signals("judy"))
    assert not runs.alerts_of("judy")


def test_olga_does_not_alert_because_nothing_follows_her_change(runs: ScenarioRuns) -> None:
    assert runs.changes("olga")
    assert not runs.signals("olga")
    assert not runs.alerts_of("olga")


def _read(folder: Path) -> dict[str, list[LogRow]]:
    return {
        table: [
            json.loads(line) for line in (folder / f"{table}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for table in (CHANGES, SIGNALS)
    }


def _changes(rows: Mapping[str, Sequence[LogRow]]) -> Iterator[LogRow]:
    return (row for row in rows[CHANGES] if row["EventType"] in PRIVILEGED)


def _signals(rows: Mapping[str, Sequence[LogRow]]) -> Iterator[LogRow]:
    return (row for row in rows[SIGNALS] if row["EventFinishReasons"][0] in ABUSE)


def _change_actor(row: LogRow) -> str:
    return str(((row["ActorSession"] or row["ActorApiKey"]).get("user") or {}).get("email", ""))


def _signal_actor(row: LogRow) -> str:
    return str(row["AdditionalFields"]["input_user"]).lower()


def _time(row: LogRow) -> datetime:
    return parse_time(row["TimeGenerated"])


def _arrival(row: LogRow) -> datetime:
    return parse_time(row["_ingested"])
