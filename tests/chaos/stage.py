"""Where the chaos tests play: Azurite behind a proxy, the query API's double, a receiver, and real processes.

A scenario is some hours of runs, with a fault in the middle. What came of it is judged from outside: by what
the receiver was sent, and by what stands in the table.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from detection.base.deadlines import RUN_TIME
from detection.incidents.alert import Alert
from detection.incidents.incident import ALERTS_PER_INCIDENT
from detection.rules.loading import default_rule, load_rule
from detection.runs.record import RECORD, RunFailure
from detection.store.azure_table import open_table
from detection.store.incident_list import IncidentList
from detection.store.incident_store import IncidentStore
from detection.store.outbox import Outbox
from tests.chaos.process import JobOrder, JobProcess, Task
from tests.chaos.table_proxy import TableProxy
from tests.chaos.world import FIRST_RUN, HOUR, Pair, expected
from tests.support.azurite import connection_string, new_name
from tests.support.identity_endpoint import IdentityEndpoint
from tests.support.query_api import QueryApi, no_fault, unchanged
from tests.support.receiver import Receiver

RULE = load_rule(default_rule())
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DAY = timedelta(hours=24)
LAST = 6  # hours after the first run; by then every row has long arrived
LogFields = Mapping[str, Any]


@dataclass(slots=True)
class FaultFigures:
    """The processes that ran under the fault: the `seconds` of the longest by its clock, and their exit codes.

    `requests` are the most that reached each neighbour in a run. `named` is whether a log line named the cause in
    every run that a scenario looked at; None where no line is due. `threads` of webhooks outlived their delivery.
    """

    seconds: float = 0
    requests: dict[str, int] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)
    named: bool | None = None
    threads: int = 0


@dataclass(slots=True)
class ScenarioFigures:
    """What came of a scenario; of a promise that is kept, the first five are zero.

    `lost` pairs in no message, `twice` in messages of different ids, in a `wrong_incident`; `changed` messages whose
    body was not the same at every attempt; `refused` requests that the real table service would not take.
    `repeats` are messages that arrived again under their id, which a receiver can tell.
    """

    pairs: int = 0
    lost: int = 0
    twice: int = 0
    wrong_incident: int = 0
    changed: int = 0
    refused: int = 0
    repeats: int = 0
    killed: int = 0
    failed_runs: int = 0
    dead_letters: int = 0
    waiting: int = 0
    fault: FaultFigures = field(default_factory=FaultFigures)

    @property
    def broken(self) -> dict[str, int]:
        """The promises that were not kept."""
        promises = ("lost", "twice", "wrong_incident", "changed", "refused", "waiting")
        broken = {name: number for name in promises if (number := getattr(self, name))}
        leaks = {"threads": self.fault.threads} if self.fault.threads else {}
        return broken | leaks | ({"unnamed": 1} if self.fault.named is False else {})

    def __add__(self, addend: "ScenarioFigures") -> "ScenarioFigures":
        counts = [count.name for count in fields(self) if count.type is int]
        return replace(self, **{name: getattr(self, name) + getattr(addend, name) for name in counts})


@dataclass(slots=True)
class Stage:
    """The parts, and one scenario's table and settings."""

    proxy: TableProxy
    api: QueryApi
    identity: IdentityEndpoint
    receiver: Receiver
    folder: Path
    connection: str  # the connection string that goes past the proxy
    table: str = field(default_factory=new_name)
    settings: dict[str, str] = field(default_factory=dict)
    figures: ScenarioFigures = field(default_factory=ScenarioFigures)
    neighbours: dict[str, Callable[[], int]] = field(init=False)  # how many requests reached each of them
    _requests_before: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.neighbours = {
            "table": lambda: self.proxy.requests,
            "query API": lambda: len(self.api.requests),
            "identity": lambda: len(self.identity.requests),
            "webhook": lambda: len(self.receiver.requests),
        }

    @property
    def log(self) -> Path:
        """What the processes logged."""
        return self.folder / f"{self.table}.log"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the next process."""
        return {
            "LOG_ANALYTICS_WORKSPACE_ID": "00000000-0000-0000-0000-000000000001",
            "LOG_ANALYTICS_ENDPOINT": self.api.endpoint,
            "INCIDENT_STORAGE": connection_string(self.proxy.port),
            "INCIDENT_TABLE": self.table,
            "WEBHOOK_URL": self.receiver.url,
            "WEBHOOK_SECRET": SECRET,
            **self.settings,
        }

    def process(
        self,
        hour: float,
        task: Task = "detect",
        *,
        clock: float | None = None,
        patient: bool = False,
        pauses: float = 0,
        hasty: bool = False,
        run_time: timedelta = RUN_TIME,
    ) -> JobProcess:
        """A process at that hour after the first run, when its clock says that, or another, hour; it waits to be let go."""
        self.api.moment = FIRST_RUN + hour * HOUR
        self._requests_before = self._requests()
        now = FIRST_RUN + (hour if clock is None else clock) * HOUR
        order = JobOrder(task, self.environment, now, self.log, patient, pauses, hasty, run_time)
        return JobProcess(order)

    def run(self, hour: float, task: Task = "detect", *, cause: str = "", **options: Any) -> int:  # noqa: ANN401  # as for `process`
        """A whole process at that hour, under a fault; how it ended. A log line must name the cause."""
        lines_before = len(self.lines)
        process = self.process(hour, task, **options)
        process.go()
        code = self.wait_for(process)
        if cause:
            reasons = [str(line.get("reason", line.get("error"))) for line in self.lines[lines_before:]]
            is_named = any(cause in reason for reason in reasons)
            self.figures.fault.named = is_named and self.figures.fault.named is not False
        return code

    def wait_for(self, process: JobProcess) -> int:
        """Waits for a process under a fault; counts those that were killed or failed, and measures."""
        code, report, fault = process.wait(), process.report(), self.figures.fault
        self.figures.killed += code < 0
        self.figures.failed_runs += code == 1
        fault.exit_codes = sorted({*fault.exit_codes, code})
        fault.seconds = max(fault.seconds, report.seconds)
        fault.threads += report.threads
        for name, count in self._requests().items():
            requests = count - self._requests_before.get(name, 0)
            fault.requests[name] = max(fault.requests.get(name, 0), requests)
        return code

    def _requests(self) -> dict[str, int]:
        return {name: count() for name, count in self.neighbours.items()}

    def runs(self, first_hour: int, last_hour: int = LAST) -> None:
        """Hourly runs without a fault; every one must be complete."""
        self.figures.refused += len(self.proxy.refused)
        self.proxy.reset()
        self.api.fault, self.api.amend = no_fault, unchanged
        for hour in range(first_hour, last_hour + 1):
            process = self.process(hour)
            process.go()
            assert process.wait() == 0, self.log.read_text()[-2_000:]

    # ------------------------------------------------------------------------------------------------------- judging

    @property
    def lines(self) -> list[LogFields]:
        """The log lines of all processes."""
        texts = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(text) for text in texts if text.startswith('{"event":')]

    @property
    def reasons(self) -> str:
        """What the log lines say of failed runs."""
        return "\n".join(str(line["reason"]) for line in self.lines if line.get("outcome") == "failed")

    @property
    def store(self) -> IncidentStore:
        """The incident index, as somebody looks at it past the proxy."""
        return IncidentStore(open_table(self.connection, self.table, None), RULE.folder, "look")

    @property
    def outbox(self) -> Outbox:
        """The outbox, in the same way."""
        return Outbox(open_table(self.connection, self.table, None), RULE.folder)

    @property
    def failures(self) -> list[RunFailure]:
        """The records of failed runs."""
        records = map(RECORD.validate_json, self.store.records())
        return [record for record in records if isinstance(record, RunFailure)]

    def evaluate(
        self, receivers: Sequence[Receiver] = (), lookback: timedelta = DAY, last_hour: int = LAST
    ) -> ScenarioFigures:
        """What came of it, for each of the receivers; the messages tell their pairs one by one."""
        for receiver in receivers or (self.receiver,):
            self.figures += evaluate_messages(receiver)
        return self._evaluate_table(lookback, last_hour)

    def evaluate_storm(self) -> ScenarioFigures:
        """What came of it where digests tell some of the pairs, by their number."""
        self.figures += evaluate_counts(self.receiver)
        return self._evaluate_table()

    def _evaluate_table(self, lookback: timedelta = DAY, last_hour: int = LAST) -> ScenarioFigures:
        now = FIRST_RUN + last_hour * HOUR
        self.figures.wrong_incident += wrong_incidents(self.store, lookback, now)
        self.figures.refused += len(self.proxy.refused)
        self.figures.waiting += sum(
            1 for name in self.outbox.destinations() for _ in self.outbox.waiting(name)
        )
        self.figures.dead_letters += sum(1 for _ in self.outbox.dead_letters())
        return self.figures


def evaluate_messages(
    receiver: Receiver, expected_pairs: Mapping[Pair, str] | None = None
) -> ScenarioFigures:
    """What a receiver was sent, against what had to be told."""
    expected_pairs = expected() if expected_pairs is None else expected_pairs
    bodies_by_id: dict[str, set[bytes]] = {}
    for headers, body in receiver.requests:
        bodies_by_id.setdefault(headers["webhook-id"], set()).add(body)
    pair_counts: Counter[Pair] = Counter()
    wrong = 0
    for bodies in bodies_by_id.values():
        data = json.loads(next(iter(bodies)))["data"]
        pair_counts.update(map(_pair, data["pairs"]))
        wrong += sum(
            _is_wrong(row, data["key"], actor)
            for row in data["pairs"]
            if (actor := expected_pairs.get(_pair(row)))
        )
    return ScenarioFigures(
        pairs=len(expected_pairs),
        lost=len(expected_pairs.keys() - pair_counts.keys()),
        twice=sum(number - 1 for number in pair_counts.values()),
        wrong_incident=wrong,
        changed=sum(len(bodies) - 1 for bodies in bodies_by_id.values()),
        repeats=len(receiver.requests) - len(bodies_by_id),
    )


def _pair(row: Mapping[str, str]) -> Pair:
    return row["ConfigId"], row["AbuseId"]


def _is_wrong(row: Mapping[str, str], key: Mapping[str, str], actor: str) -> bool:
    """Whether a pair is another's, or was told under another's key."""
    return row["ActorEmail"] != actor or key.get("Account", actor) != actor


def evaluate_counts(receiver: Receiver) -> ScenarioFigures:
    """What a receiver was sent in a storm, against the number of pairs that had to be told."""
    messages_by_id = {headers["webhook-id"]: json.loads(body) for headers, body in receiver.requests}
    pair_count = sum(
        message["data"]["pairs"]
        if message["type"] == "detection.alert.digest"
        else message["data"]["counts"]["pairs"]
        for message in messages_by_id.values()
    )
    expected_count = len(expected())
    return ScenarioFigures(
        pairs=expected_count,
        lost=max(expected_count - pair_count, 0),
        twice=max(pair_count - expected_count, 0),
        changed=len(set(receiver.bodies)) - len(messages_by_id),
        repeats=len(receiver.requests) - len(messages_by_id),
    )


def wrong_incidents(
    store: IncidentStore, lookback: timedelta = DAY, now: datetime = FIRST_RUN + LAST * HOUR
) -> int:
    """Alerts outside an incident of their key, incidents that do not add up, and a second accepting one of a key."""
    incidents = {
        incident.id: (key, incident) for key, incident in IncidentList(store.table, store.rule).incidents()
    }
    alerts: dict[str, list[Alert]] = {}
    for alert in IncidentList(store.table, store.rule).alerts():
        alerts.setdefault(alert.incident, []).append(alert)
    wrong = len(alerts.keys() - incidents.keys())
    accepting: Counter[object] = Counter()
    for name, (key, incident) in incidents.items():
        incident_alerts = alerts.get(name, [])
        wrong += sum(dict(key) != alert.key for alert in incident_alerts)
        wrong += (len(incident_alerts), sum(alert.counts.pairs for alert in incident_alerts)) != (
            incident.alerts,
            incident.pairs,
        )
        accepting[key] += now <= incident.opened + lookback and incident.alerts < ALERTS_PER_INCIDENT
    return wrong + sum(number - 1 for number in accepting.values() if number > 1)


@contextmanager
def staged(
    proxy: TableProxy,
    api: QueryApi,
    identity: IdentityEndpoint,
    receiver: Receiver,
    folder: Path,
    connection: str,
) -> Iterator[Stage]:
    """A stage for one scenario, as if nobody had played on it."""
    proxy.reset()
    old_moment = api.moment
    api.reset()
    stage = Stage(proxy, api, identity, receiver, folder, connection)
    yield stage
    api.moment = old_moment
