"""Who may send what, decided without a broker and by the test's own clocks."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BackOff, Forbidden, OverLimit, Unauthorized
from schemas.keys import Project, mint_token
from services.ingest.access import Access
from services.keys.view import Change, Keys
from tests.credentials import KEY, SHOP_KEY, query_token, write_key
from tests.services.ingest.conftest import UNHURRIED

DAY_MS = 86_400_000
NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


class Gate:
    """Access to the keys given, at times that the test sets."""

    def __init__(self, *definitions: Any) -> None:
        self.keys = Keys()
        self.ready = True
        self.now_ms = NOON_MS
        self.now_s = 1_000.0
        self.stand(*definitions)
        self.access = Access(self.keys, lambda: self.ready, lambda: self.now_ms, lambda: self.now_s)

    def stand(self, *definitions: Any) -> None:
        self.keys.apply([Change(one.project_id, one.kind, one.id, one) for one in definitions])

    def admit(self, events: int = 1, key: str = KEY, origin: str = "") -> str:
        return self.access.admit(key, origin, events)

    def wait_for(self, events: int, key: str = KEY) -> float:
        """For how many seconds so many events are to be kept back; 0 if they are let in."""
        try:
            self.admit(events, key)
        except OverLimit as limit:
            return limit.retry_after
        return 0


def test_a_key_sends_to_its_project() -> None:
    gate = Gate(write_key(), write_key(SHOP_KEY, "shop"))

    assert (gate.admit(), gate.admit(key=SHOP_KEY)) == ("default", "shop")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "a write key is required"),
        ("awk_none", "unknown or was revoked"),
        pytest.param(mint_token(), "query token, which is secret", id="a query token"),
        ("phx_0123456789", "personal API key of PostHog's"),
    ],
)
def test_what_is_no_write_key_is_refused_with_what_it_is(key: str, why: str) -> None:
    with pytest.raises(Unauthorized, match=why) as refusal:
        Gate(write_key(), query_token()).admit(key=key)

    assert "avila keys create" in str(refusal.value)
    assert not key or key not in str(refusal.value)


def test_a_revoked_key_is_unknown_and_the_same_id_elsewhere_is_not_meant() -> None:
    gate = Gate(write_key())

    gate.keys.apply([Change("shop", "write-key", KEY, None)])
    assert gate.admit() == "default"
    gate.keys.apply([Change("default", "write-key", KEY, None)])
    with pytest.raises(Unauthorized, match="revoked"):
        gate.admit()


def test_before_the_keys_are_known_nobody_is_sent_away_for_good() -> None:
    gate = Gate(write_key())
    gate.ready = False

    for key in (KEY, "awk_none"):
        with pytest.raises(BackOff) as refusal:
            gate.admit(key=key)
        assert not isinstance(refusal.value, OverLimit)


def test_origins_that_are_listed_are_let_in_and_whoever_names_none() -> None:
    gate = Gate(write_key(origins=("https://shop.example", "http://localhost:3000")))

    for origin in ("", "https://shop.example", "HTTPS://Shop.Example", "http://localhost:3000"):
        assert gate.admit(origin=origin) == "default"
    for origin in ("http://shop.example", "https://shop.example:8443", "https://a.b", "null"):
        with pytest.raises(Forbidden, match="may not be used from"):
            gate.admit(origin=origin)
    assert Gate(write_key()).admit(origin="https://a.b") == "default"


def test_the_rate_is_kept_and_a_batch_may_be_larger_than_it() -> None:
    gate = Gate(write_key(events_per_s=10))

    assert gate.wait_for(30) == 0
    assert gate.wait_for(1) == pytest.approx(2)  # one second's worth was free
    gate.now_s += 1.9
    assert gate.wait_for(1) == pytest.approx(0.1)
    gate.now_s += 0.2
    assert gate.wait_for(1) == 0


def test_an_hours_silence_saves_up_no_more_than_a_second() -> None:
    gate = Gate(write_key(events_per_s=10))
    gate.admit()
    gate.now_s += 3_600

    sent = 0
    while not gate.wait_for(1):
        sent += 1
    assert sent == 10
    assert gate.wait_for(1) == 0.1


@UNHURRIED
@given(
    rate=st.integers(1, 1_000),
    sends=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 500)), max_size=60),
)
def test_over_any_time_no_more_is_let_in_than_the_rate_a_burst_and_one_request(
    rate: int, sends: list[tuple[float, int]]
) -> None:
    gate = Gate(write_key(events_per_s=rate))
    begin, taken = gate.now_s, 0
    for pause_s, events in sends:
        gate.now_s += pause_s
        if not gate.wait_for(events):
            taken += events
        assert taken <= rate * (gate.now_s - begin + 1) * (1 + 1e-9) + 500


def test_the_quota_is_never_passed_and_begins_anew_at_midnight_utc() -> None:
    gate = Gate(write_key(events_per_day=100))

    assert gate.wait_for(60) == 0
    assert gate.wait_for(41) == DAY_MS / 2_000
    assert gate.wait_for(40) == 0
    gate.now_ms += DAY_MS // 2 - 1
    assert gate.wait_for(1) == 0.001
    gate.now_ms += 1
    assert gate.wait_for(100) == 0
    assert gate.wait_for(1) == DAY_MS / 1_000


def test_a_projects_limits_are_shared_by_its_keys_and_no_others() -> None:
    gate = Gate(
        write_key("awk_web1"),
        write_key("awk_app1"),
        write_key(SHOP_KEY, "shop"),
        Project(id="default", updated_at=0, events_per_day=10),
    )

    assert gate.wait_for(6, "awk_web1") == 0
    assert gate.wait_for(6, "awk_app1") > 0
    assert gate.wait_for(4, "awk_app1") == 0
    assert gate.wait_for(1_000, SHOP_KEY) == 0


def test_what_one_limit_refuses_is_charged_to_none() -> None:
    gate = Gate(
        write_key(events_per_day=100), Project(id="default", updated_at=0, events_per_day=10)
    )

    for _ in range(20):
        assert gate.wait_for(11) > 0
    gate.stand(Project(id="default", updated_at=1))
    assert gate.wait_for(100) == 0


def test_a_limit_that_changes_holds_for_what_was_sent_before() -> None:
    gate = Gate(write_key(events_per_day=100))
    gate.admit(50)

    gate.stand(write_key(events_per_day=60))
    assert gate.wait_for(11) > 0
    assert gate.wait_for(10) == 0


def test_whether_a_key_is_good_may_be_asked_at_no_charge() -> None:
    gate = Gate(write_key(events_per_day=1))

    assert [gate.admit(0) for _ in range(3)] == ["default"] * 3
    assert gate.wait_for(1) == 0
    assert gate.admit(0) == "default"


def test_strangers_leave_nothing_behind() -> None:
    gate = Gate(write_key(events_per_s=1))

    for number in range(100):
        with pytest.raises(Unauthorized):
            gate.admit(key=f"awk_{number}")
    gate.admit()
    assert len(gate.access._meters) == 1
