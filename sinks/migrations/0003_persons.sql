-- What is known of each person, from the events of each partition of the event store.
--
-- A row is an aggregate of some events of a person: those of one insert into `events`, or of several
-- after merges. All aggregates are idempotent: an event that is inserted again changes none, not even
-- the count, which is that of distinct places in the event store. So this table equals a fold of `events` as soon as
-- each event has been inserted at least once, and whatever cannot know whether a row was derived
-- derives it again.
--
-- Values are those that `$set` and `$set_once` gave a property, as JSON, with the time (ms) and the
-- offset of the event. The key is `s` and the name, or `o` and the name for a value that is an
-- object: a property has none of these, but its parts are read in SQL.
CREATE TABLE IF NOT EXISTS {database}.person_states
(
    project_id  LowCardinality(String),
    person_id   String,
    _partition  UInt32,
    first_seen  SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_seen   SimpleAggregateFunction(max, DateTime64(3, 'UTC')),
    places      AggregateFunction(groupBitmap, UInt64),
    last_offset SimpleAggregateFunction(max, UInt64),
    set_last    AggregateFunction(maxMap, Map(String, Tuple(Int64, UInt64, String))),
    set_first   AggregateFunction(minMap, Map(String, Tuple(Int64, UInt64, String)))
)
ENGINE = AggregatingMergeTree
ORDER BY (project_id, person_id, _partition);

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.person_states_of_events
TO {database}.person_states AS
{person_fold};

-- Events that were inserted before. Those that come meanwhile are folded by the view as well.
INSERT INTO {database}.person_states
    (project_id, person_id, _partition, {person_aggregates})
{person_fold_of_month}
SETTINGS
    json_type_escape_dots_in_keys = 1,
    max_bytes_before_external_group_by = 500000000;

-- All persons of all projects, one row each. It is created when the table is complete, so whoever
-- finds it can rely on the table.
--
-- `properties` has the last value that `$set` gave a property, or else the first of `$set_once`.
CREATE VIEW IF NOT EXISTS {database}.persons AS
SELECT
    project_id, person_id, first_seen, last_seen, events,
    CAST(
        concat('{', arrayStringConcat(arrayMap(
            (name, value) -> concat(toJSONString(name), ':', value), mapKeys(given), mapValues(given)
        ), ','), '}')
        AS JSON(max_dynamic_paths = 256)
    ) AS properties
FROM
(
    SELECT
        project_id, person_id, first_seen, last_seen, events,
        -- Of a value that is an object and one that is none, the later (or the earlier) one counts.
        mapFilter(
            (key, one) -> NOT mapContains(
                last, concat(if(startsWith(key, 's'), 'o', 's'), substring(key, 2))
            ) OR one > last[concat(if(startsWith(key, 's'), 'o', 's'), substring(key, 2))],
            last
        ) AS set_last,
        mapFilter(
            (key, one) -> NOT mapContains(
                first, concat(if(startsWith(key, 's'), 'o', 's'), substring(key, 2))
            ) OR one < first[concat(if(startsWith(key, 's'), 'o', 's'), substring(key, 2))],
            first
        ) AS set_first,
        mapUpdate(
            CAST(arrayMap(
                (key, one) -> (substring(key, 2), one.3), mapKeys(set_first), mapValues(set_first)
            ) AS Map(String, String)),
            CAST(arrayMap(
                (key, one) -> (substring(key, 2), one.3), mapKeys(set_last), mapValues(set_last)
            ) AS Map(String, String))
        ) AS given
    FROM
    (
        SELECT
            state.project_id AS project_id,
            state.person_id AS person_id,
            CAST(min(state.first_seen) AS DateTime64(3, 'UTC')) AS first_seen,
            CAST(max(state.last_seen) AS DateTime64(3, 'UTC')) AS last_seen,
            groupBitmapMerge(state.places) AS events,
            maxMapMerge(state.set_last) AS last,
            minMapMerge(state.set_first) AS first
        FROM {database}.person_states AS state
        GROUP BY state.project_id, state.person_id
    )
)
