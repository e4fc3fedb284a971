"""`avila`: the whole system on one machine, or one part of it.

Every command reads its settings from `AVILA_…` variables; the settings that are often given on a
command line have options too. The exit code is 0, 1 after an error (one line on standard error says
what to do), 78 after an error in the set-up that no retry overcomes, 2 after a wrong command line,
and 130 after an interrupt.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from schemas.errors import AvilaError, Misconfigured
from schemas.logs import configure_logs
from schemas.settings import Settings, read_settings
from services.child_process import MISCONFIGURED
from services.cli.annotate import annotate
from services.cli.apply import apply
from services.cli.import_events import import_file
from services.cli.keys import keys, projects, tokens
from services.cli.mcp import mcp
from services.cli.notices import notices
from services.cli.predict import predict
from services.cli.query import query
from services.cli.sql import sql
from services.cli.store import store
from services.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port-base", type=int, help="First of a consecutive range of ports.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Directory for data, snapshots and logs."
)
@click.pass_context
def avila(context: click.Context, port_base: int | None, data_dir: Path | None) -> None:
    """Real-time product analytics on Kafka."""
    options: dict[str, Any] = {"port_base": port_base, "data_dir": data_dir}
    given = {name: value for name, value in options.items() if value is not None}
    context.obj = lambda **more: read_settings(**given | more)


for command in (
    annotate,
    apply,
    keys,
    tokens,
    projects,
    import_file,
    mcp,
    notices,
    predict,
    query,
    sql,
    store,
    verify,
):
    avila.add_command(command)

Part = Callable[[Settings], None]
ReadSettings = Callable[..., Settings]


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
    """Make a command of a function that runs one part in the foreground until it is stopped."""

    def decorate(run: Part) -> click.Command:
        @avila.command(name, help=help_text)
        @click.pass_obj
        def command(settings: Callable[[], Settings]) -> None:
            run(settings())

        return command

    return decorate


# Each command imports its part when it runs, so that no command waits for what only others need.


@avila.command()
@click.option("--brokers", type=int, help="Kafka brokers to run: 1, or 3 of which one may fail.")
@click.pass_obj
def up(settings: ReadSettings, brokers: int | None) -> None:
    """Start the whole system, and keep it running until Ctrl-C."""
    from services.supervisor import run_system  # noqa: PLC0415

    run_system(settings(**({} if brokers is None else {"brokers": brokers})), _say)


@avila.command()
@click.option("--number", type=click.IntRange(1, 3), default=1, help="Which one of several.")
@click.pass_obj
def broker(settings: ReadSettings, number: int) -> None:
    """Run the embedded Kafka broker, or one of several."""
    from services.broker import run_broker  # noqa: PLC0415

    run_broker(settings(), _say, number)


@part("worker", "Run a stream worker.")
def worker(settings: Settings) -> None:
    """Run a worker."""
    from services.worker import run_worker  # noqa: PLC0415

    run_worker(settings)


@part("sink", "Run the sink, which writes events and scores to ClickHouse.")
def sink(settings: Settings) -> None:
    """Run the ClickHouse sink."""
    from sinks.run import run_sink  # noqa: PLC0415

    run_sink(settings)


@part("ingest", "Run the ingest service (HTTP, WebSocket and gRPC).")
def ingest(settings: Settings) -> None:
    """Run the ingest service."""
    from services.ingest.server import run_ingest  # noqa: PLC0415

    run_ingest(settings)


@part("notifier", "Run the notifier, which evaluates alerts and delivers notices.")
def notifier(settings: Settings) -> None:
    """Run the notifier."""
    from services.notifier.run import run_notifier  # noqa: PLC0415

    run_notifier(settings)


@part("registry", "Run the schema registry (HTTP).")
def registry(settings: Settings) -> None:
    """Run the schema registry."""
    from services.registry.server import run_registry  # noqa: PLC0415

    run_registry(settings)


@part("demo", "Start the whole system and send it the clickstream of a web shop.")
def demo(settings: Settings) -> None:
    """Run the demo."""
    from services.demo.run import run_demo  # noqa: PLC0415

    run_demo(settings)


@avila.command()
@click.pass_obj
def topics(settings: Callable[[], Settings]) -> None:
    """Create the missing Kafka topics and check the existing ones."""
    from services.topics import ensure_topics  # noqa: PLC0415

    read = settings()
    created = ensure_topics(
        read.cluster,
        read.topics,
        partitions=read.partitions,
        replication_factor=read.replication_factor,
    )
    for topic in read.topics:
        click.echo(f"{topic.name}  {'created' if topic.name in created else 'as declared'}")


def _of_running_system(settings: Callable[[], Settings]) -> Settings:
    """Return the settings, unless no broker answers at their address: then say so at once."""
    from services.topics import require_broker  # noqa: PLC0415

    read = settings()
    require_broker(read.bootstrap)
    return read


@avila.command()
@click.option("--project", help="Of this project only.")
@click.option("--kind", type=_OperatorName(), help="Of this kind only.")
@click.option("--id", help="Of this id only.")
@click.pass_obj
def replay(settings: Callable[[], Settings], /, **wanted: str | None) -> None:
    """Count definitions again, from the first event on; events may flow meanwhile."""
    read = _of_running_system(settings)
    from services import replay as replays  # noqa: PLC0415

    count = replays.replay(read, replays.ReplayFilter(**wanted))
    click.echo(f"{count} definitions replayed")


def _say(text: str) -> None:
    """Print a line; a process that runs on is not disturbed if nobody can read it any more."""
    try:
        click.echo(text)
    except OSError:
        _discard_output()


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run `avila`."""
    configure_logs()
    try:
        avila(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except AvilaError as error:
        click.echo(f"avila: {error}", err=True)
        sys.exit(MISCONFIGURED if isinstance(error, Misconfigured) else 1)
    except BrokenPipeError:
        _discard_output()  # nobody reads it any more, and Python would try once more at its end
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
