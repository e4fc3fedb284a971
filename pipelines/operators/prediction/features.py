"""The features of a person, each with its formula.

`t` is the time of the event that asks. All are as of that event, itself included. Times are in
seconds, log is the natural logarithm of 1 + x, and h is a half-life: a decayed count is the sum of
2^-((t - time of the event) / h) over events, each at the weight that its own time gives it, however
late it came. The rest is of the events that came in the order of their times.

    recency             log(seconds since the event before; 0 at the first)
    frequency           log(events)
    tenure              log(seconds since the first event)
    sessions            log(sessions; one ends with a gap of 30 minutes)
    session_depth       log(events of this session)
    session_age         log(seconds since this session began)
    active_days         log(days (UTC) with an event)
    gap_mean            log(mean of the gaps between events, in seconds)
    gap_variation       their standard deviation / their mean; 0 without gaps
    decayed_5m … 7d     log(decayed count of all events)
    trend_1h            r(5 min) / (r(5 min) + r(1 h)), where r(h) = decayed count / h
    trend_1d, trend_7d  the same of 1 h and 1 d; of 1 d and 7 d
    hour_sine, _cosine  sine and cosine of 2π · minute of the day (UTC) / 1,440
    weekend             1 on Saturday and Sunday (UTC)

    of the goal, and of each of `events`:
    …_decayed           log(decayed count, h = 1 d)
    …_share             such events / events
    …_recency           log(seconds since the newest such event; without one, since the first event)

    amount_decayed      log(sum of the amounts, decayed with h = 7 d), with the sign of the sum
    amount_last         log(the newest amount), with its sign
    steps_reached       how many of `steps` this session has reached in order / their number
    condition_1 …       1 if the condition holds
    property_last       the newest number in `property`; 0 if there is none
    property_missing    1 if there is none
    category_0 …        1 or -1 in the column that the newest category is hashed to, 0 in the others

What is not finite counts as not set; features are cut off at ± `clip`.
"""

import math
from typing import Final

from pipelines.columnar.arithmetic import (
    MINUTES,
    SINES,
    Float,
    Float64s,
    log1p,
    minute_of,
    signed_log1p,
)
from pipelines.columnar.jit import Int, kernel
from pipelines.engine.constants import DAY_MS
from pipelines.operators.prediction import columns as pc
from pipelines.operators.prediction.columns import Conditions, Shape
from schemas.operators.prediction import MAX_TIMES

# The version of these formulas: models that have learned features of another begin again.
FORMULAS: Final = 1
_DAYS_FROM_SATURDAY: Final = 5  # 1 January 1970 was a Thursday


@kernel
def write_features(
    shape: Shape, conditions: Conditions, words: Float64s, t: Int, features: Float64s
) -> None:
    """Write all features that a prediction of this shape could have, given a row's numbers.

    `t` is the time of the newest event; the row describes the person at that time.
    """
    place = _of_all_events(words, t, features)
    for kind in range(shape.kinds):
        place = _of_kind(words, pc.FIRST_KIND + kind * pc.KIND_WORDS, t, features, place)
    if shape.has_amount:
        features[place] = signed_log1p(words[pc.AMOUNT_DECAYED])
        features[place + 1] = signed_log1p(words[pc.AMOUNT_LAST])
        place += 2
    if shape.steps:
        features[place] = words[pc.REACHED] / shape.steps
        place += 1
    for one in range(shape.conditions):
        features[place] = _holds(conditions, words, one, t)
        place += 1
    if shape.has_number:
        missing = words[pc.NUMBER_AT] == pc.UNSET
        features[place] = 0.0 if missing else words[pc.NUMBER]
        features[place + 1] = 1.0 if missing else 0.0
        place += 2
    for column in range(shape.categories):
        features[place + column] = 0.0
    if shape.categories and words[pc.CATEGORY] != 0.0:
        signed = words[pc.CATEGORY]
        column = int(abs(signed)) - 1
        features[place + column] = 1.0 if signed > 0.0 else -1.0
    place += shape.categories
    for n in range(place):
        features[n] = min(max(features[n], -shape.clip), shape.clip)


@kernel
def _of_all_events(words: Float64s, t: Int, features: Float64s) -> Int:
    """Write the features that need no kind of event; return the next place."""
    gaps, mean = words[pc.GAPS], words[pc.GAP_MEAN]
    previous = words[pc.PREVIOUS]
    features[0] = 0.0 if previous == pc.UNSET else log1p((t - previous) / 1_000.0)
    features[1] = log1p(words[pc.COUNT])
    features[2] = log1p((t - words[pc.FIRST]) / 1_000.0)
    features[3] = log1p(words[pc.SESSIONS])
    features[4] = log1p(words[pc.SESSION_DEPTH])
    features[5] = log1p((t - words[pc.SESSION_BEGIN]) / 1_000.0)
    features[6] = log1p(words[pc.DAYS])
    features[7] = log1p(mean)
    features[8] = 0.0
    if gaps > 0 and mean > 0:
        features[8] = math.sqrt(words[pc.GAP_SQUARES] / gaps) / mean
    place = 9
    for n in range(len(pc.HALF_LIVES_MS)):
        features[place] = log1p(words[pc.DECAYED + n])
        place += 1
    for n in range(len(pc.HALF_LIVES_MS) - 1):
        short = words[pc.DECAYED + n] / pc.HALF_LIVES_MS[n]
        long = words[pc.DECAYED + n + 1] / pc.HALF_LIVES_MS[n + 1]
        features[place] = short / (short + long)
        place += 1
    minute = minute_of(t)
    features[place] = SINES[minute]
    features[place + 1] = SINES[(minute + MINUTES // 4) % MINUTES]
    features[place + 2] = 1.0 if (t // DAY_MS + _DAYS_FROM_SATURDAY) % 7 < 2 else 0.0
    return place + 3


@kernel
def _of_kind(words: Float64s, kind: Int, t: Int, features: Float64s, place: Int) -> Int:
    """Write the features of one kind of events; return the next place."""
    last = words[kind + pc.KIND_LAST]
    since = words[pc.FIRST] if last == pc.UNSET else last
    features[place] = log1p(words[kind + pc.KIND_DECAYED])
    features[place + 1] = words[kind + pc.KIND_COUNT] / words[pc.COUNT]
    features[place + 2] = log1p((t - since) / 1_000.0)
    return place + 3


@kernel
def _holds(conditions: Conditions, words: Float64s, one: Int, t: Int) -> Float:
    """Return 1 if the condition's times, the newest first, hold `at_least` within `within_ms`."""
    oldest = words[pc.FIRST_TIME + one * MAX_TIMES + conditions.at_least[one] - 1]
    return 1.0 if oldest >= t - conditions.within_ms[one] else 0.0
