r"""Addresses as the HTTP client reads them, those of this machine, and the CA bundle.

On this machine plain http is allowed and no proxy is used. Every decision about an address has to read it as
`requests` does, because parsers differ: `http://a.example\@localhost/` is a request to a.example.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from requests import PreparedRequest
from urllib3.util import Url, parse_url

from detection.base.errors import ConfigurationError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def parse_address(url: str) -> Url:
    """Return the parts of a URL as `requests` sends it; the host without the brackets of an IPv6 address.

    Raises ValueError if `requests` would not send it.
    """
    request = PreparedRequest()
    request.prepare_url(url, None)
    parts = parse_url(request.url or "")
    return parts._replace(host=(parts.host or "").strip("[]"))


def is_loopback(url: str) -> bool:
    """Return whether a URL points to a service on this machine."""
    try:
        parts = parse_address(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.host in LOOPBACK


def is_identity_endpoint(url: str, environment: Mapping[str, str]) -> bool:
    """Return whether a URL has the host of the identity endpoint that Azure names in a variable.

    Usually it is plain http on this machine, but https in Azure Service Fabric.
    """
    hosts = set[str | None]()
    for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT"):
        with suppress(ValueError):
            hosts.add(parse_address(environment.get(name, "")).host)
    return parse_address(url).host in hosts


def ca_bundle(environment: Mapping[str, str]) -> str | None:
    """Return the CA bundle that a variable names, by the order of `requests`; None if none is set.

    Raises ConfigurationError, which names the variable, if the bundle does not exist (any more).
    """
    variable = next(filter(environment.get, ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")), None)
    if variable and not Path(environment[variable]).exists():
        raise ConfigurationError(f"{variable}: must name a file or folder of CA certificates that exists")
    return environment[variable] if variable else None
