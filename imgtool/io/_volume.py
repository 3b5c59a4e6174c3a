"""Images in NIfTI files: the planes of a volume, or of several, as pages; the header goes with them.

https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and nifti2.h beside it
"""

import gzip
import math
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import SEEK_END
from typing import Any, BinaryIO, Literal

import numpy as np

from ..errors import ImgtoolError
from ._image import Array, Image, Info, Metadata, Source, layout

_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 256: "i1", 512: "u2", 768: "u4"} | {
    1024: "i8",
    1280: "u8",
    1792: "c16",
}
_COLOURS = {128: 3, 2304: 4}
_CODES = {np.dtype(text).name: code for code, text in _TYPES.items()}
_LARGEST_OFFSET = 1 << 24
_DEFLATE_LIMIT = 1032  # bytes that deflate packs into one at most
_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # metres, millimetres, micrometres


@dataclass(frozen=True)
class _Fields:
    """Where a version of the header has its fields, and of which type."""

    size: int
    dim: tuple[int, str]
    datatype: tuple[int, str]
    pixdim: tuple[int, str]
    offset: tuple[int, str]
    scaling: tuple[int, str]
    display: tuple[int, str]
    units: tuple[int, str]
    largest: int


_ONE = _Fields(
    348, (40, "8h"), (70, "2h"), (76, "8f"), (108, "f"), (112, "2f"), (124, "2f"), (123, "B"), largest=(1 << 15) - 1
)
_TWO = _Fields(
    540, (16, "8q"), (12, "2h"), (104, "8d"), (168, "q"), (176, "2d"), (192, "2d"), (500, "i"), largest=(1 << 31) - 1
)


