"""The receiver: every way to answer badly, or not at all. What can pass is tried again; what cannot is a dead letter."""

import json
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Lock

import pytest

from detection.app import open_job
from detection.delivery.deliver import SENDERS, WAITS
from detection.settings import settings_from
from detection.store.incident_list import IncidentList
from tests.chaos.scenarios import FAULT_HOUR, EnterFigures, chaos_only, enter, marked_parameters, slow_only
from tests.chaos.stage import LAST, Stage, evaluate_messages
from tests.chaos.table_proxy import Forward, TableRequest, TableResponse
from tests.chaos.world import FIRST_RUN, HOUR
from tests.support.azurite import self_signed
from tests.support.receiver import (
    DROPPING,
    HANGING,
    Answer,
    Handler,
    Receiver,
    dripping,
    raw,
    receiving,
    status,
)

__all__ = ["enter"]
RETRY_TIME = FIRST_RUN + FAULT_HOUR * HOUR + timedelta(seconds=30)
HUGE = b"HTTP/1.1 200 OK\r\ncontent-length: 20971520\r\n\r\n" + b"x" * 20_971_520
# A moment of each fault: the answers to the first messages, then all is well; and the reason that is logged if a
# message is sent again.
FINAL = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
MESSAGES = 4  # of the run of that hour
PASSING: dict[str, tuple[list[Answer], str]] = {
    "500 three times": ([status(500)] * 3, "HTTP 500"),
    "408, 425": ([status(408), status(425)], "HTTP 425"),
    "429, Retry-After 20 s": ([status(429, retry_after="20")], "HTTP 429"),
    "429, Retry-After a date": (
        [status(429, retry_after=format_datetime(RETRY_TIME, usegmt=True))],
        "HTTP 429",
    ),
    "dropped after reading": ([DROPPING], "ConnectionError"),
    "an answer that is none": ([raw(b"SSH-2.0-OpenSSH_9.6\r\n")], "ConnectionError"),
    "a 20 MB answer": ([raw(HUGE)] * MESSAGES, ""),
    "103 before 200": ([raw(EARLY_HINTS + FINAL)] * MESSAGES, ""),
    "102 and 103 before 200": ([raw(PROCESSING + EARLY_HINTS + FINAL)] * MESSAGES, ""),
    "103 without a final answer": ([raw(EARLY_HINTS)], "ConnectionError"),
}
SLOW: dict[str, Answer] = {
    "hangs": HANGING,
    "one byte a second": dripping(b"HTTP/1.1 200 OK\r\nx-drip: ", b"x", every=1),
}
ATTEMPTS = 10
PERMANENT = [301, 302, 307, 400, 401, 404, 410, 413]


def _requeue(stage: Stage) -> None:
    """What an operator does when the receiver is well again: `deliver --retry-dead`."""
    now = FIRST_RUN + LAST * HOUR
    open_job(settings_from(stage.environment), lambda: now).requeue()


@pytest.mark.parametrize(
    "name",
    marked_parameters(PASSING, always=("dropped after reading", "103 before 200"), slow=("a 20 MB answer",)),
)
def test_passing(stage: Stage, enter: EnterFigures, name: str) -> None:
    stage.runs(0, 1)
    answers, cause = PASSING[name]
    stage.receiver.answers = list(answers)
    assert stage.run(FAULT_HOUR, cause=cause) == 0
    assert stage.figures.fault.requests["webhook"] == MESSAGES + (len(answers) if cause else 0)
    stage.runs(FAULT_HOUR + 1)
    figures = stage.evaluate()
    assert figures.dead_letters == 0
    enter(f"webhook: {name}", figures)


@pytest.mark.parametrize("wait", ["429, Retry-After 20 s", "429, Retry-After a date"])
def test_retry_after_is_waited_for(stage: Stage, wait: str) -> None:
    stage.runs(0, 1)
    sent_before = len(stage.receiver.requests)
    stage.receiver.answers = list(PASSING[wait][0])
    stage.runs(FAULT_HOUR, FAULT_HOUR)
    stamps = [int(headers["webhook-timestamp"]) for headers in stage.receiver.headers[sent_before:]]
    ids = [headers["webhook-id"] for headers in stage.receiver.headers[sent_before:]]
    [limited_id] = [message_id for message_id, count in Counter(ids).items() if count == 2]
    first_stamp, second_stamp = (
        stamp for stamp, message_id in zip(stamps, ids, strict=True) if message_id == limited_id
    )
    assert 18 <= second_stamp - first_stamp <= 40


