"""Request bodies: decompressed as they arrive, within limits, into memory or an unnamed file.

A statement runs only after its whole body has been read: a body that is cut short or cannot be
decompressed inserts no row. The file has no name, so it disappears with its descriptor.
"""

import os
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any, Final, Protocol

import brotli
import lz4.frame  # type: ignore[import-untyped]
import zstandard

from services.store.errors import Code, StoreError

IN_MEMORY_BYTES: Final = 64 << 20
MAX_BODY_BYTES: Final = 4 << 30
_STEP: Final = 1 << 20
# zstd does not limit the output of one call; an input slice of this size returns at most 64 MiB.
_ZSTD_STEP: Final = 2 << 10
_MAX_WINDOW_BYTES: Final = 128 << 20


class Sink(Protocol):
    """Receives the decompressed bytes."""

    def write(self, data: bytes) -> None:
        """Append `data`; raise StoreError beyond the limit."""


class Spool:
    """Bytes that the engine reads through `path`: first in memory, then in an unnamed file."""

    def __init__(self, directory: Path, limit: int = MAX_BODY_BYTES) -> None:
        self._directory = directory
        self._limit = limit
        self.size = 0
        self._fd = _open_memory(directory)
        self._in_memory = True

    @property
    def path(self) -> str:
        """Return the path under which this process reads the spool."""
        return f"/dev/fd/{self._fd}"

    def write(self, data: bytes) -> None:
        """Append `data`.

        Raises:
            StoreError: QUERY_IS_TOO_LARGE beyond the limit.
        """
        self.size += len(data)
        if self.size > self._limit:
            raise StoreError(Code.QUERY_IS_TOO_LARGE, f"There are more than {self._limit} bytes")
        if self._in_memory and self.size > IN_MEMORY_BYTES:
            self._move_to_disk()
        _write(self._fd, data)

    def rewind(self) -> None:
        """Start reading from the first byte: descriptors of a spool share their position."""
        os.lseek(self._fd, 0, os.SEEK_SET)

    def read(self, size: int) -> bytes:
        """Return the next bytes after the last read; empty at the end."""
        return os.read(self._fd, size)

    def peek(self, start: int, size: int) -> bytes:
        """Return bytes from `start` on; where reading goes on does not change."""
        return os.pread(self._fd, size, start)

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory or the disk space; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _move_to_disk(self) -> None:
        file = _open_file(self._directory)
        self.rewind()
        while chunk := os.read(self._fd, _STEP):
            _write(file, chunk)
        os.close(self._fd)
        self._fd, self._in_memory = file, False


class Decompressor:
    """Undoes a Content-Encoding in bounded memory; a body may have several frames or members.

    Raises:
        StoreError: UNKNOWN_COMPRESSION_METHOD for an unknown encoding.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in _OPENERS:
            raise StoreError(
                Code.UNKNOWN_COMPRESSION_METHOD,
                f"Unknown Content-Encoding '{encoding}'; accepted are {', '.join(_OPENERS)}",
            )
        self._encoding = encoding
        self._open: Any = _OPENERS[encoding]
        self._frame: Any = self._open()
        self._fresh = True

    def feed(self, data: bytes, sink: Sink) -> None:
        """Decompress `data` into `sink`.

        Raises:
            StoreError: CANNOT_DECOMPRESS if `data` is not valid in the encoding.
        """
        step = _ZSTD_STEP if self._encoding == "zstd" else _STEP
        try:
            for at in range(0, len(data), step):
                self._feed(data[at : at + step], sink)
        except (zlib.error, RuntimeError, zstandard.ZstdError, brotli.error) as error:
            raise StoreError(
                Code.CANNOT_DECOMPRESS, f"Cannot decompress the {self._encoding} body: {error}"
            ) from error

    def finish(self) -> None:
        """Check that the body ended with a complete frame.

        Raises:
            StoreError: CANNOT_DECOMPRESS if a frame is cut short.
        """
        if not self._fresh:
            raise StoreError(Code.CANNOT_DECOMPRESS, f"The {self._encoding} body is cut short")

    def _feed(self, data: bytes, sink: Sink) -> None:
        while data:
            self._fresh = False
            if self._encoding == "br":
                data = self._brotli(data, sink)
                continue
            if self._encoding == "zstd":
                sink.write(self._frame.decompress(data))
                data = b""
            else:
                sink.write(self._frame.decompress(data, _STEP))
                data = self._rest(sink)
            if self._frame.eof:
                data = self._frame.unused_data or b""
                self._frame = self._open()
                self._fresh = True

    def _brotli(self, data: bytes, sink: Sink) -> bytes:
        """Write the output of `data`; return nothing, since Brotli has no members."""
        if self._frame.is_finished():
            raise brotli.error("there are bytes after its end")
        while output := self._frame.process(data, output_buffer_limit=_STEP):
            sink.write(output)
            data = b""
            if self._frame.is_finished():
                break
        self._fresh = self._frame.is_finished()
        return b""

    def _rest(self, sink: Sink) -> bytes:
        """Write what the limit on one call's output has held back; return the input left over."""
        if self._encoding == "lz4":
            while not self._frame.eof and not self._frame.needs_input:
                sink.write(self._frame.decompress(b"", _STEP))
            return b""
        return bytes(self._frame.unconsumed_tail)


_OPENERS: Final[dict[str, Any]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj(),
    "br": brotli.Decompressor,
    "gzip": lambda: zlib.decompressobj(zlib.MAX_WBITS | 16),
    "deflate": lambda: zlib.decompressobj(zlib.MAX_WBITS),
}


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _open_memory(directory: Path) -> int:
    if sys.platform == "linux":
        return os.memfd_create("store-body")
    else:  # noqa: RET505 - a branch, so that types are checked for one system at a time
        return _open_file(directory)


def _open_file(directory: Path) -> int:
    with tempfile.TemporaryFile(dir=directory) as file:
        return os.dup(file.fileno())
