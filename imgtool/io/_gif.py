"""GIF: read by Pillow, told of without decoding, and written frame by frame.

https://www.w3.org/Graphics/GIF/spec-gif89a.txt
"""

import mmap
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImgtoolError
from ._frames import Box, changed, durations, ticks
from ._image import Array, Image, Metadata, Source
from ._pillow import animation, text_of

_EXTENSION, _FRAME, _END = 0x21, 0x2C, 0x3B
_CONTROL, _COMMENT, _APPLICATION = 0xF9, 0xFE, 0xFF
_KEEP, _CLEAR = 1, 2  # what becomes of a frame before the next one is drawn
_LONGEST = 0xFFFF  # hundredths of a second
_COLOURS = 256


@dataclass
class _Scan:
    """What can be told of a file without decoding it."""

    durations: list[float] = field(default_factory=list)
    plays: int = 1
    transparent: bool = False
    comment: bytes = b""


def open_image(stream: BinaryIO, format_name: str) -> Source:
    """The header and metadata of a GIF stream."""
    from PIL.GifImagePlugin import GifImageFile

    picture: Any = GifImageFile(stream)
    scan = _scan(stream)
    stream.seek(0)
    frames = len(scan.durations)
    metadata: Metadata = {} if not scan.comment else {"description": text_of(scan.comment)}
    if frames > 1:
        metadata["frames"] = {"durations": scan.durations, "plays": scan.plays}
    return animation(format_name, picture, "RGBA" if scan.transparent else "RGB", frames, metadata)


def _scan(stream: BinaryIO) -> _Scan:
    """Frames, their times, and whether any pixel can be transparent; Pillow would decode every frame to tell."""
    if isinstance(stream, BytesIO):
        return _scanned(stream.getbuffer())
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _scanned(content)


def _scanned(blob: Any) -> _Scan:
    found = _Scan()
    size = len(blob)
    canvas, place = bytes(blob[6:10]), 13 + _table(blob[10])
    clear, span, disposal, left = False, 0.0, 0, 0
    while place < size and blob[place] != _END:
        if blob[place] == _FRAME and place + 9 < size:
            # Where a frame is clear or does not reach, what is behind it shows: nothing at first, and nothing after a
            # frame that was removed.
            partial = clear or bytes(blob[place + 5 : place + 9]) != canvas
            found.transparent |= partial and (not found.durations or left == _CLEAR)
            found.durations.append(span)
            clear, span, left = False, 0.0, disposal
            place += 11 + _table(blob[place + 9])
        elif blob[place] == _EXTENSION and place + 1 < size:
            if blob[place + 1] == _CONTROL and place + 6 < size:
                clear, disposal = bool(blob[place + 3] & 1), blob[place + 3] >> 2 & 7
                span = 10.0 * struct.unpack_from("<H", blob, place + 4)[0]
            elif blob[place + 1] == _APPLICATION and bytes(blob[place + 3 : place + 14]) == b"NETSCAPE2.0":
                # The number of repetitions, which come after the first time; 0 is for ever.
                repeated = int.from_bytes(blob[place + 16 : place + 18], "little")
                found.plays = repeated + 1 if repeated else 0
            elif blob[place + 1] == _COMMENT and not found.comment:
                found.comment = b"".join(_blocks(blob, place + 2))
            place += 2
        else:
            break
        while place < size and blob[place]:
            place += 1 + blob[place]
        place += 1
    if not found.durations:
        raise ImgtoolError("the GIF file holds no image")
    return found


def _blocks(blob: Any, place: int) -> Iterator[bytes]:
    """The sub-blocks that begin at a place."""
    while place < len(blob) and blob[place]:
        yield bytes(blob[place + 1 : place + 1 + blob[place]])
        place += 1 + blob[place]


