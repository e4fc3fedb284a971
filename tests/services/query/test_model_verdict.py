"""Workers withhold the scores of just those models that the query service calls not better."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.model_record import Array, ModelRecord, named_part, to_fields
from schemas.model_spec import ModelSpec
from schemas.model_verdict import is_better
from services.query.operators.prediction.models import state_of, trouble_of
from tests.services.query.predictions import FEATURES, bad, good, outcome_arrays

_counts = st.sampled_from([1, 40, 499, 500, 501, 1_000])
_near = st.tuples(st.floats(0.2, 0.3), _counts).map(
    lambda drawn: outcome_arrays(
        [drawn[0]] * drawn[1], 0.25, [int(number % 4 == 0) for number in range(drawn[1])]
    )
)
_one_sided = _counts.map(lambda count: outcome_arrays([0.01] * count, 0.5, [0] * count))
_arrays = st.one_of(_counts.map(good), _counts.map(bad), _near, _one_sided)


def record_of(
    spec: ModelSpec, maturity: Mapping[str, Array], served: Mapping[str, Array]
) -> ModelRecord:
    arrays = named_part("maturity", maturity) | named_part("served", served)
    return ModelRecord("p", "q", 1, spec, "0" * 64, FEATURES, 9, bytes(16), 9, arrays)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([ModelSpec("logistic_sgd"), ModelSpec("base_rate")]),
    st.just({}) | _arrays,
    st.just({}) | _arrays,
)
def test_both_decide_alike(
    spec: ModelSpec, maturity: dict[str, Array], served: dict[str, Array]
) -> None:
    record = record_of(spec, maturity, served)
    trouble = trouble_of(spec, state_of(to_fields(record)))
    assert is_better(record) == (trouble is None)


def test_a_record_without_the_arrays_of_its_quality_is_not_better() -> None:
    broken = {name: array for name, array in good().items() if name != "window_labels"}
    assert not is_better(record_of(ModelSpec("logistic_sgd"), broken, {}))
    assert not is_better(record_of(ModelSpec("linear_regression"), good(), {}))
