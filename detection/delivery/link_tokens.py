"""Signatures that stand for a right: to look at one incident until a moment, or to act on it from a page of ours. Pure.

A signature covers what it is for, the incident's id and the moment (HMAC-SHA256, RFC 2104): none of them can be
changed, and no link leads to another incident, or is good for anything but looking.
"""

import base64
import hashlib
import hmac
import re
from datetime import datetime
from urllib.parse import urlencode

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
