"""The container of WebP animations: told of without decoding, and written frame by frame.

https://developers.google.com/speed/webp/docs/riff_container
"""

import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from os import SEEK_END
from typing import Any, BinaryIO

from ..errors import ImgtoolError
from ._frames import changed, durations, ticks
from ._image import Array, Image, Metadata

_ICC, _ALPHA, _EXIF, _XMP, _ANIMATION = 0x20, 0x10, 0x08, 0x04, 0x02
_HEAD = 12
_EXIF_HEAD = b"Exif\0\0"
# Frames replace what they cover; a frame is not removed before the next.
_REPLACE = 0x02
_LONGEST = (1 << 24) - 1  # milliseconds


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and length of the bodies of the chunks that are whole."""
    size = stream.seek(0, SEEK_END)
    place = _HEAD
    while place + 8 <= size:
        stream.seek(place)
        name, length = struct.unpack("<4sI", stream.read(8))
        if place + 8 + length > size:
            return
        yield name, place + 8, length
        place += 8 + length + length % 2


def frames(stream: BinaryIO) -> Metadata | None:
    """The timing of an animation of two frames or more, None for a still."""
    spans: list[float] = []
    plays = 0
    for name, place, _ in _chunks(stream):
        stream.seek(place)
        if name == b"ANIM":
            plays = int.from_bytes(stream.read(6)[4:], "little")
        elif name == b"ANMF":
            spans.append(float(int.from_bytes(stream.read(15)[12:], "little")))
    return {"durations": spans, "plays": plays} if len(spans) > 1 else None


class FrameWriter:
    """Writes frames one after another, of all but the first what has changed."""

    def __init__(
        self, stream: BinaryIO, first: Image, frames: int, blocks: Metadata, encoded: Callable[[Array], Any]
    ) -> None:
        self._stream, self._encoded = stream, encoded
        self._spans = iter(ticks(durations(first.metadata, frames), 1))
        self._before: Array | None = None
        self._blocks = blocks
        height, width = first.pages[0].shape[:2]
        flags = _ANIMATION | _ALPHA * first.has_alpha | _ICC * ("icc_profile" in blocks)
        flags |= _EXIF * ("exif" in blocks) | _XMP * ("xmp" in blocks)
        stream.write(b"RIFF\0\0\0\0WEBP")
        self._chunk(b"VP8X", bytes([flags, 0, 0, 0]) + _three(width - 1) + _three(height - 1))
        if "icc_profile" in blocks:
            self._chunk(b"ICCP", blocks["icc_profile"])
        self._chunk(b"ANIM", struct.pack("<IH", 0, min(first.metadata["frames"]["plays"], 0xFFFF)))

    def _chunk(self, name: bytes, body: bytes) -> None:
        self._stream.write(struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2))

    def write(self, data: Array) -> None:
        """Append a frame."""
        box = changed(self._before, data, even=True)
        self._before = data.copy()
        still = BytesIO(self._encoded(box.of(data)))
        content = still.getbuffer()
        parts = [
            bytes(content[place - 8 : place + length + length % 2])
            for name, place, length in _chunks(still)
            if name != b"VP8X"
        ]
        size = _three(box.right - box.left - 1) + _three(box.bottom - box.top - 1)
        span = _three(min(next(self._spans), _LONGEST))
        self._chunk(
            b"ANMF",
            _three(box.left // 2) + _three(box.top // 2) + size + span + bytes([_REPLACE]) + b"".join(parts),
        )

    def finish(self) -> None:
        """What stands behind the frames, and how long the file is."""
        if "exif" in self._blocks:
            self._chunk(b"EXIF", self._blocks["exif"].removeprefix(_EXIF_HEAD))
        if "xmp" in self._blocks:
            self._chunk(b"XMP ", self._blocks["xmp"])
        size = self._stream.tell() - 8
        if size >= 1 << 32:
            raise ImgtoolError("the animation is larger than the 4 GiB that WebP can hold; write .png or .tif")
        self._stream.seek(4)
        self._stream.write(struct.pack("<I", size))


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")
