"""A webhook over real HTTP on this machine: requests, outcomes by answer, and no secret in any text."""

import base64
import logging
import socket
import ssl
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
import responses
from pydantic import SecretStr
from responses.matchers import request_kwargs_matcher
from standardwebhooks import Webhook as Reference
from standardwebhooks.webhooks import WebhookVerificationError

from detection.delivery.deliver import Outcome
from detection.delivery.webhook import (
    EVERY_FORMAT,
    HEARTBEAT_REFUSALS,
    THREAD,
    WebhookDestination,
    headers,
    open_destinations,
    outcome_of,
    parse_retry_after,
    request_heartbeat,
    signature,
)
from detection.settings import MessageFormat, Webhook
from detection.store.outbox import Delivery
from tests.support.azurite import free_port, self_signed
from tests.support.builders import START
from tests.support.receiver import (
    DROPPING,
    HANGING,
    HIDDEN,
    Answer,
    Handler,
    Receiver,
    dripping,
    raw,
    receiving,
    status,
)

KEY, OTHER_KEY = ("whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
BODY = '{"actor": "zoë", "n": 1.0}\n'.encode()
SHORT = timedelta(seconds=0.4)  # the deadline in tests without an answer
LONG = timedelta(seconds=60)  # the deadline in tests with an answer, even on a busy machine

DELIVERY = Delivery("al_1_soc", "soc", "in_1", 1, BODY, created=START, due=START, attempt=1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def destination(url: str, *secrets: str, deadline: timedelta = LONG) -> WebhookDestination:
    webhook = Webhook(url=SecretStr(url), secret=tuple(map(SecretStr, secrets)))
    return WebhookDestination(webhook, deadline)


def send(url: str, *secrets: str, deadline: timedelta = LONG) -> Outcome:
    """One attempt, now."""
    with closing(destination(url, *secrets, deadline=deadline)) as soc:
        return soc.send(DELIVERY, datetime.now(UTC))


# ----------------------------------------------------------------------------------------------- the request


def test_body_arrives_byte_for_byte_as_json(receiver: Receiver) -> None:
    assert send(receiver.url) == Outcome(204, sent=True)
    ((fields, body),) = receiver.requests
    assert body == BODY
    assert fields["content-type"] == "application/json"
    assert fields["user-agent"].startswith("openai-config-to-abuse/")


def test_reference_receiver_accepts_the_signature(receiver: Receiver) -> None:
    send(receiver.url, KEY)
    ((fields, body),) = receiver.requests
    assert Reference(KEY).verify(body, fields)["actor"] == "zoë"


@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
def test_while_rotating_both_secrets_are_accepted(receiver: Receiver, key: str) -> None:
    send(receiver.url, KEY, OTHER_KEY)
    ((fields, body),) = receiver.requests
    Reference(key).verify(body, fields)


@pytest.mark.parametrize("changed", ["webhook-id", "webhook-timestamp", "body", "secret"])
def test_reference_receiver_refuses_what_was_changed(receiver: Receiver, changed: str) -> None:
    send(receiver.url, KEY)
    ((fields, body),) = receiver.requests
    earlier = str(int(fields["webhook-timestamp"]) - 1)
    forged = {"webhook-id": {"webhook-id": "al_2"}, "webhook-timestamp": {"webhook-timestamp": earlier}}
    key = OTHER_KEY if changed == "secret" else KEY
    with pytest.raises(WebhookVerificationError):
        Reference(key).verify(body + b" " * (changed == "body"), fields | forged.get(changed, {}))


def test_without_a_secret_there_is_no_signature(receiver: Receiver) -> None:
    send(receiver.url)
    ((fields, _),) = receiver.requests
    assert "webhook-signature" not in fields
    assert fields["webhook-id"] == DELIVERY.id


def test_signature_is_that_of_the_standard() -> None:
    """The vector of the reference implementation's own tests."""
    signed = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_headers_have_the_names_of_the_standard() -> None:
    unsigned_headers = headers(DELIVERY, START, [])
    assert [*unsigned_headers] == ["content-type", "user-agent", "webhook-id", "webhook-timestamp"]
    assert [*headers(DELIVERY, START, [KEY])] == [*unsigned_headers, "webhook-signature"]


def test_attempts_differ_in_their_time_and_signature_only() -> None:
    first_headers, second_headers = (
        headers(DELIVERY, START + timedelta(seconds=passed), [KEY]) for passed in (0, 7)
    )
    differing = {name for name in first_headers if first_headers[name] != second_headers[name]}
    assert differing == {"webhook-timestamp", "webhook-signature"}
    assert int(second_headers["webhook-timestamp"]) - int(first_headers["webhook-timestamp"]) == 7


# ----------------------------------------------------------------------------------------- outcomes by answer


@pytest.mark.parametrize("code", [200, 201, 202, 299])
def test_success_is_sent(receiver: Receiver, code: int) -> None:
    receiver.default_answer = status(code)
    assert send(receiver.url) == Outcome(code, sent=True)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 409, 410, 413, 422, 499])
