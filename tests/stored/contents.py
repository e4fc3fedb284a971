"""What a stored data directory holds: the definitions, the events, and the questions about them.

Everything is in the words of the version that a directory is made with, so these change when one is
made with a later version.
"""

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

PERSONS: Final = 24
_DAY_S: Final = 86_400

_PRO: Final = {"property": "plan", "value": "pro"}
_STEPS: Final = [{"event": "home"}, {"event": "cart"}, {"event": "buy"}]

# Defined before there are events: kind, id, body.
BEFORE: Final[list[tuple[str, str, dict[str, Any]]]] = [
    ("funnels", "plain", {"steps": _STEPS, "window_s": _DAY_S, "name": "Plain"}),
    (
        "funnels",
        "options",
        {
            "steps": [_STEPS[0], {"event": "coupon", "optional": True}, *_STEPS[1:]],
            "window_s": 2 * _DAY_S,
            "order": "ordered",
            "once": True,
            "entries": True,
            "hold_constant": ["visit"],
            "exclusions": [{"event": "refund", "after": 2}],
            "breakdown": {"property": "plan", "attribution": "first"},
        },
    ),
    (
        "cohorts",
        "daily",
        {
            "start": {"event": "home"},
            "return": {"event": "buy", "where": [{"property": "price", "op": "gt", "value": 10}]},
            "timezone": "Europe/Lisbon",
            "breakdown": {"property": "plan"},
        },
    ),
    ("segments", "buyers", {"rule": {"did": {"event": "buy", "at_least": 2}}}),
    (
        "segments",
        "lapsed",
        {
            "name": "Bought in order, and not for an hour",
            "rule": {
                "and": [
                    {"performed": {"steps": _STEPS, "window_s": _DAY_S}},
                    {"last_seen": {"event": "buy", "longer_ago_s": 3_600}},
                    {"not": {"did": {"event": "refund", "within_s": 3_600}}},
                ]
            },
        },
    ),
    (
        "metrics",
        "revenue",
        {
            "measure": "sum",
            "property": "price",
            "of": {"event": "buy", "where": [_PRO]},
            "bucket_s": 86_400,
            "timezone": "Europe/Lisbon",
        },
    ),
    ("metrics", "frequent", {"measure": "events", "by_event": True, "bucket_s": 86_400}),
]
# Defined when half of the events have come.
LATER: Final[list[tuple[str, str, dict[str, Any]]]] = [
    ("funnels", "strict", {"steps": _STEPS[:2], "order": "strict", "window_s": _DAY_S}),
    (
        "funnels",
        "any",
        {
            "steps": [{"event": "cart"}, {"event": "buy", "where": [_PRO]}],
            "order": "any",
            "breakdown": {"property": "price", "attribution": 2},
        },
    ),
    ("cohorts", "weekly", {"start": {"event": "cart"}, "period": "week", "periods": 3}),
    (
        "segments",
        "referring",
        {
            "rule": {
                "or": [
                    {"segment": "buyers"},
                    {"and": [{"person": [_PRO]}, {"first_seen": {"before": "2027-01-01"}}]},
                ]
            }
        },
    ),
    ("metrics", "people", {"measure": "persons", "bucket_s": 86_400}),
    (
        "metrics",
        "waiting",
        {
            "measure": "percentiles",
            "property": "price",
            "of": {"event": "buy"},
            "percentiles": [50, 90],
            "bucket_s": 86_400,
        },
    ),
    (
        "metrics",
        "pages",
        {"measure": "top", "property": "page", "limit": 3, "bucket_s": 86_400},
    ),
]
# Every question whose answer is recorded, by kind; each is put to the stream and to the store.
# Metrics go on for as long as persons are active in a window, so they are asked of a while.
QUESTIONS: Final = {
    "funnels": ("results?",),
    "cohorts": ("results?",),
    "segments": ("results?", "members?"),
    "metrics": ("results?to={to}&",),
}
SOURCES: Final = ("stream", "store")


def events(begin_ms: int, count: int = 320, persons: int = PERSONS) -> list[dict[str, Any]]:
    """Events of some days, in order of time; the last half an hour of them is a quiet one."""
    rng = random.Random(7)
    at, sent = begin_ms, []
    for number in range(count):
        at += rng.randrange(1, 1_200_000)
        person = rng.randrange(persons)
        plan = rng.choice(["free", "pro", "team", None])
        properties: dict[str, Any] = {"visit": number // 160, "page": f"/{rng.randrange(6)}"}
        if plan is not None:
            properties |= {"plan": plan, "$set": {"plan": plan}}
        event = rng.choice(["home", "home", "home", "cart", "cart", "coupon", "buy", "refund"])
        if event == "buy":
            properties["price"] = rng.choice([5, 9.5, 20, 120])
        sent.append(
            {
                "event_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                "event": event,
                "distinct_id": f"person-{person}",
                "timestamp": at,
                "properties": properties,
            }
        )
    # The clock of the project comes to be far beyond all that a rule looks back for.
    return [*sent, plain_event("bye", "person-0", at + 4 * 3_600_000)]


def plain_event(name: str, person: str, at_ms: int) -> dict[str, Any]:
    """An event without properties, under a new id."""
    identified = {"event_id": str(uuid.uuid4()), "event": name, "distinct_id": person}
    return identified | {"timestamp": at_ms, "properties": {}}


def questions(last_ms: int) -> Iterator[str]:
    """The paths of all questions whose answers are recorded, but for `source=`."""
    to = datetime.fromtimestamp(last_ms / 1_000, UTC).date()
    for kind, name, _ in [*BEFORE, *LATER]:
        for question in QUESTIONS[kind]:
            yield f"{kind}/{name}/{question.format(to=to)}"
