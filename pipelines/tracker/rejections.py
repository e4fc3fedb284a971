"""Records of a batch that are not events."""

from typing import NamedTuple

from pipelines.kafka.records import Records
from schemas.rejected import Origin, Rejected, rejected


class Rejection(NamedTuple):
    """Why the record in a row of a batch is not an event."""

    row: int
    reason: str
    detail: str
    project: str = ""  # if it is known

    def record(self, records: Records) -> Rejected:
        """Return the record that says so on `avila.rejected`."""
        origin = Origin(*records.source, int(records.offsets[self.row]))
        key, value = records.keys[self.row], records.values[self.row]
        headers = records.headers(self.row)
        return rejected(origin, self.reason, self.detail, key, value, headers, self.project)
