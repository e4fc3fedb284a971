"""Response compression, as Accept-Encoding allows, applied while the result streams."""

import asyncio
import zlib
from typing import Any, Final, Protocol

import brotli
import lz4.frame  # type: ignore[import-untyped]
import zstandard

# In the server's order of preference
_METHODS: Final = ("lz4", "zstd", "br", "gzip", "deflate")
# Larger chunks are compressed on a thread, so that they do not block the event loop for long.
_INLINE_BYTES: Final = 64 << 10


class Compressor(Protocol):
    """Compresses a stream of chunks."""

    encoding: str

    async def compress(self, data: bytes) -> bytes:
        """Add `data`; return the bytes that are ready to be sent, which may be none."""

    def finish(self) -> bytes:
        """Return the end of the stream."""


class NoCompression:
    """No compression."""

    encoding = ""

    async def compress(self, data: bytes) -> bytes:
        """Return `data`."""
        return data

    def finish(self) -> bytes:
        """Return nothing: no bytes are buffered."""
        return b""


class _Compressed:
    def __init__(self, encoding: str, stream: Any, head: bytes = b"") -> None:
        self.encoding = encoding
        self._stream = stream
        self._head = head

    async def compress(self, data: bytes) -> bytes:
        if len(data) > _INLINE_BYTES:
            packed: bytes = await asyncio.to_thread(self._stream.compress, data)
        else:
            packed = self._stream.compress(data)
        head, self._head = self._head, b""
        return head + packed

    def finish(self) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._stream.flush())


class _Brotli:
    """Brotli's stream, with the names that the other methods' have."""

    def __init__(self) -> None:
        self._stream = brotli.Compressor(quality=1)

    def compress(self, data: bytes) -> bytes:
        packed: bytes = self._stream.process(data)
        return packed

    def flush(self) -> bytes:
        packed: bytes = self._stream.finish()
        return packed


def choose_compressor(accepted: str) -> Compressor:
    """Return the compressor for an Accept-Encoding header; if none of ours is in it, none."""
    names = {part.split(";")[0].strip().lower() for part in accepted.split(",")}
    method = next((name for name in _METHODS if name in names), "")
    if method == "lz4":
        frame = lz4.frame.LZ4FrameCompressor()
        return _Compressed(method, frame, frame.begin())
    if method == "zstd":
        return _Compressed(method, zstandard.ZstdCompressor(level=1).compressobj())
    if method == "br":
        return _Compressed(method, _Brotli())
    if method:
        bits = zlib.MAX_WBITS | (16 if method == "gzip" else 0)
        return _Compressed(method, zlib.compressobj(1, zlib.DEFLATED, bits))
    return NoCompression()
