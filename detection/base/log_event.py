"""How the job logs: one JSON object a line, with the event's name, through `logging`. No URL, no message, no secret.

Azure shows only the lines that the thread of the invocation writes.
"""

import logging
from collections.abc import Mapping

from pydantic_core import to_json

LOG = logging.getLogger("detection")
# The clients log every request and header at INFO; one line for each event of ours is enough.
logging.getLogger("azure").setLevel(logging.WARNING)


def log_event(level: int, event: str, values: Mapping[str, object]) -> None:
    """Writes the line of an event."""
    LOG.log(level, "%s", to_json({"event": event, **values}, ensure_ascii=True).decode())
