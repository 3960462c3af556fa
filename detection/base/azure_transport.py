"""The transport of every Azure client: the table, the queries and sign-in."""

from http.client import HTTPException
from typing import Any

from azure.core.pipeline.transport import RequestsTransport
from urllib3.util import Retry

from detection.base.sessions import Session

# The SDK raises these on a malformed response: a Retry-After that is not a time, too deep JSON.
MALFORMED_RESPONSE = (HTTPException, ValueError, RecursionError)


class Transport(RequestsTransport):  # type: ignore[misc]  # loaded lazily, so untyped
    """The transport of an Azure client, on a Session. All times are in seconds.

    An exchange takes at most the sum of the time-outs, however slowly its bytes come.
    The SDK waits as long as a Retry-After asks for; here a pause between two attempts ends after
    `longest_pause`, because the next run comes in an hour anyway.
    """

    def __init__(
        self,
        connection_timeout: float,
        read_timeout: float,
        longest_pause: float,
        block_size: int = 2**12,
        *,
        streams: bool = False,
    ) -> None:
        """`block_size` is the number of bytes that are read from the connection at a time. With `streams` the
        caller reads answers as streams, after the exchange of the request; an Exchange around the call ends
        that.
        """
        # The SDK retries. Its transport needs the errors of urllib3 as they are.
        retries = Retry(total=False, redirect=False, raise_on_status=False)
        session = Session(connection_timeout + read_timeout, retries)
        super().__init__(
            session=session,
            use_env_settings=False,
            connection_timeout=connection_timeout,
            read_timeout=read_timeout,
            connection_data_block_size=block_size,
        )
        self._longest_pause, self._streams = longest_pause, streams

    def send(self, request: object, **options: Any) -> Any:  # noqa: ANN401  # as the base
        """Sends a request, and reads the answer unless the transport streams: an answer to a batch that the
        SDK rejects before it reads the stream would keep its connection.
        """
        streams = self._streams and options.get("stream", False)
        return super().send(request, **{**options, "stream": streams})

    def sleep(self, duration: float) -> None:
        super().sleep(min(duration, self._longest_pause))
