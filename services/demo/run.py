"""The demonstration: a shop's clickstream through the whole system, until both sides agree.

The events are those of the e-commerce dataset in the `retentioneering` package (Apache-2.0): 31,106
events of visits to a web shop, moved in time so that the last one is now. Everything is real:
broker, worker, sink, store, services, and the page, which shows visits until the demonstration is
stopped.
"""

import contextlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from schemas.errors import AvilaError, Misconfigured, Unavailable
from schemas.settings import QUERY_PORT, Settings
from services.child_process import reap, spawn
from services.demo.dashboard import DASHBOARD, DASHBOARD_ID
from services.demo.visitors import Visitors, moved_to_now
from services.imports import Columns, import_events
from services.keys.first import read_token, token_file
from services.worker import as_environment, partitions_held
from sinks.connection import connect

if TYPE_CHECKING:
    import subprocess

STEPS: Final = ("home", "product_view", "add_to_cart", "cart", "payment_details", "purchase")
PROJECT: Final = "shop"
FUNNEL: Final = "home-to-purchase"
WINDOW_S: Final = 7 * 86_400
DAY_S: Final = 86_400
DEFINITIONS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    (
        "funnels",
        {
            "id": FUNNEL,
            "name": "From the home page to a purchase",
            "steps": [{"event": event} for event in STEPS],
            "window_s": WINDOW_S,
        },
    ),
    (
        "metrics",
        {"id": "events", "name": "Events by day", "measure": "events", "bucket_s": DAY_S},
    ),
    (
        "metrics",
        {"id": "visitors", "name": "Visitors by day", "measure": "persons", "bucket_s": DAY_S},
    ),
    (
        "cohorts",
        {"id": "retention", "name": "Visitors who come back", "start": {}, "period": "month"},
    ),
    (
        "segments",
        {
            "id": "buyers",
            "name": "Bought in 30 days",
            "rule": {"performed": {"event": "purchase", "within_s": 30 * DAY_S}},
        },
    ),
    (
        "segments",
        {
            "id": "left-a-cart",
            "name": "Left a cart",
            "rule": {
                "and": [
                    {"performed": {"event": "add_to_cart", "within_s": 7 * DAY_S}},
                    {"not": {"performed": {"event": "purchase", "within_s": 7 * DAY_S}}},
                ]
            },
        },
    ),
    (
        "predictions",
        {
            "id": "buys-soon",
            "name": "Buys within the hour",
            "goal": {"event": "purchase"},
            "within_s": 3_600,
            "at": {"event": "product_view"},
            "events": [{"event": "add_to_cart"}],
            "challengers": [{"kind": "logistic_adagrad"}, {"kind": "base_rate"}],
        },
    ),
)
_START_TIMEOUT_S: Final = 300.0
_SETTLE_TIMEOUT_S: Final = 180.0
_RATE: Final = 4_000


def run_demo(settings: Settings) -> None:
    """Run the demonstration, then leave the system running until Ctrl-C.

    Raises:
        Unavailable: the system did not come up, or the two sides did not come to agree.
        Misconfigured: the dataset is not installed.
    """
    console = Console()
    api = f"http://{settings.local_address(QUERY_PORT)}"
    page = f"{api}/#/{PROJECT}/dashboards/{DASHBOARD_ID}"
    funnel = f"{api}/api/projects/{PROJECT}/funnels/{FUNNEL}"
    dataset = _dataset()
    with _system(settings, console) as system:
        _await_ready(f"{api}/readyz", settings, system, console)
        token = read_token(settings)
        for path, body in DEFINITIONS:
            _define(f"{api}/api/projects/{PROJECT}/{path}", body, token)
        _ensure_dashboard(f"{api}/api/projects/{PROJECT}/dashboards/{DASHBOARD_ID}", token)
        dataset = moved_to_now(dataset, settings.data_dir / "demo.csv.gz")
        console.print(f"Watch it fill: {page}")
        console.print(f"(sign in with the query token in {token_file(settings)})")
        console.print("Playing a shop's clickstream: 31,106 events of visits to a web shop")
        player = _Player(settings, dataset)
        player.start()
        with Live(console=console, refresh_per_second=4) as live:
            while player.is_alive():
                live.update(_drawn(_get(f"{funnel}/results", token), "the stream"))
                player.join(0.25)
            store = _stored(settings, funnel, token, player.count())
            stream = _agreeing(
                funnel, token, store, lambda now: live.update(_drawn(now, "the stream"))
            )
            live.update(_drawn(stream, "the stream"))
        if not console.is_terminal:
            console.print()  # what was live ends without a line break there
        console.print(_drawn(store, "ClickHouse"))
        console.print("[green]The stream's figures and ClickHouse's are equal.[/green]")
        console.print(f"Results: {funnel}/results")
        console.print(f"The page: {page}")
        console.print(f"(both with the query token in {token_file(settings)})")
        if console.is_terminal:
            console.print("The system is running, and visitors come; stop it with Ctrl-C.")
            visitors = Visitors(settings, dataset, PROJECT)
            visitors.start()
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
            visitors.stop()


