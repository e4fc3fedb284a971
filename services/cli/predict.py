"""`avila predict`: how good the models of a prediction are, one as a file, another promoted."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from schemas.settings import Settings


@click.command("predict")
@click.argument("project")
@click.argument("prediction")
@click.option("--model", help="Of this model, by its name. [default: the champion]")
@click.option(
    "--export",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the model to this file, which opens in River; nothing in it is executed.",
)
@click.option(
    "--promote", "promoted", help="First make this model, by its name, the one that scores."
)
@click.option("--json", "as_json", is_flag=True, help="Print what REST answers, in JSON.")
@click.pass_context
def predict(
    context: click.Context,
    /,
    project: str,
    prediction: str,
    model: str | None,
    file: Path | None,
    promoted: str | None,
    *,
    as_json: bool,
) -> None:
    """Show how good the models of PREDICTION in PROJECT are.

    Prints the quality of all models, and how well the scores of one agree with what happened: on
    the diagonal, as many do it as the score says. A model that is promoted scores as soon as the
    workers have taken it up: see "champion" in what --json prints.
    """
    settings: Callable[[], Settings] = context.obj
    from rich.console import Console  # noqa: PLC0415

    from services.cli.predict_report import report  # noqa: PLC0415
    from services.predict import export, promote, read_prediction  # noqa: PLC0415
    from services.topics import require_broker  # noqa: PLC0415

    read = settings()
    require_broker(read.bootstrap)
    if promoted is not None:
        revision = promote(read, project, prediction, promoted)
        click.echo(f"{promoted} is to score, by revision {revision}", err=True)
    found = read_prediction(read, project, prediction)
    shown = found.model(model)
    if file is not None:
        size = export(found, shown.name, file)
        click.echo(f"{shown.name}, {shown.learned:,} examples: {size:,} bytes in {file}", err=True)
    if as_json:
        click.echo(found.json())
    elif file is None:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 120
        for part in report(found.results, shown.name):
            console.print(part)
