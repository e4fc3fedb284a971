"""A sequence that is not counted by day is logged in few bytes, and restored as if nothing were."""

from typing import Final

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.columnar.jit import Int32s
from pipelines.operators.sequence import SequenceShape, SequenceState

DAY_MS: Final = 86_400_000
SHAPE: Final = SequenceShape(4, 6 * DAY_MS, DAY_MS)
PERSON: Final[Int32s] = np.zeros(1, np.int32)

# Times in steps of a sixth of a day: many are equal, or at the end of a day or a window.
events = st.lists(st.tuples(st.integers(0, 120), st.integers(1, 15)), min_size=1, max_size=40)


class Stream:
    """The events of one person, and the state that they are folded into."""

    def __init__(self, *, by_day: bool) -> None:
        self.by_day = by_day
        self.state = SequenceState(SHAPE, by_day=by_day)
        self.late = self.offset = 0

    def feed(self, batch: list[tuple[int, int]]) -> None:
        at = np.array([place * (DAY_MS // 6) for place, _ in batch], np.int64)
        masks = np.array([mask for _, mask in batch], np.uint32)
        offsets = np.arange(self.offset, self.offset + len(batch))
        self.offset += len(batch)
        slots = np.zeros(len(batch), np.int32)
        self.late += self.state.fold(1, slots, at, masks, offsets).late
        self.state.expire(int(at.max()))

    def packed(self) -> bytes:
        packed = self.state.pack(self.state.rows_of(PERSON), self.offset)
        return packed.data[packed.begins[0] : packed.ends[0]].tobytes()

    def restore(self) -> None:
        packed = self.state.pack(self.state.rows_of(PERSON), self.offset)
        self.state = SequenceState(SHAPE, by_day=self.by_day)
        self.state.unpack(1, PERSON, packed)
        self.state.restored()

    @property
    def completed(self) -> bool:
        return bool(self.state.completed(PERSON)[0])


@settings(max_examples=400, deadline=None)
@given(events, st.lists(st.integers(1, 7), min_size=1, max_size=5), st.data())
def test_it_completes_with_the_same_event_however_often_it_is_restored(
    life: list[tuple[int, int]], sizes: list[int], data: st.DataObject
) -> None:
    whole, restored = Stream(by_day=True), Stream(by_day=False)
    untouched = Stream(by_day=False)
    begin = turn = 0
    while begin < len(life):
        size = sizes[turn % len(sizes)]
        for stream in (whole, restored, untouched):
            stream.feed(life[begin : begin + size])
        if data.draw(st.booleans(), "restored"):
            restored.restore()
        assert restored.completed == untouched.completed == whole.completed
        assert restored.late == whole.late
        assert restored.packed() == untouched.packed()
        begin, turn = begin + size, turn + 1


def test_years_of_attempts_are_logged_as_one_for_each_level() -> None:
    year = SequenceShape(8, 366 * DAY_MS, 31 * DAY_MS)
    state = SequenceState(year, by_day=False)
    days = np.arange(400, dtype=np.int64)
    at = (days[:, None] * DAY_MS + np.arange(7) * 1_000).ravel()
    masks = np.tile(1 << np.arange(7), len(days)).astype(np.uint32)
    slots = np.zeros(len(at), np.int32)
    state.fold(1, slots, at, masks, np.arange(len(at)))
    packed = state.pack(state.rows_of(PERSON), len(at))
    assert len(packed.data[: packed.ends[0]]) < 2_000
