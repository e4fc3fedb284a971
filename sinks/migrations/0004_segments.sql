-- Who is in which segment, as avila.segments has it. Rows replace each other as in `predictions`.
-- `_deleted` is 1 if the person has left, or the segment has ended.
CREATE TABLE IF NOT EXISTS {database}.segment_members
(
    project_id  LowCardinality(String),
    segment_id  LowCardinality(String),
    person_id   String,
    -- The version of the definition that was evaluated.
    version     Int32,
    -- Since when the person is in, by the project's clock.
    entered_at  DateTime64(3, 'UTC'),
    _partition  UInt32,
    _offset     UInt64,
    _deleted    UInt8,
    _written_at DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(_offset, _deleted)
ORDER BY (project_id, segment_id, person_id)
SETTINGS
    min_age_to_force_merge_seconds = 3600,
    min_age_to_force_merge_on_partition_only = 1,
    allow_experimental_replacing_merge_with_cleanup = 1,
    enable_replacing_merge_with_cleanup_for_min_age_to_force_merge = 1;

-- What is defined now, of all operators.
CREATE TABLE IF NOT EXISTS {database}.definitions
(
    project_id  LowCardinality(String),
    kind        LowCardinality(String),
    id          String,
    version     Int32,
    name        String,
    _partition  UInt32,
    _offset     UInt64,
    _deleted    UInt8,
    _written_at DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree(_offset, _deleted)
ORDER BY (project_id, kind, id);

-- The members of all segments. `name` is empty until the definition has been written, too.
CREATE VIEW IF NOT EXISTS {database}.segments AS
SELECT
    member.project_id AS project_id,
    member.segment_id AS segment_id,
    definition.name AS name,
    member.person_id AS person_id,
    member.version AS version,
    member.entered_at AS entered_at
FROM {database}.segment_members AS member FINAL
LEFT JOIN
(
    SELECT project_id, id, name FROM {database}.definitions FINAL WHERE kind = 'segment'
) AS definition
ON definition.project_id = member.project_id AND definition.id = member.segment_id