def _table(flags: int) -> int:
    """Bytes of the colour table that a GIF flag byte announces."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


@contextmanager
def page_writer(stream: BinaryIO, first: Image, pages: int, _format: str) -> Iterator[Callable[[Array], None]]:
    """What writes the one page of a still, or frame after frame of an animation.

    Each has 256 colours, exact where there are no more; half opaque is opaque.
    """
    height, width = first.pages[0].shape[:2]
    stream.write(struct.pack("<6sHHBBB", b"GIF89a", width, height, 0x70, 0, 0))
    spans = [0]
    if pages > 1:
        spans = ticks(durations(first.metadata, pages), 10)
        plays = first.metadata["frames"]["plays"]
        if plays != 1:
            repeated = struct.pack("<BH", 1, min(max(plays - 1, 0), 0xFFFF))
            stream.write(bytes([_EXTENSION, _APPLICATION]) + b"\x0bNETSCAPE2.0\x03" + repeated + b"\0")
    if comment := first.metadata.get("description", "").encode("utf-8", "surrogateescape"):
        parts = [comment[place : place + 255] for place in range(0, len(comment), 255)]
        body = b"".join(bytes([len(part)]) + part for part in parts)
        stream.write(bytes([_EXTENSION, _COMMENT]) + body + b"\0")
    waiting = iter(spans)
    before: Array | None = None

    def write(data: Array) -> None:
        nonlocal before
        # What is transparent shows the frame before, unless that is removed; then all is drawn each time.
        box = changed(None if first.has_alpha else before, data)
        stream.write(_frame(box.of(data), box, next(waiting), has_alpha=first.has_alpha))
        before = data.copy()

    yield write
    stream.write(bytes([_END]))


def _frame(data: Array, box: Box, span: int, *, has_alpha: bool) -> bytes:
    """A frame with its colours, which Pillow packs as a file of its own."""
    from PIL import Image as Pictures

    indices, colours, clear = _indexed(data, has_alpha=has_alpha)
    picture = Pictures.fromarray(indices, "L")
    picture.putpalette(colours.tobytes())
    file = BytesIO()
    picture.save(file, "GIF", optimize=False, interlace=0)
    blob = file.getvalue()
    place = 13 + _table(blob[10])
    while blob[place] == _EXTENSION:
        place += 2
        while blob[place]:
            place += 1 + blob[place]
        place += 1
    global_table = blob[13 : 13 + _table(blob[10])]
    local_table = blob[place + 10 : place + 10 + _table(blob[place + 9])] or global_table
    bits = (len(local_table) // 3).bit_length() - 2
    packed = blob[place + 10 + _table(blob[place + 9]) : -1]
    flags = ((_CLEAR if has_alpha else _KEEP) << 2) | (clear is not None)
    control = struct.pack("<BBBBHBB", _EXTENSION, _CONTROL, 4, flags, min(span, _LONGEST), clear or 0, 0)
    size = box.right - box.left, box.bottom - box.top
    place_and_size = struct.pack("<BHHHHB", _FRAME, box.left, box.top, *size, 0x80 | bits)
    return control + place_and_size + local_table + packed


def _indexed(data: Array, *, has_alpha: bool) -> tuple[Array, Array, int | None]:
    """Numbers of colours, the colours (n, 3), and the number of the one that is transparent."""
    if data.ndim == 2:
        grays = np.repeat(np.arange(_COLOURS, dtype=np.uint8)[:, None], 3, axis=1)
        return data, grays, None
    opaque = data[..., 3] >= 128 if has_alpha else None
    room = _COLOURS - has_alpha
    colours, indices = _palette(
        data[..., :3] if opaque is None else np.where(opaque[..., None], data[..., :3], 0), room
    )
    if opaque is None or opaque.all():
        return indices, colours, None
    clear = len(colours)
    return np.where(opaque, indices, clear).astype(np.uint8), np.vstack([colours, [0, 0, 0]]).astype(np.uint8), clear


def _palette(data: Array, room: int) -> tuple[Array, Array]:
    """The colours of an image, or the best `room` of them, and which one each pixel has."""
    whole = data.astype(np.uint32)
    packed = whole[..., 0] << 16 | whole[..., 1] << 8 | whole[..., 2]
    found, indices = np.unique(packed, return_inverse=True)
    if len(found) <= room:
        colours = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1).astype(np.uint8)
        return colours, indices.reshape(packed.shape).astype(np.uint8)
    from PIL import Image as Pictures

    picture = Pictures.fromarray(np.ascontiguousarray(data)).quantize(room, Pictures.Quantize.MEDIANCUT)
    return np.array(picture.getpalette(), np.uint8).reshape(-1, 3), np.asarray(picture)
