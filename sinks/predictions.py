"""The ClickHouse sink of scores: the newest score of each person, in the table `predictions`."""

from typing import Final

from schemas.settings import Settings
from sinks.latest import MAX_AWAY_S, LatestSink, LatestTable

__all__ = ["MAX_AWAY_S", "PredictionsSink"]

_TABLE: Final = LatestTable(
    "predictions",
    {
        "project_id": "String",
        "prediction_id": "String",
        "person_id": "String",
        "version": "Int32",
        "at": "DateTime64(3, 'UTC')",
        "score": "Float64",
        "model": "String",
        "model_version": "Int64",
        "contributions": "Array(Tuple(feature String, value Float32, contribution Float64))",
        "withheld": "Bool",
    },
    times=("at",),
)


class PredictionsSink(LatestSink):
    """Writes `predictions` to the ClickHouse of the settings; connects at first use."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, _TABLE)
