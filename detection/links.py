"""Links to incidents for those who got a message: read-only, for one incident, as long as its messages are tried.

    ~links  key      what they are signed with

The key is made when the first link is, and lies beside the incidents: whoever can read it there can read them
anyway. Without that row no link opens; the next message makes a new one.
"""

import secrets
from contextlib import suppress
from datetime import datetime

from detection.capability import KEY_BYTES, signed, verify
from detection.deliver import SCHEDULE
from detection.incidents.table import Conflict, Insert, Table

PARTITION, ROW = "~links", "key"  # no rule's partition: those are named like their folders


class Links:
    """Links to the incidents of a table, under the page's address; without an address there are none.

    Every call may raise ServiceError.
    """

    def __init__(self, table: Table, base_url: str | None) -> None:
        self._table = table
        self._base_url = base_url
        self._key: bytes | None = None

    def to(self, incident: str, now: datetime) -> str | None:
        """The link to an incident, good for as long as a message made now may be on its way."""
        if self._base_url is None:
            return None
        self._key = self._key or self._made()
        return signed(self._base_url, incident, now + SCHEDULE, self._key)

    def opens(self, incident: str, until: str, signature: str, now: datetime) -> bool:
        """Whether a link is one of ours and still good. The key is read anew: a new one ends all former links."""
        key = self._kept()
        return key is not None and verify(incident, until, signature, now, key)

    def _made(self) -> bytes:
        """The key; the first to need one makes it, and of two at the same time the faster."""
        if self._kept() is None:
            with suppress(Conflict):
                self._table.write(PARTITION, [Insert(ROW, {"key": secrets.token_bytes(KEY_BYTES)})])
        key = self._kept()
        if key is None:
            raise Conflict("the key of the links was removed while it was made")
        return key

    def _kept(self) -> bytes | None:
        entity = self._table.get(PARTITION, ROW)
        key = entity.values["key"] if entity else None
        return key if isinstance(key, bytes) else None
