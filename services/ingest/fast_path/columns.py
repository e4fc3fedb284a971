"""Events as columns: the position of each field of each event in one piece of text."""

from typing import Final, NamedTuple

from pipelines.columnar.jit import Int64s

# The columns: first the texts, then the objects.
EVENT, DISTINCT_ID, EVENT_ID, TIME, ANONYMOUS_ID, SESSION_ID, PROPERTIES, CONTEXT = range(8)
TEXT_COLUMNS: Final = 6
COLUMNS: Final = 8

# Two values that a time in `Columns.times` may have beside milliseconds since 1970; kernels also
# return UNREAD for what they do not read.
UNREAD: Final = -1  # the time is text, or a value that kernels do not read
ON_ARRIVAL: Final = -2  # the event has no time: the time of arrival applies


class Columns(NamedTuple):
    """Field c of event i is the `sizes[i, c]` bytes of `data` from `begins[i, c]` on.

    `data` is UTF-8. An absent field has no bytes. `times[i]` is the event's time unless the column
    TIME has text: milliseconds since 1970, `UNREAD` or `ON_ARRIVAL`.
    """

    data: bytes
    begins: Int64s
    sizes: Int64s
    times: Int64s

    def part(self, begin: int, end: int) -> "Columns":
        """Return the events from `begin` up to `end`."""
        return Columns(
            self.data, self.begins[begin:end], self.sizes[begin:end], self.times[begin:end]
        )

    def ids(self) -> list[str]:
        """Return the id of each event."""
        begins = self.begins[:, EVENT_ID]
        spans = zip(begins.tolist(), (begins + self.sizes[:, EVENT_ID]).tolist(), strict=True)
        if self.data.isascii():
            text = self.data.decode()
            return [text[begin:end] for begin, end in spans]
        return [self.data[begin:end].decode() for begin, end in spans]