def test_refusal_is_final(receiver: Receiver, code: int) -> None:
    receiver.default_answer = status(code, retry_after="5")
    assert send(receiver.url) == Outcome(code, dead_reason=f"HTTP {code}")


@pytest.mark.parametrize("code", [408, 425, 429, 500, 501, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(receiver: Receiver, code: int) -> None:
    receiver.default_answer = status(code, retry_after="5")
    assert send(receiver.url) == Outcome(code, reason=f"HTTP {code}", retry_after=timedelta(seconds=5))


@pytest.mark.parametrize("code", [300, 301, 302, 303, 304, 307, 308])
def test_redirect_is_not_followed(receiver: Receiver, code: int) -> None:
    receiver.default_answer = status(code, location=receiver.url)
    assert send(receiver.url) == Outcome(code, dead_reason=f"HTTP {code}")
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("message_format, is_sent", [("teams", False), ("native", True)])
def test_success_with_an_error_of_teams_in_its_body_is_tried_again(
    receiver: Receiver, message_format: MessageFormat, is_sent: bool
) -> None:
    failure = b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ..."
    receiver.default_answer = raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(failure), failure)
    )
    webhook = Webhook(url=SecretStr(receiver.url), format=message_format)
    with closing(WebhookDestination(webhook, LONG)) as soc:
        outcome = soc.send(DELIVERY, START)
    assert (outcome.status, outcome.sent, outcome.dead_reason) == (200, is_sent, "")


def test_success_of_teams_is_sent(receiver: Receiver) -> None:
    receiver.default_answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1")
    webhook = Webhook(url=SecretStr(receiver.url), format="teams")
    with closing(WebhookDestination(webhook, LONG)) as soc:
        assert soc.send(DELIVERY, START) == Outcome(200, sent=True)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", zlib.compress(b"native"), zlib.compress(b"slack {}"), zlib.compress(b"\0" * 2**26)],
    ids=["empty", "not compressed", "no message", "no native message", "too large"],
)
def test_damaged_message_in_every_format_is_a_dead_letter(receiver: Receiver, content: bytes) -> None:
    damaged = replace(DELIVERY, body=EVERY_FORMAT + content)
    with closing(destination(receiver.url)) as soc:
        assert soc.send(damaged, START).dead_reason == "the stored message is damaged"
    assert receiver.requests == []


@pytest.mark.parametrize("code", [200, 302])
def test_body_without_end_is_not_read(receiver: Receiver, code: int) -> None:
    head = b"HTTP/1.1 %d x\r\nlocation: /\r\n\r\n" % code
    receiver.default_answer = dripping(head, b"x" * 2**16, every=0)
    assert send(receiver.url).status == code
    assert receiver.broken.wait(60)


