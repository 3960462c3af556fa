"""Signed links to incidents for the readers of messages, and signed tokens for the forms of pages.

A link is read-only, shows one incident, and expires when no message made with it is retried any more. A token
is signed with the same key for another purpose.

    ~links  key      the signing key

The first link creates the key. The key is in the table of the incidents: a reader of that table can read the
incidents anyway. Without that row no link opens, and the next message creates a new key.
"""

import base64
import hashlib
import hmac
import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from urllib.parse import urlencode

from detection.delivery.deliver import SCHEDULE
from detection.store.layout import parse_row
from detection.store.table import Conflict, Entity, Insert, Table

KEY_BYTES = 32  # as long as the digest; a longer key adds nothing (RFC 2104, 3)


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
PARTITION, ROW = "~links", "key"  # not a partition of a rule: those have the names of their folders


class LinkSigner:
    """Signs and verifies links to incidents and tokens of forms, with the key in the table.

    `base_url` is the address of the pages; without it there are no links. Every call may raise ServiceError.
    """

    def __init__(self, table: Table, base_url: str | None) -> None:
        self._table = table
        self._base_url = base_url
        self._key: bytes | None = None

    def link_to(self, incident: str, now: datetime) -> str | None:
        """The link to an incident, valid as long as a message made now is retried.

        Returns None if there is no address of the pages.
        """
        if self._base_url is None:
            return None
        return sign_link(self._base_url, incident, now + SCHEDULE, self._signing_key())

    def verify(self, incident: str, until: str, signature: str, now: datetime) -> bool:
        """Whether a link is valid. Reads the key again, because a new key ends all earlier links."""
        key = self._stored_key()
        return key is not None and verify_link(incident, until, signature, now, key)

    def form_token(self, incident: str, visitor_name: str, now: datetime) -> str:
        """The token of a form for a visitor; no other site can have it."""
        return make_token(incident, visitor_name, now + FORM_LIFETIME, self._signing_key())

    def verify_form_token(self, token: str, incident: str, visitor_name: str, now: datetime) -> bool:
        """Whether the form with this token was shown to this visitor for this incident."""
        key = self._stored_key()
        return key is not None and verify_token(token, incident, visitor_name, now, key)

    def _signing_key(self) -> bytes:
        """The key; created if there is none. Of two processes that create it at once, the first wins."""
        if self._key is None and self._stored_key() is None:
            with suppress(Conflict):
                self._table.write(PARTITION, [Insert(ROW, {"key": secrets.token_bytes(KEY_BYTES)})])
        self._key = self._key or self._stored_key()
        if self._key is None:
            raise Conflict(
                "the signing key of the links was deleted while it was created; the next message tries again"
            )
        return self._key

    def _stored_key(self) -> bytes | None:
        entity = self._table.get(PARTITION, ROW)
        return parse_row(entity, _parse_key) if entity else None


def _parse_key(row: Entity) -> bytes:
    key = row.values["key"]
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise ValueError("not a key")
    return key
