-- AvilaDB: the events, one row for each record of the event store. `{database}` is the setting's.
--
-- On a cluster, create the table beforehand, ON CLUSTER, with
--     ENGINE = ReplicatedMergeTree
-- and `replicated_deduplication_window` for `non_replicated_deduplication_window`; nothing here
-- changes a table that exists.
CREATE DATABASE IF NOT EXISTS {database};

CREATE TABLE IF NOT EXISTS {database}.events
(
    event_id     UUID,
    project_id   LowCardinality(String),
    distinct_id  String,
    person_id    String,
    anonymous_id Nullable(String),
    session_id   Nullable(String),
    event        LowCardinality(String),
    timestamp    DateTime64(3, 'UTC'),
    sent_at      Nullable(DateTime64(3, 'UTC')),
    received_at  DateTime64(3, 'UTC'),
    -- A dot inside a key stands as %2E: `a.b` is the path of {"a": {"b": 1}}, `a%2Eb` of {"a.b": 1}.
    properties   JSON(max_dynamic_paths = 256),
    context      String,
    -- Where the record stands in the event store.
    _partition   UInt32,
    _offset      UInt64,
    -- The text that `properties` could not hold (not an object, nested too deeply); else empty.
    _properties  String,

    -- One person's events, across all events and days. Beside the hash in the order, which already
    -- keeps a person together within an event and a day, it leaves about as many granules as hold a
    -- row of the person; a projection of the same use doubles what an insert and a merge cost.
    INDEX by_person person_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (project_id, event, toDate(timestamp), cityHash64(person_id), timestamp)
-- A token must be remembered for as long as its insert can still arrive and run, 120 s and 120 s
-- (WRITE_WITHIN_S). At four cuts a second that is 960 tokens a Kafka partition: enough for 50 of
-- them, at about 200 bytes a token.
SETTINGS non_replicated_deduplication_window = 50000;
