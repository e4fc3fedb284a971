"""`avila replay`: funnels counted anew, from the first event of the event store on.

A funnel that is replayed gets a new version of the same definition, which the workers backfill as
they do any new one. So it may be done while events flow, and whoever asks for the funnel sees the
new figures grow.
"""

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from schemas.codec import Codec
from schemas.definitions import FunnelDefinition, encode
from schemas.errors import NotFound, Unavailable
from schemas.files import load
from schemas.registries import open_registry
from schemas.settings import Settings
from services.commands import Commands, Write
from services.following import Following
from services.query.definitions import Definitions, Key, read_changes
from services.query.funnel_results import Results, read_results
from services.query.newest import Reader
from services.query.requests import now_ms

_CAUGHT_UP_WITHIN_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.25

Show = Callable[[float], None]


def replay(
    settings: Settings,
    project: str | None = None,
    funnel: str | None = None,
    *,
    quiet: bool = False,
) -> int:
    """Replay a funnel, or all of a project, or all there are; returns how many were.

    Blocks until they are live again, with a progress bar unless `quiet`. The workers do it: whoever
    stops waiting stops nothing.

    Raises:
        NotFound: there is none of that name.
        Unavailable: Kafka does not answer.
    """
    columns = (TextColumn("replaying"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("replay", total=1.0)

        def show(done: float) -> None:
            progress.update(task, completed=done)

        return asyncio.run(_replay(settings, project, funnel, show))


async def _replay(settings: Settings, project: str | None, funnel: str | None, show: Show) -> int:
    definitions = Definitions[FunnelDefinition]("funnel")
    results = Results(settings.partitions)
    topics = settings.topics
    with closing(open_registry(settings)) as registry:
        views = (
            Following(
                "definitions",
                settings.bootstrap,
                [topics.definitions.name],
                read_changes,
                definitions.apply,
            ),
            Following(
                "funnels",
                settings.bootstrap,
                [topics.funnels.name],
                Reader(Codec(load("funnel-result"), registry.find), read_results),
                results.apply,
            ),
        )
        for view in views:
            view.start()
        try:
            async with asyncio.timeout(_CAUGHT_UP_WITHIN_S):
                for view in views:
                    await view.catch_up()
            commands = Commands(settings, views[0])
            chosen = _chosen(definitions, project, funnel)
            begun = [await _begin(commands, definitions, key) for key in chosen]
            await _await_live(results, begun, show)
        except TimeoutError as error:
            raise Unavailable(f"Kafka at {settings.bootstrap} does not answer") from error
        finally:
            for view in views:
                await view.stop()
    return len(begun)


def _chosen(
    definitions: Definitions[FunnelDefinition], project: str | None, funnel: str | None
) -> list[Key]:
    keys = [Key(definition.project_id, definition.id) for definition in definitions.all()]
    chosen = [key for key in keys if project in {None, key[0]} and funnel in {None, key[1]}]
    if not chosen and (project or funnel):
        raise NotFound(f"there is no funnel {funnel or ''} in {project or 'any project'}")
    return chosen


async def _begin(
    commands: Commands, definitions: Definitions[FunnelDefinition], key: Key
) -> FunnelDefinition:
    """Raise the version of a funnel; returns what is defined then."""

    def decide() -> Write[FunnelDefinition]:
        before = definitions.get(key)
        again = msgspec.structs.replace(
            before,
            version=definitions.next_version(key),
            updated_at=max(now_ms(), before.updated_at),
        )
        return Write(again.key, encode(again), {}, again)

    return await commands.change(decide)


async def _await_live(results: Results, funnels: list[FunnelDefinition], show: Show) -> None:
    done = 0.0
    while funnels and done < 1:
        done = sum(results.figures(one).backfilled for one in funnels) / len(funnels)
        show(done)
        await asyncio.sleep(_LOOK_EVERY_S)
