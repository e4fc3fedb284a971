"""`avila`: the whole system on one machine, or one part of it.

Every command takes its settings from `AVILA_…` variables; those that stand often on a command line
have options of their own. Ends with 0, with 1 if something is wrong that the user can mend (said in
one line on standard error), and with 130 if it was interrupted.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from schemas.errors import AvilaError
from schemas.settings import Settings, read_settings
from services.cli_keys import keys, projects, tokens


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port-base", type=int, help="Move all ports: the first one is this.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data is kept.")
@click.pass_context
def avila(context: click.Context, port_base: int | None, data_dir: Path | None) -> None:
    """Real-time product analytics on Kafka."""
    given: dict[str, Any] = {"port_base": port_base, "data_dir": data_dir}
    kept = {name: value for name, value in given.items() if value is not None}
    context.obj = lambda: read_settings(**kept)


for group in (keys, tokens, projects):
    avila.add_command(group)

Part = Callable[[Settings], None]


class _OperatorName(click.ParamType):
    """The name of an operator; they are imported when it is needed, as that takes a while."""

    name = "operator"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with those that are accepted."""
        return self._choice().convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return the names for the help text."""
        return self._choice().get_metavar(param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin like this."""
        return self._choice().shell_complete(ctx, param, incomplete)

    def _choice(self) -> click.Choice[str]:
        from schemas.operators import OPERATORS  # noqa: PLC0415

        return click.Choice([spec.name for spec in OPERATORS])


def part(name: str, help_text: str) -> Callable[[Part], click.Command]:
    """Make a command that runs one part in the foreground until it is told to stop."""

    def decorate(run: Part) -> click.Command:
        @avila.command(name, help=help_text)
        @click.pass_obj
        def command(settings: Callable[[], Settings]) -> None:
            run(settings())

        return command

    return decorate


# Parts are imported when they run: none of them should wait for what only others need.


@part("up", "Start everything, and keep it running until Ctrl-C.")
def up(settings: Settings) -> None:
    """Run the system."""
    from services.supervisor import run_system  # noqa: PLC0415

    run_system(settings, click.echo)


@part("broker", "Run the embedded Kafka.")
def broker(settings: Settings) -> None:
    """Run the broker."""
    from services.broker import run_broker  # noqa: PLC0415

    run_broker(settings, click.echo)


@part("store", "Run the embedded ClickHouse store.")
def store(settings: Settings) -> None:
    """Run the store."""
    from services.store import run_store  # noqa: PLC0415

    run_store(settings)


@part("worker", "Run a stream worker.")
def worker(settings: Settings) -> None:
    """Run a worker."""
    from services.worker import run_worker  # noqa: PLC0415

    run_worker(settings)


@part("sink", "Write the event store to ClickHouse.")
def sink(settings: Settings) -> None:
    """Run the ClickHouse sink."""
    from sinks.run import run_sink  # noqa: PLC0415

    run_sink(settings)


@part("ingest", "Take events in over HTTP and gRPC.")
def ingest(settings: Settings) -> None:
    """Run the ingest service."""
    from services.ingest.server import run_ingest  # noqa: PLC0415

    run_ingest(settings)


@part("query", "Answer queries over HTTP.")
def query(settings: Settings) -> None:
    """Run the query service."""
    from services.query.server import run_query  # noqa: PLC0415

    run_query(settings)


@part("registry", "Serve the schema registry over HTTP.")
def registry(settings: Settings) -> None:
    """Run the schema registry."""
    from services.registry.server import run_registry  # noqa: PLC0415

    run_registry(settings)


@part("demo", "Start everything and play a shop's clickstream through it.")
def demo(settings: Settings) -> None:
    """Run the demonstration."""
    from services.demo import run_demo  # noqa: PLC0415

    run_demo(settings)


@avila.command()
@click.pass_obj
def topics(settings: Callable[[], Settings]) -> None:
    """Create the topics that are missing, and check the others."""
    from services.topics import ensure_topics  # noqa: PLC0415

    read = settings()
    created = ensure_topics(
        read.bootstrap,
        read.topics,
        partitions=read.partitions,
        replication_factor=read.replication_factor,
    )
    for topic in read.topics:
        click.echo(f"{topic.name}  {'created' if topic.name in created else 'as declared'}")


@avila.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--project", default="default", show_default=True)
@click.option("--event", default="event", show_default=True, help="Column of the name.")
@click.option("--person", default="distinct_id", show_default=True, help="Column of who did it.")
@click.option("--time", default="timestamp", show_default=True, help="Column of when it was done.")
@click.option("--session", default="session_id", show_default=True, help="Column of the visit.")
@click.option("--rate", type=int, help="Events a second at most.")
@click.pass_obj
def import_file(settings: Callable[[], Settings], /, file: Path, **options: Any) -> None:
    """Import events from a CSV, NDJSON or Parquet FILE (.gz is read too).

    Every other column becomes a property. Importing a file twice counts its events once.
    """
    from services.imports import Columns, import_events  # noqa: PLC0415

    columns = Columns(*(options[name] for name in Columns._fields))
    count = import_events(settings(), file, options["project"], columns, rate=options["rate"])
    click.echo(f"{count} events imported from {file}")


@avila.command()
@click.option("--project", help="Of this project only.")
@click.option("--kind", type=_OperatorName(), help="Of this kind only.")
@click.option("--id", help="Of this id only.")
@click.pass_obj
def replay(settings: Callable[[], Settings], /, **wanted: str | None) -> None:
    """Count definitions again, from the first event on; events may flow meanwhile."""
    from services import replay as replays  # noqa: PLC0415

    count = replays.replay(settings(), replays.ReplayFilter(**wanted))
    click.echo(f"{count} definitions replayed")


def main() -> None:
    """Run `avila`."""
    try:
        avila(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except AvilaError as error:
        click.echo(f"avila: {error}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
