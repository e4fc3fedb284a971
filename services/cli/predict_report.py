"""What `avila predict` prints: the quality of all models, and the reliability of one."""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import UNSET
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from services.query.operators.prediction.promotion import ChampionResponse
from services.query.operators.prediction.quality import BinResponse, QualityResponse
from services.query.operators.prediction.response import ModelResponse, PredictionResultsResponse

# Of the plot: a column for each 0.02 of the score, a row for each 0.1 of the rate.
_COLUMNS: Final = 51
_ROWS: Final = 11
# Of fewer examples, the rate says little.
_MANY: Final = 20
_OUTCOME: Final = (
    ("log\nloss", "log_loss"),
    ("base\nrate's", "base_log_loss"),
    ("ROC\nAUC", "roc_auc"),
    ("PR\nAUC", "pr_auc"),
    ("calibr.\nerror", "calibration_error"),
)
_VALUE: Final = (
    ("\nMAE", "mae"),
    ("mean's\nMAE", "base_mae"),
    ("\nRMSE", "rmse"),
    ("mean's\nRMSE", "base_rmse"),
)


def report(results: PredictionResultsResponse, model: str) -> Iterator[RenderableType]:
    """Yield what to print; the plot is of the model of that name, if it is there."""
    yield from _head(results)
    rows = [row for one in results.models for row in _rows(one)]
    yield _table(results, "of the newest answers", [(name, window) for name, window, _ in rows])
    yield _table(results, "since the start", [(name, since) for name, _, since in rows])
    for one in results.models:
        yield from _remarks(one)
    for one in results.models:
        window = _shown(one)
        if one.name == model and window is not None and window.calibration is not UNSET:
            yield Text(f"\n{one.name}: of the newest answers, rate of positives by score")
            yield Text("\n".join(plot(window.calibration)))
    if results.previous is not None:
        yield Text("\nUntil this version is live, the one before it counts:\n")
        yield from report(results.previous, model)


def _rows(
    model: ModelResponse,
) -> Iterator[tuple[str, QualityResponse | None, QualityResponse | None]]:
    yield f"{model.name}{' (champion)' if model.champion else ''}", model.window, model.since
    if model.served is not None:
        yield "  as served", model.served.window, model.served.since


def _shown(model: ModelResponse) -> QualityResponse | None:
    """Return the quality of the scores as they were served, if any were, or else at maturity."""
    if model.served is not None and model.served.window.examples:
        return model.served.window
    return model.window


def plot(bins: Sequence[BinResponse]) -> list[str]:
    """Return the lines of a reliability diagram: `●` at mean score and rate of each bin.

    `·` is the diagonal, on which the rate is the score, and `○` a bin of fewer than 20 examples.
    """
    rows = [[" "] * _COLUMNS for _ in range(_ROWS)]
    for column in range(_COLUMNS):
        rows[_place(column / (_COLUMNS - 1), _ROWS)][column] = "·"
    for one in bins:
        if one.mean_score is not None and one.rate is not None:
            mark = "●" if one.examples >= _MANY else "○"
            rows[_place(one.rate, _ROWS)][_place(one.mean_score, _COLUMNS)] = mark
    lines = [
        f"{number / (_ROWS - 1):>5.1f} ┤{''.join(row)}".rstrip()
        for number, row in reversed([*enumerate(rows)])
    ]
    ticks = "".join(f"{number / 5:<10.1f}" for number in range(6)).rstrip()
    return [*lines, f"      └{'─' * _COLUMNS}", f"       {ticks}"]


def _place(share: float, places: int) -> int:
    return min(max(round(share * (places - 1)), 0), places - 1)


def _head(results: PredictionResultsResponse) -> Iterator[Text]:
    one = results.prediction
    share = f" ({results.backfilled:.0%})" if results.state == "backfilling" else ""
    yield Text(f"{one.name or one.id}, version {one.version}: {results.state}{share}")
    left_out = f"{results.capped:,} capped, {results.sampled_out:,} sampled out, "
    yield Text(f"asked {results.asked:,} ({left_out}{results.late_triggers:,} came too late)")
    answers = results.answers
    if answers is not None:
        yield Text(
            f"learned {answers.learned:,}, open {answers.open:,}, unanswered "
            f"{answers.unanswered:,}, dropped {answers.dropped:,}; {answers.late_outcomes:,} "
            "outcomes came too late"
        )
        if answers.merging:
            reached = "nothing" if answers.merged_to is None else f"{answers.merged_to:%F %T} UTC"
            yield Text(f"history is being learned in the order of time, up to {reached} so far")
        if answers.unmerged:
            yield Text(f"{answers.unmerged:,} questions of history were learned after later ones")
    yield Text(_champion(results.champion))
    if results.withheld:
        yield Text(f"scores are withheld: {results.withheld_because}", style="bold red")


def _champion(champion: ChampionResponse) -> str:
    if champion.reason == "defined":
        return f"{champion.model} scores"
    by = "a command" if champion.reason == "command" else "the rule"
    after = f"after {champion.learned:,} answers, at offset {champion.since:,} of the examples"
    return f"{champion.model} scores: {by} promoted it {after}, in place of {champion.before}"


def _table(
    results: PredictionResultsResponse,
    span: str,
    qualities: Sequence[tuple[str, QualityResponse | None]],
) -> Table:
    columns = _VALUE if results.prediction.target == "value" else _OUTCOME
    table = Table(title=f"\n{span}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("\nmodel", overflow="fold")
    for title in ("\nanswers", *(title for title, _ in columns)):
        table.add_column(title, justify="right", no_wrap=True)
    for name, quality in qualities:
        table.add_row(
            name,
            "-" if quality is None else f"{quality.examples:,}",
            *(_figure(quality, field) for _, field in columns),
        )
    return table


def _figure(quality: QualityResponse | None, name: str) -> str:
    value = getattr(quality, name, None)
    return f"{value:.4f}" if isinstance(value, float) else "-"


def _remarks(model: ModelResponse) -> Iterator[Text]:
    """Yield whether a model is better than its base rate, a caution about its kind, and drifts."""
    if model.reason is None:
        yield Text(f"{model.name} is better than its base rate")
    else:
        yield Text(f"{model.name} is not better: {model.reason}")
    if model.naive is not None:
        yield Text(f"{model.name} is naive: {model.naive}")
    if model.drifts:
        yield Text(f"{model.name}: its loss has changed {model.drifts:,} times")
