"""The one EXIF tag that changes how pixels are meant: orientation."""

import struct

ORIENTATION = 0x0112


def orientation_of(exif: bytes) -> int:
    """The orientation (1 to 8) in an EXIF block, 1 if it says nothing valid.

    >>> orientation_of(with_orientation(6))
    6
    >>> orientation_of(b"damaged")
    1
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == ORIENTATION and kind == 3 and 1 <= value <= 8:
                return int(value)
    except struct.error:
        pass
    return 1


def with_orientation(orientation: int) -> bytes:
    """The smallest EXIF block that holds an orientation."""
    return struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)
