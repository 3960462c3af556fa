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

from detection.delivery.deliver import DEADLINE, Outcome, drain
from detection.delivery.webhook import outcome_of
from detection.store.outbox import Delivery, Outbox, queue
from detection.store.table import MemoryTable

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
END = 4 * DAY  # by then everybody has sent it or given up, or never will


# ------------------------------------------------------------------------------------------------------------ receivers


@dataclass(frozen=True, slots=True)
class ReceiverResponse:
    """What a receiver does with a request: whether it has taken the message, and what it says.

    No `status` is no answer: at once, or after so long as the sender waits where it `hangs`.
    """

    status: int | None = 200
    accepted: bool = True
    hangs: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


ReceiverModel = Callable[
    [float, int], ReceiverResponse
]  # by the time in seconds and the number of the request, from 0
ACCEPTED = ReceiverResponse()


def then_accepts(*responses: ReceiverResponse) -> ReceiverModel:
    """These answers, and from then on all is well."""
    return lambda _time, number: responses[number] if number < len(responses) else ACCEPTED


def for_an_hour(response: ReceiverResponse) -> ReceiverModel:
    """So for an hour, and from then on all is well."""
    return lambda time, _number: response if time < HOUR else ACCEPTED


def always(response: ReceiverResponse) -> ReceiverModel:
    """So for ever."""
    return lambda _time, _number: response


