"""What a worker takes from the definitions topic."""

from pipelines.engine.catalog import DefinitionCatalog
from pipelines.operators.funnel.operator import FUNNEL
from schemas.follower import TopicReader
from schemas.settings import Settings
from tests.credentials import put, query_token, write_key
from tests.events import define
from tests.kafka import Record, produce


def test_other_kinds_are_passed_over_and_what_cannot_be_read_is_known(settings: Settings) -> None:
    topic = settings.topics.definitions.name
    put(settings, write_key(), query_token())
    broken = {
        "broken": b"{",
        "nested": b"[" * 100_000,
        "no-text": b'"\xff"',
        "of-another": b'{"project_id":"shop","id":"buy","version":1,"created_at":0,"updated_at":0,'
        b'"funnel":{"steps":[{"event":"a"},{"event":"b"}],"window_s":60}}',
    }
    produce(
        settings.bootstrap,
        topic,
        [
            Record(b"{}", b"shop/kind-of-tomorrow/x"),
            Record(None, b"shop/write-key/revoked"),
            Record(b"{}", b"nonsense"),
            Record(b"{}", b"\xff/a/b"),
            *(Record(value, f"shop/funnel/{name}".encode()) for name, value in broken.items()),
        ],
    )
    define(settings, "buy", ["a", "b"], 60)
    with TopicReader(settings.bootstrap, [topic]) as reader:
        catalog = DefinitionCatalog([FUNNEL], reader)
        while not catalog.caught_up:
            catalog.follow(timeout_s=0.5)

    assert [key.id for key in catalog] == ["buy"]
    assert {of.id for of in catalog.unreadable} == broken.keys()
