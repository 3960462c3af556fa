"""HTTP sessions and the rules on the environment that hold for every request of the job.

netrc is ignored: `requests` would send a password from it to receivers, and it would replace the signature of
the table and the token of a query. Proxies count for https to other machines only: a proxy must see neither
the request to the identity endpoint, which is plain http and carries a secret, nor requests on this machine.
"""

import os
from typing import Any

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.utils import get_environ_proxies

from detection.base.loopback import is_loopback

CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # the first that is set counts


class Session(requests.Session):
    """A session that takes only proxies and the CA bundle from the environment."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False  # else netrc counts

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # noqa: ANN401  # as the base
        """Sends a prepared request; a redirect comes through here, too."""
        url = request.url or ""
        is_outside = url.startswith("https:") and not is_loopback(url)
        options["proxies"] = get_environ_proxies(url) if is_outside else {}
        if options.get("verify", True) is True:
            options["verify"] = next(filter(None, map(os.environ.get, CA_VARIABLES)), True)
        return super().send(request, **options)


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
