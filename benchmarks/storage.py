"""What the store's indexes and its table of persons cost and save: `python -m benchmarks.storage`.

The tables are made by the migrations, once for each variant, in the embedded engine. Events come in
chunks as the sink writes them. Then the newest events of single persons are read, and a page of
persons, from the table of persons and from the events. The shortest of some runs counts; rows read
do not depend on the machine.
"""

import tempfile
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from chdb.session import Session
from rich.table import Table

from benchmarks.bench import console
from benchmarks.history import benchmark_parser, publish
from sinks.migrations import migrate

_CHUNK: Final = 50_000
_RUNS: Final = 5
_EVENTS_A_PERSON: Final = 20
_DATABASE: Final = "avila"

_PROJECTION: Final = (
    "ALTER TABLE avila.events ADD PROJECTION of_person "
    "(SELECT * ORDER BY project_id, person_id, timestamp)"
)
# Changes of the tables as the migrations make them.
VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {
    "as migrated": (),
    "no index by person": ("ALTER TABLE avila.events DROP INDEX by_person",),
    "projection by person": (
        "ALTER TABLE avila.events DROP INDEX by_person",
        _PROJECTION,
    ),
    "with an index of offsets": (
        "ALTER TABLE avila.events ADD INDEX by_offset _offset TYPE minmax GRANULARITY 1",
    ),
    "no table of persons": ("DROP VIEW avila.person_states_of_events",),
}
_PERSON: Final = (
    "SELECT event, timestamp FROM avila.events WHERE project_id = 'shop' AND person_id = 'u77' "
    "ORDER BY timestamp DESC LIMIT 50"
)
_NEWEST: Final = "SELECT count() FROM avila.events WHERE _partition = 0 AND _offset >= {newest}"
_KEPT: Final = (
    "SELECT person_id, first_seen, last_seen, events FROM avila.persons "
    "WHERE project_id = 'shop' ORDER BY person_id LIMIT 100"
)
_FOLDED: Final = (
    "SELECT person_id, min(timestamp), max(timestamp), count() FROM avila.events "
    "WHERE project_id = 'shop' GROUP BY person_id ORDER BY person_id LIMIT 100"
)


class Cost(NamedTuple):
    """How long a query took at least, and how many rows it read."""

    ms: float
    rows: int


class Engine:
    """The embedded engine on a directory, as the migrations use a store."""

    def __init__(self, directory: str) -> None:
        self._session = Session(directory)

    def command(self, statement: str) -> Any:
        """Run a statement; return its only value, as text, or what it is if that is none."""
        return self._session.query(statement, "TSV").bytes().decode().strip()

    def cost(self, query: str) -> Cost:
        """Run a query some times."""
        found = []
        for _ in range(_RUNS):
            begin = time.perf_counter()
            result = self._session.query(query, "Null")
            found.append(Cost((time.perf_counter() - begin) * 1_000, result.storage_rows_read()))
        return min(found)

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def chunk_sql(first: int, count: int, persons: int) -> str:
    """Return the insert of events at the offsets from `first` on: one in twenty sets a property."""
    hashed = "cityHash64(number)"
    properties = (
        'concat(\'{"page":"/p\', toString(number % 50), \'","price":\', toString(number % 500), '
        'if(number % 20 = 0, concat(\',"$set":{"plan":"\', '
        "['free', 'pro', 'team'][number % 3 + 1], '\"}'), ''), '}')"
    )
    return (
        "INSERT INTO avila.events (event_id, project_id, distinct_id, person_id, event, timestamp, "
        "received_at, properties, context, _partition, _offset) "
        f"SELECT generateUUIDv4(), 'shop', concat('u', toString({hashed} % {persons})) AS who, "
        "who, ['view', 'add', 'buy', 'home', 'search'][number % 5 + 1], "
        "toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + toIntervalSecond(number * 2) AS at, at, "
        f"CAST({properties} AS JSON(max_dynamic_paths = 256)), '{{}}', 0, number "
        f"FROM numbers({first}, {count})"
    )


def measure(variant: str, events: int) -> dict[str, float]:
    """Return the figures of a variant: seconds to write, bytes on disk, and what queries cost."""
    with tempfile.TemporaryDirectory() as directory:
        engine = Engine(directory)
        try:
            migrate(engine, _DATABASE)
            for change in VARIANTS[variant]:
                engine.command(change)
            begin = time.perf_counter()
            for first in range(0, events, _CHUNK):
                engine.command(chunk_sql(first, _CHUNK, max(1, events // _EVENTS_A_PERSON)))
            written_s = time.perf_counter() - begin
            engine.command("OPTIMIZE TABLE avila.events FINAL")
            engine.command("OPTIMIZE TABLE avila.person_states FINAL")
            size = engine.command(
                "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'avila'"
            )
            costs = {
                "person": engine.cost(_PERSON),
                "newest": engine.cost(_NEWEST.replace("{newest}", str(events - _CHUNK))),
                "kept": engine.cost(_KEPT),
                "folded": engine.cost(_FOLDED),
            }
        finally:
            engine.close()
    return {
        "us_per_event": written_s * 1e6 / events,
        "bytes_per_event": int(size) / events,
        **{f"{name}_ms": cost.ms for name, cost in costs.items()},
        **{f"{name}_rows": cost.rows for name, cost in costs.items()},
    }


def main() -> None:
    """Measure all variants, print a table, and last one JSON object."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    found = {variant: measure(variant, events) for variant in VARIANTS}
    names = list(next(iter(found.values())))
    table = Table("", *found, title=f"{events:,} events")
    for name in names:
        table.add_row(name, *(f"{figures[name]:,.1f}" for figures in found.values()))
    console.print(table)
    publish(found)


if __name__ == "__main__":
    main()
