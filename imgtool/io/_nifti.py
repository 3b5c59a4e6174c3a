"""Displacement fields as NIfTI files, the way ITK writes them: vectors x, y in its physical space, with intent 1007.

https://nifti.nimh.nih.gov/nifti-1/documentation
"""

import gzip
import math
import struct
import zlib
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import ImgtoolError
from ._image import Array

_HEADER, _OFFSET, _LARGEST_OFFSET = 348, 352, 1 << 24
_VECTOR = 1007
_TYPES = {16: "f4", 64: "f8"}
_MILLIMETRES, _SCANNER = 2, 1
# NIfTI's axes point to the right, the front and the top, those of ITK to the left, the back and the top.
_TO_ITK = np.diag([-1.0, -1.0, 1.0])


class _Header(NamedTuple):
    shape: tuple[int, int]  # height, width
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    matrix: Array  # (2, 2), from pixels to ITK's physical units


def read_field(stream: BinaryIO, max_pixels: int) -> Array:
    """The field of a .nii or .nii.gz stream as (height, width, 2), in pixels."""
    compressed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    content: Any = gzip.GzipFile(fileobj=stream) if compressed else stream
    try:
        head = content.read(_OFFSET)
        header = _header(head)
        height, width = header.shape
        if height * width > max_pixels:
            raise ImgtoolError(
                f"{width} x {height} is {height * width} pixels and the limit is {max_pixels}; raise max_pixels"
            )
        content.read(max(0, header.offset - len(head)))
        size = 2 * height * width * header.dtype.itemsize
        values = content.read(size)
    except (EOFError, OSError, zlib.error):
        raise ImgtoolError("the NIfTI file is damaged or cut off") from None
    if len(values) < size:
        raise ImgtoolError("the NIfTI file is cut off; copy or download it again")
    planes = np.frombuffer(values, header.dtype).reshape(2, height, width)
    field = np.moveaxis(planes, 0, -1).astype(header.dtype.newbyteorder("="), order="C")
    if header.slope not in (0, 1) or header.intercept != 0:
        field = field * header.slope + header.intercept
    return field if np.array_equal(header.matrix, np.eye(2)) else field @ np.linalg.inv(header.matrix).T


def _header(head: bytes) -> _Header:
    if len(head) < _HEADER or head[344:348] != b"n+1\0":
        raise ImgtoolError("not a NIfTI-1 file in one piece (.nii or .nii.gz)")
    order = "<" if struct.unpack_from("<i", head)[0] == _HEADER else ">"
    dimensions = struct.unpack_from(f"{order}8h", head, 40)
    (intent, kind), spacing = struct.unpack_from(f"{order}2h", head, 68), struct.unpack_from(f"{order}8f", head, 76)
    offset, slope, intercept = struct.unpack_from(f"{order}3f", head, 108)
    axes, width, height, depth, times, components = dimensions[:6]
    if intent != _VECTOR or axes != 5 or (depth, times, components) != (1, 1, 2) or min(width, height) < 1:
        raise ImgtoolError("not a displacement field of the plane, which has 5 axes (X, Y, 1, 1, 2) and intent 1007")
    if kind not in _TYPES:
        raise ImgtoolError(f"NIfTI fields of data type {kind} are not read; write them as float32 or float64")
    if not _OFFSET <= offset <= _LARGEST_OFFSET:
        raise ImgtoolError("the NIfTI file is damaged: its data begin nowhere")
    slope, intercept = (slope, intercept) if math.isfinite(slope) and math.isfinite(intercept) else (1.0, 0.0)
    matrix = _orientation(head, order, spacing)
    return _Header((height, width), np.dtype(order + _TYPES[kind]), int(offset), slope, intercept, matrix)


def _orientation(head: bytes, order: str, spacing: tuple[float, ...]) -> Array:
    """The matrix from pixels to ITK's physical units, of the plane alone."""
    (qform, sform) = struct.unpack_from(f"{order}2h", head, 252)
    if sform > 0:
        matrix = np.array(struct.unpack_from(f"{order}12f", head, 280)).reshape(3, 4)[:, :3]
    elif qform > 0:
        b, c, d = struct.unpack_from(f"{order}3f", head, 256)
        a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
        turn = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        # The first entry of the spacings is the handedness: -1 turns the third axis around, which has one pixel here.
        matrix = turn * np.array(spacing[1:4])
    else:
        matrix = np.diag(spacing[1:4]) @ _TO_ITK
    matrix = _TO_ITK @ matrix
    plane = matrix[:2, :2]
    tilted = np.abs(matrix[2, :2]).max() > 1e-6 * np.abs(plane).max()
    if tilted or not np.isfinite(plane).all() or abs(np.linalg.det(plane)) < 1e-12 * np.abs(plane).max() ** 2:
        raise ImgtoolError("the NIfTI field does not lie in the plane of x and y; resample it to such a plane")
    # Single precision leaves its traces in what is meant to be whole.
    rounded = np.rint(plane)
    return np.asarray(rounded if np.abs(plane - rounded).max() < 1e-6 else plane)


def write_field(stream: BinaryIO, field: Array, compressed: bool) -> None:
    """A field (height, width, 2) in pixels as .nii or .nii.gz, with pixels of spacing 1 and the first one at 0, 0."""
    height, width = field.shape[:2]
    kind = 16 if field.dtype == np.float32 else 64
    if max(height, width) > 32767:
        raise ImgtoolError("NIfTI-1 files hold at most 32767 pixels on a side; write .npz or .tif")
    head = bytearray(_OFFSET)
    struct.pack_into("<i", head, 0, _HEADER)
    struct.pack_into("<8h", head, 40, 5, width, height, 1, 1, 2, 1, 1)
    struct.pack_into("<3h", head, 68, _VECTOR, kind, 32 if kind == 16 else 64)
    struct.pack_into("<8f", head, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<3f", head, 108, _OFFSET, 1, 0)
    head[123] = _MILLIMETRES
    struct.pack_into("<2h6f", head, 252, _SCANNER, _SCANNER, 0, 0, 1, 0, 0, 0)
    struct.pack_into("<12f", head, 280, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0)
    head[344:348] = b"n+1\0"
    planes = np.moveaxis(field, -1, 0).astype(np.dtype("<" + _TYPES[kind]), order="C")
    if not compressed:
        stream.write(head)
        stream.write(planes.tobytes())
        return
    # No name and no time: the same field gives the same bytes.
    with gzip.GzipFile("", "wb", 6, stream, mtime=0) as packed:
        packed.write(head)
        packed.write(planes.tobytes())
