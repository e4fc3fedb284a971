"""ClickHouse's own compression of blocks, which `compress=1` and `decompress=1` ask for.

A block is a checksum (CityHash128 of the rest), the method, both sizes, and the compressed bytes.
"""

import asyncio
import struct
from typing import Final

import lz4.block  # type: ignore[import-untyped]
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

from services.store.bodies import Sink
from services.store.errors import Code, StoreError

# ClickHouse's clients send blocks of 1 MiB, clickhouse-go's those of up to 128 MiB.
MAX_BLOCK_BYTES: Final = 256 << 20
_BLOCK_BYTES: Final = 1 << 20

_CHECKSUM: Final = struct.Struct("<QQ")
_SIZES: Final = struct.Struct("<BII")
_HEAD_BYTES: Final = _CHECKSUM.size + _SIZES.size
_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90
# No LZ4 block grows more than this, so that a larger size is wrong.
_LZ4_RATIO: Final = 255


class BlockCompressor:
    """Compresses a stream into blocks of 1 MiB, with LZ4."""

    encoding = ""  # not one of HTTP's

    def __init__(self) -> None:
        self._held = bytearray()

    async def compress(self, data: bytes) -> bytes:
        """Add `data`; return the blocks that are full."""
        self._held += data
        if len(self._held) < _BLOCK_BYTES:
            return b""
        return await asyncio.to_thread(self._full_blocks)

    def finish(self) -> bytes:
        """Return the last block; none if there is nothing to be sent."""
        last = compress_block(bytes(self._held)) if self._held else b""
        self._held.clear()
        return last

    def _full_blocks(self) -> bytes:
        blocks = []
        while len(self._held) >= _BLOCK_BYTES:
            blocks.append(compress_block(bytes(self._held[:_BLOCK_BYTES])))
            del self._held[:_BLOCK_BYTES]
        return b"".join(blocks)


def compress_block(data: bytes) -> bytes:
    """Return `data` as one block, compressed with LZ4."""
    packed = lz4.block.compress(data, store_size=False)
    rest = _SIZES.pack(_LZ4, len(packed) + _SIZES.size, len(data)) + packed
    return _checksum(rest) + bytes(rest)


def _checksum(data: bytes | memoryview) -> bytes:
    first, second = divmod(CityHash128(data), 1 << 64)
    return _CHECKSUM.pack(first, second)


class BlockDecompressor:
    """Decompresses a stream of blocks; no more than one is held."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held = bytearray()

    def write(self, data: bytes) -> None:
        """Decompress the blocks that are complete with `data` into the sink.

        Raises:
            StoreError: a checksum is wrong, a block is too large or cannot be decompressed.
        """
        self._held += data
        while len(self._held) >= _HEAD_BYTES:
            method, packed, size = _SIZES.unpack_from(self._held, _CHECKSUM.size)
            _check(method, packed, size)
            end = _CHECKSUM.size + packed
            if len(self._held) < end:
                return
            block = bytes(self._held[:end])
            del self._held[:end]
            self._sink.write(_decompress(block))

    def finish(self) -> None:
        """Check that the stream ended with a complete block.

        Raises:
            StoreError: CANNOT_DECOMPRESS if a block is cut short.
        """
        if self._held:
            raise StoreError(
                Code.CANNOT_DECOMPRESS, "The last compressed block of the body is cut short"
            )


def _check(method: int, packed: int, size: int) -> None:
    if method not in {_NONE, _LZ4, _ZSTD}:
        raise StoreError(
            Code.UNKNOWN_COMPRESSION_METHOD,
            f"Unknown compression method {method:#04x} of a block; accepted are NONE (0x02), "
            "LZ4 (0x82) and ZSTD (0x90). With decompress=1 the body must be in ClickHouse's "
            "compressed blocks",
        )
    if max(packed, size) > MAX_BLOCK_BYTES:
        raise StoreError(
            Code.TOO_LARGE_SIZE_COMPRESSED,
            f"A compressed block has {packed} bytes, and {size} uncompressed; accepted are at "
            f"most {MAX_BLOCK_BYTES}",
        )
    least = size if method == _NONE else 1
    if packed < _SIZES.size + least or (
        method == _LZ4 and size > (packed - _SIZES.size) * _LZ4_RATIO
    ):
        raise StoreError(
            Code.CANNOT_DECOMPRESS,
            f"A compressed block cannot have {packed} bytes, and {size} uncompressed",
        )


def _decompress(block: bytes) -> bytes:
    rest = memoryview(block)[_CHECKSUM.size :]
    if _checksum(rest) != block[: _CHECKSUM.size]:
        raise StoreError(
            Code.CHECKSUM_DOESNT_MATCH,
            "Checksum doesn't match: the body is corrupted, or it is not in ClickHouse's "
            "compressed blocks",
        )
    method, _, size = _SIZES.unpack_from(rest)
    packed = rest[_SIZES.size :]
    try:
        if method == _NONE:
            data = bytes(packed)
        elif method == _LZ4:
            data = lz4.block.decompress(packed, uncompressed_size=size)
        else:
            declared = zstandard.frame_content_size(packed)
            if declared not in {-1, size}:
                raise zstandard.ZstdError(f"its frame declares {declared} bytes")
            data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size)
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise StoreError(Code.CANNOT_DECOMPRESS, f"Cannot decompress a block: {error}") from error
    if len(data) != size:
        raise StoreError(
            Code.CANNOT_DECOMPRESS, f"A block has {len(data)} bytes uncompressed instead of {size}"
        )
    return data