@chaos_only
@pytest.mark.parametrize("name", SLOW)
def test_slow(stage: Stage, enter: EnterFigures, name: str) -> None:
    stage.runs(0, 1)
    stage.receiver.answers = [SLOW[name]]
    assert stage.run(FAULT_HOUR, cause="no answer within 15 s") == 0
    stage.runs(FAULT_HOUR + 1)
    enter(f"webhook: {name}", stage.evaluate())


@chaos_only
def test_headers_that_drip_leave_no_thread_and_no_connection(stage: Stage, enter: EnterFigures) -> None:
    drip = _Drip(b"HTTP/1.1 200 OK\r\nx-drip: ")
    stage.runs(0, 1)
    stage.receiver.answers = [drip] * ATTEMPTS
    assert stage.run(FAULT_HOUR, cause="no answer within 1 s", hasty=True) == 0
    assert stage.figures.fault.requests["webhook"] == MESSAGES + ATTEMPTS
    assert drip.most_open <= 2 * SENDERS  # a connection may end while the next begins
    stage.runs(FAULT_HOUR + 1)
    enter("webhook: headers that drip, ten times", stage.evaluate())


class _Drip:
    """An answer that drips, and counts the connections on which it does so at once."""

    def __init__(self, head: bytes) -> None:
        self._answer = dripping(head, b"x")
        self._lock, self._open = Lock(), 0
        self.most_open = 0

    def __call__(self, handler: Handler) -> None:
        with self._lock:
            self._open += 1
            self.most_open = max(self.most_open, self._open)
        try:
            self._answer(handler)
        finally:
            with self._lock:
                self._open -= 1


@slow_only
def test_500_forty_times(stage: Stage, enter: EnterFigures) -> None:
    """For some hours: forty attempts at the messages of one run, and then all goes through."""
    stage.runs(0, 1)
    stage.receiver.answers = [status(500)] * 40
    for hour in range(FAULT_HOUR, LAST + 1):
        assert stage.run(hour, cause="HTTP 500") == 0
    for hour in range(LAST + 1, LAST + 8):
        assert stage.run(hour, "deliver") == 0
    enter("webhook: 500 forty times", stage.evaluate())


