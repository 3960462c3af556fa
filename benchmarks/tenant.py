"""A made-up tenant of any size as Parquet, written by DuckDB. The rows are deterministic."""

from pathlib import Path

import duckdb

BEGIN = "2026-06-08 00:00:00"
AT = "2026-06-09T00:00:00Z"  # a day after BEGIN: all rows are in the windows of a run at this moment


def write(folder: Path, signals: int, changes: int, actors: int) -> None:
    """Writes `signals` abuse signals of one day by `actors` people, and `changes` by a fifth of them.

    Every completion is a signal, the most expensive case: ordinary completions never leave the engine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute(f"COPY ({_completions(signals, actors)}) TO '{folder}/ASimAgentEventLogs.parquet'")
    connection.execute(f"COPY ({_audit(changes, actors)}) TO '{folder}/OpenAIAuditLogs_CL.parquet'")


def _completions(signals: int, actors: int) -> str:
    return f"""
        SELECT TIMESTAMP '{BEGIN}' + INTERVAL (hash(i) % 86400) SECOND AS TimeGenerated,
               'OpenAI' AS EventVendor, 'OpenAI API Platform' AS EventProduct, 'ChatCompletion' AS EventType,
               'chatcmpl-' || i AS EventUid, 'req_' || i AS EventRequestId, 'gpt-4o' AS ModelName,
               CASE WHEN i % 2 = 0 THEN '["length"]' ELSE '["content_filter"]' END AS EventFinishReasons,
               '{{"input_user":"user' || (hash(i + 1) % {actors}) || '@example.com"}}' AS AdditionalFields,
               TIMESTAMP '{BEGIN}' + INTERVAL (hash(i) % 86400) SECOND AS EventStartTime
        FROM range({signals}) AS rows(i)"""


def _audit(changes: int, actors: int) -> str:
    return f"""
        SELECT TIMESTAMP '{BEGIN}' - INTERVAL 12 HOUR + INTERVAL (hash(i) % 86400) SECOND AS TimeGenerated,
               'audit_log-' || i AS Id, 'api_key.created' AS EventType,
               '{{"user":{{"email":"user' || (i % greatest({actors} // 5, 1)) || '@example.com"}},"ip_address":"203.0.113.9"}}'
                   AS ActorSession
        FROM range({changes}) AS rows(i)"""
