"""Records of models are read exactly, or refused with the reason; nothing in them is executed."""

import ast
import io
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pipelines.models
from pipelines.models.create import create, open_scorer
from pipelines.models.drift import DriftDetector
from pipelines.models.quality import WINDOW, OutcomeQuality
from pipelines.models.stored import check_fits, model_of, model_part, scorer_of
from pipelines.models.tree_export import MAX_DEPTH, MAX_NODES, MAX_TREES
from schemas import model_record
from schemas.avro.codec import Codec, Encoder
from schemas.avro.files import history, load
from schemas.errors import InvalidRecord, InvalidRequest
from schemas.model_record import (
    MAX_RECORD_BYTES,
    ModelRecord,
    decode,
    encode,
    from_fields,
    named_part,
    to_fields,
)
from schemas.model_spec import MAX_FEATURES, OUTCOME_KINDS, VALUE_KINDS, ModelKind, ModelSpec
from tests.pipelines.models.as_river import names, same_bits
from tests.pipelines.models.test_export import record_of

KINDS: tuple[ModelKind, ...] = (*OUTCOME_KINDS, *VALUE_KINDS)


def learned(spec: ModelSpec, features: int = 4, count: int = 300) -> Any:
    rng = np.random.default_rng(13)
    rows = rng.standard_normal((count, features)).astype(np.float32)
    model = create(spec, names(features))
    model.learn_many(rows, (rows[:, 0] > 0.1).astype(float))
    return model, rows


def logistic(**changed: Any) -> ModelRecord:
    return record_of(learned(ModelSpec("logistic_sgd"))[0], **changed)


def same(one: ModelRecord, other: ModelRecord) -> bool:
    return one._replace(arrays={}) == other._replace(arrays={}) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(one.arrays.values(), other.arrays.values(), strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_read_as_it_was_written(kind: ModelKind) -> None:
    model, rows = learned(ModelSpec(kind))
    quality: Any = {"counts": np.array([[1, -2]]), "tiny": np.array([5e-324, -0.0, 1e308])}
    record = record_of(model)
    record = record._replace(arrays={**record.arrays, **named_part("quality", quality)})

    again = decode(encode(record))

    assert same(again, record)
    assert encode(again) == encode(record)
    assert again.part("quality").keys() == quality.keys()
    assert same_bits(scorer_of(again).predict_many(rows), model.predict_many(rows))
    if not model.spec.rebuilt:
        assert same_bits(model_of(again).predict_many(rows), model.predict_many(rows))


def test_a_topic_holds_records_like_those_of_other_schemas() -> None:
    record, schema = logistic(), load("model")
    values = Encoder(schema, 7).encode_records([to_fields(record)])

    decoded = Codec(schema, lambda _: {7: schema}, shipped=history("model")).decode(values)

    assert not decoded.failures
    assert same(from_fields(decoded.batch.to_pylist()[0]), record)


ARRAY = np.array([1.0, 2.0, 3.0, 4.0])
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"project_id": ""}, "must not be empty"),
    ({"version": 0}, "version: must be 1 or more, and is 0"),
    ({"learned": -1}, "learned: must be 0 or more"),
    ({"position": -5}, "position: must be 0 or more"),
    ({"learned_ids": b"short"}, "learned_ids: must be 16 bytes"),
    ({"feature_schema": "0F" * 32}, "feature_schema: must be 64 digits"),
    ({"feature_schema": "0f" * 32 + "\n"}, "feature_schema: must be 64 digits"),
    ({"features": ()}, "features: must be 1 to 256 different names"),
    ({"features": ("a", "a")}, "features: must be 1 to 256 different names"),
    ({"features": names(MAX_FEATURES + 1)}, "features: must be 1 to 256 different names"),
    ({"spec": ModelSpec("base_rate", 0.5)}, "learning_rate: only"),
    ({"spec": ModelSpec("logistic_sgd", 2.0)}, "learning_rate: must be more than 0"),
    ({"spec": ModelSpec("logistic_sgd", float("nan"))}, "learning_rate: must be more than 0"),
    ({"arrays": {"model.weights": np.array([1.0, np.nan])}}, "model.weights: must be finite"),
    ({"arrays": {"model.weights": np.array([np.inf])}}, "model.weights: must be finite"),
    ({"arrays": {"model.weights": np.zeros(2, np.float32)}}, "must be float64 or int64"),
    ({"arrays": {"model.weights": np.array(1.0)}}, "must have 1 to 3 dimensions"),
    ({"arrays": {"weights": ARRAY}}, "is not a name such as model.weights"),
    ({"arrays": {"os.system('x')": ARRAY}}, "is not a name such as model.weights"),
    ({"arrays": {f"model.{'a' * n}": ARRAY for n in range(1, 66)}}, "must be at most 64"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "message"), WRONG, ids=lambda case: str(case)[:60])
