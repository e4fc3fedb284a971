"""`avila replay`: count definitions again, from the first event of the event store on.

A replayed definition gets a new version, which the workers backfill like that of any change. So
events may flow meanwhile, and the results from before can be read until the new ones are whole.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from schemas.definitions import Definition
from schemas.errors import Conflict, NotFound, Unavailable
from schemas.registry.client import SchemaRegistry, open_registry
from schemas.settings import Settings
from services.commands import Commands, Write
from services.query.http.params import now_ms
from services.query.operators import OPERATORS
from services.query.operators.context import results_view
from services.query.operators.contract import AnyOperator
from services.query.promotion import promote
from services.query.versions import recount
from services.query.views.catalog import Definitions
from services.query.views.changes import Change, Key, read_changes
from services.query.views.latest import LatestByKey
from services.query.views.progress import StatusResponse
from services.topic_view import TopicView

_CAUGHT_UP_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.25

Show = Callable[[float], None]


class ReplayFilter(NamedTuple):
    """Which definitions to replay; None matches all."""

    project: str | None = None
    kind: str | None = None
    id: str | None = None

    def matches(self, definition: Definition) -> bool:
        """Whether a definition is to be replayed."""
        values = (definition.project_id, definition.KIND, definition.id)
        return all(wanted in {None, value} for wanted, value in zip(self, values, strict=True))


class _Operator:
    """The definitions of one operator and the latest of their results, as they are followed."""

    def __init__(self, settings: Settings, registry: SchemaRegistry, operator: AnyOperator) -> None:
        self.spec = operator.spec
        self.definitions = Definitions[Definition](operator.spec.name)
        self.latest = LatestByKey[Any](settings.partitions)
        self.view = results_view(settings, registry, operator.aggregates, self.latest.apply)


class _Begun(NamedTuple):
    operator: _Operator
    definition: Definition


def replay(settings: Settings, wanted: ReplayFilter, *, quiet: bool = False) -> int:
    """Replay the definitions that match; return how many there were.

    Blocks until they are live again, with a progress bar unless `quiet`. The workers do the work:
    interrupting this stops nothing.

    Raises:
        NotFound: the filter matches nothing.
        Conflict: the workers could not count some; says which and why.
        Unavailable: Kafka does not answer.
    """
    columns = (TextColumn("replaying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("replay", total=1.0)

        def show(done: float) -> None:
            progress.update(task, completed=done)

        with closing(open_registry(settings)) as registry:
            return asyncio.run(_replay(settings, registry, wanted, show))


async def _replay(
    settings: Settings, registry: SchemaRegistry, wanted: ReplayFilter, show: Show
) -> int:
    operators = [_Operator(settings, registry, operator) for operator in OPERATORS]

    def apply(changes: Sequence[Change]) -> None:
        for operator in operators:
            operator.definitions.apply(changes)

    definitions_view = TopicView(
        "definitions",
        settings.cluster,
        [settings.topics.definitions.name],
        read_changes,
        apply,
    )
    views: list[TopicView[Any]] = [definitions_view, *(operator.view for operator in operators)]
    for view in views:
        view.start()
    try:
        async with asyncio.timeout(_CAUGHT_UP_TIMEOUT_S):
            for view in views:
                await view.catch_up()
        chosen = [
            (operator, definition)
            for operator in operators
            for definition in operator.definitions.all()
            if wanted.matches(definition)
        ]
        if not chosen and wanted != ReplayFilter():
            raise NotFound(f"no {wanted.kind or 'definition'} matches")
        commands = Commands(settings, definitions_view)
        begun = [await _begin(commands, operator, one) for operator, one in chosen]
        statuses = await _await_counted(begun, show) if begun else []
        failed = []
        for (operator, definition), status in zip(begun, statuses, strict=True):
            if status.reason is None:
                await promote(commands, operator.spec, operator.definitions, definition)
            else:
                name = f"{definition.KIND} {definition.id} of project {definition.project_id}"
                failed.append(f"{name}: {status.reason}")
        if failed:
            raise Conflict(f"could not be counted: {'; '.join(failed)}")
    except TimeoutError as error:
        raise Unavailable(f"Kafka at {settings.bootstrap} does not answer") from error
    finally:
        for view in views:
            await view.stop()
    return len(begun)


async def _begin(commands: Commands, operator: _Operator, chosen: Definition) -> _Begun:
    """Raise the version of a definition; return what is defined then."""
    key = Key(chosen.project_id, chosen.id)

    def decide() -> Write[Definition]:
        before = operator.definitions.get(key)
        again = msgspec.structs.replace(before, updated_at=max(now_ms(), before.updated_at))
        was_live = operator.latest.was_live(before)
        new = recount(operator.spec, before, again, was_live=was_live)
        return Write(new.key, operator.spec.encode(new), {}, new)

    return _Begun(operator, await commands.change(decide))


async def _await_counted(begun: Sequence[_Begun], show: Show) -> list[StatusResponse]:
    """Return how all are as soon as none is backfilling any more."""
    while True:
        statuses = [one.operator.latest.status(one.definition) for one in begun]
        show(sum(status.backfilled for status in statuses) / len(statuses))
        if all(status.state != "backfilling" for status in statuses):
            return statuses
        await asyncio.sleep(_POLL_S)
