"""What ClickHouse may be asked of a segment, and as of when."""

from collections.abc import Sequence

from schemas.errors import InvalidRequest
from schemas.operators.segment import SegmentDefinition, predictions
from services.query.clickhouse.queries import AskedPrefix
from services.query.http.params import now_ms


def refuse_scores(definitions: Sequence[SegmentDefinition], field: str = "source") -> None:
    """Raise `InvalidRequest` if ClickHouse cannot tell who is in a segment."""
    for definition in definitions:
        if predictions(definition.rule, "rule"):
            raise InvalidRequest(
                f"segment {definition.id} asks for scores, which count on the stream only, from "
                "its definition on" + (": accepted is `stream`" if field else ""),
                field,
            )


def known_clock(clock: int | None, prefix: AskedPrefix | None = None) -> int:
    """Return the time as of which ClickHouse is asked: that of day before the clock is known."""
    asked = clock if prefix is None else prefix.clock
    return now_ms() if asked is None else asked
