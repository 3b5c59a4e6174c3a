"""Which of two images is compared on the grid of the other, whatever order they come in."""

import math

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]

# Lines of larger images are left out until about this many pixels remain.
_ENOUGH_PIXELS = 1 << 16
_LEVELS = 255


def in_order(fixed: Plane, moving: Plane) -> bool:
    """Whether two planes of values in [0, 1], NaN where pixels are missing, are in their one order.

    The first is the smaller one, because the search sees most of it; or of two with as many pixels the one that varies
    more, because interpolation loses less of the smoother one. Neither transposition nor mirrors nor linear changes of
    intensity alter that. Only of images alike in all this the bytes decide.
    """
    counts = [int(np.count_nonzero(~np.isnan(plane))) for plane in (fixed, moving)]
    if counts[0] != counts[1]:
        return counts[0] < counts[1]
    variations = _variation(fixed), _variation(moving)
    if variations[0] != variations[1]:
        return variations[0] > variations[1]
    return (fixed.shape, fixed.tobytes()) <= (moving.shape, moving.tobytes())


def _variation(plane: Plane) -> float:
    """The sum of the differences of neighbours, in whole levels, which add up to the same in any order."""
    step = max(1, round(math.sqrt(plane.size / _ENOUGH_PIXELS)))
    total = 0.0
    for lines in (plane[::step], plane.T[::step]):
        difference = np.abs(lines[:, 1:] - lines[:, :-1])
        difference *= _LEVELS
        np.rint(difference, out=difference)
        # Of two numbers of which one is NaN, this takes the other.
        total += float(np.fmax(difference, 0, out=difference).sum(dtype=np.float64))
    return total
