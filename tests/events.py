"""Events as a producer of its own sends them, and results as a consumer of its own reads them.

Written against the public contracts only (Avro schemas, keys, Confluent's wire format): shares no
code with the worker.
"""

import datetime
import io
import json
import struct
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import fastavro
from confluent_kafka import Message

from schemas.avro import files
from schemas.operators.cohort import COHORT
from schemas.operators.funnel import FUNNEL
from schemas.operators.metric import METRIC
from schemas.operators.segment import SEGMENT
from schemas.registry.log import Registry
from schemas.registry.subjects import value_subject
from schemas.settings import Settings
from schemas.topics import Topic
from tests.kafka import Log, Record, produce
from tests.oracles.cohort import Grid

_SCHEMAS = Path(__file__).parents[1] / "schemas"
_PARSED = {
    name: fastavro.parse_schema(json.loads((_SCHEMAS / f"{name}.avsc").read_text()))
    for name in files.names()
}
_EPOCH = datetime.date(1970, 1, 1)
Parsed = dict[str, Any]


class Sent(NamedTuple):
    """One event to send."""

    person: str
    event: str
    at_ms: int
    properties: str = "{}"
    event_id: str = ""
    project: str = "shop"
    received_at_ms: int | None = None


def event_schema_id(settings: Settings) -> int:
    """The id under which producers write events."""
    with Registry(settings.cluster) as registry:
        return registry.register(value_subject(settings.topics.inbox.name), files.load("event"))


def record(sent: Sent, schema_id: int) -> Record:
    """The inbox record of an event, its key and value as the contract says."""
    out = io.BytesIO(struct.pack(">bI", 0, schema_id))
    out.seek(5)
    fields = {
        "event_id": sent.event_id or str(uuid.uuid4()),
        "project_id": sent.project,
        "distinct_id": sent.person,
        "event": sent.event,
        "timestamp": sent.at_ms,
        "properties": sent.properties,
        "received_at": sent.received_at_ms,
    }
    fastavro.schemaless_writer(out, _PARSED["event"], fields)
    return Record(out.getvalue(), f"{sent.project}:{sent.person}".encode())


def send(settings: Settings, events: Iterable[Sent]) -> None:
    """Write events to the inbox; all are acknowledged when this returns."""
    schema_id = event_schema_id(settings)
    produce(
        settings.cluster,
        settings.topics.inbox.name,
        [record(event, schema_id) for event in events],
    )


def define(
    settings: Settings,
    funnel_id: str,
    steps: Iterable[str | dict[str, Any]],
    window_s: int,
    project: str = "shop",
    version: int = 1,
    **options: Any,
) -> None:
    """Put a funnel on the definitions topic."""
    funnel = {
        "steps": [{"event": step} if isinstance(step, str) else step for step in steps],
        "window_s": window_s,
    } | options
    _define(settings, project, "funnel", funnel_id, version, funnel)


def define_cohort(
    settings: Settings, cohort_id: str, cohort: dict[str, Any], project: str = "shop"
) -> None:
    """Put a cohort on the definitions topic."""
    _define(settings, project, "cohort", cohort_id, 1, cohort)


def define_metric(
    settings: Settings, metric_id: str, metric: dict[str, Any], project: str = "shop"
) -> None:
    """Put a metric on the definitions topic."""
    _define(settings, project, "metric", metric_id, 1, metric)


def define_segment(
    settings: Settings,
    segment_id: str,
    rule: dict[str, Any],
    project: str = "shop",
    version: int = 1,
) -> None:
    """Put a segment without references on the definitions topic."""
    body = {"rule": rule}
    _define(settings, project, "segment", segment_id, version, body, rule=rule)


def define_prediction(
    settings: Settings,
    prediction_id: str,
    prediction: dict[str, Any],
    project: str = "shop",
    **more: Any,
) -> None:
    """Put a prediction on the definitions topic; `more` are other fields, such as `revision`."""
    _define(settings, project, "prediction", prediction_id, 1, prediction, **more)


def _define(
    settings: Settings,
    project: str,
    kind: str,
    name: str,
    version: int,
    body: dict[str, Any],
    **more: Any,
) -> None:
    definition = {
        "project_id": project,
        "id": name,
        "version": version,
        "created_at": 0,
        "updated_at": 0,
        kind: body,
        **more,
    }
    key = f"{project}/{kind}/{name}".encode()
    topic = settings.topics.definitions.name
    produce(settings.cluster, topic, [Record(json.dumps(definition).encode(), key)])


def delete_definition(settings: Settings, kind: str, name: str, project: str = "shop") -> None:
    """Delete a definition from the definitions topic."""
    key = f"{project}/{kind}/{name}".encode()
    produce(settings.cluster, settings.topics.definitions.name, [Record(None, key)])


