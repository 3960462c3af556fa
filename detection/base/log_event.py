"""Logs one JSON object per line, with the event's name, through `logging`. A line has no URL, message text or
secret.

Azure keeps only the lines that the thread of the invocation writes.
"""

import logging
from collections.abc import Mapping

from pydantic_core import to_json

LOG = logging.getLogger("detection")
# The Azure clients log every request and header at INFO.
logging.getLogger("azure").setLevel(logging.WARNING)


def log_event(level: int, event: str, values: Mapping[str, object]) -> None:
    LOG.log(level, "%s", to_json({"event": event, **values}, ensure_ascii=True).decode())
