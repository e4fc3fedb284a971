import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Misconfigured
from sinks.chunks import Plan, checksum, read_plan


@given(last=st.integers(0, 2**63 - 1), crc=st.integers(0, 2**32 - 1))
def test_a_plan_reads_as_it_was_written(last: int, crc: int) -> None:
    assert read_plan(Plan(last, crc).text) == Plan(last, crc)


@pytest.mark.parametrize("text", ["", None])
def test_an_offset_without_metadata_has_no_plan(text: str | None) -> None:
    assert read_plan(text) is None


@pytest.mark.parametrize("text", ["cut/2 last=5 crc=00000000", "from a backup", "cut/1 last=5"])
def test_metadata_of_others_is_refused_and_named(text: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(repr(text))):
        read_plan(text)


VALUES = [b"a", b"bc", None, b""]
OFFSETS = [3, 4, 6, 9]


def test_the_checksum_is_the_same_for_ever() -> None:
    # Committed with offsets that a later version must still recognise.
    assert checksum(OFFSETS, VALUES) == 0x26BEA7CB


@pytest.mark.parametrize(
    ("offsets", "values"),
    [
        ([3, 4, 6, 8], VALUES),
        (OFFSETS, [b"a", b"bd", None, b""]),
        (OFFSETS, [b"ab", b"c", None, b""]),
        (OFFSETS, [b"a", b"bc", b"", None]),
        (OFFSETS[:3], VALUES[:3]),
    ],
    ids=["another offset", "another byte", "another border", "null or empty", "one fewer"],
)
def test_the_checksum_tells_apart_what_differs(
    offsets: list[int], values: list[bytes | None]
) -> None:
    assert checksum(offsets, values) != checksum(OFFSETS, VALUES)


def test_a_plan_has_the_text_that_committed_offsets_of_earlier_versions_have() -> None:
    assert Plan(5, 0x26BEA7CB).text == "cut/1 last=5 crc=26bea7cb"
