r"""The canonical form of a JSON text, which all readers read alike.

JSON leaves open what a reader makes of duplicate keys, of numbers beyond 64 bits, and of half a
surrogate pair; writers produce NaN, which is not JSON at all. Each reader of a stored event would
decide on its own. So an accepted event is stored in a form that all readers read alike:

    {"a": 1, "a": 2}            {"a": 2}: the last one wins, as in JavaScript and Python
    1e17, 100000000000000000.0  100000000000000000: whole numbers of 64 bits have no exponent
    -0, -0.0                    0
    50000000000000000000        5e+19: larger numbers are doubles
    1e400, NaN, Infinity        left out; null in an array
    "cut \ud83d"                "cut \ufffd": half a pair becomes the replacement character
"""

import json
from typing import Any, Final, NamedTuple, TypeAlias

# A decoded JSON value of any type. `Any`, because type checkers handle recursive JSON badly.
Json: TypeAlias = Any

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # of UTF-8

_MIN_INT: Final = -(1 << 63)
_MAX_INT: Final = (1 << 64) - 1
_MAX_INT_DIGITS: Final = 20
_MAX_REMARKS: Final = 5
_MAX_SHOWN_CHARS: Final = 40


class Canonical(NamedTuple):
    """A canonical JSON text, and what was changed that its sender should know."""

    text: bytes
    remarks: str


def canonicalize(text: bytes) -> Canonical:
    """Return `text`, an object in JSON or nearly so, in canonical form.

    Raises:
        ValueError: it is not JSON even if NaN, control characters and such are allowed.
        RecursionError: it is nested too deeply.
    """
    reader = _CanonicalReader()
    # Some writers encode each half of a surrogate pair by itself, which strict UTF-8 refuses.
    tree = reader.read(text.removeprefix(BYTE_ORDER_MARK).decode("utf-8", "surrogatepass"))
    written = _write(tree)
    try:
        return Canonical(written.encode(), reader.remarks())
    except UnicodeEncodeError:
        whole = written.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if "\ufffd" in whole:
        reader.remark("half a surrogate pair (a cut emoji) in a text was replaced by U+FFFD")
    # Read again: two keys may have become the same.
    return Canonical(_write(reader.read(whole)).encode(), reader.remarks())


def is_empty_object(text: bytes) -> bool:
    """Return whether `text` stands for an object without members: `{}`, null, or PHP's `[]`."""
    if text in {b"{}", b"[]", b"null"}:
        return True
    is_closed = (text[:1] + text[-1:]) in {b"{}", b"[]"}
    return is_closed and not text[1:-1].strip()


class _Omitted:
    """A number that no reader can hold; its member is left out."""

    def __init__(self, text: str) -> None:
        self.text = text[:_MAX_SHOWN_CHARS]


class _CanonicalReader:
    """Reads one text and collects remarks."""

    def __init__(self) -> None:
        # Ordered, each once.
        self._remarks: dict[str, None] = {}
        self._has_omitted = False
        self._read = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_float=self._float,
            parse_int=self._int,
            parse_constant=self._omit,
            strict=False,
        ).decode

    def read(self, text: str) -> Json:
        """Return the value of a text; raises `ValueError` or `RecursionError`."""
        tree = self._read(text)
        return self._without_omitted(tree, "") if isinstance(tree, list | _Omitted) else tree

    def remark(self, text: str) -> None:
        """Keep a remark for the sender."""
        self._remarks[text] = None

    def remarks(self) -> str:
        """Return all remarks as one text."""
        shown = list(self._remarks)[:_MAX_REMARKS]
        if more := len(self._remarks) - len(shown):
            shown.append(f"and {more} more")
        return "; ".join(shown)

    def _object(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        members: dict[str, Json] = {}
        for name, given in pairs:
            value = given
            if self._has_omitted:
                value = self._without_omitted(value, name)
                if isinstance(given, _Omitted):
                    continue
            if name in members:
                self.remark(f"{_shown(name)}: is there more than once; the last one was taken")
            members[name] = value
        return members

    def _without_omitted(self, value: Json, name: str) -> Json:
        if isinstance(value, _Omitted):
            what = "is not a number of JSON" if value.text[-1].isalpha() else "is beyond a double"
            self.remark(f"{_shown(name)}: {value.text} {what}; it was left out")
            return None
        if isinstance(value, list):
            return [self._without_omitted(item, name) for item in value]
        return value

    def _int(self, text: str) -> Json:
        # Of -0, this makes 0.
        if len(text) <= _MAX_INT_DIGITS:
            number = int(text)
            if _MIN_INT <= number <= _MAX_INT:
                return number
        return self._float(text)

    def _float(self, text: str) -> Json:
        number = float(text)
        if number in {float("inf"), float("-inf")}:
            return self._omit(text)
        if number.is_integer() and _MIN_INT <= number <= _MAX_INT:
            return int(number)
        return number

    def _omit(self, text: str) -> _Omitted:
        self._has_omitted = True
        return _Omitted(text)


def _write(tree: Json) -> str:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"), check_circular=False)


def _shown(name: str) -> str:
    return name[:_MAX_SHOWN_CHARS].encode(errors="replace").decode()
