"""Questions and outcomes as columns, and the other fields of a record."""

import hashlib
import json
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Target: TypeAlias = Literal["performs", "does_not", "value"]

MAX_QUESTIONS: Final = 2_000  # a record
MAX_OUTCOMES: Final = 2_000  # a record
MAX_FEATURES: Final = 256
MAX_MODELS: Final = 16
MAX_COMPARED: Final = 1_000_000  # answers
# Of values and of scores of values: sums of their squares do not overflow.
MAX_VALUE: Final = 1e100
# Of the features of a record, so that it fits into every topic with Kafka's default limit.
MAX_FEATURE_BYTES: Final = 600_000

Int64s: TypeAlias = NDArray[np.int64]
UInt64s: TypeAlias = NDArray[np.uint64]
Float32s: TypeAlias = NDArray[np.float32]
Float64s: TypeAlias = NDArray[np.float64]


def feature_schema_of(features: Sequence[str], formulas: int) -> str:
    """Return a hash of what features are, 64 digits in hexadecimal.

    `formulas` is the version of how they are computed: rows of different ones are not comparable.
    """
    text = json.dumps([formulas, *features], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Task(NamedTuple):
    """What is learned, which is constant under one tag of one definition.

    Only `feature_schema` changes, with a release that computes features differently: then models
    begin again.

    Attributes:
        models: the names of the models (`ModelSpec.name`); the first is the champion, whose scores
            are served, until another is promoted.
        features: the names of a row's features, in order.
        feature_schema: `feature_schema_of` the features.
    """

    project_id: str
    prediction_id: str
    version: int
    tag: int
    target: Target
    horizon_ms: int
    lateness_ms: int
    models: tuple[str, ...]
    features: tuple[str, ...]
    feature_schema: str

    @property
    def name(self) -> str:
        """What logs call it."""
        return f"{self.project_id}/{self.prediction_id}/{self.version}"


class Questions(NamedTuple):
    """Questions, ascending by offset; the columns have shape (n,), `features` (n, features).

    `offsets` and `at` (ms since 1970) are those of the events that ask, `persons` keyed hashes,
    `scores` what the model that scored said, NaN where there was no model yet, and `clocks` (ms
    since 1970) what the source partition's clock said just before each event.
    """

    offsets: Int64s
    at: Int64s
    persons: UInt64s
    features: Float32s
    scores: Float64s
    clocks: Int64s

    @classmethod
    def none(cls, features: int) -> "Questions":
        """Return no questions, whose rows would have this number of features."""
        times, rows = np.empty(0, np.int64), np.empty((0, features), np.float32)
        return cls(times, times, np.empty(0, np.uint64), rows, np.empty(0), times)

    def rows(self, begin: int, end: int) -> "Questions":
        """Return the questions from place `begin` to `end`, which share memory with these."""
        return Questions._make(column[begin:end] for column in self)


class Outcomes(NamedTuple):
    """Events that may answer questions, ascending by offset; the columns have shape (n,).

    `values` are 1 unless the target is a value; `clocks` (ms since 1970) what the source
    partition's clock said just before each event.
    """

    offsets: Int64s
    at: Int64s
    persons: UInt64s
    values: Float64s
    clocks: Int64s

    @classmethod
    def none(cls) -> "Outcomes":
        """Return no outcomes."""
        times = np.empty(0, np.int64)
        return cls(times, times, np.empty(0, np.uint64), np.empty(0), times)

    def rows(self, begin: int, end: int) -> "Outcomes":
        """Return the outcomes from place `begin` to `end`, which share memory with these."""
        return Outcomes._make(column[begin:end] for column in self)


class NotAsked(NamedTuple):
    """How many events asked nothing, and why: too many open questions, not sampled, too late."""

    capped: int = 0
    sampled_out: int = 0
    late_triggers: int = 0


class Serving(NamedTuple):
    """What the definition said about its champion when a record was written.

    Records of several source partitions come in any order: of two, the one with the higher
    `revision` is the newer. All is 0 or empty in records of earlier versions.

    Attributes:
        revision: the definition's revision.
        champion: the model that the definition names as the champion; empty for the first one.
        promoted: the revision that named it; 0 if none did.
        margin: how much less the loss of a challenger must be for the rule to promote it.
        compared: over how many answers the rule compares losses; 0 without a rule.
    """

    revision: int = 0
    champion: str = ""
    promoted: int = 0
    margin: float = 0.0
    compared: int = 0


class Examples(NamedTuple):
    """One record: the questions and outcomes of a batch, for one definition and source partition.

    Attributes:
        position: the source offset below which all events are in this record or in earlier ones.
        clock: what the source partition's clock says after them (ms since 1970).
        model_version: how many examples the model that gave the scores had learned by then; -1 if
            there was none yet.
        ended: whether the source partition asks nothing more under this tag.
        history: whether the source partition still reads events from before the definition.
        partitions: how many source partitions there are; 0 if it is not known.
        serving: what the definition says about its champion.
        scored_by: the model that gave the scores; empty for the first one of the task.
    """

    task: Task
    partition: int
    position: int
    clock: int
    questions: Questions
    outcomes: Outcomes
    model_version: int = -1
    not_asked: NotAsked = NotAsked()
    ended: bool = False
    history: bool = False
    partitions: int = 0
    serving: Serving = Serving()
    scored_by: str = ""
