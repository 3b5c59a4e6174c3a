"""TIFF files written by tifffile, page after page, and the tags that it does not write."""

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import SEEK_END
from typing import Any, BinaryIO

import numpy as np

from . import _imagej, _ome
from ._exif import EXIF, GPS, ORIENTATION, TEXTS, Tag, Tags, directory, orientation_of, tags_of
from ._image import STRUCTURE, Array, Image, Metadata
from ._tifftags import BLOCKS, tifffile

_UNASSOCIATED = 2
_DESCRIPTION, _X, _Y, _UNIT = 270, 282, 283, 296
_UNITS = {"none": 1, "inch": 2, "cm": 3}
_BLOCKS = {"icc_profile": 7, "xmp": 1, "photoshop": 7}  # their types
_CODECS = {"lzw": "lzw", "deflate": "zlib", "packbits": "packbits", "zstd": "zstd"}
# Effort of those that know it: the fastest of deflate, and where zstd begins to be smaller than that.
_LEVELS = {"deflate": 1, "zstd": 1}
# Classic TIFF counts bytes in 32 bits; the margin is for its directories.
_BIG = (1 << 32) - (1 << 25)


@contextmanager
def page_writer(
    stream: BinaryIO, first: Image, pages: int, format_name: str, *, compression: str | None = None
) -> Iterator[Callable[[Array], None]]:
    """What writes page after page, in BigTIFF where 4 GiB do not suffice; `first` is what they are like.

    They are compressed as `compression` says ("none" if not at all), or as the TIFF file was that they come from.
    """
    options = _options(first, compression)
    # Pages that are not packed lie behind one another, as ImageJ takes for granted.
    whole = "compression" not in options and first.data.dtype != bool
    own = [_tags_of_page(first, _description(first, pages, format_name), pages)]
    for page in _further_pages(first, pages):
        text = _description(page, pages, "TIFF")
        own.append(_repeated_tags(page.metadata) | _tags_of_page(page, text, pages))
    big = first.data.nbytes * pages + sum(map(_length, own)) > _BIG
    with tifffile().TiffWriter(stream, bigtiff=big, byteorder="<", ome=False) as writer:
        yield lambda page: writer.write(np.ascontiguousarray(page), contiguous=whole, **options)
    if any(own):
        _add_tags(stream, own, big=big)


def _further_pages(first: Image, pages: int) -> list[Image]:
    """What each page after the first is like, if pages say things of their own."""
    own = first.metadata.get("pages", ())
    if len(own) != pages - 1:
        return []
    layout = {key: value for key, value in first.metadata.items() if key in STRUCTURE}
    return [Image(first.data, first.channel_axis, layout | entries) for entries in own]


def _add_tags(stream: BinaryIO, own: list[Tags], *, big: bool) -> None:
    """Give the first directories of a little-endian file the tags that are theirs alone: they are written anew.

    tifffile could write some of those of the first page; of other pages none, if their pixels lie behind one another.
    """
    link, counting, field, size = (8, "<Q", "<Q", 20) if big else (4, "<H", "<I", 12)
    head, pointer = struct.calcsize(counting), struct.calcsize(field)
    for tags in own:
        stream.seek(link)
        (place,) = struct.unpack(field, stream.read(pointer))
        stream.seek(place)
        (count,) = struct.unpack(counting, stream.read(head))
        if tags:
            entries = [stream.read(size) for _ in range(count)]
            following = stream.read(pointer)
            entries = [entry for entry in entries if struct.unpack_from("<H", entry)[0] not in tags]
            tags = {code: tag for code, tag in tags.items() if tag.value}
            count = len(entries) + len(tags)
            place = stream.seek(0, SEEK_END)
            place += stream.write(b"\0" * (place % 2))
            # Where the tags' own directory would lie if it were behind the new one.
            added = directory(tags, place + head + count * size + pointer, big=big)
            entries += [added[head + number * size : head + (number + 1) * size] for number in range(len(tags))]
            entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
            stream.write(struct.pack(counting, count) + b"".join(entries) + following + added)
            stream.seek(link)
            stream.write(struct.pack(field, place))
        link = place + head + count * size


def _length(tags: Tags) -> int:
    return sum(_length(tag.value) if isinstance(tag.value, dict) else len(tag.value) + 20 for tag in tags.values())


def _options(image: Image, compression: str | None) -> Metadata:
    """What tifffile is told of every page."""
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
    options |= _packed(compression or metadata.get("compression", "none"), image.data.dtype)
    if "resolution" in metadata:
        x, y, unit = metadata["resolution"]
        options |= {"resolution": (x, y), "resolutionunit": _UNITS[unit]}
    if (orientation := _orientation(metadata)) != 1:
        options["extratags"] = [(ORIENTATION, 3, 1, orientation, False)]
    return options


def _orientation(metadata: Metadata) -> int:
    return metadata.get("orientation") or orientation_of(metadata.get("exif", b""))


