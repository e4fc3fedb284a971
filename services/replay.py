"""`avila replay`: definitions counted anew, from the first event of the event store on.

A definition that is replayed gets a new version of itself, which the workers backfill as they do
any new one. So it may be done while events flow, and whoever asks for it sees the new figures grow.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from schemas.avro.codec import Codec
from schemas.avro.files import load
from schemas.definitions import Definition, Kind
from schemas.errors import NotFound, Unavailable
from schemas.operators import cohort as cohorts
from schemas.operators import funnel as definitions
from schemas.operators import metric as metrics
from schemas.operators import segment as segments
from schemas.operators.cohort import COHORT
from schemas.operators.funnel import FUNNEL
from schemas.operators.metric import METRIC
from schemas.operators.segment import SEGMENT
from schemas.registry.client import SchemaRegistry, open_registry
from schemas.settings import Settings
from schemas.topics import Topic, Topics
from services.commands import Commands, Write
from services.query.http.params import now_ms
from services.query.operators.cohort import view as cohort_results
from services.query.operators.funnel import view as funnel_results
from services.query.operators.metric import view as metric_results
from services.query.operators.segment import view as segment_sizes
from services.query.views.catalog import Change, Definitions, Key, read_changes
from services.query.views.latest import LatestByKey, Reader
from services.topic_view import TopicView

_CAUGHT_UP_TIMEOUT_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.25

Show = Callable[[float], None]


class _Counted(NamedTuple):
    """A kind of definition that is counted, and where it is said how far that is."""

    encode: Callable[[Any], bytes]
    topic: Callable[[Topics], Topic]
    schema: str
    read: Callable[[Any], Sequence[Any]]


_KINDS: Final[Mapping[Kind, _Counted]] = {
    "funnel": _Counted(
        definitions.encode,
        FUNNEL.aggregates.topic,
        "funnel-result",
        funnel_results.read_results,
    ),
    "cohort": _Counted(
        cohorts.encode,
        COHORT.aggregates.topic,
        "cohort-result",
        cohort_results.read_results,
    ),
    "segment": _Counted(
        segments.encode,
        SEGMENT.aggregates.topic,
        "segment-size",
        segment_sizes.read_results,
    ),
    "metric": _Counted(
        metrics.encode,
        METRIC.aggregates.topic,
        "metric-result",
        metric_results.read_results,
    ),
}
KINDS: Final = tuple(_KINDS)


class Asked(NamedTuple):
    """What is to be replayed; what is None does not matter."""

    project: str | None = None
    kind: str | None = None
    id: str | None = None

    def holds_of(self, definition: Definition) -> bool:
        """Whether a definition is asked for."""
        given = (definition.project_id, definition.KIND, definition.id)
        return all(asked in {None, is_} for asked, is_ in zip(self, given, strict=True))


def replay(settings: Settings, asked: Asked, *, quiet: bool = False) -> int:
    """Replay what is asked for, or all there is; returns how many definitions were.

    Blocks until they are live again, with a progress bar unless `quiet`. The workers do it: whoever
    stops waiting stops nothing.

    Raises:
        NotFound: something is asked for that there is not.
        Unavailable: Kafka does not answer.
    """
    columns = (TextColumn("replaying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("replay", total=1.0)

        def show(done: float) -> None:
            progress.update(task, completed=done)

        with closing(open_registry(settings)) as registry:
            return asyncio.run(_replay(settings, registry, asked, show))


async def _replay(settings: Settings, registry: SchemaRegistry, asked: Asked, show: Show) -> int:
    topics = settings.topics
    known = {kind: Definitions[Definition](kind) for kind in KINDS}
    results = {kind: LatestByKey[Any](settings.partitions) for kind in KINDS}

    def apply(changes: Sequence[Change]) -> None:
        for one in known.values():
            one.apply(changes)

    commanded = TopicView(
        "definitions", settings.bootstrap, [topics.definitions.name], read_changes, apply
    )
    views: list[TopicView[Any]] = [commanded]
    for kind, (_, topic, schema, read) in _KINDS.items():
        reader = Reader(Codec(load(schema), registry.find), read)
        names = [topic(topics).name]
        views.append(TopicView(kind, settings.bootstrap, names, reader, results[kind].apply))
    for view in views:
        view.start()
    try:
        async with asyncio.timeout(_CAUGHT_UP_TIMEOUT_S):
            for view in views:
                await view.catch_up()
        chosen = [one for of_kind in known.values() for one in of_kind.all() if asked.holds_of(one)]
        if not chosen and asked != Asked():
            raise NotFound(f"there is no {asked.kind or 'definition'} that is asked for")
        commands = Commands(settings, commanded)
        begun = [await _begin(commands, known[one.KIND], one) for one in chosen]
        await _await_live(results, begun, show)
    except TimeoutError as error:
        raise Unavailable(f"Kafka at {settings.bootstrap} does not answer") from error
    finally:
        for view in views:
            await view.stop()
    return len(begun)


async def _begin(
    commands: Commands, known: Definitions[Definition], chosen: Definition
) -> Definition:
    """Raise the version of a definition; returns what is defined then."""
    key = Key(chosen.project_id, chosen.id)

    def decide() -> Write[Definition]:
        before = known.get(key)
        again = msgspec.structs.replace(
            before,
            version=known.next_version(key),
            updated_at=max(now_ms(), before.updated_at),
        )
        return Write(again.key, _KINDS[again.KIND].encode(again), {}, again)

    return await commands.change(decide)


async def _await_live(
    results: Mapping[Kind, LatestByKey[Any]], begun: Sequence[Definition], show: Show
) -> None:
    done = 0.0
    while begun and done < 1:
        done = sum(results[one.KIND].status(one).backfilled for one in begun) / len(begun)
        show(done)
        await asyncio.sleep(_LOOK_EVERY_S)
