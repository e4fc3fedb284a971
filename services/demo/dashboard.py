"""The dashboard that the demonstration opens on: what visitors of the shop do, live."""

from typing import Any, Final

DASHBOARD_ID: Final = "shop"
DASHBOARD: Final[dict[str, Any]] = {
    "name": "The shop, live",
    "description": "Visits to a web shop, as they happen.",
    "tiles": [
        {
            "kind": "number",
            "id": "purchases",
            "title": "Purchases in 7 days",
            "width": 1,
            "height": 1,
            "query": {
                "series": [{"event": "purchase"}],
                "interval": "day",
                "last": 7,
                "compare": True,
            },
        },
        {"kind": "active", "id": "active", "metric": "visitors", "width": 2, "height": 1},
        {"kind": "segment", "id": "left-a-cart", "segment": "left-a-cart", "width": 1, "height": 1},
        {"kind": "funnel", "id": "funnel", "funnel": "home-to-purchase", "width": 2, "height": 2},
        {"kind": "feed", "id": "feed", "width": 2, "height": 2},
        {
            "kind": "trend",
            "id": "visits",
            "title": "Persons by day, and in the month before",
            "width": 2,
            "height": 2,
            "query": {
                "series": [{"measure": "persons", "name": "persons"}],
                "interval": "day",
                "last": 30,
                "compare": True,
            },
        },
        {"kind": "top", "id": "events", "title": "Events", "query": {"limit": 8}},
        {"kind": "cohort", "id": "retention", "cohort": "retention", "width": 2, "height": 2},
        {"kind": "prediction", "id": "buys-soon", "prediction": "buys-soon"},
    ],
}