def _repeated_tags(metadata: Metadata) -> Tags:
    """What tifffile writes of every page, as a page after the first says it; no bytes where it has no such tag."""
    x, y, unit = metadata.get("resolution", (1.0, 1.0, "none"))
    orientation = _orientation(metadata)
    return {
        _X: _rational(x),
        _Y: _rational(y),
        _UNIT: Tag(3, struct.pack("<H", _UNITS[unit])),
        ORIENTATION: Tag(3, struct.pack("<H", orientation) if orientation != 1 else b""),
    }


def _rational(value: float) -> Tag:
    from fractions import Fraction  # 2 ms that only pages with tags of their own spend

    largest = (1 << 32) - 1
    fraction = Fraction(min(value, largest)).limit_denominator(max(1, min(1 << 20, int(largest / max(value, 1)))))
    return Tag(5, struct.pack("<2I", fraction.numerator, fraction.denominator))


def _tags_of_page(image: Image, text: str | None, pages: int) -> Tags:
    """The tags that a page says itself, and not for those that follow it."""
    metadata = image.metadata
    found = {code: tag for code, tag in tags_of(metadata.get("exif", b"")).items() if code in (*TEXTS, EXIF, GPS)}
    found |= {code: Tag(_BLOCKS[key], metadata[key]) for key, code in BLOCKS.items() if key in metadata}
    found |= metadata.get("tiff_tags", {})
    if text:
        # The tag is ASCII by the standard; others are kept as the UTF-8 that readers expect.
        found[_DESCRIPTION] = Tag(2, text.encode("utf-8", "surrogateescape") + b"\0")
    if _fits_grid(image):
        found |= metadata["geo"]["tags"]
    if _fits_imagej(image, pages):
        overlays = metadata["overlays"]["entries"] if _fits_overlays(image) else {}
        found |= _imagej.tags_of(metadata.get("imagej_tags", {}) | overlays)
    return found


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
    found: set[str] = set()
    if any("geo" in page.metadata and not _fits_grid(page) for page in (image, *_further_pages(image, pages))):
        found.add("geo")
    if len(metadata.get("pages", ())) not in (0, pages - 1):
        found.add("pages")
    if "ome_xml" in metadata and _ome.fitted(metadata["ome_xml"], pages=pages, **_form(image)) is None:
        found.add("ome_xml")
    if "ome_zarr" in metadata and _ome.of_zarr(metadata["ome_zarr"], pages) is None:
        found.add("ome_zarr")
    if not _fits_imagej(image, pages):
        found |= metadata.keys() & {"imagej", "imagej_tags", "overlays"}
    if "overlays" in metadata and not _fits_overlays(image):
        found.add("overlays")
    return found


def _form(image: Image) -> dict[str, Any]:
    """What OME-XML says of a page."""
    height, width = image.pages[0].shape[:2]
    return {"height": height, "width": width, "channels": image.channels, "dtype": image.data.dtype.name}


def _fits_grid(image: Image) -> bool:
    """Whether the image has a georeference, and still the size that it is for."""
    return "geo" in image.metadata and image.metadata["geo"]["size"] == image.pages[0].shape[:2]


def _fits_overlays(image: Image) -> bool:
    """Whether there is something drawn on the image, and it still has the size that it was drawn on."""
    return "overlays" in image.metadata and image.metadata["overlays"]["size"] == image.pages[0].shape[:2]


def _fits_imagej(image: Image, pages: int) -> bool:
    """Whether there are notes by ImageJ, and they are for so many pages of such a type."""
    found = re.search(r"^images=(\d{1,9})\s*$", image.metadata.get("imagej", ""), re.MULTILINE)
    said = int(found[1]) if found else 1
    plain = image.data.dtype in ("uint8", "uint16", "float32") if image.channels == 1 else image.data.dtype == "uint8"
    return "imagej" in image.metadata and said == pages and plain and image.channels in (1, 3)


def _known_axes(image: Image, pages: int) -> dict[str, Any]:
    """What new OME-XML can say of axes and sizes of pixels."""
    if "ome_zarr" in image.metadata and (found := _ome.of_zarr(image.metadata["ome_zarr"], pages)):
        return found
    x, y, unit = image.metadata.get("resolution", (1.0, 1.0, "none"))
    step = {"inch": 25_400.0, "cm": 10_000.0}.get(unit)
    return {} if step is None else {"steps": {"X": (step / x, "µm"), "Y": (step / y, "µm")}}


def _description(image: Image, pages: int, format_name: str) -> str | None:
    """The text that goes into the file: OME-XML or ImageJ's notes if they still describe the pages, or what is said."""
    metadata = image.metadata
    if "ome_xml" in metadata and (text := _ome.fitted(metadata["ome_xml"], pages=pages, **_form(image))):
        return text
    if format_name == "OME-TIFF":
        return _ome.made(pages=pages, **_form(image), **_known_axes(image, pages))
    if _fits_imagej(image, pages):
        return str(metadata["imagej"])
    return metadata.get("description")
