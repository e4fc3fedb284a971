"""A funnel that ends is cleared away, and nobody with it who is in another one by then."""

from pathlib import Path

from msgspec.structs import replace

from pipelines.engine.changelog import PersonChangelog
from pipelines.kafka.records import Outbox
from pipelines.operators.funnel.operator import FUNNEL
from pipelines.worker.snapshots import Snapshots
from tests.pipelines.test_partition import DEFINITION, KEY, feed, partition

OTHER = replace(DEFINITION, id="look")


def test_who_is_in_another_funnel_by_then_is_not_deleted(tmp_path: Path) -> None:
    persons, outbox = partition(), Outbox()
    log = PersonChangelog("state", 0, Snapshots(tmp_path, "persons"), outbox)
    other = FUNNEL.instance(OTHER, 0)
    persons.instances[other.key] = other
    feed(persons, ["ann", "ben"], offset=0, due=0)
    log.write_rows(persons, 0)
    log.write_meta(persons)
    log.tombstone(persons, KEY)
    del persons.instances[KEY]
    feed(persons, ["ann"], offset=2, due=0, key=other.key)
    log.write_rows(persons, 0)
    log.write_meta(persons)
    kept: dict[bytes | None, bytes | None] = {}
    for sent in outbox.take():
        kept.update(zip(sent.keys.to_pylist(), sent.values.to_pylist(), strict=True))
    assert kept[b"shop/ann"]
    assert kept[b"shop/ben"] is None
