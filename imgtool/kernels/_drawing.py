"""A kernel's numbers as text and as a picture."""

import numpy as np
import numpy.typing as npt

from ._arrays import Array

_SIDE = 512  # pixels that a picture should about have
_ZERO, _POSITIVE, _NEGATIVE = np.array([[160, 160, 160], [255, 214, 64], [24, 60, 170]])


def text(array: Array, separator: str = " ") -> str:
    """The numbers, rows by lines, so that reading them gives the same kernel; the planes of a volume are set apart."""
    planes = array.reshape(-1, *array.shape[-2:])
    return "\n".join("".join(f"{separator.join(map(plain, row))}\n" for row in plane) for plane in planes)


def plain(number: float) -> str:
    """A number in its shortest form: 4, not 4.0."""
    return repr(int(number)) if number == int(number) and abs(number) < 1e15 else repr(float(number))


def picture(arrays: tuple[Array, ...]) -> npt.NDArray[np.uint8]:
    """Kernels side by side, planes from left to right: 0 is gray, positive numbers yellow, negative ones blue.

    Returns
    -------
    (height, width, 3) uint8 array
        Every number is a square of pixels; the largest magnitude has the full colour.
    """
    planes = [plane for array in arrays for plane in array.reshape(-1, *array.shape[-2:])]
    height, width = planes[0].shape
    peak = max(float(np.abs(plane).max()) for plane in planes) or 1.0
    cell = max(1, min(64, _SIDE // max(height, width * len(planes))))
    gap = max(1, cell // 8)
    out = np.full((height * cell + 2 * gap, len(planes) * (width * cell + gap) + gap, 3), 255, np.uint8)
    for place, plane in enumerate(planes):
        share = (plane / peak)[..., np.newaxis]
        colours = np.rint(
            _ZERO + np.maximum(share, 0) * (_POSITIVE - _ZERO) - np.minimum(share, 0) * (_NEGATIVE - _ZERO)
        )
        left = gap + place * (width * cell + gap)
        tile = np.kron(colours, np.ones((cell, cell, 1))).astype(np.uint8)
        if cell >= 8:  # lines between the numbers
            tile[::cell] = tile[:, ::cell] = 120
        out[gap : gap + height * cell, left : left + width * cell] = tile
    return out
