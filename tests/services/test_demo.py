"""The dashboard that the demonstration opens on shows what the demonstration defines."""

from typing import Any

import msgspec

from schemas.dashboards import decode_dashboard
from services.demo.dashboard import DASHBOARD
from services.demo.run import DEFINITIONS
from services.query.dashboards.asks import definition_of


def test_every_tile_shows_something_that_the_demonstration_defines() -> None:
    defined = {(plural.removesuffix("s"), body["id"]) for plural, body in DEFINITIONS}
    tiles = decode_dashboard(msgspec.json.encode(DASHBOARD)).tiles
    shown: list[Any] = [one for tile in tiles if (one := definition_of(tile)) is not None]
    assert len(shown) >= 5
    assert set(shown) <= defined