def test_what_would_not_be_read_again_is_not_written(changed: Any, message: str) -> None:
    with pytest.raises(InvalidRecord, match=message):
        encode(logistic(**changed))


def test_a_record_over_the_limit_is_refused_with_its_size() -> None:
    many = {"model.weights": np.zeros(MAX_RECORD_BYTES // 8)}

    with pytest.raises(InvalidRecord, match=r"model_too_large: 9\d{5} bytes, of which .* 900000"):
        encode(logistic(arrays=many))
    with pytest.raises(InvalidRecord, match="model_too_large"):
        decode(b"\xc3\x01" + bytes(MAX_RECORD_BYTES + 10))


def test_the_largest_model_with_its_quality_fits_into_a_record() -> None:
    trees, nodes = MAX_TREES, MAX_NODES
    forest = {
        "learned": np.array([1]),
        "split_features": np.zeros(nodes, np.int64),
        "thresholds": np.zeros(nodes),
        "children": np.zeros((nodes, 2), np.int64),
        "shares": np.zeros((nodes, 2)),
        "roots": np.zeros(trees, np.int64),
        "votes": np.zeros(trees),
    }
    quality = OutcomeQuality()
    quality.add(np.full(WINDOW, 0.3), np.full(WINDOW, 0.3), np.ones(WINDOW))
    detector = DriftDetector()
    detector.add(np.zeros(100_000))
    parts = {
        **named_part("model", forest),
        **named_part("quality", quality.arrays()),
        **named_part("drift", detector.arrays()),
    }
    features = tuple(f"{n:0200}" for n in range(MAX_FEATURES))
    record = logistic(spec=ModelSpec("adaptive_random_forest"), features=features, arrays=parts)

    assert len(encode(record)) < MAX_RECORD_BYTES * 2 / 3


def forged(change: Any) -> bytes:
    """A record that our own encoder would not write."""
    fields = to_fields(logistic())
    change(fields)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(load("model").plain), fields)
    return encode(logistic())[:10] + out.getvalue()


def put(name: str, value: Any) -> Any:
    return lambda fields: fields.__setitem__(name, value)


def put_array(**changed: Any) -> Any:
    return lambda fields: fields["arrays"][1].update(changed)


def twice(fields: Any) -> None:
    fields["arrays"].append(fields["arrays"][0])


NAN = np.full(4, np.nan).tobytes()
FORGED: list[tuple[Any, str]] = [
    (put("kind", "builtins.eval"), "kind: must be one of"),
    (put("kind", "linear_regression"), "model: must be"),
    (put("model", "another"), "model: must be"),
    (put("learning_rate", -0.0), "learning_rate"),
    (put("learning_rate", float("inf")), "learning_rate"),
    (put("calibrated", True), "model: must be"),
    (put_array(data=NAN), "model.means: must be finite"),
    (put_array(data=b"\0" * 31), "31 bytes are not float64"),
    (put_array(shape=[]), "must have 1 to 3 dimensions"),
    (put_array(shape=[-1]), "must have 1 to 3 dimensions"),
    (put_array(shape=[1, 1, 2, 2]), "must have 1 to 3 dimensions"),
    (put_array(shape=[2**31 - 1]), "32 bytes are not float64 of shape"),
    (put_array(name="__class__"), "is not a name such as"),
    (twice, "or is twice"),
]


@pytest.mark.parametrize(("change", "message"), FORGED, ids=[m for _, m in FORGED])
def test_a_forged_record_is_refused_with_the_reason(change: Any, message: str) -> None:
    with pytest.raises(InvalidRecord, match=message):
        decode(forged(change))


ARRAYS: list[tuple[Any, str]] = [
    (put_array(shape=[2, 2]), r"means: must be float64 of shape \(4,\)"),
    (put_array(dtype="int64", data=bytes(32)), "means: must be float64"),
    (put_array(name="model.other"), "means: is missing"),
    (lambda fields: fields["arrays"].pop(), "intercept: is missing"),
    (
        lambda fields: fields["arrays"][2].update(data=np.full(4, -1.0).tobytes()),
        "variances: must be 0 or more",
    ),
    (lambda fields: fields["arrays"][0].update(data=b"\xff" * 8), "learned: must be 0 to"),
    (put("learned", 299), "learned: is 299, and 300 in the arrays"),
    (put("features", ["a", "b", "c"]), r"must be float64 of shape \(3,\)"),
]


@pytest.mark.parametrize(("change", "message"), ARRAYS, ids=[m for _, m in ARRAYS])
def test_arrays_that_are_not_the_state_of_the_model_are_refused(change: Any, message: str) -> None:
    with pytest.raises(InvalidRecord, match=message):
        model_of(decode(forged(change)))


def test_an_array_that_no_model_has_is_refused() -> None:
    record = logistic()
    record = record._replace(arrays={**record.arrays, "model.code": np.zeros(1)})

    with pytest.raises(InvalidRecord, match=r"arrays \['code'\] do not belong to the model"):
        model_of(decode(encode(record)))


TREE_ARRAYS: dict[str, Any] = {
    "learned": np.array([9]),
    "split_features": np.array([0, -1, -1]),
    "thresholds": np.zeros(3),
    "children": np.array([[1, 2], [-1, -1], [-1, -1]]),
    "shares": np.full((3, 2), 0.5),
    "roots": np.array([0]),
    "votes": np.ones(1),
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"children": np.array([[0, 2], [-1, -1], [-1, -1]])}, "must follow their node"),
        ({"children": np.array([[1, -1], [-1, -1], [-1, -1]])}, "must follow their node"),
        ({"children": np.array([[1, 3], [-1, -1], [-1, -1]])}, "children: must be -1 to 2"),
        ({"split_features": np.array([4, -1, -1])}, "split_features: must be -1 to 3"),
        ({"split_features": np.array([-2, -1, -1])}, "split_features: must be -1 to 3"),
        ({"roots": np.array([3])}, "roots: must be 0 to 2"),
        ({"roots": np.array([0, 0]), "votes": np.ones(2)}, "roots: must be one tree"),
        ({"thresholds": np.zeros(20_000)}, "at most 5110 nodes and 10 trees"),
        ({"roots": np.zeros(11, np.int64)}, "at most 5110 nodes and 10 trees"),
        ({"thresholds": np.zeros((2**31 - 1, 0))}, "at most 5110 nodes and 10 trees"),
        ({"shares": np.full((3, 2), -1.0)}, "shares: must be 0 or more"),
        ({"votes": np.array([np.nan])}, "votes: must be finite"),
    ],
    ids=lambda case: str(case)[:40],
)
def test_trees_that_would_loop_or_read_outside_are_refused(changed: Any, message: str) -> None:
    with pytest.raises(InvalidRecord, match=message):
        open_scorer(ModelSpec("hoeffding_tree"), names(4), TREE_ARRAYS | changed)


