"""TIFF through tifffile, which keeps every depth; libtiff (by way of Pillow) where tifffile has no decoder."""

import logging
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from os import SEEK_END
from typing import Any, BinaryIO

import numpy as np

from ..errors import ImgtoolError
from . import _ome, _pillow
from ._exif import (
    EXIF,
    GPS,
    ORIENTATION,
    TEXTS,
    Tag,
    Tags,
    block_of,
    directory,
    orientation_of,
    tags_at,
    tags_of,
    upright,
)
from ._image import Array, Image, Info, Metadata, Source, layout, mapped

_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _MASK, _CMYK, _YCBCR, _CFA, _LINEAR_RAW = 0, 1, 2, 3, 4, 5, 6, 32803, 34892
_COLOURS = {_RGB: 3, _YCBCR: 3, _LINEAR_RAW: 3, _CMYK: 4}
_READABLE = {_MINISWHITE, _MINISBLACK, _PALETTE, _MASK, _CFA, *_COLOURS}
_NONE, _OLD_JPEG, _JPEG = 1, 6, 7
_ASSOCIATED, _UNASSOCIATED = 1, 2
_XMP, _DESCRIPTION, _ICC, _X, _Y, _UNIT = 700, 270, 34675, 282, 283, 296
_NO_RESOLUTION = (1.0, 1.0, 1)  # what tifffile writes where there is none to write
_UNITS = {1: "none", 2: "inch", 3: "cm"}
# Pixel scale, tie points, matrix, the three of GeoTIFF's keys, and GDAL's notes and value of missing data.
_GEO = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
_COMPRESSIONS = {5: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits", 50000: "zstd"}
_CODECS = {"lzw": "lzw", "deflate": "zlib", "packbits": "packbits", "zstd": "zstd"}
# Effort of those that know it: the fastest of deflate, and where zstd begins to be smaller than that.
_LEVELS = {"deflate": 1, "zstd": 1}
# Classic TIFF counts bytes in 32 bits; the margin is for its directories.
_BIG = (1 << 32) - (1 << 25)


def _tifffile() -> Any:
    import tifffile

    logger = logging.getLogger("tifffile")
    if not logger.handlers:  # or its remarks on odd files go to stderr in a program that has set up no logging
        logger.addHandler(logging.NullHandler())
    return tifffile


def open_image(stream: BinaryIO, _format: str) -> Source:
    """The header and metadata of a TIFF stream."""
    file = _tifffile().TiffFile(stream)
    pages = _pages(file)
    if not pages:
        raise ImgtoolError("the TIFF file holds no image")
    first = pages[0]
    if any(_kind(page) != _kind(first) for page in pages):
        sizes = " and ".join(sorted({f"{page.imagewidth} x {page.imagelength} {page.dtype}" for page in pages})[:3])
        raise ImgtoolError(f"the pages of the TIFF file differ ({sizes}); split it with tiffsplit")
    if first.photometric not in _READABLE:
        raise ImgtoolError(f"TIFF images of the kind {_name(first.photometric)} are not supported; convert it to RGB")
    subsampled = (
        first.photometric == _YCBCR and first.compression != _JPEG and tuple(first.subsampling or (1, 1)) != (1, 1)
    )
    if first.compression == _OLD_JPEG or subsampled:
        return _by_libtiff(stream, len(pages), _metadata(file, first))
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
    channels = 3 if first.photometric == _PALETTE else samples
    shape, channel_axis = layout(height, width, channels, count)
    dtype = np.dtype("uint8") if first.photometric == _PALETTE else first.dtype.newbyteorder("=")
    info = Info("TIFF", shape, dtype, channel_axis, count, alpha)

    plain = first.is_memmappable and first.photometric in (_MINISBLACK, _RGB) and _ASSOCIATED not in extras[-1:]

    def decode() -> Array:
        if plain and len(pages) == count == separate == depth == 1:
            in_file = mapped(stream, np.dtype(file.byteorder + first.dtype.str[1:]), first.dataoffsets[0], shape)
            if in_file is not None:
                return in_file
        stacked = count != len(pages) * depth
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
        data = _as_light(pages[number], pages[number].asarray(maxworkers=1)).astype(dtype, copy=False)
        return (_unmultiplied(data) if alpha and extras[-1] == _ASSOCIATED else data).reshape(shape[count > 1 :])

    metadata = _metadata(file, first)
    if first.photometric == _CMYK:
        metadata["mode"] = "CMYK"
    elif first.photometric == _RGB and channels > 3 + alpha:
        metadata["mode"] = "RGB"
    if alpha != (channels in (2, 4)):
        metadata["alpha"] = alpha
    return Source(info, metadata, decode, decode_page if count == len(pages) else None)


def _pages(file: Any) -> list[Any]:
    """The pages proper: a reduced copy of an image (bit 0 of NewSubfileType) is none."""
    pages, places = [], set[int]()
    for page in file.pages:
        if page.offset in places:
            raise ImgtoolError("the TIFF file is damaged (its list of pages runs in a circle)")
        places.add(page.offset)
        if not page.subfiletype & 1:
            pages.append(page)
    return pages


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


def _metadata(file: Any, page: Any) -> Metadata:
    found: Metadata = {}
    for key, code in (("icc_profile", _ICC), ("xmp", _XMP)):
        if code in page.tags and isinstance(page.tags[code].value, bytes):
            found[key] = page.tags[code].value
    x, y = (_fraction(page, code) for code in (_X, _Y))
    unit = page.tags[_UNIT].value if _UNIT in page.tags else 2
    if x and y and unit in _UNITS and (x, y, unit) != _NO_RESOLUTION:
        found["resolution"] = (x, y, _UNITS[unit])
    # What tifffile writes there describes the array, and nothing that would be missed.
    if (text := page.description) and not page.is_shaped:
        found["ome_xml" if page.is_ome else "imagej" if page.is_imagej else "description"] = text
    if page.compression in _COMPRESSIONS:
        found["compression"] = _COMPRESSIONS[page.compression]
    tags = _further_tags(file, page)
    if geo := {code: tags.pop(code) for code in _GEO if code in tags}:
        found["geo"] = {"size": (page.imagelength, page.imagewidth), "tags": geo}
    if ORIENTATION in page.tags and page.tags[ORIENTATION].value in range(2, 9):
        found["orientation"] = int(page.tags[ORIENTATION].value)
        if tags:
            tags[ORIENTATION] = Tag(3, found["orientation"].to_bytes(2, "little"))
    if tags:
        found["exif"] = block_of(tags)
    return found


def _further_tags(file: Any, page: Any) -> Tags:
    """What the file says by tags that tifffile does not write as they are: of the camera, the program, the place."""
    handle, wanted = file.filehandle, {*TEXTS, *_GEO, EXIF, GPS}
    if not wanted.intersection(tag.code for tag in page.tags):
        return {}

    def read(place: int, size: int) -> bytes:
        handle.seek(place)
        return bytes(handle.read(size))

    return tags_at(read, page.offset, file.byteorder, big=file.is_bigtiff, only=wanted)


def _fraction(page: Any, code: int) -> float:
    """The value of a tag that holds one positive fraction, or 0."""
    value = page.tags[code].value if code in page.tags else None
    if not (isinstance(value, tuple) and len(value) == 2 and all(isinstance(n, int) and n > 0 for n in value)):
        return 0.0
    return float(value[0] / value[1])


def write_image(stream: BinaryIO, image: Image, format_name: str, *, compression: str | None = None) -> None:
    """`image` as TIFF, every page one of a series, BigTIFF where 4 GiB do not suffice.

    It is compressed as `compression` says ("none" if not at all), or as the TIFF file was that it comes from.
    """
    pages = image.pages
    with page_writer(
        stream, Image(pages[0], image.channel_axis, image.metadata), len(pages), format_name, compression=compression
    ) as write:
        for page in pages:
            write(page)


@contextmanager
def page_writer(
    stream: BinaryIO, first: Image, pages: int, format_name: str, *, compression: str | None = None
) -> Iterator[Callable[[Array], None]]:
    """What writes page after page; `first` is what they are like, with the metadata."""
    big = first.data.nbytes * pages > _BIG
    options = _options(first, pages, format_name, compression)
    tags = {} if "exif" not in first.metadata else tags_of(first.metadata["exif"])
    options["extratags"] += [(code, kind, None, value, True) for code, (kind, value) in tags.items() if code in TEXTS]
    # Pages that are not packed lie behind one another; each of the others is told of anew, but for what is said once.
    whole = "compression" not in options and first.data.dtype != bool
    further = {key: value for key, value in options.items() if key not in ("description", "iccprofile")}
    further["extratags"] = [tag for tag in options["extratags"] if not tag[-1]]
    told = chain([options], repeat(further))
    with _tifffile().TiffWriter(stream, bigtiff=big, byteorder="<", ome=False) as writer:
        yield lambda page: writer.write(np.ascontiguousarray(page), contiguous=whole, **next(told))
    if below := {code: tag for code, tag in tags.items() if code in (EXIF, GPS)}:
        _add_tags(stream, below, big=big)


def _add_tags(stream: BinaryIO, tags: Tags, *, big: bool) -> None:
    """Give the first directory of a little-endian file more tags, which tifffile does not write: it is written anew."""
    head, counting, field, size = (8, "<Q", "<Q", 20) if big else (4, "<H", "<I", 12)
    stream.seek(head)
    (start,) = struct.unpack(field, stream.read(struct.calcsize(field)))
    stream.seek(start)
    (count,) = struct.unpack(counting, stream.read(struct.calcsize(counting)))
    entries = [stream.read(size) for _ in range(count)]
    following = stream.read(struct.calcsize(field))
    place = stream.seek(0, SEEK_END)
    place += stream.write(b"\0" * (place % 2))
    # Where the tags' own directory would lie if it were behind the new one.
    behind = place + struct.calcsize(counting) + (count + len(tags)) * size + struct.calcsize(field)
    added = directory(tags, behind, big=big)
    skipped = struct.calcsize(counting)
    entries += [added[skipped + number * size : skipped + (number + 1) * size] for number in range(len(tags))]
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
    stream.write(struct.pack(counting, len(entries)) + b"".join(entries) + following + added)
    stream.seek(head)
    stream.write(struct.pack(field, place))


def _options(image: Image, pages: int, format_name: str, compression: str | None) -> Metadata:
    """What tifffile is told of a page."""
    metadata, channels = image.metadata, image.channels
    cmyk = metadata.get("mode") == "CMYK" and channels >= 4
    colour = channels == 3 + image.has_alpha or (metadata.get("mode") == "RGB" and channels > 3)
    photometric = "separated" if cmyk else "rgb" if colour else "minisblack"
    extras = channels - {"separated": 4, "rgb": 3, "minisblack": 1}[photometric]
    options: Metadata = {"photometric": photometric, "metadata": None, "software": False}
    if image.channel_axis is not None:
        options["planarconfig"] = "contig"
    if extras:
        options["extrasamples"] = [0] * (extras - 1) + [_UNASSOCIATED if image.has_alpha else 0]
    if "icc_profile" in metadata:
        options["iccprofile"] = metadata["icc_profile"]
    if "resolution" in metadata:
        x, y, unit = metadata["resolution"]
        options |= {"resolution": (x, y), "resolutionunit": {"none": 1, "inch": 2, "cm": 3}[unit]}
    if text := _description(image, pages, format_name):
        # The tag is ASCII by the standard; others are kept as the UTF-8 that readers expect.
        options["description"] = text.encode("utf-8", "surrogateescape")
    options |= _packed(compression or metadata.get("compression", "none"), image.data.dtype)
    tags: list[tuple[int, int, int | None, Any, bool]] = []
    if "xmp" in metadata:
        tags.append((_XMP, 1, None, metadata["xmp"], True))
    orientation = metadata.get("orientation") or orientation_of(metadata.get("exif", b""))
    if orientation != 1:
        tags.append((ORIENTATION, 3, 1, orientation, False))
    if _fits_grid(image):
        tags += [(code, kind, None, value, True) for code, (kind, value) in metadata["geo"]["tags"].items()]
    options["extratags"] = tags
    return options


def _packed(compression: str, dtype: np.dtype[Any]) -> Metadata:
    """How tifffile is told of a compression; differences of neighbours pack better than values."""
    if compression == "none":
        return {}
    options: Metadata = {"compression": _CODECS[compression], "maxworkers": 1}
    if compression in _LEVELS:
        options["compressionargs"] = {"level": _LEVELS[compression]}
    if compression != "packbits" and (dtype.kind == "f" or (dtype.kind in "iu" and dtype.itemsize <= 4)):
        options["predictor"] = True
    return options


def unfit(image: Image, pages: int) -> set[str]:
    """The entries that describe another array than this one, and so are left out."""
    metadata = image.metadata
    found = {"geo"} if "geo" in metadata and not _fits_grid(image) else set()
    if "ome_xml" in metadata and _ome.fitted(metadata["ome_xml"], pages=pages, **_form(image)) is None:
        found.add("ome_xml")
    if "imagej" in metadata and not _fits_imagej(image, pages):
        found.add("imagej")
    return found


def _form(image: Image) -> dict[str, Any]:
    """What OME-XML says of a page."""
    height, width = image.pages[0].shape[:2]
    return {"height": height, "width": width, "channels": image.channels, "dtype": image.data.dtype.name}


def _fits_grid(image: Image) -> bool:
    """Whether the image has a georeference, and still the size that it is for."""
    return "geo" in image.metadata and image.metadata["geo"]["size"] == image.pages[0].shape[:2]


def _fits_imagej(image: Image, pages: int) -> bool:
    """Whether there are notes by ImageJ, and they are for so many pages of such a type."""
    found = re.search(r"^images=(\d{1,9})\s*$", image.metadata.get("imagej", ""), re.MULTILINE)
    said = int(found[1]) if found else 1
    plain = image.data.dtype in ("uint8", "uint16", "float32") if image.channels == 1 else image.data.dtype == "uint8"
    return "imagej" in image.metadata and said == pages and plain and image.channels in (1, 3)


def _description(image: Image, pages: int, format_name: str) -> str | None:
    """The text that goes into the file: OME-XML or ImageJ's notes if they still describe the pages, or what is said."""
    metadata = image.metadata
    if "ome_xml" in metadata and (text := _ome.fitted(metadata["ome_xml"], pages=pages, **_form(image))):
        return text
    if format_name == "OME-TIFF":
        return _ome.made(pages=pages, **_form(image))
    if _fits_imagej(image, pages):
        return str(metadata["imagej"])
    return metadata.get("description")
