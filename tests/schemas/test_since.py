"""From when on events count."""

from collections.abc import Callable

import msgspec
import pytest

from schemas.errors import InvalidRequest
from schemas.operators import cohort as cohorts
from schemas.operators import funnel as definitions
from schemas.operators import metric as metrics
from schemas.time.since import ALL_TIME, since_ms

BODIES: list[tuple[Callable[[bytes], object], dict[str, object]]] = [
    (definitions.decode_funnel, {"steps": [{"event": "a"}, {"event": "b"}]}),
    (cohorts.decode_cohort, {"start": {"event": "a"}}),
    (metrics.decode_metric, {"measure": "events"}),
]


def test_a_time_is_its_moment_and_no_time_is_all_of_it() -> None:
    assert since_ms(None) == ALL_TIME
    assert since_ms("1970-01-02") == 86_400_000
    assert since_ms("1970-01-01T01:00:00.250+01:00") == 250


@pytest.mark.parametrize(("read", "body"), BODIES)
@pytest.mark.parametrize("wrong", ["yesterday", "", "1969-12-31", "2200-01-01", "2026-02-30"])
def test_what_is_no_such_time_is_refused_by_its_name(
    read: Callable[[bytes], object], body: dict[str, object], wrong: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(msgspec.json.encode(body | {"since": wrong}))
    assert refused.value.field == "since"
    assert "2026-11-22" in str(refused.value)
