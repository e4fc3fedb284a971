"""What a worker takes from the definitions topic: the funnels, whatever else stands there."""

from pipelines.engine.catalog import DefinitionCatalog
from pipelines.operators.funnel.operator import FUNNEL
from schemas.follower import TopicReader
from schemas.settings import Settings
from tests.credentials import put, query_token, write_key
from tests.events import define
from tests.kafka import Record, produce


def test_other_kinds_and_what_cannot_be_read_are_passed_over(settings: Settings) -> None:
    topic = settings.topics.definitions.name
    put(settings, write_key(), query_token())
    produce(
        settings.bootstrap,
        topic,
        [
            Record(b"{}", b"shop/kind-of-tomorrow/x"),
            Record(None, b"shop/write-key/revoked"),
            Record(b"{}", b"nonsense"),
            Record(b"{}", b"\xff/a/b"),
            Record(b"{", b"shop/funnel/broken"),
            Record(b"[" * 100_000, b"shop/funnel/nested"),
            Record(b'"\xff"', b"shop/funnel/no-text"),
        ],
    )
    define(settings, "buy", ["a", "b"], 60)
    with TopicReader(settings.bootstrap, [topic]) as follower:
        catalog = DefinitionCatalog([FUNNEL], follower)
        while not catalog.caught_up:
            catalog.follow(timeout_s=0.5)

    assert [key.id for key in catalog] == ["buy"]
