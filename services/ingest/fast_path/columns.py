"""Events as columns: where the fields of each lie in one piece of text."""

from typing import Final, NamedTuple

from pipelines.columnar.jit import Int64s

# The columns: texts, then objects.
EVENT, DISTINCT_ID, EVENT_ID, TIME, ANONYMOUS_ID, SESSION_ID, PROPERTIES, CONTEXT = range(8)
TEXTS: Final = 6
COLUMNS: Final = 8

# What stands for a time that is no text: whole milliseconds since 1970, or one of these.
NONE: Final = -1  # one that is not to be read here
NOW: Final = -2  # the time of arrival


class Columns(NamedTuple):
    """Field c of event i is the `sizes[i, c]` bytes of `data` from `begins[i, c]`.

    `data` is UTF-8. A field without bytes is left out. An event's time is in `times` if it has no
    text for it.
    """

    data: bytes
    begins: Int64s
    sizes: Int64s
    times: Int64s

    def part(self, begin: int, end: int) -> "Columns":
        """The events from one up to another."""
        return Columns(
            self.data, self.begins[begin:end], self.sizes[begin:end], self.times[begin:end]
        )

    def ids(self) -> list[str]:
        """The id of each event."""
        begins = self.begins[:, EVENT_ID]
        places = zip(begins.tolist(), (begins + self.sizes[:, EVENT_ID]).tolist(), strict=True)
        if self.data.isascii():
            text = self.data.decode()
            return [text[begin:end] for begin, end in places]
        return [self.data[begin:end].decode() for begin, end in places]
