"""What the query service gives the resources of operators: views, commands, the event store."""

import datetime
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request

from schemas.avro.codec import Codec
from schemas.avro.files import history, load
from schemas.clocks import SCHEMA, ClockChange, ClockReader, ProjectClocks
from schemas.person_key import fingerprint, person_key
from schemas.registry.client import SchemaRegistry
from schemas.settings import Settings
from services.commands import Commands
from services.query.clickhouse.queries import AskedPrefix, EventStore
from services.query.http.params import Source, instant, now_ms, read_clock
from services.query.log.as_of import read_as_of
from services.query.log.reading import Reading
from services.query.projects.settings import Projects
from services.query.promotion import Promotions
from services.query.views.progress import LIVE_STATES, State
from services.query.views.reader import R, ResultReader, ResultSource, Update
from services.topic_view import TopicView


class Context:
    """The parts of the service that operators make their resources from; one a process.

    `person_key` is the fingerprint of the deployment's secret (`schemas.person_key`).
    `clocks` are the clocks of projects, as `clocks_view` reads them.
    `views` has the views that the resources follow, in the order of their `follow` calls, after
    that of the projects' clocks.
    """

    def __init__(
        self,
        settings: Settings,
        registry: SchemaRegistry,
        definitions_view: TopicView[Any],
        commands: Commands,
        events: EventStore,
        projects: Projects,
        promotions: Promotions,
    ) -> None:
        self.partitions = settings.partitions
        self.definitions_view = definitions_view
        self.commands = commands
        self.events = events
        self.projects = projects
        self.promotions = promotions
        self.person_key = fingerprint(person_key(settings))
        self._settings = settings
        self._registry = registry
        self.reading = Reading(settings)
        self.event_codec = Codec(load("event"), registry.find, shipped=history("event"))
        self.clocks = ProjectClocks()
        self.clocks_view = self._follow_clocks()
        self.views: list[TopicView[Any]] = [self.clocks_view]

    def _follow_clocks(self) -> TopicView[list[ClockChange]]:
        settings = self._settings
        reader = ClockReader(Codec(load(SCHEMA), self._registry.find, shipped=history(SCHEMA)))
        topics = [settings.topics.clocks.name]
        return TopicView("clocks", settings.cluster, topics, reader, self.clocks.apply)

    @property
    def lateness_ms(self) -> int:
        """How late an event may come to be counted at once."""
        return self._settings.allowed_lateness_s * 1_000

    def clock(self, project: str, now_ms: int) -> int | None:
        """Return what a project's clock says at a time of day (ms).

        It is None as long as no live definition of the project has met an event.

        Raises:
            BackOff: the clocks are still being read.
            Unavailable: reading them has failed.
        """
        self.clocks_view.require()
        return self.clocks.at(project, now_ms)

    async def prefix(self, request: Request, project_id: str) -> AskedPrefix | None:
        """Return the events that a request asks for by `as_of`; None if it does not.

        With `clock`, the time as of which they are counted is that.

        Raises:
            InvalidRequest: they are not kept; says what is accepted.
            BackOff: the store does not have them yet.
            Unavailable: Kafka or the store does not answer.
        """
        asked = read_as_of(request)
        clock = read_clock(request)
        if asked is None:
            return None
        found = await self.events.prefix(project_id, asked)
        return found if clock is None else found._replace(clock=clock)

    def complete_until(
        self,
        project_id: str,
        source: Source,
        state: State = "live",
        prefix: AskedPrefix | None = None,
    ) -> datetime.datetime | None:
        """Return the time before which an answer has all events but those that come too late.

        It is the allowed lateness before the project's clock, but no later than that before the
        oldest event that the worker (of the store: the sink) may have yet to read; or before the
        newest event of a prefix. None as long as it is unknown, and while a definition does not
        count the events that come.
        """
        if state not in LIVE_STATES:
            return None
        if prefix is not None:
            clock = prefix.clock
        elif self.clocks_view.trouble:
            return None
        else:
            clock = self.clocks.at(project_id, now_ms())
            clock = earlier(clock, self.reading.until(source))
        return None if clock is None else instant(clock - self.lateness_ms)

    def follow(
        self, source: ResultSource[R], apply: Callable[[Sequence[Update[R]]], None]
    ) -> TopicView[Sequence[Update[R]]]:
        """Return a view of a result topic, which runs as long as the service does."""
        view = results_view(self._settings, self._registry, source, apply)
        self.views.append(view)
        return view


def earlier(clock: int | None, read_until: int | None) -> int | None:
    """Return the earlier of two moments; None if one is unknown."""
    return None if clock is None or read_until is None else min(clock, read_until)


def results_view(
    settings: Settings,
    registry: SchemaRegistry,
    source: ResultSource[R],
    apply: Callable[[Sequence[Update[R]]], None],
) -> TopicView[Sequence[Update[R]]]:
    """Return a view of a result topic that gives what it reads to `apply`; not started yet."""
    reader = ResultReader(
        Codec(load(source.topic.schema), registry.find, shipped=history(source.topic.schema)),
        source.read,
    )
    topic = source.topic.topic(settings.topics)
    return TopicView(source.name, settings.cluster, [topic.name], reader, apply)
