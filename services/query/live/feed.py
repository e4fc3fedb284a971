"""Results of definitions as they change, for those who look at them: the newest, never a backlog.

Who subscribes is told which definitions' results have changed, and asks for the state of one when
it can be sent: what changed twice meanwhile is sent once. A state is worked out once for all.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Generic

from services.query.views.catalog import D, Definitions, Key

Touch = Callable[[str], None]


class LiveResults(Generic[D]):
    """Those who look at the results of one kind of definitions; for one thread.

    `read` works out the state of a definition, in JSON, from the view that is kept anyway. It holds
    until `changed` says otherwise, and for `every_s` at most, by `clock` (seconds that only go on):
    some states pass with time alone.
    """

    def __init__(
        self,
        definitions: Definitions[D],
        read: Callable[[D], bytes],
        every_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._definitions = definitions
        self._read = read
        self._every_s = every_s
        self._clock = clock
        self._refreshed_at = clock()
        self._watchers: defaultdict[str, set[Touch]] = defaultdict(set)
        self._states: dict[Key, bytes | None] = {}

    def watch(self, project_id: str, touch: Touch) -> None:
        """Call `touch` with the id of each of a project's definitions now, and when one changes."""
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
        """Tell those concerned that some definitions, or their results, have changed."""
        if not self._watchers:
            return
        for key in set(keys):
            self._states.pop(key, None)
            for touch in self._watchers.get(key.project_id, ()):
                touch(key.id)

    def refresh(self) -> None:
        """Take everything for changed if the time is over for which a state holds.

        Whoever is about to send calls it first; all who watch are told, not only that one.
        """
        now = self._clock()
        if now - self._refreshed_at < self._every_s:
            return
        self._refreshed_at = now
        # Also those that nobody looks at by now: somebody may again, before the time is over.
        self._states.clear()
        self.changed(
            Key(project_id, name)
            for project_id in self._watchers
            for name in self._definitions.ids(project_id)
        )

    def state(self, project_id: str, name: str) -> bytes | None:
        """Return the state of a definition as it is now; None without one."""
        key = Key(project_id, name)
        if key not in self._states:
            definition = self._definitions.find(key)
            self._states[key] = None if definition is None else self._read(definition)
        return self._states[key]
