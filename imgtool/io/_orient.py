"""Pixels turned upright, as the orientation that came with them asks."""

import numpy as np

from ..errors import ImgtoolError
from . import _exif
from ._image import Array, Metadata, Source

# What describes the rows and columns of the file, and would be wrong for others.
_OF_THE_GRID = frozenset({"orientation", "ome_xml", "imagej", "imagej_tags", "overlays", "geo", "nifti"})


def upright(source: Source) -> Source:
    """`source` with its pixels turned, and no tag that would have them turned again."""
    info, decode, decode_page = source.info, source.decode, source.decode_page
    own = [entries.get("orientation", 1) for entries in source.metadata.get("pages", ())]
    own = own if len(own) == info.pages - 1 else []
    orientations = [source.metadata.get("orientation", 1), *own]
    if set(orientations) == {1}:
        return source
    several = info.pages > 1
    swapped = orientations[0] >= 5
    if any((orientation >= 5) != swapped for orientation in orientations):
        raise ImgtoolError("some pages are to be turned by a quarter and some not; split it with tiffsplit")
    shape = list(info.shape)
    if swapped:
        shape[several : several + 2] = shape[several + 1], shape[several]

    def decoded() -> Array:
        data = decode()
        if len(set(orientations)) == 1:
            return turned(data, orientations[0], int(several))
        return np.stack([turned(page, orientation, 0) for page, orientation in zip(data, orientations, strict=True)])

    def page_decoded(number: int) -> Array:
        assert decode_page is not None
        return turned(decode_page(number), orientations[number if own else 0], 0)

    metadata = _turned_metadata(source.metadata)
    return Source(info._replace(shape=tuple(shape)), metadata, decoded, None if decode_page is None else page_decoded)


def turned(data: Array, orientation: int, y: int) -> Array:
    """A view of pixels whose rows are axis `y`, as they are meant to be seen (EXIF 2.32, tag 274).

    >>> turned(np.array([[1, 2, 3], [4, 5, 6]]), 6, 0)
    array([[4, 1],
           [5, 2],
           [6, 3]])
    """
    if orientation >= 5:
        data = data.swapaxes(y, y + 1)
    if orientation in (3, 4, 7, 8):
        data = np.flip(data, y)
    if orientation in (2, 3, 6, 7):
        data = np.flip(data, y + 1)
    return data


def _turned_metadata(metadata: Metadata) -> Metadata:
    swapped = metadata.get("orientation", 1) >= 5
    found = {key: value for key, value in metadata.items() if key not in _OF_THE_GRID}
    if "exif" in found:
        found["exif"] = _exif.upright(found["exif"])
    if "xmp" in found:
        found["xmp"] = _exif.upright_xmp(found["xmp"])
    if swapped and "resolution" in found:
        x, y, unit = found["resolution"]
        found["resolution"] = (y, x, unit)
    if "pages" in found:
        found["pages"] = [_turned_metadata(own) for own in found["pages"]]
    return found
