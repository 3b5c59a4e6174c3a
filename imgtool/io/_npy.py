"""NumPy's own files: an array, or an archive that holds one; never with pickles."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from os import SEEK_END
from tokenize import TokenError
from typing import IO, Any, BinaryIO

import numpy as np

from ..errors import ImgtoolError
from ._image import Array, Image, Info, Source, mapped


def header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape, whether the order is Fortran's, and the dtype of the array that follows in a .npy stream.

    Raises
    ------
    ValueError
        If the header is damaged.
    ImgtoolError
        If it is of a version that no plain array needs.
    """
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(stream)
    if version not in readers:
        raise ImgtoolError(f"version {version[0]}.{version[1]} of the NPY format holds no plain array of numbers")
    try:
        return readers[version](stream)
    except TokenError:  # what NumPy's parser of old headers ends in
        raise ValueError("the header is damaged") from None


def open_image(stream: BinaryIO, format_name: str) -> Source:
    """The header of a .npy or .npz stream."""
    if format_name == "NPY":
        end = stream.seek(0, SEEK_END)
        stream.seek(0)
        return _source(stream, end, format_name)
    from zipfile import ZipFile  # 10 ms at start for the one format that needs it

    archive = ZipFile(stream)
    names = archive.namelist()
    if len(names) != 1:
        some = ", ".join(name.removesuffix(".npy") for name in names)[:80]
        raise ImgtoolError(f"the NPZ file holds {len(names)} arrays ({some}); save one of them as .npy")
    return _source(archive.open(names[0]), archive.getinfo(names[0]).file_size, format_name)


def _source(stream: IO[bytes], end: int, format_name: str) -> Source:
    shape, fortran, dtype = header(stream)
    if dtype.kind not in "biufc" or dtype.char in "gG":
        raise ImgtoolError(
            f"an array of {dtype} is not an image; save integers, floats up to float64 or complex numbers"
        )
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise ImgtoolError(f"an array of shape {shape} is not an image; it needs 2 to 4 axes, none of them empty")
    start = stream.tell()
    if end - start < prod(shape) * dtype.itemsize:
        raise ImgtoolError(f"the {format_name} file is cut off; copy or download it again")
    native = dtype.newbyteorder("=")
    channel_axis = _channel_axis(shape)
    pages = shape[0] if len(shape) - (channel_axis is not None) == 3 else 1

    def decode() -> Array:
        in_file = None if fortran else mapped(stream, dtype, start, shape)
        if in_file is not None:
            return in_file
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False).astype(native, order="C", copy=False)

    def decode_page(number: int) -> Array:
        inside = shape[pages > 1 :]
        stream.seek(start + number * prod(inside) * dtype.itemsize)
        values = np.frombuffer(stream.read(prod(inside) * dtype.itemsize), dtype)
        return values.astype(native, copy=False).reshape(inside)

    has_alpha = channel_axis is not None and shape[-1] in (2, 4)
    info = Info(format_name, shape, native, channel_axis, pages, has_alpha)
    return Source(info, {}, decode, None if fortran else decode_page)


def _channel_axis(shape: tuple[int, ...]) -> int | None:
    """The file says nothing about channels: a last axis of 2 to 4 of three is taken for them, and any of four."""
    return -1 if len(shape) == 4 or (len(shape) == 3 and 2 <= shape[-1] <= 4) else None


def write_image(stream: BinaryIO, image: Image, format_name: str) -> None:
    """`image` as .npy or .npz, if reading it gives the same image."""
    _check_shape(image.data.shape, image.channel_axis)
    with _member(stream, format_name) as content:
        np.lib.format.write_array(content, np.ascontiguousarray(image.data), allow_pickle=False)


@contextmanager
def _member(stream: BinaryIO, format_name: str) -> Iterator[IO[bytes]]:
    """Where the array goes: the file itself, or what numpy.savez calls its first array, neither packed nor dated."""
    if format_name == "NPY":
        yield stream
        return
    from zipfile import ZipFile, ZipInfo

    with ZipFile(stream, "w") as archive, archive.open(ZipInfo("arr_0.npy"), "w", force_zip64=True) as member:
        yield member


@contextmanager
def page_writer(stream: BinaryIO, first: Image, pages: int, format_name: str) -> Iterator[Callable[[Array], object]]:
    """What writes page after page as `write_image` writes all at once; `first` is the first of them."""
    shape = (pages, *first.data.shape)
    _check_shape(shape, first.channel_axis)
    header = {
        "descr": np.lib.format.dtype_to_descr(first.data.dtype),
        "fortran_order": False,
        "shape": shape,
    }
    with _member(stream, format_name) as content:
        np.lib.format.write_array_header_1_0(content, header)
        yield lambda page: content.write(np.ascontiguousarray(page).data)


def _check_shape(shape: tuple[int, ...], channel_axis: int | None) -> None:
    if _channel_axis(shape) != channel_axis:
        raise ImgtoolError(f"in an NPY file, pages and channels of shape {shape} would be mistaken; use .tif")
