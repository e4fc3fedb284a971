"""Queries: each kind beside an oracle on random data, SQL written by hand, and published figures.

Where such figures usually go wrong, and the test that holds it:

- days of 23 and 25 hours: `test_trends_traps`, `test_a_day_of_the_zone_has_as_many_hours…`; in
  cohorts `test_adhoc_cohorts`, in lifecycle and stickiness `test_journeys` (Lisbon, October)
- empty intervals are zeros, figures of no values null: `test_trends_traps`,
  `test_no_events_are_zeros_and_no_values_are_null`
- persons of weeks, months and the range are no sums: `test_trends_traps`,
  `test_persons_of_a_week_and_of_the_range_are_not_sums_of_days`
- persons without events count nowhere: `test_journeys`, `test_activity_traps`
- text numbers: `test_trends_traps`, `test_text_counts_as_a_number_only_if_that_is_asked_for`
- null and 0 in ratios, which are of sums: `test_trends_traps`, `test_ratios_are_of_sums…`
- the most frequent values, ties by name, `other`, null: `test_trends_traps`,
  `test_equal_values_come_by_name…`; in funnels and cohorts `test_adhoc_funnels`,
  `test_adhoc_cohorts`
- the period before, cut at the same elapsed time: `test_trends_traps`, `test_the_period_before…`
- incomplete intervals: `test_trends_traps`, `test_the_running_interval…`; windows that are open:
  `test_adhoc`, `test_conversions_behind_the_range…`; cells that are not reached: `test_adhoc`,
  `test_a_mean_is_of_persons…`, and `test_adhoc_cohorts`, `test_a_rolling_column_is_unknown…`
- conversions behind the range: `test_adhoc`, `test_conversions_behind_the_range…`
- who is inside the window has not dropped: `test_adhoc_funnels`
- means of retention are of persons: `test_adhoc`, `test_a_mean_is_of_persons…`
- new by the first event, not by a property: `test_journeys`, `test_who_is_new_is_so…`
- the first and the last period of stickiness: `test_activity_traps`
- loops and ties in paths, and who dropped there: `test_journeys`, `test_a_loop_is_a_path…`,
  `test_paths_and_their_ends_are_those_of_the_persons`
- sessions over midnight and late events: `test_journeys`, `test_a_session_over_midnight…`
- wide integers, booleans, lists and objects: `test_trends_traps`,
  `test_values_of_all_types_keep_their_type`; in lists of values `test_lists`
- what persons are now, and what they were: `test_filters`, in every kind
"""
