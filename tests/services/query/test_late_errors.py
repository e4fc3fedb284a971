"""Errors that ClickHouse writes into a result that it has begun to send."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import aiohttp
from hypothesis import given
from hypothesis import strategies as st

from services.query.clickhouse.late_errors import LateError, without_late_error

TAG = b"0123456789abcdef"
TEXT = b"Code: 241. DB::Exception: too much memory\n"
BLOCK = (
    b"\r\n__exception__\r\n" + TAG + b"\r\n" + TEXT + b"42 " + TAG + b"\r\n__exception__\r\n"
)  # as services/store/responses.py writes it


async def _chunks(parts: Sequence[bytes], *, cut: bool) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if cut:
        raise aiohttp.ClientPayloadError("cut")


def passed(parts: Sequence[bytes], *, cut: bool = False) -> tuple[bytes, BaseException | None]:
    """What comes out of the parts, and what is raised after it."""

    async def read() -> tuple[bytes, BaseException | None]:
        found = b""
        try:
            async for chunk in without_late_error(_chunks(parts, cut=cut)):
                found += chunk
        except (LateError, aiohttp.ClientError) as error:
            return found, error
        return found, None

    return asyncio.run(read())


def _split(body: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(body) + 1) for place in places} | {len(body)})
    return [body[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


bodies = st.lists(
    st.sampled_from([b"\r\n", b"__exception__", b"\r\n__exception__\r\n", TAG, b"row\n", b"42 "])
).map(b"".join)
places = st.lists(st.integers(0, 10_000), max_size=8)


@given(bodies, places, st.booleans())
def test_an_error_at_the_end_is_raised_and_not_passed_on(
    body: bytes, places: list[int], cut: bool
) -> None:
    found, error = passed(_split(b"rows" + body.replace(b"_e", b"") + BLOCK, places), cut=cut)
    assert found == b"rows" + body.replace(b"_e", b"")
    assert isinstance(error, LateError)
    assert error.code == 241
    assert "too much memory" in str(error)


@given(bodies, places)
def test_a_whole_result_passes_whatever_it_has(body: bytes, places: list[int]) -> None:
    assert passed(_split(body, places)) == (body, None)


def test_a_result_that_is_cut_off_without_a_reason_is_never_whole() -> None:
    _, error = passed([b"rows", BLOCK[:40]], cut=True)
    assert isinstance(error, aiohttp.ClientError)


def test_data_that_looks_like_an_error_is_not_held_back_for_long() -> None:
    start = BLOCK[:60]
    found, error = passed([start, *([b"x" * 50_000] * 4)], cut=True)
    assert found.startswith(start)
    assert len(found) > 100_000
    assert isinstance(error, aiohttp.ClientError)