def refusal(status: int, **headers: str) -> ReceiverResponse:
    """An error, and the message is not taken."""
    return ReceiverResponse(
        status, accepted=False, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


UNREACHABLE = ReceiverResponse(None, accepted=False)
FAULTS: Mapping[str, ReceiverModel] = {
    "nothing wrong": always(ACCEPTED),
    "500 for an hour": for_an_hour(refusal(500)),
    "500 for a day": lambda time, _number: refusal(500) if time < DAY else ACCEPTED,
    "500 forty times": then_accepts(*[refusal(500)] * 40),
    "429, Retry-After 90 s": lambda time, number: (
        refusal(429, retry_after="90") if number == 0 or time < 90 else ACCEPTED
    ),
    "408 or 425 once": then_accepts(refusal(408)),
    "301 to another address": always(refusal(301)),
    "410": always(refusal(410)),
    "413": always(refusal(413)),
    "hangs once, not accepted": then_accepts(ReceiverResponse(None, accepted=False, hangs=True)),
    "hangs for an hour, accepted each time": for_an_hour(ReceiverResponse(None, hangs=True)),
    "drops the connection after reading, once": then_accepts(ReceiverResponse(None)),
    "bad TLS or no DNS for an hour": for_an_hour(UNREACHABLE),
}


# ---------------------------------------------------------------------------------------------------------- what became


@dataclass(slots=True)
class SendResult:
    """When a receiver took the message, how often it was asked, and how the sender ended: sent, dead, or nothing."""

    accepted_at: list[float] = field(default_factory=list)
    requests: int = 0
    ending: str = ""
    stable_id: bool = True

    def send_request(self, receiver: ReceiverModel, time: float) -> ReceiverResponse:
        """One request."""
        response = receiver(time, self.requests)
        self.requests += 1
        if response.accepted:
            self.accepted_at.append(time)
        return response

    def __str__(self) -> str:
        if not self.accepted_at:
            endings = {"dead": "dead letter, logged", "sent": "**lost**, believed sent"}
            return endings.get(self.ending, f"never; {self.ending}")
        first_time = f"after {_duration_text(self.accepted_at[0])}" if self.accepted_at[0] else "at once"
        if len(self.accepted_at) == 1:
            return f"once, {first_time}"
        return f"{len(self.accepted_at)} times{', one id' if self.stable_id else ', no id'}"


def _duration_text(seconds: float) -> str:
    for unit, name in ((HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


# -------------------------------------------------------------------------------------------------------------- senders


def this_job(receiver: ReceiverModel) -> SendResult:
    """The real deliverer: 60 s of patience in the run, then the timer of every five minutes."""
    result, table = SendResult(), MemoryTable()
    begin = datetime(2026, 6, 9, 12, tzinfo=UTC)
    now = begin

    def clock() -> datetime:
        return now

    def sleep(seconds: float) -> None:
        nonlocal now
        now += timedelta(seconds=seconds)

    class ReceiverDestination:
        """The port Destination, with the receiver at its other end."""

        def send(self, _delivery: Delivery, _now: datetime) -> Outcome:
            response = result.send_request(receiver, (now - begin).total_seconds())
            if response.status is None:
                sleep(DEADLINE.total_seconds() if response.hangs else 0)
                return Outcome(None, reason="no answer")
            return outcome_of(response.status, response.headers, now)

    table.write("rule", [queue(Delivery("al_1_soc", "soc", "in_1", 1, b"{}", begin, begin))])
    outbox = Outbox(table, "rule")
    drain_for = timedelta(minutes=1)
    while outbox.destinations() and now < begin + timedelta(seconds=END):
        drain(outbox, "soc", ReceiverDestination(), clock, sleep, drain_for, lambda _: None)
        sleep(5 * MINUTE)
        drain_for = timedelta(0)
    result.ending = "dead" if list(outbox.dead_letters()) else "sent"
    return result


def alertmanager(receiver: ReceiverModel) -> SendResult:
    """dispatch.go aggrGroup.run, notify/retry_stage.go exec, notify/util.go Retrier.Check, notify/webhook/webhook.go.

    A flush every five minutes, after the first 30 s; in it, what is no answer or 5xx is retried after 0.5 s and
    half as long again each time, up to a minute, until the next flush. Any other status ends the flush. Redirects are
    followed, 301 as GET without the body. Without a timeout of its own a request hangs until the flush ends.
    """
    result, time = SendResult(stable_id=False), 30.0
    while time < END:
        deadline, wait = time + 5 * MINUTE, 0.5
        while time < deadline:
            response = result.send_request(receiver, time)
            if response.status is not None and response.status < 400:
                result.ending = "sent"
                return result
            if response.status is not None and response.status < 500:
                break
            time = deadline if response.hangs else time + wait
            wait = min(wait * 1.5, MINUTE)
        time = deadline
    result.ending = "tried every 5 min without end"
    return result


def elastalert(receiver: ReceiverModel) -> SendResult:
    """elastalert.py send_alert and send_pending_alerts, alerters/httppost2.py alert.

    At once and then every minute, for two days; every error is retried alike. Redirects are followed, 301 as GET.
    """
    result, time = SendResult(stable_id=False), 0.0
    while time < 2 * DAY:
        response = result.send_request(receiver, time)
        if response.status is not None and response.status < 400:
            result.ending = "sent"
            return result
        time += MINUTE
    result.ending = "given up after 2 days, silently"
    return result


def streamalert(receiver: ReceiverModel) -> SendResult:
    """alert_processor/outputs/output_base.py, alert_merger/main.py _dispatch_alert, shared/alert_table.py.

    Within a minute, and then every two, without end; each time five tries in about 15 s where there was an answer or
    a timeout of 3.05 s, one where the connection broke. Redirects are followed, 301 as GET.
    """
    result, dispatched = SendResult(stable_id=False), 30.0
    while dispatched < END:
        time = dispatched
        for wait in (0.5, 1.0, 2.0, 4.0, 0.0):
            response = result.send_request(receiver, time)
            if response.status is not None and response.status < 400:
                result.ending = "sent"
                return result
            if response.status is None and not response.hangs:
                break
            time += wait + (3.05 if response.hangs else 0)
        dispatched += 2 * MINUTE
    result.ending = "tried every 2 min without end"
    return result


SENDERS: Mapping[str, Callable[[ReceiverModel], SendResult]] = {
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
