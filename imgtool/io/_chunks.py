"""The chunks that a PNG file is made of."""

import struct
import zlib
from collections.abc import Iterator
from os import SEEK_END
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def walk(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and length of the bodies of the chunks that are whole, up to IEND."""
    size = stream.seek(0, SEEK_END)
    place = len(SIGNATURE)
    while place + 12 <= size:
        stream.seek(place)
        length, name = struct.unpack(">I4s", stream.read(8))
        if place + 12 + length > size:
            return
        yield name, place + 8, length
        if name == b"IEND":
            return
        place += 12 + length


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))
