"""The view of scores: what each prediction last said of each person.

A score costs about 350 bytes with the person's id. The view holds up to `MAX_SCORES`, the newest
ones: when they are more, the tenth of the largest prediction's scores that came longest ago is let
go. A prediction whose scores are not all there says so: `complete` is false.
"""

import heapq
import math
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec
import numpy as np
import pyarrow as pa
import structlog

from schemas.operators.prediction import PREDICTION
from services.query.operators.prediction.bands import ScoreBands, ScoreCounts
from services.query.views.changes import Key
from services.query.views.reader import ResultSource, Update, VersionKey

log = structlog.get_logger(__name__)

MAX_SCORES: Final = 1_000_000

Order = Literal["highest", "lowest"]
ORDERS: Final[tuple[Order, ...]] = ("highest", "lowest")

# The features that contributed, one after the other: the feature's name, its value, what it adds.
_CONTRIBUTIONS: Final = np.dtype([("name", "<u2"), ("value", "<f4"), ("contribution", "<f8")])
# The definition's version, the model's name, the time of the event (ms), the model's version, and
# the score.
_HEAD: Final = struct.Struct("<iHqqd")
# In place of the model's name: the names follow, as they are.
_SPELLED: Final = (1 << 16) - 1
_FIELDS: Final = (
    "project_id",
    "prediction_id",
    "version",
    "model",
    "at",
    "model_version",
    "score",
)


class Contribution(NamedTuple):
    """A feature, its value, and what it adds to the logit, or to the predicted value."""

    feature: str
    value: float
    contribution: float


class Score(NamedTuple):
    """What a model said of a person, at the event of time `at` (ms)."""

    version: int
    model: str
    at: int
    model_version: int
    score: float
    contributions: tuple[Contribution, ...] = ()


class _Spelled(NamedTuple):
    """What follows the head of a score whose names have no numbers."""

    model: str
    contributions: tuple[Contribution, ...]


_spelled: Final = msgspec.msgpack.Decoder(_Spelled)


class Names:
    """Numbers for the names of models and features, of which there are few.

    A reader in another thread may add names while one that has a number looks its name up.
    """

    MAX: Final = _SPELLED
    MAX_OF_PROJECT: Final = 4_096

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._of_project: Counter[str] = Counter()

    def number(self, name: str, project: str = "") -> int:
        """Return the number of a name, a new one if it has none.

        Raises:
            OverflowError: there are as many as there can be, or as the project may bring.
        """
        number = self._numbers.get(name)
        if number is None:
            if len(self._names) >= self.MAX:
                raise OverflowError(f"more than {self.MAX} names of models and features")
            if project:
                if self._of_project[project] >= self.MAX_OF_PROJECT:
                    raise OverflowError(f"more than {self.MAX_OF_PROJECT} names of {project}")
                self._of_project[project] += 1
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def numbers(self, names: Iterable[str]) -> list[int] | None:
        """Return the numbers of names; None if one of them has none yet."""
        found = [self._numbers.get(name) for name in names]
        known = [number for number in found if number is not None]
        return known if len(known) == len(found) else None

    def __getitem__(self, number: int) -> str:
        return self._names[number]


_NAMES: Final = Names()


class PackedScore(NamedTuple):
    """A score as it is kept: `packed` is what `pack` returns, empty if it is not a number."""

    version_key: VersionKey
    packed: bytes


class ScoreRange(NamedTuple):
    """Scores from `least` to below `below`; all of them by default."""

    least: float = -math.inf
    below: float = math.inf


ALL_SCORES: Final = ScoreRange()


class ScorePage(NamedTuple):
    """Some persons with their scores, in order, and whether there are more."""

    persons: list[tuple[str, Score]]
    more: bool


class HeldScores(NamedTuple):
    """The scores of one prediction. Safe to give to another thread.

    `complete` says whether all scores are there that were not replaced.
    """

    by_person: Mapping[str, bytes]
    complete: bool

    def page(
        self,
        version: int,
        order: Order,
        after: tuple[float, str] | None,
        limit: int,
        scores: ScoreRange = ALL_SCORES,
    ) -> ScorePage:
        """Return up to `limit` persons of a version, those after a score and a person.

        Only persons with scores in the range are there. Those with equal scores are by id. It takes
        longer the more persons there are.
        """
        sign = -1.0 if order == "highest" else 1.0
        begin = None if after is None else (sign * after[0], after[1])
        heads = ((person, _HEAD.unpack_from(one)) for person, one in self.by_person.items())
        ranks = (
            (sign * head[-1], person)
            for person, head in heads
            if head[0] == version and scores.least <= head[-1] < scores.below
        )
        rest = ranks if begin is None else (rank for rank in ranks if rank > begin)
        found = heapq.nsmallest(limit + 1, rest)
        persons = [(person, unpack(self.by_person[person])) for _, person in found[:limit]]
        return ScorePage(persons, len(found) > limit)


