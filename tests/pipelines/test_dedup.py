"""The ids that were seen: each once, until it is too old or there is no room."""

import random
from collections.abc import Sequence
from uuid import UUID

import numpy as np
import pyarrow as pa
from structlog.testing import capture_logs

from pipelines.columnar.jit import UInt64s
from pipelines.columnar.string_column import StringColumn
from pipelines.tracker.dedup import BYTES_PER_ID, SeenIds
from pipelines.tracker.dedup_coverage import CoverageReport
from pipelines.tracker.dedup_kernel import IDS_PER_PROJECT
from pipelines.tracker.uuids import read_uuids

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def ids_of(numbers: Sequence[int]) -> UInt64s:
    return np.array([[number, number * 7] for number in numbers], np.uint64).reshape(-1, 2)


def admit(
    seen: SeenIds, numbers: Sequence[int], at: Sequence[int], project: str = "a"
) -> list[bool]:
    projects = pa.array([project] * len(numbers), pa.string())
    new: list[bool] = seen.admit(ids_of(numbers), projects, np.array(at, np.int64)).tolist()
    return new


def capacity_of(ids: int, projects: int = 1) -> int:
    """The capacity that has room for so many ids of so many projects."""
    return ids + IDS_PER_PROJECT * projects


def test_an_id_is_new_once() -> None:
    seen = SeenIds(1_000, 100)
    assert admit(seen, [1, 2, 1], [5, 5, 5]) == [True, True, False]


def test_the_same_id_in_another_project_is_another() -> None:
    seen = SeenIds(1_000, 100)
    projects = pa.array(["a", "b", "a"])
    new = seen.admit(ids_of([9, 9, 9]), projects, np.ones(3, np.int64))
    assert new.tolist() == [True, True, False]


def test_it_agrees_with_a_dictionary_that_forgets() -> None:
    chance = random.Random(7)
    window, most = 500, 2_000
    seen = SeenIds(window, capacity_of(most))
    known: dict[int, int] = {}
    newest = 0
    for _ in range(60):
        numbers = [chance.randrange(4_000) for _ in range(chance.randrange(1, 400))]
        at = [max(newest + chance.randrange(-20, 20), 0) for _ in numbers]
        expected = []
        for number, time in zip(numbers, at, strict=True):
            newest = max(newest, time)
            while known and next(iter(known.values())) < newest - window:
                del known[next(iter(known))]
            expected.append(number not in known)
            if number not in known and len(known) == most:
                del known[next(iter(known))]
            known.setdefault(number, time)
        assert admit(seen, numbers, at) == expected
        newest += chance.randrange(60)
        if chance.random() < 0.2:
            restored = SeenIds(window, capacity_of(most))
            restored.load(seen.dump())
            seen = restored
    assert len(seen) == len(known)


def test_many_projects_agree_with_a_dictionary_of_which_the_largest_forgets() -> None:
    chance = random.Random(11)
    names = [f"p{n}" for n in range(6)]
    most = 300
    seen = SeenIds(10**9, capacity_of(most, len(names)))
    seen.admit(ids_of([0] * 6), pa.array(names), np.zeros(6, np.int64))
    known = {name: [0] for name in names}
    for time in range(1, 4_000):
        name = chance.choices(names, [50, 20, 10, 5, 2, 1])[0]
        number = chance.randrange(1, 500)
        before = counts_of(seen)
        is_new = number not in known[name]
        assert admit(seen, [number], [time], name) == [is_new]
        if is_new:
            known[name].append(number)
        after = counts_of(seen)
        for one in names:
            if after[one] < len(known[one]):
                assert before[one] == max(before.values())
                known[one].pop(0)
        assert after == {one: len(ids) for one, ids in known.items()}
        assert sum(after.values()) == min(most, sum(before.values()) + is_new)


def counts_of(seen: SeenIds) -> dict[str, int]:
    """How many ids of each project are remembered."""
    columns = seen.dump()
    names = list(seen.covered_ms())
    numbers = np.bincount(columns["ids"][:, 2].astype(np.int64), minlength=len(names))
    return dict(zip(names, numbers.tolist(), strict=True))


