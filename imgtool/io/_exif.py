"""EXIF blocks: the orientation in them, and the tags that go from one format's block into another's.

A block is a small TIFF file without pixels. Exif 2.32, https://www.cipa.jp/std/documents/e/DC-X008-Translation-2019-E.pdf
"""

import re
import struct
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, Union

ORIENTATION = 0x0112
EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
# What a camera or a program says of the picture in the main directory of a TIFF file: name of the document, maker,
# model, name of the page, software, date, artist, host, copyright. All else tells of pixels, or has a place of its
# own in `Image.metadata`.
TEXTS = (269, 271, 272, 285, 305, 306, 315, 316, 33432)
_POINTERS = (EXIF, GPS, INTEROPERABILITY)
# Bytes of a value of each TIFF type, and of the numbers in it that have a byte order.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WORDS = _SIZES | {5: 4, 10: 4}
_LONG = 4
_ENTRIES = 4096  # of a directory; a damaged count must not cost time
_LARGEST = 1 << 24  # bytes of values of a directory

Read = Callable[[int, int], bytes]


class Tag(NamedTuple):
    """A TIFF type and its values as little-endian bytes, or a directory that the tag points to."""

    kind: int
    value: Union[bytes, "Tags"]


Tags = dict[int, Tag]


def _order(block: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])


def _orientations(block: bytes) -> Iterator[tuple[int, int]]:
    """Place and value of every orientation in the main directory of a block."""
    order = _order(block)
    try:
        if order is None:
            return
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", block, entry)
            if tag == ORIENTATION and kind == 3:
                yield entry + 8, value
    except struct.error:
        return


def orientation_of(block: bytes) -> int:
    """The orientation (1 to 8) in an EXIF block, 1 if it says nothing valid.

    >>> orientation_of(with_orientation(6))
    6
    >>> orientation_of(b"damaged")
    1
    """
    return next((value for _, value in _orientations(block) if 1 <= value <= 8), 1)


def with_orientation(orientation: int) -> bytes:
    """The smallest EXIF block that holds an orientation."""
    return struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)


def upright(block: bytes) -> bytes:
    """The block for pixels that have been turned: orientation 1, and no thumbnail, which would still lie on its side.

    All else stays where it is, as makers' notes need it.

    >>> orientation_of(upright(with_orientation(6)))
    1
    """
    patched, order = bytearray(block), _order(block)
    for place, _ in _orientations(block):
        struct.pack_into(f"{order}H", patched, place, 1)
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        struct.pack_into(f"{order}I", patched, start + 2 + 12 * count, 0)
    except struct.error:
        pass
    return bytes(patched)


def upright_xmp(packet: bytes) -> bytes:
    """The same for an XMP packet, which may repeat the orientation.

    >>> upright_xmp(b'<rdf:Description tiff:Orientation="6"/>')
    b'<rdf:Description tiff:Orientation="1"/>'
    """
    return re.sub(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8](?=\s*[\"'<])", rb"\g<1>1", packet)


def tags_at(
    read: Read, start: int, order: str, *, big: bool = False, only: Collection[int] = (), depth: int = 0
) -> Tags:
    """The tags of the directory at `start`, with those below it; what is damaged is left out.

    `read(offset, size)` gives bytes of the file, fewer at its end; `big` tells BigTIFF; `only` names the tags that are
    wanted of this directory, if not all.
    """
    counting, entry_form, field = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    found: Tags = {}
    left = _LARGEST
    try:
        (count,) = struct.unpack(order + counting, read(start, struct.calcsize(order + counting)))
        size = struct.calcsize(order + entry_form)
        table = read(start + struct.calcsize(order + counting), min(count, _ENTRIES) * size)
        for code, kind, length, inline in struct.iter_unpack(order + entry_form, table[: len(table) // size * size]):
            total = _SIZES.get(kind, 0) * length
            if not 0 < total <= left or (only and code not in only):
                continue
            left -= total
            (offset,) = struct.unpack(order + ("Q" if big else "I"), inline)
            value = inline[:total] if total <= field else read(offset, total)
            if len(value) < total:
                continue
            if code in _POINTERS and kind in (_LONG, 13, 16, 18) and length == 1:
                (place,) = struct.unpack(order + ("Q" if total == 8 else "I"), value)
                inner = tags_at(read, place, order, big=big, depth=depth + 1) if depth < 2 else {}
                if inner:
                    found[code] = Tag(_LONG, inner)
            else:
                found[code] = Tag(kind, swapped(value, _WORDS[kind]) if order == ">" else value)
    except struct.error:
        pass
    return found


def swapped(value: bytes, size: int) -> bytes:
    """Words of so many bytes in the other byte order."""
    return b"".join(value[place : place + size][::-1] for place in range(0, len(value), size))


def tags_of(block: bytes) -> Tags:
    """The tags in an EXIF block.

    >>> tags_of(with_orientation(6))
    {274: Tag(kind=3, value=b'\\x06\\x00')}
    """
    order = _order(block)
    if order is None or len(block) < 8:
        return {}
    (start,) = struct.unpack_from(order + "I", block, 4)
    return tags_at(lambda offset, size: block[offset : offset + size], start, order)


def block_of(tags: Tags) -> bytes:
    """An EXIF block, little-endian.

    >>> tags_of(block_of({271: Tag(2, b"maker\\0"), EXIF: Tag(4, {37510: Tag(7, b"abc")})}))
    {271: Tag(kind=2, value=b'maker\\x00'), 34665: Tag(kind=4, value={37510: Tag(kind=7, value=b'abc')})}
    """
    return b"II*\0\x08\0\0\0" + directory(tags, 8)


def directory(tags: Tags, start: int, *, big: bool = False) -> bytes:
    """A little-endian directory for the place `start` in a file, followed by its long values and what it points to."""
    counting, entry_form, field = ("<Q", "<HHQ", 8) if big else ("<H", "<HHI", 4)
    size = struct.calcsize(counting) + len(tags) * (struct.calcsize(entry_form) + field) + field
    table, behind = [struct.pack(counting, len(tags))], b""
    for code, (kind, value) in sorted(tags.items()):
        place = start + size + len(behind)
        if isinstance(value, dict):
            content, count = place.to_bytes(field, "little"), 1
            behind += directory(value, place, big=big)
            kind = 18 if big else _LONG
        else:
            count, content = len(value) // _SIZES[kind], value
            if len(value) > field:
                content = place.to_bytes(field, "little")
                behind += value + b"\0" * (len(value) % 2)  # directories begin at even places
        table.append(struct.pack(entry_form, code, kind, count) + content.ljust(field, b"\0"))
    return b"".join(table) + b"\0" * field + behind
