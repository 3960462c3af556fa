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
FORM_LIFETIME = timedelta(hours=12)  # of the token of a form


def _is_valid(claimed_signature: str, signature: str, until: str, now: datetime) -> bool:
    """Whether a signature is right and has not expired. Nothing unsigned is parsed."""
    is_signed = hmac.compare_digest(claimed_signature.encode(errors="replace"), signature.encode())
    return is_signed and now.timestamp() <= int(until)


def _seconds(moment: datetime) -> str:
    return str(int(moment.timestamp()))


def _signature(key: bytes, *parts: str) -> str:
    """The signature over the parts, each with its length, so that no other parts have the same content."""
    content = b"".join(
        b"%d:%b" % (len(part), part) for part in (text.encode(errors="replace") for text in parts)
    )
    return base64.urlsafe_b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode().rstrip("=")


class LinkSigner:
    """Signs and verifies links to incidents and tokens of forms, with the key that the settings name.

    `base_url` is the address of the pages; without it or without a key there are no links. Without a key, the
    token of a form is valid only in the process that made it.
    """

    def __init__(self, key: SecretStr | None, base_url: str | None) -> None:
        self._key = key.get_secret_value().encode() if key else None
        self._base_url = base_url

    def link_to(self, incident: str, now: datetime) -> str | None:
        """The link to an incident, valid as long as a message made now is retried. None without links.

        Every holder of the link can read the incident, and only that.
        """
        if self._base_url is None or self._key is None:
            return None
        until = _seconds(now + SCHEDULE)
        query = urlencode({"until": until, "signature": _signature(self._key, "look", incident, until)})
        return f"{self._base_url}/look/{incident}?{query}"

    def verify(self, incident: str, until: str, signature: str, now: datetime) -> bool:
        """Whether a link was signed with the key and has not expired."""
        if self._key is None:
            return False
        return _is_valid(signature, _signature(self._key, "look", incident, until), until, now)

    def form_token(self, incident: str, visitor_name: str, now: datetime) -> str:
        """The token of a form: this visitor was shown it and may act on the incident for FORM_LIFETIME."""
        until = _seconds(now + FORM_LIFETIME)
        return f"{until}.{self._form_signature(incident, visitor_name, until)}"

    def verify_form_token(self, token: str, incident: str, visitor_name: str, now: datetime) -> bool:
        """Whether the form with this token was shown to this visitor for this incident."""
        until, _, signature = token.partition(".")
        return _is_valid(signature, self._form_signature(incident, visitor_name, until), until, now)

    def _form_signature(self, incident: str, visitor_name: str, until: str) -> str:
        return _signature(self._key or PROCESS_KEY, "act", incident, visitor_name, until)
