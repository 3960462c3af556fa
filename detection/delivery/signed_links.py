"""Links to incidents for those who got a message: read-only, for one incident, as long as its messages are tried.

Forms of the incident page are signed with the same key, for another purpose.

    ~links  key      what they are signed with

The key is made when the first link is, and lies beside the incidents: whoever can read it there can read them
anyway. Without that row no link opens; the next message makes a new one.
"""

import secrets
from contextlib import suppress
from datetime import datetime, timedelta

from detection.delivery.deliver import SCHEDULE
from detection.delivery.link_tokens import KEY_BYTES, make_token, sign_link, verify_link, verify_token
from detection.store.table import Conflict, Insert, Table

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
