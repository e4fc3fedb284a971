"""`avila apply`: definitions as code."""

import sys
from collections.abc import Callable

import click

from schemas.settings import QUERY_PORT, Settings


@click.command("apply")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    help="A YAML or JSON file with definitions, or - for standard input; may be given repeatedly.",
)
@click.option(
    "--project",
    default="default",
    show_default=True,
    help="The project of definitions that name none.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--url", help="Address of the query service (default: on this machine).")
@click.option("--token", help="Query token (default: that of `avila up` on this machine).")
@click.pass_obj
def apply(
    settings: Callable[[], Settings],
    /,
    files: tuple[str, ...],
    project: str,
    url: str | None,
    token: str | None,
    *,
    dry_run: bool,
) -> None:
    """Make the definitions in files those of the service.

    Each document of a file is a definition: its `kind` (such as funnel, plan or dashboard), its
    `id`, perhaps its `project`, and the fields that the API takes. All are checked before any is
    written, and the differences are printed. Applying the same files again changes nothing.
    Definitions that are in no file stay as they are.
    """
    from services.apply.changes import compare, read_wanted  # noqa: PLC0415
    from services.apply.client import Client  # noqa: PLC0415
    from services.apply.documents import read_documents  # noqa: PLC0415
    from services.apply.run import write  # noqa: PLC0415
    from services.keys.first import read_token  # noqa: PLC0415

    standard_input = sys.stdin.read() if "-" in files else ""
    wanted = read_wanted(read_documents(files, standard_input), project)
    read = settings()
    address = url or f"http://{read.local_address(QUERY_PORT)}"
    with Client(address, token or read_token(read)) as client:
        changed = compare(client, wanted)
        for one in changed:
            if one.differs:
                how = "create" if one.revision is None else f"change, from revision {one.revision}"
                click.echo(f"{one.wanted.name}: {how}")
                for line in one.lines():
                    click.echo(line)
        created = sum(one.revision is None for one in changed)
        differing = sum(one.differs for one in changed)
        click.echo(
            f"{created} to create, {differing - created} to change, "
            f"{len(changed) - differing} unchanged"
        )
        if dry_run:
            click.echo("dry run: nothing was applied")
            return
        write(client, changed, click.echo)
