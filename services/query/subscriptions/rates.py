"""How often commands may be given to the queues: each is a record, and a replay reads the log."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from schemas.errors import OverLimit

MAX_COMMANDS: Final = 30
WINDOW_S: Final = 60.0


class CommandRates:
    """Counts the test messages and replays of each project; `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._given: dict[str, deque[float]] = {}

    def count(self, project_id: str) -> None:
        """Count a command of a project that exists.

        Raises:
            OverLimit: the project has given 30 within the last minute.
        """
        now = self._clock()
        given = self._given.setdefault(project_id, deque(maxlen=MAX_COMMANDS))
        if len(given) == MAX_COMMANDS and (wait := given[0] + WINDOW_S - now) > 0:
            raise OverLimit(
                f"accepted are {MAX_COMMANDS} test messages and replays a minute in a project", wait
            )
        given.append(now)
