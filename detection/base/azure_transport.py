"""The transport of every Azure client: the table, the queries and sign-in."""

from azure.core.pipeline.transport import RequestsTransport

from detection.base.sessions import Session


class Transport(RequestsTransport):  # type: ignore[misc]  # loaded lazily, so untyped
    """The transport of an Azure client, on a Session. All times are in seconds.

    The SDK waits as long as a Retry-After asks for; here a pause between two attempts ends after
    `longest_pause`, because the next run comes in an hour anyway.
    """

    def __init__(
        self,
        connection_timeout: float,
        read_timeout: float,
        longest_pause: float,
        block_size: int = 2**12,
    ) -> None:
        """`block_size` is the number of bytes that are read from the connection at a time."""
        session = Session()
        super().__init__(
            session=session,
            use_env_settings=False,
            connection_timeout=connection_timeout,
            read_timeout=read_timeout,
            connection_data_block_size=block_size,
        )
        self._init_session(session)  # the SDK does this only for a session of its own
        self._longest_pause = longest_pause

    def sleep(self, duration: float) -> None:
        """Waits before the next attempt."""
        super().sleep(min(duration, self._longest_pause))
