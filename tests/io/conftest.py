"""PNG files made by hand, for what no encoder writes."""

import struct
import zlib
from collections.abc import Callable

import pytest


@pytest.fixture
def chunk() -> Callable[[bytes, bytes], bytes]:
    """A chunk from its name and body."""

    def build(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    return build


@pytest.fixture
def png(chunk: Callable[[bytes, bytes], bytes]) -> Callable[..., bytes]:
    """A file from width, height, bit depth, colour type, filtered rows and the chunks between header and pixels."""

    def build(
        width: int, height: int, depth: int, colour: int, raw: bytes, *extra: bytes, interlaced: int = 0
    ) -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
        pixels = chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels

    return build
