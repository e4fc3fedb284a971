"""What a prediction says of persons: those with the highest or lowest scores, and one alone."""

import datetime
import math
from typing import Final, Literal, NamedTuple

import msgspec
from starlette.requests import Request

from schemas.errors import InvalidRequest
from schemas.operators.prediction import PredictionDefinition
from services.query.http.params import instant, read_choice, read_decimal, read_page
from services.query.operators.prediction.scores import ORDERS, Order, Score, ScorePage, ScoreRange
from services.query.views.progress import State

Withheld = Literal["hide", "show"]
WITHHELD: Final[tuple[Withheld, ...]] = ("hide", "show")


class PersonScoreResponse(msgspec.Struct, frozen=True):
    """What a model said of a person at an event of time `at`.

    `score` is a probability, or a value. `model_version` is how many examples the model had learned
    by then.
    """

    person: str
    score: float
    at: datetime.datetime
    model: str
    model_version: int


class PredictionPersonsResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the persons with the highest or lowest scores, in order, equal ones by id.

    If the request has `min_score` or `max_score`, these are persons with at least that score and
    with less than that score.

    `next` is the next page's `after`, null at the end. Scores may change between two pages; each
    page is as of its request. `complete` is false if the query service does not hold all scores:
    those that came longest ago are not there.

    While the champion is not better than its base rate, scores are `withheld`, and nobody is shown:
    `withheld_because` says why. `withheld=show` shows them all the same. While a changed prediction
    is `backfilling`, `previous` has the page of the version before; otherwise it is null.
    """

    id: str
    version: int
    state: State
    order: Order
    withheld: bool
    withheld_because: str | None
    persons: list[PersonScoreResponse]
    next: str | None
    complete: bool
    previous: "PredictionPersonsResponse | None" = None


class ContributionResponse(msgspec.Struct, frozen=True):
    """A feature, its value, and what it adds to the logit, or to the predicted value."""

    feature: str
    value: float
    contribution: float


class PredictionPersonResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What a prediction last said of a person; `score` and what belongs to it are null if unknown.

    That is so if the person has not asked since the prediction was defined or changed, if the model
    had learned nothing by then, or if the scores that are held are not `complete`, and this one
    came long ago. `contributions` are the features that contribute most to the score of a linear
    model, the first most of all.

    A score that is `withheld` is null, too: see `withheld_because`; `withheld=show` shows it all
    the same. While a changed prediction is `backfilling`, `previous` has what the version before
    said; otherwise it is null.
    """

    id: str
    version: int
    state: State
    person: str
    withheld: bool
    withheld_because: str | None
    score: float | None
    at: datetime.datetime | None
    model: str | None
    model_version: int | None
    contributions: list[ContributionResponse]
    complete: bool
    previous: "PredictionPersonResponse | None" = None


class Verdict(NamedTuple):
    """Whether scores are withheld, and why the champion is not better than its base rate."""

    withheld: bool
    because: str | None


class ScoresQuery(NamedTuple):
    """Which page of persons a request is for."""

    order: Order
    after: tuple[float, str] | None
    limit: int
    scores: ScoreRange


def read_scores_query(request: Request) -> ScoresQuery:
    """Read which page of persons a request is for.

    Raises:
        InvalidRequest: names the parameter and what is accepted.
    """
    page = read_page(request)
    order = read_choice(request, "order", ORDERS)
    return ScoresQuery(order, _place_of(page.after), page.limit, _range_of(request))


def read_verdict(request: Request, trouble: str | None) -> Verdict:
    """Return whether to withhold scores from a request; `trouble` is what the champion lacks."""
    shown = shows_withheld(request)
    return Verdict(trouble is not None and not shown, trouble)


def shows_withheld(request: Request) -> bool:
    """Return whether a request is for scores that would be withheld, too."""
    return read_choice(request, "withheld", WITHHELD) == "show"


def place_after(person: str, score: Score) -> str:
    """Return the `after` of the page that begins after a person."""
    return f"{score.score!r}/{person}"


def _place_of(after: str) -> tuple[float, str] | None:
    if not after:
        return None
    number, slash, person = after.partition("/")
    try:
        score = float(number)
    except ValueError:
        score = math.nan
    if not slash or not math.isfinite(score):
        raise InvalidRequest("accepted is the `next` of the page before", "after")
    return score, person


def _range_of(request: Request) -> ScoreRange:
    least, below = read_decimal(request, "min_score"), read_decimal(request, "max_score")
    scores = ScoreRange(-math.inf if least is None else least, math.inf if below is None else below)
    if scores.least >= scores.below:
        raise InvalidRequest("accepted is a number that is greater than `min_score`", "max_score")
    return scores


def persons_response(
    definition: PredictionDefinition,
    state: State,
    query: ScoresQuery,
    verdict: Verdict,
    page: ScorePage,
    *,
    complete: bool,
    previous: PredictionPersonsResponse | None = None,
) -> PredictionPersonsResponse:
    """Return a page of persons; one that is withheld is given an empty page."""
    return PredictionPersonsResponse(
        id=definition.id,
        version=definition.version,
        state=state,
        order=query.order,
        withheld=verdict.withheld,
        withheld_because=verdict.because,
        persons=[
            PersonScoreResponse(
                person, score.score, instant(score.at), score.model, score.model_version
            )
            for person, score in page.persons
        ],
        next=place_after(*page.persons[-1]) if page.more else None,
        complete=complete,
        previous=previous,
    )


def person_response(
    definition: PredictionDefinition,
    state: State,
    person: str,
    verdict: Verdict,
    score: Score | None,
    *,
    complete: bool,
    previous: PredictionPersonResponse | None = None,
) -> PredictionPersonResponse:
    """Return what is said of a person."""
    if score is not None and (score.version != definition.version or verdict.withheld):
        score = None
    contributions = () if score is None else score.contributions
    return PredictionPersonResponse(
        id=definition.id,
        version=definition.version,
        state=state,
        person=person,
        withheld=verdict.withheld,
        withheld_because=verdict.because,
        score=None if score is None else score.score,
        at=None if score is None else instant(score.at),
        model=None if score is None else score.model,
        model_version=None if score is None else score.model_version,
        contributions=[ContributionResponse(*one) for one in contributions],
        complete=complete,
        previous=previous,
    )