def chain(length: int) -> dict[str, Any]:
    """A tree whose nodes to the left are leaves, and `length` of those to the right are not."""
    nodes = 2 * length + 1
    inner = np.arange(nodes) % 2 == 0
    inner[-1] = False
    places = np.arange(nodes)
    return {
        "split_features": np.where(inner, 0, -1),
        "thresholds": np.zeros(nodes),
        "children": np.where(inner[:, None], np.stack((places + 1, places + 2), axis=1), -1),
        "shares": np.zeros((nodes, 2)),
    }


def test_a_tree_that_is_too_deep_is_refused() -> None:
    spec = ModelSpec("hoeffding_tree")
    open_scorer(spec, names(4), TREE_ARRAYS | chain(MAX_DEPTH))

    with pytest.raises(InvalidRecord, match="must be at most 8 levels deep"):
        open_scorer(spec, names(4), TREE_ARRAYS | chain(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin as an Avro object"),
        (b"\xc3\x01", "does not begin as an Avro object"),
        (b"\x80\x04" + bytes(40), "does not begin as an Avro object"),
        (b"\xc3\x01" + bytes(40), "a schema that is not of a model"),
        (encode(logistic())[:-1], "declared|ends inside"),
        (encode(logistic()) + b"\0", "1 bytes follow the datum"),
        (encode(logistic())[:10], "ends inside"),
    ],
    ids=lambda case: str(case)[:30],
)
def test_what_is_no_record_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidRecord, match=message):
        decode(data)


