"""Any figure can be asked as of any earlier positions: it is that of the events below them.

Written once over every registered operator that ClickHouse answers for.
"""

import uuid
from types import SimpleNamespace
from typing import cast

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from services.query.clickhouse.events import Prefix
from tests.laws.conftest import Subject
from tests.laws.entry import NOON, PERSONS
from tests.warehouse import Event as Row
from tests.warehouse import Warehouse

checked = hypothesis.settings.get_profile("laws")


@hypothesis.settings(checked, max_examples=8)
@given(data=st.data())
def test_an_answer_is_found_again_from_the_prefix_of_the_log_that_it_was_given_over(
    subject: Subject, warehouse: Warehouse, data: st.DataObject
) -> None:
    if subject.entry.stream_only:
        return
    case, project = data.draw(subject.cases), uuid.uuid4().hex
    definition = subject.definition(case, project)
    events = data.draw(st.permutations(case.events))
    partitions = [PERSONS.index(event.person) for event in events]
    # A first answer, of some of the events: then come the others, and the answer is asked again.
    given_at = data.draw(st.integers(0, len(events)))
    offsets = []
    for begin, end in ((0, given_at), (given_at, len(events))):
        offsets += warehouse.write(
            Row(project, event.person, event.event, event.at, event.text, partition)
            for event, partition in list(zip(events, partitions, strict=True))[begin:end]
        )
    ends = sorted({0, *offsets, *(offset + 1 for offset in offsets)})
    for positions in (
        dict.fromkeys(set(partitions), offsets[given_at] if given_at < len(events) else ends[-1]),
        {partition: data.draw(st.sampled_from(ends)) for partition in set(partitions)},
    ):
        below = [
            event
            for event, partition, offset in zip(events, partitions, offsets, strict=True)
            if offset < positions[partition]
        ]
        now = max((event.at for event in below), default=NOON)
        prefix = Prefix(warehouse.settings.clickhouse_database, positions)
        found = subject.entry.in_store(_over(warehouse, prefix), definition, now)
        assert found == subject.entry.oracle(case.body, below, now)


def _over(warehouse: Warehouse, prefix: Prefix) -> Warehouse:
    """A warehouse in which statements find the events of a prefix only."""
    settings = SimpleNamespace(clickhouse_database=prefix)
    return cast(Warehouse, SimpleNamespace(settings=settings, ask=warehouse.ask))
