"""A body of each kind of query, which the tests of all kinds ask."""

from typing import Any, Final

_NOVEMBER: Final = {"from": "2026-11-01", "to": "2026-11-30"}

EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "trends": {
        "series": [{"event": "buy"}, {"measure": "persons"}],
        "formulas": [{"formula": "A / B"}],
        "breakdown": [{"property": "plan"}],
        "where": [{"not": {"property": "plan", "value": "free"}}],
        "compare": True,
        **_NOVEMBER,
    },
    "events": {"event": "buy", "where": [{"property": "plan", "value": "pro"}], **_NOVEMBER},
    "persons": {"search": "AN", "where": [{"property": "plan", "op": "is_set"}]},
    "person": {"person": "ann", "limit": 1},
    "properties": {"event": "buy", "search": "pl"},
    "values": {"property": "plan"},
    "lifecycle": {"event": "buy", "interval": "week", **_NOVEMBER},
    "stickiness": _NOVEMBER,
    "sessions": {"gap_s": 60, "interval": "month", **_NOVEMBER},
    "funnel": {"funnel": {"steps": [{"event": "buy"}, {"event": "view"}]}, **_NOVEMBER},
    "cohort": {"cohort": {"start": {"event": "buy"}, "periods": 3}, **_NOVEMBER},
    "segment": {"rule": {"performed": {"event": "buy"}}, "limit": 1},
    "paths": {
        "through": "buy",
        "steps": 2,
        "persons": {"step": 0, "event": "buy"},
        **_NOVEMBER,
    },
}
