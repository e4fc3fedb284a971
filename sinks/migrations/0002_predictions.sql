-- The newest score of each person for each prediction, as avila.predictions has it.
--
-- A row is one record of that topic. The one with the highest offset replaces the others of its key.
-- If `_deleted` is 1, there is no score. ClickHouse drops replaced rows when it merges parts, so read
-- `latest_predictions`, or this table with FINAL. A table that nobody has written to for an hour is
-- merged into one part, without the deleted rows.
CREATE TABLE IF NOT EXISTS {database}.predictions
(
    project_id    LowCardinality(String),
    prediction_id LowCardinality(String),
    person_id     String,
    -- The version of the definition that asked.
    version       Int32,
    -- The time of the event that asked.
    at            DateTime64(3, 'UTC'),
    score         Float64,
    model         LowCardinality(String),
    -- How many examples the model had learned.
    model_version Int64,
    contributions Array(Tuple(feature LowCardinality(String), value Float32, contribution Float64)),
    -- Whether the model had not shown to be better than its base rate.
    withheld      Bool,
    -- The position of the record on the topic. A person's records are in one partition.
    _partition    UInt32,
    _offset       UInt64,
    _deleted      UInt8,
    _written_at   DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(_offset, _deleted)
ORDER BY (project_id, prediction_id, person_id)
SETTINGS
    min_age_to_force_merge_seconds = 3600,
    min_age_to_force_merge_on_partition_only = 1,
    allow_experimental_replacing_merge_with_cleanup = 1,
    enable_replacing_merge_with_cleanup_for_min_age_to_force_merge = 1;

CREATE VIEW IF NOT EXISTS {database}.latest_predictions AS
SELECT
    project_id, prediction_id, person_id, version, at, score, model, model_version, contributions,
    withheld
FROM {database}.predictions FINAL;
