"""Where the chaos tests play: Azurite behind a proxy, the query API's double, a receiver, and real processes.

A scenario is some hours of runs, with a fault in the middle. What came of it is judged from outside: by what
the receiver was sent, and by what stands in the table.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from detection.incidents.alert import Alert
from detection.incidents.azure_table import open_table
from detection.incidents.grouping import ALERTS_PER_INCIDENT
from detection.incidents.index import Index
from detection.incidents.outbox import Outbox
from detection.record import RECORD, Failure
from detection.rule import default_rule, load_rule
from tests.azurite import connection_string, new_name
from tests.chaos.process import JobProcess, Order, What
from tests.chaos.table_proxy import TableProxy
from tests.chaos.world import FIRST, HOUR, Pair, expected
from tests.query_api import QueryApi, no_fault, unchanged
from tests.receiver import Receiver

RULE = load_rule(default_rule())
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DAY = timedelta(hours=24)
LAST = 6  # hours after the first run; by then every row has long arrived
Line = Mapping[str, Any]


@dataclass(slots=True)
class Figures:
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

    @property
    def broken(self) -> dict[str, int]:
        """The promises that were not kept."""
        promises = ("lost", "twice", "wrong_incident", "changed", "refused", "waiting")
        return {name: number for name, number in asdict(self).items() if name in promises and number}

    def __add__(self, other: "Figures") -> "Figures":
        mine, theirs = asdict(self), asdict(other)
        return Figures(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(slots=True)
class Stage:
    """The parts, and one scenario's table and settings."""

    proxy: TableProxy
    api: QueryApi
    receiver: Receiver
    folder: Path
    direct: str  # the connection string that goes past the proxy
    table: str = field(default_factory=new_name)
    settings: dict[str, str] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)

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
        what: What = "detect",
        *,
        clock: float | None = None,
        patient: bool = False,
        pauses: float = 0,
        hasty: bool = False,
    ) -> JobProcess:
        """A process at that hour after the first run, when its clock says that, or another, hour; it waits to be let go."""
        self.api.moment = FIRST + hour * HOUR
        now = FIRST + (hour if clock is None else clock) * HOUR
        return JobProcess(Order(what, self.environment, now, self.log, patient, pauses, hasty))

    def run(self, hour: float, what: What = "detect", **how: Any) -> int:  # noqa: ANN401  # as for `process`
        """A whole process at that hour; how it ended."""
        process = self.process(hour, what, **how)
        process.go()
        return self.ended(process)

    def ended(self, process: JobProcess) -> int:
        """Waits for a process; counts those that were killed or failed."""
        code = process.wait()
        self.figures.killed += code < 0
        self.figures.failed_runs += code == 1
        return code

    def runs(self, first: int, last: int = LAST) -> None:
        """Hourly runs without a fault; every one must be complete."""
        self.figures.refused += len(self.proxy.refused)
        self.proxy.reset()
        self.api.fault, self.api.amend = no_fault, unchanged
        for hour in range(first, last + 1):
            assert self.run(hour) == 0, self.log.read_text()[-2_000:]

    # ------------------------------------------------------------------------------------------------------- judging

    @property
    def lines(self) -> list[Line]:
        """The log lines of all processes."""
        texts = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(text) for text in texts if text.startswith('{"event":')]

    @property
    def index(self) -> Index:
        """The incident index, as somebody looks at it past the proxy."""
        return Index(open_table(self.direct, self.table, None), RULE.folder, "look")

    @property
    def outbox(self) -> Outbox:
        """The outbox, in the same way."""
        return Outbox(open_table(self.direct, self.table, None), RULE.folder)

    @property
    def failures(self) -> list[Failure]:
        """The records of failed runs."""
        records = map(RECORD.validate_json, self.index.records())
        return [one for one in records if isinstance(one, Failure)]

    def judge(self, receivers: Sequence[Receiver] = (), lookback: timedelta = DAY) -> Figures:
        """What came of it, for each of the receivers; the messages tell their pairs one by one."""
        for receiver in receivers or (self.receiver,):
            self.figures += judge_messages(receiver)
        return self._judged_table(lookback)

    def judge_storm(self) -> Figures:
        """What came of it where digests tell some of the pairs, by their number."""
        self.figures += judge_counts(self.receiver)
        return self._judged_table()

    def _judged_table(self, lookback: timedelta = DAY) -> Figures:
        self.figures.wrong_incident += wrong_incidents(self.index, lookback)
        self.figures.refused += len(self.proxy.refused)
        self.figures.waiting += sum(
            1 for name in self.outbox.destinations() for _ in self.outbox.waiting(name)
        )
        self.figures.dead_letters += sum(1 for _ in self.outbox.dead())
        return self.figures


