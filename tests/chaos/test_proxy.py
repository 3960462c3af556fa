"""The proxy before the table itself: what it calls beyond the service's limits, and what it does not."""

import socket
import time
from collections.abc import Callable

from tests.chaos.table_proxy import proxying

UNUSED_PORT = 1  # a port where no table service listens
TIMEOUT = 60  # seconds


def test_half_a_request_of_a_killed_process_reaches_nobody_and_breaks_no_limit() -> None:
    with proxying(UNUSED_PORT) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as killed:
        killed.sendall(b"POST /t/$batch HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\nhalf")
        killed.shutdown(socket.SHUT_WR)
        assert killed.recv(1) == b""  # closed, unanswered
    assert (proxy.requests, proxy.refused) == (0, [])


def test_transaction_without_operations_is_beyond_the_limits() -> None:
    with proxying(UNUSED_PORT) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"POST /t/$batch HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\nnone")
        _wait_until(lambda: proxy.requests == 1)
    assert proxy.refused == ["a transaction of 0 operations"]


def _wait_until(condition: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < TIMEOUT
        time.sleep(0.01)
