"""Streams tables from ClickHouse: its Arrow stream is read and encoded batch by batch.

Arrow's reader blocks, so that it runs on a thread, which waits for the chunks that the event loop
reads. Besides ClickHouse's batch, which its memory limit bounds, a table takes the memory of a
slice of it.
"""

import asyncio
import concurrent.futures
import functools
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from services.query.clickhouse.client import MAX_EXPORTS
from services.query.queries.stored_json import read_stored
from services.query.tables.columns import Column, arrow_schema
from services.query.tables.encoders import TableEncoder

_SLICE_ROWS: Final = 2_048
# Where a text of JSON has this, a name in it may be spelled otherwise than it was sent.
_ESCAPED: Final = "%2E"

_T = TypeVar("_T")

_threads = concurrent.futures.ThreadPoolExecutor(2 * MAX_EXPORTS, "tables")


async def encoded(
    chunks: AsyncGenerator[bytes, None], table: Sequence[Column], encoder: TableEncoder
) -> AsyncGenerator[bytes, None]:
    """Yield a table in the encoder's format, from chunks of an Arrow stream with its columns.

    It closes the chunks at its end. Raises what reading them does; nothing is read ahead.
    """
    source = _Source(chunks)
    try:
        yield encoder.head()
        batches = await source.run(lambda: _batches(source, table))
        while (batch := await source.run(lambda: next(batches, None))) is not None:
            yield await source.run(functools.partial(encoder.rows, batch))
        yield await source.run(encoder.end)
    finally:
        await source.stop()
        await chunks.aclose()


def _batches(source: "_Source", table: Sequence[Column]) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_stream(pa.PythonFile(source, mode="r"))
    return _sliced(reader, table)


def _sliced(reader: pa.RecordBatchReader, table: Sequence[Column]) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        for begin in range(0, batch.num_rows, _SLICE_ROWS):
            yield _of_table(batch.slice(begin, _SLICE_ROWS), table)


def _of_table(batch: pa.RecordBatch, table: Sequence[Column]) -> pa.RecordBatch:
    """Return a batch of ClickHouse with the types of the table, and JSON as it was sent."""
    schema = arrow_schema(table)
    arrays = []
    for one, field, array in zip(table, schema, batch.columns, strict=True):
        cast = array.cast(field.type)
        arrays.append(_as_sent(cast) if one.type == "json" else cast)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as_sent(texts: "pa.Array[Any]") -> "pa.Array[Any]":
    """Return the texts as JSON with the names that were sent; few differ from what is stored."""
    plain = pc.and_(
        pc.starts_with(texts, pattern="{"),
        pc.invert(pc.match_substring(texts, pattern=_ESCAPED)),
    )
    if pc.all(plain).as_py():
        return texts
    pairs = zip(texts.to_pylist(), plain.to_pylist(), strict=True)
    return pa.array([text if is_plain else _sent(text) for text, is_plain in pairs], pa.string())


def _sent(text: str | None) -> str | None:
    if text is None:
        return None
    return msgspec.json.encode(read_stored(text)).decode()


class _Source(io.RawIOBase):
    """A file that a thread reads, from chunks that the event loop reads."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        super().__init__()
        self._stopped = False
        self._chunks = chunks
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()
        self._awaited: concurrent.futures.Future[bytes] | None = None
        self._working: asyncio.Future[Any] | None = None

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run some work, which may read from this file, on a thread."""
        working = self._loop.run_in_executor(_threads, work)
        self._working = working
        return await asyncio.shield(working)

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return as many bytes, or fewer at the end; called on the thread."""
        while size < 0 or len(self._held) < size:
            chunk = self._next()
            if not chunk:
                break
            self._held += chunk
        size = len(self._held) if size < 0 else size
        data = bytes(self._held[:size])
        del self._held[:size]
        return data

    async def stop(self) -> None:
        """End a read that waits, and wait until the thread has let go."""
        self._stopped = True
        while self._working is not None and not self._working.done():
            if self._awaited is not None:
                self._awaited.cancel()
            await asyncio.wait([self._working], timeout=0.05)
        if self._working is not None and not self._working.cancelled():
            self._working.exception()  # it was raised before, or nobody waits for it any more

    def _next(self) -> bytes:
        if self._stopped:
            raise concurrent.futures.CancelledError
        self._awaited = asyncio.run_coroutine_threadsafe(self._chunk(), self._loop)
        return self._awaited.result()

    async def _chunk(self) -> bytes:
        return await anext(self._chunks, b"")