class Scores:
    """The scores of all predictions; for one thread."""

    def __init__(self, max_scores: int = MAX_SCORES) -> None:
        # By prediction, then by person: the ones that came longest ago are first.
        self._predictions: dict[Key, dict[str, bytes]] = {}
        self._bands: dict[Key, ScoreBands] = {}
        self._let_go: set[Key] = set()
        self._held = 0
        self._max = max_scores

    def apply(self, updates: Iterable[Update[PackedScore]]) -> None:
        """Take in records in the order of their partitions; repeating some changes nothing."""
        for record_key, update in updates:
            try:
                project_id, prediction_id, person = record_key.decode().split("/", 2)
            except ValueError:
                log.error("score_unreadable", key=record_key)
                continue
            packed = b"" if update is None else update.packed
            if update is not None and not packed:
                log.error("score_not_finite", key=record_key)
            key = Key(project_id, prediction_id)
            scores = self._predictions.setdefault(key, {})
            bands = self._bands.setdefault(key, ScoreBands())
            replaced = scores.pop(person, None)
            if replaced is not None:
                self._held -= 1
                _count(bands, replaced, -1)
            if packed:
                scores[person] = packed
                self._held += 1
                _count(bands, packed)
                if self._held > self._max:
                    self._make_room()
            elif not scores:
                del self._predictions[key], self._bands[key]
                self._let_go.discard(key)

    def of(self, key: Key) -> HeldScores:
        """Return a copy of the scores of a prediction."""
        return HeldScores(dict(self._predictions.get(key, {})), key not in self._let_go)

    def person(self, key: Key, person: str) -> Score | None:
        """Return what a prediction last said of a person; None if that is not held."""
        packed = self._predictions.get(key, {}).get(person)
        return None if packed is None else unpack(packed)

    def counts(self, key: Key, version: int) -> ScoreCounts:
        """Return how many persons have which scores of a version."""
        bands = self._bands.get(key)
        return ScoreCounts(() if bands is None else bands.of(version), self.is_complete(key))

    def is_complete(self, key: Key) -> bool:
        """Whether all scores of a prediction are held."""
        return key not in self._let_go

    def _make_room(self) -> None:
        largest = max(self._predictions, key=lambda key: len(self._predictions[key]))
        scores = self._predictions[largest]
        oldest = list(islice(scores, max(1, len(scores) // 10)))
        bands = self._bands[largest]
        for person in oldest:
            _count(bands, scores.pop(person), -1)
        self._held -= len(oldest)
        if largest not in self._let_go:
            log.warning("scores_let_go", prediction=largest, max_scores=self._max)
            self._let_go.add(largest)


def _count(bands: ScoreBands, packed: bytes, persons: int = 1) -> None:
    head = _HEAD.unpack_from(packed)
    bands.add(head[0], head[-1], persons)


def pack(score: Score, project: str = "") -> bytes:
    """Return the score in few bytes; in more, if the project has brought too many names."""
    try:
        model = _NAMES.number(score.model, project)
        names = [_NAMES.number(one.feature, project) for one in score.contributions]
    except OverflowError:
        names_follow = msgspec.msgpack.encode(_Spelled(score.model, score.contributions))
        return _head(score, _SPELLED) + names_follow
    rows = [(name, *one[1:]) for name, one in zip(names, score.contributions, strict=True)]
    return _head(score, model) + np.array(rows, _CONTRIBUTIONS).tobytes()


def _head(score: Score, model: int) -> bytes:
    return _HEAD.pack(score.version, model, score.at, score.model_version, score.score)


def unpack(packed: bytes) -> Score:
    """Return the score that was packed."""
    version, model, at, model_version, score = _HEAD.unpack_from(packed)
    if model == _SPELLED:
        spelled = _spelled.decode(packed[_HEAD.size :])
        return Score(version, spelled.model, at, model_version, score, spelled.contributions)
    rows = np.frombuffer(packed, _CONTRIBUTIONS, offset=_HEAD.size).tolist()
    contributions = (Contribution(_NAMES[name], *numbers) for name, *numbers in rows)
    return Score(version, _NAMES[model], at, model_version, score, tuple(contributions))


def read_scores(batch: pa.RecordBatch) -> list[PackedScore]:
    """Read decoded rows as scores: a column at a time, or one by one if there are new names."""
    columns: list[list[Any]] = [batch.column(name).to_pylist() for name in _FIELDS]
    lists = cast("pa.ListArray[pa.StructScalar]", batch.column("contributions"))
    # Both are of the whole array, whatever part of it this batch is.
    bounds, inside = lists.offsets.to_numpy(), cast(pa.StructArray, lists.values)
    encoded = inside.field("feature").dictionary_encode()
    numbers = _NAMES.numbers(map(str, encoded.dictionary.to_pylist()))
    models = _NAMES.numbers(columns[3])
    if numbers is None or models is None:
        return _read_each(columns, batch.column("contributions").to_pylist())
    rows = np.empty(len(inside), _CONTRIBUTIONS)
    if len(rows):
        rows["name"] = np.array(numbers, np.uint16)[encoded.indices.to_numpy()]
        rows["value"] = inside.field("value").to_numpy()
        rows["contribution"] = inside.field("contribution").to_numpy()
    columns[3] = models
    return [
        PackedScore(
            VersionKey(project, prediction, version),
            _HEAD.pack(version, model, at, model_version, score) + rows[begin:end].tobytes()
            if math.isfinite(score)
            else b"",
        )
        for project, prediction, version, model, at, model_version, score, begin, end in zip(
            *columns, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True
        )
    ]


def _read_each(columns: Sequence[list[Any]], contributions: list[Any]) -> list[PackedScore]:
    packed = []
    for project, prediction, version, model, at, model_version, score, parts in zip(
        *columns, contributions, strict=True
    ):
        named = tuple(Contribution(**part) for part in parts)
        one = Score(version, model, at, model_version, score, named)
        data = pack(one, project) if math.isfinite(score) else b""
        packed.append(PackedScore(VersionKey(project, prediction, version), data))
    return packed


PREDICTION_SCORES: Final = ResultSource("scores", PREDICTION.changes[0], read_scores)
