"""HTTP sessions and the rules on the environment that hold for every request of the job.

netrc is ignored: `requests` would send a password from it to receivers, and it would replace the signature of
the table and the token of a query. Proxies count for https to other machines only: a proxy must see neither
the request to the identity endpoint, which carries a secret, nor requests on this machine.
"""

import os
from typing import Any

import requests
from requests.utils import get_environ_proxies
from urllib3.util import Retry

from detection.base.exchange import Exchange, WatchingAdapter
from detection.base.network import ca_bundle, is_identity_endpoint, is_loopback


class Session(requests.Session):
    """A session that takes only proxies and the CA bundle from the environment, and ends every exchange by a
    deadline.

    The deadline, in seconds, counts from sending a request to the end of the answer, or of its headers if the
    answer is a stream.
    """

    def __init__(self, deadline: float, retries: Retry | int = 0) -> None:
        super().__init__()
        self.trust_env = False  # else netrc counts
        self._deadline = deadline
        for scheme in ("http://", "https://"):
            self.mount(scheme, WatchingAdapter(max_retries=retries))

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # noqa: ANN401  # as the base
        """Sends a prepared request. Follows no redirect.

        A service may close an unused connection just as the next request is sent. The request is then sent
        again through a new connection.

        Raises ConfigurationError if the CA bundle is gone, ReadTimeout at the deadline, and else the errors
        of `requests`.
        """
        url = request.url or ""
        is_encrypted = url.startswith("https:")
        is_direct = not is_encrypted or is_loopback(url) or is_identity_endpoint(url, os.environ)
        options["proxies"] = {} if is_direct else get_environ_proxies(url)
        if is_encrypted and options.get("verify", True) is True:
            options["verify"] = ca_bundle(os.environ) or True
        response: requests.Response | None = None
        try:
            with Exchange(self._deadline) as exchange:
                try:
                    response = super().send(request, **options)
                except requests.ConnectionError:
                    if exchange.has_connected or exchange.is_cut:
                        raise
                    response = super().send(request, **options)
        except requests.ReadTimeout:
            if response is not None:  # its headers came, and the deadline passed
                response.close()
            raise
        return response

    def get_redirect_target(self, resp: requests.Response) -> None:
        """No redirect is followed: it may lead to an internal address, and its whole body would be read."""
