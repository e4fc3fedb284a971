"""The ids that were seen: each once, until it is too old or there are too many."""

import random
from uuid import UUID

import numpy as np
import pyarrow as pa

from pipelines.columnar.string_column import StringColumn
from pipelines.tracker.dedup import SeenIds, read_uuids


def ids_of(numbers: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    return np.array([[number, number * 7] for number in numbers], np.uint64).reshape(-1, 2)


def admit(seen: SeenIds, numbers: list[int], at: list[int]) -> list[bool]:
    projects = np.zeros(len(numbers), np.uint64)
    new: list[bool] = seen.admit(ids_of(numbers), projects, np.array(at, np.int64)).tolist()
    return new


def test_an_id_is_new_once() -> None:
    seen = SeenIds(1_000, 100)
    assert admit(seen, [1, 2, 1], [5, 5, 5]) == [True, True, False]


def test_the_same_id_in_another_project_is_another() -> None:
    seen = SeenIds(1_000, 100)
    projects = np.array([1, 2, 1], np.uint64)
    assert seen.admit(ids_of([9, 9, 9]), projects, np.ones(3, np.int64)).tolist() == [
        True,
        True,
        False,
    ]


def test_it_agrees_with_a_dictionary_that_forgets() -> None:
    chance = random.Random(7)
    window, capacity = 500, 2_000
    seen = SeenIds(window, capacity)
    known: dict[int, int] = {}
    newest = 0
    for _ in range(60):
        numbers = [chance.randrange(4_000) for _ in range(chance.randrange(1, 400))]
        at = [newest + chance.randrange(-20, 20) for _ in numbers]
        catalog = []
        for number, time in zip(numbers, at, strict=True):
            if len(known) == capacity:
                del known[next(iter(known))]
            newest = max(newest, time)
            while known and next(iter(known.values())) < newest - window:
                del known[next(iter(known))]
            catalog.append(number not in known)
            known.setdefault(number, time)
        assert admit(seen, numbers, [max(time, 0) for time in at]) == catalog
        newest += chance.randrange(60)
        if chance.random() < 0.2:
            restored = SeenIds(window, capacity)
            restored.load(seen.dump())
            seen = restored
    assert len(seen) == len(known)


def test_canonical_uuids_are_read_and_others_told_apart() -> None:
    texts = [
        "0123abcd-4567-89ab-cdef-0123456789ab",
        "0123ABCD-4567-89ab-cdef-0123456789ab",
        "0123abcd-4567-89ab-cdef-0123456789a",
        "",
        "0123abcd_4567-89ab-cdef-0123456789ab",
    ]
    ids, sound = np.empty((5, 2), np.uint64), np.empty(5, np.bool_)
    read_uuids(*StringColumn.of(pa.array(texts)), ids, sound)
    assert sound.tolist() == [True, False, False, False, False]
    assert (int(ids[0, 0]) << 64) + int(ids[0, 1]) == UUID(texts[0]).int
