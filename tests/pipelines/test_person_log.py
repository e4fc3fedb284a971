"""The records of a definition that ends are deleted, but not those of partition in another one."""

from pathlib import Path

from msgspec.structs import replace

from pipelines.engine.changelog import PersonChangelog
from pipelines.kafka.records import Outbox
from pipelines.operators.funnel.operator import FUNNEL
from pipelines.worker.snapshots import Snapshots
from tests.pipelines.test_partition import DEFINITION, KEY, feed, with_funnel

OTHER = replace(DEFINITION, id="look")


def test_a_person_with_a_row_of_another_funnel_is_not_deleted(tmp_path: Path) -> None:
    partition, outbox = with_funnel(), Outbox()
    log = PersonChangelog("state", 0, Snapshots(tmp_path, "persons"), outbox)
    other = FUNNEL.instance(OTHER, 0)
    partition.instances[other.key] = other
    feed(partition, ["ann", "ben"], offset=0, due=0)
    log.write_rows(partition, 0)
    log.write_meta(partition)
    log.tombstone(partition, KEY)
    del partition.instances[KEY]
    feed(partition, ["ann"], offset=2, due=0, key=other.key)
    log.write_rows(partition, 0)
    log.write_meta(partition)
    kept: dict[bytes | None, bytes | None] = {}
    for sent in outbox.take():
        kept.update(zip(sent.keys.to_pylist(), sent.values.to_pylist(), strict=True))
    assert kept[b"shop/ann"]
    assert kept[b"shop/ben"] is None