def judge_messages(receiver: Receiver, wanted: Mapping[Pair, str] | None = None) -> Figures:
    """What a receiver was sent, against what had to be told."""
    wanted = expected() if wanted is None else wanted
    by_id: dict[str, set[bytes]] = {}
    for headers, body in receiver.got:
        by_id.setdefault(headers["webhook-id"], set()).add(body)
    told: Counter[Pair] = Counter()
    wrong = 0
    for bodies in by_id.values():
        data = json.loads(next(iter(bodies)))["data"]
        told.update(map(_pair, data["pairs"]))
        wrong += sum(
            _is_wrong(row, data["key"], actor) for row in data["pairs"] if (actor := wanted.get(_pair(row)))
        )
    return Figures(
        pairs=len(wanted),
        lost=len(wanted.keys() - told.keys()),
        twice=sum(number - 1 for number in told.values()),
        wrong_incident=wrong,
        changed=sum(len(bodies) - 1 for bodies in by_id.values()),
        repeats=len(receiver.got) - len(by_id),
    )


def _pair(row: Mapping[str, str]) -> Pair:
    return row["ConfigId"], row["AbuseId"]


def _is_wrong(row: Mapping[str, str], key: Mapping[str, str], actor: str) -> bool:
    """Whether a pair is another's, or was told under another's key."""
    return row["ActorEmail"] != actor or key.get("Account", actor) != actor


def judge_counts(receiver: Receiver) -> Figures:
    """What a receiver was sent in a storm, against the number of pairs that had to be told."""
    by_id = {headers["webhook-id"]: json.loads(body) for headers, body in receiver.got}
    told = sum(
        message["data"]["pairs"]
        if message["type"] == "detection.alert.digest"
        else message["data"]["counts"]["pairs"]
        for message in by_id.values()
    )
    wanted = len(expected())
    return Figures(
        pairs=wanted,
        lost=max(wanted - told, 0),
        twice=max(told - wanted, 0),
        changed=len(set(receiver.bodies)) - len(by_id),
        repeats=len(receiver.got) - len(by_id),
    )


def wrong_incidents(index: Index, lookback: timedelta = DAY, now: datetime = FIRST + LAST * HOUR) -> int:
    """Alerts outside an incident of their key, incidents that do not add up, and a second accepting one of a key."""
    incidents = {incident.id: (key, incident) for key, incident in index.incidents()}
    alerts: dict[str, list[Alert]] = {}
    for alert in index.alerts():
        alerts.setdefault(alert.incident, []).append(alert)
    wrong = len(alerts.keys() - incidents.keys())
    accepting: Counter[object] = Counter()
    for name, (key, incident) in incidents.items():
        own = alerts.get(name, [])
        wrong += sum(dict(key) != alert.key for alert in own)
        wrong += (len(own), sum(one.counts.pairs for one in own)) != (incident.alerts, incident.pairs)
        accepting[key] += now <= incident.opened + lookback and incident.alerts < ALERTS_PER_INCIDENT
    return wrong + sum(number - 1 for number in accepting.values() if number > 1)


@contextmanager
def staged(
    proxy: TableProxy, api: QueryApi, receiver: Receiver, folder: Path, direct: str
) -> Iterator[Stage]:
    """A stage for one scenario, as if nobody had played on it."""
    proxy.reset()
    known = api.moment
    api.reset()
    stage = Stage(proxy, api, receiver, folder, direct)
    yield stage
    api.moment = known
