"""Events of the past come back in the order of time, each once, whatever memory there is."""

import itertools
from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.columnar.dictionary import DictionaryColumn
from pipelines.engine.history import Disorder, History, SelectedEvents
from pipelines.matching.match import Key
from pipelines.matching.value_hash import fingerprints

KEYS = [Key("funnel", "shop", name, 1) for name in ("one", "two")]
EVENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20), st.booleans()), max_size=60)


def selected(events: list[tuple[int, int, bool]], begin: int) -> SelectedEvents:
    """Events of persons at times, each with a value that says its offset."""
    offsets = np.arange(begin, begin + len(events))
    return SelectedEvents(
        np.array([person for person, _, _ in events], np.int32),
        np.array([at for _, at, _ in events], np.int64),
        np.array([1 + of for _, _, of in events], np.uint32),
        offsets,
        [DictionaryColumn.of(offsets.tolist()), fingerprints([offsets.tolist()])],
    )


@given(
    EVENTS,
    st.integers(1, 9),
    st.lists(st.sampled_from([1, 500, 5_000, 1 << 30]), min_size=1, max_size=3),
)
def test_all_events_come_back_in_the_order_of_time(
    events: list[tuple[int, int, bool]], size: int, max_bytes: list[int]
) -> None:
    limits = itertools.cycle(max_bytes)
    history = History(lambda: next(limits))
    found: defaultdict[Key, list[tuple[int, int, int]]] = defaultdict(list)
    passes_of: defaultdict[int, set[int]] = defaultdict(set)
    for number in range(100):
        for begin in range(0, len(events), size):
            batch = selected(events[begin : begin + size], begin)
            for place, key in enumerate(KEYS):
                history.add(key, batch.cut(batch.masks == 1 + place))
            history.divide()
        for key in KEYS:
            before = (-1, -1)
            for batch in history.batches(key):
                numbers, hashes = batch.values
                assert isinstance(numbers, DictionaryColumn)
                assert numbers.to_list() == batch.offsets.tolist()
                assert len(hashes.cut(slice(None))) == len(batch.at)
                columns = (batch.slots, batch.at, batch.offsets)
                for person, at, offset in zip(*(c.tolist() for c in columns), strict=True):
                    assert (at, offset) > before
                    before = at, offset
                    found[key].append((offset, person, at))
                    passes_of[person].add(number)
        if not history.next_pass():
            break
    assert all(len(numbers) == 1 for numbers in passes_of.values()), "a person is kept together"
    for place, key in enumerate(KEYS):
        assert sorted(found[key]) == [
            (offset, person, at)
            for offset, (person, at, of) in enumerate(events)
            if of == bool(place)
        ]


@given(EVENTS, st.integers(1, 9))
def test_persons_are_in_disorder_whose_events_are_not_in_the_order_of_time(
    events: list[tuple[int, int, bool]], size: int
) -> None:
    disorder = Disorder()
    for begin in range(0, len(events), size):
        batch = selected(events[begin : begin + size], begin)
        disorder.note(6, batch.slots, batch.at)
    times = [[at for person, at, _ in events if person == own] for own in range(8)]
    persons = np.arange(8, dtype=np.int32)
    assert disorder.of(persons).tolist() == [own != sorted(own) for own in times]