def decode(kind: str, message: Message) -> Parsed:
    """The value of a record of ours."""
    value = message.value()
    assert value is not None
    return decode_value(kind, value)


def decode_value(kind: str, value: bytes) -> Parsed:
    """The same of its bytes."""
    assert value[:1] == b"\0"
    found = fastavro.schemaless_reader(io.BytesIO(value[5:]), _PARSED[kind], None)
    assert isinstance(found, dict)
    return found


class Results:
    """What a deployment has published so far, topic by topic; close it in the end."""

    def __init__(self, settings: Settings) -> None:
        self.topics = settings.topics
        self._cluster = settings.cluster
        self._logs: dict[str, Log] = {}

    def read(self, topic: Topic) -> list[Message]:
        """Every committed record of a topic, those of a partition in their order."""
        if topic.name not in self._logs:
            self._logs[topic.name] = Log(self._cluster, topic.name)
        return self._logs[topic.name].read()

    def close(self) -> None:
        """Disconnect."""
        for log in self._logs.values():
            log.close()


def stored_events(results: Results) -> list[Parsed]:
    """Everything on the event store."""
    return [decode("event", message) for message in results.read(results.topics.events)]


class Rejected(NamedTuple):
    """What stands on the rejected topic."""

    value: bytes | None
    reason: str
    detail: str


def rejected(results: Results) -> list[Rejected]:
    """Everything on the rejected topic."""
    found = []
    for message in results.read(results.topics.rejected):
        headers = dict(cast(list[tuple[str, bytes]], message.headers()))
        found.append(
            Rejected(message.value(), headers["reason"].decode(), headers["detail"].decode())
        )
    return found


class Figures(NamedTuple):
    """A funnel's figures, added up over partitions: reached per step, in total and by entry day."""

    totals: list[int]
    days: dict[int, list[int]]
    late_dropped: int


def figures(results: Results, funnel_id: str, project: str = "shop") -> Figures:
    """Read the result topic from its beginning and add the partitions up."""
    newest: dict[bytes, Message] = {}
    for message in results.read(FUNNEL.aggregates.topic(results.topics)):
        newest[message.key() or b""] = message
    totals: list[int] = []
    days: defaultdict[int, list[int]] = defaultdict(list)
    late = 0
    for message in newest.values():
        if message.value() is None:
            continue
        result = decode("funnel-result", message)
        if (result["project_id"], result["funnel_id"]) != (project, funnel_id):
            continue
        late += result["late_dropped"]
        if result["day"] is None:
            totals = _added(totals, result["reached"])
        else:
            day = (result["day"] - _EPOCH).days
            days[day] = _added(days[day], result["reached"])
    return Figures(totals, {day: sums for day, sums in sorted(days.items()) if any(sums)}, late)


def values(results: Results, funnel_id: str, project: str) -> dict[Any, tuple[list[int], ...]]:
    """Persons and chains of each value in total, the partitions added up."""
    newest = {
        message.key(): message for message in results.read(FUNNEL.aggregates.topic(results.topics))
    }
    found: dict[Any, tuple[list[int], ...]] = {}
    for message in newest.values():
        if message.value() is None:
            continue
        result = decode("funnel-result", message)
        own = (result["project_id"], result["funnel_id"]) == (project, funnel_id)
        for one in result["breakdown"] if own and result["day"] is None else ():
            value = None if one["value"] is None else json.loads(one["value"])
            persons, chains = found.get(value, ([], []))
            found[value] = _added(persons, one["reached"]), _added(chains, one["entries"])
    return {value: counts for value, counts in found.items() if any(counts[0])}


def retention(results: Results, cohort_id: str, project: str = "shop") -> Grid:
    """Read the cohorts' topic from its beginning and add the partitions up."""
    grid = Grid({}, {}, {})
    for result in _cohort_results(results, cohort_id, project):
        _add_row(grid, result["period"], result)
    return grid


def retention_by_value(
    results: Results, cohort_id: str, project: str = "shop"
) -> dict[str | None, Grid]:
    """The same of each value, in JSON, and of all that are not told apart (None)."""
    grids: defaultdict[str | None, Grid] = defaultdict(lambda: Grid({}, {}, {}))
    for result in _cohort_results(results, cohort_id, project):
        for one in result["breakdown"]:
            _add_row(grids[one["value"]], result["period"], one)
    return dict(grids)


def _cohort_results(results: Results, cohort_id: str, project: str) -> Iterator[Parsed]:
    newest: dict[bytes, Message] = {}
    for message in results.read(COHORT.aggregates.topic(results.topics)):
        newest[message.key() or b""] = message
    for message in newest.values():
        if message.value() is None:
            continue
        result = decode("cohort-result", message)
        own = (result["project_id"], result["cohort_id"]) == (project, cohort_id)
        if own and result["period"] is not None:
            yield result


