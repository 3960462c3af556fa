"""What becomes of a message under each fault of a receiver: sent by this job, and by others as their sources describe.

This job is the real deliverer over a table in memory. The others are models of what their code does, in simulated
seconds, with their default settings and in the light that is best for them; each says which functions it follows.

    prometheus/alertmanager 68fb2d57, webhook receiver; whoever feeds it goes on posting the alert
    jertel/elastalert2      1d88bb0e, http_post2, run_every of one minute
    airbnb/streamalert      75ba140d, Slack output: there is no plain webhook
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from detection.deliver import DEADLINE, Outcome, drain
from detection.incidents.outbox import Delivery, Outbox, queue
from detection.incidents.table import MemoryTable
from detection.webhook import outcome

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
END = 4 * DAY  # by then everybody has sent it or given up, or never will


# ------------------------------------------------------------------------------------------------------------ receivers


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver does with a request: whether it has taken the message, and what it says.

    No `status` is no answer: at once, or after so long as the sender waits where it `hangs`.
    """

    status: int | None = 200
    taken: bool = True
    hangs: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


Receiver = Callable[[float, int], Answer]  # by the time in seconds and the number of the request, from 0
FINE = Answer()


def then_fine(*answers: Answer) -> Receiver:
    """These answers, and from then on all is well."""
    return lambda _time, number: answers[number] if number < len(answers) else FINE


def for_an_hour(answer: Answer) -> Receiver:
    """So for an hour, and from then on all is well."""
    return lambda time, _number: answer if time < HOUR else FINE


def always(answer: Answer) -> Receiver:
    """So for ever."""
    return lambda _time, _number: answer


