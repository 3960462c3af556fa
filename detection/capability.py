"""A link as a capability: whoever has it may look at one incident, until a moment, and do nothing else. Pure.

The signature covers the incident's id and the moment (HMAC-SHA256, RFC 2104): neither can be changed, and no link
leads to another incident.
"""

import base64
import hashlib
import hmac
import re
from datetime import UTC, datetime
from urllib.parse import urlencode

KEY_BYTES = 32  # as long as the digest: more adds nothing (RFC 2104, 3)
_PURPOSE = b"look at one incident"  # so that a signature made for anything else is of no use here
_MOMENT = re.compile(r"[0-9]{1,12}")  # seconds since 1970, as `signed` writes them


def signed(base_url: str, incident: str, expires: datetime, key: bytes) -> str:
    """The link to an incident that is good up to a moment, in whole seconds."""
    until = str(int(expires.timestamp()))
    query = urlencode({"until": until, "signature": _signature(incident, until, key)})
    return f"{base_url}/look/{incident}?{query}"


def verify(incident: str, until: str, signature: str, now: datetime, key: bytes) -> bool:
    """Whether what a link says was signed with the key, and is still good."""
    if not _MOMENT.fullmatch(until) or now > datetime.fromtimestamp(int(until), UTC):
        return False
    return hmac.compare_digest(_signature(incident, until, key).encode(), signature.encode())


def _signature(incident: str, until: str, key: bytes) -> str:
    content = b"\0".join([_PURPOSE, incident.encode(), until.encode()])
    return base64.urlsafe_b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode().rstrip("=")
