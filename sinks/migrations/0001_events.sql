-- AvilaDB: one row for each record of the event store.
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
    -- A dot in a key is escaped as %2E: `a.b` is the path of {"a": {"b": 1}}, `a%2Eb` of {"a.b": 1}.
    properties   JSON(max_dynamic_paths = 256),
    context      String,
    -- The position of the record in the event store.
    _partition   UInt32,
    _offset      UInt64,
    -- The text, if `properties` cannot hold it (not an object, nested too deeply); else empty.
    _properties  String,

    -- For the events of one person. The hash in the sorting key keeps a person together within an
    -- event and a day; with this index, about as many granules are read as have rows of the person.
    -- A projection for this purpose doubles the cost of inserts and merges.
    INDEX by_person person_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (project_id, event, toDate(timestamp), cityHash64(person_id), timestamp)
-- A token must be kept for as long as its insert can still arrive and run: 120 s and 120 s (see
-- WRITE_TIMEOUT_S). At four chunks a second that is 960 tokens for each Kafka partition: enough for
-- 50 partitions, at about 200 bytes a token.
SETTINGS non_replicated_deduplication_window = 50000;
