"""Which model scores: by command and by rule, the same however the log is cut."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.trainer.championship import Championship, is_below_zero
from schemas.examples.columns import Float64s, Serving, Target, Task
from schemas.model_record import Reign
from tests.pipelines.examples import task

A, B, C = "a", "b", "c"
SPAN = 100


def of(target: Target = "value") -> Task:
    return task(target)._replace(models=(A, B, C))


def ruled(margin: float = 0.1, span: int = SPAN, target: Target = "value") -> Championship:
    """A champion, `a`, whose definition has a rule."""
    championship = Championship(of(target), 3)
    championship.obey(Serving(1, "", 0, margin, span), 3, 0)
    return championship


def judged(
    championship: Championship, losses: dict[str, Float64s], labels: Float64s, cuts: Sequence[int]
) -> list[Reign]:
    """The promotions by answers that are learned in these parts."""
    reigns = []
    bounds = [0, *sorted(cuts), len(labels)]
    for begin, end in pairwise(bounds):
        part = {name: column[begin:end] for name, column in losses.items()}
        for promotion in championship.judge(part, labels[begin:end], 9, begin):
            assert promotion.reign == championship.reign
            assert begin + promotion.answers == promotion.reign.learned
            reigns.append(promotion.reign)
    return reigns


def test_the_first_model_is_the_champion_until_another_is_named() -> None:
    championship = Championship(of(), 3)
    assert championship.reign == Reign(A, 3, 0, "defined", "")
    assert championship.obey(Serving(1), 3, 0) is None
    reign = championship.obey(Serving(2, B, 2), 7, 40)
    assert reign == championship.reign == Reign(B, 7, 40, "command", A)
    assert championship.obey(Serving(3, B, 2), 8, 41) is None  # only renamed
    assert championship.obey(Serving(4, "", 4), 9, 42) == Reign(A, 9, 42, "command", B)


@given(st.permutations(range(5)))
def test_the_newest_revision_decides_in_whatever_order_partitions_say_it(
    order: list[int],
) -> None:
    said = [Serving(), Serving(2, B, 2), Serving(3, C, 3), Serving(4, C, 3), Serving(5, "", 5)]
    championship = Championship(of(), 0)
    for place in order:
        championship.obey(said[place], place, place)
    assert championship.reign.model == A


def test_a_command_takes_back_what_the_rule_has_promoted_but_a_new_name_does_not() -> None:
    championship = ruled()
    losses = {A: np.full(SPAN, 2.0), B: np.ones(SPAN)}
    assert [one.model for one in judged(championship, losses, np.zeros(SPAN), [])] == [B]
    assert championship.obey(Serving(2, "", 0, 0.1, SPAN), 5, 9) is None
    assert championship.obey(Serving(3, A, 3, 0.1, SPAN), 5, 9) == Reign(A, 5, 9, "command", B)


columns = st.integers(0, 2**32 - 1).map(
    lambda seed: {
        name: np.random.default_rng(seed + place).gamma(1.0 + 0.1 * place, size=1_000)
        for place, name in enumerate((A, B, C))
    }
)


@given(columns, st.sets(st.integers(1, 999), max_size=9), st.integers(0, 9))
def test_however_answers_are_cut_the_rule_promotes_the_same_models_at_the_same_answers(
    losses: dict[str, Float64s], cuts: set[int], resumed: int
) -> None:
    labels = np.zeros(1_000)
    whole = ruled(0.001)
    expected = judged(whole, losses, labels, [])
    parts = ruled(0.001)
    assert judged(parts, losses, labels, list(cuts)) == expected
    assert parts.standing == whole.standing

    middle = 97 * resumed  # also in the middle of a span
    first = ruled(0.001)
    reigns = judged(first, {n: one[:middle] for n, one in losses.items()}, labels[:middle], [])
    again = Championship(of(), 3)
    again.resume(first.standing)
    for begin in range(middle, 1_000, 100):
        rest = {name: one[begin : begin + 100] for name, one in losses.items()}
        found = again.judge(rest, labels[begin : begin + 100], 9, begin)
        reigns += [promotion.reign for promotion in found]
    assert reigns == expected
    assert again.standing == whole.standing


def test_models_that_are_equally_good_do_not_take_turns() -> None:
    rng = np.random.default_rng(3)
    same = rng.gamma(1.0, size=100_000)
    assert judged(ruled(1e-9), {A: same, B: same, C: same}, np.zeros(100_000), []) == []
    noisy = {name: same + rng.normal(size=100_000) for name in (A, B, C)}
    promoted = judged(ruled(0.5), noisy, np.zeros(100_000), [])
    assert promoted == []


@pytest.mark.parametrize(("margin", "promoted"), [(0.99, [B]), (1.01, [])])
def test_a_challenger_must_be_better_by_the_margin_in_the_unit_of_the_value(
    margin: float, promoted: list[str]
) -> None:
    losses = {A: np.full(SPAN, 3.0), B: np.full(SPAN, 2.0)}  # the RMSEs are 3 and 2
    found = judged(ruled(margin), losses, np.zeros(SPAN), [])
    assert [one.model for one in found] == promoted


def test_the_best_of_several_challengers_is_promoted_after_the_last_answer_of_a_span() -> None:
    losses = {A: np.full(250, 3.0), B: np.full(250, 2.0), C: np.full(250, 1.0)}
    (reign,) = judged(ruled(), losses, np.zeros(250), [120])
    assert reign == Reign(C, 9, SPAN, "rule", A)


def test_a_difference_that_a_few_answers_make_promotes_nothing() -> None:
    lucky = np.full(SPAN, 1.0)
    lucky[::50] = 20.0
    losses = {A: lucky, B: np.full(SPAN, 1.0)}
    assert judged(ruled(0.01), losses, np.zeros(SPAN), []) == []


@pytest.mark.parametrize(("positives", "promoted"), [(19, []), (20, [B]), (80, [B]), (81, [])])
def test_a_span_needs_answers_of_either_kind(positives: int, promoted: list[str]) -> None:
    labels = (np.arange(SPAN) < positives).astype(np.float64)
    losses = {A: np.full(SPAN, 0.7), B: np.full(SPAN, 0.5)}
    found = judged(ruled(target="performs"), losses, labels, [])
    assert [one.model for one in found] == promoted


def test_a_model_that_was_missing_for_a_part_of_a_span_waits_for_the_next() -> None:
    championship, labels = ruled(), np.zeros(SPAN)
    losses = {A: np.full(SPAN, 3.0), B: np.full(SPAN, 1.0)}
    first = {A: losses[A][:50]}
    assert list(championship.judge(first, labels[:50], 5, 0)) == []
    rest = {name: column[50:] for name, column in losses.items()}
    assert list(championship.judge(rest, labels[50:], 6, 50)) == []
    assert [one.model for one in judged(championship, losses, labels, [])] == [B]


def test_without_a_rule_nothing_is_compared() -> None:
    losses = {A: np.full(SPAN, 3.0), B: np.full(SPAN, 1.0)}
    assert judged(Championship(of(), 0), losses, np.zeros(SPAN), []) == []


def test_a_mean_that_is_below_zero_by_luck_is_so_in_fewer_than_one_window_of_twenty() -> None:
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(2_000):
        differences = rng.normal(size=500)
        squares = float((differences * differences).sum())
        found += is_below_zero(500, float(differences.sum()), squares)
    assert found / 2_000 < 0.05
    assert not is_below_zero(1, -5.0, 25.0)
    assert not is_below_zero(500, 0.0, 0.0)
    assert is_below_zero(500, -500.0, 500.0)
