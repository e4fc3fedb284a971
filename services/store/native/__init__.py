"""ClickHouse's Native format on the wire: the framing of blocks, and their compression."""

from services.store.native.compression import (
    BlockCompressor,
    BlockDecompressor,
)
from services.store.native.framing import Framing, NativeFraming, NoFraming

__all__ = [
    "BlockCompressor",
    "BlockDecompressor",
    "Framing",
    "NativeFraming",
    "NoFraming",
]
