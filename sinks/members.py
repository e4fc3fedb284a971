"""The ClickHouse sink of segments: who is in which one, in the table `segment_members`."""

from typing import Final

from schemas.settings import Settings
from sinks.latest import LatestSink, LatestTable

_TABLE: Final = LatestTable(
    "segment_members",
    {
        "project_id": "String",
        "segment_id": "String",
        "person_id": "String",
        "version": "Int32",
        "entered_at": "DateTime64(3, 'UTC')",
    },
    times=("entered_at",),
)


class MembersSink(LatestSink):
    """Writes `segment_members` to the ClickHouse of the settings; connects at first use."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, _TABLE)
