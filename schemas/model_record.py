"""Models as Avro records: what a topic holds of one, and what a file of one holds.

A record is numbers, names and positions. Reading one checks all of it and executes nothing: no
pickle, no code, no import that the record names. Whatever does not fit is refused with the reason.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import fastavro
import numpy as np
from fastavro.schema import fingerprint, to_parsing_canonical_form
from numpy.typing import NDArray

from schemas.avro.datum import Malformed, check
from schemas.avro.files import history, load
from schemas.avro.schema import Schema
from schemas.errors import InvalidRecord, InvalidRequest
from schemas.model_spec import MAX_FEATURES, ModelKind, ModelSpec

# Why a model is the champion: it is the definition's, or a command or the rule has promoted it.
Reason: TypeAlias = Literal["defined", "command", "rule"]
Array: TypeAlias = NDArray[np.float64] | NDArray[np.int64]

# Below what the broker takes in a batch, with room for the batch around it and other records.
MAX_RECORD_BYTES: Final = 900_000
MAX_ARRAYS: Final = 64
MAX_DIMENSIONS: Final = 3
CHECKSUM_BYTES: Final = 16

# Read from the installed package's metadata: its import takes two seconds.
RIVER_VERSION: Final = version("river")

_REASON: Final = "invalid_model"
_SCHEMA: Final = "model"
_DTYPES: Final = {"float64": np.dtype("<f8"), "int64": np.dtype("<i8")}
_KINDS: Final = frozenset(name for kinds in get_args(ModelKind) for name in get_args(kinds))
_FEATURE_SCHEMA: Final = re.compile(r"[0-9a-f]{64}")
_ARRAY_NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
# The fields of `Reign`, and what the record calls them.
_REIGN_FIELDS: Final = {
    "model": "champion",
    "since": "champion_since",
    "learned": "champion_learned",
    "reason": "champion_reason",
    "before": "champion_before",
}
# Avro's single-object encoding: two bytes of magic, and the fingerprint of the writer's schema.
_MAGIC: Final = b"\xc3\x01"
_HEADER_BYTES: Final = len(_MAGIC) + 8


class Reign(NamedTuple):
    """Which model scores, and since when.

    `model` is empty for the first one of the definition, in records of earlier versions. It became
    the champion with the record at offset `since` of `avila.examples`, when `learned` examples had
    been learned; `before` is the champion before it, empty if there was none.
    """

    model: str = ""
    since: int = 0
    learned: int = 0
    reason: Reason = "defined"
    before: str = ""


class ModelRecord(NamedTuple):
    """A model at a version, and where its trainer was.

    `arrays` are named by part: `model.weights`, `quality.since`. Two records of the same values
    encode to the same bytes. `reign` says which model of the prediction scores as of `position`.
    """

    project_id: str
    prediction_id: str
    version: int
    spec: ModelSpec
    feature_schema: str
    features: tuple[str, ...]
    learned: int
    learned_ids: bytes
    position: int
    arrays: Mapping[str, Array]
    river_version: str = RIVER_VERSION
    reign: Reign = Reign()

    def part(self, name: str) -> dict[str, Array]:
        """Return the arrays of a part, without its name."""
        prefix = f"{name}."
        return {
            full.removeprefix(prefix): array
            for full, array in self.arrays.items()
            if full.startswith(prefix)
        }


def named_part(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays under the names that they have as a part of a record."""
    return {f"{name}.{inside}": array for inside, array in arrays.items()}


def to_fields(record: ModelRecord) -> dict[str, Any]:
    """Return the record as fields for `Encoder.encode_records`.

    Raises:
        InvalidRecord: it would not be read again: a field is out of range, a number of an array is
            not finite, or it would have more than `MAX_RECORD_BYTES`.
    """
    fields = record._asdict()
    spec: ModelSpec = fields.pop("spec")
    reign: Reign = fields.pop("reign")
    fields |= {
        **{_REIGN_FIELDS[name]: value for name, value in reign._asdict().items()},
        "model": spec.name,
        "kind": spec.kind,
        "learning_rate": spec.rate,
        "calibrated": spec.calibrated,
        "features": list(record.features),
        "arrays": [_to_array(name, array) for name, array in record.arrays.items()],
    }
    from_fields(fields)
    size = len(_written(fields))
    if size > MAX_RECORD_BYTES:
        raise InvalidRecord(
            "model_too_large", f"{size} bytes, of which a record may have {MAX_RECORD_BYTES}"
        )
    return fields


def from_fields(fields: Mapping[str, Any]) -> ModelRecord:
    """Return the record of decoded fields, with arrays that are copies.

    Raises:
        InvalidRecord: a field is not what a model has; the text says which, and what is accepted.
    """
    _check_texts(fields)
    for name, least in (("version", 1), ("learned", 0), ("position", 0)):
        if fields[name] < least:
            raise InvalidRecord(_REASON, f"{name}: must be {least} or more, and is {fields[name]}")
    features = tuple(fields["features"])
    if not 1 <= len(features) <= MAX_FEATURES or len(set(features)) != len(features):
        raise InvalidRecord(_REASON, f"features: must be 1 to {MAX_FEATURES} different names")
    if len(fields["learned_ids"]) != CHECKSUM_BYTES:
        raise InvalidRecord(_REASON, f"learned_ids: must be {CHECKSUM_BYTES} bytes")
    record = ModelRecord(
        fields["project_id"],
        fields["prediction_id"],
        fields["version"],
        _spec(fields),
        fields["feature_schema"],
        features,
        fields["learned"],
        bytes(fields["learned_ids"]),
        fields["position"],
        _arrays(fields["arrays"]),
        fields["river_version"],
        _reign(fields),
    )
    if record.spec.name != fields["model"]:
        raise InvalidRecord(
            _REASON, f"model: must be {record.spec.name!r}, and is {fields['model'][:80]!r}"
        )
    return record


