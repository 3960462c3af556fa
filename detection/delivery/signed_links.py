"""Links to incidents for those who got a message: read-only, for one incident, as long as its messages are tried.

Forms of the incident page are signed with the same key, for another purpose.

    ~links  key      what they are signed with

The key is made when the first link is, and lies beside the incidents: whoever can read it there can read them
anyway. Without that row no link opens; the next message makes a new one.
"""

import base64
import hashlib
import hmac
import re
import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from urllib.parse import urlencode

from detection.delivery.deliver import SCHEDULE
from detection.store.table import Conflict, Insert, Table

KEY_BYTES = 32  # as long as the digest: more adds nothing (RFC 2104, 3)


_TIMESTAMP = re.compile(r"[0-9]{1,12}")  # seconds since 1970


def sign_link(base_url: str, incident: str, expires: datetime, key: bytes) -> str:
    """The link to an incident that is good up to a moment, in whole seconds. It only shows, to whoever has it."""
    until = _seconds(expires)
    query = urlencode({"until": until, "signature": _signature(key, "look", incident, until)})
    return f"{base_url}/look/{incident}?{query}"


def verify_link(incident: str, until: str, signature: str, now: datetime, key: bytes) -> bool:
    """Whether what a link says was signed with the key, and is still good."""
    return _is_unexpired(until, now) and _equal_signatures(
        signature, _signature(key, "look", incident, until)
    )


def make_token(incident: str, visitor_name: str, expires: datetime, key: bytes) -> str:
    """What a form on our page carries: that somebody was shown it, and may act on the incident up to a moment."""
    until = _seconds(expires)
    return f"{until}.{_signature(key, 'act', incident, visitor_name, until)}"


def verify_token(token: str, incident: str, visitor_name: str, now: datetime, key: bytes) -> bool:
    """Whether a form's token was made for this incident and person, and is still good."""
    until, _, signature = token.partition(".")
    return _is_unexpired(until, now) and _equal_signatures(
        signature, _signature(key, "act", incident, visitor_name, until)
    )


def _seconds(moment: datetime) -> str:
    return str(int(moment.timestamp()))


def _is_unexpired(until: str, now: datetime) -> bool:
    """Compares seconds: not every number of them is a moment that a datetime can hold."""
    return bool(_TIMESTAMP.fullmatch(until)) and now.timestamp() <= int(until)


def _equal_signatures(claimed_signature: str, signature: str) -> bool:
    return hmac.compare_digest(claimed_signature.encode(errors="replace"), signature.encode())


def _signature(key: bytes, *parts: str) -> str:
    """Over the parts, each with its length, so that none can pass for a piece of another."""
    content = b"".join(
        b"%d:%b" % (len(part), part) for part in (text.encode(errors="replace") for text in parts)
    )
    return base64.urlsafe_b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode().rstrip("=")


FORM_LIFETIME = timedelta(hours=12)  # for which a page's form can be sent
PARTITION, ROW = "~links", "key"  # no rule's partition: those are named like their folders


class LinkSigner:
    """Links to the incidents of a table, under the page's address (without an address there are none), and its forms.

    Every call may raise ServiceError.
    """

    def __init__(self, table: Table, base_url: str | None) -> None:
        self._table = table
        self._base_url = base_url
        self._key: bytes | None = None

    def link_to(self, incident: str, now: datetime) -> str | None:
        """The link to an incident, good for as long as a message made now may be on its way."""
        if self._base_url is None:
            return None
        return sign_link(self._base_url, incident, now + SCHEDULE, self._signing_key())

    def verify(self, incident: str, until: str, signature: str, now: datetime) -> bool:
        """Whether a link is one of ours and still good. The key is read anew: a new one ends all former links."""
        key = self._stored_key()
        return key is not None and verify_link(incident, until, signature, now, key)

    def form_token(self, incident: str, visitor_name: str, now: datetime) -> str:
        """What a form carries that is shown to somebody: no other site can have it."""
        return make_token(incident, visitor_name, now + FORM_LIFETIME, self._signing_key())

    def verify_form_token(self, token: str, incident: str, visitor_name: str, now: datetime) -> bool:
        """Whether a form was shown to this person by us, for this incident."""
        key = self._stored_key()
        return key is not None and verify_token(token, incident, visitor_name, now, key)

    def _signing_key(self) -> bytes:
        self._key = self._key or self._make_key()
        return self._key

    def _make_key(self) -> bytes:
        """The key; the first to need one makes it, and of two at the same time the faster."""
        if self._stored_key() is None:
            with suppress(Conflict):
                self._table.write(PARTITION, [Insert(ROW, {"key": secrets.token_bytes(KEY_BYTES)})])
        key = self._stored_key()
        if key is None:
            raise Conflict("the key of the links was removed while it was made")
        return key

    def _stored_key(self) -> bytes | None:
        entity = self._table.get(PARTITION, ROW)
        key = entity.values["key"] if entity else None
        return key if isinstance(key, bytes) else None