@pytest.mark.parametrize(
    "value, wait",
    [
        (None, None),
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta(0)),
        (format_datetime(START + timedelta(minutes=2), usegmt=True), timedelta(minutes=2)),
        ("Mon, 02 Mar 2026 10:02:00 -0000", timedelta(minutes=2)),
        ("Mon, 02 Mar 2026 11:02:00 +0100", timedelta(minutes=2)),
        (format_datetime(START - timedelta(days=1), usegmt=True), timedelta(0)),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Mon, 02 Mar 2026 10:02:00 +9999", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, wait: timedelta | None) -> None:
    assert parse_retry_after(value, START) == wait


def test_retry_after_without_end_is_read_as_long() -> None:
    wait = outcome_of(503, {"retry-after": "9" * 10_000}, START).retry_after
    assert wait is not None
    assert timedelta(days=1) < wait < timedelta(days=30)


def test_retry_after_until_a_date_counts_from_the_attempt(receiver: Receiver) -> None:
    date = format_datetime(START + timedelta(minutes=2), usegmt=True)
    receiver.default_answer = status(503, retry_after=date)
    outcome = destination(receiver.url).send(DELIVERY, START)
    assert outcome == Outcome(503, reason="HTTP 503", retry_after=timedelta(minutes=2))


# ------------------------------------------------------------------------------------------ slow and too much


def test_receiver_that_never_answers_takes_the_deadline(receiver: Receiver) -> None:
    receiver.default_answer = HANGING
    assert send(receiver.url, deadline=SHORT) == Outcome(None, reason="no answer within 0.4 s")


def test_receiver_that_drips_its_headers_takes_the_deadline(receiver: Receiver) -> None:
    receiver.default_answer = dripping(b"HTTP/1.1 200 OK\r\nx-drip: ", b"x")
    assert send(receiver.url, deadline=SHORT) == Outcome(None, reason="no answer within 0.4 s")


def test_receiver_that_drips_its_body_has_answered(receiver: Receiver) -> None:
    receiver.default_answer = dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"x")
    assert send(receiver.url) == Outcome(200, sent=True)


def test_large_answer_is_not_read(receiver: Receiver) -> None:
    size = 20 * 2**20
    head = f"HTTP/1.1 500 Error\r\ncontent-length: {size}\r\n\r\n".encode()
    receiver.default_answer = raw(head + b"x" * size)
    assert send(receiver.url) == Outcome(500, reason="HTTP 500")
    assert receiver.broken.wait(LONG.total_seconds())


# -------------------------------------------------------------------------------------------------- no answer


def test_refused_connection_is_tried_again() -> None:
    assert send(f"http://127.0.0.1:{free_port()}/{HIDDEN}") == Outcome(None, reason="ConnectionError")


def test_unknown_host_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_names(monkeypatch)
    assert send(f"https://a.example/{HIDDEN}") == Outcome(None, reason="ConnectionError")


def test_certificate_that_nobody_signed_is_tried_again(tmp_path: Path) -> None:
    with _over_tls(tmp_path) as server:
        assert send(_https(server)) == Outcome(None, reason="SSLError")
        assert server.requests == []


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00" * 100, b"HTTP/1.1 abc OK\r\n\r\n"]
)
def test_answer_that_is_none_is_tried_again(receiver: Receiver, answer: bytes) -> None:
    receiver.default_answer = raw(answer)
    result = send(receiver.url)
    assert (result.sent, result.dead_reason, result.reason) == (False, "", "ConnectionError")