def refused(status: int, **headers: str) -> Answer:
    """An error, and the message is not taken."""
    return Answer(
        status, taken=False, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


UNREACHED = Answer(None, taken=False)
FAULTS: Mapping[str, Receiver] = {
    "nothing wrong": always(FINE),
    "500 for an hour": for_an_hour(refused(500)),
    "500 for a day": lambda time, _number: refused(500) if time < DAY else FINE,
    "500 forty times": then_fine(*[refused(500)] * 40),
    "429, Retry-After 90 s": lambda time, number: (
        refused(429, retry_after="90") if number == 0 or time < 90 else FINE
    ),
    "408 or 425 once": then_fine(refused(408)),
    "301 to another address": always(refused(301)),
    "410": always(refused(410)),
    "413": always(refused(413)),
    "hangs once, not taken": then_fine(Answer(None, taken=False, hangs=True)),
    "hangs for an hour, taken each time": for_an_hour(Answer(None, hangs=True)),
    "drops the connection after reading, once": then_fine(Answer(None)),
    "bad TLS or no DNS for an hour": for_an_hour(UNREACHED),
}


# ---------------------------------------------------------------------------------------------------------- what became


@dataclass(slots=True)
class Fate:
    """When a receiver took the message, how often it was asked, and how the sender ended: sent, dead, or nothing."""

    taken: list[float] = field(default_factory=list)
    asked: int = 0
    ended: str = ""
    stable_id: bool = True

    def ask(self, receiver: Receiver, time: float) -> Answer:
        """One request."""
        answer = receiver(time, self.asked)
        self.asked += 1
        if answer.taken:
            self.taken.append(time)
        return answer

    def __str__(self) -> str:
        if not self.taken:
            ends = {"dead": "dead letter, logged", "sent": "**lost**, believed sent"}
            return ends.get(self.ended, f"never; {self.ended}")
        first = f"after {_span(self.taken[0])}" if self.taken[0] else "at once"
        if len(self.taken) == 1:
            return f"once, {first}"
        return f"{len(self.taken)} times{', one id' if self.stable_id else ', no id'}"


def _span(seconds: float) -> str:
    for unit, name in ((HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


# -------------------------------------------------------------------------------------------------------------- senders


def this_job(receiver: Receiver) -> Fate:
    """The real deliverer: 60 s of patience in the run, then the timer of every five minutes."""
    fate, table = Fate(), MemoryTable()
    begin = datetime(2026, 6, 9, 12, tzinfo=UTC)
    now = begin

    def clock() -> datetime:
        return now

    def sleep(seconds: float) -> None:
        nonlocal now
        now += timedelta(seconds=seconds)

    class Wire:
        """The port Destination, with the receiver at its other end."""

        def send(self, _delivery: Delivery, _now: datetime) -> Outcome:
            answer = fate.ask(receiver, (now - begin).total_seconds())
            if answer.status is None:
                sleep(DEADLINE.total_seconds() if answer.hangs else 0)
                return Outcome(None, reason="no answer")
            return outcome(answer.status, answer.headers, now)

    table.write("rule", [queue(Delivery("al_1_soc", "soc", "in_1", 1, b"{}", begin, begin))])
    outbox = Outbox(table, "rule")
    patience = timedelta(minutes=1)
    while outbox.destinations() and now < begin + timedelta(seconds=END):
        list(drain(outbox, "soc", Wire(), clock, sleep, patience))
        sleep(5 * MINUTE)
        patience = timedelta(0)
    fate.ended = "dead" if list(outbox.dead()) else "sent"
    return fate


def alertmanager(receiver: Receiver) -> Fate:
    """dispatch.go aggrGroup.run, notify/retry_stage.go exec, notify/util.go Retrier.Check, notify/webhook/webhook.go.

    A flush every five minutes, after the first 30 s; in it, what is no answer or 5xx is retried after 0.5 s and
    half as long again each time, up to a minute, until the next flush. Any other status ends the flush. Redirects are
    followed, 301 as GET without the body. Without a timeout of its own a request hangs until the flush ends.
    """
    fate, time = Fate(stable_id=False), 30.0
    while time < END:
        deadline, wait = time + 5 * MINUTE, 0.5
        while time < deadline:
            answer = fate.ask(receiver, time)
            if answer.status is not None and answer.status < 400:
                fate.ended = "sent"
                return fate
            if answer.status is not None and answer.status < 500:
                break
            time = deadline if answer.hangs else time + wait
            wait = min(wait * 1.5, MINUTE)
        time = deadline
    fate.ended = "tried every 5 min without end"
    return fate


def elastalert(receiver: Receiver) -> Fate:
    """elastalert.py send_alert and send_pending_alerts, alerters/httppost2.py alert.

    At once and then every minute, for two days; every error is retried alike. Redirects are followed, 301 as GET.
    """
    fate, time = Fate(stable_id=False), 0.0
    while time < 2 * DAY:
        answer = fate.ask(receiver, time)
        if answer.status is not None and answer.status < 400:
            fate.ended = "sent"
            return fate
        time += MINUTE
    fate.ended = "given up after 2 days, silently"
    return fate


def streamalert(receiver: Receiver) -> Fate:
    """alert_processor/outputs/output_base.py, alert_merger/main.py _dispatch_alert, shared/alert_table.py.

    Within a minute, and then every two, without end; each time five tries in about 15 s where there was an answer or
    a timeout of 3.05 s, one where the connection broke. Redirects are followed, 301 as GET.
    """
    fate, dispatched = Fate(stable_id=False), 30.0
    while dispatched < END:
        time = dispatched
        for wait in (0.5, 1.0, 2.0, 4.0, 0.0):
            answer = fate.ask(receiver, time)
            if answer.status is not None and answer.status < 400:
                fate.ended = "sent"
                return fate
            if answer.status is None and not answer.hangs:
                break
            time += wait + (3.05 if answer.hangs else 0)
        dispatched += 2 * MINUTE
    fate.ended = "tried every 2 min without end"
    return fate


SENDERS: Mapping[str, Callable[[Receiver], Fate]] = {
    "this job": this_job,
    "Alertmanager": alertmanager,
    "ElastAlert2": elastalert,
    "StreamAlert": streamalert,
}


def table() -> str:
    """What becomes of a message, by fault and sender, as Markdown."""
    rows = [
        f"| {fault} | " + " | ".join(str(send(receiver)) for send in SENDERS.values()) + " |"
        for fault, receiver in FAULTS.items()
    ]
    head = f"| the receiver | {' | '.join(SENDERS)} |\n|---|{'---|' * len(SENDERS)}"
    return "\n".join([head, *rows]) + "\n"