class _Player(threading.Thread):
    """Imports the dataset beside what the terminal shows."""

    def __init__(self, settings: Settings, dataset: Path) -> None:
        super().__init__(daemon=True)
        self._settings = settings
        self._dataset = dataset
        self._count = 0
        self._error: AvilaError | None = None

    def run(self) -> None:
        try:
            done = import_events(
                self._settings,
                self._dataset,
                PROJECT,
                Columns(person="user_id"),
                rate=_RATE,
                quiet=True,
            )
            self._count = done.imported + done.existing
        except AvilaError as error:
            self._error = error

    def count(self) -> int:
        """How many events were played; raises what kept the player from playing them."""
        if self._error is not None:
            raise self._error
        return self._count


@contextlib.contextmanager
def _system(settings: Settings, console: Console) -> Iterator["subprocess.Popen[bytes]"]:
    """`avila up` as a child."""
    console.print("Starting the system (the first time, Kafka is fetched and code is compiled)")
    process = spawn(
        [sys.executable, "-m", "services", "up"],
        None,
        environment=os.environ | as_environment(settings),
        directory=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(15)
        reap(process)


def _await_ready(
    url: str, settings: Settings, system: "subprocess.Popen[bytes]", console: Console
) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    with console.status("Waiting until everything is ready"):
        while time.monotonic() < deadline:
            if system.poll() is not None:
                raise Unavailable("the system did not start")
            with contextlib.suppress(OSError, Unavailable):
                _get(url)
                if partitions_held(settings) == settings.partitions:
                    return
            time.sleep(1)  # to look is work for a machine that is busy starting
    raise Unavailable(f"the system is not ready after {_START_TIMEOUT_S:.0f} s: see its logs")


def _define(path: str, body: dict[str, Any], token: str) -> None:
    request = urllib.request.Request(  # noqa: S310
        path,
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {token}"},
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 409:  # it stands from an earlier run
            raise


def _ensure_dashboard(url: str, token: str) -> None:
    """Define the dashboard, unless there is one: it may have been changed since an earlier run."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    try:
        urllib.request.urlopen(  # noqa: S310
            urllib.request.Request(url, headers=headers),  # noqa: S310
            timeout=30,
        ).close()
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        body = json.dumps(DASHBOARD).encode()
        request = urllib.request.Request(url, body, headers, method="PUT")  # noqa: S310
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310


def _stored(settings: Settings, funnel: str, token: str, events: int) -> dict[str, Any]:
    """ClickHouse's results, as soon as it has all events."""
    client = connect(settings, timeout_s=30, name="avila demo")
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    count = (
        "SELECT count() FROM {database:Identifier}.events WHERE project_id = {project:String}",
        {"database": settings.clickhouse_database, "project": PROJECT},
    )
    while client.query(*count).result_rows[0][0] < events:
        if time.monotonic() > deadline:
            raise Unavailable("ClickHouse did not get all events: see the sink's log")
        time.sleep(0.25)
    client.close()
    return _get(f"{funnel}/results?source=store", token)


def _agreeing(
    funnel: str, token: str, store: dict[str, Any], show: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The stream's results, as soon as they are equal to ClickHouse's."""
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        stream = _get(f"{funnel}/results", token)
        if stream["totals"] == store["totals"] and stream["days"] == store["days"]:
            return stream
        show(stream)
        time.sleep(0.25)
    raise Unavailable("the stream's figures and ClickHouse's did not come to agree: see the logs")


def _get(url: str, token: str = "") -> dict[str, Any]:
    """A service's answer, to whoever has the token if it asks for one.

    Raises:
        Unavailable: it answered with an error.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            body: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise Unavailable(f"{url} answers {error.code}: see the logs") from error
    return body


def _dataset() -> Path:
    try:
        shipped = files("retentioneering") or []
    except PackageNotFoundError:
        shipped = []
    for path in shipped:
        if path.name == "ecom.csv.gz":
            return Path(str(path.locate()))
    raise Misconfigured("the dataset is not installed: `make demo` sets it up")


def _drawn(results: dict[str, Any], source: str) -> Table:
    table = Table(title=f"Home to purchase within 7 days, by {source}")
    for name in ("step", "persons", "of the first", ""):
        table.add_column(name, justify="left" if name in {"step", ""} else "right")
    for step in results["totals"]["steps"]:
        share = step["conversion"] or 0
        table.add_row(
            step["event"], f"{step['reached']:,}", f"{share:.1%}", "█" * round(30 * share)
        )
    return table
