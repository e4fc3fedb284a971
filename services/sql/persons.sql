SELECT
    `__avila_person` AS `person_id`,
    `__avila_first` AS `first_seen`,
    `__avila_last` AS `last_seen`,
    `__avila_count` AS `events`,
    CAST(
        concat('{', arrayStringConcat(arrayMap(
            (name, value) -> concat(toJSONString(name), ':', value),
            mapKeys(`__avila_values`),
            mapValues(`__avila_values`)
        ), ','), '}')
        AS JSON(max_dynamic_paths = 256)
    ) AS `properties`
FROM
(
    SELECT
        `__avila_event`.`person_id` AS `__avila_person`,
        min(`__avila_event`.`timestamp`) AS `__avila_first`,
        max(`__avila_event`.`timestamp`) AS `__avila_last`,
        count() AS `__avila_count`,
        -- As in segments: the last value that `$set` gave a property, else the first of `$set_once`.
        mapUpdate(
            arrayFold(
                (all, one) -> mapUpdate(all, one.3),
                arrayReverseSort(one -> (one.1, one.2), groupArrayIf(
                    (
                        `__avila_event`.`timestamp`, `__avila_event`.`_offset`,
                        CAST(JSONExtractKeysAndValuesRaw(toJSONString(
                            `__avila_event`.`properties`.^`$set_once`
                        )) AS Map(String, String))
                    ),
                    toJSONString(`__avila_event`.`properties`.^`$set_once`) != '{}'
                )),
                CAST(map() AS Map(String, String))
            ),
            arrayFold(
                (all, one) -> mapUpdate(all, one.3),
                arraySort(one -> (one.1, one.2), groupArrayIf(
                    (
                        `__avila_event`.`timestamp`, `__avila_event`.`_offset`,
                        CAST(JSONExtractKeysAndValuesRaw(toJSONString(
                            `__avila_event`.`properties`.^`$set`
                        )) AS Map(String, String))
                    ),
                    toJSONString(`__avila_event`.`properties`.^`$set`) != '{}'
                )),
                CAST(map() AS Map(String, String))
            )
        ) AS `__avila_values`
    FROM {database}.`events` AS `__avila_event`
    WHERE `__avila_event`.`project_id` = {__avila_project:String}
    GROUP BY `__avila_event`.`person_id`
)
