"""Results of definitions as they change, for those who watch them: the latest, never a backlog.

A watcher is called with the ids of definitions that have changed, and asks for the state of one
when it can be sent: two changes in the meantime are sent once. A state is computed once for all
watchers.
"""

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Generic

from services.query.views.catalog import D, Definitions
from services.query.views.changes import Key

Touch = Callable[[str], None]


class LiveResults(Generic[D]):
    """The watchers of the results of one operator; for one thread.

    `read` computes the state of a definition, in JSON. A state holds until `changed`, and for
    `refresh_s` at most by `clock` (monotonic seconds), as some states change with time alone.
    """

    def __init__(
        self,
        definitions: Definitions[D],
        read: Callable[[D], bytes],
        refresh_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._definitions = definitions
        self._read = read
        self._refresh_s = refresh_s
        self._clock = clock
        self._refreshed_at = clock()
        self._watchers: defaultdict[str, set[Touch]] = defaultdict(set)
        self._states: dict[Key, bytes | None] = {}
        self._digests: dict[Key, tuple[bytes, bytes]] = {}

    def watch(self, project_id: str, touch: Touch) -> None:
        """Call `touch` with the id of each of a project's definitions now, and when one changes."""
        self._watchers[project_id].add(touch)
        for name in self._definitions.ids(project_id):
            touch(name)

    def leave(self, project_id: str, touch: Touch) -> None:
        """Stop calling `touch`."""
        self._watchers[project_id].discard(touch)
        if not self._watchers[project_id]:
            del self._watchers[project_id]
        if not self._watchers:
            self._states.clear()
            self._digests.clear()

    def changed(self, keys: Iterable[Key]) -> None:
        """Call the watchers of some definitions, which have changed or have new results."""
        if not self._watchers:
            return
        for key in set(keys):
            self._states.pop(key, None)
            for touch in self._watchers.get(key.project_id, ()):
                touch(key.id)

    def refresh(self) -> None:
        """Treat everything as changed once states have held for `refresh_s`.

        Whoever is about to send calls it first; it calls all watchers, not only that one.
        """
        now = self._clock()
        if now - self._refreshed_at < self._refresh_s:
            return
        self._refreshed_at = now
        # Also those that nobody watches now: somebody may again before the time is over.
        self._states.clear()
        self.changed(
            Key(project_id, name)
            for project_id in self._watchers
            for name in self._definitions.ids(project_id)
        )

    def state(self, project_id: str, name: str) -> bytes | None:
        """Return the present state of a definition; None if there is no definition."""
        key = Key(project_id, name)
        if key not in self._states:
            definition = self._definitions.find(key)
            self._states[key] = None if definition is None else self._read(definition)
        return self._states[key]

    def digest(self, project_id: str, name: str, state: bytes) -> bytes:
        """Return the digest of a state of a definition; worked out once for all who have it."""
        key = Key(project_id, name)
        of, digest = self._digests.get(key, (b"", b""))
        if of is not state:
            digest = hashlib.blake2b(state, digest_size=16).digest()
            self._digests[key] = state, digest
        return digest
