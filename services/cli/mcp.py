"""`avila mcp`: tools for agents, over stdio or HTTP."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
import structlog

from schemas.errors import InvalidRequest
from schemas.settings import QUERY_PORT, Settings


@click.command("mcp")
@click.option("--project", default="", help="The project that calls need not name.")
@click.option("--url", help="Address of the query service (default: on this machine).")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the query token, over stdio (default: that of `avila up` on this machine).",
)
@click.option("--http", is_flag=True, help="Serve HTTP; each request brings its own token.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --http.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8_765, show_default=True)
@click.option("--allow-host", "hosts", multiple=True, help="A `Host` that requests may have.")
@click.option("--allow-origin", "origins", multiple=True, help="An `Origin` that they may have.")
@click.pass_obj
def mcp(
    settings: Callable[[], Settings],
    /,
    project: str,
    url: str | None,
    token_file: Path | None,
    *,
    http: bool,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
) -> None:
    """Serve tools for agents by the Model Context Protocol, over stdio or HTTP.

    They list definitions and read results, run queries and read-only SQL, trace persons and verify
    figures, with the rights of a query token of the scope `read`.
    """
    from services.keys.first import read_token  # noqa: PLC0415
    from services.mcp import run  # noqa: PLC0415

    read = settings()
    address = url or f"http://127.0.0.1:{read.port(QUERY_PORT)}"
    if http:
        if token_file is not None:
            raise InvalidRequest(
                "is for stdio: over HTTP each request brings its own token", "--token-file"
            )
        run.run_http(address, project, host, port, hosts, origins)
        return
    # Standard output has the protocol alone.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    token = read_token(read) if token_file is None else token_file.read_text("utf-8").strip()
    run.run_stdio(address, token, project)
