"""Pixels turned upright, as the orientation that came with them asks."""

import numpy as np

from . import _exif
from ._image import Array, Metadata, Source

# What describes the rows and columns of the file, and would be wrong for others.
_OF_THE_GRID = ("orientation", "ome_xml", "imagej", "geo", "nifti")


def upright(source: Source) -> Source:
    """`source` with its pixels turned, and no tag that would have them turned again."""
    orientation = source.metadata.get("orientation", 1)
    if orientation == 1:
        return source
    info, decode, decode_page = source.info, source.decode, source.decode_page
    y = int(info.pages > 1)
    shape = list(info.shape)
    if orientation >= 5:
        shape[y : y + 2] = shape[y + 1], shape[y]
    return Source(
        info._replace(shape=tuple(shape)),
        _turned_metadata(source.metadata, swapped=orientation >= 5),
        lambda: turned(decode(), orientation, y),
        None if decode_page is None else lambda number: turned(decode_page(number), orientation, 0),
    )


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


def _turned_metadata(metadata: Metadata, *, swapped: bool) -> Metadata:
    found = {key: value for key, value in metadata.items() if key not in _OF_THE_GRID}
    if "exif" in found:
        found["exif"] = _exif.upright(found["exif"])
    if "xmp" in found:
        found["xmp"] = _exif.upright_xmp(found["xmp"])
    if swapped and "resolution" in found:
        x, y, unit = found["resolution"]
        found["resolution"] = (y, x, unit)
    return found
