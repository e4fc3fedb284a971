from hypothesis import given
from hypothesis import strategies as st

from tests.oracles.funnel import Happening, fold, simulate, times_to_steps
from tests.schemas.examples import patient

moments = st.lists(st.integers(0, 20), max_size=6, unique=True).map(sorted)


@patient
@given(
    entries=moments.filter(bool),
    later=st.lists(moments, min_size=1, max_size=4),
    window=st.integers(0, 20),
)
def test_chains_and_the_simulation_agree(
    entries: list[int], later: list[list[int]], window: int
) -> None:
    assert times_to_steps(entries, later, window) == simulate(entries, later, window)


def test_a_person_counts_once_in_total_and_once_a_day() -> None:
    day = 86_400_000
    events = [
        Happening("ada", 10, [1]),
        Happening("ada", 30, [2]),
        Happening("ada", day + 5, [1]),
        Happening("bob", 20, [1]),
    ]
    folded = fold(events, 2, 100)
    assert folded.totals == [2, 1]
    assert folded.days[0].reached == [2, 1]
    assert folded.days[0].times == [[0, 0], [20]]
    assert folded.days[1].reached == [1, 0]


def test_one_event_may_satisfy_all_steps_at_once() -> None:
    assert fold([Happening("ada", 7, [1, 2, 3])], 3, 1).days[0].times == [[0], [0], [0]]


def test_a_later_first_step_does_not_undo_what_an_earlier_one_reached() -> None:
    events = [Happening("ada", 0, [1]), Happening("ada", 4, [2]), Happening("ada", 5, [1])]
    assert fold([*events, Happening("ada", 9, [3])], 3, 9).totals == [1, 1, 1]
    assert fold([*events, Happening("ada", 10, [3])], 3, 9).totals == [1, 1, 0]
