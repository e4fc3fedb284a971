"""Publish predictions: questions and outcomes for the trainer, scores, and what was asked.

questions, outcomes ─▶ avila.examples              ─▶ trainer ─▶ avila.models ─▶ scores
scores              ─▶ avila.predictions           the last one of a person
counts              ─▶ avila.prediction-questions  by day and in total
"""

from collections.abc import Generator, Mapping
from typing import Final

import numpy as np

from pipelines.columnar.jit import Int32s, UInt64s
from pipelines.columnar.mix import mix_strings
from pipelines.columnar.siphash import HashKey, hash_strings
from pipelines.columnar.string_column import StringColumn
from pipelines.engine.aggregates_publisher import AggregatesPublisher
from pipelines.engine.constants import TOTAL
from pipelines.engine.operator import Changed, PartitionContext, Record
from pipelines.engine.person_topic import PersonTopic
from pipelines.kafka.reader import Reader
from pipelines.kafka.records import Outbox
from pipelines.matching.match import Key
from pipelines.operators.prediction.aggregates import Asked
from pipelines.operators.prediction.champions import Champions, Scores
from pipelines.operators.prediction.instance import PredictionInstance
from pipelines.operators.prediction.orphans import find_orphans
from pipelines.operators.prediction.state import PredictionChanges
from schemas.avro import files
from schemas.avro.codec import Encoder
from schemas.errors import Misconfigured
from schemas.examples.chunks import chunks
from schemas.examples.codec import key_of, to_record
from schemas.examples.columns import Examples, NotAsked, Outcomes, Questions, Task
from schemas.operators.prediction import PREDICTION
from schemas.person_key import fingerprint, hash_key_of, person_key
from schemas.registry.client import SchemaRegistry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings

_CLOCK_INTERVAL_MS: Final = 1_000
_BEFORE_EVENTS: Final = 0  # a clock by which nothing is due


