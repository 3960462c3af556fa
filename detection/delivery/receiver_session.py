"""A session for one exchange with a receiver of alerts: it ends by a deadline and skips interim answers.

The timeouts of `requests` start anew with every byte, so a receiver that drips its headers never times out.
`http.client`, below `requests`, takes the interim answers 102 and 103 for final answers.
"""

import socket
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from threading import Timer
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter

from detection.base.sessions import Session


class ReceiverSession(Session):
    """A session whose connections are cut at a deadline, in seconds from entering it."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._is_cut = False
        self._connections: list[HTTPConnection] = []
        self._timer = Timer(deadline, self._cut)
        self._timer.daemon = True
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(self))

    def __enter__(self) -> Self:
        super().__enter__()
        self._timer.start()
        return self

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # noqa: ANN401  # as the base
        """Sends a prepared request, and reads the headers of the answer. Raises Timeout at the deadline."""
        try:
            return super().send(request, **options)
        finally:
            if self._is_cut:  # the end of a cut connection may look like the end of the headers
                raise requests.Timeout("the deadline has passed")

    def close(self) -> None:
        """Closes all connections."""
        self._timer.cancel()
        super().close()

    def watch(self, connection: HTTPConnection) -> None:
        """Cuts an open connection at the deadline, or now if that has passed."""
        self._connections.append(connection)
        if self._is_cut:
            self._cut()

    def _cut(self) -> None:
        self._is_cut = True
        for connection in self._connections:
            with suppress(OSError, TypeError):  # closed by now: there is no socket
                # The method of SSLSocket is not for other threads: it drops the TLS state under a reader.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    def __init__(self, session: ReceiverSession) -> None:
        super().__init__()
        self._session = session

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # a pool
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        session = self._session

        class Connection(pool.ConnectionCls):  # type: ignore[misc]  # for http or https
            response_class = _FinalResponse

            def connect(self) -> None:
                super().connect()
                session.watch(self)

        pool.ConnectionCls = Connection
        return pool


class _FinalResponse(HTTPResponse):
    """A response that is not interim (RFC 9110, 15.2)."""

    def begin(self) -> None:
        super().begin()
        while self.status < HTTPStatus.OK and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment]  # else the base takes it for read
            super().begin()