GOOD = encode(logistic())


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, 3))
@example(10, 0x80, 0)
@settings(max_examples=700, deadline=None)
def test_a_changed_byte_is_refused_or_gives_a_sound_model(at: int, byte: int, cut: int) -> None:
    data = GOOD[:at] + bytes([byte]) + GOOD[at + 1 : len(GOOD) - cut]
    try:
        model = model_of(decode(data))
    except (InvalidRecord, InvalidRequest):
        return
    assert all(np.isfinite(array).all() for array in model.arrays().values())
    model.predict_many(np.zeros((1, 4), np.float32))


@given(st.binary(max_size=200))
def test_any_bytes_after_the_header_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRecord):
        decode(GOOD[:10] + data)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": 4}, "version: is 4, and must be 3"),
        ({"spec": ModelSpec("logistic_sgd", 0.5)}, "model: is 'logistic_sgd_0.5'"),
        ({"feature_schema": "1f" * 32}, "feature_schema: is"),
        ({"features": ("d", "c", "b", "a")}, "features: is"),
        ({"river_version": "0.25.9"}, "river_version: is '0.25', and must be '0.26'"),
    ],
)
def test_a_model_that_is_not_the_one_asked_for_is_refused(changed: Any, message: str) -> None:
    record = logistic()
    check_fits(record, record.spec, 3, record.feature_schema, record.features)

    foreign = record._replace(**changed)
    with pytest.raises(InvalidRecord, match=message):
        check_fits(foreign, record.spec, 3, record.feature_schema, record.features)


FORBIDDEN = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "importlib", "runpy"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "loads",
    "load_module",
    "import_module",
    "getattr",
}


@pytest.mark.parametrize(
    "path",
    [
        *Path(pipelines.models.__path__[0]).glob("*.py"),
        Path(model_record.__file__),
        Path(model_record.__file__).with_name("model_spec.py"),
    ],
    ids=lambda path: path.stem,
)
def test_no_module_of_models_unpickles_evaluates_or_imports_by_name(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert not FORBIDDEN & {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # The version of an installed package is read from its metadata.
            assert node.module == "importlib.metadata" or str(node.module) not in FORBIDDEN
        elif isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
            assert name not in CALLS or ast.unparse(function) == "re.compile", ast.unparse(node)
            assert "allow_pickle" not in {keyword.arg for keyword in node.keywords}


def test_parts_of_a_record_do_not_mix() -> None:
    model, _ = learned(ModelSpec("logistic_sgd"))
    record = record_of(model, arrays={**model_part(model), "modeling.x": np.zeros(1)})

    assert record.part("model").keys() == model.arrays().keys()
    assert record.part("modeling").keys() == {"x"}