def _add_row(grid: Grid, day: datetime.date, row: Parsed) -> None:
    grid.persons[day] = grid.persons.get(day, 0) + row["persons"]
    grid.returned[day] = _added(grid.returned.get(day, []), row["returned"])
    grid.or_later[day] = _added(grid.or_later.get(day, []), row["returned_or_later"])


def measured(results: Results, metric_id: str, project: str = "shop") -> dict[int, list[Parsed]]:
    """Read the metrics' topic from its beginning: what each partition has, by begin (ms)."""
    newest: dict[bytes, Message] = {}
    for message in results.read(METRIC.aggregates.topic(results.topics)):
        newest[message.key() or b""] = message
    found: defaultdict[int, list[Parsed]] = defaultdict(list)
    for message in newest.values():
        if message.value() is None:
            continue
        result = decode("metric-result", message)
        if (result["project_id"], result["metric_id"]) == (project, metric_id) and result["bucket"]:
            found[round(result["bucket"].timestamp() * 1_000)].append(result)
    return dict(found)


class Segmented(NamedTuple):
    """Who is in a segment by the records of persons, and how many by those of sizes."""

    members: set[str]
    size: int


def segmented(results: Results, segment_id: str, project: str = "shop") -> Segmented:
    """Read both topics of the segments from their beginning; of a version that is the newest.

    Fails if a person enters who is in, or leaves who is not.
    """
    members: dict[str, int] = {}  # by person, the version at which they are in
    for message in results.read(SEGMENT.changes[0].topic(results.topics)):
        of_project, of_segment, person = (message.key() or b"").decode().split("/", 2)
        if (of_project, of_segment) != (project, segment_id):
            continue
        change = None if message.value() is None else decode("segment-change", message)
        if change is None or change["change"] == "left":
            assert change is None or members[person] == change["version"], f"left twice: {person}"
            members.pop(person, None)
        else:
            assert members.get(person, 0) < change["version"], f"entered twice: {person}"
            members[person] = change["version"]
    newest: dict[bytes, Message] = {}
    for message in results.read(SEGMENT.aggregates.topic(results.topics)):
        newest[message.key() or b""] = message
    size = 0
    for message in newest.values():
        if message.value() is not None:
            result = decode("segment-size", message)
            of = (result["project_id"], result["segment_id"], result["day"])
            if of == (project, segment_id, None):
                size += result["entered"] - result["left"]
    return Segmented(set(members), size)


class PersonStep(NamedTuple):
    """A step of a person in one entry day."""

    person: str
    day: int
    step: int


def person_steps(results: Results, funnel_id: str, project: str = "shop") -> dict[PersonStep, int]:
    """Replay the steps topic: how long each person took to each step that stands at the end.

    Fails if the changes of a person contradict each other: a step announced twice, corrected or
    retracted without having been announced, or timed out twice.
    """
    took: dict[PersonStep, int] = {}
    timed_out: set[PersonStep] = set()
    for message in results.read(FUNNEL.changes[0].topic(results.topics)):
        change = decode("funnel-step", message)
        if (change["project_id"], change["funnel_id"]) != (project, funnel_id):
            continue
        key = PersonStep(change["person_id"], (change["day"] - _EPOCH).days, change["step"])
        match change["change"]:
            case "reached":
                assert key not in took, f"announced twice: {key}"
                took[key] = change["took_ms"]
            case "corrected":
                assert key in took, f"corrected before it was announced: {key}"
                took[key] = change["took_ms"]
            case "retracted":
                assert key in took, f"retracted before it was announced: {key}"
                del took[key]
            case "timed_out":
                assert key in took, f"timed out before it was announced: {key}"
                assert key not in timed_out, f"timed out twice: {key}"
                timed_out.add(key)
    return took


def steps_timed_out(results: Results, funnel_id: str, project: str = "shop") -> set[PersonStep]:
    """The last steps of persons whose windows have closed."""
    return {
        PersonStep(change["person_id"], (change["day"] - _EPOCH).days, change["step"])
        for message in results.read(FUNNEL.changes[0].topic(results.topics))
        if (change := decode("funnel-step", message))["change"] == "timed_out"
        and (change["project_id"], change["funnel_id"]) == (project, funnel_id)
    }


def await_equal(expected: Any, read: Callable[[], Any], within_s: float = 300) -> None:
    """Read again until what is read is as expected."""
    deadline = time.monotonic() + within_s
    while (found := read()) != expected:  # reading waits a little for more to come
        assert time.monotonic() < deadline, f"expected {expected!r:.500}, found {found!r:.500}"


def _added(sums: list[int], more: list[int]) -> list[int]:
    return more if not sums else [a + b for a, b in zip(sums, more, strict=True)]