class _Header:
    """A header by its bytes, which may be followed by extensions."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.fields = _TWO if _TWO.size in struct.unpack("<i", content[:4]) + struct.unpack(">i", content[:4]) else _ONE
        self.order: Literal["<", ">"] = "<" if struct.unpack("<i", content[:4])[0] == self.fields.size else ">"

    def get(self, place: tuple[int, str]) -> tuple[Any, ...]:
        return struct.unpack_from(self.order + place[1], self.content, place[0])

    @property
    def axes(self) -> tuple[int, ...]:
        """The sizes of the axes x, y, z, time, ..."""
        count, *sizes = self.get(self.fields.dim)
        return tuple(sizes[:count])

    @property
    def scaling(self) -> tuple[float, float] | None:
        """Slope and intercept of the values, if they are not what is stored."""
        slope, intercept = self.get(self.fields.scaling)
        plain = slope in (0, 1) and intercept == 0
        return (
            None if plain or not (math.isfinite(slope) and math.isfinite(intercept) and slope) else (slope, intercept)
        )

    def changed(self, image: Image, pages: int) -> bytes:
        """The header for values of another type, of the same size; without a scaling, and without a range to show."""
        content = bytearray(self.content)

        def put(place: tuple[int, str], *values: Any) -> None:
            struct.pack_into(self.order + place[1], content, place[0], *values)

        colours = {channels: code for code, channels in _COLOURS.items()}
        code = _CODES[image.data.dtype.name] if image.channel_axis is None else colours[image.channels]
        put(self.fields.datatype, code, 8 * image.data.dtype.itemsize * image.channels)
        put(self.fields.scaling, 1, 0)
        put(self.fields.display, 0, 0)
        put(self.fields.offset, len(content))
        return bytes(content)


def _header(content: Any) -> _Header:
    """The header of an opened file, with what stands between it and the data."""
    head = content.read(_TWO.size + 4)
    if len(head) < _ONE.size + 4:
        raise ImgtoolError("the NIfTI file is cut off; copy or download it again")
    header = _Header(head)
    (offset,) = header.get(header.fields.offset)
    if not header.fields.size <= offset <= _LARGEST_OFFSET:
        raise ImgtoolError("the NIfTI file is damaged: its data begin nowhere")
    content.seek(0)
    return _Header(content.read(int(offset)))


def open_image(stream: BinaryIO, _format: str) -> Source:
    """The header of a .nii or .nii.gz stream."""
    compressed = stream.read(2) == b"\x1f\x8b"
    size = stream.seek(0, SEEK_END) * (_DEFLATE_LIMIT if compressed else 1)
    stream.seek(0)
    content: Any = gzip.GzipFile(fileobj=stream) if compressed else stream
    header = _header(content)
    axes, (code, _) = header.axes, header.get(header.fields.datatype)
    if not 2 <= len(axes) <= 4 or min(axes) < 1:
        raise ImgtoolError(
            f"a NIfTI file of {len(axes)} axes is not an image; it needs x and y, and may have z and time"
        )
    if code not in _TYPES and code not in _COLOURS:
        raise ImgtoolError(f"NIfTI data of type {code} are not read; convert them to integers or floats")
    channels = _COLOURS.get(code, 1)
    stored = np.dtype(_TYPES.get(code, "u1")).newbyteorder(header.order)
    width, height, *others = axes
    pages = math.prod(others)
    length = height * width * channels * stored.itemsize
    if len(header.content) + pages * length > size:
        raise ImgtoolError("the NIfTI file is cut off; copy or download it again")
    scaling = header.scaling if channels == 1 and stored.kind in "iuf" else None
    exact = stored.itemsize <= 2 or stored == np.dtype("f4").newbyteorder(header.order)
    dtype = stored.newbyteorder("=") if scaling is None else np.dtype("f4" if exact else "f8")
    shape, channel_axis = layout(height, width, channels, pages)

    def decode_page(number: int) -> Array:
        content.seek(len(header.content) + number * length)
        page = content.read(length)
        if len(page) < length:
            raise ImgtoolError("the NIfTI file is cut off; copy or download it again")
        data = np.frombuffer(page, stored)
        if scaling is not None:
            data = data * np.float64(scaling[0]) + scaling[1]
        return data.astype(dtype).reshape(shape[pages > 1 :])

    def decode() -> Array:
        out = np.empty((pages, *shape[pages > 1 :]), dtype)
        for number in range(pages):
            out[number] = decode_page(number)
        return out.reshape(shape)

    volumes = math.prod(others[1:])
    info = Info("NIfTI", shape, dtype, channel_axis, pages, channels == 4, volumes=volumes)
    metadata: Metadata = {"nifti": header.content}
    if channels == 3:
        metadata["mode"] = "RGB"
    return Source(info, metadata, decode, decode_page)


def fits(image: Image, pages: int) -> bool:
    """Whether the header that came with the image is for so many pages of its size."""
    if "nifti" not in image.metadata:
        return False
    width, height, *others = _Header(image.metadata["nifti"]).axes
    return (pages, height, width) == (math.prod(others), *image.pages[0].shape[:2])


def spacing(content: bytes) -> dict[str, Any]:
    """Sizes of axes, and of pixels in millimetres, as a header tells them."""
    header = _Header(content)
    (units,) = header.get(header.fields.units)
    scale = _MM.get(units & 7, 1.0)
    _, *sizes = header.get(header.fields.pixdim)
    names = ("X", "Y", "Z", "T")[: len(header.axes)]
    return {
        "axes": dict(reversed(list(zip(names, header.axes, strict=True)))),
        "pixel_size": {name.lower(): (float(n) * scale, "mm") for name, n in zip(names[:3], sizes, strict=False)},
    }


def _new(image: Image, pages: int) -> _Header:
    """A header for pixels of one millimetre; x leads to the left and y to the back, as where ITK has no other word."""
    height, width = image.pages[0].shape[:2]
    if max(height, width, pages) > _ONE.largest:
        raise ImgtoolError(f"NIfTI-1 files hold at most {_ONE.largest} pixels on a side; write .tif or .npy")
    head = bytearray(_ONE.size + 4)
    struct.pack_into("<i", head, 0, _ONE.size)
    struct.pack_into("<8h", head, 40, 3, width, height, pages, 1, 1, 1, 1)
    struct.pack_into("<8f", head, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    head[123] = 2
    struct.pack_into("<2h6f", head, 252, 1, 1, 0, 0, 1, 0, 0, 0)
    struct.pack_into("<12f", head, 280, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0)
    head[344:348] = b"n+1\0"
    return _Header(bytes(head))


@contextmanager
def page_writer(stream: BinaryIO, first: Image, pages: int, format_name: str) -> Iterator[Callable[[Array], None]]:
    """What writes page after page."""
    header = _Header(first.metadata["nifti"]) if fits(first, pages) else _new(first, pages)
    with ExitStack() as opened:
        content: Any = stream
        if format_name == "NIfTI.gz":  # without name and time: the same image gives the same bytes
            content = opened.enter_context(gzip.GzipFile("", "wb", 6, stream, mtime=0))
        content.write(header.changed(first, pages))
        stored = first.data.dtype.newbyteorder(header.order)
        yield lambda page: content.write(np.ascontiguousarray(page, stored).data)
