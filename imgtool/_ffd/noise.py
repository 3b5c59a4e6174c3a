"""How much noise is in an image, told from the image itself."""

from typing import Any

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.floating[Any]]

# Of about this many pixels.
_SAMPLES = 1 << 16
# A step of 8 bits: less noise is not believed.
_LEAST = 1 / 256
# The standard deviation over the median magnitude of normal numbers.
_NORMAL = 1.4826


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
