"""What a TIFF file says beside its pixels: of all its pages by the tags of the first, and of each page by its own."""

import logging
from collections.abc import Sequence
from typing import Any

from . import _imagej
from ._exif import EXIF, GPS, ORIENTATION, TEXTS, Tag, Tags, block_of, swapped, tags_at
from ._image import Metadata

BLOCKS = {"icc_profile": 34675, "xmp": 700, "photoshop": 34377}
_X, _Y, _UNIT = 282, 283, 296
_NO_RESOLUTION = (1.0, 1.0, 1)  # what tifffile writes where there is none to write
_UNITS = {1: "none", 2: "inch", 3: "cm"}
# Pixel scale, tie points, matrix, the three of GeoTIFF's keys, and GDAL's notes and value of missing data.
_GEO = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
_IPTC = 33723
# What can be copied as it is, because it tells no places in the file: white point and primaries, IPTC, what the
# microscopes of FEI say, and what Micro-Manager says of each plane.
_COPIED = (318, 319, _IPTC, 34680, 34682, 51123)
# Tags above these that say how pixels are stored: opacity, types, depths, tiles and the pattern of colour filters.
_PRIVATE, _STORAGE = 32768, {32995, 32996, 32997, 32998, 33421, 33422}
_TRANSFER = 301  # a table for the samples as they were
_COMPRESSIONS = {5: "lzw", 8: "deflate", 32946: "deflate", 32773: "packbits", 50000: "zstd"}
# What every page of a file is taken to say again if it says it of the first.
_REPEATED = ("resolution", "orientation")


def tifffile() -> Any:
    """The module, loaded and kept quiet: its remarks on odd files would go to stderr where no logging is set up."""
    import tifffile

    logger = logging.getLogger("tifffile")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return tifffile


def metadata_of(file: Any, pages: Sequence[Any]) -> Metadata:
    """What is kept of the tags of these pages, and what is there but not kept."""
    found, private = _of_page(file, pages[0])
    if pages[0].compression in _COMPRESSIONS:
        found["compression"] = _COMPRESSIONS[pages[0].compression]
    usual = {key: found[key] for key in _REPEATED if key in found}
    own = []
    for page in pages[1:]:
        entries, others = _of_page(file, page)
        # One profile for all pages is one in memory, too.
        own.append({key: found[key] if found.get(key) == value else value for key, value in entries.items()})
        private |= others
    if any(entries != usual for entries in own):
        found["pages"] = own
    if private:
        found["private"] = sorted(private)
    return found


def _of_page(file: Any, page: Any) -> tuple[Metadata, set[int]]:
    """The entries of one page, and the codes of tags that are not among them."""
    tags = _tags_as_they_are(file, page)
    found: Metadata = {key: tags.pop(code).value for key, code in BLOCKS.items() if code in tags}
    x, y = (_fraction(page, code) for code in (_X, _Y))
    unit = page.tags[_UNIT].value if _UNIT in page.tags else 2
    if x and y and unit in _UNITS and (x, y, unit) != _NO_RESOLUTION:
        found["resolution"] = (x, y, _UNITS[unit])
    # What tifffile writes there describes the array, and nothing that would be missed.
    if (text := page.description) and not page.is_shaped:
        found["ome_xml" if page.is_ome else "imagej" if page.is_imagej else "description"] = text
    size = (page.imagelength, page.imagewidth)
    entries = _imagej_entries(tags, big_endian=file.byteorder == ">")
    if overlays := {kind: entries.pop(kind) for kind in _imagej.OUTLINES if kind in entries}:
        found["overlays"] = {"size": size, "entries": overlays}
    if entries:
        found["imagej_tags"] = entries
    if geo := {code: tags.pop(code) for code in _GEO if code in tags}:
        found["geo"] = {"size": size, "tags": geo}
    if copied := {code: tags.pop(code) for code in _COPIED if code in tags}:
        found["tiff_tags"] = copied
    if ORIENTATION in page.tags and page.tags[ORIENTATION].value in range(2, 9):
        found["orientation"] = int(page.tags[ORIENTATION].value)
        if tags:
            tags[ORIENTATION] = Tag(3, found["orientation"].to_bytes(2, "little"))
    if tags:
        found["exif"] = block_of(tags)
    taken = {*tags, *geo, *copied, *_STORAGE, *(code for key, code in BLOCKS.items() if key in found)}
    taken |= {_imagej.SIZES, _imagej.CONTENT} if entries or overlays else set()
    return found, {tag.code for tag in page.tags if tag.code >= _PRIVATE or tag.code == _TRANSFER} - taken


def _imagej_entries(tags: Tags, *, big_endian: bool) -> _imagej.Entries:
    """What is in the two tags of ImageJ, which are taken out of `tags`."""
    sizes, content = tags.pop(_imagej.SIZES, None), tags.pop(_imagej.CONTENT, None)
    if sizes is None or content is None or isinstance(sizes.value, dict) or isinstance(content.value, dict):
        return {}
    return _imagej.entries_of(sizes.value, content.value, big_endian=big_endian)


def _tags_as_they_are(file: Any, page: Any) -> Tags:
    """What the page says by tags that tifffile does not write, or not give, as they are."""
    handle = file.filehandle
    wanted = {*TEXTS, *BLOCKS.values(), *_GEO, *_COPIED, _imagej.SIZES, _imagej.CONTENT, EXIF, GPS}
    if not wanted.intersection(tag.code for tag in page.tags):
        return {}

    def read(place: int, size: int) -> bytes:
        handle.seek(place)
        return bytes(handle.read(size))

    tags = tags_at(read, page.offset, file.byteorder, big=file.is_bigtiff, only=wanted)
    if (iptc := tags.get(_IPTC)) is not None and isinstance(iptc.value, bytes):
        # Bytes, which some programs give out as numbers of four, whose order is none.
        as_stored = swapped(iptc.value, 4) if iptc.kind == 4 and file.byteorder == ">" else iptc.value
        tags[_IPTC] = Tag(7, as_stored)
    return tags


def _fraction(page: Any, code: int) -> float:
    """The value of a tag that holds one positive fraction, or 0."""
    value = page.tags[code].value if code in page.tags else None
    if not (isinstance(value, tuple) and len(value) == 2 and all(isinstance(n, int) and n > 0 for n in value)):
        return 0.0
    return float(value[0] / value[1])
