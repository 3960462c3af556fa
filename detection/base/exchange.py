"""A deadline on whole exchanges with a service: connecting, sending, and reading the answer. A limit of size.

The timeouts of `requests` start anew with every byte, so a service that drips its answer never times out.
Nothing ends the search for the address of a host; a connection that is made after the deadline is cut.
"""

import http.client
import socket
from collections.abc import Generator
from contextlib import suppress
from contextvars import ContextVar
from http import HTTPStatus
from threading import Lock, Timer
from typing import Any, Self

from requests import PreparedRequest, ReadTimeout, Response
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import DecodeError

# Of a response, after decompression: the query API sends 100 MiB at most, and the table service far less.
# Less than a megabyte of gzip may contain a gigabyte.
BODY_BYTES = 128 * 2**20
_CURRENT: ContextVar["Exchange | None"] = ContextVar("exchange", default=None)  # of the thread


class Exchange:
    """The requests of one thread in a `with` block. Their connection is cut at a deadline, in seconds from
    the beginning of the block. An exchange within an exchange also ends by the outer deadline.

    After the deadline the block raises ReadTimeout, whatever came of it: the end of a cut connection may look
    like the end of an answer.
    """

    def __init__(self, deadline: float) -> None:
        self._timer = Timer(deadline, self._cut)
        self._timer.daemon = True
        self._lock = Lock()
        self._is_cut = False
        self._connection: socket.socket | None = None
        self.has_connected = False  # through a new connection
        self._outer = _CURRENT.get()

    @property
    def is_cut(self) -> bool:
        return self._is_cut or (self._outer is not None and self._outer.is_cut)

    def __enter__(self) -> Self:
        self._timer.start()
        _CURRENT.set(self)
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        _CURRENT.set(self._outer)
        self._timer.cancel()
        with self._lock:
            self._release()
        if self.is_cut and (error_type is None or issubclass(error_type, Exception)):
            raise ReadTimeout("the deadline has passed")

    def watch(self, connection: socket.socket) -> None:
        """Cuts this connection at the deadline, or now if that has passed, and no longer the one before."""
        with self._lock:
            self._release()
            # A handle of its own, which stays valid: TLS wraps the socket, and `http.client` lets it go. The
            # method of SSLSocket is not for other threads: it drops the TLS state under a reader.
            self._connection = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        if self._is_cut:
            self._cut()
        if self._outer:
            self._outer.watch(connection)

    def _cut(self) -> None:
        with self._lock:
            self._is_cut = True
            if self._connection:
                with suppress(OSError):  # closed by the service
                    self._connection.shutdown(socket.SHUT_RDWR)

    def _release(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


class WatchingAdapter(HTTPAdapter):
    """Connections that the exchange of the thread watches; interim answers are skipped."""

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # a pool
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if not issubclass(pool.ConnectionCls, _Connection):
            pool.ConnectionCls = type("Connection", (_Connection, pool.ConnectionCls), {})
        return pool

    def build_response(self, req: PreparedRequest, resp: BaseHTTPResponse) -> Response:
        """A response whose body has a limit."""
        resp.__class__ = _LimitedResponse  # `urllib3` has no hook for it
        return super().build_response(req, resp)

    def close(self) -> None:
        """Closes the connections that no request uses. The base leaves them to the garbage collector."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118  # the container does not iterate
                if pool := manager.pools.get(key):
                    pool.close()
        super().close()


class _LimitedResponse(HTTPResponse):
    """A response whose body ends with an error after BODY_BYTES."""

    def stream(
        self,
        amt: int | None = 2**16,
        decode_content: bool | None = None,  # noqa: FBT001  # as the base
    ) -> Generator[bytes, None, None]:
        """The body in blocks. Closes the connection and raises DecodeError after BODY_BYTES."""
        size = 0
        for block in super().stream(amt, decode_content):
            size += len(block)
            if size > BODY_BYTES:
                self.close()
                raise DecodeError(f"the body has more than {BODY_BYTES:,} bytes")
            yield block


class _FinalResponse(http.client.HTTPResponse):
    """A response that is not interim (RFC 9110, 15.2): `http.client` takes 102 and 103 for final answers."""

    def begin(self) -> None:
        super().begin()
        while self.status < HTTPStatus.OK and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment]  # else the base takes it for read
            super().begin()


class _Connection(HTTPConnection):
    """A connection for http or https, with the base that the pool has."""

    response_class = _FinalResponse

    def request(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # as the base
        """Sends a request, on a new connection or on one from the pool."""
        if self.sock:
            _watch(self.sock)
        super().request(*arguments, **options)

    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        _watch(connection, is_new=True)  # before TLS and a proxy exchange bytes
        return connection


def _watch(connection: socket.socket, *, is_new: bool = False) -> None:
    if exchange := _CURRENT.get():
        exchange.has_connected = exchange.has_connected or is_new
        exchange.watch(connection)
