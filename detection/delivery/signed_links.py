"""Signed links to incidents for the readers of messages, and signed tokens for the forms of pages.

A link is read-only, shows one incident, and expires when no message made with it is retried any more. A token
is signed with the same key for another purpose. The key is the setting LINK_KEY; another key ends all links.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from urllib.parse import urlencode

from pydantic import SecretStr

from detection.delivery.deliver import SCHEDULE

KEY_BYTES = 32  # as long as the digest; a longer key adds nothing (RFC 2104, 3)
PROCESS_KEY = secrets.token_bytes(KEY_BYTES)  # of forms, without LINK_KEY


def sign_link(base_url: str, incident: str, expires: datetime, key: bytes) -> str:
    """The link to an incident, valid up to a whole second.

    Every holder of the link can read the incident, and only that.
    """
    until = _seconds(expires)
    query = urlencode({"until": until, "signature": _signature(key, "look", incident, until)})
    return f"{base_url}/look/{incident}?{query}"


def verify_link(incident: str, until: str, signature: str, now: datetime, key: bytes) -> bool:
    """Whether a link was signed with the key and has not expired. Nothing unsigned is parsed."""
    is_signed = _equal_signatures(signature, _signature(key, "look", incident, until))
    return is_signed and now.timestamp() <= int(until)


def make_token(incident: str, visitor_name: str, expires: datetime, key: bytes) -> str:
    """The token of a form: this visitor was shown the form, and may act on the incident until it expires."""
    until = _seconds(expires)
    return f"{until}.{_signature(key, 'act', incident, visitor_name, until)}"


def verify_token(token: str, incident: str, visitor_name: str, now: datetime, key: bytes) -> bool:
    """Whether a token was made for this incident and visitor and has not expired."""
    until, _, signature = token.partition(".")
    is_signed = _equal_signatures(signature, _signature(key, "act", incident, visitor_name, until))
    return is_signed and now.timestamp() <= int(until)


def _seconds(moment: datetime) -> str:
    return str(int(moment.timestamp()))


def _equal_signatures(claimed_signature: str, signature: str) -> bool:
    return hmac.compare_digest(claimed_signature.encode(errors="replace"), signature.encode())


def _signature(key: bytes, *parts: str) -> str:
    """The signature over the parts, each with its length, so that no other parts have the same content."""
    content = b"".join(
        b"%d:%b" % (len(part), part) for part in (text.encode(errors="replace") for text in parts)
    )
    return base64.urlsafe_b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode().rstrip("=")


FORM_LIFETIME = timedelta(hours=12)  # of the token of a form


class LinkSigner:
    """Signs and verifies links to incidents and tokens of forms, with the key that the settings name.

    `base_url` is the address of the pages; without it or without a key there are no links. Without a key, the
    token of a form is valid only in the process that made it.
    """

    def __init__(self, key: SecretStr | None, base_url: str | None) -> None:
        self._key = key.get_secret_value().encode() if key else None
        self._base_url = base_url

    def link_to(self, incident: str, now: datetime) -> str | None:
        """The link to an incident, valid as long as a message made now is retried. None without links."""
        if self._base_url is None or self._key is None:
            return None
        return sign_link(self._base_url, incident, now + SCHEDULE, self._key)

    def verify(self, incident: str, until: str, signature: str, now: datetime) -> bool:
        """Whether a link is valid."""
        return self._key is not None and verify_link(incident, until, signature, now, self._key)

    def form_token(self, incident: str, visitor_name: str, now: datetime) -> str:
        """The token of a form for a visitor; no other site can have it."""
        return make_token(incident, visitor_name, now + FORM_LIFETIME, self._key or PROCESS_KEY)

    def verify_form_token(self, token: str, incident: str, visitor_name: str, now: datetime) -> bool:
        """Whether the form with this token was shown to this visitor for this incident."""
        return verify_token(token, incident, visitor_name, now, self._key or PROCESS_KEY)