def test_a_busy_project_does_not_make_a_quiet_one_forget() -> None:
    seen = SeenIds(24 * HOUR_MS, capacity_of(10_000, 2))
    assert all(admit(seen, range(100), [NOW_MS] * 100, "quiet"))
    for n in range(20):
        times = [NOW_MS + n * HOUR_MS // 20] * 2_000
        assert all(admit(seen, range(1_000 + n * 2_000, 3_000 + n * 2_000), times, "busy"))
    assert not any(admit(seen, range(100), [NOW_MS + HOUR_MS] * 100, "quiet"))
    covered = seen.covered_ms()
    assert covered["quiet"] == 24 * HOUR_MS
    assert 0 < covered["busy"] < HOUR_MS


def test_a_smaller_share_of_memory_forgets_the_oldest() -> None:
    seen = SeenIds(24 * HOUR_MS, 100_000)
    admit(seen, range(50_000), range(NOW_MS, NOW_MS + 50_000))
    seen.resize(capacity_of(10_000))
    assert len(seen) == 10_000
    assert seen.covered_ms() == {"a": 10_000}
    assert admit(seen, [49_999, 40_000, 39_999], [NOW_MS + 50_000] * 3) == [False, False, True]


def test_its_memory_stays_within_what_it_was_given() -> None:
    given = 20_000_000
    seen = SeenIds(24 * HOUR_MS, given // BYTES_PER_ID)
    for n in range(12):
        numbers = range(n * 50_000, (n + 1) * 50_000)
        names = [f"project-{number % 30_000}" for number in numbers]
        times = np.full(50_000, NOW_MS + n, np.int64)
        seen.admit(ids_of(numbers), pa.array(names), times)
    assert seen.nbytes < 1.1 * given


def test_projects_that_come_and_go_cost_nothing() -> None:
    seen = SeenIds(1_000, 100_000)
    for n in range(60):
        names = [f"{n}-{one}" for one in range(1_000)]
        seen.admit(ids_of(range(1_000)), pa.array(names), np.full(1_000, NOW_MS + n * 2_000))
    assert len(seen.covered_ms()) < 10_000
    assert len(seen) < 10_000


def test_crafted_ids_are_found_as_fast_as_random_ones() -> None:
    count = 100_000
    chance = np.random.default_rng(3)
    some = chance.integers(0, 2**63, count, np.uint64)
    ahead = np.arange(count, dtype=np.uint64) << np.uint64(47)
    fixed = np.full(count, 7, np.uint64)
    crafted = {
        "random": (some, chance.integers(0, 2**63, count, np.uint64)),
        "alike in the lower bits of their second half": (fixed, ahead),
        "alike in the lower bits of their first half": (ahead, fixed),
        "of equal halves": (some, some),
        "in a row": (fixed, np.arange(count, dtype=np.uint64)),
    }
    for name, halves in crafted.items():
        seen = SeenIds(1_000, 1_000_000)
        ids = np.ascontiguousarray(np.stack(halves, axis=1))
        seen.admit(ids, pa.array(["a"] * count), np.full(count, NOW_MS))
        # What a look-up may have to pass: cells that are taken, side by side.
        gaps = np.flatnonzero(seen._cells == 0)
        assert np.diff(gaps).max() < 250, name


def test_each_table_has_a_hash_of_its_own() -> None:
    tables = [SeenIds(1_000, 100) for _ in range(2)]
    for seen in tables:
        admit(seen, range(50), [NOW_MS] * 50)
    one, other = (np.flatnonzero(seen._cells) for seen in tables)
    assert one.tolist() != other.tolist()


def test_less_than_the_window_is_warned_of_once() -> None:
    report = CoverageReport(24 * HOUR_MS)
    covered = {"busy": 2 * HOUR_MS, "quiet": 24 * HOUR_MS}
    with capture_logs() as logs:
        for n in range(3):
            report.report({0: lambda: covered, 1: lambda: {"busy": HOUR_MS}}, NOW_MS + n * 60_000)
    (line,) = logs
    assert (line["project"], line["hours"], line["window_hours"]) == ("busy", 1.0, 24.0)


def test_only_what_has_changed_is_published_and_the_whole_window_is_a_tombstone() -> None:
    report = CoverageReport(24 * HOUR_MS)
    covered = {"busy": 2 * HOUR_MS, "quiet": 24 * HOUR_MS}

    def said(minute: int) -> dict[bytes, bytes | None]:
        return report.report({3: lambda: covered}, NOW_MS + minute * 60_000)

    short = b'{"covered_ms":7200000,"window_ms":86400000}'
    assert said(1) == {b"busy/3": short, b"quiet/3": None}
    assert said(2) == {}
    covered["busy"] += 60_000
    assert said(3) == {}
    covered["busy"] += HOUR_MS
    assert said(4) == {b"busy/3": b'{"covered_ms":10860000,"window_ms":86400000}'}
    covered["busy"] = 24 * HOUR_MS
    assert said(5) == {b"busy/3": None}
    assert said(6) == {}


def test_canonical_uuids_are_read_and_others_are_found() -> None:
    texts = [
        "0123abcd-4567-89ab-cdef-0123456789ab",
        "0123ABCD-4567-89ab-cdef-0123456789ab",
        "0123abcd-4567-89ab-cdef-0123456789a",
        "",
        "0123abcd_4567-89ab-cdef-0123456789ab",
    ]
    ids, canonical = np.empty((5, 2), np.uint64), np.empty(5, np.bool_)
    read_uuids(*StringColumn.of(pa.array(texts)), ids, canonical)
    assert canonical.tolist() == [True, False, False, False, False]
    assert (int(ids[0, 0]) << 64) + int(ids[0, 1]) == UUID(texts[0]).int
