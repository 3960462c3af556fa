"""Addresses of this machine, where plain http is allowed and no proxy is used, and the CA bundle."""

from collections.abc import Mapping
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_loopback(url: str) -> bool:
    """Return whether a URL points to a service on this machine."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK


def ca_variable(environment: Mapping[str, str]) -> str | None:
    """Return the variable that names the CA bundle, by the order of `requests`; None if none is set."""
    return next(filter(environment.get, ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")), None)
