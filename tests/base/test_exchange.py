"""Services that drip: every byte comes in time, and the exchange still ends by its deadline. Over real HTTP."""

import gzip
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest
import requests

from detection.base import exchange as exchange_module
from detection.base import sign_in as sign_in_module
from detection.base.errors import Incomplete, ServiceError, Unreachable
from detection.base.exchange import Exchange
from detection.base.sessions import Session
from detection.base.sign_in import PUBLIC_CLOUD, sign_in
from detection.logs.log_analytics import client as query_client
from detection.logs.log_analytics.client import open_log_analytics
from detection.logs.log_analytics.splitting import QueryUnfinished
from detection.store import azure_table
from detection.store.azure_table import SETTINGS, open_table
from detection.store.table import Table
from tests.support.azurite import connection_string
from tests.support.receiver import Answer, Handler, Receiver, dripping, raw, receiving, status
from tests.support.table_calls import read_row, scan_rows, write_row

EVERY = 0.03  # seconds from one byte to the next: less than every time-out
HALF_DEADLINE = 0.15  # seconds
# Without a deadline, the body would be complete after some seconds.
BODY = dripping(
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 300\r\n\r\n", b" ", EVERY
)
BODY_UP_TO_THE_END = dripping(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", b" ", EVERY)
HEADERS = dripping(b"HTTP/1.1 200 OK\r\nx-drip: ", b"x", EVERY)
BODIES = pytest.mark.parametrize("answer", [BODY, BODY_UP_TO_THE_END], ids=["length", "close"])
ANSWERS = pytest.mark.parametrize(
    "answer", [BODY, BODY_UP_TO_THE_END, HEADERS], ids=["length", "close", "headers"]
)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A service on this machine, with which an exchange takes 0.3 seconds at most."""
    for module in (azure_table, query_client, sign_in_module):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", HALF_DEADLINE)
        monkeypatch.setattr(module, "READ_TIMEOUT", HALF_DEADLINE)
    monkeypatch.setattr(query_client, "LONGEST_REQUEST", 2 * HALF_DEADLINE)
    monkeypatch.setattr(azure_table, "LONGEST_CALL", 1)
    monkeypatch.setitem(SETTINGS, "retry_backoff_factor", 0)
    with receiving() as server:
        yield server


@ANSWERS
@pytest.mark.parametrize("call", [read_row, scan_rows, write_row])
def test_table_that_drips_is_unreachable(
    service: Receiver, answer: Callable[[Handler], None], call: Callable[[Table], None]
) -> None:
    service.default_answer = answer
    with pytest.raises(Unreachable):
        call(open_table(connection_string(service.server_port), "incidents", None))
    assert service.broken.wait(60)


def test_table_that_does_not_answer_is_not_asked_again_after_the_time_of_a_call(
    service: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "timeout", 0.1)
    service.default_answer = HEADERS
    with pytest.raises(Unreachable):
        read_row(open_table(connection_string(service.server_port), "incidents", None))
    assert len(service.requests) == 1


def query(service: Receiver) -> None:
    endpoint = f"http://127.0.0.1:{service.server_port}"
    logs = open_log_analytics([str(UUID(int=1))], endpoint, None, lambda: datetime(2026, 6, 9, tzinfo=UTC))
    logs.run_query("signals", "print 1", seconds=HALF_DEADLINE)


@BODIES
def test_query_whose_answer_drips_is_unfinished(service: Receiver, answer: Callable[[Handler], None]) -> None:
    service.default_answer = answer
    with pytest.raises(QueryUnfinished) as caught:
        query(service)
    assert (
        type(caught.value) is QueryUnfinished
    )  # not an answer that is unreadable: its rows would be skipped
    assert isinstance(caught.value.failure, Incomplete)
    assert service.broken.wait(60)


def test_query_whose_headers_drip_gets_no_answer(service: Receiver) -> None:
    service.default_answer = HEADERS
    with pytest.raises((QueryUnfinished, ServiceError)):
        query(service)
    assert service.broken.wait(60)


@ANSWERS
def test_identity_endpoint_that_drips_is_unreachable(
    service: Receiver, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Handler], None]
) -> None:
    service.default_answer = answer
    monkeypatch.setattr(sign_in_module, "LONGEST_PAUSE", 0)
    monkeypatch.setenv("IDENTITY_ENDPOINT", service.url)
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    with pytest.raises(Unreachable, match="gets no answer"):
        sign_in("client", PUBLIC_CLOUD).get_token("https://storage.azure.com/.default")
    assert service.broken.wait(60)


@contextmanager
def conversation(*replies: bytes, drop: bytes = b"") -> Iterator[int]:
    """A port that answers each message of one connection with the next of the replies, and then drips."""
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for reply in replies:
                    connection.recv(2**16)
                    connection.sendall(reply)
                try:
                    while drop and not stopped.wait(EVERY):
                        connection.sendall(drop)
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopped.set()
            thread.join()


def test_connection_from_the_pool_is_cut_too() -> None:
    complete = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    drips = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
    with conversation(complete, drips, drop=b" ") as port, Session(2 * HALF_DEADLINE) as session:
        url = f"http://127.0.0.1:{port}/"
        assert session.get(url, timeout=60).text == "ok"
        with pytest.raises(requests.Timeout):
            session.get(url, timeout=60)


def test_tls_handshake_that_drips_is_cut() -> None:
    record = b"\x16\x03\x03\x40\x00"  # the head of a record of 16 KiB
    with (
        conversation(record, drop=b"\x00") as port,
        Session(2 * HALF_DEADLINE) as session,
        pytest.raises(requests.Timeout),
    ):
        session.get(f"https://127.0.0.1:{port}/", timeout=60)


def test_connection_that_is_made_after_the_deadline_sends_nothing(service: Receiver) -> None:
    def send_late() -> None:
        with Exchange(0) as exchange, Session(60) as session:
            while not exchange.is_cut:
                pass
            session.get(service.url, timeout=60)

    with pytest.raises(requests.Timeout):
        send_late()
    assert service.requests == []


def test_deadline_of_an_exchange_ends_with_it(service: Receiver) -> None:
    service.default_answer = status(200)
    with Session(60) as session:
        assert session.get(service.url, timeout=60).ok
    timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(timer.finished.is_set() for timer in timers)


# ---------------------------------------------------------------------------------------------- size of bodies


def inflating(size: int, *, chunked: bool) -> Answer:
    """Answers with JSON that has this size after decompression, and a thousandth of it before."""
    body = gzip.compress(b"[" + b" " * (size - 2) + b"]")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
    if chunked:
        return raw(head + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    return raw(head + b"content-length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture
def small_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange_module, "BODY_BYTES", 2**20)


CHUNKED = pytest.mark.parametrize("chunked", [False, True])


@CHUNKED
@pytest.mark.usefixtures("small_bodies")
def test_body_that_inflates_beyond_the_limit_is_not_read_further(service: Receiver, chunked: bool) -> None:
    with Session(60) as session:
        service.default_answer = inflating(2**20, chunked=chunked)
        assert len(session.get(service.url).content) == 2**20
        service.default_answer = inflating(2**28, chunked=chunked)
        tracemalloc.start()
        try:
            with pytest.raises(requests.exceptions.ContentDecodingError):
                session.get(service.url)
            assert tracemalloc.get_traced_memory()[1] < 2**24
        finally:
            tracemalloc.stop()


@CHUNKED
@pytest.mark.usefixtures("small_bodies")
def test_rows_that_inflate_beyond_the_limit_are_an_error_of_the_service(
    service: Receiver, chunked: bool
) -> None:
    service.default_answer = inflating(2**22, chunked=chunked)
    with pytest.raises(ServiceError):
        read_row(open_table(connection_string(service.server_port), "incidents", None))


@CHUNKED
@pytest.mark.usefixtures("small_bodies")
def test_answer_that_inflates_beyond_the_limit_is_split(service: Receiver, chunked: bool) -> None:
    service.default_answer = inflating(2**22, chunked=chunked)
    endpoint = f"http://127.0.0.1:{service.server_port}"
    logs = open_log_analytics([str(UUID(int=1))], endpoint, None, lambda: datetime(2026, 6, 9, tzinfo=UTC))
    with pytest.raises(QueryUnfinished):
        logs.run_query("signals", "print 1", seconds=5)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(service: Receiver, code: int) -> None:
    service.default_answer = status(code, location=service.url)
    with Session(60) as session:
        assert session.get(service.url).status_code == code
    assert len(service.requests) == 1