@chaos_only
def test_500_until_all_is_given_up_and_then_revived(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    stage.receiver.default_answer = status(500)
    for hour in range(FAULT_HOUR, LAST + 1):
        assert stage.run(hour, cause="HTTP 500") == 0
    for step in range(1, 400):
        assert stage.run(LAST + step / 4, "deliver") == 0
        if not stage.outbox.destinations():
            break
    dead = [
        line for line in stage.lines if line["event"] == "detection.delivery" and line["outcome"] == "dead"
    ]
    assert len(dead) == len(list(stage.outbox.dead_letters())) > 0
    assert {line["attempt"] for line in dead} == {len(WAITS) + 1}
    stage.receiver.default_answer = status(204)
    _requeue(stage)
    assert stage.run(LAST + 101, "deliver") == 0
    enter("webhook: 500 for days, revived", stage.evaluate())


@pytest.mark.parametrize("code", marked_parameters(PERMANENT, always=(410,)))
def test_permanent_refusal_is_a_dead_letter_loudly_and_can_be_revived(
    stage: Stage, enter: EnterFigures, code: int
) -> None:
    stage.runs(0, 1)
    stage.receiver.default_answer = status(code, location=stage.receiver.url)
    assert stage.run(FAULT_HOUR, cause=f"HTTP {code}") == 0
    assert stage.figures.fault.requests["webhook"] == MESSAGES
    dead = [line for line in stage.lines if line["event"] == "detection.delivery"]
    assert {(line["outcome"], line["status"]) for line in dead} == {("dead", code)}
    assert len(list(stage.outbox.dead_letters())) == len(dead) == 4
    stage.receiver.default_answer = status(204)
    _requeue(stage)
    stage.runs(FAULT_HOUR + 1)
    assert not list(stage.outbox.dead_letters())
    enter("webhook: refused for good, revived", stage.evaluate())


# ------------------------------------------------------------------------------------------------ not to be reached


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[Receiver]:
    """A receiver over TLS whose certificate nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path))
    server = Receiver()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with receiving(server):
        yield server


@slow_only
def test_bad_certificate(stage: Stage, enter: EnterFigures, untrusted: Receiver) -> None:
    stage.runs(0, 1)
    stage.settings["WEBHOOK_URL"] = untrusted.url.replace("http:", "https:")
    assert stage.run(FAULT_HOUR, cause="SSLError") == 0
    assert untrusted.requests == []
    del stage.settings["WEBHOOK_URL"]
    stage.runs(FAULT_HOUR + 1)
    enter("webhook: bad TLS for an hour", stage.evaluate())


@slow_only
def test_host_without_an_address(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    stage.settings["WEBHOOK_URL"] = "https://nowhere.invalid/hook"
    assert stage.run(FAULT_HOUR, cause="ConnectionError") == 0
    assert {line["reason"] for line in stage.lines if line["event"] == "detection.delivery"} == {
        "ConnectionError"
    }
    del stage.settings["WEBHOOK_URL"]
    stage.runs(FAULT_HOUR + 1)
    enter("webhook: no DNS for an hour", stage.evaluate())


@chaos_only
def test_ca_bundle_vanishes_during_a_run(
    stage: Stage, enter: EnterFigures, untrusted: Receiver, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.touch()

    def remove(request: TableRequest, forward: Forward) -> TableResponse:
        bundle.unlink(missing_ok=True)
        return forward(request)

    stage.runs(0, 1)
    stage.proxy.fault = remove
    stage.settings |= {
        "WEBHOOK_URL": untrusted.url.replace("http:", "https:"),
        "REQUESTS_CA_BUNDLE": str(bundle),
    }
    assert stage.run(FAULT_HOUR, cause="REQUESTS_CA_BUNDLE") == 0
    assert untrusted.requests == []
    stage.settings.clear()
    stage.runs(FAULT_HOUR + 1)
    enter("webhook: the CA bundle vanishes during a run", stage.evaluate())


# ----------------------------------------------------------------------------------------------------- the heartbeat


@chaos_only
def test_heartbeat_drips_its_headers(stage: Stage, enter: EnterFigures) -> None:
    stage.runs(0, 1)
    with receiving() as receiver:
        stage.neighbours["heartbeat"] = lambda: len(receiver.requests)
        receiver.default_answer = dripping(b"HTTP/1.1 200 OK\r\nx-drip: ", b"x")
        stage.settings["HEARTBEAT_URL"] = receiver.url
        assert stage.run(FAULT_HOUR, cause="no answer within", hasty=True) == 0
        assert receiver.broken.wait(10)
    assert stage.figures.fault.requests["heartbeat"] == 1
    stage.settings.clear()
    stage.runs(FAULT_HOUR + 1)
    enter("heartbeat: headers that drip", stage.evaluate())


# ----------------------------------------------------------------------------------------------- several destinations


def _use_two_destinations(stage: Stage, second_receiver: Receiver) -> None:
    hooks = [{"name": "soc", "url": stage.receiver.url}, {"name": "pager", "url": second_receiver.url}]
    stage.settings |= {"WEBHOOK_URL": "", "WEBHOOK_SECRET": "", "WEBHOOKS": json.dumps(hooks)}


@pytest.mark.parametrize(
    "answer",
    [pytest.param(status(500), marks=slow_only), pytest.param(HANGING, marks=chaos_only)],
    ids=["dead", "hanging"],
)
def test_one_destination_is_ill_and_the_other_does_not_notice(
    stage: Stage, enter: EnterFigures, answer: Callable[..., None]
) -> None:
    with receiving() as second_receiver:
        _use_two_destinations(stage, second_receiver)
        stage.receiver.default_answer = answer
        for hour in (0, 1, FAULT_HOUR):
            cause = "no answer within" if answer is HANGING else "HTTP 500"
            assert stage.run(hour, cause=cause, patient=answer is HANGING) == 0
            figures = evaluate_messages(second_receiver)
            alerted_pairs = sum(
                alert.counts.pairs for alert in IncidentList(stage.store.table, stage.store.rule).alerts()
            )
            assert (
                figures.pairs - figures.lost == alerted_pairs
            )  # the well one has everything that is known by now
        stage.receiver.default_answer = status(204)
        stage.runs(FAULT_HOUR + 1)
        assert evaluate_messages(second_receiver).repeats == 0
        enter(
            "webhook: one of two destinations ill for hours",
            stage.evaluate([stage.receiver, second_receiver]),
        )
