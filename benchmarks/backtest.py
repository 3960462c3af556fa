"""`backtest` over a month of a made-up tenant: 720 hourly runs over Parquet, whole process, at rising sizes.

The tables have all columns that the connector fills. A tenth of the actors make changes, mostly on working
days. Completions are more frequent by day than by night, and at least one in a hundred is a signal.
"""

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from benchmarks.figures import FigureTable
from benchmarks.processes import measure
from benchmarks.size import Size

BEGIN = datetime(2026, 5, 1, tzinfo=UTC)
DAYS = 30
PEOPLE, CHANGES = 5_000, 3_000
RANGE = ("--from", "2026-05-01T01:05:00Z", "--to", "2026-05-31T00:05:00Z")


@dataclass(frozen=True, slots=True)
class Month:
    """Completions of a month, and the percentage of them that are signals."""

    rows: int
    percent: int


SIZES = (
    Month(1_000_000, 2),
    Month(3_000_000, 2),
    Month(10_000_000, 1),
    Month(10_000_000, 2),
    Month(10_000_000, 4),
)
COUNTS = ("pairs", "alerts", "messages")


def tables(size: Size) -> dict[str, FigureTable]:
    """Every size, smallest first."""
    rows = []
    for month in dict.fromkeys(replace(month, rows=min(month.rows, size.max_rows)) for month in SIZES):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), month)
            arguments = ["-m", "detection", "backtest", "--logs", folder, *RANGE, "--format", "json"]
            process = measure([*arguments, "--report", f"{folder}/report.html"])
        figures, held = process.result["figures"], process.result["row_counts"]["signals"]
        counts = (month.rows, month.rows * month.percent // 100, held, *(figures[name] for name in COUNTS))
        times = (f"{process.wall:.1f}", f"{process.cpu:.1f}", f"{process.peak:.0f}")
        rows.append([*(f"{count:,}" for count in counts), *times])
        if size.toy:
            break
    columns = ("rows", "signals", "held", *COUNTS, "wall s", "CPU s", "peak MiB")
    return {
        "backtest": FigureTable("backtest: 30 days of hourly runs over Parquet, whole process", columns, rows)
    }


def write(folder: Path, month: Month) -> None:
    """Writes the two tables of a tenant as Log Analytics exports them; the same size gives the same rows."""
    connection = duckdb.connect()
    connection.execute(
        "SET memory_limit = '800MiB'; SET preserve_insertion_order = false; SET enable_progress_bar = false"
    )
    connection.execute(f"COPY ({_completions(month)}) TO '{folder}/ASimAgentEventLogs.parquet'")
    connection.execute(f"COPY ({_audit()}) TO '{folder}/OpenAIAuditLogs_CL.parquet'")


def _time(seed: int) -> str:
    """SQL for the time of row `i`: on any day, five times as likely by day as by night."""
    chance = f"hash(i + {seed})"
    second = f"CASE WHEN {chance} % 6 = 0 THEN hash(i + {seed + 1}) % 86400 ELSE 25200 + hash(i + {seed + 1}) % 43200 END"
    micro = f"(({second}) * 1000000 + hash(i + {seed + 2}) % 1000000)::BIGINT"
    return f"TIMESTAMP '{BEGIN:%Y-%m-%d}' + to_days((hash(i + {seed + 3}) % {DAYS})::INTEGER) + to_microseconds({micro})"


def _completions(month: Month) -> str:
    return f"""
        SELECT own AS TimeGenerated, own AS EventStartTime, own + INTERVAL 2 SECOND AS EventEndTime,
               1::INTEGER AS EventCount, 'OpenAI' AS EventVendor, 'OpenAI API Platform' AS EventProduct,
               'AgentEvent' AS EventSchema, '0.1.0' AS EventSchemaVersion, 'ChatCompletion' AS EventType,
               'chatcmpl-' || md5(i::VARCHAR) AS EventUid, 'req_' || md5((i + 1)::VARCHAR) AS EventRequestId,
               (hash(i + 11) % 100000)::BIGINT AS EventRequestSeed,
               0.7::DOUBLE AS EventRequestTemperature, 1.0::DOUBLE AS EventRequestTopP,
               0.0::DOUBLE AS EventRequestPresencePenalty, 0.0::DOUBLE AS EventRequestFrequencyPenalty,
               'chat.completion' AS EventOriginalType, '' AS EventOriginalResultDetails,
               CASE WHEN hash(i + 12) % 100 >= {month.percent} THEN '["stop"]'
                    WHEN hash(i + 13) % 4 = 0 THEN '["length"]' ELSE '["content_filter"]' END AS EventFinishReasons,
               ['gpt-4o-2024-08-06', 'gpt-4.1-2025-04-14', 'gpt-5-2025-08-07'][1 + (hash(i + 14) % 3)::INTEGER] AS ModelName,
               'OpenAI' AS ModelProviderName, '' AS ToolName,
               (hash(i + 15) % 4000)::BIGINT AS InputTokensUsed, (hash(i + 16) % 900)::BIGINT AS OutputTokensUsed,
               '{{"input_user":"user' || (hash(i + 17) % {PEOPLE}) || '@example.com","service_tier":"default",'
                   || '"system_fingerprint":"fp_' || (hash(i + 18) % 97) || '","metadata":{{"team":"search","env":"prod"}},'
                   || '"request_id":"req_' || md5((i + 1)::VARCHAR) || '"}}' AS AdditionalFields
        FROM (SELECT i, {_time(1)} AS own FROM range({month.rows}) AS rows(i))"""


def _audit() -> str:
    kinds = "['api_key.created', 'role.assignment.created', 'invite.sent', 'service_account.created', 'project.created']"
    return f"""
        SELECT own AS TimeGenerated, own AS EffectiveAt, 'audit_log-' || md5(i::VARCHAR) AS Id,
               {kinds}[1 + (hash(i + 21) % 5)::INTEGER] AS EventType, 'session' AS ActorType, '{{}}' AS EventDetails,
               '{{"user":{{"id":"user-' || i || '","email":"user' || (hash(i + 22) % {PEOPLE // 10}) || '@example.com"}},'
                   || '"ip_address":"203.0.113.' || (i % 250) || '"}}' AS ActorSession,
               'OpenAI' AS ConnectorName
        FROM (SELECT i, {_time(31)} AS own FROM range({CHANGES}) AS rows(i))
        WHERE dayofweek(own) BETWEEN 1 AND 5 OR hash(i + 23) % 5 = 0"""
