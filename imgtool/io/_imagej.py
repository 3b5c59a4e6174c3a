"""ImageJ's own tags, which hold labels of slices, display ranges, look-up tables and overlays.

A header names the kinds of entries and how many there are of each; a second tag gives their sizes. It is described by
ImageJ's TiffEncoder and TiffDecoder, https://imagej.net/ij/developer/source/
"""

import struct
from math import isfinite

from ._exif import Tag, Tags, swapped

SIZES, CONTENT = 50838, 50839
# The kinds, and the bytes of the numbers in them that have a byte order: UTF-16 and doubles.
_WORDS = {"info": 2, "labl": 2, "prop": 2, "rang": 8, "luts": 1, "plot": 1, "roi ": 1, "over": 1}
_NAMES = {
    "info": "info",
    "labl": "labels",
    "prop": "properties",
    "rang": "ranges",
    "luts": "tables",
    "plot": "plots",
    "roi ": "selections",
    "over": "overlays",
}
OUTLINES = ("roi ", "over")  # are drawn on the pixels
_MAGIC = b"IJIJ"

Entries = dict[str, list[bytes]]


def entries_of(sizes: bytes, content: bytes, *, big_endian: bool) -> Entries:
    """The entries of the two tags, little-endian; `sizes` is little-endian already. What is damaged is left out."""
    lengths = [length for (length,) in struct.iter_unpack("<I", sizes[: len(sizes) // 4 * 4])]
    order, turn = (">", 1) if big_endian else ("<", -1)
    if not lengths or content[:4][::turn] != _MAGIC or not 4 <= lengths[0] <= len(content):
        return {}
    found: Entries = {}
    place, left = lengths[0], iter(lengths[1:])
    for start in range(4, lengths[0] - 7, 8):
        kind = content[start : start + 4][::turn].decode("latin-1")
        (count,) = struct.unpack_from(f"{order}I", content, start + 4)
        for _, length in zip(range(count), left):  # noqa: B905  as many as there are
            value = content[place : place + length]
            place += length
            if kind in _WORDS and len(value) == length:
                found.setdefault(kind, []).append(swapped(value, _WORDS[kind]) if big_endian else value)
    return found


def tags_of(entries: Entries) -> Tags:
    """The two tags with these entries, little-endian; none without entries.

    >>> tags = tags_of({"labl": [b"a\\0", b"bc\\0\\0"]})
    >>> entries_of(tags[SIZES].value, tags[CONTENT].value, big_endian=False)
    {'labl': [b'a\\x00', b'bc\\x00\\x00']}
    """
    if not entries:
        return {}
    header = _MAGIC[::-1]
    for kind, values in entries.items():
        header += kind.encode()[::-1] + struct.pack("<I", len(values))
    content = [header, *(value for values in entries.values() for value in values)]
    sizes = struct.pack(f"<{len(content)}I", *map(len, content))
    return {SIZES: Tag(4, sizes), CONTENT: Tag(1, b"".join(content))}


def summary(entries: Entries) -> dict[str, object]:
    """Labels, ranges and properties as they read; of the rest, how many there are."""
    found: dict[str, object] = {}
    for kind, values in entries.items():
        if _WORDS[kind] == 2:
            found[_NAMES[kind]] = [value.decode("utf-16-le", "replace") for value in values]
        elif kind == "rang":
            numbers = b"".join(values)
            ranges = struct.iter_unpack("<d", numbers[: len(numbers) // 8 * 8])
            found[_NAMES[kind]] = [value if isfinite(value) else None for (value,) in ranges]
        else:
            found[_NAMES[kind]] = len(values)
    return found
