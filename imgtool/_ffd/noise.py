"""How much noise is in an image, told from the image itself, and the image with less of it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _ext
from .._slabs import run_slabs

Plane = npt.NDArray[np.floating[Any]]

# Of about this many pixels.
_SAMPLES = 1 << 16
# A step of 8 bits: less noise is not believed.
_LEAST = 1 / 256
# The standard deviation over the median magnitude of normal numbers.
_NORMAL = 1.4826
# How far from 1 the squared difference of two places, over that of their noise, may be for them to count as alike: that
# of a patch of 5 x 5 pixels varies by 0.4. Measured over tests/bench/deformable.py.
_TOLERANCE = 1.0
_SLAB_PIXELS = 1 << 15


def noise_variance(plane: Plane) -> float:
    """The variance of the noise of an image with values from 0 to 1, NaN where pixels are missing.

    The second difference down of the second difference across is 0 for whatever is smooth and straight edges along the
    axes (Immerkaer 1996); its median magnitude does not see the rest, if that is less than half of the pixels.
    """
    step = max(1, plane.size // _SAMPLES)
    above, middle, below = (plane[first : len(plane) - 2 + first : step] for first in range(3))
    down = above + below - 2 * middle
    both = down[:, 2:] + down[:, :-2] - 2 * down[:, 1:-1]
    # Painted or clipped background has no noise, and says nothing of the rest.
    magnitudes = np.abs(both[np.isfinite(both) & (both != 0)])
    deviation = _NORMAL / 6 * float(np.median(magnitudes)) if magnitudes.size else 0.0
    return max(deviation, _LEAST) ** 2


def quieted(plane: Plane, noise: float, threads: int) -> Plane:
    """The image, noise of this variance averaged away between places that look alike (Buades, Coll & Morel 2005)."""
    pad = _ext.NONLOCAL_PAD
    height, width = plane.shape
    out = np.empty_like(plane)
    columns = _mirrored(np.arange(-pad, width + pad), width)

    def work(start: int, stop: int) -> None:
        rows = _mirrored(np.arange(start - pad, stop + pad), height)
        _ext.nonlocal_means(plane[rows[:, None], columns], noise, _TOLERANCE, out[start:stop])

    run_slabs(work, height, max(1, _SLAB_PIXELS // width), threads)
    return out


def _mirrored(places: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.intp]:
    """Indices into an axis that is continued by its mirror image."""
    places = places % (2 * size)
    return np.minimum(places, 2 * size - 1 - places)
