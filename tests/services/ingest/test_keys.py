"""Write keys on a running service: made, shown in every way, limited and revoked."""

import base64
import threading
from typing import Any

import pytest

from schemas.settings import Settings, read_settings
from services.keys.admin import run_with_key_admin
from tests.conftest import free_ports
from tests.credentials import KEY, SHOP_KEY, TOKEN, bearer, put, write_key
from tests.services.ingest.conftest import Ingest, eventually, serving

EVENT = {"event": "view", "distinct_id": "u1"}
EMPTY_OBJECT: dict[str, str] = {"Authorization": ""}


def status(ingest: Ingest, body: Any = EVENT, **headers: str) -> int:
    """How a request is answered; `headers` instead of the client's own key."""
    return ingest.http.post("/v1/events", json=body, headers=headers or None).status_code


def basic(user: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        (bearer(SHOP_KEY), {}),
        ({"Authorization": f"bearer  {SHOP_KEY}"}, {}),
        (basic(f"{SHOP_KEY}:"), {}),
        (basic(SHOP_KEY), {}),
        (EMPTY_OBJECT, {"write_key": SHOP_KEY}),
        (bearer(KEY), {"write_key": SHOP_KEY}),
    ],
    ids=["bearer", "bearer in small letters", "basic", "basic without colon", "body", "both"],
)
@pytest.mark.parametrize("shape", ["events", "event"])
def test_a_key_is_read_wherever_it_is_put(
    ingest: Ingest, headers: dict[str, str], more: dict[str, str], shape: str
) -> None:
    if headers is EMPTY_OBJECT:
        del ingest.http.headers["Authorization"]
        headers = {}
    body: dict[str, Any] = EVENT if shape == "event" else {"events": [EVENT]}

    [result] = ingest.results(body | more, headers=headers)

    assert result["result"] == "ok", result
    assert [stored["project_id"] for stored in ingest.inbox()] == ["shop"]


def test_a_body_with_something_unknown_about_it_still_shows_its_key(shared: Ingest) -> None:
    body = {"events": [EVENT], "write_key": SHOP_KEY, "version": 3, "project_id": "shop"}

    assert shared.results(body)[0]["result"] == "warning"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Authorization": ""}, "accepted are `Bearer <write key>`"),
        ({"Authorization": "Digest x"}, "accepted are `Bearer <write key>`"),
        ({"Authorization": "Basic /w=="}, "`Basic` with it as the user"),
        (basic(":password"), "a write key is required"),
        (bearer("awk_unknown"), "unknown or was revoked"),
        (bearer(TOKEN), "a query token, which is secret"),
        (basic("phx_secret:"), "PostHog"),
    ],
)
def test_without_a_write_key_nothing_is_taken(
    ingest: Ingest, headers: dict[str, str], why: str
) -> None:
    answer = ingest.post(EVENT, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "unauthorized"
    assert why in answer.json()["error"]["message"]
    assert not ingest.inbox()


def test_a_key_works_when_it_is_made_and_until_it_is_revoked(own: Ingest) -> None:
    key = run_with_key_admin(own.settings, lambda admin: admin.create_write_key("late")).id
    eventually(lambda: status(own, **bearer(key)) == 200)

    run_with_key_admin(own.settings, lambda admin: admin.revoke_write_key(key))
    eventually(lambda: status(own, **bearer(key)) == 401)

    assert {stored["project_id"] for stored in own.inbox()} == {"late"}


def test_what_is_over_a_limit_is_answered_429_with_when_to_come_again(own: Ingest) -> None:
    put(
        own.settings,
        write_key("awk_daily", events_per_day=3),
        write_key("awk_slow", events_per_s=1),
    )
    eventually(lambda: status(own, [], **bearer("awk_slow")) == 200)

    assert status(own, [EVENT] * 2, **bearer("awk_daily")) == 200
    daily = own.post([EVENT] * 2, headers=bearer("awk_daily"))
    assert status(own, [EVENT] * 100, **bearer("awk_slow")) == 200
    slow = own.post(EVENT, headers=bearer("awk_slow"))

    for answer, limit in ((daily, "3 events a day"), (slow, "1 events a second")):
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "over_limit"
        assert limit in answer.json()["error"]["message"]
    assert 0 < int(daily.headers["Retry-After"]) <= 86_400
    assert 0 < int(slow.headers["Retry-After"]) <= 99
    assert len(own.inbox()) == 102


def test_a_key_for_some_web_pages_is_refused_on_others(own: Ingest) -> None:
    put(own.settings, write_key("awk_page", origins=("https://shop.example",)))
    eventually(lambda: status(own, [], **bearer("awk_page")) == 200)

    assert status(own, **bearer("awk_page"), Origin="https://shop.example") == 200
    assert status(own, **bearer("awk_page"), Origin="https://evil.example") == 403


def test_too_large_a_batch_is_refused_before_it_is_charged(settings: Settings) -> None:
    put(settings, write_key("awk_daily", events_per_day=3))
    with serving(settings, max_events=3) as ingest:
        assert status(ingest, [EVENT] * 4, **bearer("awk_daily")) == 413
        assert status(ingest, [EVENT] * 3, **bearer("awk_daily")) == 200


def test_it_is_not_ready_and_sends_nobody_away_before_the_keys_are_known() -> None:
    from services.ingest.limits import Limits
    from services.ingest.server import IngestServer
    from services.listening import listen

    [port] = free_ports(1)
    away = read_settings({}, kafka_bootstrap=f"127.0.0.1:{port}")
    with listen("127.0.0.1", 0, "test") as listener:
        server = IngestServer(away, listener, 7, Limits())
        thread = threading.Thread(target=server.run)
        thread.start()
        ingest = Ingest(away, listener.getsockname()[1], server)
        try:
            answer = ingest.post(EVENT)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert "still being read" in answer.json()["error"]["message"]
            assert ingest.http.get("/readyz").status_code == 503
            assert ingest.http.get("/healthz").status_code == 200
        finally:
            ingest.close()
            server.stop()
            thread.join()
