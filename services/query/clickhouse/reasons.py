"""Why ClickHouse has failed a query, in words for the person who asked."""

import re
from collections.abc import Mapping
from typing import Final

from services.sql.limits import MAX_RESULT_ROWS
from services.sql.messages import without_statement

# A syntax error quotes the statement at once, with the file that its result goes to.
_SYNTAX_ERROR: Final = 62
_NARROW: Final = (
    "ask for a shorter range, select fewer events, or break down by fewer values; "
    "ClickHouse says: {reason}"
)
_TOO_MUCH: Final[Mapping[int, str]] = {
    158: "the query reads more rows than a query may",
    159: "the query takes longer than a query may",
    241: "the query needs more memory than a query may take",
    307: "the query reads more bytes than a query may",
    396: f"the result has more than {MAX_RESULT_ROWS} rows, or too many bytes",
}
_OUT_OF_MEMORY: Final = 241
# Of the limits on memory, the one of the query itself is the only one that the query can keep to.
_OWN_LIMIT: Final = re.compile(r"(?i)query memory limit|memory limit \(for query\)")


def reason_of(error: Exception) -> str:
    """Return the reason that an error of ClickHouse gives, without the statement."""
    code = getattr(error, "code", None)
    if code == _SYNTAX_ERROR:
        return "it cannot be parsed (SYNTAX_ERROR)"
    whole = str(error)
    return without_statement(whole.partition("DB::Exception: ")[2] or whole)


def too_much(error: Exception) -> str | None:
    """Return the refusal of a query that exceeds a limit of its own; None for any other error."""
    what = _TOO_MUCH.get(getattr(error, "code", None) or 0)
    if what is None or is_short_of_memory(error):
        return None
    return f"{what}: {_NARROW.format(reason=reason_of(error))}"


def is_short_of_memory(error: Exception) -> bool:
    """Return whether all queries together have used up the memory that there is."""
    out_of_memory: bool = getattr(error, "code", None) == _OUT_OF_MEMORY
    return out_of_memory and _OWN_LIMIT.search(str(error)) is None
