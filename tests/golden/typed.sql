-- The rows of logs/ASimAgentEventLogs-typed.parquet, to be read by people: times as TIMESTAMP, which Kusto exports in UTC,
-- dynamic columns as LIST and STRUCT.
SELECT
    moment AS TimeGenerated,
    moment AS EventStartTime,
    'OpenAI' AS EventVendor,
    'OpenAI API Platform' AS EventProduct,
    'ChatCompletion' AS EventType,
    'chatcmpl-' || id AS EventUid,
    'req_' || id AS EventRequestId,
    [reason] AS EventFinishReasons,
    'gpt-4.1-2025-04-14' AS ModelName,
    {'input_user': actor} AS AdditionalFields
FROM (VALUES
    (TIMESTAMP '2026-06-10 11:00:00',        'p01', 'content_filter', 'bob@example.com'),
    (TIMESTAMP '2026-06-10 11:00:00.000001', 'p02', 'content_filter', 'bob@example.com'),
    (TIMESTAMP '2026-06-10 07:30:00',        'p03', 'length',         'lena@example.com')
) AS made (moment, id, reason, actor)
