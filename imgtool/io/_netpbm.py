"""PBM, PGM, PPM and PFM, which Pillow reads with 16-bit colour cut to 8 bits."""

import re
from typing import BinaryIO

import numpy as np

from ..errors import ImgtoolError
from ._image import Array, Image, Info, Source, layout

_HEADER_LIMIT = 1 << 16  # comments included
_GAP = rb"(?:\s|#[^\n]*\n)+"
_FIELD = rb"([-+.\deE]+)"


def open_image(stream: BinaryIO, format_name: str) -> Source:
    """The header of a PNM or PFM stream."""
    head = stream.read(_HEADER_LIMIT)
    kind = head[:2]
    bilevel = kind in (b"P1", b"P4")
    pattern = kind + (_GAP + _FIELD) * (2 if bilevel else 3) + rb"(?:#[^\n]*\n)?\s"
    match = re.match(pattern, head)
    try:
        if match is None:
            raise ValueError
        width, height = int(match[1]), int(match[2])
        limit = 1 if bilevel else float(match[3]) if format_name == "PFM" else int(match[3])
    except ValueError:
        raise ImgtoolError(f"the {format_name} header is damaged") from None
    if width < 1 or height < 1 or not (np.isfinite(limit) and limit if format_name == "PFM" else 0 < limit < 1 << 16):
        raise ImgtoolError(f"the {format_name} header is damaged")
    channels = 3 if kind in (b"P3", b"P6", b"PF") else 1
    shape, channel_axis = layout(height, width, channels)
    dtype = np.dtype("float32" if format_name == "PFM" else "bool" if bilevel else "uint8" if limit < 256 else "uint16")
    start = match.end()

    def decode() -> Array:
        stream.seek(start)
        body = stream.read()
        if format_name == "PFM":
            rows = _samples(body, "<f4" if limit < 0 else ">f4", shape)
            return rows[::-1].astype(np.float32)
        if kind == b"P4":
            packed = _samples(body, "u1", (height, (width + 7) // 8))
            return ~np.unpackbits(packed, axis=1, count=width).astype(bool)
        if kind in (b"P1", b"P2", b"P3"):
            return _scaled(_plain(body, shape, bilevel), int(limit), dtype)
        return _scaled(_samples(body, "u1" if limit < 256 else ">u2", shape), int(limit), dtype)

    # Of PFM the sign is the byte order; what is left are the units of the values, which stay as they are.
    metadata = {"scale": abs(limit)} if format_name == "PFM" and abs(limit) != 1 else {}
    return Source(Info(format_name, shape, dtype, channel_axis), metadata, decode)


def _samples(body: bytes, dtype: str, shape: tuple[int, ...]) -> Array:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if len(body) < size:
        raise ImgtoolError("the file is cut off; copy or download it again")
    if re.match(rb"\s*P[1-7]\s", body[size : size + 64]):
        raise ImgtoolError("the file holds several images; split it with pamsplit")
    return np.frombuffer(body[:size], dtype).reshape(shape)


def _plain(body: bytes, shape: tuple[int, ...], bilevel: bool) -> Array:
    """Samples written as decimal numbers; those of a PBM need no space between them and 1 is black."""
    text = re.sub(rb"#[^\n]*", b"", body)
    count = int(np.prod(shape))
    if bilevel:
        digits = np.frombuffer(b"".join(text.split())[:count], np.uint8)
        values = (1 - (digits.astype(np.int64) - ord("0"))).reshape(-1)
    else:
        values = np.array(text.split(maxsplit=count)[:count], dtype="S6").astype(np.int64)
    if values.size < count:
        raise ImgtoolError("the file is cut off; copy or download it again")
    return values.reshape(shape)


def _scaled(values: Array, limit: int, dtype: np.dtype[np.generic]) -> Array:
    """Samples are fractions of the header's maximum: 0..limit becomes the whole range of `dtype`."""
    if values.min() < 0 or values.max() > limit:
        raise ImgtoolError(f"the file is damaged: samples lie outside the range of 0 to {limit} that its header gives")
    if dtype.kind == "b":
        return values.astype(bool)
    full = 255 if dtype.itemsize == 1 else 65535
    return (
        values.astype(dtype)
        if limit == full
        else ((values.astype(np.int64) * full + limit // 2) // limit).astype(dtype)
    )


def write_image(stream: BinaryIO, image: Image, format_name: str) -> None:
    """`image` as binary PBM, PGM, PPM or PFM."""
    (data,) = image.pages
    height, width = data.shape[:2]
    colour = data.ndim == 3
    if format_name == "PFM":
        scale = image.metadata.get("scale", 1.0)
        stream.write(f"{'PF' if colour else 'Pf'}\n{width} {height}\n{-scale}\n".encode())
        stream.write(data[::-1].astype("<f4").tobytes())
    elif data.dtype == bool:
        stream.write(f"P4\n{width} {height}\n".encode())
        stream.write(np.packbits(~data, axis=1).tobytes())
    else:
        stream.write(f"{'P6' if colour else 'P5'}\n{width} {height}\n{np.iinfo(data.dtype).max}\n".encode())
        stream.write(data.astype(data.dtype.newbyteorder(">")).tobytes())