def encode(record: ModelRecord) -> bytes:
    """Return the record in Avro's single-object encoding: what a file of a model holds.

    Raises:
        InvalidRecord: as `to_fields`.
    """
    return _MAGIC + _fingerprint(load(_SCHEMA)) + _written(to_fields(record))


def decode(data: bytes) -> ModelRecord:
    """Return the record of what `encode` returned, of this version or an earlier one.

    Raises:
        InvalidRecord: it is not such a record: of another format or schema, cut off, too long, or
            with a field that is not what a model has.
    """
    if len(data) > MAX_RECORD_BYTES + _HEADER_BYTES:
        raise InvalidRecord(
            "model_too_large", f"{len(data)} bytes, of which a record may have {MAX_RECORD_BYTES}"
        )
    if len(data) < _HEADER_BYTES or not data.startswith(_MAGIC):
        raise InvalidRecord(_REASON, "does not begin as an Avro object does (C3 01)")
    writer = _writers().get(data[len(_MAGIC) : _HEADER_BYTES])
    if writer is None:
        raise InvalidRecord(_REASON, "was written with a schema that is not of a model")
    datum = data[_HEADER_BYTES:]
    try:
        check(datum, writer.plain, writer.plain_named)
    except Malformed as error:
        raise InvalidRecord(_REASON, str(error)) from error
    written, read = (fastavro.parse_schema(schema.plain) for schema in (writer, load(_SCHEMA)))
    fields: Any = fastavro.schemaless_reader(io.BytesIO(datum), written, read)
    return from_fields(fields)


def _check_texts(fields: Mapping[str, Any]) -> None:
    texts = [fields[name] for name in ("project_id", "prediction_id", "river_version")]
    if not all(texts):
        raise InvalidRecord(_REASON, "project_id, prediction_id, river_version: must not be empty")
    if not _FEATURE_SCHEMA.fullmatch(fields["feature_schema"]):
        raise InvalidRecord(_REASON, "feature_schema: must be 64 digits of hexadecimal")


def _reign(fields: Mapping[str, Any]) -> Reign:
    if fields["champion_reason"] not in get_args(Reason):
        accepted = ", ".join(get_args(Reason))
        raise InvalidRecord(_REASON, f"champion_reason: must be one of {accepted}")
    for name in ("champion_since", "champion_learned"):
        if fields[name] < 0:
            raise InvalidRecord(_REASON, f"{name}: must be 0 or more, and is {fields[name]}")
    return Reign(**{name: fields[field] for name, field in _REIGN_FIELDS.items()})


def _spec(fields: Mapping[str, Any]) -> ModelSpec:
    kind, rate = fields["kind"], fields["learning_rate"]
    if kind not in _KINDS:
        raise InvalidRecord(_REASON, f"kind: must be one of {sorted(_KINDS)}")
    spec = ModelSpec(kind, None, fields["calibrated"])
    if repr(rate) != repr(spec.rate):
        spec = ModelSpec(kind, rate, fields["calibrated"])
    try:
        spec.check()
    except InvalidRequest as error:
        raise InvalidRecord(_REASON, str(error)) from error
    return spec


def _arrays(written: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    if len(written) > MAX_ARRAYS:
        raise InvalidRecord(_REASON, f"arrays: must be at most {MAX_ARRAYS}")
    arrays: dict[str, Array] = {}
    for one in written:
        name = one["name"]
        if not _ARRAY_NAME.fullmatch(name) or name in arrays:
            raise InvalidRecord(
                _REASON, f"arrays: {name[:80]!r} is not a name such as model.weights, or is twice"
            )
        arrays[name] = _from_array(name, one["dtype"], one["shape"], one["data"])
    return arrays


def _from_array(name: str, dtype: str, shape: Sequence[int], data: bytes) -> Array:
    if not 1 <= len(shape) <= MAX_DIMENSIONS or min(shape) < 0:
        raise InvalidRecord(_REASON, f"{name}: must have 1 to {MAX_DIMENSIONS} dimensions")
    if dtype not in _DTYPES or math.prod(shape) * 8 != len(data):
        raise InvalidRecord(
            _REASON, f"{name}: {len(data)} bytes are not {dtype} of shape {tuple(shape)}"
        )
    array: Array = np.frombuffer(data, _DTYPES[dtype]).astype(dtype).reshape(shape)
    if not np.isfinite(array).all():
        raise InvalidRecord(_REASON, f"{name}: must be finite")
    return array


def _to_array(name: str, array: Array) -> dict[str, Any]:
    dtype = array.dtype.name
    if dtype not in _DTYPES:
        raise InvalidRecord(_REASON, f"{name}: must be float64 or int64, and is {dtype}")
    return {
        "name": name,
        "dtype": dtype,
        "shape": list(array.shape),
        "data": np.ascontiguousarray(array, _DTYPES[dtype]).tobytes(),
    }


def _written(fields: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    try:
        fastavro.schemaless_writer(out, fastavro.parse_schema(load(_SCHEMA).plain), fields)
    except (ValueError, TypeError) as error:
        raise InvalidRecord(_REASON, str(error)) from error
    return out.getvalue()


@cache
def _writers() -> dict[bytes, Schema]:
    """Return all versions of the schema by their fingerprints."""
    return {_fingerprint(schema): schema for schema in history(_SCHEMA)}


@cache
def _fingerprint(schema: Schema) -> bytes:
    canonical = to_parsing_canonical_form(schema.tree)
    return bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