class PredictionPublisher(AggregatesPublisher[PredictionInstance, PredictionChanges]):
    """Writes to the topics above; reads `avila.models` as soon as there is a prediction."""

    def __init__(self, settings: Settings, registry: SchemaRegistry, outbox: Outbox) -> None:
        super().__init__(PREDICTION, "day", settings.topics, registry, outbox)
        self._outbox = outbox
        self._topic = settings.topics.examples.name
        example = files.load("example")
        self._examples = Encoder(example, registry.register(value_subject(self._topic), example))
        self._persons = PersonTopic(PREDICTION, settings.topics, registry, outbox)
        self._models_topic = settings.topics.models.name
        self._champions = Champions(settings, registry)
        self._person_key = person_key(settings)
        self._source = settings.topics.events.name
        self._source_partitions = 0

    def follow(self) -> None:
        """Adopt the newest models."""
        self._champions.follow()

    @property
    def caught_up(self) -> bool:
        """Whether the newest models have been read."""
        return self._champions.caught_up

    def aggregates(self, context: PartitionContext, instance: PredictionInstance) -> None:
        """Publish what was asked; follow the model of a prediction that is new.

        The trainer is told when history begins, when it has been read, and which model is promoted.
        """
        self._champions.require(instance.task)
        super().aggregates(context, instance)
        told = instance.history_published, instance.serving_published
        now = instance.backfill is not None, instance.serving
        if told != now and not instance.failed:
            self._send([self._without_events(context, instance)])
            instance.history_published, instance.serving_published = now

    def changes(
        self,
        context: PartitionContext,
        changed: Changed[PredictionInstance, PredictionChanges],
    ) -> None:
        """Publish the questions and outcomes of a batch, with their scores."""
        for prediction, changes in changed:
            with prediction.failing_alone():
                self._check_person_key(prediction)
            if prediction.failed:
                continue
            if _is_worth_a_record(prediction, changes):
                scores = self._champions.score(prediction.task, changes.questions.features)
                self._publish_examples(context, prediction, changes, scores)
                if not prediction.has_previous:
                    self._publish_scores(context, prediction, changes, scores)

    def _publish_examples(
        self,
        context: PartitionContext,
        prediction: PredictionInstance,
        changes: PredictionChanges,
        scores: Scores,
    ) -> None:
        asked, answered = changes.questions, changes.outcomes
        persons = self._hashes(context, prediction, np.concatenate([asked.rows, answered.rows]))
        examples = Examples(
            prediction.task,
            context.partition,
            _position(context, prediction),
            max(changes.clock, prediction.clock_published),
            Questions(
                asked.offsets,
                asked.at,
                persons[: len(asked)],
                asked.features,
                scores.scores,
                asked.clocks,
            ),
            Outcomes(
                answered.offsets,
                answered.at,
                persons[len(asked) :],
                answered.values,
                answered.clocks,
            ),
            scores.version,
            NotAsked(changes.capped, changes.sampled_out, changes.late_triggers),
            history=prediction.backfill is not None,
            partitions=self._source_partitions,
            serving=prediction.serving,
            scored_by=scores.model,
        )
        self._send(list(chunks(examples)))
        prediction.clock_published = examples.clock
        prediction.serving_published = examples.serving

    def _hashes(
        self, context: PartitionContext, prediction: PredictionInstance, rows: Int32s
    ) -> UInt64s:
        """Return what stands for the persons of some rows: other numbers in each prediction."""
        hashes = np.zeros(len(rows), np.uint64)
        persons = StringColumn.of(context.persons.second(prediction.state.persons_of(rows)))
        if prediction.definition.person_key:
            words = hash_key_of(self._person_key, int(prediction.tag))
            hash_strings(HashKey(*map(np.uint64, words)), *persons, hashes)
        else:
            mix_strings(prediction.tag, *persons, hashes)
        return hashes

    def _check_person_key(self, prediction: PredictionInstance) -> None:
        """Raise `Misconfigured` if persons would get other names than before."""
        expected = prediction.definition.person_key
        if expected and expected != fingerprint(self._person_key):
            raise Misconfigured(
                "AVILA_PERSON_KEY is not the one that this version of the prediction began with: "
                "set it to what it was, or change the prediction, which begins a new version"
            )

    def _without_events(
        self, context: PartitionContext, prediction: PredictionInstance
    ) -> Examples:
        """Return a record that says no more than how far the source partition is."""
        return Examples(
            prediction.task,
            context.partition,
            _position(context, prediction),
            prediction.state.clock or _BEFORE_EVENTS,
            Questions.none(len(prediction.task.features)),
            Outcomes.none(),
            history=prediction.backfill is not None,
            partitions=self._source_partitions,
            serving=prediction.serving,
        )

    def _send(self, examples: list[Examples]) -> None:
        records = [to_record(one) for one in examples]
        keys = [key_of(one.task) for one in examples]
        self._outbox.send(self._topic, keys, self._examples.encode_records(records))

    def _publish_scores(
        self,
        context: PartitionContext,
        prediction: PredictionInstance,
        changes: PredictionChanges,
        scores: Scores,
    ) -> None:
        """Publish the last score of each person."""
        asked, task = changes.questions, prediction.task
        _, last = np.unique(asked.rows[::-1], return_index=True)
        places = np.sort(len(asked) - 1 - last)
        places = places[np.isfinite(scores.scores[places])]
        if not len(places):
            return
        contributions = self._champions.contributions(task, asked.features[places])
        slots = prediction.state.persons_of(asked.rows[places])
        persons = context.persons.second(slots).to_pylist()
        common = {
            "project_id": task.project_id,
            "prediction_id": task.prediction_id,
            "version": task.version,
            "model": scores.model,
            "model_version": scores.version,
            "withheld": self._champions.withholds(task),
        }
        self._persons.send(
            context.partition,
            prediction.key,
            [
                {
                    **common,
                    "person_id": person,
                    "at": at,
                    "score": score,
                    "contributions": [one._asdict() for one in top],
                }
                for person, at, score, top in zip(
                    persons,
                    asked.at[places].tolist(),
                    scores.scores[places].tolist(),
                    contributions,
                    strict=True,
                )
            ],
        )

    def record(self, instance: PredictionInstance, period: int) -> Record:
        """Return what was asked on a day, or ever."""
        asked, whole = instance.aggregates.of(period), period == TOTAL
        return {
            "asked": asked.questions,
            "capped": asked.capped,
            "sampled_out": asked.sampled_out,
            "late_triggers": asked.late_triggers,
            "open": instance.state.open_questions if whole else [],
            "clock": instance.state.clock if whole else None,
        }

    def load(self, instance: PredictionInstance, record: Record) -> None:
        """Continue from a published record."""
        counts = (record[name] for name in ("asked", "capped", "sampled_out", "late_triggers"))
        day = TOTAL if record["day"] is None else record["day"]
        instance.aggregates.load(day, Asked(*counts))
        if day == TOTAL and record["open"]:
            instance.state.load_open_questions(record["open"])

    def restore(
        self, partition: int, instances: Mapping[Key, PredictionInstance], reader: Reader
    ) -> Generator[None, None, None]:
        """Load the published aggregates in steps; delete those of ended predictions."""
        self._source_partitions = max(self._source_partitions, reader.partitions(self._source))
        for instance in instances.values():
            if isinstance(instance, PredictionInstance):  # one that failed has no model
                self._champions.require(instance.task)
        ended = yield from self._aggregates.restore(partition, instances, reader, self.load)
        if ended:
            yield from self._persons.delete_ended(partition, ended, reader)
            # One record is enough, whichever partition has found them.
            for task in (yield from find_orphans(self._models_topic, ended, reader)):
                self._send([_end_of(task, partition)])

    def forget(self, context: PartitionContext, instance: PredictionInstance) -> None:
        """Delete what is published of a prediction that ends, and tell the trainer."""
        super().forget(context, instance)
        self._champions.forget(instance.task)
        self._send([self._without_events(context, instance)._replace(ended=True)])
        if not instance.has_previous:
            self._persons.forget(context, instance)


def _end_of(task: Task, partition: int) -> Examples:
    """Return the record that ends a task of which nothing else is known: its models are deleted."""
    questions = Questions.none(len(task.features))
    return Examples(task, partition, 0, _BEFORE_EVENTS, questions, Outcomes.none(), ended=True)


def _is_worth_a_record(prediction: PredictionInstance, changes: PredictionChanges) -> bool:
    """Return whether there is more to publish than a clock that was published a moment ago."""
    if len(changes.questions) or len(changes.outcomes):
        return True
    if changes.capped or changes.sampled_out or changes.late_triggers:
        return True
    if prediction.serving != prediction.serving_published:
        return True
    return changes.clock >= prediction.clock_published + _CLOCK_INTERVAL_MS


def _position(context: PartitionContext, prediction: PredictionInstance) -> int:
    """Return the offset below which a prediction holds the source partition's events."""
    return context.position if prediction.backfill is None else prediction.backfill.at
