"""Funnels' figures as they change, for those who look at them: always the newest, never a backlog.

Who subscribes is told which funnels have changed, and asks for a funnel's state when it can send
it: what changed twice meanwhile is sent once. A state is worked out once for all.
"""

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec

from schemas.definitions import FunnelDefinition
from services.query.definitions import Definitions, Key
from services.query.funnel_figures import Totals, assemble
from services.query.funnel_results import Results
from services.query.requests import State


class LiveFunnel(msgspec.Struct, frozen=True):
    """A funnel's figures over all days; what they mean stands at `FunnelResults`."""

    id: str
    version: int
    state: State
    backfilled: float
    totals: Totals
    late_dropped: int
    updated_at: datetime.datetime | None


Touch = Callable[[str], None]


class LiveFunnels:
    """The view that is kept anyway, and those who look at it; for one thread."""

    def __init__(self, definitions: Definitions[FunnelDefinition], results: Results) -> None:
        self._definitions = definitions
        self._results = results
        self._watchers: defaultdict[str, set[Touch]] = defaultdict(set)
        self._states: dict[Key, bytes | None] = {}

    def watch(self, project_id: str, touch: Touch) -> None:
        """Call `touch` with the id of each funnel of a project now, and whenever one changes."""
        self._watchers[project_id].add(touch)
        for name in self._definitions.ids(project_id):
            touch(name)

    def leave(self, project_id: str, touch: Touch) -> None:
        """Call `touch` no more."""
        self._watchers[project_id].discard(touch)
        if not self._watchers[project_id]:
            del self._watchers[project_id]
        if not self._watchers:
            self._states.clear()

    def changed(self, keys: Iterable[Key]) -> None:
        """Tell those concerned that the definitions or results of some funnels have changed."""
        if not self._watchers:
            return
        for key in set(keys):
            self._states.pop(key, None)
            for touch in self._watchers.get(key.project_id, ()):
                touch(key.id)

    def state(self, project_id: str, funnel_id: str) -> bytes | None:
        """Return a funnel's figures as they are now, a `LiveFunnel` in JSON; None without one."""
        key = Key(project_id, funnel_id)
        if key not in self._states:
            self._states[key] = self._read(key)
        return self._states[key]

    def _read(self, key: Key) -> bytes | None:
        definition = self._definitions.find(key)
        if definition is None:
            return None
        answer = assemble(definition, "stream", self._results.totals(definition))
        live = LiveFunnel(
            id=definition.id,
            version=definition.version,
            state=answer.state,
            backfilled=answer.backfilled,
            totals=answer.totals,
            late_dropped=answer.late_dropped,
            updated_at=answer.updated_at,
        )
        return msgspec.json.encode(live)
