"""A deployment whose webhooks may be sent to this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.settings import Settings
from services.broker import Broker
from tests.conftest import deployment

WEBHOOK_KEY = "a secret of tests alone"


@pytest.fixture
def settings(broker: Broker, tmp_path: Path) -> Iterator[Settings]:
    more = {"webhook_key": WEBHOOK_KEY, "webhook_networks": "127.0.0.0/8"}
    with deployment(broker, tmp_path, **more) as settings:
        yield settings