@responses.activate
def test_thread_of_an_attempt_ends_with_the_deadline_or_the_process() -> None:
    threads: list[threading.Thread] = []

    def answer(_request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        threads.append(threading.current_thread())
        return 204, {}, ""

    has_timeout = request_kwargs_matcher({"timeout": LONG.total_seconds()})
    responses.add_callback(responses.POST, f"https://a.example/{HIDDEN}", answer, match=[has_timeout])
    assert send(f"https://a.example/{HIDDEN}", deadline=LONG) == Outcome(204, sent=True)
    assert [thread.daemon for thread in threads] == [True]


@responses.activate
def test_whatever_else_is_raised_is_an_outcome() -> None:
    responses.post(f"https://a.example/{HIDDEN}", body=RuntimeError(f"https://a.example/{HIDDEN}"))
    assert send(f"https://a.example/{HIDDEN}") == Outcome(None, reason="RuntimeError")


@pytest.mark.parametrize(
    "head, drop",
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nx-a: ", b"b"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
)
def test_receiver_that_drips_its_headers_leaves_no_thread_and_no_connection(
    receiver: Receiver, head: bytes, drop: bytes
) -> None:
    receiver.default_answer = dripping(head, drop, every=0.02)
    attempts = 5
    for _ in range(attempts):
        assert send(receiver.url, deadline=SHORT / 2) == Outcome(None, reason="no answer within 0.2 s")
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(LONG.total_seconds())
            assert not thread.is_alive()
    assert receiver.broken.wait(LONG.total_seconds())  # the receiver cannot write any more


def test_tls_receiver_that_drips_its_headers_leaves_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _over_tls(tmp_path) as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
        server.default_answer = dripping(b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n", every=0.02)
        assert send(_https(server), deadline=SHORT) == Outcome(None, reason="no answer within 0.4 s")
        assert server.requests
        for thread in threading.enumerate():
            if thread.name == THREAD:
                thread.join(LONG.total_seconds())
                assert not thread.is_alive()


@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n",
    ],
)
@pytest.mark.parametrize("code", [200, 503])
def test_interim_answers_are_read_past(receiver: Receiver, interim: bytes, code: int) -> None:
    final = f"HTTP/1.1 {code} Final\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\nok".encode()
    receiver.default_answer = raw(interim + final)
    retried = Outcome(503, reason="HTTP 503", retry_after=timedelta(seconds=7))
    assert send(receiver.url) == (Outcome(200, sent=True) if code == 200 else retried)


