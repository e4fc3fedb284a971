"""Visits to the shop of the demonstration, from now on: its dashboard moves while it is watched."""

import base64
import csv
import gzip
import itertools
import json
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from schemas.keys import WriteKey
from schemas.settings import INGEST_PORT, Settings
from services.keys.admin import KeyAdmin, run_with_key_admin

_PAUSE_S: Final = 0.4
_NAME: Final = "demonstration"


def moved_to_now(dataset: Path, file: Path) -> Path:
    """Write the dataset to `file` with its last event now, unless the file is there already.

    All times are moved by the same, so that what is counted stays the same. A file that is there
    is from an earlier run, whose events would count twice with other times.
    """
    if file.exists():
        return file
    with gzip.open(dataset, "rt", newline="") as given:
        rows = list(csv.DictReader(given))
    latest = max(datetime.fromisoformat(row["timestamp"]) for row in rows).replace(tzinfo=UTC)
    by = datetime.now(UTC) - latest - timedelta(seconds=1)
    made = file.with_suffix(".new")
    with gzip.open(made, "wt", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        for row in rows:
            moved = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC) + by
            writer.writerow(row | {"timestamp": moved.isoformat(timespec="seconds")})
    made.replace(file)
    return file


class Visitors(threading.Thread):
    """Sends the dataset's events again, some a second, as those of new visitors, until stopped."""

    def __init__(self, settings: Settings, dataset: Path, project: str) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self._dataset = dataset
        self._project = project
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the visits."""
        self._stopped.set()

    def run(self) -> None:
        """Create a write key if there is none yet, then send."""
        key = run_with_key_admin(self._settings, self._write_key).id
        address = f"http://{self._settings.local_address(INGEST_PORT)}/v1/events"
        headers = {
            "content-type": "application/json",
            "authorization": f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}",
        }
        for event in self._events():
            if self._stopped.wait(_PAUSE_S):
                return
            body = json.dumps({"events": [event]}).encode()
            request = urllib.request.Request(address, body, headers)
            try:
                urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
            except OSError:
                continue  # a part is restarting, or the key is not known yet: a visit less

    async def _write_key(self, admin: KeyAdmin) -> WriteKey:
        for key in admin.keys.write_keys.values():
            if (key.project_id, key.name) == (self._project, _NAME):
                return key
        return await admin.create_write_key(self._project, name=_NAME)

    def _events(self) -> Iterator[dict[str, object]]:
        """Return the events of eight visits at a time, each in its order."""
        run = datetime.now(UTC).strftime("%m%d%H%M%S")
        with gzip.open(self._dataset, "rt", newline="") as given:
            rows = list(csv.DictReader(given))
        visits = [list(of) for _, of in itertools.groupby(rows, lambda row: row["session_id"])]
        visitors = itertools.cycle(enumerate(visits))
        while some := list(itertools.islice(visitors, 8)):
            for turn in itertools.zip_longest(*(of for _, of in some)):
                for (number, _), row in zip(some, turn, strict=True):
                    if row is not None:
                        yield {
                            "event": row["event"],
                            "distinct_id": f"visitor-{run}-{number}",
                            "properties": {"platform": row["platform"]},
                        }
