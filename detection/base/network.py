"""Addresses of this machine, where plain http is allowed and no proxy is used, and the CA bundle."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from detection.base.errors import ConfigurationError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_loopback(url: str) -> bool:
    """Return whether a URL points to a service on this machine."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK


def ca_bundle(environment: Mapping[str, str]) -> str | None:
    """Return the CA bundle that a variable names, by the order of `requests`; None if none is set.

    Raises ConfigurationError, which names the variable, if the bundle does not exist (any more).
    """
    variable = next(filter(environment.get, ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")), None)
    if variable and not Path(environment[variable]).exists():
        raise ConfigurationError(f"{variable}: must name a file or folder of CA certificates that exists")
    return environment[variable] if variable else None
