"""Rows as the connector writes them into a workspace, and folders of them as exported."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from detection.base.timestamps import iso

LogRow = dict[str, Any]


def audit(
    ident: str, actor: str, time: datetime, *, kind: str = "api_key.created", arrived: datetime
) -> LogRow:
    """A row of the audit log: somebody changed the configuration."""
    return {
        "TimeGenerated": iso(time),
        "EffectiveAt": iso(time),
        "Id": ident,
        "EventType": kind,
        "ActorType": "session",
        "ActorSession": {"user": {"email": actor}, "ip_address": "203.0.113.7"},
        "_ingested": iso(arrived),
    }


def completion(
    ident: str, actor: str, time: datetime, *, reason: str = "content_filter", arrived: datetime
) -> LogRow:
    """A row of the chat completions: a request of somebody, and how it ended."""
    return {
        "TimeGenerated": iso(time),
        "EventStartTime": iso(time),
        "EventVendor": "OpenAI",
        "EventProduct": "OpenAI API Platform",
        "EventType": "ChatCompletion",
        "EventUid": ident,
        "EventRequestId": f"req_{ident}",
        "ModelName": "gpt-4o-2024-08-06",
        "EventFinishReasons": [reason],
        "AdditionalFields": {"input_user": actor},
        "_ingested": iso(arrived),
    }


def write(folder: Path, changes: Iterable[LogRow], completions: Iterable[LogRow]) -> None:
    """A folder of exported logs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("OpenAIAuditLogs_CL", changes), ("ASimAgentEventLogs", completions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
