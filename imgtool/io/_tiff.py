"""TIFF through tifffile, which keeps every depth; libtiff (by way of Pillow) where tifffile has no decoder."""

import re
from os import SEEK_END
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImgtoolError
from . import _pillow
from ._exif import upright
from ._image import Array, Info, Metadata, Source, layout, mapped
from ._tifftags import metadata_of, tifffile
from ._tiffwriter import page_writer, unfit

__all__ = ["open_image", "page_writer", "unfit"]

_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _MASK, _CMYK, _YCBCR, _CFA, _LINEAR_RAW = 0, 1, 2, 3, 4, 5, 6, 32803, 34892
_COLOURS = {_RGB: 3, _YCBCR: 3, _LINEAR_RAW: 3, _CMYK: 4}
_READABLE = {_MINISWHITE, _MINISBLACK, _PALETTE, _MASK, _CFA, *_COLOURS}
_NONE, _OLD_JPEG, _JPEG = 1, 6, 7
_ASSOCIATED, _UNASSOCIATED = 1, 2


def open_image(stream: BinaryIO, _format: str) -> Source:
    """The header and metadata of a TIFF stream."""
    file = tifffile().TiffFile(stream)
    pages, others = _pages(file)
    if not pages:
        raise ImgtoolError("the TIFF file holds no image")
    first = pages[0]
    if any(_kind(page) != _kind(first) for page in pages):
        sizes = " and ".join(sorted({f"{page.imagewidth} x {page.imagelength} {page.dtype}" for page in pages})[:3])
        raise ImgtoolError(f"the pages of the TIFF file differ ({sizes}); split it with tiffsplit")
    if first.photometric not in _READABLE:
        raise ImgtoolError(f"TIFF images of the kind {_name(first.photometric)} are not supported; convert it to RGB")
    metadata = metadata_of(file, pages)
    if others:
        metadata["further_images"] = others
    subsampled = (
        first.photometric == _YCBCR and first.compression != _JPEG and tuple(first.subsampling or (1, 1)) != (1, 1)
    )
    if first.compression == _OLD_JPEG or subsampled:
        return _by_libtiff(stream, len(pages), metadata)
    if first.dtype is None or first.dtype.kind not in "biufc":
        raise ImgtoolError(f"TIFF samples of {first.bitspersample} bits are not supported; convert it to 8 or 16 bits")

    # A JPEG decoder would fill in what is missing.
    end = stream.seek(0, SEEK_END)
    if any(page.compression != _NONE and _end(page) > end for page in pages):
        raise ImgtoolError("the TIFF file is cut off; copy or download it again")
    separate, depth, height, width, contiguous = first.shaped
    samples = separate * contiguous
    extras: tuple[int, ...] = tuple(first.extrasamples) if samples > _COLOURS.get(first.photometric, 1) else ()
    alpha = bool(extras) and extras[-1] in (_ASSOCIATED, _UNASSOCIATED)
    if first.photometric == _PALETTE and (samples > 1 or first.colormap is None):
        raise ImgtoolError("TIFF images with a palette and further samples are not supported; convert it to RGB")
    # ImageJ stores a stack of more than 4 GiB as one page and a note about what follows it.
    hidden: Any = file.series[0] if len(pages) == 1 and (file.is_imagej or file.is_shaped) else None
    count = hidden.size // first.size if hidden is not None and hidden.size > first.size else len(pages) * depth
    if hidden is not None and count == 1 and file.is_imagej and _second_begins(first, end):
        raise ImgtoolError("the TIFF file is cut off; copy or download it again")
    channels = 3 if first.photometric == _PALETTE else samples
    shape, channel_axis = layout(height, width, channels, count)
    dtype = np.dtype("uint8") if first.photometric == _PALETTE else first.dtype.newbyteorder("=")
    info = Info("TIFF", shape, dtype, channel_axis, count, alpha)

    stacked = count != len(pages) * depth
    plain = first.is_memmappable and first.photometric in (_MINISBLACK, _RGB) and _ASSOCIATED not in extras[-1:]

    def decode() -> Array:
        if plain and len(pages) == count == separate == depth == 1:
            in_file = mapped(stream, np.dtype(file.byteorder + first.dtype.str[1:]), first.dataoffsets[0], shape)
            if in_file is not None:
                return in_file
        blocks = ((first, hidden.asarray()),) if stacked else ((page, page.asarray(maxworkers=1)) for page in pages)
        # One page in memory besides the result, and a single one is the result.
        planes = (_as_light(page, block).astype(dtype, copy=False) for page, block in blocks)
        if stacked or len(pages) == 1:
            data = next(planes)
        else:
            data = np.empty((count, height, width, channels), dtype)
            for place, part in enumerate(planes):
                data[place * depth : (place + 1) * depth] = part
        return (_unmultiplied(data) if alpha and extras[-1] == _ASSOCIATED else data).reshape(shape)

    def decode_page(number: int) -> Array:
        page = first if stacked else pages[number]
        block = _behind(stream, file, hidden.dataoffset, first, number) if stacked else page.asarray(maxworkers=1)
        data = _as_light(page, block).astype(dtype, copy=False)
        return (_unmultiplied(data) if alpha and extras[-1] == _ASSOCIATED else data).reshape(shape[count > 1 :])

    if first.photometric == _CMYK:
        metadata["mode"] = "CMYK"
    elif first.photometric == _RGB and channels > 3 + alpha:
        metadata["mode"] = "RGB"
    if alpha != (channels in (2, 4)):
        metadata["alpha"] = alpha
    singly = count == len(pages) or (stacked and depth == 1 and first.is_memmappable and hidden.dataoffset is not None)
    return Source(info, metadata, decode, decode_page if singly else None)


