-- What the records of aggregates said over time: for each key of a result topic, the last record of
-- each minute. A row is replaced by the one of its minute with a higher offset. Definitions that are
-- deleted leave their rows, until these are older than AVILA_RESULT_HISTORY_DAYS.
CREATE TABLE IF NOT EXISTS {database}.result_history
(
    project_id LowCardinality(String),
    -- The operator, the definition's id and its version.
    kind       LowCardinality(String),
    id         LowCardinality(String),
    version    Int32,
    -- The day, period or bucket, as in the key of the record, or `total`.
    period     String,
    _partition UInt32,
    minute     DateTime('UTC'),
    -- When the record was written, and the offset below which it has the partition's events.
    at         DateTime64(3, 'UTC'),
    position   Int64,
    -- The numbers of the record. Those of a list are numbered from 1, such as `reached.2`.
    figures    Map(LowCardinality(String), Float64),
    _offset    UInt64
)
ENGINE = ReplacingMergeTree(_offset)
PARTITION BY toYYYYMM(minute)
ORDER BY (project_id, kind, id, version, period, _partition, minute)
