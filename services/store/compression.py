"""Response compression: what Accept-Encoding allows, applied as the result flows."""

import asyncio
import zlib
from typing import Any, Final, Protocol

import lz4.frame  # type: ignore[import-untyped]
import zstandard

# In the server's order of preference
_METHODS: Final = ("lz4", "zstd", "gzip", "deflate")
# Above this a chunk is compressed in a thread: the event loop would stand still for too long.
_INLINE_BYTES: Final = 64 << 10


class Packer(Protocol):
    """Encodes a stream of chunks."""

    encoding: str

    async def pack(self, data: bytes) -> bytes:
        """What is ready to be sent after `data`; may be empty."""

    def finish(self) -> bytes:
        """The end of the stream."""


class Plain:
    """No compression."""

    encoding = ""

    async def pack(self, data: bytes) -> bytes:
        """Give back `data`."""
        return data

    def finish(self) -> bytes:
        """Nothing is held back."""
        return b""


class _Compressed:
    def __init__(self, encoding: str, stream: Any, head: bytes = b"") -> None:
        self.encoding = encoding
        self._stream = stream
        self._head = head

    async def pack(self, data: bytes) -> bytes:
        if len(data) > _INLINE_BYTES:
            packed: bytes = await asyncio.to_thread(self._stream.compress, data)
        else:
            packed = self._stream.compress(data)
        head, self._head = self._head, b""
        return head + packed

    def finish(self) -> bytes:
        head, self._head = self._head, b""
        return head + bytes(self._stream.flush())


def choose_packer(accepted: str) -> Packer:
    """The packer for an Accept-Encoding header; none of ours in it means no compression."""
    names = {part.split(";")[0].strip().lower() for part in accepted.split(",")}
    method = next((name for name in _METHODS if name in names), "")
    if method == "lz4":
        frame = lz4.frame.LZ4FrameCompressor()
        return _Compressed(method, frame, frame.begin())
    if method == "zstd":
        return _Compressed(method, zstandard.ZstdCompressor(level=1).compressobj())
    if method:
        bits = zlib.MAX_WBITS | (16 if method == "gzip" else 0)
        return _Compressed(method, zlib.compressobj(1, zlib.DEFLATED, bits))
    return Plain()