def _pages(file: Any) -> tuple[list[Any], int]:
    """The pages proper, and how many images there are besides.

    A reduced copy of an image is no page (bit 0 of NewSubfileType), nor is one in a directory below. Slides of Aperio
    have the tissue first, then reduced copies without that bit, a label and the like.
    """
    pages, places = [], set[int]()
    for page in file.pages:
        if page.offset in places:
            raise ImgtoolError("the TIFF file is damaged (its list of pages runs in a circle)")
        places.add(page.offset)
        if not page.subfiletype & 1:
            pages.append(page)
    if file.is_svs:
        del pages[1:]
    return pages, len(places) - len(pages) + sum(len(page.subifds or ()) for page in pages)


def _kind(page: Any) -> tuple[Any, ...]:
    return (page.shaped, page.dtype, page.photometric, page.bitspersample, page.extrasamples)


def _name(photometric: Any) -> str:
    return str(getattr(photometric, "name", photometric))


def _end(page: Any) -> int:
    """Where the last strip or tile of a page ends."""
    return max((start + size for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)


def _by_libtiff(stream: BinaryIO, pages: int, metadata: Metadata) -> Source:
    """Old-style JPEG, and subsampled colour without JPEG, which tifffile does not decode."""
    if pages > 1:
        raise ImgtoolError("several pages of JPEG-in-TIFF of the old style are not supported; split it with tiffsplit")
    if metadata.pop("orientation", 1) != 1 and "exif" in metadata:
        metadata["exif"] = upright(metadata["exif"])  # Pillow's TIFF decoder, and only that, turns the pixels
    stream.seek(0)
    source = _pillow.open_image(stream, "TIFF")
    return Source(source.info, metadata, source.decode)


def _second_begins(first: Any, end: int) -> bool:
    """Whether there are pixels of another page behind the first; less may be what other programs left."""
    several = re.search(r"^images=(?!1\b)\d", first.description, re.MULTILINE)
    return bool(several and first.compression == _NONE and first.dataoffsets[0] + 2 * first.nbytes <= end)


def _behind(stream: BinaryIO, file: Any, start: int, first: Any, number: int) -> Array:
    """The samples of a page that lies behind the first without a directory of its own."""
    stream.seek(start + number * first.nbytes)
    content = stream.read(first.nbytes)
    if len(content) < first.nbytes:
        raise ImgtoolError("the TIFF file is cut off; copy or download it again")
    return np.frombuffer(content, file.byteorder + first.dtype.str[1:])


def _as_light(page: Any, block: Array) -> Array:
    """The samples of one page or more as (pages, H, W, C) such that 0 is dark.

    Palettes are applied, white-is-zero is inverted, and less than 8 bits are spread over 8.
    """
    # tifffile's order: separate samples, depth, rows, columns, interleaved samples.
    planes = np.moveaxis(block.reshape(-1, *page.shaped), 1, 4)
    planes = planes.reshape(-1, *planes.shape[2:4], planes.shape[4] * planes.shape[5])
    bits = page.bitspersample if isinstance(page.bitspersample, int) else planes.dtype.itemsize * 8
    if page.photometric == _PALETTE:
        table = np.asarray(page.colormap)
        # Some writers store 8-bit values where the standard wants 16-bit ones.
        table = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
        return np.moveaxis(table[:, planes[..., 0].astype(np.intp)], 0, -1)
    if planes.dtype.kind not in "bu":
        return planes
    full = (1 << bits) - 1
    if page.photometric == _MINISWHITE:  # which is said of the gray sample, not of alpha
        planes = planes.copy()
        gray = planes[..., 0]
        planes[..., 0] = ~gray if gray.dtype.kind == "b" else full - gray
    if 1 < bits < 8:
        planes = (planes.astype(np.uint16) * 255 + full // 2) // full
    return planes


def _unmultiplied(data: Array) -> Array:
    """Colour that was stored times opacity, as it is everywhere else: on its own."""
    integer = data.dtype.kind in "iu"
    full = np.iinfo(data.dtype).max if integer else 1.0
    alpha = data[..., -1:].astype(np.float64) / full
    with np.errstate(divide="ignore", invalid="ignore"):
        colour = np.where(alpha > 0, data[..., :-1] / alpha, 0)
    colour = np.rint(np.minimum(colour, full)) if integer else colour
    return np.concatenate([colour.astype(data.dtype), data[..., -1:]], axis=-1)