def test_interim_answer_without_a_final_one_is_tried_again(receiver: Receiver) -> None:
    receiver.default_answer = raw(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert send(receiver.url) == Outcome(None, reason="ConnectionError")


# ------------------------------------------------------------------------------------------------ connections


@pytest.fixture
def keeping(receiver: Receiver) -> Receiver:
    """A receiver that keeps its connections for further requests."""
    receiver.keeps_connections = True
    return receiver


def send_all(url: str, *outcomes: Outcome, at_once: int = 1) -> None:
    """Makes attempts at one destination, some at the same time, and compares their outcomes."""
    webhook = Webhook(url=SecretStr(url))
    with (
        open_destinations([webhook]) as destinations,
        ThreadPoolExecutor(at_once) as executor,
    ):
        soc = destinations[webhook.name]
        assert not isinstance(soc, Outcome)
        attempts = [executor.submit(soc.send, DELIVERY, START) for _ in outcomes]
        assert [attempt.result() for attempt in attempts] == [*outcomes]


def chunked(*chunks: bytes) -> Answer:
    """An answer of unknown length, in chunks."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body)


@pytest.mark.parametrize(
    "answer",
    [status(204), status(200), status(503), chunked(b"ok", b"!")],
    ids=["204", "200", "503", "chunked"],
)
def test_messages_share_a_connection(keeping: Receiver, answer: Answer) -> None:
    keeping.default_answer = answer
    outcome = send(keeping.url)
    send_all(keeping.url, *[outcome] * 10)
    assert (len(keeping.requests), keeping.connections) == (11, 2)


def test_messages_at_the_same_time_have_a_connection_each(keeping: Receiver) -> None:
    barrier = threading.Barrier(4, timeout=LONG.total_seconds())

    def answer(handler: Handler) -> None:
        barrier.wait()
        status(204)(handler)

    keeping.default_answer = answer
    send_all(keeping.url, *[Outcome(204, sent=True)] * 20, at_once=4)
    assert (len(keeping.requests), keeping.connections) == (20, 4)


def test_message_after_a_long_answer_has_a_new_connection(keeping: Receiver) -> None:
    size = 2**20
    keeping.default_answer = raw(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode() + b"x" * size)
    send_all(keeping.url, *[Outcome(200, sent=True)] * 3)
    assert keeping.connections == 3


def test_message_after_an_unfinished_answer_has_a_new_connection(receiver: Receiver) -> None:
    receiver.default_answer = dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", b"x")
    send_all(receiver.url, *[Outcome(200, sent=True)] * 2)
    assert receiver.connections == 2


def test_message_after_the_deadline_has_a_new_connection(keeping: Receiver) -> None:
    keeping.answers = [status(204), HANGING]
    with closing(destination(keeping.url, deadline=SHORT)) as soc:
        outcomes = [soc.send(DELIVERY, START) for _ in range(3)]
    assert [outcome.sent for outcome in outcomes] == [True, False, True]
    assert keeping.connections == 2


def test_receiver_that_closes_a_connection_unannounced_gets_the_message_through_a_new_connection(
    receiver: Receiver,
) -> None:
    receiver.default_answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    send_all(receiver.url, *[Outcome(200, sent=True)] * 10)
    assert receiver.connections >= 10


def test_receiver_that_drops_a_new_connection_gets_the_message_once_in_an_attempt(receiver: Receiver) -> None:
    receiver.default_answer = DROPPING
    send_all(receiver.url, *[Outcome(None, reason="ConnectionError")] * 3)
    assert len(receiver.requests) == 3


def test_message_that_meets_a_dropped_connection_is_sent_again_once(keeping: Receiver) -> None:
    """The receiver reads the second message from the connection of the first, and answers nothing."""

    def drop(handler: Handler) -> None:
        handler.close_connection = True

    keeping.answers = [status(204), drop]
    send_all(keeping.url, *[Outcome(204, sent=True)] * 2)
    assert (len(keeping.requests), keeping.connections) == (3, 2)


# -------------------------------------------------------------------------------------------------- heartbeat


def test_heartbeat_is_a_get_request_and_succeeds_by_its_answer(receiver: Receiver) -> None:
    methods: list[str] = []

    def answer(handler: Handler) -> None:
        methods.append(handler.command)
        status(200)(handler)

    receiver.default_answer = answer

    assert request_heartbeat(SecretStr(receiver.url), LONG.total_seconds()) == ""
    assert methods == ["GET"]


@pytest.mark.parametrize("body", HEARTBEAT_REFUSALS)
def test_heartbeat_fails_by_a_body_that_refuses_it(receiver: Receiver, body: bytes) -> None:
    receiver.default_answer = raw(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    failure = request_heartbeat(SecretStr(receiver.url), LONG.total_seconds())

    assert failure == f"HTTP 200, whose body is {body.decode()}"


# ---------------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(status(200), id="sent"),
        pytest.param(status(404), id="refused"),
        pytest.param(status(503), id="failing"),
        pytest.param(status(302, location=f"/{HIDDEN}"), id="redirect"),
        pytest.param(raw(b""), id="no answer"),
        pytest.param(raw(b"HTTP/1.1 200 OK\r\n: \r\nbroken\r\nx\r\n\r\n"), id="broken headers"),
        pytest.param(HANGING, id="hanging"),
    ],
)
def test_no_secret_is_logged_or_told(
    receiver: Receiver,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    receiver.default_answer = answer
    _send_without_leak(receiver.url, caplog, capfd, SHORT if answer is HANGING else LONG)


def test_no_secret_is_logged_or_told_of_a_host_that_is_none(
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _without_names(monkeypatch)
    assert not _send_without_leak(f"https://{HIDDEN}.example/{HIDDEN}", caplog, capfd).sent


def test_no_secret_is_logged_or_told_of_a_bad_certificate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with _over_tls(tmp_path) as server:
        _send_without_leak(_https(server), caplog, capfd)


def _send_without_leak(
    url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], deadline: timedelta = LONG
) -> Outcome:
    """Makes an attempt with all logging on; nothing of it shows the URL or the key."""
    with caplog.at_level(logging.DEBUG):
        result = send(url, KEY, deadline=deadline)
    shown = f"{result!r} {caplog.text} {''.join(capfd.readouterr())}"
    assert HIDDEN not in shown
    assert KEY.removeprefix("whsec_") not in shown
    return result


def _without_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No host has an address."""

    def getaddrinfo(host: str, *_args: object, **_options: object) -> object:
        host.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@contextmanager
def _over_tls(folder: Path) -> Iterator[Receiver]:
    """A receiver with a certificate that is not trusted."""
    certificate, key = self_signed(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Receiver()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with receiving(server):
        yield server


def _https(server: Receiver) -> str:
    return server.url.replace("http://", "https://")
